/**
 * Minority labels (Um et al., ICLR 2024, section 3.2; spec D.2): images sorted by minority score and cut at quantiles
 * into `levels` classes of equal size, 0 the most common and levels - 1 the rarest. Within classes, the same cut is made
 * in every class for itself, so that a rare cat is rare among cats.
 */
import { TweedieError } from '../errors.ts'

/**
 * Label 0 where score <= q_0, else the j with q_{j-1} < score <= q_j, for the thresholds q_j = quantile((j + 1) / levels),
 * j = 0 ... levels - 1, linear between order statistics; the last is the largest score. Distinct scores give levels whose
 * sizes differ by one at most.
 *
 * `classes` [scores.length], indices from 0, cuts each class for itself, and `thresholds` has a row a class; the row of a
 * class without images is empty. `names` are for messages.
 *
 * @throws TweedieError 'non-finite' for a score that is no number, 'option' for fewer than 2 levels, for more levels than
 *   images (in a class), and where equal scores leave a level without images
 * @example quantileLabels([0.1, 0.4, 0.2, 0.9, 0.7, 0.3, 0.8, 0.5], 4).thresholds // 0.275, 0.45, 0.725, 0.9
 */
export function quantileLabels(scores: ArrayLike<number>, levels: number): { labels: Int32Array; thresholds: number[] }
export function quantileLabels(scores: ArrayLike<number>, levels: number, classes: ArrayLike<number>, names?: readonly string[]): { labels: Int32Array; thresholds: number[][] }
export function quantileLabels(scores: ArrayLike<number>, levels: number, classes?: ArrayLike<number>, names?: readonly string[]): { labels: Int32Array; thresholds: number[] | number[][] } {
  if (!Number.isInteger(levels) || levels < 2) throw new TweedieError('option', `Labels need 2 levels or more, found ${levels}.`)
  const broken = Array.from(scores).findIndex((score) => !Number.isFinite(score))
  if (broken >= 0) throw new TweedieError('non-finite', `Score ${broken} is ${scores[broken]}: score that image again before labelling.`)
  const labels = new Int32Array(scores.length)
  const cut = (members: readonly number[], where: string): number[] => {
    const sorted = Float64Array.from(members, (i) => scores[i]).sort()
    if (sorted.length < levels) {
      throw new TweedieError('option', `${where}: ${sorted.length} image${sorted.length === 1 ? '' : 's'} cannot be cut into ${levels} levels: ` +
        `take ${classes ? "at most as many levels as the smallest class has images, leave that class out, or label over the whole set" : 'fewer levels or more images'}.`)
    }
    const thresholds = Array.from({ length: levels }, (_, j) => quantile(sorted, j + 1, levels))
    const counts = new Array<number>(levels).fill(0)
    for (const i of members) counts[labels[i] = thresholds.findIndex((threshold) => scores[i] <= threshold)]++
    const empty = counts.indexOf(0)
    if (empty >= 0) {
      throw new TweedieError('option', `${where}: level ${empty} of ${levels} is empty, because so many images have the same score as its threshold ${thresholds[empty]}: ` +
        'take fewer levels, or score with more draws or another distance, and look for images that are in the set many times.')
    }
    return thresholds
  }
  if (!classes) return { thresholds: cut(Array.from(labels.keys()), 'all images'), labels }
  if (classes.length !== scores.length) throw new TweedieError('option', `${scores.length} scores need as many classes, found ${classes.length}.`)
  const members: number[][] = []
  for (let i = 0; i < classes.length; i++) {
    const c = classes[i]
    if (!Number.isInteger(c) || c < 0) throw new TweedieError('option', `A class is an index from 0, found ${c} for image ${i}.`)
    while (members.length <= c) members.push([])
    members[c].push(i)
  }
  return { thresholds: members.map((some, c) => some.length === 0 ? [] : cut(some, names?.[c] === undefined ? `class ${c}` : `class ${c} (${names[c]})`)), labels }
}

/** The quantile numerator / denominator of sorted values, with its place among them in whole numbers: exact. */
function quantile(sorted: Float64Array, numerator: number, denominator: number): number {
  const place = numerator * (sorted.length - 1)
  const rest = place % denominator
  const below = sorted[(place - rest) / denominator]
  return rest === 0 ? below : below + (sorted[(place - rest) / denominator + 1] - below) * (rest / denominator)
}
