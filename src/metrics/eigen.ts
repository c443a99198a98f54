/** Eigenvalues and eigenvectors of a symmetric matrix in double precision, on the host. */
import { TweedieError } from '../errors.ts'
import type { Pace } from './double.ts'
import type { SearchOptions } from './nearest.ts'
import { pacer } from './pace.ts'

/** What {@link symmetricEigen} finds. */
export interface Eigen {
  /** `[n]`, ascending. */
  readonly values: Float64Array
  /** `[n, n]`: row i is the eigenvector of value i, of length 1. Empty where they were not asked for. */
  readonly vectors: Float64Array
}

/** Options of {@link symmetricEigen}. */
export interface EigenOptions extends SearchOptions {
  /** Whether eigenvectors are wanted, which take four times the time of the values. Default false. */
  readonly vectors?: boolean
}

/**
 * The eigenvalues of a symmetric matrix, [n, n] of which the lower triangle is read, and its eigenvectors:
 * Householder's reduction to a tridiagonal matrix and the implicit QL algorithm (Golub and Van Loan, Matrix
 * Computations, 8.3). Errors are some n 2^-52 of the largest value. A matrix of 2,048 rows takes 4 s on one
 * core, with vectors 16 s.
 *
 * @throws TweedieError 'non-finite' for a matrix with a value that is no number
 */
export async function symmetricEigen(
  matrix: Float64Array,
  n: number,
  { vectors = false, signal, onProgress }: EigenOptions = {},
): Promise<Eigen> {
  const bad = matrix.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) {
    throw new TweedieError(
      'non-finite',
      `symmetricEigen: expected finite numbers, found ${matrix[bad]} in row ${Math.floor(bad / n)}.`,
    )
  }
  const pace = pacer({ signal, onProgress })
  const a = matrix.slice()
  const { diagonal, below, halves } = await tridiagonal(a, n, (done) => pace(vectors ? 0.25 * done : done))
  if (!vectors) {
    solve(diagonal, below)
    return { values: diagonal.sort(), vectors: new Float64Array(0) }
  }
  const z = await rotated(diagonal, below, (done) => pace(0.25 + 0.4 * done))
  await reflect(z, a, halves, n, (done) => pace(0.65 + 0.35 * done))
  const order = Array.from(diagonal, (_, i) => i).sort((i, j) => diagonal[i] - diagonal[j])
  const sorted = new Float64Array(n * n)
  order.forEach((from, to) => sorted.set(z.subarray(from * n, from * n + n), to * n))
  return { values: diagonal.sort(), vectors: sorted }
}

/** A tridiagonal matrix and how it was made. */
interface Tridiagonal {
  readonly diagonal: Float64Array
  /** `[n]`: below[i] lies beside diagonal[i] and diagonal[i - 1]; below[0] is 0. */
  readonly below: Float64Array
  /** Half the squared length of the reflection in row i of the matrix, [n]; 0 for none. */
  readonly halves: Float64Array
}

/**
 * Reduces the lower triangle of `a`, from the last row up. Row i keeps the vector u of its reflection 1 - u uᵀ / half.
 * A step's update by two outer products is done in the pass over the rest in which the next step multiplies by its
 * vector: the matrix then goes through memory once a step, which is what bounds the time.
 */
async function tridiagonal(a: Float64Array, n: number, pace: Pace): Promise<Tridiagonal> {
  const diagonal = new Float64Array(n)
  const below = new Float64Array(n)
  const halves = new Float64Array(n)
  // The last step's vectors: every element (j, k) of the rest still lacks -(u[j] q[k] + q[j] u[k]).
  let u = new Float64Array(n)
  let q = new Float64Array(n)
  for (let i = n - 1; i >= 0; i--) {
    const row = a.subarray(i * n, i * n + i)
    for (let k = 0; k < i; k++) row[k] -= u[i] * q[k] + q[i] * u[k]
    diagonal[i] = a[i * n + i] - 2 * u[i] * q[i]
    if (i === 0) break
    const next = new Float64Array(i)
    const product = new Float64Array(i)
    halves[i] = reflection(row, below, i)
    if (halves[i] > 0) next.set(row)
    multiplyUpdated(a, n, i, u, q, next, product)
    if (halves[i] > 0) {
      // q = p - (uᵀp / 2h) u with p = A u / h
      let dot = 0
      for (let k = 0; k < i; k++) dot += next[k] * product[k]
      const scale = dot / (2 * halves[i] * halves[i])
      for (let k = 0; k < i; k++) product[k] = product[k] / halves[i] - scale * next[k]
    }
    u = next
    q = product
    const wait = pace(1 - (i / n) ** 3)
    if (wait) await wait
  }
  return { diagonal, below, halves }
}

/** Replaces a row by the vector of the reflection that leaves only its last element, which goes to below[i]. */
function reflection(row: Float64Array, below: Float64Array, i: number): number {
  const last = row.length - 1
  let largest = 0
  for (let k = 0; k < last; k++) largest = Math.max(largest, Math.abs(row[k]))
  below[i] = row[last]
  if (largest === 0) return 0
  largest = Math.max(largest, Math.abs(row[last]))
  let squared = 0
  for (let k = 0; k <= last; k++) {
    // Scaled, so that no square is lost or too large.
    row[k] /= largest
    squared += row[k] * row[k]
  }
  const length = row[last] > 0 ? -Math.sqrt(squared) : Math.sqrt(squared)
  below[i] = largest * length
  const half = squared - row[last] * length
  row[last] -= length
  return half
}

/**
 * Updates the first `size` rows of the lower triangle by -(u qᵀ + q uᵀ), and adds their symmetric product with `x` to
 * `out`. Two rows at a time.
 */
function multiplyUpdated(
  a: Float64Array,
  n: number,
  size: number,
  u: Float64Array,
  q: Float64Array,
  x: Float64Array,
  out: Float64Array,
): void {
  let j = 0
  if (size % 2 === 1) {
    a[0] -= 2 * u[0] * q[0]
    out[0] += a[0] * x[0]
    j = 1
  }
  for (; j < size; j += 2) {
    const p = j * n
    const r = p + n
    const [u0, q0, x0, u1, q1, x1] = [u[j], q[j], x[j], u[j + 1], q[j + 1], x[j + 1]]
    let s0 = 0
    let s1 = 0
    for (let k = 0; k < j; k++) {
      const [uk, qk, xk] = [u[k], q[k], x[k]]
      const v0 = a[p + k] - (u0 * qk + q0 * uk)
      const v1 = a[r + k] - (u1 * qk + q1 * uk)
      a[p + k] = v0
      a[r + k] = v1
      s0 += v0 * xk
      s1 += v1 * xk
      out[k] += v0 * x0 + v1 * x1
    }
    a[p + j] -= 2 * u0 * q0
    a[r + j] -= u1 * q0 + q1 * u0
    a[r + j + 1] -= 2 * u1 * q1
    out[j] += s0 + a[p + j] * x0 + a[r + j] * x1
    out[j + 1] += s1 + a[r + j] * x0 + a[r + j + 1] * x1
  }
}

/**
 * Implicit QL steps with Wilkinson's shift until nothing is left beside the diagonal, which then holds the eigenvalues.
 * Each plane rotation (of rows i and i + 1) is handed to `rotate`, if there is one; after each sweep the number of
 * values that are done is yielded.
 */
function* sweeps(
  d: Float64Array,
  below: Float64Array,
  rotate?: (i: number, c: number, s: number) => void,
): Generator<number> {
  const n = d.length
  const e = new Float64Array(n)
  e.set(below.subarray(1))
  for (let l = 0; l < n; l++) {
    for (let step = 0; ; step++) {
      let m = l
      while (m < n - 1 && Math.abs(e[m]) > 2 ** -53 * (Math.abs(d[m]) + Math.abs(d[m + 1]))) m++
      if (m === l) break
      // Three steps a value are many; this many are a matrix that is not finite.
      if (step === 100)
        throw new TweedieError('non-finite', 'symmetricEigen: the QL algorithm does not converge on this matrix.')
      let g = (d[l + 1] - d[l]) / (2 * e[l])
      let r = Math.hypot(g, 1)
      g = d[m] - d[l] + e[l] / (g + (g >= 0 ? r : -r))
      let [s, c, p] = [1, 1, 0]
      let i = m - 1
      for (; i >= l; i--) {
        const f = s * e[i]
        const b = c * e[i]
        r = Math.hypot(f, g)
        e[i + 1] = r
        if (r === 0) {
          d[i + 1] -= p
          e[m] = 0
          break
        }
        s = f / r
        c = g / r
        g = d[i + 1] - p
        r = (d[i] - g) * s + 2 * c * b
        p = s * r
        d[i + 1] = g + p
        g = c * r - b
        rotate?.(i, c, s)
      }
      if (r === 0 && i >= l) continue
      d[l] -= p
      e[l] = g
      e[m] = 0
      yield l
    }
  }
}

function solve(d: Float64Array, below: Float64Array): void {
  for (const _ of sweeps(d, below)) {
    /* each sweep works on d */
  }
}

/** Columns of the eigenvectors that are rotated at a time: 2,048 rows of so many are half a second-level cache. */
const strip = 64
/** Rotations kept until they are applied, strip by strip. */
const kept = 65536

/** Solves as {@link solve} does; gives the eigenvectors of the tridiagonal matrix as rows. */
async function rotated(d: Float64Array, below: Float64Array, pace: Pace): Promise<Float64Array> {
  const n = d.length
  const z = new Float64Array(n * n)
  for (let i = 0; i < n; i++) z[i * n + i] = 1
  const rows = new Int32Array(kept + n)
  const cosines = new Float64Array(kept + n)
  const sines = new Float64Array(kept + n)
  let count = 0
  const apply = async (done: number): Promise<void> => {
    for (let begin = 0; begin < n; begin += strip) {
      rotateStrip(z, n, begin, Math.min(n, begin + strip), rows, cosines, sines, count)
      const wait = pace(done)
      if (wait) await wait
    }
    count = 0
  }
  const rotate = (i: number, c: number, s: number): void => {
    rows[count] = i
    cosines[count] = c
    sines[count++] = s
  }
  for (const found of sweeps(d, below, rotate)) if (count > kept) await apply(found / n)
  await apply(1)
  return z
}

function rotateStrip(
  z: Float64Array,
  n: number,
  begin: number,
  end: number,
  rows: Int32Array,
  cosines: Float64Array,
  sines: Float64Array,
  count: number,
): void {
  for (let t = 0; t < count; t++) {
    const [c, s] = [cosines[t], sines[t]]
    const p = rows[t] * n
    for (let k = p + begin; k < p + end; k++) {
      const f = z[k + n]
      const g = z[k]
      z[k + n] = s * g + c * f
      z[k] = c * g - s * f
    }
  }
}

/**
 * Undoes the reduction: each row v of `z` becomes v - u (uᵀv) / half for the reflections in `a`. Four rows at a time.
 */
async function reflect(z: Float64Array, a: Float64Array, halves: Float64Array, n: number, pace: Pace): Promise<void> {
  for (let first = 0; first < n; first += 4) {
    const rows = Math.min(4, n - first)
    for (let i = 1; i < n; i++) {
      if (halves[i] === 0) continue
      const q = i * n
      if (rows === 4) reflectFour(z, first * n, a, q, n, i, halves[i])
      else for (let r = first; r < n; r++) reflectOne(z, r * n, a, q, i, halves[i])
    }
    const wait = pace((first + 4) / (n + 4))
    if (wait) await wait
  }
}

function reflectFour(
  z: Float64Array,
  p0: number,
  a: Float64Array,
  q: number,
  n: number,
  length: number,
  half: number,
): void {
  const p1 = p0 + n
  const p2 = p1 + n
  const p3 = p2 + n
  let [s0, s1, s2, s3] = [0, 0, 0, 0]
  for (let k = 0; k < length; k++) {
    const u = a[q + k]
    s0 += u * z[p0 + k]
    s1 += u * z[p1 + k]
    s2 += u * z[p2 + k]
    s3 += u * z[p3 + k]
  }
  s0 /= half
  s1 /= half
  s2 /= half
  s3 /= half
  for (let k = 0; k < length; k++) {
    const u = a[q + k]
    z[p0 + k] -= s0 * u
    z[p1 + k] -= s1 * u
    z[p2 + k] -= s2 * u
    z[p3 + k] -= s3 * u
  }
}

function reflectOne(z: Float64Array, p: number, a: Float64Array, q: number, length: number, half: number): void {
  let sum = 0
  for (let k = 0; k < length; k++) sum += a[q + k] * z[p + k]
  sum /= half
  for (let k = 0; k < length; k++) z[p + k] -= sum * a[q + k]
}
