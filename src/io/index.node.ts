/** `tweedie/io` in Node: the same, and files. */
export { download, type Downloaded, type DownloadOptions } from './download.node.ts'
export { openFile, writeFileAtomic } from './file.node.ts'
export * from './index.ts'
