import { TweedieError } from '../errors.ts'
import { Search, type SearchOptions } from './nearest.ts'

/** Square pictures, [N, channels, size, size], of any scale. */
export interface Pictures {
  readonly data: Float32Array
  readonly channels: number
  readonly size: number
}

/** The nearest reference of each of N pictures, as {@link nearestPictures} finds them. */
export interface NearestPictures {
  /** `[N]`: row of the nearest reference; of equally near ones that of the first symmetry, then the lower row. */
  readonly indices: Int32Array<ArrayBuffer>
  /** `[N]`: by which symmetry the reference is turned to lie so near, see {@link turned}. */
  readonly symmetries: Uint8Array<ArrayBuffer>
  /** `[N]`: root of the mean squared difference of all values. */
  readonly rms: Float64Array<ArrayBuffer>
}

/**
 * The nearest of all `references` in all eight symmetries of the square, for each query: a training run that turns and
 * mirrors its images may give one of them back turned or mirrored.
 *
 * @throws TweedieError 'shape' for pictures of different sizes, 'option' where there is no reference
 */
export async function nearestPictures(
  queries: Pictures,
  references: Pictures,
  { signal, onProgress }: SearchOptions = {},
): Promise<NearestPictures> {
  const { channels, size } = queries
  const dimension = channels * size * size
  if (channels !== references.channels || size !== references.size) {
    throw new TweedieError(
      'shape',
      `nearestPictures: expected pictures of one size, found ${channels} x ${size} x ${size} and ` +
        `${references.channels} x ${references.size} x ${references.size}.`,
    )
  }
  if (references.data.length === 0) throw new TweedieError('option', 'nearestPictures: there are no references.')
  const count = queries.data.length / dimension
  const found = { indices: new Int32Array(count), symmetries: new Uint8Array(count), rms: new Float64Array(count) }
  const target = { data: pyramid(references), dimension }
  for (let begin = 0; begin < count; begin += atOnce) {
    const some = { channels, size, data: queries.data.subarray(begin * dimension, (begin + atOnce) * dimension) }
    const n = some.data.length / dimension
    const search = new Search(n, 1)
    for (let s = 0; s < 8; s++) {
      // Turning the query back is as good as turning every reference.
      const data = pyramid({ ...some, data: turned(some, inverse(s)) })
      await search.pass({ data, dimension }, target, {
        signal,
        onProgress: (done) => onProgress?.((begin + ((s + done) / 8) * n) / count),
      })
    }
    found.indices.set(search.indices, begin)
    found.symmetries.set(search.passes, begin)
    found.rms.set(
      search.result().distances.map((d) => d / Math.sqrt(dimension)),
      begin,
    )
  }
  return found
}

/** Queries turned at a time: copies of all of them might not fit. */
const atOnce = 4096

/**
 * The pictures under symmetry `s`, 0 to 7: bit 0 flips x, bit 1 flips y, bit 2 exchanges the two; 0 leaves them. The
 * picture's value at (x, y) is the old one at (flipped) x and y of the exchanged coordinates.
 */
export function turned({ data, size }: Pick<Pictures, 'data' | 'size'>, s: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(data.length)
  const plane = size * size
  const last = size - 1
  const from = new Int32Array(plane)
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const [u, v] = s & 4 ? [y, x] : [x, y]
      from[y * size + x] = (s & 2 ? last - v : v) * size + (s & 1 ? last - u : u)
    }
  }
  for (let start = 0; start < data.length; start += plane) {
    for (let i = 0; i < plane; i++) out[start + i] = data[start + from[i]]
  }
  return out
}

/** The symmetry that undoes `s`: the two quarter turns, 5 and 6, undo each other, every other one undoes itself. */
const inverse = (s: number): number => (s === 5 ? 6 : s === 6 ? 5 : s)

/**
 * An orthonormal change of coordinates that puts coarse differences first (Haar's, on 2 x 2 squares, as often
 * as the size allows): distances are the same, and a sum that begins with the coarse ones shows much sooner
 * that a picture is far.
 */
function pyramid({ data, channels, size }: Pictures): Float32Array {
  const dimension = channels * size * size
  const out = new Float32Array(data.length)
  for (let start = 0; start < data.length; start += dimension) {
    let coarse: Float32Array = data.subarray(start, start + dimension)
    let side = size
    let end = start + dimension
    while (side % 2 === 0) {
      const half = side / 2
      const quarter = channels * half * half
      const next = new Float32Array(quarter)
      const details = out.subarray(end - 3 * quarter, end)
      for (let c = 0; c < channels; c++) {
        for (let y = 0; y < half; y++) {
          for (let x = 0; x < half; x++) {
            const at = (c * side + 2 * y) * side + 2 * x
            const [p, q, r, s] = [coarse[at], coarse[at + 1], coarse[at + side], coarse[at + side + 1]]
            const i = (c * half + y) * half + x
            next[i] = (p + q + r + s) / 2
            details[i] = (p + q - r - s) / 2
            details[quarter + i] = (p - q + r - s) / 2
            details[2 * quarter + i] = (p - q - r + s) / 2
          }
        }
      }
      coarse = next
      end -= 3 * quarter
      side = half
    }
    out.set(coarse, start)
  }
  return out
}
