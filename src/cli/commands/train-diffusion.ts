/** `tweedie train diffusion`: a diffusion model from a set of images. */
import { fitImages } from '../options/data.ts'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  commonSize,
  contactSheet,
  encodePng,
  evenlySpaced,
  imageBatch,
  imagesOf,
  trainingBatch,
  type Image,
  type ImageSet,
} from '../../data/index.ts'
import {
  areaDownsample,
  createNamedScheduleSampler,
  diffusionOf,
  encodeMarginal,
  GeneratedNoise,
  lossTypeOf,
  MarginalFit,
  sample,
  superResolutionDenoiser,
} from '../../diffusion/index.ts'
import { openCheckpoint, openFile, writeFileAtomic } from '../../io/index.node.ts'
import type { Tensor } from '../../tensor/index.ts'
import { aCount, aNumber, aText, anyOf, fieldsOf, listOf, oneOf, optional } from '../../io/json.ts'
import { configMetadata, initializeParameters, parameterCount, planOf, stateDictOf, UNet } from '../../nn/index.ts'
import {
  diffusionTask,
  evaluateDiffusion,
  quartiles,
  Trainer,
  trainingMemoryOf,
  type Evaluation,
  type TrainImages,
} from '../../train/index.ts'
import { parseArguments, type Command } from '../arguments.ts'
import { attentionBefore } from '../options/attention.ts'
import { diffusionTrainingDepartures, sayDepartures } from '../sampling/departures.ts'
import { computedOn, onDevice } from '../options/device.ts'
import { htmlTable } from '../pages/html.ts'
import { networkFrom, networkOf, networkOptions } from '../options/network.ts'
import { choice, integer } from '../option.ts'
import { inputsOf } from '../outputs.ts'
import { progress } from '../progress.ts'
import { checkFrom, openFrom, parametersFrom } from '../training/train-from.ts'
import { lookAt } from '../training/train-images.ts'
import { claimRun, resumeRun, trainToEnd, type TrainRun } from '../training/train-run.ts'
import { imageOptions, runSettings, trainOptions } from '../options/training.ts'
import { openTrainingData } from '../training/train-data.ts'
import { trainPage, type Curve } from '../pages/train-page.ts'
import { print, tell } from '../print.ts'

const options = {
  ...imageOptions,
  ...trainOptions,
  ...networkOptions,
  'schedule-sampler': choice(['uniform', 'loss-second-moment'], { help: 'how steps are chosen', default: 'uniform' }),
  'evaluate-on': integer({
    value: 'N',
    help:
      'images on which each checkpoint is evaluated, of the held-out part of --select and of the ' +
      'training images alike; 0: none',
    default: '512',
  }),
  samples: integer({
    value: 'N',
    max: 256,
    help: 'samples drawn at each checkpoint with the last average, 50 steps of DDIM; 0: none',
    default: '16',
  }),
}

/** An evaluation as it is kept with the run. */
export interface Review {
  readonly step: number
  readonly images: number
  readonly average: string
  readonly heldOut?: Evaluation
  readonly train: Evaluation
}

const isEvaluation = fieldsOf({
  images: aCount,
  mse: aNumber,
  vb: aNumber,
  mseByQuartile: listOf(anyOf(oneOf(null), aNumber)),
})
const isReview = fieldsOf({
  step: aCount,
  images: aCount,
  average: aText,
  train: isEvaluation,
  heldOut: optional(isEvaluation),
})

export const trainDiffusion: Command<typeof options> = {
  name: 'train diffusion',
  usage: '--data PATH --images N --out DIR [options]',
  summary: 'train a diffusion model on a folder of pictures, an .npz or an IDX file',
  options,
  positionals: [0, 0],
  notes: [
    'The network is ADM (Dhariwal & Nichol, NeurIPS 2021), the losses are those of Nichol & Dhariwal, ICML 2021: ' +
      'mse is L_simple, with a variance head L_hybrid, and rescaled-kl L_vlb.',
    'The folder gets state.safetensors (to go on with --resume), model.safetensors and ema-RATE.safetensors (for ' +
      'sample and score), marginal.safetensors (for sample --marginal), log.csv, report.html and samples-STEP.png. ' +
      'A run that is killed loses the steps since its last checkpoint.',
  ],
  examples: [
    'train diffusion --data faces/ --image-size 128 --small-size 32 --images 2000000 --out runs/upsampler',
    'train diffusion --data faces/ --image-size 64 --images 2000000 --augment flip --out runs/faces',
    'train diffusion --data bccd_cells_32.npz --select split.json --num-channels 32 --channel-mult 2,2,2 ' +
      '--augment symmetries --images 200000 --lr 5e-4 --ema 0.999 --out runs/cells',
  ],
  async run(argv, session) {
    const args = parseArguments(trainDiffusion, argv)
    const { signal, requestDevice } = onDevice(session, args)
    const settings = runSettings(args)
    const { seed, out, train } = settings
    await using _ = await claimRun('train diffusion', settings, inputsOf(args))
    const { set, heldOut } = await openTrainingData(args, signal)
    await using from = await openFrom(args, signal)
    const data = { size: commonSize(set), channels: set.channels, classes: set.classes?.length ?? null }
    const { config, diffusion: process } =
      (from && networkFrom(args, from, data)) ?? (await networkOf(args, data, await attentionBefore(settings, signal)))
    if (from) checkFrom(from, config)
    // A model that is trained on stays what it was made as.
    const preset = args.get('preset') ?? from?.description?.preset
    const crop = args.get('crop')
    fitImages(set, { size: config.imageSize, crop }, 2)
    const augment = args.get('augment')
    const scheduleSampler = args.get('schedule-sampler')
    sayDepartures(
      diffusionTrainingDepartures(args.get('preset'), { batch: train.batch, lr: train.lr, scheduleSampler }),
    )
    const evaluateOn = args.get('evaluate-on')
    const sampleCount = args.get('samples')
    const smallSize = args.get('small-size')
    const second = smallSize === undefined ? {} : { smallSize }

    await lookAt([set, heldOut], signal, out)

    using device = await requestDevice({ need: trainingMemoryOf(config, train), signal })
    tell(
      `${set.length.toLocaleString('en')} ` +
        `images${heldOut ? `, ${heldOut.length.toLocaleString('en')} held out` : ''}; ` +
        `${parameterCount(stateDictOf(planOf(config))).toLocaleString('en')} parameters; ${computedOn(device)}`,
    )
    using model = new UNet(
      config,
      from ? await parametersFrom(device, from, config, signal) : initializeParameters(device, planOf(config), seed),
    )
    const diffusion = diffusionOf({ config, diffusion: process })
    const shape = { size: config.imageSize, channels: config.inChannels as 1 | 3 }
    const task = diffusionTask(device, {
      model,
      diffusion,
      seed,
      ...second,
      lossType: lossTypeOf(process),
      load: (first, count, signal) => trainingBatch(set, first, count, { ...shape, augment, seed, crop }, signal),
      scheduleSampler: createNamedScheduleSampler(scheduleSampler, diffusion.steps),
    })
    using trainer = new Trainer(device, task, train)
    const run = {
      data: set.fingerprint,
      crop,
      augment,
      seed,
      scheduleSampler,
      ...train,
      ...second,
      ...configMetadata(config, process),
      ...(from && { from: from.sha256 }),
      adapter: device.backend.kind === 'cpu' ? device.adapter.architecture : device.backend.kind,
    }
    const average = trainer.optimizer.emas.at(-1)
    const evaluated = new UNet(config, average ?? model.parameters)

    // Reviews take no more than a step's memory, which is what was asked for.
    const atOnce = Math.min(train.batch, train.microbatch ?? train.batch)
    /** Samples of the last review, as a picture. */
    let drawn: Uint8Array | null = null
    const sheetOf = (step: number): string => join(out, `samples-${String(step).padStart(6, '0')}.png`)
    const review = async (step: number): Promise<Review | undefined> => {
      // A second stage begins in noise.
      if (smallSize === undefined)
        await writeMarginal(
          join(out, 'marginal.safetensors'),
          {
            data: set.fingerprint,
            ...shape,
            count: Math.min(set.length * (augment === 'none' ? 1 : 8), marginalImages),
            load: (first, count) => trainingBatch(set, first, count, { ...shape, augment, seed, crop }, signal),
          },
          signal,
        )
      let found: Review | undefined
      if (evaluateOn > 0) {
        const on = (images: ImageSet): Promise<Evaluation> => {
          const chosen = evenlySpaced(images.length, evaluateOn)
          const load = (first: number, count: number): Promise<TrainImages> =>
            imageBatch(images, chosen.slice(first, first + count), shape, signal)
          return evaluateDiffusion(device, {
            model: evaluated,
            diffusion,
            seed,
            ...second,
            signal,
            batch: atOnce,
            count: chosen.length,
            load,
          })
        }
        found = {
          step,
          images: step * train.batch,
          average: average ? `ema-${train.emaRates!.at(-1)!}` : 'model',
          train: await on(set),
          ...(heldOut ? { heldOut: await on(heldOut) } : {}),
        }
      }
      if (sampleCount > 0) {
        drawn = await sheet()
        await writeFileAtomic(sheetOf(step), [drawn], { signal })
      }
      return found
    }
    /** Of images that training does not see, where there are any. */
    const smallPictures = async (
      samples: readonly number[],
      side: number,
    ): Promise<{ lowRes: Tensor; labels: Int32Array | undefined }> => {
      const of = heldOut ?? set
      const chosen = evenlySpaced(of.length, sampleCount)
      const { images, labels } = await imageBatch(
        of,
        samples.map((k) => chosen[k % chosen.length]),
        shape,
        signal,
      )
      using large = device.tensor(images, [samples.length, config.inChannels, config.imageSize, config.imageSize])
      return { lowRes: areaDownsample(large, side), labels }
    }
    const sheet = async (): Promise<Uint8Array> => {
      const respaced = diffusionOf({ config, diffusion: process }, { respacing: Math.min(50, process.diffusionSteps) })
      const pictures: Image[] = []
      while (pictures.length < sampleCount) {
        const samples = Array.from(
          { length: Math.min(atOnce, sampleCount - pictures.length) },
          (_, k) => pictures.length + k,
        )
        const y = config.numClasses === null ? undefined : samples.map((k) => k % config.numClasses!)
        using noise = new GeneratedNoise(device, {
          seed,
          samples,
          shape: [config.inChannels, config.imageSize, config.imageSize],
        })
        const small = smallSize === undefined ? null : await smallPictures(samples, smallSize)
        using lowRes = small?.lowRes
        const denoiser = lowRes ? superResolutionDenoiser(evaluated, lowRes, y && small?.labels) : evaluated
        using x = await sample(respaced, denoiser, { noise, ...(y && !lowRes && { y }), method: 'ddim', signal })
        const values = await x.read()
        if (!values.every(Number.isFinite))
          tell('note: samples hold values that are no numbers, which the sheet shows black.')
        pictures.push(...imagesOf(values, x.shape))
      }
      return encodePng(contactSheet(pictures))
    }

    const trained: TrainRun = {
      trainer,
      settings,
      run,
      images: set.origin?.set ?? set,
      formerRun: { data: set.formerFingerprint },
      classNames: (config.numClasses === set.classes?.length && set.classes) || null,
      metadata: {
        ...configMetadata(config, process),
        ...(preset !== undefined && { preset }),
      },
      review,
      isReview,
      page: () =>
        trainPage({
          title: 'Training a diffusion model',
          trainer,
          run,
          ...reviewed(trainer.evaluations as Review[], drawn),
        }),
    }
    await resumeRun(trained, signal)
    drawn = await readFile(sheetOf(trainer.reviewed)).catch(() => null)
    await trainToEnd(trained, signal)
    print(
      `${join(out, 'report.html')}; sample and score take ` +
        `${join(out, average ? `ema-${train.emaRates!.at(-1)!}.safetensors` : 'model.safetensors')}`,
    )
  },
}

/** Images to which the marginal is fitted: mean and covariance of 192 numbers need no more. */
const marginalImages = 4096

/**
 * Fits the Gaussian from which `sample --marginal` starts to the first images of the training, where that of these
 * data is not there yet.
 */
async function writeMarginal(
  path: string,
  {
    data,
    size,
    channels,
    count,
    load,
  }: {
    data: string
    size: number
    channels: number
    count: number
    load(first: number, count: number): Promise<TrainImages>
  },
  signal: AbortSignal,
): Promise<void> {
  if ((await dataOf(path)) === data) return
  const fit = new MarginalFit(size, channels)
  const bar = progress('Fitting the marginal', count, 'images')
  try {
    for (let first = 0; first < count; first += 64) {
      signal.throwIfAborted()
      fit.add((await load(first, Math.min(64, count - first))).images)
      bar.update(Math.min(first + 64, count))
    }
  } finally {
    bar.stop()
  }
  await writeFileAtomic(path, encodeMarginal(fit.result(), data), { signal })
}

/** Of which images the marginal at `path` is; null where there is none that can be read. */
async function dataOf(path: string): Promise<string | null> {
  const file = await openFile(path)
    .then(openCheckpoint)
    .catch(() => null)
  await file?.close()
  return file?.metadata.data ?? null
}

/** The squared error of every checkpoint, what the last one's was by quartile, and samples. */
function reviewed(all: readonly Review[], samples: Uint8Array | null): { curves: Curve[]; body: string } {
  const sheet = samples
    ? '<h2>Samples</h2><img alt="samples of the last average" ' +
      `src="data:image/png;base64,${Buffer.from(samples).toString('base64')}">`
    : ''
  const last = all.at(-1)
  // A run that went on with other averages has evaluations of both, which make no curve.
  const reviews = all.filter(({ average }) => average === last?.average)
  if (!last) return { curves: [], body: sheet }
  const lines = [
    { name: 'training images', y: reviews.map(({ train }) => train.mse) },
    ...(last.heldOut ? [{ name: 'held-out images', y: reviews.map(({ heldOut }) => heldOut?.mse ?? null) }] : []),
  ]
  const sets = [last.train, ...(last.heldOut ? [last.heldOut] : [])]
  const row = (name: string, pick: (of: Evaluation) => number | null | undefined): string[] => [
    name,
    ...sets.map((of) => pick(of)?.toPrecision(4) ?? ''),
  ]
  const rows = [
    ['images', ...sets.map(({ images }) => String(images))],
    row('mse', ({ mse }) => mse),
    row('vb', ({ vb }) => vb),
    ...quartiles.map((q, i) => row(`mse ${q}`, ({ mseByQuartile }) => mseByQuartile[i])),
  ]
  return {
    curves: [
      {
        title: `mse of ${last.average}, on the same images, steps and noise every time`,
        label: 'mse',
        log: true,
        x: reviews.map(({ images }) => images),
        lines,
      },
    ],
    body:
      `<h2>Evaluation after ${last.images.toLocaleString('en')} images</h2>` +
      `${htmlTable(rows, ['', 'training', ...(last.heldOut ? ['held out'] : [])])}\n${sheet}`,
  }
}
