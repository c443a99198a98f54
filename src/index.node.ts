/** The entry for Node: all of `index.ts`, and files on disk. */
export * from './index.ts'
export { openImages, type OpenImagesOptions } from './data/index.node.ts'
export * from './io/index.node.ts'
export { Tweedie } from './tweedie/index.node.ts'
