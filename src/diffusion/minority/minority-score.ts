import { TweedieError, unexpected } from '../../errors.ts'
import type { NoiseSchedule } from '../../nn/config.ts'
import { refuseUnknown } from '../../refuse.ts'
import { add, div, randomNormal, splitSeed, type Tensor } from '../../tensor/index.ts'
import { purposes } from '../../tensor/purposes.ts'
import { processOf, type DescribedProcess } from '../process/diffusion-of.ts'
import type { DenoiserLike } from '../process/denoiser.ts'
import { checkDistance, measured, type Distance } from '../guidance/distance.ts'
import { GaussianDiffusion, type DenoisedOptions, type DiffusionOptions } from '../process/gaussian-diffusion.ts'

/** The reference scores in a process of 100 steps, whatever the sampler uses. */
export const scoreRespacing = '100'

/**
 * The index of those 100 steps at which the strengths of the two schedules match (alphaBar about 0.02): 90 for cosine,
 * 60 for linear. 60 is the reference's own default, published for a linear model.
 */
export const scoreIndex: { readonly [K in NoiseSchedule]: number } = { cosine: 90, linear: 60 }

/** The same as a fraction of T: 0.9 and 0.6. */
const scoreFraction = (schedule: NoiseSchedule): number => scoreIndex[schedule] / Number(scoreRespacing)

/** Where images are scored: the process, and the index in it. */
export interface ScoreProcess {
  readonly diffusion: GaussianDiffusion
  readonly t: number
}

/** An index of the 100 steps, or a fraction of T. */
export type ScoreStep = { readonly index: number } | { readonly fraction: number }

/**
 * The process in which images are scored and the step in it, as the reference has them: a process of T steps is walked
 * in 100, whatever the sampler uses, and the step is an index of those: index 60 of a linear process of 1000 is its
 * step 605, not 60. A fraction f of T means the index nearest to f * 100, so 0.9 is index 90 (step 908 of 1000), and
 * the default is 0.9 for a cosine schedule, 0.6 for a linear one. A process of fewer steps than 100 is scored in its
 * own. `process`: a model's description, as `describeModel` tells it, or the process's options.
 *
 * @throws TweedieError 'option' for an index outside the process or a fraction outside [0, 1]
 */
export function scoreProcess(
  process: Omit<DiffusionOptions, 'respacing'> | DescribedProcess,
  given?: ScoreStep,
): ScoreProcess {
  const options = 'config' in process ? processOf(process) : process
  const step = given ?? { fraction: scoreFraction(options.schedule) }
  if (typeof step !== 'object' || !('fraction' in step || 'index' in step))
    throw unexpected('scoreProcess', 'a step { index } of the 100, or { fraction } of T', step)
  const steps = Math.min(Number(scoreRespacing), options.diffusionSteps)
  if ('fraction' in step && !(step.fraction >= 0 && step.fraction <= 1))
    throw new TweedieError('option', `The score's step is a fraction of T from 0 to 1, found ${step.fraction}.`)
  const t = 'index' in step ? step.index : Math.min(steps - 1, Math.round(step.fraction * steps))
  checkStep(t, steps)
  return { diffusion: new GaussianDiffusion({ ...options, respacing: String(steps) }), t }
}

function checkStep(t: number, steps: number): void {
  if (!Number.isInteger(t) || t < 0 || t >= steps)
    throw new TweedieError('option', `The score has the steps 0 to ${steps - 1}, found ${t}.`)
}

/** Options of {@link tweedieReconstruction}. */
export interface ReconstructionOptions extends Pick<DenoisedOptions, 'clipDenoised'> {
  /** Respaced index of the noise strength; see {@link scoreProcess}. */
  readonly t: number
  /** Which draw of the noise. Default 0. */
  readonly draw?: number
  readonly seed: number
  /** Index of each image in the whole run: its noise depends on it and on nothing else of the batch. */
  readonly samples: readonly number[]
  /** One class an image, if and only if the network is class-conditional. */
  readonly y?: ArrayLike<number>
}

const reconstructing = { t: true, seed: true, samples: true, y: true, clipDenoised: true } as const

/**
 * What the network makes of `xStart` [N, C, H, W] noised to step `t`: E[x_0 | x_t] by Tweedie's formula, clipped unless
 * `clipDenoised` is false.
 */
export function tweedieReconstruction(
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  xStart: Tensor,
  options: ReconstructionOptions,
): Tensor {
  refuseUnknown('tweedieReconstruction', options, { draw: true, ...reconstructing })
  const { t, draw = 0, seed, samples, y, clipDenoised = true } = options
  checkStep(t, diffusion.steps)
  const { device, shape } = xStart
  // One draw would be broadcast, and every image had the same.
  if (samples?.length !== shape[0])
    throw new TweedieError(
      'option',
      `samples are the numbers of the images in the run, one for each of the ${shape[0]}, found ` +
        `${samples?.length ?? 'none'}.`,
    )
  return device.scope(() => {
    const index = device.tensor(samples, [samples.length], 'u32')
    const noise = randomNormal(index, { seed: splitSeed(seed), draw, purpose: purposes.score, shape: shape.slice(1) })
    const x = diffusion.qSample(xStart, t, noise)
    return diffusion.predXStart(diffusion.run(model, x, t, y), x, t, { clipDenoised })
  })
}

/** Options of {@link minorityScore}. */
export interface MinorityScoreOptions extends Omit<ReconstructionOptions, 'draw'> {
  /** Between an image and its reconstruction; the paper's is LPIPS with VGG. */
  readonly distance: Distance
  /** Noise draws averaged for each image. Default 1: the paper found it enough; its code takes 5. */
  readonly draws?: number
}

/**
 * The minority score (Um et al., ICLR 2024, Eq. 7; minority-guidance construct_ms_dataset.py) of `xStart` [N, C, H, W]
 * in [-1, 1]: [N], the mean over draws of distance(x_0, E[x_0 | x_t]). How far an image is from its own Tweedie
 * reconstruction after being noised to one fixed strength: the network is trained on what is common, so what it does
 * not give back is rare, and high means minority. Estimates are clipped unless `clipDenoised` is false, as in the
 * reference. With class labels `y` it is the class-conditional score (Eq. 16). Enqueues only; reading the result waits.
 */
export const minorityScore = (
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  xStart: Tensor,
  options: MinorityScoreOptions,
): Tensor => xStart.device.scope(() => scoreAndReconstruct(diffusion, model, xStart, options).scores)

/** {@link minorityScore}, and the reconstruction of the first draw [N, C, H, W]. */
export function scoreAndReconstruct(
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  xStart: Tensor,
  options: MinorityScoreOptions,
): { scores: Tensor; reconstruction: Tensor } {
  refuseUnknown('minorityScore', options, { distance: true, draws: true, ...reconstructing })
  checkDistance(options.distance)
  const { distance, draws = 1, ...each } = options
  if (!Number.isInteger(draws) || draws < 1)
    throw new TweedieError('option', `The score averages 1 draw or more, found ${draws}.`)
  const { device } = xStart
  return device.scope(() => {
    const restore = (draw: number): Tensor => tweedieReconstruction(diffusion, model, xStart, { ...each, draw })
    const reconstruction = restore(0)
    const scores = Array.from({ length: draws }, (_, draw) =>
      device.scope(() => measured(distance, xStart, draw === 0 ? reconstruction : restore(draw))),
    )
    return { scores: div(scores.reduce(add), draws), reconstruction }
  })
}
