/**
 * Reading and writing checkpoints: safetensors and PyTorch files, from memory, a Blob or a URL; and what a browser
 * keeps of files of the web. This is the entry for pages. The rooms import `index.ts`, so that only programs that keep
 * files load what does.
 *
 * @module tweedie/io
 */
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
export * from './index.ts'
