/** onnxruntime-web: a model of one op, written here, its input and output in the GPU's memory where WebGPU computes. */
import { OnnxGraph, type Attribute } from '../../../bench/cpu/onnx.ts'
import type { Peer } from '../peers.ts'
import { sideOf } from './layout.ts'

const version = '1.30.0'

interface Tensor {
  getData(): Promise<Float32Array>
  dispose(): void
}
/** What is used of it. */
interface Ort {
  readonly env: {
    readonly wasm: { wasmPaths?: string; numThreads?: number }
    readonly webgpu: { readonly device: Promise<GPUDevice> }
    logLevel: string
  }
  readonly Tensor: {
    new (type: 'float32', data: Float32Array, dims: readonly number[]): Tensor
    fromGpuBuffer(buffer: GPUBuffer, options: { dataType: 'float32'; dims: readonly number[] }): Tensor
  }
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: { executionProviders: readonly string[]; preferredOutputLocation?: 'gpu-buffer' },
    ): Promise<{ run(inputs: { x: Tensor }): Promise<{ y: Tensor }>; release(): Promise<void> }>
  }
}
/** STORAGE, COPY_SRC and COPY_DST. */
const usage = 0x80 | 0x4 | 0x8

const node = (as: string): readonly [op: string, attributes: Readonly<Record<string, Attribute>>] | null => {
  const side = sideOf(as)
  if (side) return ['Conv', { kernel_shape: [side, side], pads: Array<number>(4).fill((side - 1) / 2) }]
  if (as === 'matmul') return ['MatMul', {}]
  return as === 'softmax' ? ['Softmax', { axis: -1 }] : null
}

export const peer = (cdn: string): Peer => ({
  name: `onnxruntime-web ${version}`,
  async load(backend) {
    const base = `${cdn}onnxruntime-web@${version}/dist/`
    const bundle = backend === 'webgpu' ? 'ort.webgpu.bundle.min.mjs' : 'ort.wasm.bundle.min.mjs'
    const ort = (await import(/* @vite-ignore */ base + bundle)) as Ort
    ort.env.wasm.wasmPaths = base
    // Its threads would be workers of this worker, from another origin.
    ort.env.wasm.numThreads = 1
    ort.env.logLevel = 'error'
    const onGPU = backend === 'webgpu'
    return async ({ as, inputs, output }) => {
      const found = node(as)
      if (!found) return null
      const graph = new OnnxGraph()
      const names = inputs.map(({ data, shape }, i) =>
        i === 0 ? graph.input('x', shape) : graph.constant(`constant_${i}`, data, shape),
      )
      graph.output('y', graph.node(found[0], names, found[1]), output)
      const session = await ort.InferenceSession.create(graph.encode(), {
        executionProviders: [onGPU ? 'webgpu' : 'wasm'],
        ...(onGPU && { preferredOutputLocation: 'gpu-buffer' as const }),
      })
      const { data, shape } = inputs[0]
      const gpu = onGPU ? await ort.env.webgpu.device : null
      const buffer = gpu?.createBuffer({ size: Math.ceil(data.byteLength / 16) * 16, usage })
      if (gpu && buffer) gpu.queue.writeBuffer(buffer, 0, data)
      const x = buffer
        ? ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: shape })
        : new ort.Tensor('float32', data, shape)
      return {
        run: async () => (await session.run({ x })).y.dispose(),
        wait: async () => gpu?.queue.onSubmittedWorkDone(),
        async read() {
          const { y } = await session.run({ x })
          const values = (await y.getData()).slice()
          y.dispose()
          return values
        },
        dispose() {
          buffer?.destroy()
          void session.release()
        },
      }
    }
  },
})
