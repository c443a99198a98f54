/** What the benches use of onnxruntime-common, which only bench/package.json installs. */
export class Tensor {
  constructor(type: 'float32', data: Float32Array, dims: readonly number[])
  readonly data: Float32Array
  readonly dims: readonly number[]
}
type Values = Readonly<Record<string, Tensor>>
interface SessionOptions {
  readonly executionProviders?: readonly string[]
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'all'
  readonly intraOpNumThreads?: number
  readonly interOpNumThreads?: number
}
export interface InferenceSession {
  run(inputs: Values): Promise<Values>
  /** Writes into the tensors of `outputs`. */
  run(inputs: Values, outputs: Values): Promise<Values>
}
export const InferenceSession: { create(model: Uint8Array, options?: SessionOptions): Promise<InferenceSession> }
export const env: {
  wasm: { numThreads?: number; proxy?: boolean }
  readonly versions: { readonly web?: string; readonly node?: string }
}
