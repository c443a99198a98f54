/** `tweedie/data` in Node: the same, and files. */
export type { ClassesBy } from './folder.node.ts'
export { openImages, type OpenImagesOptions } from './open.node.ts'
export * from './index.ts'
