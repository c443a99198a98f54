/**
 * Between images of bytes and the values that models compute with, [N, C, H, W] in [-1, 1]. In: a byte b is
 * b / 127.5 - 1. Out is guided-diffusion's (image_sample.py) to the bit: (x + 1) * 127.5 in float32, clamped to
 * [0, 255] and truncated.
 */
import { TweedieError, unexpected } from '../errors.ts'
import type { Image } from './image.ts'

/** What models see of a byte b, by b: b / 127.5 - 1 in float32. */
export const byteValues: Readonly<Float32Array> = Float32Array.from(
  { length: 256 },
  (_, byte) => Math.fround(byte / 127.5) - 1,
)

/**
 * The byte that the reference exports of a value: (x + 1) * 127.5 in float32, clamped to [0, 255] and
 * truncated; of NaN NaN.
 */
export const byteOf = (value: number): number =>
  Math.trunc(Math.min(255, Math.max(0, Math.fround(Math.fround(value + 1) * 127.5))))

/**
 * Writes a square into a batch, [C, size, size], under one of its symmetries: bit 0 flips x, bit 1 y, bit
 * 2 exchanges the two.
 */
export function placeValues(
  batch: Float32Array,
  offset: number,
  { width: size, channels, data }: Image,
  symmetry = 0,
): void {
  const last = size - 1
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const across = symmetry & 4 ? y : x
      const down = symmetry & 4 ? x : y
      const from = ((symmetry & 2 ? last - down : down) * size + (symmetry & 1 ? last - across : across)) * channels
      for (let c = 0; c < channels; c++) batch[offset + (c * size + y) * size + x] = byteValues[data[from + c]]
    }
  }
}

/**
 * Image `index` of a batch of values, as the reference exports it: (x + 1) * 127.5, clamped to [0, 255] and truncated.
 *
 * ```ts
 * const png = encodePng(imageOf(await x.read(), x.shape, 0))
 * ```
 *
 * @param values of the whole batch, in [-1, 1]
 * @param shape [N, C, H, W], C being 1 or 3
 * @throws TweedieError 'shape' for another shape, and for values of another number; 'option' for an
 *   index that is not below N
 */
export function imageOf(values: ArrayLike<number>, shape: readonly number[], index = 0): Image {
  checkValues('imageOf', values, shape)
  const [n, channels, height, width] = shape
  const area = height * width
  if (shape.length !== 4 || (channels !== 1 && channels !== 3) || values.length !== n * channels * area) {
    throw new TweedieError(
      'shape',
      `imageOf: expected values of a batch [N, C, H, W] with 1 or 3 channels, found ${values.length} values ` +
        `for [${shape.join(', ')}].`,
    )
  }
  if (!(Number.isInteger(index) && index >= 0 && index < n))
    throw new TweedieError('option', `imageOf: expected an image from 0 to ${n - 1}, found ${index}.`)
  const data = new Uint8Array(channels * area)
  for (let c = 0; c < channels; c++) {
    const offset = (index * channels + c) * area
    for (let i = 0; i < area; i++) data[i * channels + c] = byteOf(values[offset + i])
  }
  return { width, height, channels, data }
}

/** All images of a batch of values [N, C, H, W] in [-1, 1], as bytes: see {@link imageOf}. */
export function imagesOf(values: ArrayLike<number>, shape: readonly number[]): Image[] {
  checkValues('imagesOf', values, shape)
  return Array.from({ length: shape[0] }, (_, index) => imageOf(values, shape, index))
}

function checkValues(user: string, values: unknown, shape: unknown): void {
  if (typeof (values as ArrayLike<number> | null)?.length !== 'number')
    throw unexpected(user, 'the values of a batch', values, 'await x.read() gives those of a tensor.')
  if (!Array.isArray(shape)) throw unexpected(user, 'their shape [N, C, H, W]', shape)
}
