/** The common case in Node: the same, and files on disk. */
export * from './index.ts'
export { Tweedie } from './tweedie.node.ts'
