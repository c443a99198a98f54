/** An image as the input of a network, as torchvision's transforms make it: a short side, a middle square, values. */
import { TweedieError } from '../errors.ts'
import { cut, halfToEven } from './crop.ts'
import { checkImage, checkSide, type Image } from './image.ts'
import { resize } from './resize.ts'

/**
 * The image with its short side at `side` pixels, and the long one in proportion, rounded down (torchvision's
 * `Resize(side)` on a PIL image).
 *
 * @throws TweedieError 'option' for what is no image, for a side that is no positive whole number, for another filter
 */
export function resizeShortSide(image: Image, side: number, filter: 'bilinear' | 'bicubic'): Image {
  checkImage('resizeShortSide', image)
  checkSide('resizeShortSide', side)
  const short = Math.min(image.width, image.height)
  const scaled = (n: number): number => (n === short ? side : Math.trunc((side * n) / short))
  return resize(image, scaled(image.width), scaled(image.height), filter)
}

/**
 * The square of `size` pixels in the middle of an image, at its own scale (torchvision's `CenterCrop(size)`): half a
 * pixel is rounded to the even one.
 *
 * @throws TweedieError 'option' for what is no image, and for one smaller than the square
 */
export function middle(image: Image, size: number): Image {
  checkImage('middle', image)
  checkSide('middle', size)
  const { width, height } = image
  if (Math.min(width, height) < size) {
    const expected = `an image of ${size} x ${size} pixels or more`
    throw new TweedieError('option', `middle: expected ${expected}, found ${width} x ${height}. Enlarge it first.`)
  }
  return cut(image, halfToEven((width - size) / 2), halfToEven((height - size) / 2), size)
}

/**
 * The values [3, H, W] of an image: (u8 / 255 - mean) / deviation by channel, each step in single precision
 * (torchvision's `ToTensor` and `Normalize`). Grey images become three equal channels first.
 */
export function normalized(
  image: Image,
  mean: readonly number[],
  deviation: readonly number[],
): Float32Array<ArrayBuffer> {
  checkImage('normalized', image)
  const { width, height, channels, data } = image
  const area = width * height
  const out = new Float32Array(3 * area)
  for (let c = 0; c < 3; c++) {
    const from = channels === 3 ? c : 0
    const table = Float32Array.from(
      { length: 256 },
      (_, byte) => Math.fround(Math.fround(byte / 255) - Math.fround(mean[c])) / Math.fround(deviation[c]),
    )
    for (let i = 0; i < area; i++) out[c * area + i] = table[data[i * channels + from]]
  }
  return out
}
