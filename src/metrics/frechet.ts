import { TweedieError } from '../errors.ts'
import { hostRandomBits, matmul, splitSeed, square, sum, type Device } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import type { Measured } from './bootstrap.ts'
import { checkBoth } from './check.ts'
import { addProduct, factor, mirror, type Factor, type Pace } from './double.ts'
import { symmetricEigen, type Eigen } from './eigen.ts'
import { featureStatistics, Moments, type FeatureStatistics } from './moments.ts'
import { countOf, type Points, type SearchOptions } from './nearest.ts'
import { pacer } from './pace.ts'

/** A Fréchet distance. */
export interface FrechetDistance {
  /** |μ - μ'|² + tr(Σ + Σ' - 2 (Σ Σ')^½), never below 0. */
  readonly value: number
  /** |μ - μ'|², the part of the means in it. */
  readonly means: number
  /** Of the two covariances. */
  readonly ranks: readonly [samples: number, real: number]
  /** A sentence for each covariance that has no full rank. */
  readonly warnings: readonly string[]
}

/**
 * The Fréchet distance of two sets of features as Gaussians: FID in Inception's features, sFID in its spatial ones (Heusel
 * et al., NeurIPS 2017). With one covariance as gᵀg, the trace of the root of a product is the sum of the roots of the
 * eigenvalues of g Σ' gᵀ, which is symmetric: there is no complex root and nothing is added to a diagonal. Some 10 s in
 * 2,048 dimensions. Errors are some 1e-8 of the traces.
 *
 * @throws TweedieError 'shape' for statistics of different spaces, 'non-finite', 'option' for a covariance of zeros
 */
export async function frechetDistance(
  samples: FeatureStatistics,
  real: FeatureStatistics,
  { signal, onProgress }: SearchOptions = {},
): Promise<FrechetDistance> {
  const pace = pacer({ signal, onProgress })
  const { product, rank, about } = await compare(samples, real, (done) => pace(0.7 * done))
  const { values } = await symmetricEigen(product, rank, {
    signal,
    onProgress: (done) => onProgress?.(0.7 + 0.3 * done),
  })
  onProgress?.(1)
  return distanceOf(samples, real, about, values)
}

/** The distance, and what its interval is made of. */
export interface MeasuredFrechet extends FrechetDistance, Measured {}

/**
 * The distance between two sets of features with its influence functions, for `bootstrapInterval`: with T the linear map
 * that carries the first Gaussian onto the second, an image at x from its mean moves the distance by
 * 2 (μ - μ')ᵀx + xᵀ(1 - T)x (Rippl, Munk and Sturm, Journal of Multivariate Analysis 2016). There are none where a
 * covariance has no full rank: T is not known there. A minute in 2,048 dimensions, beside the statistics.
 *
 * @throws TweedieError 'shape', 'option' or 'non-finite' for features that cannot be compared
 */
export async function measureFrechet(
  device: Device,
  samples: Points,
  real: Points,
  { signal, onProgress }: SearchOptions = {},
): Promise<MeasuredFrechet> {
  checkBoth('measureFrechet', samples, real, 2, 2)
  const within = (from: number, to: number): SearchOptions => ({
    signal,
    onProgress: (done) => onProgress?.(from + done * (to - from)),
  })
  const statistics = [
    await featureStatistics(samples, within(0, 0.3)),
    await featureStatistics(real, within(0.3, 0.6)),
  ] as const
  const pace = pacer(within(0.6, 0.7))
  const { dimension } = samples
  const { product, rank, about, root } = await compare(...statistics, pace)
  const full = about.ranks.every((r) => r === dimension)
  const eigen = await symmetricEigen(product, rank, { vectors: full, ...within(0.7, 0.8) })
  const distance = distanceOf(...statistics, about, eigen.values)
  if (!full) return { ...distance, influences: [] }
  // Of equal ranks compare() takes the factor of the samples: the first map is theirs.
  const [toOther, fromOther] = await maps(root, eigen, dimension, pacer(within(0.8, 0.9)))
  const shift = statistics[0].mean.map((value, d) => value - statistics[1].mean[d])
  const back = shift.map((value) => -value)
  const influences = [
    await influence(device, samples, statistics[0].mean, shift, toOther, within(0.9, 0.95)),
    await influence(device, real, statistics[1].mean, back, fromOther, within(0.95, 1)),
  ]
  onProgress?.(1)
  return { ...distance, influences }
}

/** A Fréchet distance as it would be of more and more samples. */
export interface ExtrapolatedFrechet {
  /** Of infinitely many. */
  readonly value: number
  /** The distance of n samples is value + slope / n, as far as the fit goes. */
  readonly slope: number
  /** What it was fitted to. */
  readonly points: readonly { readonly count: number; readonly distance: number }[]
  /** As of {@link FrechetDistance}, of the smallest set. */
  readonly warnings: readonly string[]
}

/**
 * The distance grows by a term in 1 / n as samples get fewer, and by another one for each model: a straight line through
 * the distances of N, N / 2, … N / 5 samples, in 1 / n, leads to infinitely many (Chong and Forsyth, CVPR 2020). Smaller
 * sets are parts of larger ones, in a random order. The reference stays as it is.
 *
 * @throws TweedieError 'option' for fewer than 10 samples; otherwise as `frechetDistance`
 */
export async function extrapolateFrechet(
  samples: Points,
  real: FeatureStatistics,
  { seed = 0, signal, onProgress }: SearchOptions & { readonly seed?: number | bigint } = {},
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
  const meanX = x.reduce((a, b) => a + b) / sizes
  const meanY = points.reduce((a, { distance }) => a + distance, 0) / sizes
  const slope =
    points.reduce((a, { distance }, i) => a + (x[i] - meanX) * (distance - meanY), 0) /
    x.reduce((a, value) => a + (value - meanX) ** 2, 0)
  return { value: meanY - slope * meanX, slope, points, warnings }
}

/** Two sets of statistics brought together. */
interface Comparison {
  /** g Σ' gᵀ, [rank, rank]. */
  readonly product: Float64Array
  readonly rank: number
  /** g, of the samples' covariance, or of the real images' where that has the lower rank. */
  readonly root: Factor
  readonly about: Pick<FrechetDistance, 'ranks' | 'warnings'>
}

async function compare(samples: FeatureStatistics, real: FeatureStatistics, pace: Pace): Promise<Comparison> {
  const n = samples.mean.length
  check('samples', samples)
  check('real images', real)
  if (real.mean.length !== n) {
    throw new TweedieError(
      'shape',
      `frechetDistance: expected statistics of one feature space, found means of ${n} and of ${real.mean.length} numbers.`,
    )
  }
  const own = await factor(samples.covariance, n, (done) => pace(0.2 * done))
  const other = await factor(real.covariance, n, (done) => pace(0.2 + 0.2 * done))
  for (const [name, { rank }] of [
    ['samples', own],
    ['real images', other],
  ] as const) {
    if (rank === 0)
      throw new TweedieError(
        'option',
        `frechetDistance: all ${name} have the same features: are the images copies of one, or constant?`,
      )
  }
  const [root, covariance] = own.rank <= other.rank ? [own, real.covariance] : [other, samples.covariance]
  const { g, rank } = root
  const half = new Float64Array(rank * n)
  await addProduct(half, g, covariance, [rank, n, n], (done) => pace(0.4 + 0.4 * done))
  const product = new Float64Array(rank * rank)
  await addProduct(product, half, g, [rank, rank, n], (done) => pace(0.8 + 0.2 * done), true)
  mirror(product, rank)
  const about = {
    ranks: [own.rank, other.rank] as const,
    warnings: [...warning('samples', samples, own.rank), ...warning('real images', real, other.rank)],
  }
  return { product, rank, root, about }
}

function check(name: string, { mean, covariance }: FeatureStatistics): void {
  if (mean.length === 0 || covariance.length !== mean.length ** 2) {
    throw new TweedieError(
      'shape',
      `frechetDistance: expected a mean of d and a covariance of d x d numbers of the ${name}, found ${mean.length} and ${covariance.length}.`,
    )
  }
  for (const values of [mean, covariance]) {
    const bad = values.find((value) => !Number.isFinite(value))
    if (bad !== undefined)
      throw new TweedieError('non-finite', `frechetDistance: expected finite statistics of the ${name}, found ${bad}.`)
  }
}

function warning(name: string, { mean: { length: n }, count }: FeatureStatistics, rank: number): string[] {
  if (rank === n) return []
  const cause =
    count !== undefined && count <= n
      ? `${count} of them cannot fill ${n} dimensions: the Fréchet distance is too large by an unknown amount, compare KID instead`
      : 'some features are constant or depend on others'
  return [`The covariance of the ${name} has rank ${rank} of ${n}: ${cause}.`]
}

function distanceOf(
  samples: FeatureStatistics,
  real: FeatureStatistics,
  about: Comparison['about'],
  eigenvalues: Float64Array,
): FrechetDistance {
  const n = samples.mean.length
  let means = 0
  let traces = 0
  for (let i = 0; i < n; i++) {
    means += (samples.mean[i] - real.mean[i]) ** 2
    traces += samples.covariance[i * n + i] + real.covariance[i * n + i]
  }
  const root = eigenvalues.reduce((sum, value) => sum + Math.sqrt(Math.max(0, value)), 0)
  return { value: Math.max(0, means + traces - 2 * root), means, ...about }
}

/**
 * Roots of the maps between the Gaussians, each as rows k with T = kᵀk: of T = g⁻¹ (g Σ' gᵀ)^½ g⁻ᵀ, which carries the one
 * with covariance gᵀg onto the other, and of its inverse gᵀ (g Σ' gᵀ)^-½ g.
 */
async function maps(
  { g, pivots }: Factor,
  { values, vectors }: Eigen,
  n: number,
  pace: Pace,
): Promise<[Float64Array, Float64Array]> {
  const least = n * 2 ** -52 * values[n - 1]
  const fourth = values.map((value) => Math.max(value, least) ** 0.25)
  const forth = new Float64Array(n * n)
  for (let i = 0; i < n; i++) {
    solveRow(g, pivots, n, vectors.subarray(i * n, i * n + n), forth.subarray(i * n, i * n + n))
    for (let k = 0; k < n; k++) forth[i * n + k] *= fourth[i]
    const wait = pace(((i + 1) / n) * 0.6)
    if (wait) await wait
  }
  const columns = new Float64Array(n * n)
  for (let i = 0; i < n; i++) for (let k = 0; k < n; k++) columns[k * n + i] = g[i * n + k]
  const back = new Float64Array(n * n)
  await addProduct(back, vectors, columns, [n, n, n], (done) => pace(0.6 + 0.4 * done))
  for (let i = 0; i < n; i++) for (let k = 0; k < n; k++) back[i * n + k] /= fourth[i]
  return [forth, back]
}

/** Solves g v = w, from the last pivot to the first: row r of g is zero at the pivots before its own. */
function solveRow(g: Float64Array, pivots: Int32Array, n: number, w: Float64Array, v: Float64Array): void {
  for (let r = n - 1; r >= 0; r--) {
    const p = r * n
    let [s0, s1, s2, s3] = [0, 0, 0, 0]
    let k = 0
    for (; k + 4 <= n; k += 4) {
      s0 += g[p + k] * v[k]
      s1 += g[p + k + 1] * v[k + 1]
      s2 += g[p + k + 2] * v[k + 2]
      s3 += g[p + k + 3] * v[k + 3]
    }
    for (; k < n; k++) s0 += g[p + k] * v[k]
    v[pivots[r]] = (w[r] - (s0 + s1 + s2 + s3)) / g[p + pivots[r]]
  }
}

/** Rows whose quadratic form is computed at a time. */
const rowsAtOnce = 4096

/** 2 shiftᵀx + xᵀx - |root x|² of each row x, less the mean. Single precision is plenty: an interval is made of them. */
async function influence(
  device: Device,
  { data, dimension }: Points,
  mean: Float64Array,
  shift: Float64Array,
  root: Float64Array,
  { signal, onProgress }: SearchOptions,
): Promise<Float64Array> {
  const n = data.length / dimension
  const out = new Float64Array(n)
  using weight = device.tensor(Float32Array.from(root), [dimension, dimension])
  for (let first = 0; first < n; first += rowsAtOnce) {
    const m = Math.min(rowsAtOnce, n - first)
    const centred = new Float32Array(m * dimension)
    for (let i = 0; i < m; i++) {
      for (let d = 0; d < dimension; d++) {
        const value = data[(first + i) * dimension + d] - mean[d]
        centred[i * dimension + d] = value
        out[first + i] += value * (2 * shift[d] + value)
      }
    }
    using x = device.tensor(centred, [m, dimension])
    using sums = device.scope(() => sum(square(matmul(x, weight, { transposeB: true })), { axes: [1] }))
    const found = await sums.read()
    for (let i = 0; i < m; i++) out[first + i] -= found[i]
    signal?.throwIfAborted()
    onProgress?.((first + m) / n)
  }
  return out
}
