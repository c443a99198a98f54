/** Minority scores as the reference computes them, in 100 steps, for samples and for pictures from files. */
import { GaussianDiffusion, minorityScore, scoreIndex, scoreRespacing, type Denoiser, type Distance } from '../diffusion/index.ts'
import type { Tensor } from '../tensor/index.ts'
import { fail } from './arguments.ts'
import type { ProcessSettings } from './options.ts'

export interface ScoreOptions {
  /** Index of the 100 steps; default: the schedule's. */
  readonly step?: number
  readonly draws?: number
  readonly seed: number
  readonly distance: Distance
}

export type Scorer = (denoiser: Denoiser, images: Tensor, samples: readonly number[]) => Promise<Float32Array>

/** Scores batches of images [N, C, H, W]; `samples` are their numbers in the run, on which their noise depends. */
export function scorer(process: ProcessSettings, varianceType: 'learnedRange' | 'fixedSmall', { step, draws = 1, seed, distance }: ScoreOptions): Scorer {
  // A process of fewer steps than 100 is scored in its own, at the same fraction.
  const steps = Math.min(Number(scoreRespacing), process.diffusionSteps)
  const t = step ?? Math.floor(scoreIndex[process.schedule] / Number(scoreRespacing) * steps)
  if (t >= steps) fail(`--step: the score has the steps 0 to ${steps - 1}, found ${t}.`)
  const diffusion = new GaussianDiffusion({ ...process, respacing: String(steps), varianceType })
  return async (denoiser, images, samples) => {
    using scores = minorityScore(diffusion, denoiser, images, { t, distance, draws, seed, samples })
    return scores.read()
  }
}

/** A U-Net with twice the channels of its images has a variance head; one without takes the schedule's variance. */
export const varianceTypeOf = ({ inChannels, outChannels }: { inChannels: number; outChannels: number }): 'learnedRange' | 'fixedSmall' =>
  outChannels === 2 * inChannels ? 'learnedRange' : 'fixedSmall'
