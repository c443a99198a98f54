/**
 * Images: in files, on canvases and as the values that models take; sets of them, and batches. Host arrays only. This
 * is the entry for Node: the browser's has all but the files ({@link openImages}).
 *
 * @module tweedie/data
 */
export type { ClassesBy, OpenImagesOptions } from './folder.node.ts'
export { openImages } from './open.node.ts'
export * from './index.ts'
