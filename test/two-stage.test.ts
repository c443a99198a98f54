/**
 * Two-stage sampling: what the super-resolution U-Net is given of a small sample, its trajectory against one written out
 * from its parts, its noise, and the command line with a small base model and the goldens' upsampler.
 */
import { expect, test } from 'vitest'
import { imageOf } from '../src/cli/image.ts'
import { GaussianDiffusion, GeneratedNoise, lowResolution, sampleLoop, superResolutionDenoiser } from '../src/diffusion/index.ts'
import { UNet } from '../src/nn/index.ts'
import type { Device } from '../src/tensor/index.ts'
import { networkParameters } from './formula.ts'
import { deviceTest, expectSameBits, numbers } from './op.ts'
import { unetConfig } from './spec-models.ts'

const config = { ...unetConfig, imageSize: 16, superResolution: true, numClasses: 3 }
const upsampler = async (device: Device): Promise<UNet> => new UNet(config, await networkParameters(device, { kind: 'unet', ...config }))
const diffusion = new GaussianDiffusion({ schedule: 'linear', diffusionSteps: 1000, respacing: '3' })
const small = lowResolution(Float32Array.from(numbers(4 * 3 * 64, 3)))
const image = 3 * 64

/** Upsamples the small pictures of `samples` in one batch. */
async function upsampled(device: Device, model: UNet, samples: readonly number[], seed = 7): Promise<Float32Array> {
  using lowRes = device.tensor(samples.flatMap((k) => [...small.subarray(k * image, (k + 1) * image)]), [samples.length, 3, 8, 8])
  using noise = new GeneratedNoise(device, { seed, samples, shape: [3, 16, 16], stage: 'upsample' })
  let last: Float32Array = new Float32Array()
  for await (const { x, done, total } of sampleLoop(diffusion, superResolutionDenoiser(model, lowRes, samples.map((k) => k % 3)), { noise })) {
    if (done === total) last = await x.read()
  }
  return last
}

test('the second stage is given the bytes of the picture file, brought back', () => {
  const values = Float32Array.from([-1, -0.5, 0, 0.5, 0.99999, 1, -7, 7, ...numbers(40, 9)])
  const { data } = imageOf(values, [1, 1, 4, 12], 0)
  expect([...lowResolution(values)]).toEqual([...Float32Array.from(data, (byte) => Math.fround(byte / 127.5) - 1)])
})

deviceTest('its steps are plain ancestral ones of the network with the small picture beside x', async (device) => {
  using model = await upsampler(device)
  using lowRes = device.tensor(small.subarray(0, image), [1, 3, 8, 8])
  using noise = new GeneratedNoise(device, { seed: 7, samples: [0], shape: [3, 16, 16], stage: 'upsample' })
  const expected = device.scope(() => {
    let x = noise.initial()
    for (const t of [2, 1, 0]) {
      const z = noise.step(t)
      const p = diffusion.pMeanVariance(model.forward(x, diffusion.timesteps(t, 1), { y: [0], lowRes }), x, t, {})
      x = diffusion.pSample(p.mean, p.logVariance, t, z)
    }
    return x
  })
  expectSameBits(await upsampled(device, model, [0]), await expected.read(), 'sample')
  expected.dispose()
})

deviceTest('a sample has the same bits wherever it stands in a batch', async (device) => {
  using model = await upsampler(device)
  const [a, b] = [await upsampled(device, model, [0, 1, 2]), await upsampled(device, model, [2, 3, 0])]
  const size = 3 * 256
  expectSameBits(a.slice(0, size), b.slice(2 * size), 'sample 0')
  expectSameBits(a.slice(2 * size), b.slice(0, size), 'sample 2')
  const alone = await upsampled(device, model, [1])
  expectSameBits(alone, a.slice(size, 2 * size), 'sample 1 alone')
})

deviceTest('its noise is not that of the base stage', async (device) => {
  const draw = async (stage: 'base' | 'upsample'): Promise<Float32Array[]> => {
    using noise = new GeneratedNoise(device, { seed: 7, samples: [4], shape: [3, 8, 8], stage })
    const tensors = [noise.initial(), noise.step(0), noise.step(1)]
    const read = await Promise.all(tensors.map((tensor) => tensor.read()))
    tensors.forEach((tensor) => tensor.dispose())
    return read
  }
  const first = [...await draw('base'), ...await draw('upsample')].map((values) => values[0])
  expect(new Set(first).size).toBe(6)
})

deviceTest('another network or batch is refused', async (device) => {
  using model = await upsampler(device)
  const plain = { config: { ...config, superResolution: false } } as UNet
  using lowRes = device.tensor(small.subarray(0, image), [1, 3, 8, 8])
  using flat = device.tensor(small.subarray(0, image), [3, 8, 8])
  expect(() => superResolutionDenoiser(plain, lowRes)).toThrow(/super-resolution U-Net/)
  expect(() => superResolutionDenoiser(model, flat)).toThrow(/\[N, 3, h, w\], found \[3, 8, 8\]/)
  using x = device.tensor(numbers(2 * image * 4, 1), [2, 3, 16, 16])
  expect(() => superResolutionDenoiser(model, lowRes, [0, 1])(x, [0, 0])).toThrow(/1 small pictures for a batch of 2/)
})
