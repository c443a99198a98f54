/**
 * Convolution 3×3 against @tensorflow/tfjs-backend-webgpu on one and the same GPUDevice: forward and data gradient,
 * rounds interleaved, both sides submitting the same number of convolutions and then waiting in the same way, with the
 * JavaScript thread asleep. tfjs gets its preferred layout (NHWC), we ours (NCHW). Prints GFLOP/s and the ratio of
 * medians, and the largest difference between both results. `npm run tfjs` in this directory.
 */
import { conv2d, Device, type Tensor as Ours } from '../src/tensor.ts'
import { applyOne } from '../src/tensor/op.ts'
import { conv2dDataGrad } from '../src/tensor/ops/conv2d.ts'
import { requestGPU, waitFor } from '../src/platform/index.node.ts'
import * as tf from '@tensorflow/tfjs-core'
import { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu/dist/base.js'
import '@tensorflow/tfjs-backend-webgpu/dist/register_all_kernels.js'

const rounds = Number(process.argv[2] ?? 9)
const repeats = Number(process.argv[3] ?? 3)
const adapter = (await (await requestGPU()).requestAdapter())!
const gpuDevice = await adapter.requestDevice({
  requiredFeatures: adapter.features.has('subgroups') ? ['subgroups'] : [],
  requiredLimits: {
    maxComputeWorkgroupStorageSize: adapter.limits.maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup: adapter.limits.maxComputeInvocationsPerWorkgroup,
  },
})
const device = await Device.request({ gpuDevice })
// All that keeps tfjs from Node is that it looks for a window and its navigator.
Object.assign(globalThis, { window: globalThis })
Object.defineProperty(globalThis, 'navigator', { value: { gpu: await requestGPU() }, configurable: true })
tf.registerBackend('webgpu', () => new WebGPUBackend(gpuDevice, adapter.info))
await tf.setBackend('webgpu')
const backend = tf.backend() as WebGPUBackend
console.log(`${device.adapter.name}; ${rounds} rounds of ${repeats} convolutions a side`)

const median = (a: readonly number[]): number => [...a].sort((x, y) => x - y)[a.length >> 1]
const random = (n: number): Float32Array => Float32Array.from({ length: n }, () => Math.random() * 2 - 1)

async function timed(f: () => { dispose(): void }, submit: () => void): Promise<number> {
  const start = performance.now()
  const made = Array.from({ length: repeats }, f)
  submit()
  await waitFor(gpuDevice.queue.onSubmittedWorkDone())
  const ms = performance.now() - start
  for (const t of made) t.dispose()
  return ms
}

for (const [n, channels, size] of [
  [8, 64, 32],
  [8, 32, 32],
  [8, 64, 16],
] as const) {
  const flops = 2 * n * channels * size * size * channels * 9
  const x = random(n * channels * size * size)
  const w = random(channels * channels * 9)
  const ourX = device.tensor(x, [n, channels, size, size])
  const ourW = device.tensor(w, [channels, channels, 3, 3])
  const theirX = tf.transpose(tf.tensor4d(x, [n, channels, size, size]), [0, 2, 3, 1]) as tf.Tensor4D
  const theirW = tf.transpose(tf.tensor4d(w, [channels, channels, 3, 3]), [2, 3, 1, 0]) as tf.Tensor4D
  const sides = {
    forward: {
      ours: () => conv2d(ourX, ourW, { padding: 1 }),
      theirs: () => tf.conv2d(theirX, theirW, 1, 'same'),
    },
    'data gradient': {
      ours: (): Ours => applyOne(conv2dDataGrad, { stride: 1, padding: 1, shape: ourX.shape }, [ourX, ourW]),
      theirs: () => tf.conv2dTranspose(theirX, theirW, theirX.shape, 1, 'same'),
    },
  }
  for (const [name, { ours, theirs }] of Object.entries(sides)) {
    const flushOurs = (): void => void device.flush()
    const flushTheirs = (): void => {
      const open = backend as unknown as { endComputePassEncoder(): void }
      open.endComputePassEncoder()
      backend.submitQueue()
    }
    const a = await ours().read()
    const b = (await tf.transpose(theirs(), [0, 3, 1, 2]).data()) as Float32Array
    const difference = a.reduce((worst, v, i) => Math.max(worst, Math.abs(v - b[i])), 0)
    const times = { ours: [] as number[], theirs: [] as number[] }
    for (let round = 0; round < rounds; round++) {
      times.ours.push(await timed(ours, flushOurs))
      times.theirs.push(await timed(theirs, flushTheirs))
    }
    const speed = (t: readonly number[]): string => ((flops * repeats) / median(t) / 1e6).toFixed(2)
    console.log(
      `3x3 ${channels}->${channels} ${size}x${size} batch ${n} ${name}: ours ${speed(times.ours)} GFLOP/s, ` +
        `tfjs ${speed(times.theirs)}, ` +
        `ratio ${(median(times.theirs) / median(times.ours)).toFixed(2)}, largest difference ` +
        `${difference.toExponential(1)}`,
    )
  }
}
process.exit(0)
