import { TweedieError } from '../errors.ts'
import { hostRandomBits, splitSeed } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import type { Measured } from './bootstrap.ts'
import { frechetDistance } from './frechet.ts'
import { Moments, type FeatureStatistics } from './moments.ts'
import { countOf, type Points, type SearchOptions } from './nearest.ts'
import { pacer } from './pace.ts'

/** A Fréchet distance as it would be of more and more samples. */
export interface ExtrapolatedFrechet extends Measured {
  /** Of infinitely many. */
  readonly value: number
  /** The distance of n samples is value + slope / n, as far as the fit goes. */
  readonly slope: number
  /** What it was fitted to. */
  readonly points: readonly { readonly count: number; readonly distance: number }[]
  /** As of {@link FrechetDistance}, of the smallest set. */
  readonly warnings: readonly string[]
}

/** Options of {@link extrapolateFrechet}. */
export interface ExtrapolateOptions extends SearchOptions {
  /** Of the order in which samples are taken. Default 0. */
  readonly seed?: number | bigint
  /** Those that `measureFrechet` found for the distance of all; default none, and then no interval. */
  readonly influences?: Measured['influences']
}

/**
 * The distance grows by a term in 1 / n as samples get fewer, and by another one for each model: a straight line
 * through the distances of N, N / 2, … N / 5 samples, in 1 / n, leads to infinitely many (Chong and Forsyth, CVPR
 * 2020). Smaller sets are parts of larger ones, in a random order. The reference stays as it is.
 *
 * @throws TweedieError 'option' for fewer than 10 samples; otherwise as `frechetDistance`
 */
export async function extrapolateFrechet(
  samples: Points,
  real: FeatureStatistics,
  { seed = 0, influences = [], signal, onProgress }: ExtrapolateOptions = {},
): Promise<ExtrapolatedFrechet> {
  const sizes = 5
  const n = countOf(samples)
  if (n < 2 * sizes)
    throw new TweedieError('option', `extrapolateFrechet: expected ${2 * sizes} samples or more, found ${n}.`)
  const pace = pacer({ signal })
  const bits = hostRandomBits({ seed: splitSeed(seed), draw: 2, purpose: purposes.subsets }, [0], n)
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => bits[i] - bits[j] || i - j)
  const moments = new Moments(samples)
  const points: { count: number; distance: number }[] = []
  let warnings: readonly string[] = []
  let used = 0
  for (let part = sizes; part >= 1; part--) {
    const count = Math.floor(n / part)
    await moments.add(order.slice(used, count), pace)
    used = count
    const found = await frechetDistance(moments.statistics(), real, { signal })
    if (part === sizes) warnings = found.warnings
    points.push({ count, distance: found.value })
    onProgress?.((sizes - part + 1) / sizes)
  }
  const x = points.map(({ count }) => 1 / count)
  const mean = x.reduce((a, b) => a + b) / sizes
  const spread = x.reduce((a, value) => a + (value - mean) ** 2, 0)
  // Value and slope are sums of the distances with these weights.
  const slopes = x.map((value) => (value - mean) / spread)
  const weights = slopes.map((weight) => 1 / sizes - weight * mean)
  const weighted = (by: readonly number[]): number => points.reduce((a, { distance }, i) => a + by[i] * distance, 0)
  return {
    value: weighted(weights),
    slope: weighted(slopes),
    points,
    warnings,
    influences: influences.map((items, set) => (set === 0 ? influenceOf(items, order, points, weights) : items)),
  }
}

/** Of the samples on the value: an item has its influence in every set that it is in, the more the smaller the set. */
function influenceOf(
  items: Float64Array,
  order: readonly number[],
  points: ExtrapolatedFrechet['points'],
  weights: readonly number[],
): Float64Array {
  const mean = items.reduce((a, b) => a + b, 0) / items.length
  const out = new Float64Array(items.length)
  points.forEach(({ count }, s) => {
    for (const row of order.slice(0, count)) out[row] += (weights[s] * (items[row] - mean) * items.length) / count
  })
  return out
}
