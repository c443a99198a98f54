/** The entry for Node: all of `index.ts`, and files on disk. */
export * from './index.ts'
export { openImages } from './data/index.node.ts'
export { openFile, urlSource, writeFileAtomic } from './io/index.node.ts'
export { Tweedie } from './tweedie/index.node.ts'
