/**
 * What is computed: inputs, made once into a directory that every contender reads, and what the result must be. The two
 * ops are checked against sums in double precision; the network's result, contender against contender.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bytesSource, openSafetensors } from '../../src/io/index.ts'
import { describeModel, planOf, timestepEmbedding, type UNetConfig } from '../../src/nn/index.ts'
import type { UNetPlan } from '../../src/nn/plan.ts'
import { smallUNet } from '../network.ts'
import { difference, directory, random, within, type Job } from './job.ts'
import { convModel, gemmModel } from './models.ts'
import type { ConvTask, GemmTask, NetworkTask } from './clock.ts'
import { readTensor, writeTensor } from './protocol.ts'
import { convTflite, gemmTflite } from './tflite.ts'
import { unetModel, type Weight } from './unet-onnx.ts'

export function convJob(channels: number, size: number, batch: number): Job {
  const { dir, dispose } = directory()
  const task: ConvTask = { kind: 'conv', dir, batch, channels, size }
  const x = random(batch * channels * size * size, 0)
  const w = random(channels * channels * 9, 1, 1 / Math.sqrt(9 * channels))
  writeTensor(dir, 'x', x)
  writeTensor(dir, 'w', w)
  writeFileSync(join(dir, 'model.onnx'), convModel(task, w))
  writeFileSync(join(dir, 'model.tflite'), convTflite(task, w))
  const expected = convReference(task, x, w)
  return {
    title: `conv 3x3 ${channels}->${channels}, ${size}x${size}, batch ${batch}`,
    task,
    dispose,
    work: { amount: (2 * batch * channels * size * size * channels * 9) / 1e9, unit: 'GFLOP' },
    // Winograd's transforms cost digits; direct sums differ by 1e-7.
    check: (name) => within(1e-4, difference(readTensor(dir, `y.${name}`), expected)),
  }
}

export function gemmJob(size: number): Job {
  const { dir, dispose } = directory()
  const task: GemmTask = { kind: 'gemm', dir, size }
  const [a, b] = [random(size * size, 0), random(size * size, 1, 1 / Math.sqrt(size))]
  writeTensor(dir, 'x', a)
  writeTensor(dir, 'w', b)
  writeFileSync(join(dir, 'model.onnx'), gemmModel(task, b))
  writeFileSync(join(dir, 'model.tflite'), gemmTflite(task, b))
  const expected = new Float64Array(size * size)
  for (let i = 0; i < size; i++) {
    for (let k = 0; k < size; k++) {
      const scale = a[i * size + k]
      for (let j = 0; j < size; j++) expected[i * size + j] = expected[i * size + j] + scale * b[k * size + j]
    }
  }
  return {
    title: `GEMM ${size}^3`,
    task,
    dispose,
    work: { amount: (2 * size ** 3) / 1e9, unit: 'GFLOP' },
    check: (name) => within(1e-5, difference(readTensor(dir, `y.${name}`), expected)),
  }
}

/** In double precision, one tap at a time over whole rows. */
function convReference({ batch, channels, size }: ConvTask, x: Float32Array, w: Float32Array): Float64Array {
  const y = new Float64Array(batch * channels * size * size)
  for (let n = 0; n < batch; n++)
    for (let o = 0; o < channels; o++)
      for (let i = 0; i < channels; i++)
        for (let tap = 0; tap < 9; tap++) {
          const weight = w[(o * channels + i) * 9 + tap]
          const [dy, dx] = [Math.floor(tap / 3) - 1, (tap % 3) - 1]
          const [left, right] = [Math.max(0, -dx), Math.min(size, size - dx)]
          for (let row = Math.max(0, -dy); row < Math.min(size, size - dy); row++) {
            const to = ((n * channels + o) * size + row) * size
            const from = ((n * channels + i) * size + row + dy) * size + dx
            for (let column = left; column < right; column++)
              y[to + column] = y[to + column] + weight * x[from + column]
          }
        }
  return y
}

export async function networkJob(kind: NetworkTask['kind'], batch: number): Promise<Job> {
  const { dir, dispose } = directory()
  const bytes = smallUNet()
  const task: NetworkTask = { kind, dir, weights: join(dir, 'unet.safetensors'), batch }
  writeFileSync(task.weights, bytes)
  const file = await openSafetensors(bytesSource(bytes))
  const config = describeModel(file).config as UNetConfig & { kind: 'unet' }
  const t = Float32Array.from({ length: batch }, (_, i) => Math.floor(((i + 0.5) * 1000) / batch))
  writeTensor(dir, 'x', random(batch * 3 * 32 * 32, 0))
  writeTensor(dir, 't', t)
  writeTensor(dir, 'emb', timestepEmbedding(t, config.modelChannels))
  writeTensor(dir, 'cotangent', random(batch * 6 * 32 * 32, 1))
  const weights = new Map<string, Weight>()
  for (const [key, entry] of file.tensors)
    weights.set(key, { shape: entry.shape, values: (await entry.read()) as Float32Array })
  if (kind === 'unet')
    writeFileSync(join(dir, 'model.onnx'), unetModel(config, planOf(config) as UNetPlan, weights, batch))
  // Gradients of all parameters, behind each other in alphabetical order.
  const sizes = [...weights.keys()].sort().map((key) => (weights.get(key) as Weight).values.length)
  let first: string | undefined
  return {
    title:
      `small U-Net, ${{ unet: 'forward', training: 'forward and backward', step: 'step of training' }[kind]}, ` +
      `batch ${batch}`,
    task,
    dispose,
    work: { amount: batch, unit: 'images' },
    check(name) {
      first ??= name
      const worst = within(1e-3, difference(readTensor(dir, `y.${name}`), readTensor(dir, `y.${first}`)))
      return kind !== 'training'
        ? worst
        : Math.max(
            worst,
            gradientDifference(readTensor(dir, `gradients.${name}`), readTensor(dir, `gradients.${first}`), sizes),
          )
    },
  }
}

/** By tensor; a tensor whose gradient is zero in exact arithmetic is measured by the largest gradient there is. */
function gradientDifference(found: Float32Array, expected: Float32Array, sizes: readonly number[]): number {
  const largest = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 0)
  let [at, worst] = [0, 0]
  for (const size of sizes) {
    worst = Math.max(worst, difference(found.subarray(at, at + size), expected.subarray(at, at + size), 1e-3 * largest))
    at += size
  }
  return within(1e-3, worst)
}
