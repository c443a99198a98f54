/** The entry for Node: all of `index.ts`, and files on disk. */
export * from './index.ts'
export * from './io/index.node.ts'
