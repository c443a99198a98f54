/**
 * The minority score (Um et al., ICLR 2024, Eq. 7; spec D.1; minority-guidance `construct_ms_dataset.py`): how far an
 * image is from its own Tweedie reconstruction after being noised to one fixed strength. The network is trained on what
 * is common, so what it does not give back is rare: high means minority.
 */
import { TweedieError } from '../errors.ts'
import type { NoiseSchedule } from '../nn/config.ts'
import { add, div, randomNormal, splitSeed, type Tensor } from '../tensor/index.ts'
import type { Distance } from './distance.ts'
import type { DenoisedOptions, Denoiser, GaussianDiffusion } from './gaussian-diffusion.ts'
import { purposes } from './noise.ts'

/** The reference scores in a process of 100 steps, whatever the sampler uses. */
export const scoreRespacing = '100'

/**
 * The index of those 100 steps at which the strengths of the two schedules match (alphaBar about 0.02): 90 for cosine,
 * 60 for linear. 60 is the reference's own default, published for a linear model.
 */
export const scoreIndex: { readonly [K in NoiseSchedule]: number } = { cosine: 90, linear: 60 }

export interface MinorityScoreOptions extends Pick<DenoisedOptions, 'clipDenoised'> {
  /** Respaced index of the noise strength; see {@link scoreIndex}. */
  readonly t: number
  readonly distance: Distance
  /** Noise draws averaged for each image. Default 1. */
  readonly draws?: number
  readonly seed: number
  /** Index of each image in the whole run: its noise depends on it and on nothing else of the batch. */
  readonly samples: readonly number[]
}

/**
 * Scores of `xStart` [N, C, H, W] in [-1, 1]: [N]. Estimates are clipped unless `clipDenoised` is false, as in the
 * reference. Enqueues only; reading the result waits.
 */
export function minorityScore(diffusion: GaussianDiffusion, denoiser: Denoiser, xStart: Tensor, options: MinorityScoreOptions): Tensor {
  const { t, distance, draws = 1, seed, samples, clipDenoised = true } = options
  if (!Number.isInteger(t) || t < 0 || t >= diffusion.steps) throw new TweedieError('option', `The score's step is an index from 0 to ${diffusion.steps - 1}, found ${t}.`)
  if (!Number.isInteger(draws) || draws < 1) throw new TweedieError('option', `The score averages 1 draw or more, found ${draws}.`)
  const { device, shape } = xStart
  return device.scope(() => {
    const index = device.tensor(samples, [samples.length], 'u32')
    const scores = Array.from({ length: draws }, (_, draw) => device.scope(() => {
      const noise = randomNormal(index, { seed: splitSeed(seed), draw, purpose: purposes.score, shape: shape.slice(1) })
      const x = diffusion.qSample(xStart, t, noise)
      return distance(xStart, diffusion.predXStart(diffusion.run(denoiser, x, t), x, t, { clipDenoised }))
    }))
    return div(scores.reduce(add), draws)
  })
}
