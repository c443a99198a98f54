import { TweedieError } from '../../errors.ts'
import { refuseOther, refuseUnknown } from '../../refuse.ts'
import { add, div, grad, mul, noGrad, stopGradient, type Live, type Tensor } from '../../tensor/index.ts'
import { checkDistance, l2, measured, type Distance } from './distance.ts'
import { denoiserOf, givenTensor, type Denoiser, type DenoiserLike } from '../process/denoiser.ts'
import type { GaussianDiffusion } from '../process/gaussian-diffusion.ts'
import { peakNormalized } from './guidance.ts'
import type { NoiseSource } from '../process/noise.ts'
import { handedOn } from '../process/replayable.ts'

/** Options of self-guided minority sampling; sg-minority's names stand in brackets. */
export interface SelfGuidanceOptions {
  /** w (`mg_scale`). Default 1. */
  readonly weight?: number
  /** n: guide every n-th step, those whose respaced index is a multiple (`inter_rate`). Default 5. */
  readonly every?: number
  /** s as a fraction of the steps (`p_ratio`). Default 0.8. */
  readonly strength?: number
  /** Guide only at indices above this fraction of the steps (`t_mid`). Default -1: always. */
  readonly after?: number
  /** The weight multiplies the model's variance at each pixel, or stands alone (`mg_scale_type`). Default variance. */
  readonly scale?: 'variance' | 'fixed'
  /** Noise draws averaged (`num_mc_samples`). Default 1. */
  readonly draws?: number
  /** Leave the gradient as it is instead of dividing each sample's by its largest element (`use_normed_grad` off). */
  readonly raw?: boolean
  /** Clip the estimates inside the metric to [-1, 1] (`mg_clip_denoised`). Default false. */
  readonly clip?: boolean
  /** Default {@link l2}; the paper's is LPIPS with AlexNet. */
  readonly distance?: Distance
  /**
   * Through which of the two estimates the gradient flows: the first, as sg-minority's stop-gradient has it; the
   * second, by way of the noise that is added again and of the network at s, then at t; or both, without a
   * stop-gradient, which is the sum of the two. All but the first keep a second pass through the network for the
   * gradient. Default first.
   */
  readonly through?: 'first' | 'second' | 'both'
}

/** Options of self-guidance with every default filled in, as {@link selfGuidance} gives them. */
export type SelfGuidance = Required<SelfGuidanceOptions>

const defaults: SelfGuidance = {
  weight: 1,
  every: 5,
  strength: 0.8,
  after: -1,
  scale: 'variance',
  draws: 1,
  raw: false,
  clip: false,
  distance: l2,
  through: 'first',
}

/**
 * Self-guided minority sampling (Um & Ye, ECCV 2024; sg-minority `compute_mg_grad`): its options with every default
 * filled in, for a sampler's `selfGuidance`, which also takes them as they are. The sampler's own estimate x0hat(x_t)
 * is noised again to a fixed strength s and denoised once more; the further that lands from x0hat, the less likely
 * x0hat is. Sampling follows the gradient of that distance by x_t, through the first estimate only; the paper's
 * ablation takes it through the second, or through both.
 *
 * @throws TweedieError 'option' for an option that is none, or out of range
 */
export function selfGuidance(options: SelfGuidanceOptions): SelfGuidance {
  refuseUnknown('selfGuidance', options, defaults)
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  const all = { ...defaults, ...given }
  const whole = (name: 'every' | 'draws'): void => {
    if (!Number.isInteger(all[name]) || all[name] < 1)
      throw new TweedieError('option', `Self-guidance: ${name} is a whole number of 1 or more, found ${all[name]}.`)
  }
  whole('every')
  whole('draws')
  if (!(all.strength >= 0 && all.strength < 1))
    throw new TweedieError(
      'option',
      `Self-guidance: strength is a fraction of the steps, 0 or more and below 1, found ${all.strength}.`,
    )
  if (!Number.isFinite(all.weight))
    throw new TweedieError('option', `Self-guidance: weight is a finite number, found ${all.weight}.`)
  if (!Number.isFinite(all.after))
    throw new TweedieError(
      'option',
      `Self-guidance: after is a finite number, a fraction of the steps or -1 for always, found ${all.after}.`,
    )
  refuseOther('Self-guidance: scale', all.scale, ['variance', 'fixed'])
  refuseOther('Self-guidance: through', all.through, ['first', 'second', 'both'])
  checkDistance(all.distance)
  return all
}

/** Whether index `t` of `steps` is a guided one. */
export const isGuided = ({ every, after, weight }: SelfGuidance, t: number, steps: number): boolean =>
  weight !== 0 && t > steps * after && t % every === 0

/** The last guided index of a walk down to 0 that begins at `first`; null where none is guided. */
export function lastGuided(options: SelfGuidanceOptions, first: number, steps: number): number | null {
  const all = selfGuidance(options)
  for (let t = 0; t <= first; t++) if (isGuided(all, t, steps)) return t
  return null
}

/** What the metric is of: how strong the noise, how often, how far is measured. */
export interface SelfGuidanceMetricOptions
  extends Pick<SelfGuidanceOptions, 'strength' | 'draws' | 'clip' | 'distance'> {
  /** One class a sample, if and only if the network is class-conditional. */
  readonly y?: ArrayLike<number>
}

/**
 * The metric of Um & Ye (ECCV 2024) of x_t at index `t`: E[d(x0hat(x_t), x0hat(x_s))], x_s being x0hat(x_t) noised
 * again to the fixed strength s. [N]; a minority score of what is being drawn, while it is drawn: higher is rarer.
 * `noise` gives the draws, `draws` of them. No gradient; enqueues only, reading the result waits. Its values at
 * different t are not comparable.
 *
 * ```ts
 * const distance = perceptual((a, b) => lpips.distance(a, b))
 * const metric = selfGuidanceMetric(diffusion, model, x, t, noise, { distance })
 * ```
 * @throws TweedieError 'option' for a value out of range
 */
export function selfGuidanceMetric(
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  x: Tensor,
  t: number,
  noise: Pick<NoiseSource, 'renoise'>,
  { y, ...options }: SelfGuidanceMetricOptions = {},
): Tensor {
  const { device } = x
  return noGrad(device, () =>
    device.scope(() => metricOf(diffusion, denoiserOf(model, y), x, t, noise, selfGuidance(options)).metric),
  )
}

/** The metric, and the network's output at (x, t). */
function metricOf(
  diffusion: GaussianDiffusion,
  denoiser: Denoiser,
  x: Tensor,
  t: Live<number>,
  noise: Pick<NoiseSource, 'renoise'>,
  options: SelfGuidance,
): { out: Tensor; metric: Tensor } {
  const { device } = x
  const s = Math.trunc(diffusion.steps * options.strength)
  const estimate = { clipDenoised: options.clip }
  const out = diffusion.run(denoiser, x, t)
  const xStart = diffusion.predXStart(out, x, t, estimate)
  // The estimate as it is measured, and as it is noised again.
  const shown = options.through === 'second' ? stopGradient(xStart) : xStart
  const noised = options.through === 'first' ? stopGradient(xStart) : xStart
  const distances = Array.from({ length: options.draws }, (_, k) =>
    device.scope(() => {
      const xs = diffusion.qSample(noised, s, givenTensor('noise.renoise', noise.renoise(handedOn(t), k), x.shape))
      return measured(options.distance, shown, diffusion.predXStart(diffusion.run(denoiser, xs, s), xs, s, estimate))
    }),
  )
  return { out, metric: div(distances.reduce(add), options.draws) }
}

/** What a pass of self-guidance gives a step. */
export interface SelfGuidedPass {
  /** The network's output at (x, t), which the step needs anyway: the reference computes it twice. */
  readonly out: Tensor
  /** The gradient of the metric by x, scaled as the options say but for the variance: [N, C, H, W]. */
  readonly gradient: Tensor
  /** The metric itself, [N]: a minority score of the current estimate. */
  readonly metric: Tensor
}

/**
 * One differentiable pass through the network at (x, t) and `draws` ones at s, plain unless the
 * gradient goes through them.
 */
export function selfGuidedPass(
  diffusion: GaussianDiffusion,
  denoiser: Denoiser,
  x: Tensor,
  t: Live<number>,
  noise: NoiseSource,
  options: SelfGuidance,
): SelfGuidedPass {
  const { device } = x
  // A handle that outlives the gradient's own scope: the step needs the output too.
  let out: Tensor | null = null
  const metric = (): Tensor => {
    const made = metricOf(diffusion, denoiser, x, t, noise, options)
    out = made.out.alias()
    return made.metric
  }
  try {
    return device.scope(() => {
      const {
        value,
        gradients: [g],
      } = grad(metric, [x])
      const scaled = options.raw ? g : peakNormalized(g)
      return { out: device.track((out as Tensor | null)!), gradient: mul(scaled, options.weight), metric: value }
    })
  } catch (error) {
    ;(out as Tensor | null)?.dispose()
    throw error
  }
}
