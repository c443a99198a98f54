/** Quantiles of a sample. */
import { TweedieError } from '../errors.ts'

/**
 * The `p`-quantiles of `values` for each p from 0 to 1, with linear interpolation between order statistics (NumPy's
 * default). Throws 'option' for no values and for p outside 0 to 1.
 */
export function quantiles(values: ArrayLike<number>, ps: readonly number[]): number[] {
  if (values.length === 0) throw new TweedieError('option', 'quantiles: there are no values.')
  const sorted = Float64Array.from(values).sort()
  return ps.map((p) => {
    if (!(p >= 0 && p <= 1)) throw new TweedieError('option', `quantiles: expected numbers from 0 to 1, found ${p}.`)
    return quantile(sorted, p, 1)
  })
}

/**
 * The quantile numerator / denominator, 0 to 1, of ascending values. Of whole numbers its place among the values is
 * exact, where their quotient is rounded.
 */
export function quantile(sorted: Float64Array, numerator: number, denominator: number): number {
  const place = numerator * (sorted.length - 1)
  const rest = place % denominator
  const below = sorted[(place - rest) / denominator]
  return rest === 0 ? below : below + (sorted[(place - rest) / denominator + 1] - below) * (rest / denominator)
}
