import { TweedieError } from '../errors.ts'
import { hostRandomUniform, splitSeed, type Device } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import type { Measured } from './bootstrap.ts'
import { checkBoth, checkFeatures } from './check.ts'
import { kNearest } from './distances.ts'
import { countOf, type Points, type SearchOptions } from './nearest.ts'

/** Options of {@link copying}. */
export interface CopyingOptions extends SearchOptions {
  /** Cells into which k-means divides the space. Default 5. */
  readonly cells?: number
  /** Of the cells' first centres. Default 0. */
  readonly seed?: number | bigint
}

/** What {@link copying} found. */
export interface Copying extends Measured {
  /** Of the cells that count: how many samples and held-out images lie there, and the cell's own score. */
  readonly cells: readonly { readonly samples: number; readonly heldOut: number; readonly score: number }[]
}

/**
 * C_T, a test for copies of training images (Meehan, Chaudhuri and Dasgupta, AISTATS 2020): are samples nearer to the
 * training set than images that were held out of it? In each cell of the space, the z-score of Mann and Whitney's U for
 * the distances to the nearest training image; their mean, weighted by held-out images. Around 0 as it should be, below
 * -3 copied, above 3 farther away than real images are. Cells with fewer than 20 samples, or no held-out image, are left
 * out.
 *
 * @throws TweedieError 'shape', 'option' or 'non-finite' for features that cannot be compared
 */
export async function copying(
  device: Device,
  samples: Points,
  heldOut: Points,
  training: Points,
  { cells = 5, seed = 0, signal, onProgress }: CopyingOptions = {},
): Promise<Copying> {
  checkBoth('copying', samples, training, 20, 2)
  checkFeatures('copying', 'held-out images', heldOut, 2)
  if (heldOut.dimension !== training.dimension) {
    throw new TweedieError(
      'shape',
      `copying: expected features of one space, found ${heldOut.dimension} numbers for each held-out image and ${training.dimension} for each training image.`,
    )
  }
  if (!Number.isInteger(cells) || cells < 1 || cells > countOf(training)) {
    throw new TweedieError(
      'option',
      `copying: expected from 1 cell to the ${countOf(training)} training images, found ${cells}.`,
    )
  }
  const within = (from: number, to: number): SearchOptions => ({
    signal,
    onProgress: (done) => onProgress?.(from + done * (to - from)),
  })
  const centres = await means(device, training, cells, seed, signal)
  const near = async (
    points: Points,
    options: SearchOptions,
  ): Promise<{ distances: Float64Array; cells: Int32Array }> => ({
    distances: (await kNearest(device, points, training, 1, options)).distances,
    cells: (await kNearest(device, points, centres, 1, { signal })).indices,
  })
  const made = await near(samples, within(0, 0.5))
  const held = await near(heldOut, within(0.5, 1))
  return score(made, held, countOf(centres))
}

/** Distances to the nearest training image, and each item's cell. */
interface Placed {
  readonly distances: Float64Array
  readonly cells: Int32Array
}

/** Fewest samples in a cell that counts; the authors' number. */
const fewest = 20

function score(samples: Placed, heldOut: Placed, cells: number): Copying {
  const inCell = ({ cells: of }: Placed, cell: number): number[] => Array.from(of.keys()).filter((i) => of[i] === cell)
  const counted = Array.from({ length: cells }, (_, cell) => ({
    made: inCell(samples, cell),
    held: inCell(heldOut, cell),
  })).filter(({ made, held }) => made.length >= fewest && held.length > 0)
  if (counted.length === 0) {
    throw new TweedieError(
      'option',
      `copying: expected a cell with ${fewest} samples and a held-out image, found none in ${cells}; take fewer cells or more images.`,
    )
  }
  const total = counted.reduce((sum, { held }) => sum + held.length, 0)
  const influences = [new Float64Array(samples.cells.length), new Float64Array(heldOut.cells.length)]
  let value = 0
  const found = counted.map(({ made, held }) => {
    const [m, n] = [made.length, held.length]
    const a = places(
      made.map((i) => samples.distances[i]),
      held.map((i) => heldOut.distances[i]),
    )
    const above = a.reduce((x, y) => x + y, 0) / m
    const scale = (m * n) / Math.sqrt((m * n * (m + n + 1)) / 12)
    const weight = n / total
    const z = scale * (above - 0.5)
    value += weight * z
    made.forEach((i, at) => (influences[0][i] = (weight * scale * (a[at] - above) * samples.cells.length) / m))
    const b = places(
      held.map((i) => heldOut.distances[i]),
      made.map((i) => samples.distances[i]),
    )
    held.forEach((i, at) => (influences[1][i] = (-weight * scale * (b[at] - (1 - above)) * heldOut.cells.length) / n))
    return { samples: m, heldOut: n, score: z }
  })
  return { value, cells: found, influences }
}

/** For each value the part of `others` that is smaller; equal ones count half. */
function places(values: readonly number[], others: readonly number[]): number[] {
  const sorted = Float64Array.from(others).sort()
  const below = (value: number, orEqual: boolean): number => {
    let [low, high] = [0, sorted.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (sorted[middle] < value || (orEqual && sorted[middle] === value)) low = middle + 1
      else high = middle
    }
    return low
  }
  return values.map((value) => (below(value, false) + below(value, true)) / 2 / sorted.length)
}

/** Lloyd's steps until no point changes its cell, or so many. */
const mostSteps = 100

/** Centres of cells by k-means, first placed by k-means++ (Arthur and Vassilvitskii, SODA 2007). A cell may end empty. */
async function means(
  device: Device,
  points: Points,
  cells: number,
  seed: number | bigint,
  signal?: AbortSignal,
): Promise<Points> {
  const { data, dimension } = points
  const n = countOf(points)
  const random = hostRandomUniform({ seed: splitSeed(seed), draw: 0, purpose: purposes.cells }, [0], cells)
  const centres = new Float32Array(cells * dimension)
  const squared = new Float64Array(n).fill(1)
  for (let c = 0; c < cells; c++) {
    const total = squared.reduce((a, b) => a + b, 0)
    let rest = random[c] * total
    let row = 0
    while (row < n - 1 && rest >= squared[row]) rest -= squared[row++]
    centres.set(data.subarray(row * dimension, (row + 1) * dimension), c * dimension)
    const centre = { data: centres.subarray(c * dimension, (c + 1) * dimension), dimension }
    const { distances } = await kNearest(device, points, centre, 1, { signal })
    distances.forEach((distance, i) => (squared[i] = c === 0 ? distance ** 2 : Math.min(squared[i], distance ** 2)))
  }
  let last: Int32Array | undefined
  for (let step = 0; step < mostSteps; step++) {
    const { indices } = await kNearest(device, points, { data: centres, dimension }, 1, { signal })
    if (last?.every((cell, i) => cell === indices[i])) break
    last = indices
    const sums = new Float64Array(cells * dimension)
    const counts = new Float64Array(cells)
    indices.forEach((cell, i) => {
      counts[cell]++
      for (let d = 0; d < dimension; d++) sums[cell * dimension + d] += data[i * dimension + d]
    })
    for (let at = 0; at < sums.length; at++) {
      const count = counts[Math.floor(at / dimension)]
      if (count > 0) centres[at] = sums[at] / count
    }
  }
  return { data: centres, dimension }
}
