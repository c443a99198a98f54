/**
 * PNG files as images of bytes. Colour type and depth in the header say what the pixels are, and of all else only the
 * palette of a palette picture is read: a palette that comes with truecolour is a suggestion for poorer screens, and
 * transparent colours, alpha, gamma, profiles and texts, whole or damaged, change no pixel, as in PIL's conversion to
 * RGB. 16 bits become 8 by the nearest, fewer than 8 are spread over the whole range.
 *
 * Read here, with fflate to inflate: fast-png, which writes our files, takes a suggested palette for the
 * picture's, cannot interlace fewer than 8 bits, refuses a file for a damaged text, and inflates without bound.
 * Format: W3C PNG, 3rd edition.
 */
import { Unzlib } from 'fflate'
import { messageOf, TweedieError } from '../errors.ts'
import { crc32 } from '../io/zip.ts'
import { checkPixels, type Image, type ImageHeader } from './image.ts'

const signature = [137, 80, 78, 71, 13, 10, 26, 10]

/** By colour type: samples a pixel, and the depths it may have. 3 is a palette; the last sample of 4 and 6 is alpha. */
const kinds = new Map([
  [0, { samples: 1, depths: [1, 2, 4, 8, 16] }],
  [2, { samples: 3, depths: [8, 16] }],
  [3, { samples: 1, depths: [1, 2, 4, 8] }],
  [4, { samples: 2, depths: [8, 16] }],
  [6, { samples: 4, depths: [8, 16] }],
])

interface PngHeader extends ImageHeader {
  readonly depth: number
  readonly samples: number
  readonly palette: boolean
  readonly interlaced: boolean
}

export const isPng = (bytes: Uint8Array): boolean => signature.every((byte, i) => bytes[i] === byte)

const damaged = (name: string, reason: string, cause?: unknown): TweedieError =>
  new TweedieError('format', `${name}: a damaged PNG (${reason}).`, { cause })

/** From the first 33 bytes. Throws 'format', naming `name`, for less, and for a size or a kind that there is not. */
export function pngHeader(bytes: Uint8Array, name: string): PngHeader {
  if (bytes.length < 33) throw damaged(name, 'its header is cut short')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (typeAt(bytes, 12) !== 'IHDR') throw damaged(name, 'it does not begin with its header')
  const [width, height] = [view.getUint32(16), view.getUint32(20)]
  const [depth, type, compression, filter, interlace] = bytes.subarray(24, 29)
  const kind = kinds.get(type)
  if (!kind?.depths.includes(depth) || compression !== 0 || filter !== 0 || interlace > 1) {
    throw damaged(
      name,
      `its header says colour type ${type}, ${depth} bits, compression ${compression}, filter ` +
        `${filter}, interlace ${interlace}`,
    )
  }
  checkPixels(name, width, height)
  return {
    width,
    height,
    channels: type === 0 || type === 4 ? 1 : 3,
    depth,
    samples: kind.samples,
    palette: type === 3,
    interlaced: interlace === 1,
  }
}

const typeAt = (bytes: Uint8Array, at: number): string => String.fromCharCode(...bytes.subarray(at, at + 4))

/** Decodes step by step, some megabytes each. Throws 'format', naming `name`, for a damaged file. */
export function* decodePng(bytes: Uint8Array, name: string): Generator<void, Image> {
  const header = pngHeader(bytes, name)
  const { width, height, channels, depth, samples, interlaced } = header
  const { packed, palette } = chunksOf(bytes, header, name)
  const passes = passesOf(header)
  const expected = passes.reduce((sum, { rows, stride }) => sum + rows * (1 + stride), 0)
  const data = yield* inflate(packed, expected, name)
  const out = new Uint8Array(width * height * channels)
  const value =
    depth === 16
      ? (v: number) => Math.round(v / 257)
      : palette
        ? (v: number) => v
        : (v: number) => (v * 255) / (2 ** depth - 1)
  let begin = 0
  for (const { x, y, dx, dy, columns, rows, stride } of passes) {
    const part = data.subarray(begin, (begin += rows * (1 + stride)))
    yield* unfilter(part, stride, Math.ceil((depth * samples) / 8), name)
    for (let row = 0; row < rows; row++) {
      if ((row * stride) % stepBytes < stride) yield
      // Most files: as they are.
      if (depth === 8 && samples === channels && !palette && !interlaced) {
        out.set(part.subarray(row * (1 + stride) + 1, (row + 1) * (1 + stride)), row * stride)
        continue
      }
      const read = sampleReader(part, row * (1 + stride) + 1, depth)
      for (let column = 0; column < columns; column++) {
        const at = ((y + row * dy) * width + x + column * dx) * channels
        if (palette) for (let c = 0; c < 3; c++) out[at + c] = palette[3 * read(column) + c]
        else for (let c = 0; c < channels; c++) out[at + c] = value(read(column * samples + c))
      }
    }
  }
  return { width, height, channels, data: out }
}

/** The compressed pixels, and of a palette picture 256 colours, those that the file leaves out being black. */
function chunksOf(
  bytes: Uint8Array,
  header: PngHeader,
  name: string,
): { packed: Uint8Array; palette: Uint8Array | null } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const parts: Uint8Array[] = []
  let palette: Uint8Array | null = null
  for (let at = 8, type = ''; type !== 'IEND' && at + 8 <= bytes.length; ) {
    type = typeAt(bytes, at + 4)
    const end = at + 8 + view.getUint32(at)
    if (['IHDR', 'PLTE', 'IDAT'].includes(type)) {
      if (end + 4 > bytes.length) throw damaged(name, 'it is cut short')
      if (crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end))
        throw damaged(name, `the checksum of its ${type} is wrong`)
      if (type === 'IDAT') parts.push(bytes.subarray(at + 8, end))
      if (type === 'PLTE' && header.palette) {
        palette = new Uint8Array(768)
        palette.set(bytes.subarray(at + 8, Math.min(end, at + 8 + 768)))
      }
    }
    at = end + 4
  }
  if (parts.length === 0) throw damaged(name, 'it is cut short before its pixels')
  if (header.palette && !palette) throw damaged(name, 'its palette is missing')
  const packed = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let to = 0
  for (const part of parts) {
    packed.set(part, to)
    to += part.length
  }
  return { packed, palette }
}

/** Between two steps so many bytes are unfiltered, a few milliseconds' work. */
const stepBytes = 2 ** 20
/** So many are inflated in one step, up to {@link mostInflated} times as many coming out. */
const packedStep = 2 ** 15
/** What deflate makes of a byte at most. */
const mostInflated = 1032

/**
 * Never more than is expected, and no memory for more than the file can hold. fflate does not look at the checksum, and
 * reads on past an end that is missing.
 */
function* inflate(packed: Uint8Array, expected: number, name: string): Generator<void, Uint8Array> {
  if (packed.length < 6 || expected > packed.length * mostInflated) throw damaged(name, 'its pixels are cut short')
  const data = new Uint8Array(expected)
  let done = 0
  const inflating = new Unzlib((chunk) => {
    if (done + chunk.length <= expected) data.set(chunk, done)
    done += chunk.length
  })
  for (let begin = 0; begin < packed.length && done <= expected; begin += packedStep) {
    try {
      inflating.push(packed.subarray(begin, begin + packedStep), begin + packedStep >= packed.length)
    } catch (cause) {
      throw damaged(name, `its pixels: ${messageOf(cause)}`, cause)
    }
    yield
  }
  const stated = new DataView(packed.buffer, packed.byteOffset + packed.length - 4).getUint32(0)
  if (done !== expected || (yield* adler32(data)) !== stated)
    throw damaged(name, 'its pixels are cut short, too many or changed')
  return data
}

function* adler32(bytes: Uint8Array): Generator<void, number> {
  let [a, b] = [1, 0]
  for (let i = 0; i < bytes.length; ) {
    // So many sums of bytes stay below 2^32 without a remainder.
    for (const end = Math.min(i + 5552, bytes.length); i < end; i++) {
      a += bytes[i]
      b += a
    }
    a %= 65521
    b %= 65521
    if (i % stepBytes < 5552) yield
  }
  return ((b << 16) | a) >>> 0
}

/**
 * Every `dx`-th column from `x` and every `dy`-th row from `y`, as a picture of its own; a row has `stride`
 * bytes after its filter's.
 */
interface Pass {
  readonly x: number
  readonly y: number
  readonly dx: number
  readonly dy: number
  readonly columns: number
  readonly rows: number
  readonly stride: number
}

const adam7 = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const

function passesOf({ width, height, depth, samples, interlaced }: PngHeader): Pass[] {
  return (interlaced ? adam7 : [[0, 0, 1, 1] as const])
    .map(([x, y, dx, dy]) => {
      const [columns, rows] = [Math.ceil((width - x) / dx), Math.ceil((height - y) / dy)]
      return { x, y, dx, dy, columns, rows, stride: Math.ceil((columns * depth * samples) / 8) }
    })
    .filter(({ columns, rows }) => columns > 0 && rows > 0)
}

/**
 * Undoes the filter of every row in place: each byte was stored as the difference from a guess made of the bytes `step`
 * to the left, above, and above that.
 */
function* unfilter(data: Uint8Array, stride: number, step: number, name: string): Generator<void, void> {
  let above: Uint8Array = new Uint8Array(stride)
  for (let begin = 0; begin < data.length; begin += 1 + stride) {
    const filter = data[begin]
    const row = data.subarray(begin + 1, begin + 1 + stride)
    if (filter > 4) throw damaged(name, `a row has filter ${filter}`)
    if (filter === 1) for (let i = step; i < stride; i++) row[i] += row[i - step]
    if (filter === 2) for (let i = 0; i < stride; i++) row[i] += above[i]
    if (filter === 3) for (let i = 0; i < stride; i++) row[i] += ((i < step ? 0 : row[i - step]) + above[i]) >> 1
    if (filter === 4)
      for (let i = 0; i < stride; i++) row[i] += i < step ? above[i] : paeth(row[i - step], above[i], above[i - step])
    above = row
    if (begin % stepBytes < 1 + stride) yield
  }
}

/** Of three neighbours the one nearest to a + b - c. */
function paeth(a: number, b: number, c: number): number {
  const toA = Math.abs(b - c)
  const toB = Math.abs(a - c)
  const toC = Math.abs(a + b - 2 * c)
  return toA <= toB && toA <= toC ? a : toB <= toC ? b : c
}

/** Sample number i of the row that begins at `start`. */
function sampleReader(data: Uint8Array, start: number, depth: number): (i: number) => number {
  if (depth === 8) return (i) => data[start + i]
  if (depth === 16) return (i) => (data[start + 2 * i] << 8) | data[start + 2 * i + 1]
  return (i) => (data[start + ((i * depth) >> 3)] >> (8 - depth - ((i * depth) & 7))) & (2 ** depth - 1)
}
