/** Samples of the shipped model of cells, for tests that draw the same ones twice. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { diffusionOf, GeneratedNoise, sample, type SampleOptions } from '../src/diffusion/index.ts'
import { bytesSource, openCheckpoint } from '../src/io/index.ts'
import { describeModel, loadModel, type UNet } from '../src/nn/index.ts'
import type { Device } from '../src/tensor/index.ts'

const weights = readFileSync(fileURLToPath(new URL('../weights/bccd32-adm.safetensors', import.meta.url)))

/** Ways to draw them. */
export const kinds: Readonly<Record<string, Omit<SampleOptions, 'noise'>>> = {
  plain: {},
  'self-guided': { selfGuidance: {} },
}

/** Samples of those numbers, of a seed, in so many steps: [N, 3, 32, 32]. */
export async function draw(
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
