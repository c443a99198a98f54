/**
 * Reading and writing checkpoints: safetensors and PyTorch files, from a path, memory, a Blob or a URL. This is the
 * entry for Node: the browser's has all but the files ({@link openFile}, {@link writeFileAtomic}) and {@link download}.
 *
 * @module tweedie/io
 */
export { download, type Downloaded, type DownloadOptions } from './download.node.ts'
export { openFile, writeFileAtomic } from './file.node.ts'
export { urlSource } from './url.node.ts'
export * from './index.web.ts'
