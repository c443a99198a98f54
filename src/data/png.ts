/**
 * PNG files as images of bytes. An alpha channel and a transparent colour are ignored, as PIL's conversion to RGB does;
 * 16 bits become 8 by the nearest; palettes are colour; fewer than 8 bits are spread over the whole range.
 */
import { convertIndexedToRgb, decode, hasPngSignature, type DecodedPng } from 'fast-png'
import { TweedieError } from '../errors.ts'
import type { Image, ImageHeader } from './image.ts'

export const isPng = (bytes: Uint8Array): boolean => bytes.length >= 8 && hasPngSignature(bytes)

/** From the first 33 bytes. Throws 'format', naming `name`, for less. */
export function pngHeader(bytes: Uint8Array, name: string): ImageHeader {
  if (bytes.length < 33) throw new TweedieError('format', `${name}: a damaged PNG (its header is cut short).`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  // Colour types: 0 grey, 2 colour, 3 palette, 4 grey and alpha, 6 colour and alpha.
  return { width: view.getUint32(16), height: view.getUint32(20), channels: bytes[25] === 0 || bytes[25] === 4 ? 1 : 3 }
}

/** Throws 'format', naming `name`, for a damaged file. */
export function decodePng(bytes: Uint8Array, name: string): Image {
  let png: DecodedPng
  try {
    png = decode(bytes, { checkCrc: true })
  } catch (cause) {
    throw new TweedieError('format', `${name}: a damaged PNG (${cause instanceof Error ? cause.message : String(cause)}).`, { cause })
  }
  const { width, height } = png
  const { data, found } = png.palette ? { data: convertIndexedToRgb(png), found: png.palette[0]?.length ?? 3 } : { data: unpacked(png), found: png.channels }
  const channels = found >= 3 ? 3 : 1
  const scale = png.palette ? 1 : 255 / (2 ** png.depth - 1)
  const out = new Uint8Array(width * height * channels)
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < channels; c++) out[i * channels + c] = Math.round(data[i * found + c] * scale)
  }
  return { width, height, channels, data: out }
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
