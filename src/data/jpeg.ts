/**
 * JPEG files as images of bytes: baseline and progressive, grey or colour. jpeg-js decodes the planes; chroma of a
 * lower resolution is spread here as libjpeg-turbo does, and converted with its rounding, so that images are those
 * of PIL within 3 levels, and grey ones within 1 (jpeg-js itself repeats chroma and truncates, half a level too
 * dark). An EXIF orientation is ignored and pixels are taken as stored, as guided-diffusion's loader does. Format:
 * ITU-T T.81, JFIF 1.02.
 */
// Not the root, which brings the encoder, too: 3.5 KB gzipped.
import decode from 'jpeg-js/lib/decoder.js'
import { messageOf, TweedieError } from '../errors.ts'
import { checkPixels, type Image, type ImageHeader } from './image.ts'

export const isJpeg = (bytes: Uint8Array): boolean => bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff

interface JpegHeader extends ImageHeader {
  /** How often a luma sample stands for each chroma sample; [1, 1] where all components are alike. */
  readonly spread: readonly [x: number, y: number]
  /** The components are red, green and blue, not luma and chroma. */
  readonly rgb: boolean
  /** Where Adobe's marker says which of the two, if it is there. */
  readonly transformAt?: number
}

/**
 * From the bytes before the first scan; undefined where these are not all there. Throws 'format', naming `name`, for
 * what is no JPEG of 8 bits in grey, RGB or YCbCr.
 */
export function jpegHeader(bytes: Uint8Array, name: string): JpegHeader | undefined {
  const wrong = (message: string): never => {
    throw new TweedieError('format', `${name}: ${message}`)
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let frame: { width: number; height: number; ids: string; sampling: [number, number][] } | undefined
  let transformAt: number | undefined
  for (let at = 2; at + 4 <= bytes.length; ) {
    if (bytes[at] !== 0xff) return wrong('a damaged JPEG (a marker is missing in its header).')
    const marker = bytes[at + 1]
    if (marker === 0xff || marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += marker === 0xff ? 1 : 2
      continue
    }
    const end = at + 2 + view.getUint16(at + 2)
    if (marker === 0xda || marker === 0xd9) break
    if (end > bytes.length) return undefined
    if (marker === 0xee && String.fromCharCode(...bytes.subarray(at + 4, at + 9)) === 'Adobe') transformAt = at + 15
    // Frames, C0 to CF, but for the tables C4 and CC and the reserved C8.
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      if (marker > 0xc2)
        wrong(
          'a lossless, hierarchical or arithmetically coded JPEG, which is not read. Save it as ' +
            'a baseline JPEG or a PNG.',
        )
      if (bytes[at + 4] !== 8) wrong(`a JPEG of ${bytes[at + 4]} bits, expected 8. Save it as a PNG.`)
      const components = Array.from({ length: bytes[at + 9] }, (_, i) => at + 10 + 3 * i)
      if (components.length === 4) wrong('a CMYK JPEG, which is not read. Convert it to RGB first.')
      if (components.length !== 1 && components.length !== 3)
        wrong(`a JPEG of ${components.length} components, expected 1 or 3.`)
      frame = {
        height: view.getUint16(at + 5),
        width: view.getUint16(at + 7),
        ids: String.fromCharCode(...components.map((c) => bytes[c])),
        sampling: components.map((c) => [bytes[c + 1] >> 4, bytes[c + 1] & 15]),
      }
    }
    at = end
    if (frame && at + 4 > bytes.length) return undefined
  }
  if (!frame) return undefined
  const {
    width,
    height,
    ids,
    sampling: [[x, y], ...chroma],
  } = frame
  checkPixels(name, width, height)
  const spread = chroma.length === 0 ? ([1, 1] as const) : ([x / chroma[0][0], y / chroma[0][1]] as const)
  const alike = chroma.every(([h, v]) => h === chroma[0][0] && v === chroma[0][1])
  if (!alike || spread.some((s) => s !== 1 && s !== 2 && s !== 4))
    wrong('a JPEG with an unusual sampling of its chroma, which is not read. Save it as a PNG.')
  const rgb = transformAt === undefined ? ids === 'RGB' : bytes[transformAt] === 0
  return {
    width,
    height,
    channels: chroma.length === 0 ? 1 : 3,
    spread,
    rgb,
    ...(transformAt !== undefined && { transformAt }),
  }
}

/** Throws 'format', naming `name`, for a damaged file or a kind that is not read. */
export function decodeJpeg(bytes: Uint8Array, name: string): Image {
  const wrong = (reason: string, cause?: unknown): never => {
    throw new TweedieError('format', `${name}: a damaged JPEG (${reason}).`, { cause })
  }
  const header = jpegHeader(bytes, name) ?? wrong('it is cut short')
  const { width, height, channels, spread, rgb, transformAt } = header
  let planes: Uint8Array
  try {
    // Without the colour transform: luma and chroma as they are, chroma repeated. To jpeg-js Adobe's
    // marker would count more.
    const plain = bytes.slice()
    if (transformAt !== undefined) plain[transformAt] = 0
    planes = decode(plain, {
      useTArray: true,
      formatAsRGBA: false,
      colorTransform: false,
      tolerantDecoding: false,
      maxMemoryUsageInMB: 4096,
    }).data
  } catch (cause) {
    return wrong(messageOf(cause), cause)
  }
  const area = width * height
  if (channels === 1)
    return { width, height, channels, data: Uint8Array.from({ length: area }, (_, i) => planes[3 * i]) }
  if (rgb) return { width, height, channels, data: planes }
  const [cb, cr] = [1, 2].map((c) => spreadChroma(planes, c, width, height, spread))
  const data = new Uint8ClampedArray(3 * area)
  for (let i = 0; i < area; i++) {
    const [y, b, r] = [planes[3 * i], cb[i] - 128, cr[i] - 128]
    data[3 * i] = Math.floor(y + 1.402 * r + 0.5)
    data[3 * i + 1] = Math.floor(y - 0.344136286 * b - 0.714136286 * r + 0.5)
    data[3 * i + 2] = Math.floor(y + 1.772 * b + 0.5)
  }
  return { width, height, channels, data: new Uint8Array(data.buffer) }
}

/**
 * One chroma plane in full resolution, as libjpeg-turbo spreads it: by a triangle filter (between two samples a quarter
 * apart, the nearer counts three times) where a direction has half the resolution and none has less, and by repetition
 * otherwise, which also goes for a plane of half the width that has two columns or fewer.
 */
function spreadChroma(
  planes: Uint8Array,
  channel: number,
  width: number,
  height: number,
  [x, y]: readonly [number, number],
): Uint8Array {
  const at = (row: number, column: number): number => planes[(row * width + column) * 3 + channel]
  const out = new Uint8Array(width * height)
  const smooth = x <= 2 && y <= 2 && !(x === 2 && width <= 4)
  const [across, down] = [smooth && x === 2, smooth && y === 2]
  const neighbour = (i: number, end: number): number => {
    const other = i & 1 ? i + 1 : i - 2
    return other < 0 || other >= end ? i : other
  }
  // A bias that alternates, as libjpeg's: 1 and 2 of 4, or 8 and 7 of 16.
  for (let i = 0; i < height; i++) {
    const row = down ? neighbour(i, height) : i
    for (let j = 0; j < width; j++) {
      const column = across ? neighbour(j, width) : j
      out[i * width + j] =
        across && down
          ? (9 * at(i, j) + 3 * at(row, j) + 3 * at(i, column) + at(row, column) + (j & 1 ? 7 : 8)) >> 4
          : across
            ? (3 * at(i, j) + at(i, column) + (j & 1 ? 2 : 1)) >> 2
            : down
              ? (3 * at(i, j) + at(row, j) + (i & 1 ? 2 : 1)) >> 2
              : at(i, j)
    }
  }
  return out
}
