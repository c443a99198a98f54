import { TweedieError, unexpected } from '../../errors.ts'
import { meanTypes, varianceTypes, type DiffusionProcess, type MeanType, type VarianceType } from '../../nn/config.ts'
import { refuseOther, refuseUnknown } from '../../refuse.ts'
import { exp, expression, f, full, map, slice, Tensor, type Live } from '../../tensor/index.ts'
import { denoiserOf, givenTensor, noTensor, type DenoiserLike } from './denoiser.ts'
import { handedOn } from './replayable.ts'
import { respace, type RespacedProcess, type RespaceOptions } from './respace.ts'

export type { MeanType, VarianceType } from '../../nn/config.ts'

/**
 * A process and the steps to walk it in. `meanType` is `'epsilon'` by default, as of every published model, and
 * `varianceType` is `'learnedRange'`, as of every published model with a variance head.
 */
export interface DiffusionOptions
  extends RespaceOptions,
    Partial<Pick<DiffusionProcess, 'meanType' | 'varianceType'>> {}

/**
 * A Gaussian over x_{t-1}, tensors of x's shape (p_mean_variance of guided-diffusion), and the estimate of x_0 it was
 * made from.
 */
export interface MeanVariance {
  readonly mean: Tensor
  readonly variance: Tensor
  readonly logVariance: Tensor
  /** The Tweedie estimate of x_0, clipped if asked for. */
  readonly predXStart: Tensor
}

/** What is done to an estimate of x_0 before it is used. */
export interface DenoisedOptions {
  /** Clamp predXStart to [-1, 1]. Default true. */
  readonly clipDenoised?: boolean
  /** Applied to predXStart before clipping. */
  readonly denoisedFn?: (xStart: Tensor) => Tensor
}

/** a x + b y, the shape of most formulas here. */
export const combine = expression(2, 2, ([x, y], [a, b]) => f.add(f.mul(a, x), f.mul(b, y)))
const clip = expression(1, 0, ([x]) => f.min(f.max(x, -1), 1))
// (x - a y) / b
const residue = expression(2, 2, ([x, y], [a, b]) => f.div(f.sub(f.mul(a, x), y), b))
// Between two log-variances: frac = (v + 1) / 2.
const interpolate = expression(1, 2, ([v], [low, high]) => {
  const frac = f.mul(0.5, f.add(v, 1))
  return f.add(f.mul(frac, high), f.mul(f.sub(1, frac), low))
})
// mean + mask * exp(logVariance / 2) * noise
const ancestral = expression(3, 1, ([mean, logVariance, noise], [mask]) =>
  f.add(mean, f.mul(f.mul(mask, f.exp(f.mul(0.5, logVariance))), noise)),
)
// mean + variance * gradient
const shift = expression(3, 0, ([mean, variance, gradient]) => f.add(mean, f.mul(variance, gradient)))
const deterministic = expression(3, 3, ([x, y, z], [a, b, c]) => f.add(f.add(f.mul(a, x), f.mul(b, y)), f.mul(c, z)))

const known = {
  schedule: true,
  diffusionSteps: true,
  respacing: true,
  rescaleTimesteps: true,
  meanType: true,
  varianceType: true,
} as const

/**
 * The Gaussian diffusion process over tensors (DDPM; DDIM Eq. 12 and 16; guided-diffusion `GaussianDiffusion` and
 * `SpacedDiffusion`). Images are [N, C, H, W] in [-1, 1]; `t` is an index of the respaced process, 0 to steps - 1, the
 * same for the whole batch; in a step that `Device.record` records, the function that gives it. Every formula is one
 * kernel, and its coefficients are scalars of that kernel: a new step compiles nothing. `diffusionOf` makes the process
 * of a described model.
 *
 * ```ts
 * const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '250' })
 * ```
 */
export class GaussianDiffusion {
  /** Its steps, and the tables of its coefficients. */
  readonly process: RespacedProcess
  /** What the network predicts. */
  readonly meanType: MeanType
  /** Where the variance of a step is from. */
  readonly varianceType: VarianceType

  /** @throws TweedieError 'option' for an option that is none of these, or out of range */
  constructor(options: DiffusionOptions) {
    refuseUnknown('GaussianDiffusion', options, known)
    const { meanType = 'epsilon', varianceType = 'learnedRange', ...process } = options
    refuseOther('GaussianDiffusion: meanType', meanType, Object.values(meanTypes))
    refuseOther('GaussianDiffusion: varianceType', varianceType, varianceTypes)
    this.process = respace(process)
    this.meanType = meanType
    this.varianceType = varianceType
  }

  /** T', the steps it is walked in. */
  get steps(): number {
    return this.process.steps
  }

  /** Throws 'option', naming `user`, for what is no index of the process: beyond its tables all would be NaN. */
  #checkStep(user: string, t: number): void {
    if (!(Number.isInteger(t) && t >= 0 && t < this.steps))
      throw unexpected(user, `a step of the process, 0 to ${this.steps - 1}`, t, 'It is the same for the whole batch.')
  }

  /** What `of` gives at index `t`; of a live index a live value, which is checked whenever it is asked for. */
  #at<T>(user: string, t: number, of: (t: number) => T): T
  #at<T>(user: string, t: Live<number>, of: (t: number) => T): Live<T>
  #at<T>(user: string, t: Live<number>, of: (t: number) => T): Live<T> {
    const checked = (k: number): T => {
      this.#checkStep(user, k)
      return of(k)
    }
    return typeof t === 'function' ? () => checked(t()) : checked(t)
  }

  /** What the network is told at index `t`, for `n` samples. */
  timesteps(t: number, n: number): number[]
  /** The function that gives them, at an index of a recorded step. */
  timesteps(t: Live<number>, n: number): Live<number[]>
  timesteps(t: Live<number>, n: number): Live<number[]> {
    return this.#at('timesteps', t, (k) => new Array<number>(n).fill(this.process.modelTimestep(k)))
  }

  /** q(x_t | x_0): sqrt(abar) xStart + sqrt(1 - abar) noise. */
  qSample(xStart: Tensor, t: Live<number>, noise: Tensor): Tensor {
    const { sqrtAlphaBar, sqrtOneMinusAlphaBar } = this.process.tables
    const scalars = this.#at('qSample', t, (k) => [sqrtAlphaBar[k], sqrtOneMinusAlphaBar[k]])
    return map(combine, [xStart, noise], scalars, { name: 'qSample' })
  }

  /** Mean of q(x_{t-1} | x_t, x_0); its variance is `posteriorVariance[t]` of the tables. */
  qPosteriorMean(xStart: Tensor, x: Tensor, t: Live<number>): Tensor {
    const { posteriorMeanCoef1, posteriorMeanCoef2 } = this.process.tables
    const scalars = this.#at('qPosteriorMean', t, (k) => [posteriorMeanCoef1[k], posteriorMeanCoef2[k]])
    return map(combine, [xStart, x], scalars, { name: 'qPosteriorMean' })
  }

  /** x_0 = sqrt(1/abar) x - sqrt(1/abar - 1) epsilon: Tweedie's formula for the network's epsilon. */
  predictXStartFromEps(x: Tensor, t: Live<number>, epsilon: Tensor): Tensor {
    const { sqrtRecipAlphaBar, sqrtRecipm1AlphaBar } = this.process.tables
    const scalars = this.#at('predictXStartFromEps', t, (k) => [sqrtRecipAlphaBar[k], -sqrtRecipm1AlphaBar[k]])
    return map(combine, [x, epsilon], scalars, { name: 'predictXStartFromEps' })
  }

  /** The noise that leads from `xStart` to x_t: (x / sqrt(abar) - xStart) / sqrt(1 / abar - 1). */
  predictEpsFromXStart(x: Tensor, t: Live<number>, xStart: Tensor): Tensor {
    const { sqrtRecipAlphaBar, sqrtRecipm1AlphaBar } = this.process.tables
    const scalars = this.#at('predictEpsFromXStart', t, (k) => [sqrtRecipAlphaBar[k], sqrtRecipm1AlphaBar[k]])
    return map(residue, [x, xStart], scalars, { name: 'predictEpsFromXStart' })
  }

  /**
   * The network's output at index `t`, given the class labels `y` where it is class-conditional.
   * @throws TweedieError 'option' or 'shape' for an output that is not what the process takes
   */
  run(model: DenoiserLike, x: Tensor, t: Live<number>, y?: ArrayLike<number>): Tensor {
    const out: unknown = denoiserOf(model, y)(x, handedOn(this.timesteps(t, x.shape[0])))
    if (!(out instanceof Tensor)) throw noTensor('A denoiser', out)
    const [n, c, ...size] = x.shape
    const channels = c * (this.varianceType.startsWith('learned') ? 2 : 1)
    if (out.shape[1] !== channels) {
      throw new TweedieError(
        'option',
        `A ${this.varianceType} variance takes a network of ${channels} output channels, found ` +
          `${out.shape[1] ?? `a tensor [${out.shape.join(', ')}]`}: choose the variance type that the ` +
          'network was trained with.',
      )
    }
    return givenTensor('A denoiser', out, [n, channels, ...size])
  }

  /** predXStart from the network's output `out`. */
  predXStart(
    out: Tensor,
    x: Tensor,
    t: Live<number>,
    { clipDenoised = true, denoisedFn }: DenoisedOptions = {},
  ): Tensor {
    if (typeof t === 'number') this.#checkStep('predXStart', t)
    const prediction = slice(out, 1, 0, x.shape[1])
    const raw = this.#xStart(prediction, x, t)
    const processed = denoisedFn ? givenTensor('denoisedFn', denoisedFn(raw), x.shape) : raw
    return clipDenoised ? map(clip, [processed]) : processed
  }

  #xStart(prediction: Tensor, x: Tensor, t: Live<number>): Tensor {
    const { posteriorMeanCoef1, posteriorMeanCoef2, sqrtAlphaBar, sqrtOneMinusAlphaBar } = this.process.tables
    switch (this.meanType) {
      case 'epsilon':
        return this.predictXStartFromEps(x, t, prediction)
      case 'xStart':
        return prediction
      case 'v':
        return map(
          combine,
          [x, prediction],
          this.#at('predXStart', t, (k) => [sqrtAlphaBar[k], -sqrtOneMinusAlphaBar[k]]),
        )
      case 'previousX':
        return map(
          combine,
          [prediction, x],
          this.#at('predXStart', t, (k) => [1 / posteriorMeanCoef1[k], -posteriorMeanCoef2[k] / posteriorMeanCoef1[k]]),
        )
    }
  }

  /** p(x_{t-1} | x_t) from the network's output `out`. */
  pMeanVariance(out: Tensor, x: Tensor, t: Live<number>, options: DenoisedOptions = {}): MeanVariance {
    if (typeof t === 'number') this.#checkStep('pMeanVariance', t)
    const channels = x.shape[1]
    const predXStart = this.predXStart(out, x, t, options)
    const mean = this.meanType === 'previousX' ? slice(out, 1, 0, channels) : this.qPosteriorMean(predXStart, x, t)
    return { mean, predXStart, ...this.#variance(out, x, t) }
  }

  #variance(out: Tensor, x: Tensor, t: Live<number>): { variance: Tensor; logVariance: Tensor } {
    const { tables } = this.process
    const channels = x.shape[1]
    const filled = (table: ArrayLike<number>): Tensor =>
      full(
        x.device,
        x.shape,
        this.#at('pMeanVariance', t, (k) => table[k]),
      )
    const fixed = (variance: ArrayLike<number>, logVariance: ArrayLike<number>) => ({
      variance: filled(variance),
      logVariance: filled(logVariance),
    })
    switch (this.varianceType) {
      case 'fixedSmall':
        return fixed(tables.posteriorVariance, tables.posteriorLogVarianceClipped)
      case 'fixedLarge':
        return fixed(tables.fixedLargeVariance, tables.fixedLargeLogVariance)
      case 'learned': {
        const logVariance = slice(out, 1, channels, 2 * channels)
        return { logVariance, variance: exp(logVariance) }
      }
      case 'learnedRange': {
        const v = slice(out, 1, channels, 2 * channels)
        const { posteriorLogVarianceClipped, logBetas } = tables
        const bounds = this.#at('pMeanVariance', t, (k) => [posteriorLogVarianceClipped[k], logBetas[k]])
        const logVariance = map(interpolate, [v], bounds)
        return { logVariance, variance: exp(logVariance) }
      }
    }
  }

  /** mean + variance * gradient: the guidance of ancestral sampling (`condition_mean`). */
  conditionMean(p: MeanVariance, gradient: Tensor): Tensor {
    return map(shift, [p.mean, p.variance, gradient], [], { name: 'conditionMean' })
  }

  /**
   * The guidance of DDIM (`condition_score`): epsilon' = epsilon - sqrt(1 - abar) gradient, and x_0 from it, which is
   * not clipped again. Both at once are xStart + (1 - abar) / sqrt(abar) gradient, in which a gradient of 0 changes no
   * bit; by way of epsilon the rounding of x is multiplied by abar^-1/2, 2e4 at the end of the cosine schedule.
   */
  conditionScore(predXStart: Tensor, t: Live<number>, gradient: Tensor): Tensor {
    const { sqrtOneMinusAlphaBar, sqrtRecipm1AlphaBar } = this.process.tables
    const scalars = this.#at('conditionScore', t, (k) => [1, sqrtRecipm1AlphaBar[k] * sqrtOneMinusAlphaBar[k]])
    return map(combine, [predXStart, gradient], scalars, { name: 'conditionScore' })
  }

  /** x_{t-1} = mean + exp(logVariance / 2) noise, without the noise at t = 0. */
  pSample(mean: Tensor, logVariance: Tensor, t: Live<number>, noise: Tensor): Tensor {
    const mask = this.#at('pSample', t, (k) => [k === 0 ? 0 : 1])
    return map(ancestral, [mean, logVariance, noise], mask, { name: 'pSample' })
  }

  /** x_{t-1} of DDIM (Song et al. 2021, Eq. 12) from x_0; `eta` 0 is deterministic, 1 has DDPM's variance. */
  ddimSample(predXStart: Tensor, x: Tensor, t: Live<number>, eta: number, noise: Tensor): Tensor {
    const { alphaBar, alphaBarPrev } = this.process.tables
    const scalars = this.#at('ddimSample', t, (k) => {
      const sigma =
        eta * Math.sqrt((1 - alphaBarPrev[k]) / (1 - alphaBar[k])) * Math.sqrt(1 - alphaBar[k] / alphaBarPrev[k])
      const direction = Math.sqrt(1 - alphaBarPrev[k] - sigma * sigma)
      return [Math.sqrt(alphaBarPrev[k]), direction, k === 0 ? 0 : sigma]
    })
    const epsilon = this.predictEpsFromXStart(x, t, predXStart)
    return map(deterministic, [predXStart, epsilon, noise], scalars, { name: 'ddimSample' })
  }

  /** x_{t+1} of the deterministic DDIM run backwards: encodes an image. */
  ddimReverseSample(predXStart: Tensor, x: Tensor, t: Live<number>): Tensor {
    const { alphaBarNext } = this.process.tables
    const scalars = this.#at('ddimReverseSample', t, (k) => [
      Math.sqrt(alphaBarNext[k]),
      Math.sqrt(1 - alphaBarNext[k]),
    ])
    const epsilon = this.predictEpsFromXStart(x, t, predXStart)
    return map(combine, [predXStart, epsilon], scalars, { name: 'ddimReverseSample' })
  }
}
