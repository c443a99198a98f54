import { TweedieError } from '../errors.ts'
import { hostRandomBits, splitSeed } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import type { SearchOptions } from './nearest.ts'
import { pacer } from './pace.ts'
import { quantiles } from './quantiles.ts'

/**
 * A measure, and what is needed to say how far another draw of the same images' number would move it.
 */
export interface Measured {
  readonly value: number
  /**
   * For each set that was drawn at random, one number an item: how the value changes with that item's weight, up to a
   * constant (the influence function). Of a mean, the items themselves. No set where this is not known.
   */
  readonly influences: readonly Float64Array[]
}

/** The mean of one number an item. Throws 'option' for no items. */
export function meanOf(items: Float64Array): Measured {
  if (items.length === 0) throw new TweedieError('option', 'meanOf: there are no items.')
  return { value: sumOf(items) / items.length, influences: [items] }
}

const sumOf = (items: Float64Array): number => items.reduce((a, b) => a + b, 0)

/** Bounds of a measure, both null where it has no influences. */
export interface Interval {
  readonly low: number | null
  readonly high: number | null
}

/** Options of {@link bootstrap} and {@link bootstrapInterval}. */
export interface BootstrapOptions extends SearchOptions {
  /** How often the items are drawn again. Default 1000. */
  readonly resamples?: number
  /** Part of the resamples that lies inside. Default 0.95. */
  readonly confidence?: number
  /** Default 0. */
  readonly seed?: number | bigint
}

/**
 * The percentile interval of a measure by resampling its items (Efron and Tibshirani, An Introduction to the Bootstrap,
 * 13.3). Of a mean, such as precision or AvgkNN, exactly that, with the balls and neighbours held fixed: of a set with
 * items twice they would be others. Of a Fréchet or kernel distance, an Inception Score or C_T it resamples the
 * influence function, to which the measure is linear up to 1 / n: a resample then costs a sum, and the bias of a
 * distance between sets with repeated items does not enter, which would be far larger than the interval where there are
 * fewer images than features.
 *
 * @throws TweedieError 'option' for fewer than 2 resamples or a confidence outside 0 to 1
 */
export async function bootstrapInterval(
  { value, influences }: Measured,
  options: BootstrapOptions = {},
): Promise<Interval> {
  if (influences.length === 0) return { low: null, high: null }
  const means = influences.map((items) => sumOf(items) / items.length)
  return bootstrap(
    influences.map(({ length }) => length),
    (rows) => {
      let found = value
      influences.forEach((items, set) => {
        let sum = 0
        for (let i = 0; i < items.length; i++) sum += items[rows[set][i]]
        found += sum / items.length - means[set]
      })
      return found
    },
    options,
  )
}

/**
 * The percentile interval of any statistic. `statistic` is given for each set, of `counts` items, as many rows drawn
 * with replacement; the arrays are used again after it returns. Resample r is the same whatever their number.
 *
 * @throws TweedieError 'option' for fewer than 2 resamples or a confidence outside 0 to 1
 */
export async function bootstrap(
  counts: readonly number[],
  statistic: (rows: readonly Uint32Array[]) => number,
  { resamples = 1000, confidence = 0.95, seed = 0, signal, onProgress }: BootstrapOptions = {},
): Promise<Interval> {
  if (!Number.isInteger(resamples) || resamples < 2) {
    throw new TweedieError('option', `bootstrap: expected 2 resamples or more, found ${resamples}.`)
  }
  if (!(confidence > 0 && confidence < 1)) {
    throw new TweedieError('option', `bootstrap: expected a confidence between 0 and 1, found ${confidence}.`)
  }
  const pace = pacer({ signal, onProgress })
  const words = splitSeed(seed)
  const found = new Float64Array(resamples)
  for (let r = 0; r < resamples; r++) {
    found[r] = statistic(
      counts.map((count, draw) => {
        const rows = hostRandomBits({ seed: words, draw, purpose: purposes.bootstrap }, [r], count)
        for (let i = 0; i < count; i++) rows[i] = Math.floor((rows[i] / 2 ** 32) * count)
        return rows
      }),
    )
    const wait = pace((r + 1) / resamples)
    if (wait) await wait
  }
  const [low, high] = quantiles(found, [(1 - confidence) / 2, (1 + confidence) / 2])
  return { low, high }
}
