/**
 * The samplers, a function each: from what the model said of x_t to x_{t-1}. A sampler decides what the terms that lead
 * a sample do to it; it runs no network and draws no noise, so the order of both is the same for all.
 */
import { add, expression, f, map, mul, now, type Live, type Tensor } from '../../tensor/index.ts'
import type { GaussianDiffusion, MeanVariance } from '../process/gaussian-diffusion.ts'

/** What a sampler makes its step from. */
export interface SamplerInput {
  readonly diffusion: GaussianDiffusion
  /** The state [N, C, H, W] at respaced index `t`, of a recorded step the function that gives it. */
  readonly x: Tensor
  readonly t: Live<number>
  /** What the model makes of it. */
  readonly p: MeanVariance
  /**
   * The guidances' terms of the score, of x's shape; a normalized one is made to move the mean, by variance * gradient.
   */
  readonly gradients: readonly { readonly gradient: Tensor; readonly normalized: boolean }[]
  /**
   * Self-guidance's, which is normalized; `fixed`: it moves the mean by itself, not by variance * gradient. Null: none.
   */
  readonly self: { readonly gradient: Tensor; readonly fixed: boolean } | null
  /** Standard normal, of x's shape. */
  readonly noise: Tensor
  /** DDIM's: 0 is deterministic, 1 has the variance of ancestral sampling. */
  readonly eta: number
}

/** What a sampler makes: x_{t-1}, and the estimate of x_0 that it was made with. */
export interface SamplerOutput {
  readonly next: Tensor
  readonly predXStart: Tensor
}

/** Ancestral sampling (`p_sample` with `condition_mean`): the terms move the mean by variance * gradient. */
export function ancestral({ diffusion, t, p, gradients, self, noise }: SamplerInput): SamplerOutput {
  let mean =
    gradients.length > 0 ? diffusion.conditionMean(p, gradients.map(({ gradient }) => gradient).reduce(add)) : p.mean
  if (self) mean = self.fixed ? add(mean, self.gradient) : diffusion.conditionMean({ ...p, mean }, self.gradient)
  return { next: diffusion.pSample(mean, p.logVariance, t, noise), predXStart: p.predXStart }
}

const quotient = expression(1, 1, ([x], [divisor]) => f.div(x, divisor))

/**
 * DDIM (`ddim_sample` with `condition_score`): the terms are added to the score, and with it they move
 * the estimate of x_0.
 *
 * For a normalized gradient, such as self-guidance's, the reference has no DDIM; here it takes the term of the score
 * that moves the mean as far, which is the shift over beta / sqrt(alpha). So DDIM of eta 1 is ancestral sampling with
 * self-guidance, too. The gradient itself as a score would move x_0 by (1 - abar) / sqrt(abar) times it: 2e4 at the end
 * of the cosine schedule, where a classifier's gradient vanishes.
 */
export function ddim({ diffusion, x, t, p, gradients, self, noise, eta }: SamplerInput): SamplerOutput {
  const { betas } = diffusion.process.tables
  const divisor = (): number[] => [betas[now(t)] / Math.sqrt(1 - betas[now(t)])]
  const asScore = (shift: Tensor): Tensor => map(quotient, [shift], divisor)
  const scores = gradients.map(({ gradient, normalized }) =>
    normalized ? asScore(mul(p.variance, gradient)) : gradient,
  )
  if (self) scores.push(asScore(self.fixed ? self.gradient : mul(p.variance, self.gradient)))
  const predXStart = scores.length > 0 ? diffusion.conditionScore(p.predXStart, t, scores.reduce(add)) : p.predXStart
  return { next: diffusion.ddimSample(predXStart, x, t, eta, noise), predXStart }
}

/** Every sampler by its name: what `method` chooses from in `SampleOptions`, and `--sampler` on the command line. */
export const samplers = { ancestral, ddim } as const

/** A sampler by its name: what `SampleOptions.method` takes. */
export type Sampler = keyof typeof samplers
/** The names of all samplers. */
export const samplerNames = Object.keys(samplers) as readonly Sampler[]
