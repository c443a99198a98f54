/** Matrices in double precision on the host, row-major in a Float64Array: the engine's own tensors are single. */

/** Called between pieces of work with the part that is done, 0 to 1; what it gives is waited for. See `pacer`. */
export type Pace = (done: number) => Promise<void> | undefined

/** How many numbers of a row are multiplied at a time: eight rows of them stay in the first-level cache. */
const depth = 512

/**
 * c += a bᵀ of `a` [n, k] and `b` [m, k]. In tiles of 4 x 4 rows, since two loads then serve four multiplications.
 * With `lower`, of a square c, only tiles that touch its lower triangle are computed.
 */
export async function addProduct(
  c: Float64Array,
  a: Float64Array,
  b: Float64Array,
  [n, m, k]: readonly [number, number, number],
  pace: Pace,
  lower = false,
): Promise<void> {
  for (let begin = 0; begin < k; begin += depth) {
    const end = Math.min(k, begin + depth)
    for (let i = 0; i < n; i += 4) {
      const last = lower ? Math.min(m, i + 4) : m
      for (let j = 0; j < last; j += 4) {
        if (i + 4 <= n && j + 4 <= m) addTile(c, a, b, m, k, i, j, begin, end)
        else addEdge(c, a, b, [n, m, k], i, j, begin, end)
      }
      const wait = pace((begin + ((i + 4) / (n + 4)) * (end - begin)) / k)
      if (wait) await wait
    }
  }
}

function addTile(
  c: Float64Array,
  a: Float64Array,
  b: Float64Array,
  m: number,
  k: number,
  i: number,
  j: number,
  begin: number,
  end: number,
): void {
  for (let r = i; r < i + 4; r += 2) {
    const p = r * k
    const q = p + k
    const w = j * k
    const x = w + k
    const y = x + k
    const z = y + k
    let [c0, c1, c2, c3, d0, d1, d2, d3] = [0, 0, 0, 0, 0, 0, 0, 0]
    for (let t = begin; t < end; t++) {
      const u = a[p + t]
      const v = a[q + t]
      const b0 = b[w + t]
      const b1 = b[x + t]
      const b2 = b[y + t]
      const b3 = b[z + t]
      c0 += u * b0
      c1 += u * b1
      c2 += u * b2
      c3 += u * b3
      d0 += v * b0
      d1 += v * b1
      d2 += v * b2
      d3 += v * b3
    }
    const at = r * m + j
    c[at] += c0
    c[at + 1] += c1
    c[at + 2] += c2
    c[at + 3] += c3
    c[at + m] += d0
    c[at + m + 1] += d1
    c[at + m + 2] += d2
    c[at + m + 3] += d3
  }
}

function addEdge(
  c: Float64Array,
  a: Float64Array,
  b: Float64Array,
  [n, m, k]: readonly [number, number, number],
  i: number,
  j: number,
  begin: number,
  end: number,
): void {
  for (let r = i; r < Math.min(n, i + 4); r++) {
    for (let s = j; s < Math.min(m, j + 4); s++) {
      let sum = 0
      for (let t = begin; t < end; t++) sum += a[r * k + t] * b[s * k + t]
      c[r * m + s] += sum
    }
  }
}

/** Copies the lower triangle of a square matrix onto the upper one. */
export function mirror(c: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) c[j * n + i] = c[i * n + j]
}

/** A factor of a symmetric positive semi-definite matrix: `a = gᵀ g`, see {@link factor}. */
export interface Factor {
  /** `[rank, n]`. */
  readonly g: Float64Array
  readonly rank: number
  /** Row r of g is zero at the first r of these columns: a triangle, but for the order of its columns. */
  readonly pivots: Int32Array
}

/**
 * Cholesky's factor with the largest remaining diagonal element as the next pivot (Higham, Accuracy and Stability of
 * Numerical Algorithms, 10.3): stable where the matrix has no full rank, and tells the rank. What is left below
 * n 2^-52 of the largest diagonal element is rounding.
 */
export async function factor(a: Float64Array, n: number, pace: Pace): Promise<Factor> {
  const g = new Float64Array(n * n)
  const diagonal = Float64Array.from({ length: n }, (_, i) => a[i * n + i])
  const least = n * 2 ** -52 * diagonal.reduce((x, y) => Math.max(x, y), 0)
  const pivots = new Int32Array(n)
  let rank = 0
  for (; rank < n; rank++) {
    let pivot = 0
    for (let k = 1; k < n; k++) if (diagonal[k] > diagonal[pivot]) pivot = k
    if (!(diagonal[pivot] > least)) break
    const row = g.subarray(rank * n, rank * n + n)
    row.set(a.subarray(pivot * n, pivot * n + n))
    subtractRows(row, g, rank, n, pivot)
    // In exact arithmetic zero: those columns are done.
    for (let q = 0; q < rank; q++) row[pivots[q]] = 0
    const root = Math.sqrt(diagonal[pivot])
    for (let k = 0; k < n; k++) {
      row[k] /= root
      diagonal[k] -= row[k] * row[k]
    }
    row[pivot] = root
    diagonal[pivot] = -Infinity
    pivots[rank] = pivot
    const wait = pace((rank + 1) / n)
    if (wait) await wait
  }
  return { g: g.subarray(0, rank * n), rank, pivots: pivots.subarray(0, rank) }
}

/** row -= Σ g[q][pivot] g[q] over the rows q < count of g. */
function subtractRows(row: Float64Array, g: Float64Array, count: number, n: number, pivot: number): void {
  let q = 0
  for (; q + 4 <= count; q += 4) {
    const p0 = q * n
    const p1 = p0 + n
    const p2 = p1 + n
    const p3 = p2 + n
    const [x0, x1, x2, x3] = [g[p0 + pivot], g[p1 + pivot], g[p2 + pivot], g[p3 + pivot]]
    for (let k = 0; k < n; k++) row[k] -= x0 * g[p0 + k] + x1 * g[p1 + k] + (x2 * g[p2 + k] + x3 * g[p3 + k])
  }
  for (; q < count; q++) {
    const x = g[q * n + pivot]
    for (let k = 0; k < n; k++) row[k] -= x * g[q * n + k]
  }
}
