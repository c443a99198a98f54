/** The command `train classifier`: from images to guided samples, what its files say, going on, and every mistake. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { parseArguments } from '../src/cli/arguments.ts'
import { classifierNetworkOf, guidedNoise } from '../src/cli/options/classifier.ts'
import { sha256Of } from '../src/cli/files.ts'
import type { ClassifierReview } from '../src/cli/pages/classifier-page.ts'
import { trainClassifier } from '../src/cli/commands/train-classifier.ts'
import { minorityMetadata, type MinorityLabels } from '../src/diffusion/index.ts'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import { describeModel, preset, type ClassifierConfig, type ModelDescription } from '../src/nn/index.ts'
import { temporaryFolder, tensorIn, tweedie } from './cli.ts'
import { npy, npz } from './data-fixtures.ts'
import { le } from './io-fixtures.ts'
import { expectSameBits, numbers } from './op.ts'
import { base, baseOfClasses, classifier, cosine, writeModel } from './small-models.ts'

const at = temporaryFolder()
const file = (name: string): string => at(`${name}.safetensors`)
const count = 36
const data = at('cells.npz')
const labels = at('labels.json')
const labelled = (): MinorityLabels => JSON.parse(readFileSync(labels, 'utf8')) as MinorityLabels

/** Writes another labels file. */
function labelsWith(name: string, change: Partial<MinorityLabels>): string {
  writeFileSync(at(name), JSON.stringify({ ...labelled(), ...change }))
  return at(name)
}

/** Options with their values; `true`: a switch; null: left out. */
type Options = Readonly<Record<string, string | true | null>>
const words = (options: Options): string[] =>
  Object.entries(options).flatMap(([key, value]) =>
    value === null ? [] : value === true ? [`--${key}`] : [`--${key}`, value],
  )

const common = { images: '12', batch: '4', 'save-every': '2', 'evaluate-on': '4', threads: '1', backend: 'cpu' }
const small = {
  'classifier-width': '32',
  'classifier-depth': '1',
  'classifier-channel-mult': '1,2',
  'classifier-head-channels': '16',
  'classifier-attention-resolutions': '4',
}
/** A run into the folder `out`. */
const train = (out: string, options: Options = {}): string[] => [
  'train',
  'classifier',
  ...words({ data, labels, model: file('base'), ...small, ...common, out: at(out), ...options }),
]

async function run(argv: string[]): Promise<string[]> {
  const { code, err } = await tweedie(argv)
  expect(code, err.join('\n')).toBe(0)
  return err
}

async function refused(argv: string[], message: RegExp): Promise<void> {
  const { code, err } = await tweedie(argv)
  expect(err.at(-1), argv.join(' ')).toMatch(message)
  expect(code).toBe(1)
}

/** What a file of a run says of itself. */
async function saidBy(path: string): Promise<{
  metadata: Readonly<Record<string, string>>
  description: ModelDescription & { config: ClassifierConfig }
}> {
  const checkpoint = await openCheckpoint(await openFile(path))
  const { metadata } = checkpoint
  const description = describeModel(checkpoint) as ModelDescription & { config: ClassifierConfig }
  await checkpoint.close()
  return { metadata, description }
}

beforeAll(async () => {
  const images = Uint8Array.from(
    { length: count * 192 },
    (_, i) => 128 + 100 * numbers(192, Math.floor(i / 192))[i % 192],
  )
  const classes = Array.from({ length: count }, (_, i) => i % 3)
  writeFileSync(
    data,
    npz({
      images: npy('|u1', [count, 8, 8, 3], images),
      labels: npy(
        '<i4',
        [count],
        classes.flatMap((c) => le(c, 4)),
      ),
    }),
  )
  writeFileSync(
    at('others.npz'),
    npz({
      images: npy(
        '|u1',
        [count, 8, 8, 3],
        images.map((v) => 255 - v),
      ),
    }),
  )
  await writeModel(file('base'), base)
  await writeModel(file('classes'), baseOfClasses)
  await writeModel(file('extractor'), classifier, { seed: 3 })
  await writeModel(file('linear'), base, { diffusion: { ...cosine, schedule: 'linear' } })
  await writeModel(file('linear-extractor'), classifier, { diffusion: { ...cosine, schedule: 'linear' } })
  await run([
    'score',
    '--model',
    file('base'),
    '--data',
    data,
    '--distance',
    'l2',
    '--out',
    at('scores.json'),
    '--threads',
    '1',
  ])
  await run(['label', '--scores', at('scores.json'), '--levels', '3', '--out', labels])
  await run(['select', data, '--hold-out', '0.25', '--out', at('split.json')])
})

describe('from images to guided samples', () => {
  test('on pixels', async () => {
    const err = await run(
      train('pixels', {
        select: at('split.json'),
        ema: '0.5',
        'log-every': '3',
        augment: 'symmetries',
        crop: 'random',
      }),
    )
    expect(err.join('\n')).toMatch(/3 levels of .* training images, 9 held back; [\d,]+ parameters/)
    const {
      metadata,
      description: { config, diffusion },
    } = await saidBy(join(at('pixels'), 'ema-0.5.safetensors'))
    expect(config).toMatchObject({
      kind: 'classifier',
      imageSize: 8,
      inChannels: 3,
      outChannels: 3,
      modelChannels: 32,
      channelMult: [1, 2],
      attentionResolutions: [2],
      pool: 'attention',
      numClasses: null,
      resblockUpdown: true,
    })
    expect(diffusion).toMatchObject(cosine)
    expect(minorityMetadata(metadata, 'x')).toEqual({
      levels: 3,
      thresholds: labelled().thresholds,
      within: 'all',
      extractor: null,
      schedule: 'cosine',
      diffusionSteps: 1000,
      rescaleTimesteps: false,
    })
    const log = readFileSync(join(at('pixels'), 'log.csv'), 'utf8')
    expect(log.split('\n')[0]).toBe(
      'step,images,loss,loss_q0,loss_q1,loss_q2,loss_q3,acc@1,acc@1_q0,acc@1_q1,acc@1_q2,acc@1_q3,gradient_norm,lr',
    )
    const page = readFileSync(join(at('pixels'), 'report.html'), 'utf8')
    expect(page).toContain('Training a minority classifier')
    expect(page).toContain('held back')

    const state = await openCheckpoint(await openFile(join(at('pixels'), 'state.safetensors')))
    const { evaluations } = JSON.parse(state.metadata.counters) as { evaluations: ClassifierReview[] }
    await state.close()
    expect(evaluations.map(({ step, images, average }) => [step, images, average])).toEqual([
      [2, 8, 'ema-0.5'],
      [3, 12, 'ema-0.5'],
    ])
    expect(evaluations[1].heldBack?.images).toBe(4)

    await run([
      'sample',
      '--model',
      file('base'),
      '--method',
      'minority-guided',
      '--minority-classifier',
      join(at('pixels'), 'ema-0.5.safetensors'),
      '--minority-target',
      '1-2',
      '--respacing',
      '2',
      '--number',
      '2',
      '--threads',
      '1',
      '--out',
      at('drawn'),
    ])
    await run([
      'sample',
      '--model',
      file('base'),
      '--minority-classifier',
      join(at('pixels'), 'model.safetensors'),
      '--minority-tilt',
      '--respacing',
      '2',
      '--number',
      '1',
      '--threads',
      '1',
      '--out',
      at('tilted'),
    ])
  }, 180_000)

  test('on frozen features, with classes and levels within each', async () => {
    await run([
      'score',
      '--model',
      file('classes'),
      '--data',
      data,
      '--distance',
      'l2',
      '--out',
      at('scores-classes.json'),
      '--threads',
      '1',
    ])
    await run([
      'label',
      '--scores',
      at('scores-classes.json'),
      '--levels',
      '2',
      '--within',
      'class',
      '--out',
      at('labels-classes.json'),
    ])
    const onFeatures = {
      model: file('classes'),
      labels: at('labels-classes.json'),
      extractor: file('extractor'),
      'classifier-channel-mult': null,
      'classifier-attention-resolutions': null,
    }
    await run(train('features', { ...onFeatures, 'class-cond': true }))
    const path = join(at('features'), 'model.safetensors')
    const {
      metadata,
      description: { config },
    } = await saidBy(path)
    expect(config).toMatchObject({ imageSize: 4, inChannels: 64, outChannels: 2, channelMult: [1], numClasses: 3 })
    const said = minorityMetadata(metadata, 'x')
    expect(said).toMatchObject({
      within: 'class',
      extractor: { name: 'extractor.safetensors', sha256: sha256Of(readFileSync(file('extractor'))) },
    })
    expect(said?.thresholds).toHaveLength(3)
    expect((await tensorIn(path, 'label_emb.weight')).shape).toEqual([3, 128])
    await run([
      'sample',
      '--model',
      file('classes'),
      '--labels',
      '2,0',
      '--method',
      'minority-guided',
      '--minority-classifier',
      path,
      '--extractor',
      file('extractor'),
      '--respacing',
      '2',
      '--number',
      '2',
      '--threads',
      '1',
      '--out',
      at('drawn-features'),
    ])
    // Levels within classes for a model that is told none.
    const err = await run(train('untold', { ...onFeatures, images: '4', 'evaluate-on': '0' }))
    expect(err.join('\n')).toContain(
      'note: the levels were cut within each class; --class-cond tells the classifier the class.',
    )
  }, 180_000)

  test('goes on with a run that was stopped, to the same bits', async () => {
    const options = { images: '32', 'schedule-sampler': 'loss-second-moment', 'save-every': '1', 'evaluate-on': '0' }
    await run(train('whole', options))
    const state = join(at('parted'), 'state.safetensors')
    const watch = setInterval(() => existsSync(state) && process.emit('SIGINT', 'SIGINT'), 1)
    const { code } = await tweedie(train('parted', options))
    clearInterval(watch)
    expect(code, 'stopped between the first checkpoint and the end').toBe(130)
    await refused(train('parted', options), /holds a run already: --resume/)
    await refused(
      train('parted', { ...options, resume: true, augment: 'flip' }),
      /a run with other settings: augment "none", now "flip"/,
    )
    await run(train('parted', { ...options, resume: true }))
    for (const key of ['out.2.c_proj.weight', 'input_blocks.0.0.weight']) {
      const [a, b] = [
        await tensorIn(join(at('whole'), 'model.safetensors'), key),
        await tensorIn(join(at('parted'), 'model.safetensors'), key),
      ]
      expectSameBits(b.data as Float32Array, a.data as Float32Array, key)
    }
  }, 180_000)

  test("every head, and levels without BigGAN's blocks", async () => {
    for (const pool of ['adaptive', 'spatial', 'spatial_v2']) {
      await run(
        train(pool, {
          'classifier-pool': pool,
          'no-classifier-resblock-updown': true,
          'no-classifier-use-scale-shift-norm': true,
          images: '4',
          'evaluate-on': '0',
          validate: '0',
        }),
      )
      const {
        description: { config },
      } = await saidBy(join(at(pool), 'model.safetensors'))
      expect(config).toMatchObject({ pool, resblockUpdown: false, useScaleShiftNorm: false })
    }
  }, 180_000)

  test('the process by options, for labels of another one', async () => {
    const err = await run(
      train('rescaled', {
        model: null,
        schedule: 'linear',
        'diffusion-steps': '4000',
        'rescale-timesteps': true,
        images: '4',
        'evaluate-on': '0',
      }),
    )
    expect(err.join('\n')).toMatch(
      /note: .* was scored with a model of the noise "cosine, 1000 steps.*", but the classifier is to be trained on "linear, 4000 steps, rescaled"/,
    )
    const {
      metadata,
      description: { diffusion },
    } = await saidBy(join(at('rescaled'), 'model.safetensors'))
    expect(diffusion).toMatchObject({ schedule: 'linear', diffusionSteps: 4000, rescaleTimesteps: true })
    expect(minorityMetadata(metadata, 'x')).toMatchObject({
      schedule: 'linear',
      diffusionSteps: 4000,
      rescaleTimesteps: true,
    })
  })
})

describe('the published networks', () => {
  test('a trained one keeps its name', async () => {
    const images = Uint8Array.from({ length: 4 * 32 * 32 * 3 }, (_, i) => (i * 7) % 256)
    writeFileSync(
      at('cifar.npz'),
      npz({
        images: npy('|u1', [4, 32, 32, 3], images),
        labels: npy(
          '<i4',
          [4],
          [0, 1, 0, 1].flatMap((c) => le(c, 4)),
        ),
      }),
    )
    await run([
      'train',
      'classifier',
      '--of',
      'classes',
      '--data',
      at('cifar.npz'),
      '--preset',
      'mc_cifar10',
      '--images',
      '2',
      '--batch',
      '2',
      '--validate',
      '0',
      '--evaluate-on',
      '0',
      '--threads',
      '1',
      '--backend',
      'cpu',
      '--out',
      at('named'),
    ])
    const { metadata, description } = await saidBy(join(at('named'), 'model.safetensors'))
    expect([metadata.preset, description.preset, description.config.outChannels]).toEqual([
      'mc_cifar10',
      'mc_cifar10',
      2,
    ])
    // Trained on from its file, by the options of the same network.
    const network = [
      '--classifier-width',
      '32',
      '--classifier-depth',
      '2',
      '--classifier-channel-mult',
      '1,2,2,4',
      '--classifier-attention-resolutions',
      '16,8',
      '--schedule',
      'cosine',
      '--diffusion-steps',
      '4000',
      '--rescale-timesteps',
    ]
    await run([
      'train',
      'classifier',
      '--of',
      'classes',
      '--data',
      at('cifar.npz'),
      ...network,
      '--from',
      join(at('named'), 'model.safetensors'),
      '--images',
      '2',
      '--batch',
      '2',
      '--validate',
      '0',
      '--evaluate-on',
      '0',
      '--threads',
      '1',
      '--backend',
      'cpu',
      '--out',
      at('named-on'),
    ])
    expect((await saidBy(join(at('named-on'), 'model.safetensors'))).metadata.preset).toBe('mc_cifar10')
  })

  const size = { mc_celeba: 64, mc_cifar10: 32, mc_lsun: 256, mc_imagenet: 64, mc_brain_mri: 256 }
  for (const name of Object.keys(size) as (keyof typeof size)[]) {
    test(name, () => {
      const { config, diffusion, sampling } = preset(name)
      const reads = sampling.minority?.featureExtractor
      const extractor = reads ? { config: preset(reads).config as ClassifierConfig } : null
      const args = parseArguments(trainClassifier, ['--preset', name])
      const sources = {
        model: null,
        extractor,
        data: { size: null, channels: 3, classes: 1000 },
        outputs: config.outChannels,
      } as const
      const found = classifierNetworkOf(args, sources)
      expect(found).toEqual({ config, images: { size: size[name], channels: name === 'mc_brain_mri' ? 1 : 3 } })
      const { schedule, diffusionSteps, rescaleTimesteps } = diffusion
      expect(guidedNoise(args, null)).toEqual({ process: { schedule, diffusionSteps, rescaleTimesteps }, said: false })
      if (reads)
        expect(() => classifierNetworkOf(args, { ...sources, extractor: null })).toThrow(
          `reads the features of ${reads}`,
        )
      else
        expect(classifierNetworkOf(args, { ...sources, outputs: 7 }).config, "levels are the labels'").toEqual({
          ...config,
          outChannels: 7,
        })
    })
  }

  test('as many classes as published', () => {
    const extractor = { config: preset('64x64_classifier').config as ClassifierConfig }
    expect(() =>
      classifierNetworkOf(parseArguments(trainClassifier, ['--preset', 'mc_imagenet']), {
        model: null,
        extractor,
        data: { size: 64, channels: 3, classes: 10 },
        outputs: 25,
      }),
    ).toThrow('--preset mc_imagenet has 1000 classes, and the data 10')
  })
})

describe('what is refused', () => {
  const cases: [what: string, options: Options, message: RegExp][] = [
    [
      'no labels',
      { labels: null },
      /--labels is required: minority levels of the data, which tweedie score and tweedie label make/,
    ],
    ['labels that are not there', { labels: at('nowhere.json') }, /cannot read .*nowhere.json/],
    [
      'scores instead of labels',
      { labels: at('scores.json') },
      /expected minority labels of tweedie, found a file of the kind "minority-scores".*tweedie label/,
    ],
    [
      'labels of other data',
      { data: at('others.npz') },
      /labels.json was made from other images .* than .*others.npz holds/,
    ],
    ['no process', { model: null }, /--schedule is required: --model M names the diffusion model that is to be guided/],
    [
      'a model of another schedule',
      { model: file('linear') },
      /was scored with a model of the noise "cosine, 1000 steps", but the classifier is to be trained on "linear, 1000 steps": score the data with the model that is to be guided, or, if this is meant, add --schedule linear --diffusion-steps 1000/,
    ],
    ['a classifier as model', { model: file('extractor') }, /--model takes the U-Net/],
    ['a U-Net as extractor', { extractor: file('base') }, /--extractor takes an ADM classifier, found a U-Net/],
    [
      'an extractor of another schedule',
      { extractor: file('linear-extractor') },
      /a classifier of the noise "linear, 1000 steps", but the model draws with "cosine, 1000 steps"/,
    ],
    [
      'classes for a model without',
      { 'class-cond': true },
      /a class-conditional classifier of 3 classes cannot guide this model, which has no classes/,
    ],
    [
      'another size than the model draws',
      { 'image-size': '16' },
      /--image-size and --grayscale say 3x16x16, but the model draws 3x8x8/,
    ],
    [
      'widths that no norm takes',
      { 'classifier-width': '48' },
      /level 0 has .* 48 channels, but every norm has 32 groups/,
    ],
    [
      'factors that are none',
      { 'classifier-channel-mult': '1,x' },
      /--classifier-channel-mult: expected factors with commas between/,
    ],
    ['a preset of another input', { preset: 'mc_celeba' }, /--preset mc_celeba reads 3x64x64 pixels, found 3x8x8/],
    [
      'a preset of another process',
      { preset: 'mc_cifar10' },
      /--preset mc_cifar10 is trained on "cosine, 4000 steps, rescaled", but the model draws with "cosine, 1000 steps"/,
    ],
    [
      'a preset without its extractor',
      { preset: 'mc_imagenet', model: file('classes') },
      /--preset mc_imagenet reads the features of 64x64_classifier: --extractor FILE says where it is/,
    ],
    ["a U-Net's preset", { preset: 'celeba64_uncond' }, /--preset celeba64_uncond is a U-Net/],
    ['too much held back', { validate: '1' }, /--validate: expected a number from 0 to 0.9, found "1"/],
    ['no length', { images: null }, /--images says how long to train/],
    [
      'an option that is none',
      { 'classifier-depht': '2' },
      /no option --classifier-depht, did you mean "--classifier-depth"/,
    ],
  ]
  for (const [what, options, message] of cases) test(what, () => refused(train('refused', options), message))

  test('a level without an image', async () => {
    const { indices, labels } = labelled()
    const lacking = labelsWith('lacking.json', { labels: labels.map((level) => (level === 2 ? 1 : level)), indices })
    await refused(
      train('refused', { labels: lacking }),
      /level 2 of 3 has no image to train on, the levels have \d+, \d+, 0: score and label the images/,
    )
    const others = labelsWith('others.json', { indices: indices.map((i) => i + 1000) })
    await refused(train('refused', { labels: others }), /level 0 of 3 has no image to train on/)
  })

  test('classes that the data has not', async () => {
    writeFileSync(at('bare.npz'), npz({ images: npy('|u1', [2, 8, 8, 3], new Uint8Array(384)) }))
    const { code } = await tweedie([
      'score',
      '--model',
      file('base'),
      '--data',
      at('bare.npz'),
      '--distance',
      'l2',
      '--out',
      at('bare.json'),
      '--threads',
      '1',
    ])
    expect(code).toBe(0)
    const { fingerprint } = JSON.parse(readFileSync(at('bare.json'), 'utf8')) as MinorityLabels
    const bare = labelsWith('bare-labels.json', {
      fingerprint,
      levels: 2,
      thresholds: [1, 2],
      indices: [0, 1],
      labels: [0, 1],
    })
    await refused(
      train('refused', { data: at('bare.npz'), labels: bare, 'class-cond': true }),
      /needs classes: sub-folders, names with a prefix/,
    )
    await refused(
      train('refused', {
        data: at('bare.npz'),
        labels: bare,
        extractor: file('extractor'),
        model: file('classes'),
        'class-cond': true,
      }),
      /needs classes/,
    )
  })
})
