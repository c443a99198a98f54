/**
 * JPEG files as images of bytes: baseline and progressive; grey, colour or CMYK. Samples, the spreading of chroma of a
 * lower resolution and the conversion to RGB are libjpeg-turbo's, in its whole numbers, so that images are PIL's
 * `convert('RGB')` to the byte. An EXIF orientation is ignored and pixels are taken as stored, as guided-diffusion's
 * loader does. Decoded here: jpeg-js, the one in pure JavaScript, is off by up to 3 levels, reads no CMYK without
 * Adobe's marker, takes 20 bytes a pixel and cannot be stopped. Format: ITU-T T.81, JFIF 1.02.
 */
import { messageOf, TweedieError } from '../errors.ts'
import { checkPixels, type Image, type ImageHeader } from './image.ts'
import { Damage } from './jpeg-bits.ts'
import { decodeScans, type JpegFrame, type Plane } from './jpeg-scan.ts'

export const isJpeg = (bytes: Uint8Array): boolean => bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff

interface JpegHeader extends ImageHeader {
  readonly frame: JpegFrame
  /** Luma and chroma, with or without a key beside; else the components are grey, RGB or CMYK themselves. */
  readonly chroma: boolean
}

/**
 * From the bytes before the first scan; undefined where these are not all there. Throws 'format', naming `name`, for
 * what is no JPEG of 8 bits in grey, RGB, YCbCr, CMYK or YCCK.
 */
export function jpegHeader(bytes: Uint8Array, name: string): JpegHeader | undefined {
  const wrong = (message: string): never => {
    throw new TweedieError('format', `${name}: ${message}`)
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const textAt = (at: number, length: number): string => String.fromCharCode(...bytes.subarray(at, at + length))
  let frame: JpegFrame | undefined
  let [jfif, adobe]: [boolean, number | undefined] = [false, undefined]
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
    if (marker === 0xe0 && textAt(at + 4, 5) === 'JFIF\0') jfif = true
    if (marker === 0xee && textAt(at + 4, 5) === 'Adobe' && end >= at + 16) adobe = bytes[at + 15]
    // Frames, C0 to CF, but for the tables C4 and CC and the reserved C8.
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      if (marker > 0xc2)
        wrong(
          'a lossless, hierarchical or arithmetically coded JPEG, which is not read. Save it as ' +
            'a baseline JPEG or a PNG.',
        )
      if (frame) wrong('a damaged JPEG (two frames).')
      if (bytes[at + 4] !== 8) wrong(`a JPEG of ${bytes[at + 4]} bits, expected 8. Save it as a PNG.`)
      const count = bytes[at + 9]
      if (![1, 3, 4].includes(count)) wrong(`a JPEG of ${count} components, expected 1, 3 or 4.`)
      if (end < at + 10 + 3 * count) wrong('a damaged JPEG (its header is cut short).')
      frame = {
        height: view.getUint16(at + 5),
        width: view.getUint16(at + 7),
        progressive: marker === 0xc2,
        components: Array.from({ length: count }, (_, i) => {
          const [id, sampling, table] = bytes.subarray(at + 10 + 3 * i)
          return { id, h: sampling >> 4, v: sampling & 15, table }
        }),
      }
    }
    at = end
    if (frame && at + 4 > bytes.length) return undefined
  }
  if (!frame) return undefined
  const { width, height, components } = frame
  checkPixels(name, width, height)
  const [first] = components
  // A component alone has a block a unit, whatever it says.
  if (components.length === 1) frame = { ...frame, components: [{ ...first, h: 1, v: 1 }] }
  const [h, v] = (['h', 'v'] as const).map((key) => Math.max(...frame!.components.map((one) => one[key])))
  if (frame.components.some((one) => one.h < 1 || one.v < 1 || h > 4 || v > 4))
    wrong('a damaged JPEG (the sampling of its components).')
  if (frame.components.some((one) => h % one.h !== 0 || v % one.v !== 0))
    wrong('a JPEG with an unusual sampling of its chroma, which is not read. Save it as a PNG.')
  // As libjpeg guesses: JFIF has luma and chroma; else Adobe's marker says; else names may.
  const names = String.fromCharCode(...components.map(({ id }) => id))
  const chroma =
    components.length === 3
      ? jfif || (adobe === undefined ? names !== 'RGB' : adobe !== 0)
      : components.length === 4 && adobe !== undefined && adobe !== 0
  return { width, height, channels: components.length === 1 ? 1 : 3, frame, chroma }
}

/** Decodes step by step, see {@link decodeScans}. Throws 'format', naming `name`, for what is damaged or not read. */
export function* decodeJpeg(bytes: Uint8Array, name: string): Generator<void, Image> {
  try {
    const header = jpegHeader(bytes, name)
    if (!header) throw new Damage('it is cut short')
    const { width, height, channels, frame, chroma } = header
    const planes = yield* decodeScans(bytes, frame)
    const [h, v] = (['h', 'v'] as const).map((key) => Math.max(...frame.components.map((one) => one[key])))
    const rows = planes.map((plane, c) =>
      spread(plane, width, height, h / frame.components[c].h, v / frame.components[c].v),
    )
    const data = new Uint8Array(width * height * channels)
    const put = chroma ? fromChroma : fromColour
    for (let y = 0; y < height; y++) {
      const line = rows.map((row) => row(y))
      const to = data.subarray(y * width * channels, (y + 1) * width * channels)
      if (channels === 1) to.set(line[0].subarray(0, width))
      else {
        put(line, to)
        if (line.length === 4) inked(to, line[3], chroma)
      }
      yield
    }
    return { width, height, channels, data }
  } catch (cause) {
    if (!(cause instanceof Damage)) throw cause
    throw new TweedieError('format', `${name}: a damaged JPEG (${messageOf(cause)}).`, { cause })
  }
}

function fromColour([r, g, b]: readonly Uint8Array[], to: Uint8Array): void {
  for (let i = 0, k = 0; k < to.length; i++) {
    to[k++] = r[i]
    to[k++] = g[i]
    to[k++] = b[i]
  }
}

const clamp = (value: number): number => Math.max(0, Math.min(255, value))

/** JFIF's conversion, with factors in 16 bits. */
function fromChroma([luma, blue, red]: readonly Uint8Array[], to: Uint8Array): void {
  for (let i = 0, k = 0; k < to.length; i++) {
    const y = luma[i]
    const cb = blue[i] - 128
    const cr = red[i] - 128
    to[k++] = clamp(y + ((91881 * cr + 32768) >> 16))
    to[k++] = clamp(y + ((-22554 * cb - 46802 * cr + 32768) >> 16))
    to[k++] = clamp(y + ((116130 * cb + 32768) >> 16))
  }
}

/**
 * CMYK as PIL converts it, in place: `to` holds what is left of cyan, magenta and yellow, as JPEGs store it (Adobe's
 * way, which PIL takes all for), or, where it comes from luma and chroma, the inks themselves; `key` what is left of
 * black. A colour is key - ink * key / 255, rounded as PIL does.
 */
function inked(to: Uint8Array, key: Uint8Array, inks: boolean): void {
  for (let k = 0; k < to.length; k++) {
    const left = key[Math.floor(k / 3)]
    const product = (inks ? to[k] : 255 - to[k]) * left + 128
    to[k] = left - (((product >> 8) + product) >> 8)
  }
}

/**
 * Rows of a plane in full resolution, as libjpeg-turbo spreads it: by a triangle filter (between two samples a quarter
 * apart, the nearer counts three times) where a direction has half the resolution and none has less, and by repetition
 * otherwise, which also goes for a plane of half the width that has two columns or fewer. A row that is given is good
 * until the next.
 */
function spread(
  { data, stride }: Plane,
  width: number,
  height: number,
  x: number,
  y: number,
): (row: number) => Uint8Array {
  const line = (row: number): Uint8Array => data.subarray(row * stride, (row + 1) * stride)
  if (x === 1 && y === 1) return line
  const [columns, rows] = [Math.ceil(width / x), Math.ceil(height / y)]
  const out = new Uint8Array(width)
  if (x > 2 || y > 2 || (x === 2 && columns <= 2))
    return (row) => {
      const from = line(Math.floor(row / y))
      for (let i = 0; i < width; i++) out[i] = from[Math.floor(i / x)]
      return out
    }
  const sums = new Uint16Array(columns)
  return (row) => {
    // Down: a weighted sum of the nearest row and the next, or of one row alone.
    const near = Math.floor(row / y)
    const [from, other] = [
      line(near),
      line(Math.max(0, Math.min(rows - 1, y === 1 ? near : near + (row & 1 ? 1 : -1)))),
    ]
    for (let i = 0; i < columns; i++) sums[i] = y === 1 ? from[i] : 3 * from[i] + other[i]
    // Biases alternate, as libjpeg's do: 1 and 2 of 4, or 8 and 7 of 16.
    if (x === 1) for (let i = 0; i < width; i++) out[i] = (sums[i] + (row & 1 ? 2 : 1)) >> 2
    else {
      const [even, odd, shift] = y === 1 ? [1, 2, 2] : [8, 7, 4]
      for (let i = 0; i < width; i++) {
        const c = i >> 1
        const side = i & 1 ? Math.min(columns - 1, c + 1) : Math.max(0, c - 1)
        out[i] = (3 * sums[c] + sums[side] + (i & 1 ? odd : even)) >> shift
      }
    }
    return out
  }
}
