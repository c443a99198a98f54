/**
 * The recipe `images`, for anyone's folder: the settings that image-settings.ts picks, as a recipe like the others,
 * with what was picked beside each stage and why. A few steps of training are measured first; what was measured is kept
 * in recipe.json, so that the same command picks the same again.
 */
import { centerCrop, type ImageSet } from '../../data/index.ts'
import { diffusionOf } from '../../diffusion/index.ts'
import {
  Classifier,
  initializeParameters,
  memoryOf,
  parameterCount,
  planOf,
  stateDictOf,
  UNet,
  type ModelConfig,
  type UNetConfig,
} from '../../nn/index.ts'
import type { DiffusionSettings } from '../../nn/index.ts'
import { classifierTask, diffusionTask, Trainer, trainingMemoryOf, type Draw, type Task } from '../../train/index.ts'
import type { Device } from '../../tensor.ts'
import { together } from '../../tweedie/need.ts'
import { parseArguments } from '../arguments.ts'
import { classifierNetworkOf } from '../options/classifier.ts'
import { networkOf } from '../options/network.ts'
import {
  imageSettings,
  secondsText,
  speedKey,
  type Candidate,
  type ImageSettings,
  type ImageWishes,
  type Speed,
} from '../recipes/image-settings.ts'
import { asked, ours, published, QIN, TABLE, wire, type Recipe, type Setting } from '../recipes/recipes.ts'
import type { Session } from '../session.ts'
import { shrunkRecord } from './shrink.ts'
import { trainClassifier } from './train-classifier.ts'
import { trainDiffusion } from './train-diffusion.ts'
import { tell } from '../print.ts'

export const imagesAbout = {
  name: 'images',
  about: 'a folder of your own, with settings picked for it and for --hours',
  data: 'a folder of 14 images or more, or an .npz',
} as const

/** What recipe.json keeps: images a second in training, by size and width of the network. */
export interface Measured {
  /** What computed. */
  readonly on: string
  /** Decoded and scaled a second, where the images are files. */
  readonly pixelsPerSecond?: number
  readonly imagesPerSecond: Readonly<Record<string, Speed>>
}

export type Augment = 'none' | 'flip' | 'symmetries'

export interface ImagesRecipe {
  readonly recipe: Recipe
  readonly settings: ImageSettings
  readonly measured: Measured
}

/** Measures what `before` does not say, and picks. `session` has the device that the stages will have. */
export async function imagesRecipe(
  set: ImageSet,
  wishes: ImageWishes & { readonly augment?: Augment },
  before: Measured | null,
  session: Session,
): Promise<ImagesRecipe> {
  const sizes = Array.from({ length: set.length }, (_, i) => set.sizeOf(i))
  const pixelsPerSecond = before?.pixelsPerSecond ?? (set.files && (await measureReading(set, session.signal)))
  const facts = {
    count: set.length,
    side: sizes.reduce((least, { width, height }) => Math.min(least, width, height), Infinity),
    reading:
      pixelsPerSecond === undefined
        ? 0
        : sizes.reduce((sum, { width, height }) => sum + width * height, 0) / pixelsPerSecond + writing * sizes.length,
  }
  const speeds = new Map(Object.entries(before?.imagesPerSecond ?? {}))
  let on = before?.on ?? ''
  for (;;) {
    const found = imageSettings(facts, wishes, speeds)
    if (!('measure' in found)) {
      const measured = {
        on,
        ...(pixelsPerSecond !== undefined && { pixelsPerSecond }),
        imagesPerSecond: Object.fromEntries(speeds),
      }
      return { settings: found, measured, recipe: await recipeOf(set, found, wishes, measured) }
    }
    const { speed, adapter } = await measure(set, found.measure, session)
    speeds.set(speedKey(found.measure), speed)
    on = adapter
  }
}

/** The network in guided-diffusion's words: levels down to maps of 7 or 8, or the last before. */
function networkOptions({
  size,
  width,
}: Candidate): Readonly<Record<'diffusion' | 'classifier', Readonly<Record<string, Setting>>>> {
  let [levels, smallest] = [1, size]
  for (; smallest % 2 === 0 && smallest / 2 >= 7; levels++) smallest /= 2
  const mult = (first: number, rest: number): string => [first, ...new Array<number>(levels - 1).fill(rest)].join()
  const small = mult(2, 2)
  const network = {
    small: [
      ours(32, 'with factors of 2: 64 channels at every level'),
      ours(small, 'fewer than 64 channels lose the mean of a picture in group norms'),
      ours(1, 'as the shipped weights, for a CPU'),
    ],
    medium: [
      ours(64, 'twice as wide below the first level: the images and the time are there'),
      ours(mult(1, 2), 'guided-diffusion doubles them, too'),
      ours(1, 'for a CPU or a small GPU'),
    ],
    large: [published(128, QIN), ours(mult(1, 2), 'as Qin et al., on the levels there are'), published(2, QIN)],
  }[width] as [Setting, Setting, Setting]
  const attention = ours(smallest, 'the smallest level')
  return {
    diffusion: {
      'image-size': ours(size, `as large as the time allows: ${size} x ${size} pixels`),
      'num-channels': network[0],
      'channel-mult': network[1],
      'num-res-blocks': network[2],
      'attention-resolutions': attention,
      'num-head-channels': ours(32, 'as the shipped weights'),
      predict: ours('v', 'epsilon gets colours wrong long after it gets shapes right: weights/bccd32-adm.md'),
    },
    classifier: {
      'classifier-width': ours(32, 'as published for CIFAR-10'),
      'classifier-channel-mult': ours(small, '64 channels at every level'),
      'classifier-depth': ours(1, 'for a CPU'),
      'classifier-attention-resolutions': attention,
      'classifier-head-channels': ours(32, 'two heads'),
    },
  }
}

const GUIDED = 'guided-diffusion, image_datasets.py'

const argvOf = (options: Readonly<Record<string, Setting>>): string[] =>
  Object.entries(options).flatMap(([name, { value }]) => (value === '' ? [`--${name}`] : [`--${name}`, value]))

interface Networks {
  readonly config: UNetConfig & { readonly kind: 'unet' }
  readonly process: DiffusionSettings
  readonly classifier: ReturnType<typeof classifierNetworkOf>['config']
}

/** The networks that the stages will train. */
async function networksOf({ channels }: ImageSet, candidate: Candidate, levels: number): Promise<Networks> {
  const options = networkOptions(candidate)
  const data = { size: candidate.size, channels, classes: null }
  const { config, diffusion: process } = await networkOf(
    parseArguments(trainDiffusion, argvOf(options.diffusion)),
    data,
  )
  const { config: classifier } = classifierNetworkOf(parseArguments(trainClassifier, argvOf(options.classifier)), {
    model: { config, diffusion: process },
    extractor: null,
    data,
    outputs: levels,
  })
  return { config, process, classifier }
}

/** Images at a time while measuring: a CPU takes as long for each in any batch, a GPU wants many. */
const batches = { cpu: 8, webgpu: 32 }

/** Seconds of writing a small file safely. */
const writing = 0.005

/** Decodes and scales the first images, for half a second. */
async function measureReading(set: ImageSet, signal: AbortSignal): Promise<number> {
  const begun = performance.now()
  let [pixels, passed] = [0, 0]
  for (let i = 0; i < set.length && passed < 500; i++) {
    const { width, height } = set.sizeOf(i)
    centerCrop(await set.read(i, signal), Math.min(width, height, 32))
    pixels += width * height
    passed = performance.now() - begun
  }
  return Math.ceil((1000 * pixels) / Math.max(passed, 1))
}

/** Trains both networks for a moment, on noise: the images are small by then, and reading them takes no time. */
async function measure(
  set: ImageSet,
  candidate: Candidate,
  { signal, requestDevice }: Session,
): Promise<{ speed: Speed; adapter: string }> {
  const { size } = candidate
  const { config, process, classifier: classifierConfig } = await networksOf(set, candidate, 10)
  const most = Math.max(1, Math.min(32, Math.floor(2 ** 17 / size ** 2)))
  using device = await requestDevice({
    need: together([
      trainingMemoryOf(config, { batch: most, steps: 1, lr: 1, emaRates: [0] }),
      memoryOf(classifierConfig, { batch: most, parameters: true }),
    ]),
    signal,
  })
  tell(`Measuring how fast this machine trains at ${size} x ${size} (${device.adapter.name})`)
  const batch = Math.min(most, batches[device.backend.kind] ?? 32)
  const diffusion = diffusionOf({ config, diffusion: process })
  const load = async (_: number, count: number): Promise<{ images: Float32Array }> => ({
    images: Float32Array.from({ length: count * config.inChannels * size ** 2 }, (_, i) => Math.sin(i)),
  })
  using unet = new UNet(config, initializeParameters(device, planOf(config), 0))
  using classifier = new Classifier(classifierConfig, initializeParameters(device, planOf(classifierConfig), 0))
  return {
    adapter: device.adapter.name,
    speed: {
      diffusion: await speedOf(device, diffusionTask(device, { model: unet, diffusion, load, seed: 0 }), batch, signal),
      classifier: await speedOf(
        device,
        classifierTask(device, {
          classifier,
          diffusion,
          seed: 0,
          load: async (first, count) => ({
            images: (await load(first, count)).images,
            labels: new Array<number>(count).fill(0),
          }),
        }),
        batch,
        signal,
      ),
    },
  }
}

/**
 * Milliseconds that are measured, after a step that starts everything: shorter, and what else the machine does decides.
 */
const measuring = 2_500

/** By the median step, which one that was held up does not move. */
async function speedOf<B, D extends Draw>(
  device: Device,
  task: Task<B, D>,
  batch: number,
  signal: AbortSignal,
): Promise<number> {
  using trainer = new Trainer(device, task, { batch, steps: 1_000_000, lr: 1e-6, emaRates: [0.5] })
  await trainer.next(signal)
  const steps: number[] = []
  for (let passed = 0; steps.length < 2 || passed < measuring; passed += steps.at(-1)!) {
    const begun = performance.now()
    await trainer.next(signal)
    steps.push(performance.now() - begun)
  }
  const median = steps.sort((a, b) => a - b)[steps.length >> 1]
  return Number(((1000 * batch) / median).toPrecision(3))
}

/** Weights, two moments and an average in the state; weights and the average beside it. */
const diskOf = ({ config, classifier }: Networks): number => 4 * (6 * numbersIn(config) + 4 * numbersIn(classifier))
const numbersIn = (config: ModelConfig): number => parameterCount(stateDictOf(planOf(config)))

async function recipeOf(
  set: ImageSet,
  settings: ImageSettings,
  { hours, size: asSize, augment: asAugment }: ImageWishes & { readonly augment?: Augment },
  { on, imagesPerSecond }: Measured,
): Promise<Recipe> {
  const { size, width, trained, heldOut, images, batch, steps, ema, levels, seconds, number, respacing } = settings
  const networks = networkOptions(settings)
  const looks = Math.round(images / trained)
  const speed = imagesPerSecond[speedKey(settings)]
  const augment =
    asAugment === undefined
      ? published('flip', `${GUIDED}; --augment none for writing, symmetries where there is no up`)
      : ours(asAugment, '--augment')
  const total = Object.values(seconds).reduce((a, b) => a + b)
  const megabytes =
    Math.ceil((diskOf(await networksOf(set, settings, levels)) + 3 * number * size ** 2 * 8) / 2 ** 20) + 5
  const model = `{out}/diffusion/ema-${ema}.safetensors`
  const takes = (command: keyof typeof seconds): string => `about ${secondsText(seconds[command])}`
  // Photos are decoded once, not for every batch of every stage.
  const shrunk = set.files?.some(({ width, height }) => width !== size || height !== size)
  const data = wire(shrunk ? '{out}/images' : '{data}')
  const training = { data, select: wire('{out}/split.json') }
  const drawn = { model: wire('{model}'), lpips: ours('{lpips}', 'instead of L2') }
  return {
    name: 'images',
    about:
      `${set.length.toLocaleString('en')} images${set.channels === 1 ? ', grey' : ''}, ` +
      `at ${size} x ${size} pixels`,
    data: imagesAbout.data,
    model,
    asks: { target: ours('rarest', `of ${levels} levels`) },
    plan: [
      `${on} trains ${speed.diffusion} of these images a second. All stages take about ${secondsText(total)} of ` +
        `the ${secondsText(3600 * hours)} given, and ${megabytes} MB of disk.`,
      ...(settings.capped
        ? [
            `More time would be of no use: after ${looks.toLocaleString('en')} looks at each image a network ` +
              'learns them by heart. More images would be.',
          ]
        : []),
    ],
    stages: [
      ...(shrunk
        ? [
            {
              command: 'shrink' as const,
              positionals: ['{data}'],
              output: `{out}/images/${shrunkRecord}`,
              takes: takes('shrink'),
              options: { 'image-size': ours(size, 'as below; large files are decoded once'), out: data },
            },
          ]
        : []),
      {
        command: 'select',
        positionals: [data.value],
        output: '{out}/split.json',
        takes: takes('select'),
        options: {
          'hold-out': ours(settings.holdOut, `${heldOut} images: memorization compares the samples with them`),
          seed: asked('seed'),
          out: wire('{out}/split.json'),
        },
      },
      {
        command: 'train diffusion',
        output: model,
        takes: takes('train diffusion'),
        options: {
          ...training,
          ...networks.diffusion,
          ...(asSize !== undefined && { 'image-size': ours(size, '--size') }),
          dropout:
            settings.dropout > 0
              ? published(settings.dropout, `${QIN}; each image is seen ${looks} times`)
              : ours(0, `each image is seen ${looks} times`),
          images: ours(images, `what fits into 0.6 of the time: each image ${looks} times`),
          batch: ours(batch, batch === 8 ? 'small, for as many steps as can be' : 'for 2,000 steps or more'),
          ...(settings.microbatch < batch && { microbatch: ours(settings.microbatch, 'for memory') }),
          lr:
            width === 'small'
              ? ours(settings.lr, 'for so small a network')
              : ours(settings.lr, "between that of the shipped weights and the papers' 1e-4"),
          warmup: ours(settings.warmup, 'a twentieth of the steps; a high rate from the first step diverges'),
          anneal: ours('0.5', 'the second half, as so short a run has no time to wander'),
          ema: ours(
            ema,
            `forgets half in ${Math.round(steps / 20).toLocaleString('en')} of ${steps.toLocaleString('en')} ` +
              'steps, a twentieth; 0.9999 would remember the first, random weights',
          ),
          augment,
          'log-every': ours(settings.logEvery, 'a curve of a hundred points or more'),
          'save-every': ours(settings.saveEvery, 'every ten minutes or three times, where there is time for that'),
          'evaluate-on': ours(settings.evaluateOn, 'a twentieth of the time at most'),
          samples: ours(settings.sheet, 'the same'),
          seed: asked('seed'),
          out: wire('{out}/diffusion'),
          resume: wire(''),
        },
      },
      {
        command: 'score',
        output: '{out}/scores.json',
        takes: takes('score'),
        options: {
          ...drawn,
          ...training,
          step: ours(90, '0.9 T for cosine, as the other recipes'),
          draws: ours(settings.draws, 'as many up to 8 as there is time for; one alone is mostly chance'),
          seed: asked('seed'),
          out: wire('{out}/scores.json'),
          html: wire('{out}/scores.html'),
        },
      },
      {
        command: 'label',
        output: '{out}/labels.json',
        takes: takes('label'),
        options: {
          scores: wire('{out}/scores.json'),
          data,
          levels: ours(
            levels,
            `about ${Math.floor(trained / levels)} images a level; the papers have 100 levels of 500`,
          ),
          out: wire('{out}/labels.json'),
        },
      },
      {
        command: 'train classifier',
        output: '{out}/classifier/model.safetensors',
        takes: takes('train classifier'),
        options: {
          ...training,
          labels: wire('{out}/labels.json'),
          model: wire('{model}'),
          ...networks.classifier,
          images: ours(settings.classifierImages, 'what fits into an eighth of the time, at most 100 looks at each'),
          batch: ours(settings.classifierBatch, 'as above, at most 32'),
          lr: published('3e-4', TABLE),
          warmup: ours(
            Math.min(100, Math.ceil(settings.classifierImages / settings.classifierBatch / 20)),
            'a twentieth of the steps',
          ),
          'weight-decay': published('0.05', TABLE),
          anneal: published(1, 'minority-guidance, README.md, for LSUN'),
          augment,
          'log-every': ours(
            Math.max(1, Math.min(500, Math.floor(settings.classifierImages / settings.classifierBatch / 100))),
            'a curve of a hundred points or more',
          ),
          seed: asked('seed'),
          out: wire('{out}/classifier'),
          resume: wire(''),
        },
      },
      {
        command: 'quickstart',
        output: '{out}/drawn/report.html',
        takes: takes('quickstart'),
        options: {
          ...drawn,
          'minority-classifier': wire('{out}/classifier/model.safetensors'),
          'minority-target': asked('target'),
          steps:
            respacing === 250
              ? published(250, 'both papers')
              : ours(respacing, "of the papers' 250 what there is time for"),
          number: asked('number'),
          seed: asked('seed'),
          out: wire('{out}/drawn'),
        },
      },
      {
        command: 'memorization',
        output: '{out}/memorization/index.html',
        takes: takes('memorization'),
        options: {
          samples: wire('{out}/drawn/plain'),
          train: data,
          select: wire('{out}/split.json'),
          out: wire('{out}/memorization'),
        },
      },
    ],
    notes: [
      'The last stage says how near the samples are to training images: a model of few images can learn them by ' +
        'heart, and its samples are then theirs.',
      ...(set.classes
        ? [
            `Classes are there (${set.classes.slice(0, 6).join(', ')}${set.classes.length > 6 ? ', …' : ''}), ` +
              'and the model is not told them: levels are of all images together. docs/training.md has the steps ' +
              'for a class-conditional one.',
          ]
        : []),
    ],
  }
}
