/**
 * What a diffusion model is trained on. The bound compares two means, the posterior's and the model's. Both are linear
 * in x_0 with the same x_t, so their difference is the prediction's error times a coefficient: x_t, which the division
 * by sqrt(abar) would enlarge with its rounding by up to 2e4, cancels.
 */
import { TweedieError } from '../../errors.ts'
import type { DiffusionSettings } from '../../nn/config.ts'
import { refuseUnknown } from '../../refuse.ts'
import {
  expression,
  f,
  liveOf,
  map,
  mul,
  now,
  slice,
  stopGradient,
  sum,
  type Live,
  type Tensor,
} from '../../tensor/index.ts'
import { denoiserOf, type DenoiserLike } from './denoiser.ts'
import { combine, type GaussianDiffusion } from './gaussian-diffusion.ts'
import { handedOn } from './replayable.ts'
import { checkSteps, coefficients, combineEach, qSampleEach } from './per-sample.ts'
import { bitsPerNat, boundTerm } from './variational-bound.ts'

/**
 * What is minimised:
 *
 * - `mse`: squared error, plus the bound's term where the variance is learned.
 * - `rescaledMse`: that term times T' / 1000.
 * - `kl`: the bound's term alone.
 * - `rescaledKl`: times T', so that its mean over t estimates the bound.
 */
export type LossType = 'mse' | 'rescaledMse' | 'kl' | 'rescaledKl'

const lossTypes: readonly string[] = ['mse', 'rescaledMse', 'kl', 'rescaledKl'] satisfies readonly LossType[]

/** Which loss a model's settings mean (`create_gaussian_diffusion`). */
export const lossTypeOf = ({ useKl, rescaleLearnedSigmas }: DiffusionSettings): LossType =>
  useKl ? 'rescaledKl' : rescaleLearnedSigmas ? 'rescaledMse' : 'mse'

/** Options of {@link trainingLosses}. */
export interface TrainingLossOptions {
  /** Default `'mse'`. */
  readonly lossType?: LossType
  /** One class a sample, if and only if the network is class-conditional. */
  readonly y?: ArrayLike<number>
}

/** What each sample of a batch loses. */
export interface TrainingLosses {
  /** What is minimised: [N]. */
  readonly loss: Tensor
  /** Mean over pixels of (target - prediction)^2: [N]. Absent with `kl` and `rescaledKl`. */
  readonly mse?: Tensor
  /** The bound's term as it enters the loss, in bits a dimension: [N]. Absent with a fixed variance and `mse`. */
  readonly vb?: Tensor
}

const squaredError = expression(2, 0, ([a, b]) => f.mul(f.sub(a, b), f.sub(a, b)))
const scaledDifference = expression(3, 0, ([a, b, scale]) => f.mul(scale, f.sub(a, b)))
// low + (v + 1) / 2 range. The range comes from the host: it is 1e-3 of its ends and less, and float32 would not know
// it.
const interpolate = expression(3, 0, ([v, low, range]) => f.add(low, f.mul(f.mul(0.5, f.add(v, 1)), range)))

const sumOfPixels = (x: Tensor): Tensor => sum(x, { axes: [1, 2, 3] })

/**
 * The losses of images `xStart` [N, C, H, W] in [-1, 1], noised with `noise` to the steps `t` (respaced indices, one a
 * sample): the squared error of the model's prediction, with a term of the variational bound for the variance head, or
 * the bound itself (DDPM Eq. 14, Improved DDPM Eq. 16; guided-diffusion `training_losses`). Differentiable by whatever
 * `model` reads; `y`: its class labels. With `mse` and `rescaledMse` the variance head's term sees the mean head as a
 * constant: its gradient there is exactly zero. Estimates are never clipped. In a recorded step `t` may be a function
 * that gives the steps, which a `model` that is replayable is handed on.
 *
 * ```ts
 * const losses = () => mean(trainingLosses(diffusion, model, images, t, noise).loss)
 * const { gradients } = grad(losses, [...model.parameters.values()])
 * ```
 *
 * @throws TweedieError 'option' for a step outside the process or a loss type that is none
 */
export function trainingLosses(
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  xStart: Tensor,
  t: Live<readonly number[]>,
  noise: Tensor,
  options: TrainingLossOptions = {},
): TrainingLosses {
  refuseUnknown('trainingLosses', options, { lossType: true, y: true })
  const { lossType = 'mse', y } = options
  if (!lossTypes.includes(lossType))
    throw new TweedieError('option', `A loss type is one of ${lossTypes.join(', ')}, found ${String(lossType)}.`)
  const { device, shape } = xStart
  const pixels = shape[1] * shape[2] * shape[3]
  checkSteps(diffusion, now(t), shape[0])
  if (noise.shape.join() !== shape.join())
    throw new TweedieError(
      'shape',
      `The noise of images [${shape.join(', ')}] is of their shape, found [${noise.shape.join(', ')}].`,
    )
  const denoiser = denoiserOf(model, y)
  return device.scope((): TrainingLosses => {
    const x = qSampleEach(diffusion, xStart, t, noise)
    const timesteps = handedOn(liveOf(t, (steps) => steps.map((k) => diffusion.process.modelTimestep(k))))
    const out = diffusion.run((xt) => denoiser(xt, timesteps), x, 0)
    const prediction = diffusion.varianceType.startsWith('learned') ? slice(out, 1, 0, shape[1]) : out
    const target = targetOf(diffusion, xStart, x, t, noise)
    const bound = (prediction: Tensor): Tensor =>
      sumOfPixels(
        boundTerm({
          last: coefficients(device, t, (k) => (k === 0 ? 1 : 0)),
          xStart,
          difference: map(scaledDifference, [prediction, target, coefficients(device, t, differenceScale(diffusion))]),
          posteriorLogVariance: coefficients(device, t, (k) => diffusion.process.tables.posteriorLogVarianceClipped[k]),
          logVariance: logVarianceOf(diffusion, out, t),
        }),
      )

    if (lossType === 'kl' || lossType === 'rescaledKl') {
      const loss = mul(bound(prediction), ((lossType === 'kl' ? 1 : diffusion.steps) * bitsPerNat) / pixels)
      return { loss, vb: loss }
    }
    const errors = sumOfPixels(map(squaredError, [prediction, target]))
    if (!diffusion.varianceType.startsWith('learned')) {
      const loss = mul(errors, 1 / pixels)
      return { loss, mse: loss }
    }
    const terms = bound(stopGradient(prediction))
    const scale = ((lossType === 'mse' ? 1 : diffusion.steps / 1000) * bitsPerNat) / pixels
    return {
      loss: map(combine, [errors, terms], [1 / pixels, scale]),
      mse: mul(errors, 1 / pixels),
      vb: mul(terms, scale),
    }
  })
}

function targetOf(
  diffusion: GaussianDiffusion,
  xStart: Tensor,
  x: Tensor,
  t: Live<readonly number[]>,
  noise: Tensor,
): Tensor {
  const { posteriorMeanCoef1, posteriorMeanCoef2, sqrtAlphaBar, sqrtOneMinusAlphaBar } = diffusion.process.tables
  const each = (of: (t: number) => number): Tensor => coefficients(x.device, t, of)
  switch (diffusion.meanType) {
    case 'epsilon':
      return noise
    case 'xStart':
      return xStart
    case 'previousX':
      return map(combineEach, [xStart, x, each((k) => posteriorMeanCoef1[k]), each((k) => posteriorMeanCoef2[k])])
    case 'v':
      return map(combineEach, [noise, xStart, each((k) => sqrtAlphaBar[k]), each((k) => -sqrtOneMinusAlphaBar[k])])
  }
}

/** What prediction less target is multiplied by to give the posterior's mean less the model's. */
function differenceScale({ meanType, process: { tables } }: GaussianDiffusion): (t: number) => number {
  switch (meanType) {
    case 'epsilon':
      return (t) => tables.posteriorMeanCoef1[t] * tables.sqrtRecipm1AlphaBar[t]
    case 'xStart':
      return (t) => -tables.posteriorMeanCoef1[t]
    case 'previousX':
      return () => -1
    case 'v':
      return (t) => tables.posteriorMeanCoef1[t] * tables.sqrtOneMinusAlphaBar[t]
  }
}

/** The model's log-variance, of the images' shape or [N, 1, 1, 1]. */
function logVarianceOf(
  { varianceType, process: { tables } }: GaussianDiffusion,
  out: Tensor,
  t: Live<readonly number[]>,
): Tensor {
  const { posteriorLogVarianceClipped: low, logBetas: high } = tables
  const each = (of: (t: number) => number): Tensor => coefficients(out.device, t, of)
  const head = (): Tensor => slice(out, 1, out.shape[1] / 2, out.shape[1])
  switch (varianceType) {
    case 'fixedSmall':
      return each((k) => low[k])
    case 'fixedLarge':
      return each((k) => tables.fixedLargeLogVariance[k])
    case 'learned':
      return head()
    case 'learnedRange':
      return map(interpolate, [head(), each((k) => low[k]), each((k) => high[k] - low[k])])
  }
}
