/**
 * Steps of training that are recorded and replayed are those that are called, to the bit, whatever is trained. That of
 * a small U-Net is in ../trainer.test.ts.
 */
import { describe, expect } from 'vitest'
import { GaussianDiffusion, LossSecondMomentResampler } from '../../src/diffusion/index.ts'
import { Classifier, initializeParameters, planOf, UNet, type ModelConfig } from '../../src/nn/index.ts'
import type { Device, Tensor } from '../../src/tensor/index.ts'
import {
  AdamW,
  classifierTask,
  diffusionTask,
  FeatureTask,
  Trainer,
  type Task,
  type TrainOptions,
} from '../../src/train/index.ts'
import { backends, deviceTest, expectSameBits, numbers } from '../op.ts'
import { encoderConfig, unetConfig } from '../spec-models.ts'

const onWebGPU = { on: backends.filter((name) => name === 'webgpu') }
const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 4, varianceType: 'learnedRange' })
const tiny = { channelMult: [1], attentionResolutions: [], imageSize: 8 }
const unet = { kind: 'unet', ...unetConfig, ...tiny, numClasses: 3, dropout: 0.2 } as const
const encoder = { kind: 'classifier', ...encoderConfig, ...tiny, numClasses: null } as const

const parametersOf = (device: Device, config: ModelConfig): Map<string, Tensor> =>
  initializeParameters(device, planOf(config), 5)
const imagesOf = (first: number, count: number, side = 8): Float32Array =>
  Float32Array.from(numbers(count * 3 * side ** 2, 1 + first), Math.sin)

/** What is trained, and its network. */
type Made = [task: Task<never, never>, network: { dispose(): void }]
const aUNet = (device: Device): Made => {
  const model = new UNet(unet, parametersOf(device, unet))
  const load = async (first: number, count: number) => ({
    images: imagesOf(first, count),
    labels: Int32Array.from({ length: count }, (_, k) => (first + k) % 3),
  })
  const scheduleSampler = new LossSecondMomentResampler(4, { historyPerTerm: 1 })
  return [diffusionTask(device, { model, diffusion, load, seed: 3, scheduleSampler }) as Task<never, never>, model]
}
const aClassifier =
  (loss: 'crossEntropy' | 'binaryCrossEntropy') =>
  (device: Device): Made => {
    const classifier = new Classifier(encoder, parametersOf(device, encoder))
    const each = loss === 'crossEntropy' ? 1 : encoder.outChannels
    const load = async (first: number, count: number) => ({
      images: imagesOf(first, count),
      labels: Array.from({ length: each * count }, (_, k) => (first + k) % 2),
    })
    return [classifierTask(device, { classifier, diffusion, load, seed: 3, loss }) as Task<never, never>, classifier]
  }

const aFeatureNet = (device: Device): Made => {
  const load = async (first: number, count: number) => ({
    images: imagesOf(first, count, 16),
    labels: Int32Array.from({ length: count }, (_, k) => (first + k) % 2),
  })
  const config = { inChannels: 3, channels: [8] } as const
  const task = new FeatureTask(device, { config, size: 16, load, classCounts: [2, 2], seed: 3 })
  expect(task.replayable).toBe(true)
  return [task as unknown as Task<never, never>, task]
}

const options = { batch: 4, steps: 3, lr: 1e-2, warmup: 3, clip: 1, emaRates: [0.9], weightDecay: 0.1 }

/** All that a run leaves: losses, norms, weights, moments, averages. `after` is told of every step. */
async function ran(
  device: Device,
  make: (device: Device) => Made,
  replayable: boolean,
  more: Partial<TrainOptions>,
  after: (step: number, trainer: Trainer<never, never>) => void = () => {},
): Promise<Map<string, Float32Array>> {
  const [task, network] = make(device)
  const trainer = new Trainer<never, never>(device, Object.assign(task, { replayable }), { ...options, ...more })
  const told: number[] = []
  for await (const { step, loss, gradientNorm, terms } of trainer.run()) {
    told.push(loss, gradientNorm, ...Object.values(terms))
    after(step, trainer)
  }
  const found = new Map([['told', Float32Array.from(told)]])
  for (const [name, tensor] of trainer.state().tensors) found.set(name, await tensor.read())
  trainer.dispose()
  network.dispose()
  return found
}

function expectSame(found: Map<string, Float32Array>, expected: Map<string, Float32Array>): void {
  expect([...found.keys()]).toEqual([...expected.keys()])
  for (const [name, values] of found) expectSameBits(values, expected.get(name)!, name)
}

describe('recorded steps of training are those that are called', () => {
  for (const [name, make, more] of [
    ['a classifier, the last micro-batch smaller', aClassifier('crossEntropy'), { microbatch: 3 }],
    ['a feature net', aFeatureNet, {}],
    ['a classifier of attributes', aClassifier('binaryCrossEntropy'), {}],
  ] as const)
    deviceTest(
      name,
      async (device) => expectSame(await ran(device, make, true, more), await ran(device, make, false, more)),
      onWebGPU,
    )

  deviceTest(
    'a U-Net by micro-batches, also after their memory was given back, and when another optimiser took the weights',
    async (device) => {
      const more = { batch: 3, microbatch: 1, steps: 5 }
      const called = await ran(device, aUNet, false, more)
      const before = device.stats.liveBuffers
      const replayed = await ran(device, aUNet, true, more, (step, trainer) => {
        if (step === 2) trainer.release()
        if (step === 3) new AdamW(device, trainer.task.parameters).dispose()
      })
      expectSame(replayed, called)
      expect(device.stats.liveBuffers).toBe(before)
    },
    onWebGPU,
  )
})
