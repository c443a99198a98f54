/** Minority scores of samples as they are drawn: in the reference's 100 steps, at the schedule's default strength. */
import { minorityScore, scoreProcess, type Denoiser, type Distance } from '../diffusion/index.ts'
import type { Tensor } from '../tensor/index.ts'
import type { ProcessSettings } from './options.ts'

export type Scorer = (denoiser: Denoiser, images: Tensor, samples: readonly number[]) => Promise<Float32Array>

/** Scores batches of images [N, C, H, W]; `samples` are their numbers in the run, on which their noise depends. */
export function scorer(process: ProcessSettings, varianceType: 'learnedRange' | 'fixedSmall', { seed, distance }: { readonly seed: number; readonly distance: Distance }): Scorer {
  const { diffusion, t } = scoreProcess({ ...process, varianceType })
  return async (denoiser, images, samples) => {
    using scores = minorityScore(diffusion, denoiser, images, { t, distance, seed, samples })
    return scores.read()
  }
}

/** A U-Net with twice the channels of its images has a variance head; one without takes the schedule's variance. */
export const varianceTypeOf = ({ inChannels, outChannels }: { inChannels: number; outChannels: number }): 'learnedRange' | 'fixedSmall' =>
  outChannels === 2 * inChannels ? 'learnedRange' : 'fixedSmall'
