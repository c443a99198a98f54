import { TweedieError } from '../errors.ts'
import { hostRandomUniform, splitSeed, type Device } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import type { Measured } from './bootstrap.ts'
import { checkBoth, checkFeatures } from './check.ts'
import { kNearest } from './distances.ts'
import { countOf, type Points, type SearchOptions } from './nearest.ts'
import { pacer } from './pace.ts'
import { rowsOf } from './rows.ts'

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
 * the distances to the nearest training image of the cell; their mean, weighted by held-out images. Around 0 as it
 * should be, below -3 copied, above 3 farther away than real images are. Cells with fewer than 20 samples, or with no
 * held-out or training image, are left out. Scores are those of the authors' data_copying_tests.py, which leaves the
 * cells to its caller.
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
      `copying: expected features of one space, found ${heldOut.dimension} numbers for each held-out image and ` +
        `${training.dimension} for each training image.`,
    )
  }
  if (!Number.isInteger(cells) || cells < 1 || cells > countOf(training)) {
    throw new TweedieError(
      'option',
      `copying: expected from 1 cell to the ${countOf(training)} training images, found ${cells}.`,
    )
  }
  const centres = await means(device, training, cells, seed, signal)
  const inCells: number[][][] = []
  for (const set of [samples, heldOut, training]) {
    const { indices } = await kNearest(device, set, centres, 1, { signal })
    inCells.push(
      Array.from({ length: cells }, (_, cell) => Array.from(indices.keys()).filter((i) => indices[i] === cell)),
    )
  }
  const counted = Array.from({ length: cells }, (_, cell) => inCells.map((rows) => rows[cell])).filter(
    ([made, held, trained]) => made.length >= fewest && held.length > 0 && trained.length > 0,
  )
  if (counted.length === 0) {
    throw new TweedieError(
      'option',
      `copying: expected a cell with ${fewest} samples and a held-out image, found none among ${cells}: ` +
        'compare more images.',
    )
  }
  const total = counted.reduce((sum, [, held]) => sum + held.length, 0)
  const influences = [new Float64Array(countOf(samples)), new Float64Array(countOf(heldOut))]
  const found: Copying['cells'][number][] = []
  for (const [made, held, trained] of counted) {
    const references = rowsOf(training, trained)
    const near = async (set: Points, rows: number[]): Promise<Float64Array> =>
      (await kNearest(device, rowsOf(set, rows), references, 1, { signal })).distances
    const [own, others] = [await near(samples, made), await near(heldOut, held)]
    const [m, n] = [made.length, held.length]
    const above = places(own, others)
    const mean = above.reduce((a, b) => a + b, 0) / m
    const deviation = Math.sqrt((m * n * (m + n + 1)) / 12)
    // With the correction for continuity that the authors' program makes.
    found.push({ samples: m, heldOut: n, score: (m * n * (mean - 0.5) + 0.5) / deviation })
    const scale = (n / total) * ((m * n) / deviation)
    made.forEach((row, i) => {
      influences[0][row] = (scale * (above[i] - mean) * countOf(samples)) / m
    })
    const below = places(others, own)
    held.forEach((row, i) => {
      influences[1][row] = (-scale * (below[i] - (1 - mean)) * countOf(heldOut)) / n
    })
    onProgress?.(found.length / counted.length)
  }
  const value = found.reduce((sum, { heldOut, score }) => sum + (heldOut / total) * score, 0)
  return { value, cells: found, influences }
}

/** Fewest samples in a cell that counts: the paper's. */
const fewest = 20

/** For each value the part of `others` that is smaller; equal ones count half. */
function places(values: Float64Array, others: Float64Array): Float64Array {
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

/**
 * Centres of cells by k-means, first placed by k-means++ (Arthur and Vassilvitskii, SODA 2007). A cell may end empty.
 */
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
    const pace = pacer({ signal })
    for (const [i, cell] of indices.entries()) {
      counts[cell]++
      for (let d = 0; d < dimension; d++) sums[cell * dimension + d] += data[i * dimension + d]
      const wait = pace((i + 1) / n)
      if (wait) await wait
    }
    for (let at = 0; at < sums.length; at++) {
      const count = counts[Math.floor(at / dimension)]
      if (count > 0) centres[at] = sums[at] / count
    }
  }
  return { data: centres, dimension }
}
