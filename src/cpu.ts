/** The entry `tweedie/cpu`, for pages that compute on the CPU only: all of `tweedie` but the WebGPU backend. */
import './tensor/with-cpu.ts'

export * from './library.ts'
