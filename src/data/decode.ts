/** Image files, told from their first bytes, whatever their names say. All that is decoded is decoded here. */
import { messageOf, TweedieError } from '../errors.ts'
import { bytesOf } from '../io/source.ts'
import { atMost } from './at-most.ts'
import type { Image, ImageHeader } from './image.ts'
import { decodeJpeg, isJpeg, jpegHeader } from './jpeg.ts'
import { decodePng, isPng, pngHeader } from './png.ts'

/**
 * A PNG or JPEG file as an image of bytes: alpha is ignored, 16 bits become 8, CMYK becomes RGB as in PIL, an EXIF
 * orientation is ignored.
 *
 * @param name of the file, for messages
 * @throws TweedieError 'format', naming `name`, for what is neither, damaged, or of a kind that is not read
 */
export function decodeImage(file: Uint8Array | ArrayBuffer, name = 'the image'): Image {
  const bytes = bytesOf('decodeImage', file)
  return typed(name, () => {
    const steps = stepsOf(bytes, name)
    for (;;) {
      const { done, value } = steps.next()
      if (done) return value
    }
  })
}

/** Milliseconds of decoding after which the program's other work, Ctrl-C among it, has its turn. */
const turn = 50

/** One image is decoded at a time, so that memory is needed for one. */
const oneByOne = atMost(1)

/**
 * The same, where a large image must not hold up the program: it stops within a twentieth of a second when `signal`
 * aborts.
 */
export const decodeInTurns = (bytes: Uint8Array, name: string, signal?: AbortSignal): Promise<Image> =>
  oneByOne(async () => {
    const steps = stepsOf(bytes, name)
    for (let since = performance.now(); ; ) {
      const { done, value } = typed(name, () => steps.next())
      if (done) return value
      if (performance.now() - since < turn) continue
      await new Promise((resolve) => setTimeout(resolve))
      signal?.throwIfAborted()
      since = performance.now()
    }
  })

const stepsOf = (bytes: Uint8Array, name: string): Generator<void, Image> =>
  isPng(bytes) ? decodePng(bytes, name) : isJpeg(bytes) ? decodeJpeg(bytes, name) : unknown(name)

/** Whatever a decoder throws, and memory that runs out, names the file. */
function typed<T>(name: string, decode: () => T): T {
  try {
    return decode()
  } catch (cause) {
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
