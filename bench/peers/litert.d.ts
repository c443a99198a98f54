/** What the benches use of @litertjs/core, which only bench/package.json installs. */
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
