/**
 * Tweedie: minority samples from diffusion models, computed by hand-written kernels. This is the entry for
 * browsers; in Node the same names plus files on disk come from `index.node.ts`.
 */
export { TweedieError, type ErrorCode } from './errors.ts'
export * from './data/index.ts'
export * from './diffusion/index.ts'
export * from './io/index.ts'
export * from './metrics/index.ts'
export * from './nn/index.ts'
export * from './tensor/index.ts'
export * from './train/index.ts'
