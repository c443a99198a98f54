/**
 * Noise schedules and everything the samplers read off them (guided-diffusion gaussian_diffusion.py).
 * All of it is float64: at T = 1000 the cosine schedule ends at abar = 2.4e-9, and 1 - abar loses that in float32.
 * Index t is 0-based: t = 0 is ONE noising step. The papers' alpha_t is `alphaBar[t]`.
 */
import { TweedieError } from '../../errors.ts'
import { maxDiffusionSteps, type NoiseSchedule } from '../../nn/config.ts'

export type { NoiseSchedule } from '../../nn/config.ts'

/**
 * The variances of the T forward steps.
 * - linear (Ho et al. 2020, scaled to T): from 1e-4 to 0.02 at T = 1000, both times 1000 / T.
 * - cosine (Nichol & Dhariwal 2021): `1 - f((i+1)/T) / f(i/T)`, at most 0.999,
 *   `f(u) = cos^2((u + 0.008) / 1.008 pi/2)`.
 * @throws TweedieError 'option' for a T that is no positive integer or above a million, or below 20 with linear (a
 *   beta would exceed 1)
 */
export function betaSchedule(schedule: NoiseSchedule, T: number): Float64Array {
  if (!Number.isInteger(T) || T < 1) {
    throw new TweedieError('option', `diffusion steps must be a positive integer, found ${T}`)
  }
  if (T > maxDiffusionSteps)
    throw new TweedieError('option', `diffusion steps must be at most ${maxDiffusionSteps}, found ${T}`)
  if (schedule === 'linear') {
    if (T < 20) throw new TweedieError('option', `the linear schedule needs at least 20 diffusion steps, found ${T}`)
    const start = (1000 / T) * 1e-4
    const stop = (1000 / T) * 0.02
    const step = (stop - start) / (T - 1)
    return Float64Array.from({ length: T }, (_, i) => (i === T - 1 ? stop : start + i * step))
  }
  if (schedule === 'cosine') {
    const f = (u: number) => Math.cos((((u + 0.008) / 1.008) * Math.PI) / 2) ** 2
    return Float64Array.from({ length: T }, (_, i) => Math.min(1 - f((i + 1) / T) / f(i / T), 0.999))
  }
  throw new TweedieError('option', `unknown noise schedule "${String(schedule)}": linear and cosine are known`)
}

/** Per-step quantities of a process, each of its length T'. The names are the reference's, in camel case. */
export interface DiffusionTables {
  /** T', the steps of this (perhaps respaced) process. */
  readonly steps: number
  readonly betas: Float64Array
  /** log beta: the upper end of LEARNED_RANGE. */
  readonly logBetas: Float64Array
  /** abar_t = prod (1 - beta). */
  readonly alphaBar: Float64Array
  /** abar_{t-1}, with abar_{-1} = 1. */
  readonly alphaBarPrev: Float64Array
  /** abar_{t+1}, with abar_{T'} = 0. */
  readonly alphaBarNext: Float64Array
  readonly sqrtAlphaBar: Float64Array
  readonly sqrtOneMinusAlphaBar: Float64Array
  readonly logOneMinusAlphaBar: Float64Array
  /** sqrt(1 / abar): x0 = sqrtRecipAlphaBar x_t - sqrtRecipm1AlphaBar epsilon. */
  readonly sqrtRecipAlphaBar: Float64Array
  /** sqrt(1 / abar - 1). */
  readonly sqrtRecipm1AlphaBar: Float64Array
  /** btilde = beta (1 - abar_prev) / (1 - abar), 0 at t = 0. FIXED_SMALL. */
  readonly posteriorVariance: Float64Array
  /** log btilde, entry 0 replaced by entry 1. The lower end of LEARNED_RANGE. */
  readonly posteriorLogVarianceClipped: Float64Array
  /** beta sqrt(abar_prev) / (1 - abar): the weight of x0 in the posterior mean. */
  readonly posteriorMeanCoef1: Float64Array
  /** (1 - abar_prev) sqrt(1 - beta) / (1 - abar): the weight of x_t. */
  readonly posteriorMeanCoef2: Float64Array
  /** FIXED_LARGE: [btilde_1, beta_1, beta_2, ...]. */
  readonly fixedLargeVariance: Float64Array
  readonly fixedLargeLogVariance: Float64Array
}

/**
 * All tables of a process (DDPM Eq. 4, 6 and 7; `GaussianDiffusion.__init__` of guided-diffusion).
 * @throws TweedieError 'option' for fewer than 2 steps (entry 1 of btilde stands in for entry 0) or a beta outside (0,
 *   1]
 */
export function diffusionTables(betas: ArrayLike<number>): DiffusionTables {
  const steps = betas.length
  if (steps < 2) throw new TweedieError('option', `a diffusion process needs at least 2 steps, found ${steps}`)
  const table = (f: (t: number) => number) => Float64Array.from({ length: steps }, (_, t) => f(t))
  const beta = table((t) => betas[t])
  beta.forEach((value, t) => {
    if (!(value > 0 && value <= 1)) throw new TweedieError('option', `beta_${t} must be in (0, 1], found ${value}`)
  })

  let product = 1
  const alphaBar = table((t) => (product *= 1 - beta[t]))
  const alphaBarPrev = table((t) => (t === 0 ? 1 : alphaBar[t - 1]))
  const posteriorVariance = table((t) => (beta[t] * (1 - alphaBarPrev[t])) / (1 - alphaBar[t]))
  const fixedLargeVariance = table((t) => (t === 0 ? posteriorVariance[1] : beta[t]))
  return {
    steps,
    betas: beta,
    logBetas: beta.map(Math.log),
    alphaBar,
    alphaBarPrev,
    alphaBarNext: table((t) => alphaBar[t + 1] ?? 0),
    sqrtAlphaBar: alphaBar.map(Math.sqrt),
    sqrtOneMinusAlphaBar: alphaBar.map((a) => Math.sqrt(1 - a)),
    logOneMinusAlphaBar: alphaBar.map((a) => Math.log(1 - a)),
    sqrtRecipAlphaBar: alphaBar.map((a) => Math.sqrt(1 / a)),
    sqrtRecipm1AlphaBar: alphaBar.map((a) => Math.sqrt(1 / a - 1)),
    posteriorVariance,
    posteriorLogVarianceClipped: table((t) => Math.log(posteriorVariance[Math.max(t, 1)])),
    posteriorMeanCoef1: table((t) => (beta[t] * Math.sqrt(alphaBarPrev[t])) / (1 - alphaBar[t])),
    posteriorMeanCoef2: table((t) => ((1 - alphaBarPrev[t]) * Math.sqrt(1 - beta[t])) / (1 - alphaBar[t])),
    fixedLargeVariance,
    fixedLargeLogVariance: fixedLargeVariance.map(Math.log),
  }
}
