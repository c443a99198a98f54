/**
 * The options of the samplers, and what can be said of them before a step is taken. In JavaScript a misspelled option,
 * or one of another type, would not be noticed: the samples would be plain ones, and nothing would say so.
 */
import { named, TweedieError } from '../../errors.ts'
import { refuseOther, refuseUnknown } from '../../refuse.ts'
import type { Tensor } from '../../tensor/index.ts'
import { givenTensor } from '../process/denoiser.ts'
import type { DenoisedOptions, GaussianDiffusion } from '../process/gaussian-diffusion.ts'
import type { Guidance } from '../guidance/guidance.ts'
import type { NoiseSource } from '../process/noise.ts'
import { selfGuidance, type SelfGuidanceOptions } from '../guidance/self-guidance.ts'
import { samplerNames, type Sampler } from './samplers.ts'

/** How samples are drawn: {@link SampleOptions.noise} alone is required. */
export interface SampleOptions extends DenoisedOptions {
  /** Where x_T and the steps' noise come from, and with it how many samples there are and how large they are. */
  readonly noise: NoiseSource
  /** One class a sample, if and only if the network is class-conditional. */
  readonly y?: ArrayLike<number>
  /** Default `'ancestral'`. */
  readonly method?: Sampler
  /** DDIM only: 0 is deterministic, 1 has the variance of ancestral sampling. Default 0. */
  readonly eta?: number
  /** Their gradients add up. */
  readonly guidances?: readonly Guidance[]
  /** Self-guided minority sampling, as in `{ weight: 0.4 }`. Default: none. */
  readonly selfGuidance?: SelfGuidanceOptions
  /** Boost-and-Skip: x_T is multiplied by `boost` and the first `skip` indices are left out. Default 1 and 0. */
  readonly boost?: number
  /** Indices that are left out at the beginning. Default 0. */
  readonly skip?: number
  /** Also how far guidance moves each pixel: see {@link SampleStep.push}. Default false, which costs nothing. */
  readonly pushes?: boolean
  readonly signal?: AbortSignal
}

/** What a sampler has after a step. */
export interface SampleStep {
  /** Respaced index of the step just done. */
  readonly t: number
  /** Steps done so far. */
  readonly done: number
  /** Steps in all. */
  readonly total: number
  /**
   * The state after the step, [N, C, H, W], until the next step begins: the sampler goes on from what it holds then.
   */
  readonly x: Tensor
  /** The estimate of x_0 the step was made with, until the next step begins. */
  readonly predXStart: Tensor
  /**
   * Of a step with self-guidance, the metric of the state that it began with, [N]; as long. See `selfGuidanceMetric`.
   */
  readonly metric?: Tensor
  /**
   * With `pushes`, of a step that anything guided, how far guidance moved each pixel of the mean of x_{t-1}, [N, H, W]:
   * the norm over channels, in units of x; as long.
   */
  readonly push?: Tensor
}

/** Options of `sample`, which runs a sampler to its end. */
export interface SampleToEndOptions extends SampleOptions {
  /** Called after every step, and waited for: progress, or a look at what is being drawn. */
  readonly onStep?: (step: SampleStep) => void | Promise<void>
}

/** Options of `ddimInvert`. */
export interface InvertOptions extends DenoisedOptions {
  /** One class a sample, if and only if the network is class-conditional. */
  readonly y?: ArrayLike<number>
  readonly signal?: AbortSignal
}

const denoised = { clipDenoised: true, denoisedFn: true } as const
const known = {
  noise: true,
  y: true,
  method: true,
  eta: true,
  guidances: true,
  selfGuidance: true,
  boost: true,
  skip: true,
  pushes: true,
  signal: true,
  ...denoised,
} as const

const fail = (message: string): never => {
  throw new TweedieError('option', message)
}

/** @throws TweedieError 'option' for what is no process: a description, say */
export function checkDiffusion(diffusion: GaussianDiffusion): void {
  if (typeof diffusion?.pMeanVariance !== 'function')
    fail(
      'The process is a GaussianDiffusion, as diffusionOf(description, { respacing: 50 }) makes it, ' +
        `found ${named(diffusion)}.`,
    )
}

/** @throws TweedieError 'option' */
export function checkSampleOptions(options: SampleOptions, diffusion: GaussianDiffusion): void {
  checkDiffusion(diffusion)
  refuseUnknown('sampling', options, known)
  const { noise, method = 'ancestral', eta, guidances = [], boost = 1, skip = 0 } = options
  for (const draw of ['initial', 'step', 'renoise'] as const) {
    if (typeof noise?.[draw] !== 'function')
      fail(
        'noise is where the draws come from, such as new GeneratedNoise(device, { seed, samples, shape ' +
          `}), found ${named(noise)}.`,
      )
  }
  refuseOther('method', method, samplerNames)
  if (eta !== undefined && !(eta >= 0 && eta <= 1)) fail(`eta is a number from 0 to 1, found ${eta}.`)
  if (eta !== undefined && method !== 'ddim')
    fail(`eta is the noise of method 'ddim', and ${method} sampling has its own: leave eta out, or choose 'ddim'.`)
  if (!(boost >= 0 && boost < Infinity))
    fail(`Boost-and-Skip: boost is what x_T is multiplied by, a finite number of 0 or more, found ${boost}.`)
  if (!Number.isInteger(skip) || skip < 0 || skip >= diffusion.steps) {
    fail(`Boost-and-Skip leaves out whole steps, fewer than all ${diffusion.steps}, found ${skip}.`)
  }
  if (!Array.isArray(guidances)) fail(`guidances is a list, as in guidances: [guidance], found ${named(guidances)}.`)
  for (const guidance of guidances) {
    if (typeof guidance !== 'function')
      fail(
        'A guidance is a function, such as classifierGuidance(classifier, { target: 3 }) gives, ' +
          `found ${named(guidance)}.`,
      )
  }
  if (options.selfGuidance !== undefined) selfGuidance(options.selfGuidance)
}

/** @throws TweedieError 'option'; of the other options {@link checkSampleOptions} tells. */
export const checkSampleToEndOptions = (options: SampleToEndOptions): void =>
  refuseUnknown('sample', options, { ...known, onStep: true })

/** @throws TweedieError 'option' */
export const checkInvertOptions = (options: InvertOptions): void =>
  refuseUnknown('ddimInvert', options, { y: true, signal: true, ...denoised })

/** What a guidance gave at `x`, which is a gradient of its shape: a scalar would be added to every pixel. */
export function givenGradient(gradient: unknown, x: Tensor): Tensor {
  if (typeof gradient === 'function')
    return fail(
      'A guidance gives a gradient, found a function: what makes a guidance is to be called first, as in ' +
        'guidances: [classifierGuidance(classifier, { target: 3 })].',
    )
  return givenTensor('A guidance', gradient, x.shape)
}
