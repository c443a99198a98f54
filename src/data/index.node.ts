/** `tweedie/data` in Node: the same, and files. */
export { openImages, type OpenImagesOptions } from './open.node.ts'
export * from './index.ts'
