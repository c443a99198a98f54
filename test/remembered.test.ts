/** What a U-Net remembers of timesteps: the same as each step computes, in fewer kernels, and only where it holds. */
import { describe, expect, test } from 'vitest'
import { GaussianDiffusion, GeneratedNoise, sample, superResolutionDenoiser } from '../src/diffusion/index.ts'
import { memoryOf, UNet, type UNetConfig } from '../src/nn/index.ts'
import { maxPairs, pairsOf } from '../src/nn/remembered.ts'
import { grad, sum, type Device, type Tensor } from '../src/tensor/index.ts'
import { networkParameters } from './formula.ts'
import { deviceTest, expectClose, expectSameBits } from './op.ts'
import { inputX, modelA, unetConfig } from './spec-models.ts'

const made = async (device: Device, differ: Partial<UNetConfig>): Promise<UNet> => {
  const config = { ...unetConfig, ...differ }
  return new UNet(config, await networkParameters(device, { kind: 'unet', ...config }))
}

const read = async (x: Tensor): Promise<Float32Array> => {
  const values = await x.read()
  x.dispose()
  return values
}

describe('rows of a table', () => {
  for (const [what, differ, labels] of [
    ['scale and shift', {}, undefined],
    ['a shift alone', { useScaleShiftNorm: false }, undefined],
    ['classes', { numClasses: 5 }, [3, 1]],
  ] as const) {
    deviceTest(`are what a pass computes: ${what}`, async (device) => {
      using model = await made(device, differ)
      using x = inputX(device)
      const inputs = labels ? { y: labels } : {}
      const passes = [
        [999, 999],
        [500, 12.5],
        [0, 999],
      ]
      const expected: Float32Array[] = []
      for (const timesteps of passes) expected.push(await read(model.forward(x, timesteps, inputs)))
      const before = device.stats.dispatches
      model.forward(x, passes[0], inputs).dispose()
      const without = device.stats.dispatches - before
      {
        using _ = model.remember([999, 500, 12.5, 0, 7, 999], labels)
        for (const [i, timesteps] of passes.entries()) {
          const found = await read(model.forward(x, timesteps, inputs))
          // One product for all rows adds as one for two does on the CPU; a GPU may be given another kernel for it.
          if (device.backend.kind === 'cpu') expectSameBits(found, expected[i], `pass ${i}`)
          else expectClose(found, expected[i], 1e-5, `pass ${i}`)
        }
        const then = device.stats.dispatches
        model.forward(x, passes[0], inputs).dispose()
        // Two of each of its eight or more residual blocks, and those of the embedding, but one.
        expect(without - (device.stats.dispatches - then)).toBeGreaterThan(16)
      }
      expectSameBits(await read(model.forward(x, passes[0], inputs)), expected[0], 'afterwards')
    })
  }

  deviceTest(
    'are not taken where one lacks, where a weight has changed, and where a gradient is wanted',
    async (device) => {
      using model = await modelA(device)
      using x = inputX(device)
      const count = (f: () => void): number => {
        const before = device.stats.dispatches
        f()
        return device.stats.dispatches - before
      }
      const pass = (timesteps: number[]) => (): void => model.forward(x, timesteps).dispose()
      // The CPU's first pass packs weights.
      pass([1, 2])()
      const without = count(pass([1, 2]))
      using _ = model.remember([1, 2])
      const by = count(pass([1, 2]))
      expect(by).toBeLessThan(without)
      expect(count(pass([1, 3]))).toBe(without)
      expect(count(() => model.forward(x, [1, 2], { recompute: true }).dispose())).toBe(without)
      const weight = [...model.parameters].find(([name]) => name.endsWith('emb_layers.1.weight'))![1]
      const remembered = grad(() => sum(model.forward(x, [1, 2])), [x])
      const gradient = await read(remembered.gradients[0])
      remembered.value.dispose()
      const { value, gradients } = grad(() => sum(model.forward(x, [1, 2])), [x, weight])
      expectClose(await gradients[0].read(), gradient, 1e-5, 'the gradient by x')
      expect((await gradients[1].read()).some((g) => g !== 0)).toBe(true)
      for (const t of [value, ...gradients]) t.dispose()
      weight.write((await weight.read()).map((w) => 2 * w))
      pass([1, 2])()
      expect(count(pass([1, 2]))).toBe(without)
    },
  )

  deviceTest('of more pairs than are kept, and of labels that are none, are not made', async (device) => {
    using model = await made(device, { numClasses: 5 })
    const before = device.stats.dispatches
    const many = Array.from({ length: 400 }, (_, t) => t)
    for (const labels of [undefined, [5], [0.5], [0, 1, 2]]) {
      using _ = model.remember(many, labels)
    }
    expect(device.stats.dispatches).toBe(before)
    using x = inputX(device)
    expect(() => model.forward(x, [1, 2])).toThrow('class-conditional')
  })
})

test('pairs are every timestep with every class, once', () => {
  expect(pairsOf([3, 1, 3], undefined)).toEqual([{ t: 3 }, { t: 1 }])
  expect(pairsOf([3, 1], [7, 2, 7])).toEqual([
    { t: 3, label: 7 },
    { t: 3, label: 2 },
    { t: 1, label: 7 },
    { t: 1, label: 2 },
  ])
})

test('memory for them is counted', () => {
  const config = { kind: 'unet', ...unetConfig } as const
  const [without, with1000] = [memoryOf(config), memoryOf(config, { steps: maxPairs })]
  // Scale and shift: of 32 channels in two blocks and in two on the way up and down, of 64 in the others.
  expect(with1000.remembered).toBeGreaterThan(4 * 1000 * 2 * (4 * 32 + 4 * 64))
  expect(with1000.bytes - without.bytes).toBe(with1000.remembered)
  expect(without.remembered).toBe(0)
})

describe('a sampler', () => {
  const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: 3 })
  deviceTest('lets its model remember, for the time of the walk', async (device) => {
    using model = await modelA(device)
    using noise = new GeneratedNoise(device, { seed: 1, samples: [0, 4], shape: [3, 8, 8] })
    const live = device.stats.liveBuffers
    const found = await read(await sample(diffusion, model, { noise, selfGuidance: { weight: 1 } }))
    expect(device.stats.liveBuffers).toBe(live)
    const expected = await read(
      await sample(diffusion, (x, t) => model.forward(x, t), { noise, selfGuidance: { weight: 1 } }),
    )
    if (device.backend.kind === 'cpu') expectSameBits(found, expected, 'the samples')
    else expectClose(found, expected, 1e-4, 'the samples')
  })
  deviceTest('of two stages does, too', async (device) => {
    using model = await made(device, { superResolution: true })
    using small = device.tensor(new Float32Array(2 * 3 * 4 * 4).fill(0.3), [2, 3, 4, 4])
    const denoiser = superResolutionDenoiser(model, small)
    using x = inputX(device)
    const count = (): number => {
      const before = device.stats.dispatches
      denoiser(x, [5, 5]).dispose()
      return device.stats.dispatches - before
    }
    count()
    const without = count()
    using _ = denoiser.remember!([5])
    expect(count()).toBeLessThan(without)
  })
})
