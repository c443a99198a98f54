/** The shipped model draws the same pictures on every backend, and on the CPU the same ones to the bit in any batch. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { diffusionOf, GeneratedNoise, sample, type SampleOptions } from '../src/diffusion/index.ts'
import { bytesSource, openCheckpoint } from '../src/io/index.ts'
import { describeModel, loadModel, type UNet } from '../src/nn/index.ts'
import type { Device } from '../src/tensor/index.ts'
import { backends, deviceTest, expectSameBits, onCPU, testDevice } from './op.ts'

const weights = readFileSync(fileURLToPath(new URL('../weights/bccd32-adm.safetensors', import.meta.url)))

const kinds: Readonly<Record<string, Omit<SampleOptions, 'noise'>>> = { plain: {}, 'self-guided': { selfGuidance: {} } }

async function draw(
  device: Device,
  samples: readonly number[],
  steps: number,
  options: Omit<SampleOptions, 'noise'>,
): Promise<Float32Array> {
  const checkpoint = await openCheckpoint(bytesSource(weights))
  const description = describeModel(checkpoint)
  using model = (await loadModel(device, checkpoint, description)) as UNet
  using noise = new GeneratedNoise(device, { seed: 3, samples, shape: [3, 32, 32] })
  const diffusion = diffusionOf(description, { respacing: steps })
  using x = await sample(diffusion, model, { noise, ...options })
  return await x.read()
}

for (const [kind, options] of Object.entries(kinds)) {
  test(`sample 11 of a seed after 50 steps, ${kind}, agree between backends to 1e-3`, async () => {
    const [first, ...others] = [
      ...(await Promise.all(backends.map(async (name) => draw(await testDevice(name), [11], 50, options)))),
    ]
    expect(others.length).toBeGreaterThan(0)
    expect(Math.max(...first)).toBeGreaterThan(0.3)
    for (const other of others)
      expect(
        other.reduce((worst, v, i) => Math.max(worst, Math.abs(v - first[i])), 0),
        'largest difference',
      ).toBeLessThanOrEqual(1e-3)
  })
}

deviceTest(
  'a sample is the same picture in any batch, bit for bit',
  async (device) => {
    for (const [kind, options] of Object.entries(kinds)) {
      const together = await draw(device, [4, 11, 2], 5, options)
      for (const [i, sample] of [4, 11, 2].entries())
        expectSameBits(
          await draw(device, [sample], 5, options),
          together.subarray(i * 3072, (i + 1) * 3072),
          `${kind}, sample ${sample}`,
        )
    }
  },
  onCPU,
)
