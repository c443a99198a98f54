import { matmul, type Device, type Tensor } from '../tensor/index.ts'
import { countOf, type Points, type SearchOptions } from './nearest.ts'
import { pacer } from './pace.ts'

/**
 * Products of some rows with some columns, in single precision: that of row `row + i` and column `column + j` is
 * `products[i * columns + j]`.
 */
export interface Tile {
  readonly products: Float32Array
  /** The first row and how many. */
  readonly row: number
  readonly rows: number
  /** The first column and how many. */
  readonly column: number
  readonly columns: number
}

/** What the norms of one side's points add to the bounds of {@link Tiles}, [N] each. */
export interface Norms {
  readonly low: Float64Array
  readonly high: Float64Array
}

/**
 * Half the squared distances of all rows to all columns, between bounds, from matrix products in single precision on
 * a device. With a' = (a - centre) · scale, h = |a' - b'|²/2 = |a'|²/2 + |b'|²/2 - a'·b', and it is certain of the
 * product s = a'·b' as computed that
 *
 *     rows.low[i] + columns.low[j] - s <= h <= rows.high[i] + columns.high[j] - s
 *
 * on any device, in whatever order it adds. A sum of n products is off by n u |a'| |b'| at most (u = 2^-23, which also
 * covers arithmetic that truncates), so by n u times the half squared norms: |a'| |b'| is at most their sum, by the
 * inequality of the means. Rounding a' and b' to single precision adds less than 5 u times them. Near the centre of
 * the points the norms, and so the bounds, are smallest. `scale` is the power of two that brings the largest norm to 1,
 * so that nothing overflows; what underflows is less than n 2^-124.
 */
export class Tiles {
  readonly rows: Norms
  readonly columns: Norms
  /** h of a squared distance of 1. */
  readonly halfScale: number
  readonly #rows: Points
  readonly #columns: Points
  readonly #centre: Float64Array
  readonly #scale: number
  /** Rows and columns are the same points. */
  readonly #isOwn: boolean
  /** What is uploaded next; a device copies it at once. */
  readonly #staged: Float32Array

  /** Looks at some columns for the centre and at all points for their norms. */
  static async prepare(rows: Points, columns: Points, { signal }: SearchOptions): Promise<Tiles> {
    const { dimension } = columns
    const pace = pacer({ signal })
    const count = countOf(columns)
    // Whatever the centre is, results are the same: a thousand columns find it well enough.
    const step = Math.ceil(count / 1000)
    const centre = new Float64Array(dimension)
    for (let j = 0; j < count; j += step) {
      for (let d = 0, at = j * dimension; d < dimension; d++) centre[d] += columns.data[at + d]
    }
    const sampled = Math.ceil(count / step)
    for (let d = 0; d < dimension; d++) centre[d] /= sampled
    const squares = async ({ data }: Points): Promise<Float64Array> => {
      const out = new Float64Array(data.length / dimension)
      for (let i = 0; i < out.length; i++) {
        out[i] = squaredNorm(data, i * dimension, centre)
        const wait = pace(0)
        if (wait) await wait
      }
      return out
    }
    const right = await squares(columns)
    const left = rows.data === columns.data ? right : await squares(rows)
    return new Tiles(rows, columns, centre, left, right)
  }

  private constructor(rows: Points, columns: Points, centre: Float64Array, left: Float64Array, right: Float64Array) {
    const n = columns.dimension
    const u = 2 ** -23
    const relative = (n * u) / (1 - n * u) + 5 * u
    const absolute = n * 2 ** -124
    this.#rows = rows
    this.#columns = columns
    this.#centre = centre
    this.#isOwn = rows.data === columns.data
    const [height, width] = blockOf(n, this.#isOwn)
    this.#staged = new Float32Array(Math.max(height, Math.min(width, countOf(columns))) * n)
    const largest = Math.sqrt(
      left.reduce(
        (x, y) => Math.max(x, y),
        right.reduce((x, y) => Math.max(x, y), 0),
      ),
    )
    this.#scale = largest > 0 ? 2 ** -Math.floor(Math.log2(largest)) : 1
    this.halfScale = this.#scale ** 2 / 2
    const norms = (squares: Float64Array): Norms => ({
      low: squares.map((square) => square * this.halfScale * (1 - relative) - absolute / 2),
      high: squares.map((square) => square * this.halfScale * (1 + relative) + absolute / 2),
    })
    this.columns = norms(right)
    this.rows = left === right ? this.columns : norms(left)
  }

  /**
   * Calls `visit` for tiles that hold every product once. For each row, columns come in ascending order. Where rows and
   * columns are the same points, each product is computed once and visited from both sides.
   */
  async each(device: Device, { signal, onProgress }: SearchOptions, visit: (tile: Tile) => void): Promise<void> {
    const { dimension } = this.#columns
    const [n, m] = [countOf(this.#rows), countOf(this.#columns)]
    const isOwn = this.#isOwn
    const [height, width] = blockOf(dimension, isOwn)
    const total = isOwn ? pairsOfBlocks(n, width) : n * m
    let done = 0
    const finish = (tile: Tile): void => {
      visit(tile)
      if (isOwn && tile.row + tile.rows <= tile.column) visit(transposed(tile))
      done += tile.rows * tile.columns
      onProgress?.(done / total)
      signal?.throwIfAborted()
    }
    // The device computes a tile while the host looks at the one before.
    let last: (() => Promise<void>) | undefined
    for (let column = 0; column < m; column += width) {
      const columns = Math.min(width, m - column)
      using right = this.#upload(device, this.#columns, column, columns)
      const end = isOwn ? column + columns : n
      let next: number
      for (let row = 0; row < end; row = next) {
        // A tile of the points with themselves lies above the square on the diagonal or in it, never across.
        next = Math.min(row + height, isOwn && row < column ? column : end)
        const rows = next - row
        const read = this.#products(device, row, rows, right)
        // Nobody waits for it after an abort.
        read.catch(() => {})
        await last?.()
        last = async () => finish({ products: await unlessAborted(read, signal), row, rows, column, columns })
      }
    }
    await last?.()
  }

  /** Not async: the tensors are disposed once everything is enqueued. */
  #products(device: Device, row: number, rows: number, right: Tensor): Promise<Float32Array> {
    using left = this.#upload(device, this.#rows, row, rows)
    using products = matmul(left, right, { transposeB: true })
    return products.read()
  }

  /** Some rows on the device, centred and scaled. */
  #upload(device: Device, { data, dimension }: Points, first: number, count: number): Tensor {
    const [centre, scale] = [this.#centre, this.#scale]
    const out = this.#staged.subarray(0, count * dimension)
    for (let row = 0, at = first * dimension; row < out.length; row += dimension, at += dimension) {
      centreRow(out, row, data, at, centre, scale)
    }
    return device.tensor(out, [count, dimension])
  }
}

// What follows up to `blockOf` is called for each row, so that V8 compiles it early.

/** |a - centre|² of the row that begins at `at`. */
function squaredNorm(data: Float32Array, at: number, centre: Float64Array): number {
  let sum = 0
  for (let d = 0; d < centre.length; d++) {
    const x = data[at + d] - centre[d]
    sum += x * x
  }
  return sum
}

/** (a - centre) · scale of the row that begins at `at`, to `out` from `to` on. */
function centreRow(
  out: Float32Array,
  to: number,
  data: Float32Array,
  at: number,
  centre: Float64Array,
  scale: number,
): void {
  for (let d = 0; d < centre.length; d++) out[to + d] = (data[at + d] - centre[d]) * scale
}

/** Columns of the tile from `j` on, 8 or fewer, as rows of the transposed one. */
function transposeColumns({ products, rows, columns }: Tile, j: number, out: Float32Array): void {
  const end = Math.min(columns, j + 8)
  for (let i0 = 0; i0 < rows; i0 += 8) {
    const iEnd = Math.min(rows, i0 + 8)
    for (let c = j; c < end; c++) for (let i = i0; i < iEnd; i++) out[c * rows + i] = products[i * columns + c]
  }
}

/**
 * Rows and columns of a tile. The columns, 64 MiB of points at most, stay on the device while rows pass by, 4 MiB at a
 * time: 504 rows of 2,048 numbers by 8,160 columns are 17 GFLOP. Half as many columns where the square of them on the
 * diagonal is computed whole. Whole panels of 6 rows and 8 columns (CPU backend), and no powers of two, at which rows
 * of a tile would meet in the same lines of the cache when it is transposed.
 */
function blockOf(dimension: number, isOwn: boolean): readonly [height: number, width: number] {
  const most = (bytes: number, rows: number): number => Math.min(rows, Math.max(8, Math.floor(bytes / 4 / dimension)))
  return [most(2 ** 22, 504), isOwn ? most(2 ** 25, 4080) : most(2 ** 26, 8160)]
}

/** Products of `n` points with themselves that are computed, blocks of `width` above the diagonal and on it. */
function pairsOfBlocks(n: number, width: number): number {
  let pairs = 0
  for (let column = 0; column < n; column += width) {
    const columns = Math.min(width, n - column)
    pairs += (column + columns) * columns
  }
  return pairs
}

/** The tile with rows for columns. */
function transposed(tile: Tile): Tile {
  const products = new Float32Array(tile.products.length)
  for (let j = 0; j < tile.columns; j += 8) transposeColumns(tile, j, products)
  return { products, row: tile.column, rows: tile.columns, column: tile.row, columns: tile.rows }
}

/** What `work` gives, unless the signal comes first. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}
