import { TweedieError } from '../errors.ts'
import type { Measured } from './bootstrap.ts'
import { checkFeatures } from './check.ts'
import type { Pace } from './double.ts'
import { countOf, type Points, type SearchOptions } from './nearest.ts'
import { pacer } from './pace.ts'

/** Options of {@link inceptionScore}. */
export interface InceptionScoreOptions extends SearchOptions {
  /** Images in a split. Default 5,000. */
  readonly splitSize?: number
}

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
 * Pauses for other events, reports and heeds the signal as it goes: 50,000 images of 1,008 classes take some 6 s.
 *
 * @throws TweedieError 'shape', 'option' or 'non-finite' for logits that it can say nothing about
 */
export async function inceptionScore(
  logits: Points,
  { splitSize = 5000, ...pauses }: InceptionScoreOptions = {},
): Promise<InceptionScore> {
  checkFeatures('inceptionScore', 'logits', logits, 2)
  if (!Number.isInteger(splitSize) || splitSize < 2) {
    throw new TweedieError('option', `inceptionScore: expected splits of 2 images or more, found ${splitSize}.`)
  }
  const n = countOf(logits)
  const pace = pacer(pauses)
  const parts: Float64Array[] = []
  for (let begin = 0; begin < n; begin += splitSize) {
    const end = Math.min(n, begin + splitSize)
    parts.push(await divergences(logits, begin, end, (done) => pace((begin + done * (end - begin)) / n)))
  }
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
async function divergences({ data, dimension }: Points, begin: number, end: number, pace: Pace): Promise<Float64Array> {
  const count = end - begin
  const mean = new Float64Array(dimension)
  const [entropies, shifts] = [new Float64Array(count), new Float64Array(count)]
  const rowOf = (i: number): Float32Array => data.subarray((begin + i) * dimension, (begin + i + 1) * dimension)
  for (let i = 0; i < count; i++) {
    const row = rowOf(i)
    const largest = row.reduce((a, b) => Math.max(a, b))
    const shift = largest + Math.log(row.reduce((sum, value) => sum + Math.exp(value - largest), 0))
    shifts[i] = shift
    for (let c = 0; c < dimension; c++) {
      const p = Math.exp(row[c] - shift)
      mean[c] += p / count
      entropies[i] += p * (row[c] - shift)
    }
    const wait = pace(((i + 1) / count) * 0.6)
    if (wait) await wait
  }
  const logMean = mean.map((p) => (p > 0 ? Math.log(p) : 0))
  for (let i = 0; i < count; i++) {
    const row = rowOf(i)
    for (let c = 0; c < dimension; c++) entropies[i] -= Math.exp(row[c] - shifts[i]) * logMean[c]
    const wait = pace(0.6 + ((i + 1) / count) * 0.4)
    if (wait) await wait
  }
  return entropies
}
