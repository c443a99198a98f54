/**
 * Two-stage sampling: what the super-resolution U-Net is given of a small sample, its trajectory against one written
 * out from its parts, its noise, and the command line with a small base model and the goldens' upsampler.
 */
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import { batchOf, decodeImage, encodeNpz, imageOf, openImages } from '../src/data/index.node.ts'
import {
  GaussianDiffusion,
  GeneratedNoise,
  lowResolution,
  sample,
  superResolutionDenoiser,
} from '../src/diffusion/index.ts'
import { convertToSafetensors, openCheckpoint, openFile, writeFileAtomic } from '../src/io/index.node.ts'
import { UNet } from '../src/nn/index.ts'
import type { Device } from '../src/tensor/index.ts'
import { tensorIn, temporaryFolder, tweedie, watchedDevice, type Printed } from './cli.ts'
import { networkParameters } from './formula.ts'
import { deviceTest, expectSameBits, numbers, testDevice } from './op.ts'
import { describeShared, shared } from './shared.ts'
import { base, baseOfClasses, upsampler as upsamplerConfig, writeModel } from './small-models.ts'
import { unetConfig } from './spec-models.ts'

const config = { ...unetConfig, imageSize: 16, superResolution: true, numClasses: 3 }
const upsampler = async (device: Device): Promise<UNet> =>
  new UNet(config, await networkParameters(device, { kind: 'unet', ...config }))
const diffusion = new GaussianDiffusion({ schedule: 'linear', diffusionSteps: 1000, respacing: '3' })
const small = lowResolution(Float32Array.from(numbers(4 * 3 * 64, 3)))
const image = 3 * 64

/** Upsamples the small pictures of `samples` in one batch. */
async function upsampled(device: Device, model: UNet, samples: readonly number[], seed = 7): Promise<Float32Array> {
  using lowRes = device.tensor(
    samples.flatMap((k) => [...small.subarray(k * image, (k + 1) * image)]),
    [samples.length, 3, 8, 8],
  )
  using noise = new GeneratedNoise(device, { seed, samples, shape: [3, 16, 16], stage: 'upsample' })
  using x = await sample(
    diffusion,
    superResolutionDenoiser(
      model,
      lowRes,
      samples.map((k) => k % 3),
    ),
    { noise },
  )
  return await x.read()
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
  const first = [...(await draw('base')), ...(await draw('upsample'))].map((values) => values[0])
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

const at = temporaryFolder()
const record = (folder: string): RunRecord =>
  JSON.parse(readFileSync(join(at(folder), 'run.json'), 'utf8')) as RunRecord
const bytes = (folder: string, name: string): string => readFileSync(join(at(folder), name)).toString('base64')

describe('on the command line', () => {
  const args = (folder: string, ...more: string[]): string[] => [
    'sample',
    '--model',
    at('base.safetensors'),
    '--labels',
    '2,0',
    '--respacing',
    '3',
    '--number',
    '3',
    '--batch',
    '2',
    '--seed',
    '5',
    '--out',
    at(folder),
    '--upsampler',
    at('upsampler.safetensors'),
    '--upsampler-respacing',
    '3',
    ...more,
  ]
  const linear = { schedule: 'linear', diffusionSteps: 1000, rescaleTimesteps: false } as const

  beforeAll(async () => {
    await writeModel(at('base.safetensors'), baseOfClasses)
    await writeModel(at('plain.safetensors'), base)
    await writeModel(at('upsampler.safetensors'), { ...upsamplerConfig, numClasses: 3 }, { diffusion: linear, seed: 2 })
    const { session, needed, peak } = watchedDevice()
    const { code, err } = await tweedie(args('first', '--self-guided', '--save', at('first.safetensors')), session)
    expect(code, err.join('\n')).toBe(0)
    expect(peak(), 'bytes held, at most what was asked for').toBeLessThanOrEqual(needed())
  })

  test('large pictures are the samples, small ones stand beside them, in folder, record and report', async () => {
    expect(readdirSync(at('first')).sort()).toEqual([
      'base-0000.png',
      'base-0001.png',
      'base-0002.png',
      'contact-sheet.png',
      'report.html',
      'run.json',
      'sample-0000.png',
      'sample-0001.png',
      'sample-0002.png',
    ])
    expect(['sample', 'base'].map((kind) => decode(readFileSync(join(at('first'), `${kind}-0001.png`))).width)).toEqual(
      [16, 8],
    )
    const { options, sha256, samples, seconds } = record('first')
    expect(options).toMatchObject({
      upsampler: at('upsampler.safetensors'),
      'upsampler-respacing': '3',
      'guide-weight': 0.4,
    })
    expect(Object.keys(sha256).sort()).toEqual(['model', 'upsampler'])
    expect(samples.map(({ label, base }) => [label, base?.file])).toEqual([
      [2, 'base-0000.png'],
      [0, 'base-0001.png'],
      [2, 'base-0002.png'],
    ])
    expect(seconds.batches.every(({ upsampling = 0 }) => upsampling > 0)).toBe(true)
    const html = readFileSync(join(at('first'), 'report.html'), 'utf8')
    for (const name of ['base-0002.png', 'sample-0002.png']) expect(html).toContain(bytes('first', name))
    expect((await tensorIn(at('first.safetensors'), 'sample')).shape).toEqual([3, 3, 16, 16])
    expect((await tensorIn(at('first.safetensors'), 'base')).shape).toEqual([3, 3, 8, 8])
  })

  test('the small pictures are those of the base model alone', async () => {
    const alone = args('alone', '--self-guided').filter(
      (_, i, all) => !all[i].startsWith('--upsampler') && !all[i - 1]?.startsWith('--upsampler'),
    )
    expect((await tweedie(alone)).code).toBe(0)
    for (const k of [0, 1, 2]) expect(bytes('first', `base-000${k}.png`)).toBe(bytes('alone', `sample-000${k}.png`))
  })

  test('the second stage alone makes the same large pictures of small ones that are there', async () => {
    const alone = (folder: string, ...more: string[]): Promise<Printed> =>
      tweedie([
        ...['sample', '--upsampler', at('upsampler.safetensors'), '--upsampler-respacing', '3', '--seed', '5'],
        ...['--base-samples', at('alone'), '--batch', '2', '--out', at(folder), ...more],
      ])
    const { code, err, out } = await alone('large', '--labels', '2,0')
    expect([code, out.join()], err.join('\n')).toEqual([0, expect.not.stringContaining('score')])
    const found = record('large')
    const { samples } = record('first')
    expect(found.samples).toEqual(samples.map(({ file, sha256, base, label }) => ({ file, sha256, base, label })))
    expect(found.options).toMatchObject({ 'base-samples': at('alone'), labels: '2,0', number: 3 })
    expect(Object.keys(found.sha256).sort()).toEqual(['base-samples', 'upsampler'])
    const html = readFileSync(join(at('large'), 'report.html'), 'utf8')
    for (const name of ['base-0002.png', 'sample-0002.png']) expect(html).toContain(bytes('large', name))
    expect(html).not.toMatch(/score|rarest/i)
    const replayed = await tweedie(['replay', join(at('large'), 'run.json'), '--out', at('large-again')])
    expect(replayed.out.join(), replayed.err.join('\n')).toContain('3 of 3 pictures are the same to the byte')
    // More than there are start over, with noise of their own.
    expect((await alone('large', '--labels', '2,0', '--number', '4')).code).toBe(0)
    expect(bytes('large', 'base-0003.png')).toBe(bytes('large', 'base-0000.png'))
    expect(bytes('large', 'sample-0003.png')).not.toBe(bytes('large', 'sample-0000.png'))
    // The .npz of a first stage has its classes, and is the same small pictures.
    const npz = at('small.npz')
    const plain = args('small', '--self-guided', '--npz', npz).filter(
      (_, i, all) => !all[i].startsWith('--upsampler') && !all[i - 1]?.startsWith('--upsampler'),
    )
    expect((await tweedie(plain)).out).toContain(`Samples: ${npz}`)
    const written = readFileSync(npz)
    const fromNpz = await tweedie([
      ...['sample', '--upsampler', at('upsampler.safetensors'), '--upsampler-respacing', '3', '--seed', '5'],
      ...['--out', at('from-npz'), '--base-samples', npz, '--npz', at('large.npz')],
    ])
    expect(fromNpz.code, fromNpz.err.join('\n')).toBe(0)
    expect(record('from-npz').samples).toEqual(found.samples)
    expect(record('from-npz').options).not.toHaveProperty('labels')
    const large = await openImages(at('large.npz'))
    expect([large.length, large.sizeOf(0), [...large.labels!]]).toEqual([3, { width: 16, height: 16 }, [2, 0, 2]])
    expect([...(await large.read(1)).data]).toEqual([
      ...decodeImage(readFileSync(join(at('large'), 'sample-0001.png'))).data,
    ])
    // The same command leaves it; more samples replace it; another run, or what is not ours, does not.
    const before = statSync(npz)
    expect((await tweedie(plain)).code).toBe(0)
    expect(statSync(npz).ino).toBe(before.ino)
    rmSync(npz)
    expect((await tweedie(plain)).code).toBe(0)
    expect(readFileSync(npz).equals(written)).toBe(true)
    expect((await tweedie(plain.map((word) => (word === at('small') ? at('other') : word)))).err.join()).toMatch(
      /small\.npz holds the samples of another run/,
    )
    writeFileSync(npz, encodeNpz({ arr_0: { shape: [1], data: Float32Array.of(1) } }))
    expect((await tweedie(plain)).err.join()).toMatch(/--npz .*small\.npz holds something else/)
    for (const [more, message] of [
      [[], /--labels says which of its 3 classes to take/],
      [['--labels', '1', '--method', 'ddim'], /--method is about a first stage, whose pictures --base-samples has/],
      [['--labels', '1', '--model', at('base.safetensors')], /--model is about a first stage/],
    ] as const) {
      const refused = await alone('never', ...more)
      expect([refused.code, refused.err.join(), existsSync(at('never'))]).toEqual([
        1,
        expect.stringMatching(message),
        false,
      ])
    }
  })

  test('the second stage is drawn from the bytes of the small picture, with its class', async () => {
    const device = await testDevice('cpu')
    const config = { ...unetConfig, imageSize: 16, superResolution: true, numClasses: 3 }
    const file = await openCheckpoint(await openFile(at('upsampler.safetensors')))
    const parameters = new Map(
      await Promise.all(
        [...file.tensors].map(
          async ([key, entry]) => [key, device.tensor((await entry.read()) as Float32Array, entry.shape)] as const,
        ),
      ),
    )
    await file.close()
    using model = new UNet(config, parameters)
    using lowRes = device.tensor(
      batchOf([decodeImage(readFileSync(join(at('first'), 'base-0001.png')))], { channels: 3, size: 8 }),
      [1, 3, 8, 8],
    )
    using noise = new GeneratedNoise(device, { seed: 5, samples: [1], shape: [3, 16, 16], stage: 'upsample' })
    using x = await sample(diffusion, superResolutionDenoiser(model, lowRes, [0]), { noise })
    const { data } = await tensorIn(at('first.safetensors'), 'sample')
    const found = await x.read()
    // The command line may have chosen another kind of SIMD.
    expect(Math.max(...found.map((value, i) => Math.abs(value - data[768 + i])))).toBeLessThan(1e-3)
  })

  test('replayed, and gone on with after a picture was lost, it is the same to the byte', async () => {
    const replayed = await tweedie(['replay', join(at('first'), 'run.json'), '--out', at('replayed')])
    expect([replayed.code, replayed.out.join()], replayed.err.join('\n')).toEqual([
      0,
      expect.stringContaining('3 of 3 pictures are the same to the byte'),
    ])
    expect(record('replayed').samples).toEqual(record('first').samples)
    expect((await tweedie(args('again', '--self-guided'))).code).toBe(0)
    writeFileSync(join(at('again'), 'run.json'), JSON.stringify({ ...record('again'), status: 'unfinished' }))
    rmSync(join(at('again'), 'base-0001.png'))
    const resumed = await tweedie(args('again', '--self-guided'))
    expect(resumed.code, resumed.err.join('\n')).toBe(0)
    for (const { file, base } of record('first').samples)
      for (const name of [file, base!.file]) expect(bytes('again', name)).toBe(bytes('first', name))
  })

  test('is not replaced by a run without the second stage', async () => {
    const before = readdirSync(at('again'))
    const { code, err } = await tweedie([
      'sample',
      '--model',
      at('plain.safetensors'),
      '--respacing',
      '2',
      '--number',
      '1',
      '--out',
      at('again'),
    ])
    expect([code, err.at(-1)]).toEqual([
      1,
      expect.stringMatching(/again holds a finished run with other options \(.*--number.*--upsampler.*\)/),
    ])
    expect(readdirSync(at('again'))).toEqual(before)
  })

  test.each<[string, () => string[], RegExp]>([
    [
      'a base model for the second stage',
      () => [
        'sample',
        '--model',
        at('plain.safetensors'),
        '--respacing',
        '2',
        '--upsampler',
        at('plain.safetensors'),
        '--out',
        at('never'),
      ],
      /plain\.safetensors: --upsampler takes a super-resolution U-Net/,
    ],
    [
      'an upsampler for the first stage',
      () => ['sample', '--model', at('upsampler.safetensors'), '--out', at('never')],
      /--upsampler takes it, beside a --model/,
    ],
    [
      'classes that the base does not have',
      () => [
        'sample',
        '--model',
        at('plain.safetensors'),
        '--respacing',
        '2',
        '--upsampler',
        at('upsampler.safetensors'),
        '--out',
        at('never'),
      ],
      /an upsampler of 3 classes needs a model with the same classes/,
    ],
    [
      'steps that there are not',
      () => args('never').map((arg, i, all) => (all[i - 1] === '--upsampler-respacing' ? '2000' : arg)),
      /respacing "2000" of 1000 steps/,
    ],
    [
      'options of an upsampler without one',
      () => ['sample', '--model', at('plain.safetensors'), '--upsampler-respacing', '5', '--out', at('never')],
      /--upsampler-respacing is about --upsampler FILE/,
    ],
  ])('%s is refused, and nothing is left', async (_, argv, message) => {
    const { code, err } = await tweedie(argv())
    expect(err.filter((line) => !line.startsWith('note: ')).join('\n')).toMatch(message)
    expect([code, existsSync(at('never'))]).toEqual([1, false])
  })
})

describeShared("with the goldens' upsampler of 32 x 32 from 8 x 8", () => {
  test('it draws, once the file says with which noise it was trained', async () => {
    const run = (file: string): ReturnType<typeof tweedie> =>
      tweedie([
        'sample',
        '--model',
        at('plain.safetensors'),
        '--respacing',
        '2',
        '--number',
        '2',
        '--upsampler',
        file,
        '--upsampler-respacing',
        '4',
        '--out',
        at('golden'),
      ])
    const golden = shared('goldens/superres32-from8.weights.safetensors')
    expect(await run(golden)).toMatchObject({
      code: 1,
      err: expect.arrayContaining([
        expect.stringMatching(/does not say with which noise it was trained: --upsampler-preset/),
      ]),
    })
    const file = await openCheckpoint(await openFile(golden))
    await writeFileAtomic(
      at('golden.safetensors'),
      convertToSafetensors({
        ...file,
        metadata: { ...file.metadata, diffusion: JSON.stringify({ noise_schedule: 'linear', diffusion_steps: 1000 }) },
      }),
    )
    await file.close()
    const { code, err } = await run(at('golden.safetensors'))
    expect(code, err.join('\n')).toBe(0)
    expect(
      ['sample', 'base'].map((kind) => decode(readFileSync(join(at('golden'), `${kind}-0001.png`))).width),
    ).toEqual([32, 8])
    expect(bytes('golden', 'sample-0000.png')).not.toBe(bytes('golden', 'sample-0001.png'))
  })
})
