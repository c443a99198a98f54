/** Distances between sets of features: nearest neighbours, and which points lie in which balls. */
import { TweedieError } from '../errors.ts'
import type { Device } from '../tensor/index.ts'
import {
  checkPoints,
  countOf,
  nearest,
  type Neighbours,
  type NearestOptions,
  type Points,
  type SearchOptions,
} from './nearest.ts'
import { pacer } from './pace.ts'

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
 * The `k` nearest references of each query by Euclidean distance, as `nearest` finds them: exact in double precision,
 * of equally near ones the lower row first. Errors are those of `nearest`.
 */
export function kNearest(
  _device: Device,
  queries: Points,
  references: Points,
  k: number,
  options: NearestOptions = {},
): Promise<Neighbours> {
  return nearest(queries, references, k, options)
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
  _device: Device,
  points: Points,
  balls: Balls,
  visit: (point: number, ball: number) => void,
  options: BallOptions = {},
): Promise<void> {
  check('eachBall', points, balls)
  const { strict = true } = options
  await eachSquare(points, balls.centres, options, (i, j, squared) => {
    const distance = Math.sqrt(squared)
    if (strict ? distance < balls.radii[j] : distance <= balls.radii[j]) visit(i, j)
  })
}

/**
 * For each point the least of its distances to the centres, each measured in that ball's radius: below 1 where a ball
 * holds the point. In double precision. A ball of radius 0 is infinitely far, unless the point is its centre: 0.
 *
 * @throws TweedieError 'shape' for points of other dimensions than the centres, or not one radius for each
 */
export async function leastRatio(
  _device: Device,
  points: Points,
  balls: Balls,
  options: SearchOptions = {},
): Promise<Float64Array<ArrayBuffer>> {
  check('leastRatio', points, balls)
  const least = new Float64Array(countOf(points)).fill(Infinity)
  await eachSquare(points, balls.centres, options, (i, j, squared) => {
    const ratio = squared === 0 ? 0 : Math.sqrt(squared) / balls.radii[j]
    if (ratio < least[i]) least[i] = ratio
  })
  return least
}

async function eachSquare(
  points: Points,
  centres: Points,
  options: SearchOptions,
  visit: (point: number, centre: number, squared: number) => void,
): Promise<void> {
  const { dimension } = points
  const [n, m] = [countOf(points), countOf(centres)]
  const pace = pacer(options)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++) {
      let squared = 0
      for (let d = 0; d < dimension; d++) {
        squared += (points.data[i * dimension + d] - centres.data[j * dimension + d]) ** 2
      }
      visit(i, j, squared)
    }
    const wait = pace((i + 1) / n)
    if (wait) await wait
  }
  options.onProgress?.(1)
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
