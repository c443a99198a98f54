import { matmul, square, sum, type Device } from '../tensor/index.ts'
import type { Measured } from './bootstrap.ts'
import { checkBoth } from './check.ts'
import { addProduct, type Factor, type Pace } from './double.ts'
import { symmetricEigen, type Eigen } from './eigen.ts'
import { compare, distanceOf, type FrechetDistance } from './frechet.ts'
import { featureStatistics, type FeatureStatistics } from './moments.ts'
import type { Points, SearchOptions } from './nearest.ts'
import { pacer } from './pace.ts'

/** The distance, and what its interval is made of. */
export interface MeasuredFrechet extends FrechetDistance, Measured {}

/** Options of {@link measureFrechet}. */
export interface MeasureFrechetOptions extends SearchOptions {
  /** Those that are known already. Default: they are computed. */
  readonly statistics?: { readonly samples?: FeatureStatistics | undefined; readonly real?: FeatureStatistics }
}

/**
 * The distance between two sets of features with its influence functions, for `bootstrapInterval`: with T the linear
 * map that carries the first Gaussian onto the second, an image at x from its mean moves the distance by 2 (μ - μ')ᵀx +
 * xᵀ(1 - T)x (Rippl, Munk and Sturm, Journal of Multivariate Analysis 2016). Where a covariance has no full rank, T is
 * known in the space that its images span, and an image is in it: this is still the derivative by the images' weights.
 * The interval is then around a distance that is too large. A minute in 2,048 dimensions, beside the statistics; of
 * fewer images by the third power of their number less.
 *
 * @param real features, or statistics of them, which are then taken as they are: the interval is of the samples alone
 * @throws TweedieError 'shape', 'option' or 'non-finite' for features that cannot be compared
 */
export async function measureFrechet(
  device: Device,
  samples: Points,
  real: Points | FeatureStatistics,
  { statistics: known = {}, signal, onProgress }: MeasureFrechetOptions = {},
): Promise<MeasuredFrechet> {
  if ('data' in real) checkBoth('measureFrechet', samples, real, 2, 2)
  const within = (from: number, to: number): SearchOptions => ({
    signal,
    onProgress: (done) => onProgress?.(from + done * (to - from)),
  })
  const statistics = [
    known.samples ?? (await featureStatistics(samples, within(0, 0.3))),
    'data' in real ? (known.real ?? (await featureStatistics(real, within(0.3, 0.6)))) : real,
  ] as const
  const { product, rank, about, root, varying } = await compare(...statistics, pacer(within(0.6, 0.7)))
  const eigen = await symmetricEigen(product, rank, { vectors: true, ...within(0.7, 0.8) })
  const distance = distanceOf(...statistics, about, eigen.values)
  const [toOther, fromOther] = await maps(root, eigen, varying.length, pacer(within(0.8, 0.9)))
  // compare() takes the factor of the lower rank, and of equal ranks that of the samples: the first map is theirs.
  const [ofSamples, ofReal] = about.ranks[0] <= about.ranks[1] ? [toOther, fromOther] : [fromOther, toOther]
  const shift = statistics[0].mean.map((value, d) => value - statistics[1].mean[d])
  const influences = [
    await influence(device, samples, statistics[0].mean, shift, [ofSamples, varying], within(0.9, 0.95)),
  ]
  if ('data' in real) {
    const back = shift.map((value) => -value)
    influences.push(await influence(device, real, statistics[1].mean, back, [ofReal, varying], within(0.95, 1)))
  }
  onProgress?.(1)
  return { ...distance, influences }
}

/**
 * Roots of the maps between the Gaussians, each as rows k with T = kᵀk: of T = g⁻¹ (g Σ' gᵀ)^½ g⁻ᵀ, which carries the
 * one with covariance gᵀg onto the other, and of its inverse gᵀ (g Σ' gᵀ)^-½ g; [rank, n]. Of a g with fewer rows than
 * columns g⁻ᵀ gives the c of an x = gᵀc; of an eigenvalue that is 0 but for rounding both roots are 0.
 */
async function maps(
  { g, rank, pivots }: Factor,
  { values, vectors }: Eigen,
  n: number,
  pace: Pace,
): Promise<[Float64Array, Float64Array]> {
  const least = rank * 2 ** -52 * values[rank - 1]
  const fourth = values.map((value) => (value > least ? value ** 0.25 : 0))
  const forth = new Float64Array(rank * n)
  for (let i = 0; i < rank; i++) {
    solveRow(g, pivots, n, vectors.subarray(i * rank, i * rank + rank), forth.subarray(i * n, i * n + n))
    for (let k = 0; k < n; k++) forth[i * n + k] *= fourth[i]
    const wait = pace(((i + 1) / rank) * 0.6)
    if (wait) await wait
  }
  const columns = new Float64Array(n * rank)
  for (let i = 0; i < rank; i++) for (let k = 0; k < n; k++) columns[k * rank + i] = g[i * n + k]
  const back = new Float64Array(rank * n)
  await addProduct(back, vectors, columns, [rank, n, rank], (done) => pace(0.6 + 0.4 * done))
  for (let i = 0; i < rank; i++) for (let k = 0; k < n; k++) back[i * n + k] *= fourth[i] > 0 ? 1 / fourth[i] : 0
  return [forth, back]
}

/**
 * Solves g v = w by numbers at the pivots alone, from the last to the first: row r of g is zero at the pivots before
 * its own.
 */
function solveRow(g: Float64Array, pivots: Int32Array, n: number, w: Float64Array, v: Float64Array): void {
  for (let r = pivots.length - 1; r >= 0; r--) {
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

/**
 * 2 shiftᵀx + xᵀx - |root x|² of each row, x being its difference from the mean, and root [rank, m] of the varying
 * features alone. The products are in single precision, which is plenty: only an interval is made of them.
 */
async function influence(
  device: Device,
  { data, dimension }: Points,
  mean: Float64Array,
  shift: Float64Array,
  [root, varying]: readonly [Float64Array, readonly number[]],
  { signal, onProgress }: SearchOptions,
): Promise<Float64Array> {
  const n = data.length / dimension
  const out = new Float64Array(n)
  const m = varying.length
  const rank = root.length / m
  const wide = new Float32Array(rank * dimension)
  for (let i = 0; i < rank; i++) for (let k = 0; k < m; k++) wide[i * dimension + varying[k]] = root[i * m + k]
  using weight = device.tensor(wide, [rank, dimension])
  for (let first = 0; first < n; first += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, n - first)
    const centred = new Float32Array(count * dimension)
    for (let i = 0; i < count; i++) {
      for (let d = 0; d < dimension; d++) {
        const value = data[(first + i) * dimension + d] - mean[d]
        centred[i * dimension + d] = value
        out[first + i] += value * (2 * shift[d] + value)
      }
    }
    using x = device.tensor(centred, [count, dimension])
    using sums = device.scope(() => sum(square(matmul(x, weight, { transposeB: true })), { axes: [1] }))
    const found = await sums.read()
    for (let i = 0; i < count; i++) out[first + i] -= found[i]
    signal?.throwIfAborted()
    onProgress?.((first + count) / n)
  }
  return out
}
