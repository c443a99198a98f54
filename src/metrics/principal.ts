import { TweedieError } from '../errors.ts'
import { hostRandomNormal, matmul, splitSeed, type Device, type Tensor } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import { symmetricEigen } from './eigen.ts'
import { countOf, type Points } from './nearest.ts'

/** Where the points of {@link principalComponents} lie: `(x - mean) · directions` are a point's coordinates. */
export interface PrincipalComponents {
  /** Of every coordinate. */
  readonly mean: Float32Array
  /** `[components, dimension]`: orthonormal rows, along which the points vary most. */
  readonly directions: Float32Array<ArrayBuffer>
  readonly components: number
}

/**
 * Directions beside those that are wanted: the wanted ones are found as fast as they stand out from the first left out.
 */
const spare = 16
const passes = 12

/**
 * The directions along which points vary most, the eigenvectors of their covariance's largest eigenvalues, in their
 * order, by subspace iteration and Rayleigh's and Ritz's step (Golub and Van Loan, "Matrix Computations", 8.2.4): the
 * covariance, which of pictures would not fit into memory, is never formed. Where two variances are close the
 * directions may be any in their plane, which changes no distance between points.
 *
 * @throws TweedieError 'option' for more components than there are points less one, or coordinates
 */
export async function principalComponents(
  device: Device,
  points: Points,
  components: number,
  signal?: AbortSignal,
): Promise<PrincipalComponents> {
  const { dimension } = points
  const n = countOf(points)
  const most = Math.min(n - 1, dimension)
  if (!Number.isInteger(components) || components < 1 || components > most) {
    throw new TweedieError(
      'option',
      `principalComponents: expected 1 to ${most} components of ${n} points of ${dimension} coordinates, ` +
        `found ${components}.`,
    )
  }
  const { mean, data } = centred(points)
  using x = device.tensor(data, [n, dimension])
  const searched = Math.min(components + spare, most)
  const stream = { seed: splitSeed(0), draw: 0, purpose: purposes.principal }
  const basis = Float64Array.from(hostRandomNormal(stream, [0], searched * dimension))
  orthonormalize(basis, searched, dimension)
  const inBasis = async (make: (q: Tensor) => Tensor): Promise<Float32Array> => {
    signal?.throwIfAborted()
    using q = device.tensor(Float32Array.from(basis), [searched, dimension])
    using made = device.scope(() => make(q))
    return made.read()
  }
  const along = (q: Tensor): Tensor => matmul(q, x, { transposeB: true })
  for (let pass = 0; pass < passes; pass++) {
    basis.set(await inBasis((q) => matmul(along(q), x)))
    orthonormalize(basis, searched, dimension)
  }
  const covariance = await inBasis((q) => {
    const y = along(q)
    return matmul(y, y, { transposeB: true })
  })
  const { vectors } = await symmetricEigen(Float64Array.from(covariance), searched, { vectors: true, signal })
  const directions = new Float32Array(components * dimension)
  for (let k = 0; k < components; k++) {
    // Values ascend.
    const turned = vectors.subarray((searched - 1 - k) * searched, (searched - k) * searched)
    const row = new Float64Array(dimension)
    turned.forEach((weight, j) => {
      for (let d = 0; d < dimension; d++) row[d] += weight * basis[j * dimension + d]
    })
    directions.set(row, k * dimension)
  }
  return { mean, directions, components }
}

function centred({ data, dimension }: Points): { mean: Float32Array; data: Float32Array<ArrayBuffer> } {
  const sums = new Float64Array(dimension)
  data.forEach((value, i) => (sums[i % dimension] += value))
  const mean = Float32Array.from(sums, (sum) => (sum * dimension) / data.length)
  return { mean, data: Float32Array.from(data, (value, i) => value - mean[i % dimension]) }
}

/** Gram and Schmidt's rows, twice each, which is enough for double precision (Giraud et al. 2005). */
function orthonormalize(rows: Float64Array, count: number, length: number): void {
  const row = (i: number): Float64Array => rows.subarray(i * length, (i + 1) * length)
  for (let i = 0; i < count; i++) {
    const v = row(i)
    for (let again = 0; again < 2; again++) {
      for (let j = 0; j < i; j++) {
        const u = row(j)
        const along = dot(u, v)
        for (let k = 0; k < length; k++) v[k] -= along * u[k]
      }
    }
    const norm = Math.sqrt(dot(v, v))
    // Points that lie in fewer dimensions than components leave nothing to normalise.
    const scale = norm > 0 ? 1 / norm : 0
    for (let k = 0; k < length; k++) v[k] *= scale
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
  return sum
}
