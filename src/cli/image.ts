/**
 * Between tensors and PNG files. Export is the reference's to the bit: (x + 1) * 127.5 in float32, clamped to [0, 255] and
 * truncated, not rounded (spec C.5).
 */
import { readFile } from 'node:fs/promises'
import { convertIndexedToRgb, decode, encode, hasPngSignature, type DecodedPng } from 'fast-png'
import { TweedieError } from '../errors.ts'

/** Bytes in rows, channels interleaved. */
export interface Image {
  readonly width: number
  readonly height: number
  readonly channels: 1 | 3
  readonly data: Uint8Array
}

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
  const wrong = (message: string, cause?: unknown): never => {
    throw new TweedieError('format', `${path}: ${message}`, { cause })
  }
  const bytes = await readFile(path)
  if (!hasPngSignature(bytes)) wrong('not a PNG file, whatever its name says.')
  let png: DecodedPng
  try {
    png = decode(bytes, { checkCrc: true })
  } catch (cause) {
    return wrong(`a damaged PNG (${cause instanceof Error ? cause.message : String(cause)}).`, cause)
  }
  if (png.width !== size || png.height !== size) wrong(`${png.width} x ${png.height} pixels, but the model takes ${size} x ${size}: resize it first.`)
  const { data, found } = png.palette ? { data: convertIndexedToRgb(png), found: png.palette[0]?.length ?? 3 } : { data: unpacked(png), found: png.channels }
  const colors = found >= 3 ? 3 : 1
  if (colors > channels) wrong(`a colour image, but the model takes ${channels} channel${channels === 1 ? '' : 's'}.`)
  const top = png.palette ? 255 : 2 ** png.depth - 1
  const out = new Float32Array(channels * size * size)
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < size * size; i++) out[c * size * size + i] = data[i * found + (colors === 1 ? 0 : c)] / (top / 2) - 1
  }
  return out
}

/** One element a value, also where fast-png leaves several in a byte (grey of 1, 2 or 4 bits; rows begin with a byte). */
function unpacked({ data, depth, width, height }: DecodedPng): ArrayLike<number> {
  if (depth >= 8) return data
  const stride = Math.ceil(width * depth / 8)
  const out = new Uint8Array(width * height)
  for (let i = 0; i < out.length; i++) {
    const bit = (i % width) * depth
    out[i] = (data[Math.floor(i / width) * stride + (bit >> 3)] >> (8 - depth - (bit & 7))) & (2 ** depth - 1)
  }
  return out
}
