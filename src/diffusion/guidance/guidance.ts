import { TweedieError, unexpected } from '../../errors.ts'
import { refuseUnknown } from '../../refuse.ts'
import {
  abs,
  expression,
  f,
  gather,
  grad,
  liveOf,
  logSoftmax,
  map,
  max,
  mul,
  Tensor,
  type Live,
} from '../../tensor/index.ts'
import { noTensor } from '../process/denoiser.ts'
import { replayable, type Replayable } from '../process/replayable.ts'
import { logitsOf, type Logits, type LogitsLike } from './logits.ts'

/**
 * A term of the score at x_t [N, C, H, W]: d log p / dx of whatever the samples are to be led to, of x's shape
 * (Dhariwal & Nichol 2021, Algorithms 1 and 2). `timesteps` are the mapped ones, as the network sees them, one a
 * sample. A sampler adds up the gradients of all its guidances and applies the sum once, to the mean (ancestral) or to
 * the score (DDIM), so guidances compose by being listed; one with a scale of 0 adds zeros.
 *
 * ```ts
 * const brighter: Guidance = (x) => full(x.device, x.shape, 0.1)
 * ```
 */
export interface Guidance extends Replayable {
  (x: Tensor, timesteps: readonly number[]): Tensor
  /**
   * The gradient was brought to a chosen size and is no score: DDIM converts what it moves the mean by, see `oneStep`.
   */
  readonly normalized?: boolean
}

/**
 * A guidance by the gradient of a log density: scale * grad_x of the sum of `logDensity(x, timesteps)`, which is [N] or
 * of any other shape with a row for each sample.
 *
 * ```ts
 * const violet = logDensityGuidance((x) => sum(square(sub(mean(x, { axes: [2, 3] }), colour)), { axes: [1] }), -500)
 * ```
 */
export function logDensityGuidance(
  logDensity: ((x: Tensor, timesteps: readonly number[]) => Tensor) & Replayable,
  scale: number,
): Guidance {
  if (!Number.isFinite(scale))
    throw new TweedieError('option', `A guidance's scale is a finite number, found ${scale}.`)
  const density = (x: Tensor, timesteps: readonly number[]): Tensor => {
    const value: unknown = logDensity(x, timesteps)
    if (!(value instanceof Tensor)) throw noTensor('A log density', value)
    return value
  }
  const guidance: Guidance = (x, timesteps) =>
    x.device.scope(() => mul(grad(() => density(x, timesteps), [x]).gradients[0], scale))
  return replayable(guidance, logDensity)
}

/** Options of {@link classifierGuidance}. */
export interface ClassifierGuidanceOptions {
  /** Target class of every sample, or one for all. */
  readonly target: number | readonly number[]
  /** Factor of the gradient. Default 1. */
  readonly scale?: number
}

/**
 * Classifier guidance (Dhariwal & Nichol 2021): scale * grad_x log softmax(logits(x))[target], of a classifier of noisy
 * images or of the function that gives its logits.
 *
 * With a minority classifier it is minority guidance (Um et al., ICLR 2024, Eq. 8), to one level or a range of them:
 *
 * ```ts
 * classifierGuidance(classifierLogits(classifier), { target: uniformTargets([90, 99], { seed, samples }), scale: 4 })
 * ```
 *
 * Eq. 17 is the same with a class-conditional classifier, which is given y; guidance by a class classifier as well
 * (Table 6) is one more `classifierGuidance` in the list.
 *
 * The classifier is told the timesteps the network is told: mapped to the full process and, where the network's are,
 * times 1000 / T. It must have been trained so; minority-guidance's classifier_train.py gives it the raw ones, which
 * for a network of 4000 steps are four times too large.
 */
export function classifierGuidance(classifier: LogitsLike, options: ClassifierGuidanceOptions): Guidance {
  refuseUnknown('classifierGuidance', options, { target: true, scale: true })
  const { target, scale = 1 } = options
  if (typeof target !== 'number' && !(typeof target === 'object' && 'length' in target))
    throw unexpected('classifierGuidance', 'target, a class or one for each sample', target)
  const logits = logitsOf(classifier)
  const density: Logits = (x, timesteps) => logProbability(logits(x, timesteps), target)
  return logDensityGuidance(replayable(density, logits), scale)
}

/**
 * log p(target) of logits [N, K]: [N, 1].
 * @throws TweedieError 'option' if there is not one target for each sample, or one is not a class
 */
export function logProbability(logits: Tensor, target: Live<number | readonly number[]>): Tensor {
  const [n, classes] = logits.shape
  const targets = liveOf(target, (given) => targetsOf(given, n, classes))
  return gather(logSoftmax(logits), 1, logits.device.tensor(targets, [n, 1], 'i32'))
}

function targetsOf(target: number | readonly number[], n: number, classes: number): readonly number[] {
  const targets = typeof target === 'number' ? new Array<number>(n).fill(target) : target
  if (targets.length !== n)
    throw new TweedieError('option', `Expected one target class for each of the ${n} samples, found ${targets.length}.`)
  const wrong = targets.find((k) => !Number.isInteger(k) || k < 0 || k >= classes)
  if (wrong !== undefined)
    throw new TweedieError(
      'option',
      `Target class ${wrong} is not one of the classifier's classes 0 to ${classes - 1}.`,
    )
  return targets
}

// g / max|g|, and 0 where the whole gradient is 0 (sg-minority divides 0 by 0 there).
const overPeak = expression(2, 0, ([g, peak]) => {
  const some = f.gt(peak, 0)
  return f.select(some, f.div(g, f.select(some, peak, 1)), 0)
})

/** Each sample's gradient [N, C, H, W] divided by its largest element in magnitude; a gradient of 0 stays 0. */
export const peakNormalized = (g: Tensor): Tensor =>
  map(overPeak, [g, max(abs(g), { axes: [1, 2, 3], keepDims: true })])
