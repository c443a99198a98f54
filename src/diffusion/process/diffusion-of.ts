import { TweedieError, unexpected } from '../../errors.ts'
import type { DiffusionProcess, DiffusionSettings, ModelConfig } from '../../nn/config.ts'
import { refuseUnknown } from '../../refuse.ts'
import { GaussianDiffusion } from './gaussian-diffusion.ts'
import type { Respacing } from './respace.ts'

/** A network and what it was trained with, as `describeModel` and `preset` tell them. */
export interface DescribedProcess {
  readonly config: ModelConfig
  readonly diffusion?: DiffusionSettings
}

/** Options of {@link diffusionOf}. */
export interface DiffusionOfOptions {
  /** Steps to walk the process in: `50`, `'ddim50'`, `'10,15,20'`; see `spaceTimesteps`. Default: all T. */
  readonly respacing?: Respacing
}

/**
 * The process that a model is drawn from, with everything it was trained with (guided-diffusion
 * `create_gaussian_diffusion`), so that nobody types a schedule a second time: a wrong one draws noise, and nothing
 * says so.
 *
 * ```ts
 * const description = describeModel(checkpoint)
 * const diffusion = diffusionOf(description, { respacing: 50 })
 * ```
 *
 * @throws TweedieError 'option' where the description does not say how the model was trained, and for a respacing that
 *   is none
 */
export function diffusionOf(description: DescribedProcess, options: DiffusionOfOptions = {}): GaussianDiffusion {
  refuseUnknown('diffusionOf', options, { respacing: true })
  if (description?.config === undefined)
    throw unexpected('diffusionOf', "a model's description", description, 'describeModel(checkpoint) makes one.')
  const { respacing } = options
  return new GaussianDiffusion({ ...processOf(description), ...(respacing !== undefined && { respacing }) })
}

/**
 * What of a description its process is made from. A U-Net with twice the channels of its images has a variance head,
 * LEARNED_RANGE; one without takes FIXED_LARGE, or FIXED_SMALL where `sigmaSmall` says so. A classifier's outputs are
 * no channels of an image: there `learnSigma` tells. {@link diffusionOf} makes the process itself.
 *
 * @throws TweedieError 'option' where nothing is known of the training
 */
export function processOf({ config, diffusion }: DescribedProcess): DiffusionProcess {
  if (!diffusion)
    throw new TweedieError(
      'option',
      'The model file does not say what process the network was trained with: give describeModel a preset, or ' +
        'the schedule and the steps to GaussianDiffusion yourself.',
    )
  const { schedule, diffusionSteps, rescaleTimesteps, meanType = 'epsilon', learnSigma, sigmaSmall } = diffusion
  const head = config.kind === 'unet' ? config.outChannels === 2 * config.inChannels : learnSigma
  return {
    schedule,
    diffusionSteps,
    rescaleTimesteps,
    meanType,
    varianceType: head ? 'learnedRange' : sigmaSmall ? 'fixedSmall' : 'fixedLarge',
  }
}
