/** What the benches use of @tensorflow/tfjs-core, which only bench/package.json installs. */
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
