/**
 * Tensors, ops and gradients: the engine by itself, with both backends.
 *
 * @module tweedie/tensor
 */
import './tensor/with-cpu.ts'
import './tensor/with-webgpu.ts'

export * from './tensor/index.ts'
