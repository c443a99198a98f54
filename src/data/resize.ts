/**
 * Resizing as Pillow does it for 8-bit images: first the rows, then the columns, with weights in 22-bit fixed point and
 * a rounding to bytes between the two. Where an image shrinks, the filter widens with it, so that every pixel counts.
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
  box: { support: 0.5, weight: (x) => x > -0.5 && x <= 0.5 ? 1 : 0 },
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
 * The image at another size: PIL's `resize((width, height), BOX | BICUBIC)`.
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

/** The first input of each output and the weights of it and the following, as whole numbers over 2^22. */
function taps(from: number, to: number, { support, weight }: Filter): { first: number; weights: Int32Array }[] {
  const scale = from / to
  const stretch = Math.max(scale, 1)
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * scale
    const first = Math.max(0, Math.trunc(center - support * stretch + 0.5))
    const end = Math.min(from, Math.trunc(center + support * stretch + 0.5))
    const raw = Array.from({ length: end - first }, (_, k) => weight((k + first - center + 0.5) / stretch))
    const sum = raw.reduce((a, b) => a + b, 0)
    // Away from zero at a half, as a C program rounds.
    return { first, weights: Int32Array.from(raw, (w) => Math.trunc(w / sum * 2 ** precision + (w < 0 ? -0.5 : 0.5))) }
  })
}

const byte = (sum: number): number => Math.max(0, Math.min(255, sum >> precision))

function resizeRows({ width, height, channels, data }: Image, to: number, filter: Filter): Image {
  const out = new Uint8Array(to * height * channels)
  const columns = taps(width, to, filter)
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
  taps(height, to, filter).forEach(({ first, weights }, y) => {
    for (let i = 0; i < row; i++) {
      let sum = 1 << (precision - 1)
      for (let k = 0; k < weights.length; k++) sum += weights[k] * data[(first + k) * row + i]
      out[y * row + i] = byte(sum)
    }
  })
  return { width, height: to, channels, data: out }
}
