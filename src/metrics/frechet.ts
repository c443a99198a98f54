import { TweedieError } from '../errors.ts'
import { addProduct, factor, mirror, type Factor, type Pace } from './double.ts'
import { symmetricEigen } from './eigen.ts'
import type { FeatureStatistics } from './moments.ts'
import type { SearchOptions } from './nearest.ts'
import { pacer } from './pace.ts'

/** A Fréchet distance. */
export interface FrechetDistance {
  /** |μ - μ'|² + tr(Σ + Σ' - 2 (Σ Σ')^½), never below 0. */
  readonly value: number
  /** |μ - μ'|², the part of the means in it. */
  readonly means: number
  /** How many features vary in either set: what a full rank would be. */
  readonly dimension: number
  /** Of the two covariances. */
  readonly ranks: readonly [samples: number, real: number]
  /** A sentence for each covariance that has no full rank, that of the samples first. */
  readonly warnings: readonly string[]
}

/**
 * The Fréchet distance of two sets of features as Gaussians: FID in Inception's features, sFID in its spatial ones
 * (Heusel et al., NeurIPS 2017). With one covariance as gᵀg, the trace of the root of a product is the sum of the roots
 * of the eigenvalues of g Σ' gᵀ, which is symmetric: there is no complex root and nothing is added to a diagonal. Some
 * 10 s in 2,048 dimensions. Errors are some 1e-8 of the traces.
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

/** Two sets of statistics brought together. */
export interface Comparison {
  /** g Σ' gᵀ, [rank, rank]. */
  readonly product: Float64Array
  readonly rank: number
  /** g, of the samples' covariance, or of the real images' where that has the lower rank. */
  readonly root: Factor
  /** The features that vary in either set; the matrices are of these alone. */
  readonly varying: readonly number[]
  readonly about: Pick<FrechetDistance, 'dimension' | 'ranks' | 'warnings'>
}

/**
 * Factors the covariances and multiplies them. Features that are constant in both sets, as many of a ReLU's are, take
 * no part.
 *
 * @internal
 */
export async function compare(samples: FeatureStatistics, real: FeatureStatistics, pace: Pace): Promise<Comparison> {
  check('samples', samples)
  check('real images', real)
  if (real.mean.length !== samples.mean.length) {
    throw new TweedieError(
      'shape',
      `frechetDistance: expected statistics of one feature space, found means of ${samples.mean.length} and of ` +
        `${real.mean.length} numbers.`,
    )
  }
  const varying = varyingOf(samples, real)
  const n = varying.length
  const covariances = [samples, real].map(({ covariance }) => among(covariance, varying)) as [
    Float64Array,
    Float64Array,
  ]
  const own = await factor(covariances[0], n, (done) => pace(0.2 * done))
  const other = await factor(covariances[1], n, (done) => pace(0.2 + 0.2 * done))
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
  const [root, covariance] = own.rank <= other.rank ? [own, covariances[1]] : [other, covariances[0]]
  const { g, rank } = root
  const half = new Float64Array(rank * n)
  await addProduct(half, g, covariance, [rank, n, n], (done) => pace(0.4 + 0.4 * done))
  const product = new Float64Array(rank * rank)
  await addProduct(product, half, g, [rank, rank, n], (done) => pace(0.8 + 0.2 * done), true)
  mirror(product, rank)
  const about = {
    dimension: n,
    ranks: [own.rank, other.rank] as const,
    warnings: [
      ...(own.rank < n ? [warning('samples', samples, own.rank, n)] : []),
      ...(other.rank < n ? [warning('real images', real, other.rank, varyingOf(real).length)] : []),
    ],
  }
  return { product, rank, root, varying, about }
}

function check(name: string, { mean, covariance }: FeatureStatistics): void {
  if (mean.length === 0 || covariance.length !== mean.length ** 2) {
    throw new TweedieError(
      'shape',
      `frechetDistance: expected a mean of d and a covariance of d x d numbers of the ${name}, found ` +
        `${mean.length} and ${covariance.length}.`,
    )
  }
  for (const values of [mean, covariance]) {
    const bad = values.find((value) => !Number.isFinite(value))
    if (bad !== undefined)
      throw new TweedieError('non-finite', `frechetDistance: expected finite statistics of the ${name}, found ${bad}.`)
  }
}

/**
 * `vary`: of the samples, in either set, which mostly are those of the real images, so that many methods have one
 * sentence; of the real images in them alone, so that it is the same whatever they are compared to.
 */
function warning(name: string, { count, mean }: FeatureStatistics, rank: number, vary: number): string {
  const all = mean.length
  const features = vary === all ? `${all} features` : `the ${vary} features that vary (of ${all})`
  const cause =
    count !== undefined && count <= vary
      ? `${count} of them cannot fill ${vary} dimensions: the Fréchet distance is too large by an unknown amount; ` +
        `compare more than ${vary}, or KID, which takes the images of both sets`
      : rank === vary
        ? 'the others are constant, but not in the other set'
        : `${count === undefined ? 'they were too few, or some' : 'some'} features are constant or depend on others`
  return `The covariance of the ${name} has rank ${rank} of ${features}: ${cause}.`
}

/** Features with a variance above rounding in either set. */
function varyingOf(...sets: readonly FeatureStatistics[]): number[] {
  const n = sets[0].mean.length
  const least = sets.map(({ covariance }) => {
    let largest = 0
    for (let i = 0; i < n; i++) largest = Math.max(largest, covariance[i * n + i])
    return n * 2 ** -52 * largest
  })
  return Array.from({ length: n }, (_, i) => i).filter((i) =>
    sets.some(({ covariance }, s) => covariance[i * n + i] > least[s]),
  )
}

/** Rows and columns of a square matrix. */
function among(matrix: Float64Array, kept: readonly number[]): Float64Array {
  const n = Math.sqrt(matrix.length)
  if (kept.length === n) return matrix
  return Float64Array.from({ length: kept.length ** 2 }, (_, at) => {
    const [i, j] = [Math.floor(at / kept.length), at % kept.length]
    return matrix[kept[i] * n + kept[j]]
  })
}

/**
 * The distance, of what {@link compare} found and the eigenvalues of its product.
 *
 * @internal
 */
export function distanceOf(
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
