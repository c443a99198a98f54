/** Minority scores of samples as they are drawn: in the reference's 100 steps, at the schedule's default strength. */
import { minorityScore, scoreProcess, type Distance } from '../diffusion/index.ts'
import type { UNet } from '../nn/index.ts'
import type { Tensor } from '../tensor/index.ts'
import type { ProcessSettings } from './settings.ts'

/** Scores a batch; `y`: its classes. */
export type Scorer = (
  model: UNet,
  images: Tensor,
  samples: readonly number[],
  y?: readonly number[],
) => Promise<Float32Array>

/** Scores batches of images [N, C, H, W]; `samples` are their numbers in the run, on which their noise depends. */
export function scorer(
  { process, clipDenoised }: ProcessSettings,
  { seed, distance }: { readonly seed: number; readonly distance: Distance },
): Scorer {
  const { diffusion, t } = scoreProcess(process)
  return async (model, images, samples, y) => {
    using scores = minorityScore(diffusion, model, images, {
      t,
      distance,
      seed,
      samples,
      clipDenoised,
      ...(y && { y }),
    })
    return scores.read()
  }
}
