/** `tweedie train features`: a small feature net from a set of images, for `--distance features` and `memorization`. */
import { fitImages } from '../options/data.ts'
import { join } from 'node:path'
import { classCounts, commonSize, trainingBatch, type ImageSet } from '../../data/index.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { aCount, aNumber, anyOf, fieldsOf, listOf, oneOf, optional, valuesOf } from '../../io/json.ts'
import { evaluateFeatures, type FeatureEvaluation } from '../../metrics/index.ts'
import { FeatureNet, featureNetMetadata, loadViT, type FeatureNetConfig } from '../../nn/index.ts'
import {
  dinoFeatureNet,
  DinoTask,
  dinoViT,
  encodeModel,
  FeatureTask,
  featureTrainingMemoryOf,
  Trainer,
  trainingMetadata,
  viewDefaults,
  viTTrainingMemoryOf,
  type Task,
} from '../../train/index.ts'
import { fail, parseArguments, type Arguments, type Command } from '../arguments.ts'
import { counted } from '../counted.ts'
import { computedOn, onDevice } from '../options/device.ts'
import { htmlTable } from '../pages/html.ts'
import { readingWithProgress } from '../files.ts'
import { choice, integer, integers, number } from '../option.ts'
import { inputsOf } from '../outputs.ts'
import { trainPage } from '../pages/train-page.ts'
import { checkFeaturesFrom, featuresFrom, isHead, openFrom, patchOf } from '../training/train-from.ts'
import { lookAt } from '../training/train-images.ts'
import { claimRun, resumeRun, trainToEnd, type TrainRun } from '../training/train-run.ts'
import { imageOptions, largestRate, runSettings, trainOptions, type RunSettings } from '../options/training.ts'
import { openTrainingData } from '../training/train-data.ts'
import { print, tell } from '../print.ts'

const options = {
  ...imageOptions,
  augment: {
    ...imageOptions.augment,
    help: 'how views are turned. flip: left and right; symmetries: the eight of the square',
    default: 'symmetries',
  },
  ...trainOptions,
  microbatch: {
    ...trainOptions.microbatch,
    help: "images at a time, which are contrasted with each other only; their gradients are added up to the batch's",
  },
  objective: choice(['contrast', 'dino'], {
    help:
      'contrast: tell the views of a picture from those of others, and the classes; dino: answer to one view what a ' +
      'teacher, the average of the net itself, answers to another, without classes (Caron et al. 2021)',
    default: 'contrast',
  }),
  from: {
    ...trainOptions.from,
    help: `${trainOptions.from.help}; with dino also a vision transformer, dino_deitsmall16_pretrain.pth say`,
  },
  lr: { ...trainOptions.lr, help: 'learning rate; with dino and --from a tenth of the default', default: '1e-3' },
  ema: {
    ...trainOptions.ema,
    help: `${trainOptions.ema.help}; with dino none by default: the teacher is one`,
    default: '0.99',
  },
  'image-size': integer({
    value: 'S',
    min: 16,
    max: 1024,
    help: 'side of the pictures the net sees, 16 or more',
    otherwise: "the pictures' own, where it is the same for all",
  }),
  channels: integers({ value: '24,48,64,96', help: 'channels of its stages', default: '24,48,64,96' }),
  'class-weight': number({
    value: 'X',
    min: 0,
    help: 'weight of telling the classes beside the contrast; 0: without classes',
    otherwise: '1 where there are classes',
  }),
  temperature: number({
    value: 'X',
    min: 1e-3,
    help: "of the contrast, or of dino's student",
    otherwise: '0.2; with dino 0.1',
  }),
  'teacher-temperature': number({
    value: 'X',
    min: 1e-3,
    help: "of dino's teacher: lower, so sharper",
    default: '0.04',
  }),
  'teacher-momentum': number({
    value: '0..1',
    min: 0,
    max: 1,
    help: "of the teacher's weights at the start; it rises to 1",
    default: '0.996',
  }),
  'local-views': integer({
    value: 'N',
    max: 32,
    help: 'of a picture, small squares of half its side, beside its two global views',
    default: '4',
  }),
  jitter: number({
    value: 'X',
    min: 0,
    max: 1,
    help:
      'largest change of brightness, contrast and colour between two views of a picture: ' +
      'what a distance is to forgive',
    default: String(viewDefaults.jitter),
  }),
}

export interface FeatureReview extends FeatureEvaluation {
  readonly step: number
}

const orNull = anyOf(oneOf(null), aNumber)
const isReview = fieldsOf({
  step: aCount,
  images: aCount,
  recalls: optional(listOf(orNull)),
  balancedAccuracy: optional(aNumber),
  anotherPicture: orNull,
  relative: valuesOf(orNull),
})

export const trainFeatures: Command<typeof options> = {
  name: 'train features',
  usage: '--data DATA --images N --out DIR [options]',
  summary: 'train a small feature net: a perceptual distance and a feature space of your own',
  options,
  positionals: [0, 0],
  notes: [
    'Two views of a picture, turned, cropped and changed in colour a little, are to lie nearer to each ' +
      'other than to other pictures, and a linear layer is to tell the classes. --distance features ' +
      '--features DIR/features.safetensors then measures with the net, and memorization looks for nearest ' +
      'neighbours in its features.',
    "With --objective dino no class is looked at, and the features are the teacher's. A feature space of your own " +
      'for measures of rarity begins, as in the paper on MRI, from a published DINO (--from), on pictures whose side ' +
      'is a multiple of its patch.',
    'The folder gets features.safetensors (the last average, or the teacher), and the files of every training: ' +
      'state.safetensors (to go on with --resume), log.csv, report.html. With --select the held-out part is what ' +
      'checkpoints are evaluated on.',
  ],
  examples: [
    'train features --data bccd_cells_32.npz --select split.json --images 100000 --batch 64 --lr 2e-3 --warmup ' +
      '50 --anneal 1 --ema 0.99 --out runs/features',
    'train features --objective dino --from dino_deitsmall16_pretrain.pth --data mri/ --image-size 224 --images ' +
      '100000 --out runs/dino',
  ],
  async run(argv, session) {
    const args = parseArguments(trainFeatures, argv)
    const { signal, requestDevice } = onDevice(session, args)
    const objective = objectiveOf(args)
    const dino = objective === 'dino'
    const settings = runSettings(args, {
      ...(dino && { emaRates: [] }),
      // As the paper fine-tunes DINO.
      ...(dino && args.has('from') && { lr: args.get('lr') / 10 }),
    })
    const { seed, out, train } = settings
    await using _ = await claimRun('train features', settings, inputsOf(args))
    if (!dino && Math.min(train.batch, train.microbatch ?? train.batch) < 2)
      fail('--batch: pictures are contrasted with the others of their batch, so at least 2 are needed.')
    const channels = args.get('channels')
    if (channels.some((c) => c < 1)) fail('--channels: expected whole numbers of 1 or more.')
    const { set, heldOut } = await openTrainingData(args, signal)
    const size = args.get('image-size') ?? commonSide(set)
    fitImages(set, { size, crop: 'center' }, 2)
    if (heldOut) fitImages(heldOut, { size, crop: 'center' })
    const crop = args.get('crop')

    await using from = await openFrom(args, signal)
    const patch = dino && from ? patchOf(from) : null
    if (patch !== null && size % patch !== 0)
      fail(`--image-size: the network of --from sees patches of ${patch} pixels, of which ${size} is no multiple.`)
    const config: FeatureNetConfig = { inChannels: patch === null ? set.channels : 3, channels }
    if (from && patch === null) checkFeaturesFrom(from, config)
    await lookAt([set, heldOut], signal, out)

    const views = { augment: args.get('augment'), jitter: args.get('jitter') }
    const localViews = args.get('local-views')
    const localSize = patch === null ? Math.max(16, size >> 1) : Math.max(patch, (size - (size % (2 * patch))) / 2)
    const [area, pictures] = [localSize ** 2 / size ** 2, Math.min(train.batch, train.microbatch ?? train.batch)]
    // Views of a picture, two of which are those that a contrast has.
    const seen = dino ? (2 + localViews * area) / 2 : 1
    using device = await requestDevice({
      need:
        patch !== null && from
          ? viTTrainingMemoryOf(from.checkpoint, { batch: pictures * seen, size, patch })
          : featureTrainingMemoryOf(config, { batch: Math.ceil(train.batch * seen), size }),
      signal,
    })
    const source = {
      size,
      seed,
      load: (first: number, count: number, signal?: AbortSignal) =>
        trainingBatch(set, first, count, { size, channels: config.inChannels, crop, seed }, signal),
    }
    const classWeight = args.get('class-weight') ?? 1
    const counts = classWeight > 0 ? classCounts(set) : []
    const described = dino
      ? {
          objective,
          ...(patch === null && { config }),
          ...{ size, localViews, localSize, ...views },
          // Where pictures are as small as those of our own net, how large a thing is tells what it is.
          ...(patch === null && { globalArea: [0.6, 1] as const, localArea: [0.3, 0.6] as const }),
          temperature: args.get('temperature') ?? 0.1,
          teacherTemperature: args.get('teacher-temperature'),
          momentum: args.get('teacher-momentum'),
        }
      : {
          config,
          size,
          classWeight,
          classCounts: counts.filter((count) => count > 0).length > 1 ? counts : [],
          augment: views.augment,
          temperature: args.get('temperature') ?? 0.2,
          jitter: views.jitter,
        }
    const network = async () =>
      from && patch !== null
        ? dinoViT(
            await readingWithProgress(`Beginning from ${from.path}`, from.checkpoint, (onProgress) =>
              loadViT(device, from.checkpoint, undefined, { signal, onProgress }),
            ),
          )
        : dinoFeatureNet(device, config, seed)
    using features =
      'objective' in described
        ? new DinoTask(device, {
            ...described,
            ...source,
            network: await network(),
            images: train.steps * train.batch,
          })
        : new FeatureTask(device, { ...described, ...source })
    if (from && patch === null) {
      await featuresFrom(from, features.parameters, signal)
      if (features instanceof DinoTask) features.copyTeacher()
    }
    const shapes = [...features.parameters].filter(([key]) => !isHead(key)).map(([, { shape }]) => shape)
    tell(
      `${set.length.toLocaleString('en')} ` +
        `images${heldOut ? `, ${heldOut.length.toLocaleString('en')} held out` : ''}; ` +
        `${shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0).toLocaleString('en')} ` +
        'parameters; ' +
        computedOn(device),
    )
    if (features instanceof DinoTask) noteTeacher(settings, args.get('teacher-momentum'), from !== null)
    using trainer = new Trainer(device, features as Task, train)
    const run = {
      kind: patch === null ? 'features' : 'vit',
      data: set.fingerprint,
      crop,
      seed,
      ...train,
      ...described,
      ...(from && { from: from.sha256 }),
      adapter: device.backend.kind === 'cpu' ? device.adapter.architecture : device.backend.kind,
    }
    const shown =
      features instanceof DinoTask ? features.teacher : (trainer.optimizer.emas.at(-1) ?? trainer.optimizer.parameters)
    const weights = new Map([...shown].filter(([key]) => !isHead(key)))
    const averaged = patch === null ? new FeatureNet(config, weights) : null
    const reviews = (): FeatureReview[] => trainer.evaluations as FeatureReview[]
    const metadata = patch === null ? featureNetMetadata(config, size) : { kind: 'vit' }
    const trained: TrainRun = {
      trainer,
      settings,
      run,
      images: set.origin?.set ?? set,
      formerRun: { data: set.formerFingerprint },
      classNames: (!dino && classWeight > 0 && set.classes) || null,
      metadata,
      isReview,
      review: async (step) =>
        heldOut && averaged
          ? { step, ...(await evaluateFeatures(device, averaged, set, heldOut, { size, signal })) }
          : undefined,
      page: () =>
        trainPage({
          title: 'Training a feature net',
          trainer,
          run,
          body: evaluationTable(reviews(), set.classes ?? []),
        }),
    }
    await resumeRun(trained, signal)
    await trainToEnd(trained, signal)
    const last = reviews().at(-1)
    const file = join(out, 'features.safetensors')
    await writeFileAtomic(
      file,
      await encodeModel(weights, {
        ...metadata,
        ...trainingMetadata(trainer, run, file, last && { evaluation: last }),
      }),
      { signal },
    )
    if (last) print(evaluationText(last, set.classes ?? []))
    print(`${join(out, 'report.html')}; ${patch === null ? '--features takes' : 'the teacher is'} ${file}`)
  },
}

/** What is learned; options of the other objective are refused, not passed over. */
function objectiveOf(args: Arguments<typeof options>): 'contrast' | 'dino' {
  const objective = args.get('objective')
  const others =
    objective === 'dino'
      ? (['class-weight'] as const)
      : (['teacher-temperature', 'teacher-momentum', 'local-views'] as const)
  for (const name of others)
    if (args.has(name)) fail(`--${name} is for --objective ${objective === 'dino' ? 'contrast' : 'dino'}.`)
  return objective
}

/**
 * Says so where the teacher of a short run stays what it began as: half of what the momentum lacks of 1 is its mean.
 */
function noteTeacher({ train: { steps } }: RunSettings, momentum: number, begun: boolean): void {
  const left = momentum ** (steps / 2)
  if (left <= 0.01) return
  tell(
    `note: after ${counted(steps, 'step')} ${(100 * left).toFixed(0)} % of the teacher are still ` +
      `${begun ? 'what it begins with' : 'the first, random weights'}: take a --teacher-momentum of at most ` +
      `${largestRate(steps / 2)}.`,
  )
}

/** Width and height of all pictures, where they have one. */
function commonSide(set: ImageSet): number {
  const side = commonSize(set)
  if (side === null)
    return fail(
      `${set.name}: the pictures are not all squares of one size: --image-size says which one the net is to see.`,
    )
  return side < 16
    ? fail(`${set.name}: the pictures have ${side} x ${side} pixels, and a feature net needs 16 or more.`)
    : side
}

/** A class or a distance that nothing was held out for has none. */
const figure = (value: number | null | undefined): string => value?.toPrecision(3) ?? '–'

function evaluationTable(reviews: readonly FeatureReview[], classes: readonly string[]): string {
  if (reviews.length === 0) return ''
  const names = Object.keys(reviews[0].relative)
  const rows = reviews.map(({ step, balancedAccuracy, recalls, relative }) => [
    String(step),
    figure(balancedAccuracy),
    ...classes.map((_, c) => figure(recalls?.[c])),
    ...names.map((name) => figure(relative[name])),
  ])
  return `<h2>On held-out images</h2>
<p>Accuracy of the majority of the 5 nearest training images in the features, all classes counting equally, and by class; median distances, as parts of the distance to another picture of the class.</p>
${htmlTable(rows, ['step', '5 neighbours', ...classes, ...names])}`
}

const evaluationText = (
  { images, balancedAccuracy, recalls, relative }: FeatureReview,
  classes: readonly string[],
): string =>
  [
    ...(balancedAccuracy === undefined
      ? []
      : [
          `5 nearest neighbours, ${counted(images, 'held-out image')}: balanced accuracy ` +
            `${figure(balancedAccuracy)} ` +
            `(${classes.map((name, c) => `${name} ${figure(recalls?.[c])}`).join(', ')})`,
        ]),
    `median distances, in that to another picture of the class: ${Object.entries(relative)
      .map(([name, value]) => `${name} ${figure(value)}`)
      .join(', ')}`,
  ].join('\n')
