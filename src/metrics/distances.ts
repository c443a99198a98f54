/**
 * Distances between sets of features: nearest neighbours, and which points lie in which balls. A device computes bounds
 * of all distances (tiles.ts); what they leave open the host computes in double precision. So results are those of
 * double precision, the same on any device and any number of threads.
 */
import { TweedieError } from '../errors.ts'
import type { Device } from '../tensor/index.ts'
import {
  checkPoints,
  checkSearch,
  countOf,
  Search,
  squaredDistance,
  type Neighbours,
  type NearestOptions,
  type Points,
  type SearchOptions,
} from './nearest.ts'
import { Tiles } from './tiles.ts'

/** Balls around the rows of `centres`. */
export interface Balls {
  readonly centres: Points
  /** Radius of each, [N]. */
  readonly radii: Float64Array
}

/** Options of {@link eachBall}. */
export interface BallOptions extends SearchOptions {
  /** Whether a point at exactly the radius is outside (<, default) or inside (<=). */
  readonly strict?: boolean
}

/**
 * The `k` nearest references of each query by Euclidean distance, as `nearest` finds them, to the bit: exact in double
 * precision, of equally near ones the lower row first. With `leaveOneOut` half as many products are computed, where
 * queries and references are one array. Errors are those of `nearest`.
 */
export async function kNearest(
  device: Device,
  queries: Points,
  references: Points,
  k: number,
  options: NearestOptions = {},
): Promise<Neighbours> {
  const { leaveOneOut = false } = options
  checkSearch(queries, references, k, leaveOneOut)
  const { dimension } = references
  const search = new Search(countOf(queries), k)
  const tiles = await Tiles.prepare(queries, references, options)
  const [{ low, high }, { low: lows, high: highs }] = [tiles.rows, tiles.columns]
  const found = new Int32Array(countOf(references))
  // Upper bounds of the k nearest in this tile's row.
  const bounds = new Float64Array(k)
  await tiles.each(device, options, ({ products, row, rows, column, columns }) => {
    const end = column + columns
    for (let r = 0; r < rows; r++) {
      const i = row + r
      // Where the row's column 0 would be.
      const start = r * columns - column
      let limit = search.farthest(i) * tiles.halfScale
      let room = limit - low[i]
      let count = 0
      bounds.fill(Infinity)
      for (let j = column; (j = nearby(products, lows, start, j, end, room)) < end; j++) {
        if (leaveOneOut && i === j) continue
        found[count++] = j
        const bound = high[i] + highs[j] - products[start + j]
        if (!(bound < bounds[k - 1])) continue
        let at = k - 1
        for (; at > 0 && bound < bounds[at - 1]; at--) bounds[at] = bounds[at - 1]
        bounds[at] = bound
        limit = Math.min(limit, bounds[k - 1])
        room = limit - low[i]
      }
      for (let at = 0; at < count; at++) {
        const j = found[at]
        if (lows[j] - products[start + j] > room) continue
        const squared = squaredDistance(
          queries.data,
          i * dimension,
          references.data,
          j * dimension,
          dimension,
          search.farthest(i),
        )
        search.offer(i, j, squared)
      }
    }
  })
  return search.result()
}

/** The distance of each point to its `k`-th nearest other point, [N]. Errors are those of `nearest`. */
export async function radii(
  device: Device,
  points: Points,
  k: number,
  options: SearchOptions = {},
): Promise<Float64Array<ArrayBuffer>> {
  const { distances } = await kNearest(device, points, points, k, { ...options, leaveOneOut: true })
  return Float64Array.from({ length: countOf(points) }, (_, i) => distances[i * k + k - 1])
}

/**
 * Calls `visit(point, ball)` for every ball that holds a point, each pair once, in an order that may change: what visit
 * gathers (a count, a least radius) must not depend on it. Decided in double precision.
 *
 * @throws TweedieError 'shape' for points of other dimensions than the centres, or not one radius for each
 */
export async function eachBall(
  device: Device,
  points: Points,
  balls: Balls,
  visit: (point: number, ball: number) => void,
  options: BallOptions = {},
): Promise<void> {
  check('eachBall', points, balls)
  const { strict = true } = options
  const { centres, radii } = balls
  const tiles = await Tiles.prepare(points, centres, options)
  const [{ low, high }, { low: lows, high: highs }] = [tiles.rows, tiles.columns]
  const nearest = lows.map((value, j) => value - radii[j] ** 2 * tiles.halfScale)
  const farthest = highs.map((value, j) => value - radii[j] ** 2 * tiles.halfScale)
  await tiles.each(device, options, ({ products, row, rows, column, columns }) => {
    const end = column + columns
    for (let r = 0; r < rows; r++) {
      const i = row + r
      const start = r * columns - column
      const room = -low[i]
      for (let j = column; (j = nearby(products, nearest, start, j, end, room)) < end; j++) {
        if (farthest[j] - products[start + j] < -high[i]) visit(i, j)
        else {
          const distance = exact(points, i, centres, j)
          if (strict ? distance < radii[j] : distance <= radii[j]) visit(i, j)
        }
      }
    }
  })
}

/**
 * For each point the least of its distances to the centres, each measured in that ball's radius: below 1 where a ball
 * holds the point. In double precision. A ball of radius 0 is infinitely far, unless the point is its centre: 0.
 *
 * @throws TweedieError 'shape' for points of other dimensions than the centres, or not one radius for each
 */
export async function leastRatio(
  device: Device,
  points: Points,
  balls: Balls,
  options: SearchOptions = {},
): Promise<Float64Array<ArrayBuffer>> {
  check('leastRatio', points, balls)
  const { centres, radii } = balls
  const least = new Float64Array(countOf(points)).fill(Infinity)
  const tiles = await Tiles.prepare(points, centres, options)
  const [{ low, high }, { low: lows, high: highs }] = [tiles.rows, tiles.columns]
  const halves = radii.map((radius) => radius ** 2 * tiles.halfScale)
  const found = new Int32Array(radii.length)
  await tiles.each(device, options, ({ products, row, rows, column, columns }) => {
    for (let r = 0; r < rows; r++) {
      const i = row + r
      const start = r * columns - column
      const room = -low[i]
      // Of the squared ratio. (Infinity times a radius of 0 is NaN, which is not greater than anything.)
      let limit = least[i] ** 2
      let count = 0
      for (let j = column; j < column + columns; j++) {
        if (lows[j] - products[start + j] - limit * halves[j] > room) continue
        found[count++] = j
        const bound = (high[i] + highs[j] - products[start + j]) / halves[j]
        if (bound < limit) limit = bound
      }
      for (let at = 0; at < count; at++) {
        const j = found[at]
        if (lows[j] - products[start + j] - limit * halves[j] > room) continue
        const distance = exact(points, i, centres, j)
        const ratio = distance === 0 ? 0 : distance / radii[j]
        if (ratio < least[i]) least[i] = ratio
      }
    }
  })
  return least
}

/**
 * The first column from `j` on whose lower bound, its `low` less the product, is not above `room`; `end` if there is
 * none. This loop sees every pair: a function of its own, which V8 compiles to a few instructions.
 */
function nearby(
  products: Float32Array,
  low: Float64Array,
  start: number,
  j: number,
  end: number,
  room: number,
): number {
  while (j < end && low[j] - products[start + j] > room) j++
  return j
}

/** The distance of two rows in double precision. */
function exact({ data, dimension }: Points, i: number, other: Points, j: number): number {
  return Math.sqrt(squaredDistance(data, i * dimension, other.data, j * dimension, dimension, Infinity))
}

function check(user: string, points: Points, { centres, radii }: Balls): void {
  checkPoints(user, 'points', points)
  checkPoints(user, 'centres', centres)
  if (points.dimension !== centres.dimension) {
    throw new TweedieError(
      'shape',
      `${user}: expected points and centres of one dimension, found ${points.dimension} and ${centres.dimension}.`,
    )
  }
  if (radii.length !== countOf(centres)) {
    throw new TweedieError(
      'shape',
      `${user}: expected a radius for each of the ${countOf(centres)} centres, found ${radii.length}.`,
    )
  }
}
