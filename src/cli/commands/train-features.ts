/** `tweedie train features`: a small feature net from a set of images, for `--distance features` and `memorization`. */
import { join } from 'node:path'
import { checkImages, classCounts, commonSize, trainingBatch, type ImageSet } from '../../data/index.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { aCount, aNumber, anyOf, fieldsOf, listOf, oneOf, optional, valuesOf } from '../../io/json.ts'
import { evaluateFeatures, type FeatureEvaluation } from '../../metrics/index.ts'
import {
  FeatureNet,
  featureNetMetadata,
  featureNetStateDict,
  parameterCount,
  type FeatureNetConfig,
} from '../../nn/index.ts'
import {
  encodeModel,
  FeatureTask,
  featureTrainingMemoryOf,
  Trainer,
  trainingMetadata,
  viewDefaults,
} from '../../train/index.ts'
import { fail, parseArguments, type Command } from '../arguments.ts'
import { counted } from '../counted.ts'
import { computedOn, onDevice } from '../options/device.ts'
import { htmlTable } from '../pages/html.ts'
import { integer, integers, number } from '../option.ts'
import { inputsOf } from '../outputs.ts'
import { trainPage } from '../pages/train-page.ts'
import { checkFeaturesFrom, featuresFrom, openFrom } from '../training/train-from.ts'
import { lookAt } from '../training/train-images.ts'
import { claimRun, resumeRun, trainToEnd, type TrainRun } from '../training/train-run.ts'
import { imageOptions, runSettings, trainOptions } from '../options/training.ts'
import { openTrainingData } from '../training/train-data.ts'

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
  lr: { ...trainOptions.lr, default: '1e-3' },
  ema: { ...trainOptions.ema, default: '0.99' },
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
  temperature: number({ value: 'X', min: 1e-3, help: 'of the contrast', default: '0.2' }),
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
    'The folder gets features.safetensors (the last average), and the files of every training: ' +
      'state.safetensors (to go on with --resume), log.csv, report.html. With --select the held-out part is what ' +
      'checkpoints are evaluated on.',
  ],
  examples: [
    'train features --data bccd_cells_32.npz --select split.json --images 100000 --batch 64 --lr 2e-3 --warmup ' +
      '50 --anneal 1 --ema 0.99 --out runs/features',
  ],
  async run(argv, session) {
    const args = parseArguments(trainFeatures, argv)
    const { signal, requestDevice } = onDevice(session, args)
    const settings = runSettings(args)
    const { seed, out, train } = settings
    await using _ = await claimRun('train features', settings, inputsOf(args))
    if (Math.min(train.batch, train.microbatch ?? train.batch) < 2)
      fail('--batch: pictures are contrasted with the others of their batch, so at least 2 are needed.')
    const channels = args.get('channels')
    if (channels.some((c) => c < 1)) fail('--channels: expected whole numbers of 1 or more.')
    const { set, heldOut } = await openTrainingData(args, signal)
    const size = args.get('image-size') ?? commonSide(set)
    checkImages(set, { size, crop: 'center' }, 2)
    if (heldOut) checkImages(heldOut, { size, crop: 'center' })
    const crop = args.get('crop')
    const config: FeatureNetConfig = { inChannels: set.channels, channels }
    const classWeight = args.get('class-weight') ?? 1
    const counts = classWeight > 0 ? classCounts(set) : []
    const task = {
      config,
      size,
      classWeight,
      classCounts: counts.filter((count) => count > 0).length > 1 ? counts : [],
      augment: args.get('augment'),
      temperature: args.get('temperature'),
      jitter: args.get('jitter'),
    }

    await using from = await openFrom(args, signal)
    if (from) checkFeaturesFrom(from, config)
    await lookAt([set, heldOut], signal, out)

    using device = await requestDevice({ need: featureTrainingMemoryOf(config, { batch: train.batch, size }), signal })
    console.error(
      `${set.length.toLocaleString('en')} ` +
        `images${heldOut ? `, ${heldOut.length.toLocaleString('en')} held out` : ''}; ` +
        `${parameterCount(featureNetStateDict(config)).toLocaleString('en')} parameters; ${computedOn(device)}`,
    )
    using features = new FeatureTask(device, {
      ...task,
      seed,
      load: (first, count, signal) =>
        trainingBatch(set, first, count, { size, channels: config.inChannels, crop, seed }, signal),
    })
    if (from) await featuresFrom(from, features.parameters, signal)
    using trainer = new Trainer(device, features, train)
    const run = {
      kind: 'features',
      data: set.fingerprint,
      crop,
      seed,
      ...train,
      ...task,
      ...(from && { from: from.sha256 }),
      adapter: device.backend.kind === 'cpu' ? device.adapter.architecture : device.backend.kind,
    }
    const shown = trainer.optimizer.emas.at(-1) ?? trainer.optimizer.parameters
    const weights = new Map([...featureNetStateDict(config).keys()].map((key) => [key, shown.get(key)!]))
    const averaged = new FeatureNet(config, weights)
    const reviews = (): FeatureReview[] => trainer.evaluations as FeatureReview[]
    const metadata = featureNetMetadata(config, size)
    const trained: TrainRun = {
      trainer,
      settings,
      run,
      images: set.origin?.set ?? set,
      formerRun: { data: set.formerFingerprint },
      metadata,
      isReview,
      review: async (step) =>
        heldOut ? { step, ...(await evaluateFeatures(device, averaged, set, heldOut, { size, signal })) } : undefined,
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
    if (last) console.log(evaluationText(last, set.classes ?? []))
    console.log(`${join(out, 'report.html')}; --features takes ${file}`)
  },
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
