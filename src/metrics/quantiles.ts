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
    const at = p * (sorted.length - 1)
    const low = Math.floor(at)
    return sorted[low] + (at - low) * (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low])
  })
}
