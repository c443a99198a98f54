import { checkImage, type Image } from './image.ts'
import { pngOf } from './png-writer.ts'

/**
 * The image as a PNG file of 8 bits, without a loss.
 *
 * @throws TweedieError 'option' for what is no image
 */
export function encodePng(image: Image): Uint8Array<ArrayBuffer> {
  checkImage('encodePng', image)
  return pngOf(image)
}
