/** The entry `tweedie/tensor`: the engine by itself, with both backends. */
import './tensor/with-cpu.ts'
import './tensor/with-webgpu.ts'

export * from './tensor/index.ts'
