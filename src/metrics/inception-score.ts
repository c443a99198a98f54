import { TweedieError } from '../errors.ts'
import type { Measured } from './bootstrap.ts'
import { checkFeatures } from './check.ts'
import { countOf, type Points } from './nearest.ts'

/** An Inception Score. */
export interface InceptionScore extends Measured {
  /** The score of each split, whose mean is the value. */
  readonly splits: readonly number[]
}

/**
 * Inception Score of class logits, [N, classes]: exp of the mean Kullback-Leibler divergence of an image's class
 * probabilities from their mean, averaged over splits of `splitSize` images (Salimans et al., NeurIPS 2016). Default
 * 5,000, the ADM evaluator's; the last split may be smaller.
 *
 * @throws TweedieError 'shape', 'option' or 'non-finite' for logits that it can say nothing about
 */
export function inceptionScore(
  logits: Points,
  { splitSize = 5000 }: { readonly splitSize?: number } = {},
): InceptionScore {
  checkFeatures('inceptionScore', 'logits', logits, 2)
  if (!Number.isInteger(splitSize) || splitSize < 2) {
    throw new TweedieError('option', `inceptionScore: expected splits of 2 images or more, found ${splitSize}.`)
  }
  const n = countOf(logits)
  const parts = Array.from({ length: Math.ceil(n / splitSize) }, (_, s) =>
    divergences(logits, s * splitSize, Math.min(n, (s + 1) * splitSize)),
  )
  const splits = parts.map((part) => Math.exp(part.reduce((a, b) => a + b, 0) / part.length))
  const influence = new Float64Array(n)
  parts.forEach((part, s) => {
    const mean = Math.log(splits[s])
    // d exp(mean) = exp(mean) d mean; a split counts as much as any other, whatever its size.
    part.forEach(
      (divergence, i) =>
        (influence[s * splitSize + i] = (splits[s] * (divergence - mean) * n) / (part.length * parts.length)),
    )
  })
  return { value: splits.reduce((a, b) => a + b, 0) / splits.length, splits, influences: [influence] }
}

/** Of rows `begin` to `end`, each row's divergence from their mean, in nats. */
function divergences({ data, dimension }: Points, begin: number, end: number): Float64Array {
  const mean = new Float64Array(dimension)
  const entropies = new Float64Array(end - begin)
  const rows = Array.from({ length: end - begin }, (_, i) => {
    const row = data.subarray((begin + i) * dimension, (begin + i + 1) * dimension)
    const largest = row.reduce((a, b) => Math.max(a, b))
    const logSum = Math.log(row.reduce((sum, value) => sum + Math.exp(value - largest), 0))
    return { row, shift: largest + logSum }
  })
  rows.forEach(({ row, shift }, i) =>
    row.forEach((value, c) => {
      const p = Math.exp(value - shift)
      mean[c] += p / rows.length
      entropies[i] += p * (value - shift)
    }),
  )
  const logMean = mean.map((p) => (p > 0 ? Math.log(p) : 0))
  return entropies.map((sum, i) => {
    const { row, shift } = rows[i]
    for (let c = 0; c < dimension; c++) sum -= Math.exp(row[c] - shift) * logMean[c]
    return sum
  })
}
