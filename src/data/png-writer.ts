import { encode } from 'fast-png'
import type { Image } from './image.ts'

/**
 * What `encodePng` makes of an image. A file of its own, which no index re-exports: `Tweedie.record` loads it on
 * demand, and of what an index re-exports esbuild makes no chunk.
 */
export const pngOf = ({ width, height, channels, data }: Image): Uint8Array<ArrayBuffer> =>
  encode({ width, height, channels, data, depth: 8 }) as Uint8Array<ArrayBuffer>
