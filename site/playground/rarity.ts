/** How rare a score is among the cells that the shipped set was trained on. */

/**
 * The tenths of the 3,913 training cells, by their minority scores of 8 draws in the shipped features: the thresholds
 * that weights/bccd32-minority.safetensors has between its levels.
 */
export const tenths = [
  0.6364007, 0.7185655, 0.7763817, 0.8204335, 0.8664333, 0.9082501, 0.9584455, 1.0282892, 1.1512046,
]
/** The draws that they are of. */
export const drawsOfTenths = 8

/** In words. */
export function rarityOf(score: number): string {
  const below = tenths.filter((threshold) => score >= threshold).length
  return below === 0
    ? 'among the commonest tenth of the training cells'
    : `rarer than ${10 * below} % of the training cells`
}
