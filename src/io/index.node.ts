/** `tweedie/io` in Node: the same, and files. */
export { openFile, writeFileAtomic } from './file.node.ts'
export * from './index.ts'
