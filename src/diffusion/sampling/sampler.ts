/**
 * The sampling loops: ancestral (`p_sample_loop`), DDIM (`ddim_sample_loop`) and DDIM run backwards, each with any sum
 * of guidances, as async iterables. A step is enqueued whole and awaited whole: nothing is read back inside the loop,
 * and what is shown of a step is read only if asked for; `walk.ts` says which steps are replayed. An abort rejects at
 * once; what the device computes by then runs out.
 */
import { asksForAwait } from '../../errors.ts'
import { mul, sqrt, square, sub, sum, Tensor, type Device, type Live } from '../../tensor/index.ts'
import { denoiserOf, givenTensor, type DenoiserLike } from '../process/denoiser.ts'
import { GaussianDiffusion } from '../process/gaussian-diffusion.ts'
import type { NoiseSource } from '../process/noise.ts'
import { handedOn, isReplayable } from '../process/replayable.ts'
import {
  checkDiffusion,
  checkInvertOptions,
  checkSampleOptions,
  checkSampleToEndOptions,
  givenGradient,
  type InvertOptions,
  type SampleOptions,
  type SampleStep,
  type SampleToEndOptions,
} from './sample-options.ts'
import { samplers, type SamplerInput, type SamplerOutput } from './samplers.ts'
import { isGuided, selfGuidance, selfGuidedPass } from '../guidance/self-guidance.ts'
import { walk } from './walk.ts'

/**
 * Draws samples with `model`, a U-Net or a function `(x, timesteps) => …` in its place: by ancestral sampling
 * (guided-diffusion `p_sample_loop`) or DDIM (`ddim_sample_loop`), with any sum of guidances. Yields after every step;
 * the last step's `x` is the sample, and like every other `x` it is freed when the loop goes on or ends: read or
 * `alias` it inside the loop. {@link sample} runs the loop to its end.
 *
 * ```ts
 * for await (const { done, total, x } of sampleLoop(diffusion, model, { noise })) {
 *   if (done === total) console.log(await x.read())
 * }
 * ```
 *
 * @throws `signal.reason` on abort, with everything freed; TweedieError 'option' for an option that is none or out of
 *   range
 */
export async function* sampleLoop(
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  options: SampleOptions,
): AsyncGenerator<SampleStep, void, void> {
  checkSampleOptions(options, diffusion)
  const { noise, boost = 1, skip = 0, signal } = options
  signal?.throwIfAborted()
  using _ = remembered(diffusion, model, options.y)
  const { device, state } = start(noise, boost)
  const total = diffusion.steps - skip
  const indices = Array.from({ length: total }, (_, i) => total - 1 - i)
  yield* walk({
    device,
    state,
    indices,
    step: (t, guided) => stepFrom(diffusion, model, state, t, options, guided),
    guided: guidedIn(diffusion, options),
    replayable: mayReplay(diffusion, model, options),
    signal,
  })
}

/**
 * Draws samples with `model` and gives them when all steps are done: [N, C, H, W], the caller's.
 *
 * ```ts
 * const x = await sample(diffusion, model, { noise, onStep: ({ done, total }) => console.log(`${done} of ${total}`) })
 * ```
 * @throws what {@link sampleLoop} throws, and what `onStep` does, with everything freed
 */
export function sample(
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  options: SampleToEndOptions,
): Promise<Tensor> {
  return asksForAwait(toEnd(diffusion, model, options), 'Tensor', Tensor)
}

async function toEnd(diffusion: GaussianDiffusion, model: DenoiserLike, options: SampleToEndOptions): Promise<Tensor> {
  checkSampleToEndOptions(options)
  const { onStep, ...sampling } = options
  let last: Tensor | undefined
  try {
    for await (const step of sampleLoop(diffusion, model, sampling)) {
      await onStep?.(step)
      if (step.done === step.total) last = step.x.alias()
    }
    return last!
  } catch (error) {
    last?.dispose()
    throw error
  }
}

/** Lets `model` remember all timesteps of the process for the time of a walk; null where it cannot. */
function remembered(diffusion: GaussianDiffusion, model: DenoiserLike, y?: ArrayLike<number>): Disposable | null {
  // Whether it is a model at all is found out at the first step.
  if (typeof (model as Partial<DenoiserLike> | undefined)?.remember !== 'function') return null
  const timesteps = Array.from({ length: diffusion.steps }, (_, t) => diffusion.timesteps(t, 1)[0])
  return model.remember?.(timesteps, y) ?? null
}

/** boost * x_T, in memory that the loop overwrites. */
function start(noise: NoiseSource, boost: number): { device: Device; state: Tensor } {
  const xT = noise.initial()
  const { device } = xT
  try {
    return { device, state: device.keep(mul(xT, boost)) }
  } finally {
    xT.dispose()
  }
}

/**
 * What {@link oneStep} makes: x_{t-1}, the estimate of x_0, the metric of a step that self-guidance led, and the push
 * of a guided one where it is asked for.
 */
export interface OneStep extends SamplerOutput {
  readonly metric?: Tensor
  readonly push?: Tensor
}

/** x_{t-1} from x_t. The order of the draws is the reference's: the step's noise, then self-guidance's. */
export function oneStep(
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  x: Tensor,
  t: number,
  options: SampleOptions,
): OneStep {
  checkSampleOptions(options, diffusion)
  return stepFrom(diffusion, model, x, t, options, guidedIn(diffusion, options)(t))
}

/** Which steps self-guidance leads. */
function guidedIn(diffusion: GaussianDiffusion, options: SampleOptions): (t: number) => boolean {
  const guide = options.selfGuidance && selfGuidance(options.selfGuidance)
  return (t) => guide !== undefined && isGuided(guide, t, diffusion.steps)
}

/** Whether all that a step calls says that it may be recorded; a process of another class may do what it will. */
const mayReplay = (
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  { noise, guidances = [], selfGuidance: guide, denoisedFn }: Partial<SampleOptions>,
): boolean =>
  diffusion.constructor === GaussianDiffusion &&
  denoisedFn === undefined &&
  [model, ...guidances, ...(noise ? [noise] : []), ...(guide?.distance ? [guide.distance] : [])].every(isReplayable)

/** {@link oneStep} of checked options, `guided` by itself or not; a live `t` goes to what is replayable alone. */
function stepFrom(
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  x: Tensor,
  t: Live<number>,
  options: SampleOptions,
  guided: boolean,
): OneStep {
  const { noise, method = 'ancestral', eta = 0, guidances = [] } = options
  const denoiser = denoiserOf(model, options.y)
  const guide = options.selfGuidance && selfGuidance(options.selfGuidance)
  const stepNoise = givenTensor('noise.step', noise.step(handedOn(t)), x.shape)
  const self = guide && guided ? selfGuidedPass(diffusion, denoiser, x, t, noise, guide) : null
  const out = self?.out ?? diffusion.run(denoiser, x, t)
  const timesteps = handedOn(diffusion.timesteps(t, x.shape[0]))
  const input: SamplerInput = {
    diffusion,
    x,
    t,
    eta,
    noise: stepNoise,
    p: diffusion.pMeanVariance(out, x, t, options),
    gradients: guidances.map((guidance) => ({
      gradient: givenGradient(guidance(x, timesteps), x),
      normalized: guidance.normalized ?? false,
    })),
    self: self && { gradient: self.gradient, fixed: guide?.scale === 'fixed' },
  }
  const made = samplers[method](input)
  const led = self !== null || guidances.length > 0
  return {
    ...made,
    ...(self && { metric: self.metric }),
    ...(options.pushes &&
      led && { push: pushOf(made.next, samplers[method]({ ...input, gradients: [], self: null }).next) }),
  }
}

/** How far each pixel of `guided` lies from that of `plain`, the step of the same noise without guidance: [N, H, W]. */
const pushOf = (guided: Tensor, plain: Tensor): Tensor => sqrt(sum(square(sub(guided, plain)), { axes: [1] }))

/**
 * Runs DDIM backwards from the clean images `x0` to x_T (`ddim_reverse_sample`): the code from which deterministic DDIM
 * makes them again. Yields after every step, as {@link sampleLoop} does.
 */
export async function* ddimInvert(
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  x0: Tensor,
  options: InvertOptions = {},
): AsyncGenerator<SampleStep, void, void> {
  checkDiffusion(diffusion)
  checkInvertOptions(options)
  const { y, signal } = options
  const { device } = x0
  signal?.throwIfAborted()
  using _ = remembered(diffusion, model, y)
  const state = device.keep(mul(x0, 1))
  const indices = Array.from({ length: diffusion.steps }, (_, t) => t)
  yield* walk({
    device,
    state,
    indices,
    step: (t) => {
      const predXStart = diffusion.predXStart(diffusion.run(model, state, t, y), state, t, options)
      return { next: diffusion.ddimReverseSample(predXStart, state, t), predXStart }
    },
    guided: () => false,
    replayable: mayReplay(diffusion, model, options),
    signal,
  })
}
