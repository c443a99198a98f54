/** The entry `tweedie/webgpu`, for pages that compute on the GPU only: all of `tweedie` but the CPU backend. */
import './tensor/with-webgpu.ts'

export * from './library.ts'
