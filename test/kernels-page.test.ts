/**
 * The kernels of docs/kernels.md, as they stand there, against sums in double precision, on the machine's WebGPU. They
 * are no part of the package: it has the last of them, for batches and transposed operands.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { requestGPU } from '../src/platform/gpu.node.ts'
import { blocks } from './blocks.ts'
import { numbers } from './op.ts'

const rungs = blocks
  .filter(({ page, language }) => page === 'docs/kernels.md' && language === 'wgsl')
  .map(({ code }) => ({ code, tile: Number(/ceil\(n \/ (\d+)\)/.exec(code)?.[1]) }))

let device: GPUDevice
beforeAll(async () => {
  const adapter = await (await requestGPU()).requestAdapter()
  device = await (adapter as GPUAdapter).requestDevice()
})
afterAll(() => device.destroy())

async function product(code: string, tile: number, a: Float32Array, b: Float32Array, [m, n, k]: number[]) {
  const made = (data: Float32Array | Uint32Array, usage: number): GPUBuffer => {
    const buffer = device.createBuffer({ size: Math.max(16, data.byteLength), usage: usage | GPUBufferUsage.COPY_DST })
    device.queue.writeBuffer(buffer, 0, data as BufferSource)
    return buffer
  }
  const size = 4 * m * n
  const c = device.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC })
  const read = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code }), entryPoint: 'main' },
  })
  const buffers = [
    made(Uint32Array.of(m, n, k, 0), GPUBufferUsage.UNIFORM),
    made(a, GPUBufferUsage.STORAGE),
    made(b, GPUBufferUsage.STORAGE),
    c,
  ]
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }))
  pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
  pass.dispatchWorkgroups(Math.ceil(n / tile), Math.ceil(m / tile))
  pass.end()
  encoder.copyBufferToBuffer(c, 0, read, 0, size)
  device.queue.submit([encoder.finish()])
  await read.mapAsync(GPUMapMode.READ)
  return new Float32Array(read.getMappedRange().slice(0))
}

test('the page has three', () => expect(rungs.map(({ tile }) => tile)).toEqual([16, 16, 32]))

test.each(rungs.map((rung, i) => [i + 1, rung] as const))('kernel %i multiplies', async (_, { code, tile }) => {
  for (const sizes of [
    [1, 1, 1],
    [33, 7, 65],
    [32, 64, 16],
    [50, 47, 101],
  ]) {
    const [m, n, k] = sizes
    const a = Float32Array.from(numbers(m * k, 1))
    const b = Float32Array.from(numbers(k * n, 2))
    const found = await product(code, tile, a, b, sizes)
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let sum = 0
        let absolute = 0
        for (let l = 0; l < k; l++) {
          sum += a[i * k + l] * b[l * n + j]
          absolute += Math.abs(a[i * k + l] * b[l * n + j])
        }
        // Of k products and as many sums each is rounded once, by 6e-8 of what is there by then.
        expect(Math.abs(found[i * n + j] - sum), `${sizes} at ${i}, ${j}`).toBeLessThanOrEqual(2 * k * 6e-8 * absolute)
      }
  }
})
