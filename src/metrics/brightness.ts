import type { ImageSet } from '../data/index.ts'
import type { SearchOptions } from './nearest.ts'

/**
 * The brightness of each image, [N]: the mean of its bytes over places and channels, by 255. Errors are those
 * of reading an image.
 */
export async function brightness(images: ImageSet, { signal, onProgress }: SearchOptions = {}): Promise<Float64Array> {
  const found = new Float64Array(images.length)
  for (let i = 0; i < images.length; i++) {
    signal?.throwIfAborted()
    const { data } = await images.read(i, signal)
    let sum = 0
    for (let at = 0; at < data.length; at++) sum += data[at]
    found[i] = sum / data.length / 255
    onProgress?.((i + 1) / images.length)
  }
  return found
}
