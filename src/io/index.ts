/** Reading and writing checkpoints: safetensors and PyTorch files, from memory, a Blob or a URL. */
export {
  cachedFiles,
  cachedSource,
  cacheSize,
  deleteCached,
  isCached,
  persistCache,
  type CachedFile,
  type CachedSource,
} from './cache.ts'
export type { CacheOptions } from './cache-download.ts'
export type { Checkpoint, TensorEntry } from './checkpoint.ts'
export { convertToSafetensors } from './convert.ts'
export { fileDTypes } from './dtype.ts'
export type { FileDType, TensorData } from './dtype.ts'
export { openCheckpoint, openTorch } from './open.ts'
export { encodeSafetensors, openSafetensors } from './safetensors.ts'
export type { WritableData } from './safetensors.ts'
export { encodeSealed, openSealed } from './sealed.ts'
export { blobSource, bytesSource } from './source.ts'
export type { ByteSource } from './source.ts'
export { urlSource, type UrlOptions } from './url.ts'
