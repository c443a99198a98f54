/**
 * The published 64 x 64 networks at full size (295 M and 65 M parameters) against the reference code, with weights made
 * by a formula: outputs, input gradients through every layer, and one self-guided step. On the CPU backend all of it,
 * about 1.3 TFLOP in 70 s of processor time; on WebGPU the output and input gradient of ADM-64, some 100 s on lavapipe.
 * It runs wherever the goldens are, CI included; bench/LARGE-GOLDENS.md keeps the figures.
 */
import { expect } from 'vitest'
import {
  classifierGuidance,
  GaussianDiffusion,
  l2,
  oneStep,
  selfGuidance,
  type NoiseSource,
} from '../../src/diffusion/index.ts'
import { Classifier, preset, UNet, type ModelConfig } from '../../src/nn/index.ts'
import { grad, type Device, type Tensor } from '../../src/tensor/index.ts'
import { hashes, hashInput, networkParameters } from '../formula.ts'
import { arrayNamed, expectGradient, expectOutput, readGolden, type Golden } from '../golden.ts'
import { deviceTest, onCPU } from '../op.ts'
import { savedBytesOf } from '../saved.ts'
import { describeShared } from '../shared.ts'

/** Beside the other tests and on a busy machine; by itself a test takes a minute or two. */
const patience = { timeout: 3_600_000 }

const configOf = <K extends ModelConfig['kind']>(name: string, kind: K): Extract<ModelConfig, { kind: K }> => {
  const { config } = preset(name)
  if (config.kind !== kind) throw new Error(`${name} is no ${kind}`)
  return config as Extract<ModelConfig, { kind: K }>
}

describeShared('full-size networks with formula weights', () => {
  deviceTest(
    '64x64_classifier: output and gradient of log p',
    async (device) => {
      const golden = await readGolden('goldens/classifier64-formula.safetensors')
      const config = configOf('64x64_classifier', 'classifier')
      const model = new Classifier(config, await networkParameters(device, config, hashes(1)))
      const x = device.tensor(hashInput([2, 3, 64, 64], 1000, 1), [2, 3, 64, 64])
      const timesteps = golden.metadata.timesteps.split(',').map(Number)
      const out = model.forward(x, timesteps)
      expectOutput(await out.read(), arrayNamed(golden, 'out').data, 'out')
      const target = Array.from(arrayNamed(golden, 'y').data, Number)
      const gradient = classifierGuidance((input, t) => model.forward(input, t), { target })(x, timesteps)
      // It is as small as 1.6e-3, so it is held to the relative part of the tolerance alone.
      expectRelative(await gradient.read(), arrayNamed(golden, 'grad_x_log_prob').data, 1e-3, 'grad_x_log_prob')
      for (const owned of [x, out, gradient, model]) owned.dispose()
    },
    { ...patience, ...onCPU },
  )

  deviceTest(
    'ADM-64: output and input gradient',
    async (device) => {
      const { golden, model, input } = await adm64(device)
      const [x, cotangent] = [input(1000), input(1001, 6)]
      const {
        value,
        gradients: [gradient],
        savedBytes,
      } = grad(() => model.forward(x, [Number(golden.metadata.timesteps)]), [x], cotangent)
      expectOutput(await value.read(), arrayNamed(golden, 'out').data, 'out')
      expectGradient(await gradient.read(), arrayNamed(golden, 'grad_x').data, 'grad_x')
      expect(savedBytes, 'no convolution input is kept').toBe(savedBytesOf(device, model, 1))
      for (const owned of [x, cotangent, value, gradient, model]) owned.dispose()
    },
    patience,
  )

  deviceTest(
    'ADM-64: a self-guided step',
    async (device) => {
      const { golden, model, input } = await adm64(device)
      const [x, stepNoise, renoise] = [input(1000), input(1002), input(1003)]
      const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '250' })
      const noise: NoiseSource = { initial: () => x, step: () => stepNoise, renoise: () => renoise }
      const made = device.scope(() =>
        oneStep(diffusion, (xt, t) => model.forward(xt, t), x, 150, {
          noise,
          selfGuidance: selfGuidance({ weight: 0.4, every: 5, strength: 0.8, scale: 'variance', distance: l2 }),
        }),
      )
      expectOutput(await made.predXStart.read(), arrayNamed(golden, 'pred_xstart').data, 'pred_xstart')
      expectOutput(await made.next.read(), arrayNamed(golden, 'self_guided_step').data, 'self_guided_step')
      for (const owned of [x, stepNoise, renoise, ...(Object.values(made) as Tensor[]), model]) owned.dispose()
    },
    { ...patience, ...onCPU },
  )
})

interface ADM64 {
  readonly golden: Golden
  readonly model: UNet
  readonly input: (j: number, channels?: number) => Tensor
}

async function adm64(device: Device): Promise<ADM64> {
  const golden = await readGolden('goldens/adm64-formula.safetensors')
  const config = configOf('celeba64_uncond', 'unet')
  const model = new UNet(config, await networkParameters(device, config, hashes(1)))
  return {
    golden,
    model,
    input: (j, channels = 3) => device.tensor(hashInput([1, channels, 64, 64], j, 1), [1, channels, 64, 64]),
  }
}

function expectRelative(found: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  const largest = Array.from(expected).reduce((m, v) => Math.max(m, Math.abs(v)), 0)
  const worst = Array.from(expected).reduce((m, v, i) => Math.max(m, Math.abs(v - found[i])), 0)
  expect(found.length, what).toBe(expected.length)
  expect(worst / largest, `${what}: error relative to the largest value`).toBeLessThanOrEqual(tolerance)
}
