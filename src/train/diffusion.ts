import {
  areaDownsample,
  GaussianDiffusion,
  trainingLosses,
  UniformSampler,
  type LossType,
  type ScheduleSampler,
} from '../diffusion/index.ts'
import { checkSteps } from '../diffusion/process/per-sample.ts'
import { isReplayable } from '../diffusion/process/replayable.ts'
import { TweedieError } from '../errors.ts'
import type { UNet } from '../nn/index.ts'
import {
  hostRandomUniform,
  liveOf,
  now,
  randomNormal,
  splitSeed,
  type Device,
  type Live,
  type Tensor,
} from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import type { Draw, Task } from './trainer.ts'

/**
 * The streams of the generator that training a diffusion model or a classifier draws from; samples are numbered by
 * their place in the run.
 */
export const trainPurposes = {
  noise: purposes.trainNoise,
  timestep: purposes.trainTimestep,
  dropout: purposes.trainDropout,
} as const

/** Images of one batch, [N, C, H, W] in [-1, 1], and their classes. */
export interface TrainImages {
  readonly images: Float32Array
  readonly labels?: Int32Array
}

/** Options of {@link diffusionTask}. */
export interface DiffusionTaskOptions {
  readonly model: UNet
  readonly diffusion: GaussianDiffusion
  /** Images number `first` to `first + count - 1` of an endless stream. */
  readonly load: (first: number, count: number, signal?: AbortSignal) => Promise<TrainImages>
  readonly seed: number
  /** Of a super-resolution U-Net: the side of the small pictures, which are made of the images by areas. */
  readonly smallSize?: number
  /** Default `'mse'`. */
  readonly lossType?: LossType
  /** Default: uniform. */
  readonly scheduleSampler?: ScheduleSampler
}

/** A batch of {@link diffusionTask}: images, the number of the first in the run, and a timestep for each. */
export interface DiffusionDraw extends Draw, TrainImages {
  readonly first: number
  readonly t: readonly number[]
}

/** Names of the quarters of the process, in the log and in evaluations: q0 is the first, of the least noise. */
export const quartiles = ['q0', 'q1', 'q2', 'q3'] as const

/** Which quarter of the steps each timestep is in, 0 to 3. */
export const quartilesOf = (t: readonly number[], steps: number): number[] => t.map((k) => Math.floor((4 * k) / steps))

/**
 * What chooses the timesteps of the samples of a run from number `first` on: numbers in [0, 1), one a sample and call.
 */
export function timestepChoices(seed: number, first: number): () => number {
  let sample = first
  return () => hostRandomUniform({ seed: splitSeed(seed), draw: 0, purpose: trainPurposes.timestep }, [sample++], 1)[0]
}

/** The numbers of a batch's samples in the run. */
export const numbersOf = ({ first, t }: { readonly first: number; readonly t: readonly number[] }): number[] =>
  t.map((_, i) => first + i)

/** A second stage is trained beside small pictures, and nothing else is. */
export function checkSmallSize(name: string, { config }: UNet, smallSize: number | undefined): void {
  if (config.superResolution === (smallSize !== undefined)) return
  throw new TweedieError(
    'option',
    config.superResolution
      ? `${name}: a super-resolution U-Net needs smallSize, the side of the small pictures it is given.`
      : `${name}: smallSize is for super-resolution U-Nets, and this one draws by itself.`,
  )
}

/**
 * The {@link Task} of training a diffusion model (guided-diffusion image_train.py): timesteps from the schedule
 * sampler, noise from the counter-based generator, and the process's own losses. Dropout is the network's, and classes
 * are told where it takes any.
 *
 * ```ts
 * const load = (first, count) => trainingBatch(set, first, count, { size: 32, channels: 3, seed: 1 })
 * const task = diffusionTask(device, { model, diffusion, load, seed: 1 })
 * const trainer = new Trainer(device, task, { batch: 128, steps: 100_000, lr: 1e-4, emaRates: [0.9999] })
 * ```
 */
export function diffusionTask(
  device: Device,
  {
    model,
    diffusion,
    load,
    seed,
    smallSize,
    lossType,
    scheduleSampler = new UniformSampler(diffusion.steps),
  }: DiffusionTaskOptions,
): Task<TrainImages, DiffusionDraw> {
  const {
    config: { inChannels, imageSize, numClasses, dropout },
  } = model
  checkSmallSize('diffusionTask', model, smallSize)
  return {
    parameters: model.parameters,
    groups: quartiles,
    async load(first, count, signal) {
      const loaded = await load(first, count, signal)
      // Images of twice the side would pass for four times as many.
      if (loaded.images.length !== count * inChannels * imageSize ** 2) {
        throw new TweedieError(
          'shape',
          `load: ${count} images of [${inChannels}, ${imageSize}, ${imageSize}], the size of the model's, are ` +
            `${count * inChannels * imageSize ** 2} numbers, found ${loaded.images.length}.`,
        )
      }
      return loaded
    },
    draw({ images, labels }, first) {
      const count = images.length / (inChannels * imageSize ** 2)
      const { t, weights } = scheduleSampler.sample(count, timestepChoices(seed, first))
      checkSteps(diffusion, t, count)
      return { images, ...(labels ? { labels } : {}), first, t, weights, groups: quartilesOf(t, diffusion.steps) }
    },
    replayable: diffusion.constructor === GaussianDiffusion && isReplayable(model),
    losses(given) {
      const draw = given as Live<DiffusionDraw>
      const { labels, t } = now(draw)
      const n = t.length
      const samples = device.tensor(liveOf(draw, numbersOf), [n], 'u32')
      const xStart = device.tensor(
        liveOf(draw, ({ images }) => images),
        [n, inChannels, imageSize, imageSize],
      )
      const noise = randomNormal(samples, {
        seed: splitSeed(seed),
        draw: 0,
        purpose: trainPurposes.noise,
        shape: xStart.shape.slice(1),
      })
      const inputs = {
        ...(smallSize !== undefined ? { lowRes: areaDownsample(xStart, smallSize) } : {}),
        ...(numClasses !== null && labels ? { y: liveOf(draw, ({ labels: y }) => y ?? []) } : {}),
        ...(dropout > 0
          ? { dropout: { p: dropout, seed: splitSeed(seed), purpose: trainPurposes.dropout, samples } }
          : {}),
      }
      const { loss, ...terms } = trainingLosses(
        diffusion,
        (x: Tensor, timesteps) => model.forward(x, timesteps, inputs),
        xStart,
        liveOf(draw, ({ t: steps }) => steps),
        noise,
        lossType ? { lossType } : {},
      )
      return { loss, terms }
    },
    observe: (draw, losses) => scheduleSampler.update?.(draw.t, losses),
    save: () => scheduleSampler.save?.() ?? null,
    restore: (saved) => scheduleSampler.restore?.(saved),
  }
}
