/** Resizing by reading between pixels, as tensor libraries do it: every output looks at two pixels an axis, no more. */
import { checkImage, checkSide, type Image } from './image.ts'

/** What {@link sampleLinear} may be told. */
export interface SampleOptions {
  /**
   * Where output i reads, with r = size before / size after: at (i + 1/2) r - 1/2, pixels being squares (PyTorch's
   * `interpolate` with `align_corners=False`), or at i r, so that the picture moves up and left (the resize of
   * TensorFlow 1, in which the statistics of the first years were computed).
   */
  readonly halfPixel: boolean
}

interface Reading {
  readonly first: number
  readonly second: number
  /** Share of the second. */
  readonly share: number
}

/** The ratio is in single precision in both libraries; PyTorch places in double, TensorFlow in single. */
function readings(from: number, to: number, halfPixel: boolean): Reading[] {
  const ratio = Math.fround(from / to)
  return Array.from({ length: to }, (_, i) => {
    const at = halfPixel ? Math.max(0, ratio * (i + 0.5) - 0.5) : Math.fround(ratio * i)
    const first = Math.min(Math.floor(at), from - 1)
    return { first, second: Math.min(first + 1, from - 1), share: at - first }
  })
}

/**
 * The image at another size as floats between its bytes, channels interleaved like the image's: bilinear, without
 * antialiasing, so that an image that shrinks loses what lies between. `resizeFloats` is the better resize; this one
 * is for comparing with numbers that were computed so.
 *
 * @throws TweedieError 'option' for what is no image, and for sides that are no positive whole numbers
 */
export function sampleLinear(
  image: Image,
  width: number,
  height: number,
  { halfPixel }: SampleOptions,
): Float32Array<ArrayBuffer> {
  checkImage('sampleLinear', image)
  for (const side of [width, height]) checkSide('sampleLinear', side)
  const { channels, data } = image
  const [rows, columns] = [readings(image.height, height, halfPixel), readings(image.width, width, halfPixel)]
  const out = new Float32Array(width * height * channels)
  const row = image.width * channels
  rows.forEach((y, i) => {
    columns.forEach((x, j) => {
      for (let c = 0; c < channels; c++) {
        const between = (start: number): number => {
          const [left, right] = [data[start + x.first * channels + c], data[start + x.second * channels + c]]
          return left + (right - left) * x.share
        }
        const above = between(y.first * row)
        out[(i * width + j) * channels + c] = above + (between(y.second * row) - above) * y.share
      }
    })
  })
  return out
}
