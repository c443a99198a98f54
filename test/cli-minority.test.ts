/**
 * Guided sampling on the command line: minority guidance with its classifier's own metadata, the baselines, and any sum
 * of them with either sampler, each against the library; what a record and a report say; every mistake.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import { parseArguments } from '../src/cli/arguments.ts'
import { sha256OfFile } from '../src/cli/files.ts'
import { sampleSettings } from '../src/cli/options/sample.ts'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import { sample } from '../src/cli/commands/sample.ts'
import { batchOf, decodeImage } from '../src/data/index.ts'
import {
  attributeGuidance,
  classifierGuidance,
  classMeans,
  GaussianDiffusion,
  GeneratedNoise,
  logDensityGuidance,
  classifierLogits,
  pooledFeatures,
  randomAttributes,
  sample as sampleOf,
  sehwagGuidance,
  selfGuidance,
  tiltedGuidance,
  uniformTargets,
  type Guidance,
  type MinorityMetadata,
  type SampleOptions,
} from '../src/diffusion/index.ts'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import { describeModel, loadModel, type Classifier, type UNet } from '../src/nn/index.ts'
import { log, mul, softmax, sum, type Device } from '../src/tensor/index.ts'
import { Tweedie } from '../src/tweedie/index.node.ts'
import { tensorIn, temporaryFolder, tweedie, watchedDevice } from './cli.ts'
import { expectClose, testDevice } from './op.ts'
import {
  base,
  baseOfClasses,
  classifier,
  cosine,
  onFeatures,
  upsampler,
  writeModel,
  writeWeights,
} from './small-models.ts'

const at = temporaryFolder()
const file = (name: string): string => at(`${name}.safetensors`)
const record = (folder: string): RunRecord =>
  JSON.parse(readFileSync(join(at(folder), 'run.json'), 'utf8')) as RunRecord
const bytes = (folder: string, k = 0): string => readFileSync(join(at(folder), `sample-000${k}.png`)).toString('base64')

const thresholds = Array.from({ length: 10 }, (_, i) => (i + 1) / 10)
const minority = (more: Partial<MinorityMetadata> = {}): Record<string, string> => ({
  minority: JSON.stringify({
    levels: 10,
    thresholds,
    within: 'all',
    extractor: null,
    schedule: 'cosine',
    diffusionSteps: 1000,
    rescaleTimesteps: false,
    ...more,
  } satisfies MinorityMetadata),
})
/** One thread: the pictures are so small that starting more takes longer than they do. */
const steps = ['--respacing', '3', '--number', '2', '--seed', '5', '--threads', '1']
/** A run of the model without classes into `folder`. */
const args = (folder: string, ...more: string[]): string[] => [
  'sample',
  '--model',
  file('base'),
  ...steps,
  '--out',
  at(folder),
  ...more,
]
const conditional = (folder: string, ...more: string[]): string[] => [
  'sample',
  '--model',
  file('classes'),
  '--labels',
  '2,0',
  ...steps,
  '--out',
  at(folder),
  ...more,
]
const guided = ['--method', 'minority-guided', '--minority-classifier']

async function run(argv: string[]): Promise<RunRecord> {
  const { code, err } = await tweedie(argv)
  expect(code, err.join('\n')).toBe(0)
  return record(argv[argv.indexOf('--out') + 1].slice(at('').length))
}

beforeAll(async () => {
  await writeModel(file('base'), base)
  await writeModel(file('classes'), baseOfClasses)
  await writeModel(file('classifier'), { ...classifier, outChannels: 3 }, { seed: 4 })
  await writeModel(file('extractor'), classifier, { seed: 3 })
  await writeModel(file('other-extractor'), classifier, { seed: 6 })
  const extractor = {
    sha256: await sha256OfFile(file('extractor'), new AbortController().signal),
    name: 'extractor.safetensors',
  }
  await writeModel(file('minority'), classifier, { seed: 2, metadata: minority() })
  await writeModel(file('on-features'), onFeatures, { seed: 2, metadata: minority({ extractor }) })
  const rows = [thresholds, [], thresholds.map((q) => q ** 2)]
  await writeModel(
    file('by-class'),
    { ...classifier, numClasses: 3 },
    { seed: 2, metadata: minority({ within: 'class', thresholds: rows }) },
  )
  await writeModel(file('untold'), classifier, { seed: 2 })
  await writeModel(file('linear'), classifier, {
    diffusion: { schedule: 'linear', diffusionSteps: 1000, rescaleTimesteps: false },
    metadata: minority({ schedule: 'linear' }),
  })
  await writeModel(file('longer'), classifier, { metadata: minority({ diffusionSteps: 4000 }) })
  await writeModel(file('broken'), classifier, { metadata: { minority: '{"levels": 10}' } })
  await writeModel(file('zero'), classifier, { metadata: minority({ thresholds: [0, ...thresholds.slice(1)] }) })
  await writeModel(file('eight'), classifier, { metadata: minority({ levels: 8, thresholds: thresholds.slice(2) }) })
  await writeModel(file('grey'), { ...classifier, inChannels: 1 })
  await writeModel(file('larger'), { ...classifier, imageSize: 16 })
  await writeModel(file('judge'), { ...classifier, outChannels: 2 }, { seed: 7 })
  await writeModel(file('attributes'), { ...classifier, outChannels: 4 }, { seed: 8 })
  await writeModel(file('upsampler'), upsampler, { seed: 9 })
  await writeModel(
    file('uneven'),
    { ...classifier, numClasses: 3 },
    { seed: 2, metadata: minority({ within: 'class', thresholds: [thresholds, [], thresholds.slice(0, 4)] }) },
  )
  await writeModel(file('uneven-told-nothing'), classifier, {
    seed: 2,
    metadata: minority({ within: 'class', thresholds: [thresholds, thresholds.slice(0, 4)] }),
  })
  mkdirSync(at('flat'))
  for (let k = 0; k < 4; k++)
    writeFileSync(
      join(at('flat'), `${k}.png`),
      encode({
        width: 8,
        height: 8,
        channels: 3,
        depth: 8,
        data: Uint8Array.from({ length: 192 }, (_, i) => (i * (k + 5) * 11) % 256),
      }),
    )
  for (const [set, classes] of [
    ['classes', 3],
    ['two', 2],
  ] as const) {
    for (let k = 0; k < 12; k++) {
      const folder = join(at(set), String(k % classes))
      mkdirSync(folder, { recursive: true })
      const data = Uint8Array.from({ length: 192 }, (_, i) => (i * (k + 3) * 7) % 256)
      writeFileSync(join(folder, `${k}.png`), encode({ width: 8, height: 8, channels: 3, depth: 8, data }))
    }
  }
  await run(args('plain'))
})

/** The same samples drawn by the library. */
async function drawn(
  device: Device,
  options: (
    load: (name: string) => Promise<Classifier>,
    samples: number[],
    hold: <T extends { dispose(): void }>(thing: T) => T,
  ) => Promise<Partial<SampleOptions>>,
  { model = 'base', y }: { model?: string; y?: number[] } = {},
): Promise<Float32Array> {
  const held: { dispose(): void }[] = []
  const hold = <T extends { dispose(): void }>(thing: T): T => {
    held.push(thing)
    return thing
  }
  const load = async (name: string): Promise<UNet | Classifier> => {
    const checkpoint = await openCheckpoint(await openFile(file(name)))
    const network = await loadModel(device, checkpoint, describeModel(checkpoint))
    await checkpoint.close()
    return hold(network)
  }
  const samples = [0, 1]
  const network = (await load(model)) as UNet
  const noise = hold(new GeneratedNoise(device, { seed: 5, samples, shape: [3, 8, 8] }))
  const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '3' })
  const more = await options(load as (name: string) => Promise<Classifier>, samples, hold)
  const last = await hold(await sampleOf(diffusion, network, { noise, ...more, ...(y && { y }) })).read()
  for (const thing of held) thing.dispose()
  return last
}

/** Draws on the command line with --save, and holds the numbers against the library's. */
async function expectSame(
  folder: string,
  argv: string[],
  expected: (device: Device) => Promise<Float32Array>,
): Promise<RunRecord> {
  const made = await run([...argv, '--save', file(`${folder}-saved`), '--backend', 'cpu', '--simd', 'plain'])
  const { data } = await tensorIn(file(`${folder}-saved`), 'sample')
  // Two threads here, and one there; a few roundings where a sum is split.
  expectClose(data, await expected(await testDevice('cpu')), 1e-4, folder)
  expect(bytes(folder)).not.toBe(bytes('plain'))
  return made
}

const levelGuidance = async (
  load: (name: string) => Promise<Classifier>,
  scale: number,
  target: number | number[] = 9,
): Promise<Guidance> => classifierGuidance(classifierLogits(await load('minority')), { target, scale })

describe('minority guidance', () => {
  test('leads to the rarest level by default, as the library does', async () => {
    const { options, sha256, samples } = await expectSame(
      'rarest',
      args('rarest', ...guided, file('minority'), '--minority-scale', '20'),
      (device) => drawn(device, async (load) => ({ guidances: [await levelGuidance(load, 20)] })),
    )
    expect(options).toMatchObject({
      method: 'minority-guided',
      sampler: 'ancestral',
      'minority-classifier': file('minority'),
      'minority-scale': 20,
      'minority-target': 'rarest',
    })
    expect(sha256['minority-classifier']).toMatch(/^[0-9a-f]{64}$/)
    expect(samples.map(({ targets }) => targets)).toEqual([{ minority: 9 }, { minority: 9 }])
  })

  test('its report says the level of each sample and the settings', () => {
    // Where a long name may break is no part of it.
    const html = readFileSync(join(at('rarest'), 'report.html'), 'utf8').replaceAll('<wbr>', '')
    expect(html).toContain('>0, level 9: ')
    expect(html).toMatch(/<th>minority-target<\/th><td>rarest<\/td>/)
    expect(html).toMatch(/<th>minority-classifier<\/th><td>minority\.safetensors \(sha256 [0-9a-f]{16}…\)<\/td>/)
  })

  test('a scale of 0 changes no bit', async () => {
    await run(args('zero', ...guided, file('minority'), '--minority-scale', '0'))
    for (const k of [0, 1]) expect(bytes('zero', k)).toBe(bytes('plain', k))
  })

  test('of a range each sample has a level of its own, the same in any batch', async () => {
    const { samples } = await expectSame(
      'range',
      args('range', ...guided, file('minority'), '--minority-scale', '20', '--minority-target', '0-9'),
      (device) =>
        drawn(device, async (load, samples) => ({
          guidances: [await levelGuidance(load, 20, uniformTargets([0, 9], { seed: 5, samples }))],
        })),
    )
    const levels = samples.map(({ targets }) => targets?.minority as number)
    expect(new Set(levels).size).toBeGreaterThan(1)
    const { samples: alone } = await run(
      args('alone', ...guided, file('minority'), '--minority-target', '0-9', '--batch', '1'),
    )
    expect(alone.map(({ targets }) => targets)).toEqual(samples.map(({ targets }) => targets))
  })

  test('tilted by the thresholds of the file (Eq. 18)', async () => {
    const { options, samples } = await expectSame(
      'tilted',
      args('tilted', ...guided, file('minority'), '--minority-scale', '50', '--minority-tilt'),
      (device) =>
        drawn(device, async (load) => ({
          guidances: [tiltedGuidance(classifierLogits(await load('minority')), { tau: thresholds, scale: 50 })],
        })),
    )
    expect(options).toMatchObject({ 'minority-tilt': true })
    expect([options['minority-target'], samples[0].targets]).toEqual([undefined, undefined])
  })

  test('class-conditional (Eq. 17), also tilted, by the thresholds of each class', async () => {
    const y = [2, 0]
    await expectSame(
      'by-class',
      conditional('by-class', ...guided, file('by-class'), '--minority-target', '7', '--minority-scale', '20'),
      (device) =>
        drawn(
          device,
          async (load) => ({
            guidances: [classifierGuidance(classifierLogits(await load('by-class'), { y }), { target: 7, scale: 20 })],
          }),
          { model: 'classes', y },
        ),
    )
    const tau = y.map((k) => (k === 2 ? thresholds.map((q) => q ** 2) : thresholds))
    await expectSame(
      'tilted-by-class',
      conditional('tilted-by-class', ...guided, file('by-class'), '--minority-tilt', '--minority-scale', '50'),
      (device) =>
        drawn(
          device,
          async (load) => ({
            guidances: [tiltedGuidance(classifierLogits(await load('by-class'), { y }), { tau, scale: 50 })],
          }),
          { model: 'classes', y },
        ),
    )
  })

  test('of classes with different numbers of levels, each sample is led to the rarest of its own', async () => {
    const { samples } = await expectSame(
      'uneven',
      conditional('uneven', ...guided, file('uneven'), '--minority-scale', '20'),
      (device) =>
        drawn(
          device,
          async (load) => ({
            guidances: [
              classifierGuidance(classifierLogits(await load('uneven'), { y: [2, 0] }), { target: [3, 9], scale: 20 }),
            ],
          }),
          { model: 'classes', y: [2, 0] },
        ),
    )
    expect(samples.map(({ targets }) => targets)).toEqual([{ minority: 3 }, { minority: 9 }])
    // Tilted: the levels that a class does not have weigh nothing.
    await expectSame(
      'uneven-tilted',
      conditional('uneven-tilted', ...guided, file('uneven'), '--minority-tilt', '--minority-scale', '50'),
      (device) =>
        drawn(
          device,
          async (load) => {
            const logits = classifierLogits(await load('uneven'), { y: [2, 0] })
            const tau = [...thresholds.slice(0, 4), ...new Array<number>(6).fill(0), ...thresholds]
            return {
              guidances: [
                logDensityGuidance(
                  (x, t) => log(sum(mul(softmax(logits(x, t)), x.device.tensor(tau, [2, 10])), { axes: [1] })),
                  50,
                ),
              ],
            }
          },
          { model: 'classes', y: [2, 0] },
        ),
    )
  })

  test('on the features of an extractor', async () => {
    const { sha256 } = await expectSame(
      'features',
      args('features', ...guided, file('on-features'), '--extractor', file('extractor'), '--minority-scale', '20'),
      (device) =>
        drawn(device, async (load) => ({
          guidances: [
            classifierGuidance(classifierLogits(await load('on-features'), { extractor: await load('extractor') }), {
              target: 9,
              scale: 20,
            }),
          ],
        })),
    )
    expect(Object.keys(sha256).sort()).toEqual(['extractor', 'minority-classifier', 'model'])
  })

  test('by a file that says nothing of its levels, as by one that does', async () => {
    await run(
      args('untold', ...guided, file('untold'), '--minority-scale', '20', '--backend', 'cpu', '--simd', 'plain'),
    )
    expect(bytes('untold')).toBe(bytes('rarest'))
  })

  test.each<[string, string[], number | undefined]>([
    ['the preset of the minority classifier', ['--minority-preset', 'mc_celeba'], 4],
    ['the preset of the model it was published for', ['--preset', 'celeba64_uncond'], 4],
    ['what is given', ['--preset', 'celeba64_uncond', '--minority-scale', '3'], 3],
    ['nothing', [], 1],
  ])('its scale comes from %s', (_, more, scale) => {
    const argv = ['--model', file('base'), '--distance', 'l2', '--minority-classifier', file('minority'), ...more]
    expect(sampleSettings(parseArguments(sample, argv), { config: base, diffusion: cosine }).minority?.scale).toBe(
      scale,
    )
  })
})

describe('sums', () => {
  test('of minority, class and self-guidance, through both samplers, as the library adds them', async () => {
    const all = [
      '--minority-classifier',
      file('minority'),
      '--minority-scale',
      '20',
      '--classifier',
      file('classifier'),
      '--target',
      '1',
      '--classifier-scale',
      '10',
      '--guide-weight',
      '0.8',
      '--guide-every',
      '2',
    ]
    const sum = (method: 'ancestral' | 'ddim') => (device: Device) =>
      drawn(device, async (load) => ({
        method,
        selfGuidance: selfGuidance({ weight: 0.8, every: 2 }),
        guidances: [
          classifierGuidance(classifierLogits(await load('classifier')), { target: 1, scale: 10 }),
          await levelGuidance(load, 20),
        ],
      }))
    await expectSame('sum', args('sum', '--method', 'minority-guided', ...all), sum('ancestral'))
    const { options } = await expectSame(
      'sum-ddim',
      args('sum-ddim', '--method', 'minority-guided', '--sampler', 'ddim', ...all),
      sum('ddim'),
    )
    expect(options).toMatchObject({
      method: 'minority-guided',
      sampler: 'ddim',
      eta: 0,
      'guide-weight': 0.8,
      'classifier-scale': 10,
    })
    await run(args('as-ddim', '--method', 'ddim', ...all, '--backend', 'cpu', '--simd', 'plain'))
    expect([bytes('as-ddim', 0), bytes('as-ddim', 1)]).toEqual([bytes('sum-ddim', 0), bytes('sum-ddim', 1)])
  })

  test('--self-guided adds what --method self-guided is', async () => {
    await run(args('self', '--method', 'self-guided'))
    await run(args('with-self', '--self-guided'))
    expect(bytes('with-self')).toBe(bytes('self'))
    expect(bytes('self')).not.toBe(bytes('plain'))
  })

  test("a class classifier leads to the samples' own classes where no target is given", async () => {
    const { options } = await run(conditional('own', '--classifier', file('classifier')))
    expect(options.target).toBe('2,0')
  })

  test('of several weights in a file the average, or those that are named', async () => {
    await writeWeights(file('both'), { ...classifier, outChannels: 3 }, { 'raw.': 4, 'ema.': 5 })
    await writeWeights(file('both-upsampler'), upsampler, { 'raw.': 9, 'ema.': 5 })
    const led = (name: string, ...more: string[]): string[] =>
      conditional(name, '--classifier-scale', '20', '--upsampler-respacing', '2', ...more)
    await run(led('plainly', '--classifier', file('classifier'), '--upsampler', file('upsampler')))
    const both = ['--classifier', file('both'), '--upsampler', file('both-upsampler')]
    const named = await run(led('named', ...both, '--classifier-weights', 'raw', '--upsampler-weights', 'raw'))
    expect(bytes('named')).toBe(bytes('plainly'))
    expect([named.options['classifier-weights'], named.options['upsampler-weights']]).toEqual(['raw', 'raw'])
    const average = await tweedie(led('average', ...both))
    expect([average.code, bytes('average') === bytes('plainly')]).toEqual([0, false])
    const notes = average.err.filter((line) => line.includes('ema, the average, is taken, and raw is left'))
    expect(notes.map((line) => line.split(':')[1].trim())).toEqual([file('both'), file('both-upsampler')])

    using model = await Tweedie.load(file('classes'), {
      classifier: { file: file('both'), stateDict: 'raw' },
      backend: 'cpu',
      batch: 1,
    })
    expect(model.notes).toEqual([expect.stringMatching(/both\.safetensors: it holds several .* raw is taken.* ema is/)])
    for await (const step of model.sample({ steps: 2, number: 1, labels: [0], classifierTarget: [1] }))
      if (step.done === step.total)
        expect((await model.record(step)).options).toMatchObject({ 'classifier-weights': 'raw' })
  })

  test('everything at once fits into the memory that was asked for, and is replayed to the byte', async () => {
    const { session, needed, peak } = watchedDevice()
    const everything = conditional(
      'everything',
      ...guided,
      file('on-features'),
      '--extractor',
      file('extractor'),
      '--self-guided',
      '--classifier',
      file('classifier'),
      '--sehwag-classifier',
      file('classifier'),
      '--sehwag-data',
      at('classes'),
      '--sehwag-discriminator',
      file('judge'),
      '--attributes-classifier',
      file('attributes'),
      '--upsampler',
      file('upsampler'),
      '--upsampler-respacing',
      '2',
    )
    const { code, err } = await tweedie(everything, session)
    expect(code, err.join('\n')).toBe(0)
    expect(peak(), 'bytes held, at most what was asked for').toBeLessThanOrEqual(needed())
    const replayed = await tweedie(['replay', join(at('everything'), 'run.json'), '--out', at('replayed')])
    expect([replayed.code, replayed.out.join()], replayed.err.join('\n')).toEqual([
      0,
      expect.stringContaining('2 of 2 pictures are the same to the byte'),
    ])
    expect(record('replayed').samples).toEqual(record('everything').samples)
    const other = await tweedie([
      'replay',
      join(at('everything'), 'run.json'),
      '--out',
      at('never'),
      '--sehwag-data',
      at('two'),
    ])
    expect([other.code, other.err.join()]).toEqual([1, expect.stringContaining('two is not the file of the run')])
    const moved = await tweedie([
      'replay',
      join(at('rarest'), 'run.json'),
      '--out',
      at('never'),
      '--extractor',
      file('extractor'),
    ])
    expect([moved.code, moved.err.join()]).toEqual([1, expect.stringContaining('--extractor: the run had none')])
  })

  test('a run.json of before there was --sampler is replayed', async () => {
    await run(args('ddim', '--method', 'ddim'))
    const {
      options: { sampler: _, ...options },
      ...rest
    } = record('ddim')
    writeFileSync(at('old.json'), JSON.stringify({ ...rest, options }))
    const { code, out, err } = await tweedie(['replay', at('old.json'), '--out', at('old')])
    expect([code, out.join()], err.join('\n')).toEqual([
      0,
      expect.stringContaining('2 of 2 pictures are the same to the byte'),
    ])
    expect(bytes('old')).not.toBe(bytes('plain'))
  })
})

describe('baselines', () => {
  const sehwag = [
    '--method',
    'sehwag',
    '--sehwag-classifier',
    file('classifier'),
    '--sehwag-discriminator',
    file('judge'),
    '--sehwag-data',
  ]

  test('the help says that they are reconstructions', async () => {
    const help = (await tweedie(['sample', '--help'])).out.join('\n').replace(/\s+/g, ' ')
    expect(help).toMatch(/; sehwag and attributes are reconstructions of baselines/)
    expect(help.match(/a reconstruction, (their|its) code is not public/g)).toHaveLength(2)
  })

  test('Sehwag et al., with the means of each class, as the library does; weights of 0 change nothing', async () => {
    await run(conditional('bare'))
    await run(conditional('neither', ...sehwag, at('classes'), '--sehwag-alpha', '0', '--sehwag-beta', '0'))
    expect(bytes('neither')).toBe(bytes('bare'))
    const { sha256 } = await expectSame(
      'sehwag',
      conditional('sehwag', ...sehwag, at('classes'), '--sehwag-alpha', '2', '--sehwag-beta', '0.5'),
      (device) => {
        const y = [2, 0]
        return drawn(
          device,
          async (load, _, hold) => {
            const embedding = pooledFeatures(await load('classifier'))
            const labels = Array.from({ length: 12 }, (_, k) => k % 3)
            const images = labels.map((label, k) =>
              decodeImage(readFileSync(join(at('classes'), String(label), `${k}.png`))),
            )
            using x = device.tensor(batchOf(images, { channels: 3, size: 8 }), [12, 3, 8, 8])
            const means = hold(await classMeans(embedding, [{ x, timesteps: labels.map(() => 0), labels }], 3))
            return {
              guidances: [
                sehwagGuidance({
                  embedding,
                  classMeans: means,
                  y,
                  discriminator: classifierLogits(await load('judge')),
                  alpha: 2,
                  beta: 0.5,
                }),
              ],
            }
          },
          { model: 'classes', y },
        )
      },
    )
    expect(bytes('sehwag')).not.toBe(bytes('bare'))
    expect(Object.keys(sha256).sort()).toEqual(['model', 'sehwag-classifier', 'sehwag-data', 'sehwag-discriminator'])
  })

  test('--skip-bad leaves out images of the means that are none; run.json names them for replay', async () => {
    cpSync(at('classes'), at('some'), { recursive: true })
    writeFileSync(at('some/1/bad.png'), 'hello')
    const some = conditional('skipped', ...sehwag, at('some'))
    const refused = await tweedie(some)
    expect([refused.code, refused.err.join()]).toEqual([1, expect.stringMatching(/some\/1\/bad\.png: neither/)])
    await run([...some, '--skip-bad'])
    const { options, leftOut, samples } = record('skipped')
    expect([options['skip-bad'], leftOut]).toEqual([true, { 'sehwag-data': ['1/bad.png'] }])
    const replayed = await tweedie(['replay', join(at('skipped'), 'run.json'), '--out', at('skipped-again')])
    expect(replayed.code, replayed.err.join('\n')).toBe(0)
    expect(record('skipped-again').samples).toEqual(samples)
  })

  test('Sehwag et al. without classes, with the mean of all images', async () => {
    const { sha256, options } = await expectSame(
      'sehwag-all',
      args('sehwag-all', ...sehwag, at('flat'), '--sehwag-alpha', '2', '--sehwag-beta', '0.5'),
      (device) =>
        drawn(device, async (load, _, hold) => {
          const embedding = pooledFeatures(await load('classifier'))
          const images = Array.from({ length: 4 }, (_, k) => decodeImage(readFileSync(join(at('flat'), `${k}.png`))))
          using x = device.tensor(batchOf(images, { channels: 3, size: 8 }), [4, 3, 8, 8])
          const means = hold(await classMeans(embedding, [{ x, timesteps: [0, 0, 0, 0], labels: [0, 0, 0, 0] }], 1))
          return {
            guidances: [
              sehwagGuidance({
                embedding,
                classMeans: means,
                discriminator: classifierLogits(await load('judge')),
                alpha: 2,
                beta: 0.5,
              }),
            ],
          }
        }),
    )
    expect(Object.keys(sha256).sort()).toEqual(['model', 'sehwag-classifier', 'sehwag-data', 'sehwag-discriminator'])
    expect(options).toMatchObject({ 'sehwag-data': at('flat') })
  })

  test('attributes: random combinations of them, as the library draws them', async () => {
    const targets = randomAttributes(4, { seed: 5, samples: [0, 1] })
    const { samples } = await expectSame(
      'attributes',
      args(
        'attributes',
        '--method',
        'attributes',
        '--attributes-classifier',
        file('attributes'),
        '--attributes-scale',
        '20',
      ),
      (device) =>
        drawn(device, async (load) => ({
          guidances: [attributeGuidance(classifierLogits(await load('attributes')), { targets, scale: 20 })],
        })),
    )
    expect(samples.map((sample) => sample.targets)).toEqual(
      targets.map((row) => ({ attributes: row.map(Number).join('') })),
    )
  })

  const sehwagOf = (data: string, more: string[] = []): string[] => conditional('never', ...sehwag, data, ...more)
  test.each<[string, () => string[], RegExp]>([
    [
      'sehwag without a classifier',
      () => conditional('never', '--method', 'sehwag'),
      /--method sehwag needs --sehwag-classifier: .*a reconstruction/,
    ],
    [
      'sehwag by class, of images without',
      () => sehwagOf(at('flat')),
      /flat: --sehwag-data needs the class of each image/,
    ],
    [
      'sehwag without images',
      () => conditional('never', ...sehwag.slice(0, -1)),
      /--sehwag-data is required: images by class/,
    ],
    [
      'images of other classes',
      () => sehwagOf(at('two')),
      /two: --sehwag-data has images of 2 classes, but the model has 3/,
    ],
    [
      'a discriminator of ten classes',
      () =>
        conditional(
          'never',
          '--sehwag-classifier',
          file('classifier'),
          '--sehwag-data',
          at('classes'),
          '--sehwag-discriminator',
          file('untold'),
        ),
      /--sehwag-discriminator has two classes, real and synthetic; this one has 10/,
    ],
    ['data that is none', () => sehwagOf(file('base')), /base\.safetensors/],
    [
      'attributes without a classifier',
      () => args('never', '--method', 'attributes'),
      /--method attributes needs --attributes-classifier: .*a reconstruction/,
    ],
  ])('%s: refused, and nothing is left', refused)
})

describe('mistakes', () => {
  const by =
    (name: string, ...more: string[]) =>
    (): string[] =>
      args('never', ...guided, file(name), ...more)
  test.each<[string, () => string[], RegExp]>([
    [
      'the method without a classifier',
      () => args('never', '--method', 'minority-guided'),
      /--method minority-guided needs --minority-classifier: /,
    ],
    ['a file that is not there', by('nothing'), /cannot read .*nothing\.safetensors/],
    ['a U-Net', by('base'), /base\.safetensors: a U-Net, but --minority-classifier takes a classifier/],
    [
      'a classifier of another schedule',
      by('linear'),
      /linear\.safetensors: a classifier of the noise "linear, 1000 steps", but the model draws with "cosine, 1000 steps"/,
    ],
    [
      'a classifier of another T',
      by('longer'),
      /of the noise "cosine, 4000 steps", but the model draws with "cosine, 1000 steps": train/,
    ],
    [
      'a class classifier of another schedule',
      () => args('never', '--classifier', file('linear'), '--target', '1'),
      /linear\.safetensors: a classifier of the noise "linear/,
    ],
    ['a classifier of grey images', by('grey'), /takes 1 channels, but the model draws 3: does it read the features/],
    ['a classifier of larger images', by('larger'), /takes 16 x 16 pixels, but the model draws 8 x 8/],
    ['a class-conditional one for a model without classes', by('by-class'), /needs a model with the same classes/],
    ['a missing extractor', by('on-features'), /reads the features of extractor\.safetensors: --extractor FILE/],
    [
      'another extractor',
      by('on-features', '--extractor', file('other-extractor')),
      /was trained on the features of extractor\.safetensors \(sha256 [0-9a-f]{64}\), but .*other-extractor\.safetensors is another file/,
    ],
    [
      'an extractor of other features',
      by('on-features', '--extractor', file('larger')),
      /larger\.safetensors: takes 16 x 16 pixels/,
    ],
    [
      'an extractor for a classifier of pixels',
      by('minority', '--extractor', file('extractor')),
      /takes 3x8x8, but the features of .* are 64x4x4/,
    ],
    [
      'a level that does not exist',
      by('minority', '--minority-target', '10'),
      /the classifier's levels are 0 to 9, the last the rarest; found 10/,
    ],
    ['a range beyond the levels', by('minority', '--minority-target', '5-10'), /found 10/],
    [
      'a range backwards',
      by('minority', '--minority-target', '9-5'),
      /from the smaller level to the larger, found "9-5"/,
    ],
    [
      'a level that is no number',
      by('minority', '--minority-target', 'rare'),
      /expected a level \(99\), a range of them \(90-99\) or rarest, found "rare"/,
    ],
    ['tilted to a target', by('minority', '--minority-tilt', '--minority-target', '9'), /give one of them/],
    [
      'tilted without thresholds',
      by('untold', '--minority-tilt'),
      /--minority-tilt needs the thresholds of its levels/,
    ],
    [
      'tilted by a threshold of 0',
      by('zero', '--minority-tilt'),
      /takes the logarithm of the thresholds, and the first is 0/,
    ],
    [
      'a level that one of the classes does not have',
      () => conditional('never', ...guided, file('uneven'), '--minority-target', '4'),
      /--minority-target: the levels of a class that is asked for are 0 to 3, the last the rarest; found 4/,
    ],
    [
      'different numbers of levels without classes',
      by('uneven-told-nothing'),
      /classes have different numbers of them: it needs a class-conditional model and --labels/,
    ],
    [
      'tilted for a class without images',
      () =>
        conditional('never', '--minority-classifier', file('by-class'), '--minority-tilt').map((arg) =>
          arg === '2,0' ? '1' : arg,
        ),
      /has no thresholds for class 1/,
    ],
    ['metadata that cannot be read', by('broken'), /broken\.safetensors: its metadata "minority" does not say/],
    ['levels that are not the classes', by('eight'), /says it has 8 minority levels, but its network has 10 classes/],
    [
      'a scale that is no number',
      by('minority', '--minority-scale', 'much'),
      /--minority-scale: expected a number, found "much"/,
    ],
    [
      'two samplers',
      () => args('never', '--method', 'ddim', '--sampler', 'ancestral'),
      /--method ddim is the sampler ddim/,
    ],
    [
      'self-guidance and none',
      () => args('never', '--self-guided=false', '--guide-weight', '1'),
      /--self-guided=false contradicts --guide-\*/,
    ],
    [
      'a preset of an extractor that is not given',
      by('minority', '--extractor-preset', '64x64_classifier'),
      /--extractor-preset is about --extractor FILE, which is not given/,
    ],
  ])('%s: refused, and nothing is left', refused)

  test('what has no effect is said', async () => {
    const { err } = await tweedie(
      args('noted', '--minority-scale', '3', '--eta', '0.5', '--sehwag-alpha', '1').map((arg, i, all) =>
        all[i - 1] === '--respacing' ? '2' : arg,
      ),
    )
    expect(err.join('\n')).toMatch(
      /note: --eta has no effect without --sampler ddim[\s\S]*note: --minority-scale has no effect without --minority-classifier[\s\S]*note: --sehwag-alpha has no effect/,
    )
  })
})

async function refused(_: string, argv: () => string[], message: RegExp): Promise<void> {
  const { code, out, err } = await tweedie(argv())
  const said = err.filter((line) => !/^(note: |Computing on |Loading )/.test(line))
  expect(said.join('\n')).toMatch(message)
  expect({ code, out, lines: said.length, left: existsSync(at('never')) }).toEqual({
    code: 1,
    out: [],
    lines: 1,
    left: false,
  })
}
