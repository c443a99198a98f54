/** Squares of a model's size, as guided-diffusion cuts them (image_datasets.py). */
import { checkImage, checkSide, type Image } from './image.ts'
import { resize } from './resize.ts'

/**
 * The middle square of an image of any size, at a model's size: halved with a box filter while it is twice as large as
 * needed, its short side then scaled to `size` with a bicubic one, which enlarges what is smaller
 * (guided-diffusion image_datasets.py, `center_crop_arr`).
 *
 * @throws TweedieError 'option' for what is no image, and for a size that is no positive whole number
 */
export function centerCrop(image: Image, size: number): Image {
  checkImage('centerCrop', image)
  checkSide('centerCrop', size)
  const scaled = shortSide(image, size)
  return cut(scaled, Math.floor((scaled.width - size) / 2), Math.floor((scaled.height - size) / 2), size)
}

/**
 * A square anywhere in the image, after scaling its short side to a whole number drawn from size to ⌈size / 0.8⌉: the
 * square keeps at least four fifths of the short side. `random` gives three numbers in [0, 1).
 */
export function randomCrop(image: Image, size: number, random: () => number): Image {
  checkImage('randomCrop', image)
  checkSide('randomCrop', size)
  const below = (n: number): number => Math.floor(random() * n)
  const scaled = shortSide(image, size + below(Math.ceil(size / 0.8) - size + 1))
  const top = below(scaled.height - size + 1)
  return cut(scaled, below(scaled.width - size + 1), top, size)
}

function shortSide(image: Image, size: number): Image {
  let scaled = image
  while (Math.min(scaled.width, scaled.height) >= 2 * size) {
    scaled = resize(scaled, Math.floor(scaled.width / 2), Math.floor(scaled.height / 2), 'box')
  }
  const scale = size / Math.min(scaled.width, scaled.height)
  return resize(scaled, halfToEven(scaled.width * scale), halfToEven(scaled.height * scale), 'bicubic')
}

/** Python's `round`: at a half to the even neighbour. */
export function halfToEven(x: number): number {
  const floor = Math.floor(x)
  return x - floor === 0.5 ? floor + (floor % 2) : Math.round(x)
}

/** The square of `size` pixels whose corner lies there; the image itself where it has that size. */
export function cut({ width, height, channels, data }: Image, left: number, top: number, size: number): Image {
  if (width === size && height === size) return { width, height, channels, data }
  const out = new Uint8Array(size * size * channels)
  for (let y = 0; y < size; y++) {
    const from = ((top + y) * width + left) * channels
    out.set(data.subarray(from, from + size * channels), y * size * channels)
  }
  return { width: size, height: size, channels, data: out }
}
