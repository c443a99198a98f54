/**
 * The sampling loops: ancestral (`p_sample_loop`), DDIM (`ddim_sample_loop`) and DDIM run backwards, each with any sum of
 * guidances, as async iterables. A step is enqueued whole and awaited whole: nothing is read back inside the loop, and
 * what is shown of a step is read only if asked for. An abort rejects at once; what the device computes by then runs out.
 *
 * ```ts
 * for await (const step of sampleLoop(diffusion, denoiser, { noise, signal })) progress(step.done, step.total)
 * ```
 */
import { TweedieError } from '../errors.ts'
import { add, div, mul, type Device, type Tensor } from '../tensor/index.ts'
import type { DenoisedOptions, Denoiser, GaussianDiffusion } from './gaussian-diffusion.ts'
import type { Guidance } from './guidance.ts'
import type { NoiseSource } from './noise.ts'
import { isGuided, selfGuidedPass, type SelfGuidance } from './self-guidance.ts'

export interface SampleOptions extends DenoisedOptions {
  readonly noise: NoiseSource
  /** Default `'ancestral'`. */
  readonly method?: 'ancestral' | 'ddim'
  /** DDIM only: 0 is deterministic. Default 0. */
  readonly eta?: number
  /** Their gradients add up. */
  readonly guidances?: readonly Guidance[]
  readonly selfGuidance?: SelfGuidance
  /** Boost-and-Skip: x_T is multiplied by `boost` and the first `skip` indices are left out. Default 1 and 0. */
  readonly boost?: number
  readonly skip?: number
  readonly signal?: AbortSignal
}

export interface SampleStep {
  /** Respaced index of the step just done. */
  readonly t: number
  /** Steps done so far, and in all. */
  readonly done: number
  readonly total: number
  /** The state after the step, [N, C, H, W]: the sampler's own tensor, overwritten by the next step. */
  readonly x: Tensor
  /** The estimate of x_0 the step was made with, until the next step begins. */
  readonly predXStart: Tensor
  /** Of a step with self-guidance, the metric of the state that it began with, [N]; as long. See {@link selfGuidanceMetric}. */
  readonly metric?: Tensor
}

/**
 * Draws samples. Yields after every step; the last step's `x` is the sample, and like every other `x` it is freed when
 * the loop goes on or ends: read or `alias` it inside the loop.
 *
 * @throws `signal.reason` on abort, with everything freed.
 */
export async function* sampleLoop(diffusion: GaussianDiffusion, denoiser: Denoiser, options: SampleOptions): AsyncGenerator<SampleStep, void, void> {
  const { noise, boost = 1, skip = 0, signal } = options
  if (!Number.isInteger(skip) || skip < 0 || skip >= diffusion.steps) {
    throw new TweedieError('option', `Boost-and-Skip leaves out whole steps, fewer than all ${diffusion.steps}, found ${skip}.`)
  }
  if (options.eta !== undefined && !(options.eta >= 0 && options.eta <= 1)) throw new TweedieError('option', `eta is a number from 0 to 1, found ${options.eta}.`)
  signal?.throwIfAborted()
  const { device, state } = start(noise, boost)
  const total = diffusion.steps - skip
  const indices = Array.from({ length: total }, (_, i) => total - 1 - i)
  yield* walk(device, state, indices, (t) => oneStep(diffusion, denoiser, state, t, options), signal)
}

/**
 * Takes one step after another at the respaced `indices`, each from `state`, which it overwrites and in the end frees.
 * The step's estimate lives until the next step begins.
 */
async function* walk(device: Device, state: Tensor, indices: readonly number[], step: (t: number) => Made, signal: AbortSignal | undefined): AsyncGenerator<SampleStep, void, void> {
  try {
    for (const [i, t] of indices.entries()) {
      const shown = device.scope(() => {
        const { next, ...rest } = step(t)
        // Copied into the state's own memory, so that every step finds the pool as the one before it did.
        state.assign(next)
        return rest
      })
      for (const tensor of Object.values(shown)) device.keep(tensor)
      try {
        await orAborted(device.flush(), signal)
        yield { t, done: i + 1, total: indices.length, x: state, ...shown }
      } finally {
        for (const tensor of Object.values(shown)) tensor.dispose()
      }
      signal?.throwIfAborted()
    }
  } finally {
    state.dispose()
  }
}

/**
 * Waits for `work`, but no longer than until `signal` aborts: a step, or the compilation before the first, can take
 * minutes on a software adapter. What is on its way then is computed and overwritten; nothing looks at it.
 */
async function orAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (!signal) return work
  let stop = (): void => {}
  const aborted = new Promise<never>((_, reject) => (stop = () => reject(signal.reason as Error)))
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  try {
    await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
    // If the work fails after an abort, the abort has been told of already.
    work.catch(() => {})
  }
}

/** boost * x_T, in memory that the loop overwrites. */
function start(noise: NoiseSource, boost: number): { device: Device; state: Tensor } {
  const xT = noise.initial()
  const { device } = xT
  const state = mul(xT, boost)
  xT.dispose()
  return { device, state: device.keep(state) }
}

interface Made {
  readonly next: Tensor
  readonly predXStart: Tensor
  readonly metric?: Tensor
}

/**
 * x_{t-1} from x_t. The order of the draws is the reference's: the step's noise, then self-guidance's.
 *
 * A normalized gradient, such as self-guidance's, is made to move the mean, by variance * gradient. The reference has no
 * DDIM for it; here DDIM takes the term of the score that moves the mean as far, which is the shift over beta / sqrt(alpha).
 * So DDIM of eta 1 is ancestral sampling with self-guidance, too. The gradient itself as a score would move x_0 by
 * (1 - abar) / sqrt(abar) times it: 2e4 at the end of the cosine schedule, where a classifier's gradient vanishes.
 */
export function oneStep(diffusion: GaussianDiffusion, denoiser: Denoiser, x: Tensor, t: number, options: SampleOptions): Made {
  const { noise, method = 'ancestral', eta = 0, guidances = [], selfGuidance } = options
  const stepNoise = noise.step(t)
  const guided = selfGuidance && isGuided(selfGuidance, t, diffusion.steps)
  const self = guided ? selfGuidedPass(diffusion, denoiser, x, t, noise, selfGuidance) : null
  const out = self?.out ?? diffusion.run(denoiser, x, t)
  const p = diffusion.pMeanVariance(out, x, t, options)
  const timesteps = diffusion.timesteps(t, x.shape[0])
  const gradients = guidances.map((guidance) => guidance(x, timesteps))
  if (method === 'ddim') {
    const beta = diffusion.process.tables.betas[t]
    const asScore = (shift: Tensor): Tensor => div(shift, beta / Math.sqrt(1 - beta))
    const scores = gradients.map((gradient, i) => (guidances[i].normalized ? asScore(mul(p.variance, gradient)) : gradient))
    if (self) scores.push(asScore(selfGuidance?.scale === 'fixed' ? self.gradient : mul(p.variance, self.gradient)))
    const predXStart = scores.length > 0 ? diffusion.conditionScore(p.predXStart, t, scores.reduce(add)) : p.predXStart
    return { next: diffusion.ddimSample(predXStart, x, t, eta, stepNoise), predXStart, ...(self && { metric: self.metric }) }
  }
  let mean = gradients.length > 0 ? diffusion.conditionMean(p, gradients.reduce(add)) : p.mean
  if (self) mean = selfGuidance?.scale === 'fixed' ? add(mean, self.gradient) : diffusion.conditionMean({ ...p, mean }, self.gradient)
  return { next: diffusion.pSample(mean, p.logVariance, t, stepNoise), predXStart: p.predXStart, ...(self && { metric: self.metric }) }
}

/**
 * Runs DDIM backwards from the clean images `x0` to x_T (`ddim_reverse_sample`): the code from which deterministic DDIM
 * makes them again. Yields after every step, as {@link sampleLoop} does.
 */
export async function* ddimInvert(diffusion: GaussianDiffusion, denoiser: Denoiser, x0: Tensor, options: DenoisedOptions & { readonly signal?: AbortSignal } = {}): AsyncGenerator<SampleStep, void, void> {
  const { signal } = options
  const { device } = x0
  signal?.throwIfAborted()
  const state = device.keep(mul(x0, 1))
  const indices = Array.from({ length: diffusion.steps }, (_, t) => t)
  yield* walk(device, state, indices, (t) => {
    const predXStart = diffusion.predXStart(diffusion.run(denoiser, state, t), state, t, options)
    return { next: diffusion.ddimReverseSample(predXStart, state, t), predXStart }
  }, signal)
}
