/** `tweedie nll`: its figures are calcBpd's, its files are image_nll.py's, and a stopped run goes on. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { encodePng, readNpz } from '../src/data/index.ts'
import { imageBatch, openImages } from '../src/data/index.node.ts'
import { calcBpd, GaussianDiffusion, GeneratedNoise } from '../src/diffusion/index.ts'
import { describeModel, loadModel, type UNet } from '../src/nn/index.ts'
import { bytesSource, openFile, openSafetensors } from '../src/io/index.node.ts'
import { Device } from '../src/tensor/index.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { baseOfClasses, writeModel } from './small-models.ts'

const at = temporaryFolder()

test('bits per dimension of a set are those of calcBpd by image and step, also of a stopped run', async () => {
  const model = await writeModel(at('model.safetensors'), baseOfClasses)
  mkdirSync(at('data'))
  for (let k = 0; k < 5; k++) {
    const data = Uint8Array.from({ length: 192 }, (_, i) => (i * (37 + 11 * k)) % 256)
    writeFileSync(join(at('data'), `${k}.png`), encodePng({ width: 8, height: 8, channels: 3, data }))
  }
  const args = [
    ...['nll', '--model', model, '--data', at('data'), '--labels', '2,0', '--number', '3', '--batch', '2'],
    ...['--respacing', '4', '--seed', '9', '--out', at('nll'), '--backend', 'cpu', '--simd', 'plain'],
  ]
  const first = await tweedie(args)
  expect(first.code, first.err.join('\n')).toBe(0)
  const text = readFileSync(at('nll/nll.json'), 'utf8')
  const found = JSON.parse(text)

  // 3 of 5 images from end to end are 0, 1 and 3; all in one batch here.
  using device = await Device.request({ backend: 'cpu', simd: 'plain' })
  const file = await openSafetensors(await openFile(model))
  const description = describeModel(file)
  using network = (await loadModel(device, file, description)) as UNet
  const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '4' })
  const { images } = await imageBatch(await openImages(at('data')), [0, 1, 3], { size: 8, channels: 3 })
  using x = device.tensor(images, [3, 3, 8, 8])
  using noise = new GeneratedNoise(device, { seed: 9, samples: [0, 1, 3], shape: [3, 8, 8] })
  const bits = await calcBpd(diffusion, network, x, { noise, y: [2, 0, 0] })
  await file.close?.()
  expect(found.totalBpd).toEqual([...bits.totalBpd])
  expect(found.mean).toBeCloseTo((bits.totalBpd[0] + bits.totalBpd[1] + bits.totalBpd[2]) / 3, 12)
  const meanOf = (of: readonly Float64Array[]): number[] => of.map(([a, b, c]) => (a + b + c) / 3)
  expect(found.terms).toEqual({ vb: meanOf(bits.vb), mse: meanOf(bits.mse), xstart_mse: meanOf(bits.xStartMse) })
  for (const name of ['vb', 'mse', 'xstart_mse'] as const) {
    const npz = bytesSource(readFileSync(at(`nll/${name}_terms.npz`)), 'x.npz')
    const { shape, data } = (await readNpz(npz, ['arr_0'])).get('arr_0')!
    expect([shape, [...data]]).toEqual([[4], [...Float32Array.from(found.terms[name]).reverse()]])
  }

  // As a run leaves it that was stopped after its first batch.
  const { mean: _, standardError: __, ...begun } = found
  begun.status = 'unfinished'
  begun.totalBpd = begun.totalBpd.slice(0, 2)
  begun.priorBpd = begun.priorBpd.slice(0, 2)
  const sumOf = (of: readonly Float64Array[]): number[] => of.map(([a, b]) => a + b)
  begun.terms = { vb: sumOf(bits.vb), mse: sumOf(bits.mse), xstart_mse: sumOf(bits.xStartMse) }
  writeFileSync(at('nll/nll.json'), JSON.stringify(begun))
  rmSync(at('nll/vb_terms.npz'))
  const again = await tweedie(args)
  expect([again.code, again.out], again.err.join('\n')).toEqual([0, first.out])
  expect(again.err.join()).toContain('2 of 3 images are there already')
  expect(readFileSync(at('nll/nll.json'), 'utf8')).toBe(text)
  const other = await tweedie(args.map((word) => (word === '9' ? '10' : word)))
  expect([other.code, other.err.join()]).toEqual([1, expect.stringMatching(/nll\.json holds bits per dimension/)])
})
