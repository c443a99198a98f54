import { TweedieError, unexpected } from '../errors.ts'

/** A decoded image: bytes in rows, channels interleaved, grey or red, green and blue. */
export interface Image {
  readonly width: number
  readonly height: number
  readonly channels: 1 | 3
  readonly data: Uint8Array
}

/**
 * Throws 'option', naming `user`, for what is no image of bytes: an ImageData, say, has four channels,
 * and does not say so.
 */
export function checkImage(user: string, image: Image): void {
  if (!image?.data)
    throw unexpected(
      user,
      'an image { width, height, channels, data }',
      image,
      'decodeImage reads one from a file, imageFrom from a canvas or ImageData, imageOf from values.',
    )
  const { width, height, channels, data } = image
  if ((channels !== 1 && channels !== 3) || data.length !== width * height * channels) {
    throw new TweedieError(
      'option',
      `${user}: expected an image of 1 or 3 channels, interleaved, found ${data.length} bytes for ${width} x ` +
        `${height} pixels of ${channels} channels. imageFrom makes one of an ImageData.`,
    )
  }
}

/** Throws 'option', naming `user`, for what is no number of pixels. */
export function checkSide(user: string, side: number): void {
  if (!(Number.isInteger(side) && side > 0))
    throw unexpected(user, 'a size in pixels, a whole number of 1 or more', side)
}

/** What a file says of its image ahead of it. */
export interface ImageHeader {
  readonly width: number
  readonly height: number
  readonly channels: 1 | 3
}

/** Photographs have up to 100 million pixels; decoding takes some 20 bytes for each. */
const maxPixels = 1e8

/** Throws 'format', naming `name`, for a header that says no pixels, or more than are decoded. */
export function checkPixels(name: string, width: number, height: number): void {
  if (width === 0 || height === 0)
    throw new TweedieError('format', `${name}: a damaged image (its header says ${width} x ${height} pixels).`)
  if (width * height > maxPixels)
    throw new TweedieError(
      'format',
      `${name}: ${width} x ${height} pixels are more than ${maxPixels / 1e6} million. Scale it down first.`,
    )
}

/**
 * The image with that many channels, itself if it has them. Grey is ITU-R 601 luma, 0.299 R + 0.587 G + 0.114 B, in the
 * 16-bit fixed point of PIL's mode 'L', so that both make the same bytes.
 */
export function withChannels(image: Image, channels: 1 | 3): Image {
  checkImage('withChannels', image)
  if (image.channels === channels) return image
  const { width, height, data } = image
  const area = width * height
  const out = new Uint8Array(area * channels)
  if (channels === 3) {
    for (let i = 0; i < area; i++) out.fill(data[i], 3 * i, 3 * i + 3)
  } else {
    for (let i = 0; i < area; i++)
      out[i] = (data[3 * i] * 19595 + data[3 * i + 1] * 38470 + data[3 * i + 2] * 7471 + 0x8000) >> 16
  }
  return { width, height, channels, data: out }
}
