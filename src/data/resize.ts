/**
 * Resizing as Pillow does it: first the rows, then the columns. Where an image shrinks, the filter widens with it, so
 * that every pixel counts. For 8-bit images weights are in 22-bit fixed point, and between the two passes is a rounding
 * to bytes; for floats (Pillow's mode 'F') sums are in double precision and each pass is stored in single.
 */
import { refuseOther } from '../refuse.ts'
import { checkImage, checkSide, type Image } from './image.ts'

interface Filter {
  /** Half its width, in pixels of the larger image. */
  readonly support: number
  weight(x: number): number
}

export const filters = {
  /** The mean of the pixels that fall on one. */
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  /** A tent: straight lines between pixels. */
  bilinear: { support: 1, weight: (x) => Math.max(1 - Math.abs(x), 0) },
  /** Keys' cubic convolution with a = -1/2. */
  bicubic: {
    support: 2,
    weight(signed) {
      const x = Math.abs(signed)
      return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0
    },
  },
} satisfies Record<string, Filter>

/**
 * The image at another size: PIL's `resize((width, height), BOX | BILINEAR | BICUBIC)`.
 *
 * @throws TweedieError 'option' for sides that are no positive whole numbers, and for another filter
 */
export function resize(image: Image, width: number, height: number, filter: keyof typeof filters): Image {
  checkImage('resize', image)
  for (const side of [width, height]) checkSide('resize', side)
  refuseOther('resize: filter', filter, Object.keys(filters) as (keyof typeof filters)[])
  const rows = width === image.width ? image : resizeRows(image, width, filters[filter])
  return height === image.height ? rows : resizeColumns(rows, height, filters[filter])
}

const precision = 22

interface Taps<Weights> {
  /** The first input pixel that counts. */
  readonly first: number
  /** Of it and those that follow. */
  readonly weights: Weights
}

/** For each output pixel the inputs that count, with weights that sum to 1. */
function taps(from: number, to: number, { support, weight }: Filter): Taps<Float64Array>[] {
  const scale = from / to
  const stretch = Math.max(scale, 1)
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale
    const first = Math.max(0, Math.trunc(center - support * stretch + 0.5))
    const end = Math.min(from, Math.trunc(center + support * stretch + 0.5))
    // Times the reciprocal, as Pillow does: the last bit of the weights is also its own.
    const raw = Float64Array.from({ length: end - first }, (_, k) => weight((k + first - center + 0.5) * (1 / stretch)))
    const sum = raw.reduce((a, b) => a + b, 0)
    return { first, weights: raw.map((w) => w / sum) }
  })
}

/** The same, with weights as whole numbers over 2^22, rounded away from zero at a half, as a C program rounds. */
const fixedTaps = (from: number, to: number, filter: Filter): Taps<Int32Array>[] =>
  taps(from, to, filter).map(({ first, weights }) => ({
    first,
    weights: Int32Array.from(weights, (w) => Math.trunc(w * 2 ** precision + (w < 0 ? -0.5 : 0.5))),
  }))

const byte = (sum: number): number => Math.max(0, Math.min(255, sum >> precision))

function resizeRows({ width, height, channels, data }: Image, to: number, filter: Filter): Image {
  const out = new Uint8Array(to * height * channels)
  const columns = fixedTaps(width, to, filter)
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < to; x++) {
      const { first, weights } = columns[x]
      for (let c = 0; c < channels; c++) {
        let sum = 1 << (precision - 1)
        for (let k = 0; k < weights.length; k++) sum += weights[k] * data[(y * width + first + k) * channels + c]
        out[(y * to + x) * channels + c] = byte(sum)
      }
    }
  }
  return { width: to, height, channels, data: out }
}

function resizeColumns({ width, height, channels, data }: Image, to: number, filter: Filter): Image {
  const row = width * channels
  const out = new Uint8Array(row * to)
  fixedTaps(height, to, filter).forEach(({ first, weights }, y) => {
    for (let i = 0; i < row; i++) {
      let sum = 1 << (precision - 1)
      for (let k = 0; k < weights.length; k++) sum += weights[k] * data[(first + k) * row + i]
      out[y * row + i] = byte(sum)
    }
  })
  return { width, height: to, channels, data: out }
}

/**
 * The image at another size as floats between its bytes, channels interleaved like the image's: PIL's `resize` of each
 * channel as an image of mode 'F'. Nothing is rounded or clipped: a cubic filter overshoots 0 and 255 at edges.
 *
 * @throws TweedieError 'option' for sides that are no positive whole numbers, and for another filter
 */
export function resizeFloats(
  image: Image,
  width: number,
  height: number,
  filter: keyof typeof filters,
): Float32Array<ArrayBuffer> {
  checkImage('resizeFloats', image)
  for (const side of [width, height]) checkSide('resizeFloats', side)
  refuseOther('resizeFloats: filter', filter, Object.keys(filters) as (keyof typeof filters)[])
  const { channels } = image
  let values = Float32Array.from(image.data)
  if (width !== image.width) values = floatRows(values, image, width, filters[filter])
  if (height !== image.height) values = floatColumns(values, width * channels, height, filters[filter])
  return values
}

type Floats = Float32Array<ArrayBuffer>

function floatRows(
  values: Floats,
  { width, height, channels }: Omit<Image, 'data'>,
  to: number,
  filter: Filter,
): Floats {
  const out = new Float32Array(to * height * channels)
  taps(width, to, filter).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < channels; c++) {
        let sum = 0
        for (let k = 0; k < weights.length; k++) sum += weights[k] * values[(y * width + first + k) * channels + c]
        out[(y * to + x) * channels + c] = sum
      }
    }
  })
  return out
}

function floatColumns(values: Floats, row: number, to: number, filter: Filter): Floats {
  const out = new Float32Array(row * to)
  taps(values.length / row, to, filter).forEach(({ first, weights }, y) => {
    for (let i = 0; i < row; i++) {
      let sum = 0
      for (let k = 0; k < weights.length; k++) sum += weights[k] * values[(first + k) * row + i]
      out[y * row + i] = sum
    }
  })
  return out
}
