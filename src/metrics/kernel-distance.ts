import { TweedieError } from '../errors.ts'
import { hostRandomUniform, matmul, splitSeed, type Device } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import type { Measured } from './bootstrap.ts'
import { checkBoth } from './check.ts'
import { countOf, type Points, type SearchOptions } from './nearest.ts'
import { rowsOf } from './rows.ts'

/** Options of {@link kernelDistance}. */
export interface KernelDistanceOptions extends SearchOptions {
  /** Pairs of subsets whose distances are averaged. Default 100, clean-fid's. */
  readonly subsets?: number
  /** Images in a subset, or as many as the smaller set has. Default 1000, clean-fid's. */
  readonly size?: number
  /** Default 0. */
  readonly seed?: number | bigint
}

/** A kernel distance. */
export interface KernelDistance extends Measured {
  /** The distance of each pair of subsets, whose mean is the value. */
  readonly subsets: readonly number[]
  /** A sentence where the features are so large that the number says nothing. */
  readonly warnings: readonly string[]
}

/**
 * KID: the squared maximum mean discrepancy with the kernel (xᵀy / d + 1)³, unbiased, so that it may be
 * negative (Bińkowski et al., ICLR 2018), the mean over pairs of random subsets as in clean-fid. Of two sets that
 * both fit into one subset it is computed once, of all images of each: exact, and the same for any seed.
 *
 * @throws TweedieError 'shape', 'option' or 'non-finite' for features that cannot be compared
 */
export async function kernelDistance(
  device: Device,
  samples: Points,
  real: Points,
  { subsets = 100, size = 1000, seed = 0, signal, onProgress }: KernelDistanceOptions = {},
): Promise<KernelDistance> {
  checkBoth('kernelDistance', samples, real, 2, 2)
  for (const [name, value, least] of [
    ['subsets', subsets, 1],
    ['size', size, 2],
  ] as const) {
    if (!Number.isInteger(value) || value < least) {
      throw new TweedieError('option', `kernelDistance: expected ${name} of ${least} or more, found ${value}.`)
    }
  }
  const sets = [samples, real]
  const whole = sets.every((set) => countOf(set) <= size)
  const m = Math.min(size, ...sets.map(countOf))
  const times = whole ? 1 : subsets
  const sums = sets.map((set) => new Float64Array(countOf(set)))
  const drawn = sets.map((set) => new Float64Array(countOf(set)))
  const values: number[] = []
  for (let s = 0; s < times; s++) {
    const rows = sets.map((set, draw) =>
      whole
        ? Int32Array.from({ length: countOf(set) }, (_, i) => i)
        : choose(countOf(set), m, { seed: splitSeed(seed), draw, purpose: purposes.subsets }, s),
    )
    const found = await discrepancy(device, rowsOf(samples, rows[0]), rowsOf(real, rows[1]))
    values.push(found.value)
    rows.forEach((chosen, set) =>
      chosen.forEach((row, i) => {
        sums[set][row] += found.items[set][i]
        drawn[set][row]++
      }),
    )
    signal?.throwIfAborted()
    onProgress?.((s + 1) / times)
  }
  // A statistic of pairs moves by twice an item's own mean; those that were in no subset are not known.
  const influences = sums.map((sum, set) =>
    sum.map((value, i) => (2 * value) / drawn[set][i]).filter((value) => !Number.isNaN(value)),
  )
  const warnings = [...warning('real images', real), ...warning('samples', samples)].slice(0, 1)
  return { value: values.reduce((a, b) => a + b) / times, subsets: values, warnings, influences }
}

/**
 * The mean square of a feature above which a kernel is some 100³ = 10⁶: rounding to single precision then moves it by
 * 0.1, more than most distances, and its 1 counts for nothing. Of Inception's features it is below 1.
 */
const largest = 100

function warning(name: string, { data }: Points): string[] {
  let square = 0
  for (const value of data) square += value * value
  square /= data.length
  if (square <= largest) return []
  return [
    `The features of the ${name} have a mean square of ${Number(square.toPrecision(2)).toLocaleString('en')}, and ` +
      `above ${largest} the cubic kernel of KID is rounding and a few images: do not read KID in this space.`,
  ]
}

/** The discrepancy of two sets of features. */
export interface Discrepancy {
  readonly value: number
  /** For each item of either set its own mean; the two means of these add up to the value. */
  readonly items: readonly [Float64Array, Float64Array]
}

/**
 * One subset's part of {@link kernelDistance}. Products are the device's, in single precision; kernels and sums are in
 * double.
 */
export async function discrepancy(device: Device, x: Points, y: Points): Promise<Discrepancy> {
  const [m, n] = [countOf(x), countOf(y)]
  const { dimension } = x
  using a = device.tensor(x.data, [m, dimension])
  using b = device.tensor(y.data, [n, dimension])
  const kernels = async (p: typeof a, q: typeof a): Promise<Float64Array> => {
    using products = matmul(p, q, { transposeB: true })
    const found = await products.read()
    const kernel = new Float64Array(found.length)
    for (let i = 0; i < kernel.length; i++) {
      const value = found[i] / dimension + 1
      kernel[i] = value * value * value
    }
    return kernel
  }
  const items = [new Float64Array(m), new Float64Array(n)] as const
  for (const [set, own] of [a, b].entries()) {
    const k = await kernels(own, own)
    const c = items[set].length
    for (let i = 0; i < c; i++) for (let j = 0; j < c; j++) if (i !== j) items[set][i] += k[i * c + j] / (c - 1)
  }
  const k = await kernels(a, b)
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      items[0][i] -= k[i * n + j] / n
      items[1][j] -= k[i * n + j] / m
    }
  }
  const value = items.reduce((total, set) => total + set.reduce((p, q) => p + q, 0) / set.length, 0)
  return { value, items }
}

/** `m` different rows below n: the head of Fisher and Yates' shuffle. */
function choose(n: number, m: number, stream: Parameters<typeof hostRandomUniform>[0], index: number): Int32Array {
  const random = hostRandomUniform(stream, [index], m)
  const order = Int32Array.from({ length: n }, (_, i) => i)
  for (let i = 0; i < m; i++) {
    const j = i + Math.floor(random[i] * (n - i))
    const other = order[j]
    order[j] = order[i]
    order[i] = other
  }
  return order.subarray(0, m)
}
