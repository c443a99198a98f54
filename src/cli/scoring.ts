/** Minority scores of samples as they are drawn: in the reference's 100 steps, at the schedule's default strength. */
import { minorityScore, scoreProcess, type Denoiser, type Distance } from '../diffusion/index.ts'
import type { Tensor } from '../tensor/index.ts'
import type { ProcessSettings } from '../tweedie/settings.ts'

export type Scorer = (denoiser: Denoiser, images: Tensor, samples: readonly number[]) => Promise<Float32Array>

/** Scores batches of images [N, C, H, W]; `samples` are their numbers in the run, on which their noise depends. */
export function scorer({ clipDenoised, ...process }: ProcessSettings, { seed, distance }: { readonly seed: number; readonly distance: Distance }): Scorer {
  const { diffusion, t } = scoreProcess(process)
  return async (denoiser, images, samples) => {
    using scores = minorityScore(diffusion, denoiser, images, { t, distance, seed, samples, clipDenoised })
    return scores.read()
  }
}
