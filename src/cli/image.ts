/**
 * Between tensors and PNG files. Export is the reference's to the bit: (x + 1) * 127.5 in float32, clamped to [0, 255] and
 * truncated, not rounded (spec C.5).
 */
import { readFile } from 'node:fs/promises'
import { encode } from 'fast-png'
import type { Image } from '../data/image.ts'
import { decodeImage } from '../data/decode.ts'
import { isPng } from '../data/png.ts'
import { TweedieError } from '../errors.ts'

export type { Image } from '../data/image.ts'

/** Image `index` of a batch [N, C, H, W] in [-1, 1], C being 1 or 3. */
export function imageOf(batch: Float32Array, [, channels, height, width]: readonly number[], index: number): Image {
  const area = height * width
  const data = new Uint8Array(channels * area)
  for (let c = 0; c < channels; c++) {
    const offset = (index * channels + c) * area
    for (let i = 0; i < area; i++) {
      const value = Math.fround(Math.fround(batch[offset + i] + 1) * 127.5)
      data[i * channels + c] = Math.trunc(Math.min(255, Math.max(0, value)))
    }
  }
  return { width, height, channels: channels as 1 | 3, data }
}

export const encodePng = ({ width, height, channels, data }: Image): Uint8Array => encode({ width, height, channels, data, depth: 8 })

/** What a model takes. */
export interface ImageShape {
  readonly channels: number
  readonly size: number
}

/**
 * The values of a PNG in [-1, 1], [C, H, W]. Grey becomes three equal channels where the model has three; an alpha channel
 * is ignored, as PIL's conversion to RGB does.
 *
 * @throws TweedieError 'format' naming the file, for what is no PNG or has another size than the model
 */
export async function readPng(path: string, { channels, size }: ImageShape): Promise<Float32Array> {
  const wrong = (message: string): never => {
    throw new TweedieError('format', `${path}: ${message}`)
  }
  const bytes = await readFile(path)
  if (!isPng(bytes)) wrong('not a PNG file, whatever its name says.')
  const { width, height, channels: found, data } = decodeImage(bytes, path)
  if (width !== size || height !== size) wrong(`${width} x ${height} pixels, but the model takes ${size} x ${size}: resize it first.`)
  if (found > channels) wrong(`a colour image, but the model takes ${channels} channel${channels === 1 ? '' : 's'}.`)
  const out = new Float32Array(channels * size * size)
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < size * size; i++) out[c * size * size + i] = data[i * found + (found === 1 ? 0 : c)] / 127.5 - 1
  }
  return out
}
