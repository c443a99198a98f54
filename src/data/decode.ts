/** Image files, told from their first bytes, whatever their names say. All that is decoded is decoded here. */
import { messageOf, TweedieError } from '../errors.ts'
import { bytesOf } from '../io/source.ts'
import type { Image, ImageHeader } from './image.ts'
import { decodeJpeg, isJpeg, jpegHeader } from './jpeg.ts'
import { decodePng, isPng, pngHeader } from './png.ts'

/**
 * A PNG or JPEG file as an image of bytes: alpha is ignored, 16 bits become 8, an EXIF orientation is ignored.
 *
 * @param name of the file, for messages
 * @throws TweedieError 'format', naming `name`, for what is neither, damaged, or of a kind that is not read
 */
export function decodeImage(file: Uint8Array | ArrayBuffer, name = 'the image'): Image {
  const bytes = bytesOf('decodeImage', file)
  try {
    return isPng(bytes) ? decodePng(bytes, name) : isJpeg(bytes) ? decodeJpeg(bytes, name) : unknown(name)
  } catch (cause) {
    // Whatever a decoder throws, and memory that runs out.
    throw cause instanceof TweedieError
      ? cause
      : new TweedieError('format', `${name}: cannot be decoded (${messageOf(cause)}).`, { cause })
  }
}

/** Size and channels from a file's beginning; undefined where that is too short to tell. */
export const imageHeader = (bytes: Uint8Array, name: string): ImageHeader | undefined =>
  isPng(bytes) ? pngHeader(bytes, name) : isJpeg(bytes) ? jpegHeader(bytes, name) : unknown(name)

function unknown(name: string): never {
  throw new TweedieError('format', `${name}: neither a PNG nor a JPEG file, whatever its name says.`)
}
