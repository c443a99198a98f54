import {
  GaussianDiffusion,
  GeneratedNoise,
  GivenNoise,
  marginalSkip,
  marginalStart,
  replayable,
  sample,
  sampleLoop,
  type Distance,
  type Guidance,
  type Marginal,
  type NoiseSource,
  type SampleOptions,
  type SampleStep,
} from '../diffusion/index.ts'
import { TweedieError } from '../errors.ts'
import type { UNet } from '../nn/index.ts'
import type { Device, Live, Tensor } from '../tensor/index.ts'
import { labelsOf } from './labels.ts'
import type { DrawSettings } from './settings.ts'

/** What a batch is drawn with. */
export interface DrawTools {
  readonly device: Device
  readonly model: UNet
  /** Of self-guidance. */
  readonly distance: Distance
  /** [C, H, W] of a sample. */
  readonly shape: readonly number[]
}

/** Options of {@link drawing}. */
export interface DrawOptions {
  /** What leads the samples beside self-guidance; their terms are added up. */
  readonly guidances?: readonly Guidance[]
  /** Noise to take instead of the seed's: xT [N, C, H, W] and noise [draws, N, C, H, W]. */
  readonly given?: { readonly xT: Tensor; readonly noise: Tensor } | null
  /** The fitted Gaussian to start from; of given noise the start is given. */
  readonly marginal?: Marginal | null
  /** Also how far guidance moves each pixel, as `SampleOptions.pushes`. */
  readonly pushes?: boolean
  /** Goes on after this step of generated noise, instead of from its x_T. */
  readonly from?: FinishedStep | null
  readonly signal?: AbortSignal | undefined
}

/** Where a batch stands after a step, on the host. */
export interface FinishedStep {
  /** Steps done. */
  readonly done: number
  /** Their x, [N, C, H, W]. */
  readonly x: Float32Array
}

/** A batch that is about to be drawn, in one of two ways: step by step, or to the end. */
export interface Drawing {
  /** How many steps are walked. */
  readonly total: number
  /** Walks them; what they took is freed when it ends, however it ends. */
  readonly steps: AsyncGenerator<SampleStep, void, void>
  /** Walks them to the end, and gives the samples, the caller's. */
  toEnd(onStep: (step: SampleStep) => void | Promise<void>): Promise<Tensor>
}

/**
 * The sampler over a loaded model, as the command line and `Tweedie.sample` both run it: the samples with these numbers
 * of the run, which depend on its seed and their number and on nothing else of the batch.
 */
export function drawing(
  { device, model, distance, shape }: DrawTools,
  settings: DrawSettings,
  samples: readonly number[],
  options: DrawOptions = {},
): Drawing {
  const { guidances = [], given = null, marginal = null, from = null, pushes = false, signal } = options
  const { sampler, eta, boost, clipDenoised, guide } = settings
  const y = labelsOf(settings.labels, samples)
  const diffusion = new GaussianDiffusion({ ...settings.process, respacing: settings.respacing })
  const skip = marginal && !given ? marginalSkip(diffusion) : settings.skip
  const rest = {
    ...(y && { y }),
    method: sampler,
    ...(sampler === 'ddim' && { eta }),
    boost,
    clipDenoised,
    guidances,
    pushes,
    ...(signal && { signal }),
    ...(guide && { selfGuidance: { ...guide, distance } }),
  }
  const generated = (): GeneratedNoise | null =>
    given ? null : new GeneratedNoise(device, { seed: settings.seed, samples, shape })
  const optionsOf = (noise: GeneratedNoise | null): SampleOptions => {
    if (!noise) return { noise: new GivenNoise(given!.xT, given!.noise), skip, ...rest }
    if (from) {
      const initial = (): Tensor => device.tensor(from.x, [samples.length, ...shape])
      return { noise: startingAt(noise, initial), ...rest, boost: 1, skip: skip + from.done }
    }
    return { noise: marginal ? marginalStart(device, diffusion, marginal, noise).noise : noise, skip, ...rest }
  }
  const total = diffusion.steps - skip
  async function* steps(): AsyncGenerator<SampleStep, void, void> {
    if (from?.done === total) return
    using noise = generated()
    for await (const step of sampleLoop(diffusion, model, optionsOf(noise)))
      yield from ? { ...step, done: from.done + step.done, total } : step
  }
  return {
    total,
    steps: steps(),
    async toEnd(onStep) {
      using noise = generated()
      return await sample(diffusion, model, { ...optionsOf(noise), onStep })
    },
  }
}

/** The same draws, but for the first. */
const startingAt = (noise: GeneratedNoise, initial: () => Tensor): NoiseSource =>
  replayable(
    {
      initial,
      step: (t: Live<number>) => noise.step(t),
      renoise: (t: Live<number>, k: number) => noise.renoise(t, k),
    },
    noise,
  )

/**
 * Refuses values that are no numbers, with the samples that have them; `values` are of all of
 * `samples`, one after another.
 */
export function checkFinite(what: string, values: Float32Array, samples: readonly number[], why: string): void {
  const each = values.length / samples.length
  const broken = samples.filter((_, i) => !values.subarray(i * each, (i + 1) * each).every(Number.isFinite))
  if (broken.length === 0) return
  const found = values.find((value) => !Number.isFinite(value))
  throw new TweedieError(
    'non-finite',
    `${what} ${found} in sample${broken.length === 1 ? '' : 's'} ${broken.slice(0, 8).join(', ')}` +
      `${broken.length > 8 ? ` and ${broken.length - 8} more` : ''}. ${why}`,
  )
}
