/** All that the package exports in a browser. Which backends compute is said by the entry: `index.ts`, `webgpu.ts`, `cpu.ts`. */
export { TweedieError, type ErrorCode } from './errors.ts'
export * from './data/index.ts'
export * from './diffusion/index.ts'
export * from './io/index.ts'
export * from './metrics/index.ts'
export * from './nn/index.ts'
export * from './tensor/index.ts'
export * from './train/index.ts'
