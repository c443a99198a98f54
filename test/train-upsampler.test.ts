/** A second stage is trained beside its own images made small, and draws from the file that training wrote. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { expect, test } from 'vitest'
import { encodePng } from '../src/data/index.ts'
import { areaDownsample, GaussianDiffusion, superResolutionDenoiser, trainingLosses } from '../src/diffusion/index.ts'
import { UNet } from '../src/nn/index.ts'
import { randomNormal, splitSeed } from '../src/tensor/index.ts'
import { diffusionTask, trainPurposes } from '../src/train/index.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { networkParameters } from './formula.ts'
import { deviceTest, expectSameBits, numbers } from './op.ts'
import { unetConfig } from './spec-models.ts'

const at = temporaryFolder()

deviceTest('images are made small by areas, and the loss is that of the network beside them', async (device) => {
  using known = device.tensor([1, 3, 10, 20, 5, 7, 30, 40, 0, 0, 8, 8, 0, 4, 8, 8], [1, 1, 4, 4])
  using small = areaDownsample(known, 2)
  expect([...(await small.read())]).toEqual([4, 25, 1, 8])
  expect(() => areaDownsample(known, 3)).toThrow('a multiple of 3, found [1, 1, 4, 4]')

  const config = { ...unetConfig, imageSize: 16, superResolution: true }
  using model = new UNet(config, await networkParameters(device, { kind: 'unet', ...config }))
  const diffusion = new GaussianDiffusion({ schedule: 'linear', diffusionSteps: 1000, respacing: '' })
  const images = Float32Array.from(numbers(2 * 768, 4))
  const load = () => Promise.resolve({ images })
  const task = diffusionTask(device, { model, diffusion, seed: 3, smallSize: 8, load })
  const draw = task.draw({ images }, 6)
  const { loss } = device.scope(() => ({ loss: task.losses(draw).loss }))
  const expected = device.scope(() => {
    const xStart = device.tensor(images, [2, 3, 16, 16])
    const samples = device.tensor([6, 7], [2], 'u32')
    const noise = randomNormal(samples, {
      seed: splitSeed(3),
      draw: 0,
      purpose: trainPurposes.noise,
      shape: [3, 16, 16],
    })
    const denoiser = superResolutionDenoiser(model, areaDownsample(xStart, 8))
    return { loss: trainingLosses(diffusion, denoiser, xStart, draw.t, noise).loss }
  })
  expectSameBits(await loss.read(), await expected.loss.read(), 'loss')
  loss.dispose()
  expected.loss.dispose()
  expect(() => diffusionTask(device, { model, diffusion, seed: 3, load })).toThrow('needs smallSize')
})

test('train diffusion --small-size writes an upsampler that draws', async () => {
  mkdirSync(at('data'))
  for (let k = 0; k < 6; k++) {
    const data = Uint8Array.from({ length: 768 }, (_, i) => (i * (5 + k)) % 256)
    writeFileSync(join(at('data'), `${k}.png`), encodePng({ width: 16, height: 16, channels: 3, data }))
  }
  const cpu = ['--backend', 'cpu', '--threads', '1']
  const train = (...more: string[]) =>
    tweedie([
      ...['train', 'diffusion', '--data', at('data'), '--batch', '2', '--num-channels', '32', '--channel-mult', '1,1'],
      ...['--diffusion-steps', '20', '--ema', '0.5', '--samples', '2', '--evaluate-on', '2', '--out', at('run')],
      ...[...cpu, ...more],
    ])
  const refused = await train('--small-size', '5', '--images', '4')
  expect(refused.err.join()).toContain("--small-size: expected a side of which the images' 16 is a multiple, found 5")
  const { code, err } = await train('--small-size', '8', '--images', '4')
  expect(code, err.join('\n')).toBe(0)
  const another = await train('--small-size', '4', '--images', '8', '--resume')
  expect([another.code, another.err.join()]).toEqual([1, expect.stringMatching(/smallSize/)])
  const more = await train('--small-size', '8', '--images', '8', '--resume')
  expect(more.code, more.err.join('\n')).toBe(0)
  mkdirSync(at('small'))
  const data = Uint8Array.from({ length: 192 }, (_, i) => i)
  writeFileSync(join(at('small'), 'a.png'), encodePng({ width: 8, height: 8, channels: 3, data }))
  const drawn = await tweedie([
    ...['sample', '--upsampler', at('run/ema-0.5.safetensors'), '--upsampler-respacing', '2', ...cpu],
    ...['--base-samples', at('small'), '--out', at('large')],
  ])
  expect(drawn.code, drawn.err.join('\n')).toBe(0)
  expect(decode(readFileSync(at('large/sample-0000.png'))).width).toBe(16)
})
