/**
 * Tweedie: minority samples from diffusion models, computed by hand-written kernels. This is the entry for
 * browsers; in Node the same names plus files on disk come from `index.node.ts`.
 *
 * @module tweedie
 */
import './tensor/with-cpu.ts'
import './tensor/with-webgpu.ts'

export * from './library.ts'
