import type { Device } from '../tensor/index.ts'
import { checkFeatures } from './check.ts'
import { eachBall, radii, type BallOptions, type Balls } from './distances.ts'
import { countOf, type Points, type SearchOptions } from './nearest.ts'

/** Options of {@link ballsAround}. */
export interface BallsAroundOptions extends SearchOptions {
  /** The ball's sphere goes through the k-th nearest other point. Default 5, the papers'. */
  readonly k?: number
}

/**
 * A ball around each point that reaches to its `k`-th nearest other point: what the measures take for the manifold of
 * the points (Kynkäänniemi et al., NeurIPS 2019).
 *
 * @throws TweedieError 'shape', 'option' or 'non-finite' for points that have no such balls
 */
export async function ballsAround(
  device: Device,
  points: Points,
  { k = 5, ...options }: BallsAroundOptions = {},
): Promise<Balls> {
  checkFeatures('ballsAround', 'images', points, k + 1)
  return { centres: points, radii: await radii(device, points, k, options) }
}

/** Which points lie in which balls, counted: all that precision, recall, density, coverage and rarity ask. */
export interface Membership {
  /** For each point, how many balls hold it. */
  readonly counts: Uint32Array
  /** For each point, the radius of the smallest ball that holds it; 0 where none does. */
  readonly smallest: Float64Array
  /** For each ball, how many points it holds. */
  readonly held: Uint32Array
}

/** Looks at every point and ball once. Errors are those of `eachBall`. */
export async function membership(
  device: Device,
  points: Points,
  balls: Balls,
  options: BallOptions = {},
): Promise<Membership> {
  const counts = new Uint32Array(countOf(points))
  const smallest = new Float64Array(counts.length)
  const held = new Uint32Array(balls.radii.length)
  await eachBall(
    device,
    points,
    balls,
    (i, j) => {
      if (counts[i]++ === 0 || balls.radii[j] < smallest[i]) smallest[i] = balls.radii[j]
      held[j]++
    },
    options,
  )
  return { counts, smallest, held }
}
