/**
 * What the benches use of the libraries they compare with. Those are installed from bench/package.json by whoever
 * measures; `npm test` checks the benches' types without them.
 */

declare module '@tensorflow/tfjs-core' {
  interface Values {
    float32: Float32Array
  }
  export interface Tensor {
    readonly shape: number[]
    data(): Promise<Float32Array | Int32Array | Uint8Array>
    dataSync<D extends keyof Values>(): Values[D]
    dispose(): void
  }
  export interface Tensor2D extends Tensor {
    readonly shape: [number, number]
  }
  export interface Tensor4D extends Tensor {
    readonly shape: [number, number, number, number]
  }
  export function tensor2d(values: Float32Array, shape: [number, number]): Tensor2D
  export function tensor4d(values: Float32Array, shape: [number, number, number, number]): Tensor4D
  export function transpose(x: Tensor, order: number[]): Tensor
  export function matMul(a: Tensor2D, b: Tensor2D): Tensor
  export function conv2d(x: Tensor4D, filter: Tensor4D, strides: number, pad: 'same'): Tensor4D
  export function conv2dTranspose(
    x: Tensor4D,
    filter: Tensor4D,
    outputShape: [number, number, number, number],
    strides: number,
    pad: 'same',
  ): Tensor4D
  export function tidy<T>(f: () => T): T
  export function registerBackend(name: string, make: () => unknown): boolean
  export function setBackend(name: string): Promise<boolean>
  export function backend(): unknown
  export function env(): { getAsync(flag: string): Promise<boolean | number | string> }
}

declare module '@tensorflow/tfjs-backend-webgpu/dist/base.js' {
  export class WebGPUBackend {
    constructor(device: GPUDevice, info?: GPUAdapterInfo)
    submitQueue(): void
  }
}

declare module 'onnxruntime-common' {
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
}

declare module '@litertjs/core' {
  export class Tensor {
    constructor(data: Float32Array, shape: readonly number[])
    data(): Promise<Float32Array>
    delete(): void
  }
  export interface CompiledModel {
    run(inputs: Tensor[]): Promise<Tensor[]>
  }
  export function loadLiteRt(path: string, options?: { threads?: boolean }): Promise<unknown>
  export function loadAndCompile(
    model: Uint8Array,
    options: { accelerator: 'wasm' | 'webgpu'; cpuOptions?: { numThreads?: number } },
  ): Promise<CompiledModel>
}

declare module 'flatbuffers' {
  /** Offsets are numbers: distances from the end of the buffer, which grows downwards. */
  export class Builder {
    constructor(initialSize?: number)
    startObject(fields: number): void
    endObject(): number
    startVector(elementSize: number, length: number, alignment: number): void
    endVector(): number
    addInt8(value: number): void
    addInt32(value: number): void
    addOffset(offset: number): void
    addFieldInt8(field: number, value: number, unset: number): void
    addFieldInt32(field: number, value: number, unset: number): void
    addFieldOffset(field: number, value: number, unset: number): void
    createString(text: string): number
    finish(root: number, identifier?: string): void
    asUint8Array(): Uint8Array
  }
}
