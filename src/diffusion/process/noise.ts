import { checkAwaited, named, TweedieError } from '../../errors.ts'
import { refuseOther, refuseUnknown } from '../../refuse.ts'
import {
  randomNormal,
  reshape,
  slice,
  splitSeed,
  type Device,
  type Live,
  type Shape,
  type Tensor,
} from '../../tensor/index.ts'
import { purposes, type Purpose } from '../../tensor/purposes.ts'
import type { Replayable } from './replayable.ts'

/** Draws of standard normal noise for one batch, each [N, C, H, W]. The caller owns what it gets. */
export interface NoiseSource extends Replayable {
  /** x_T. */
  initial(): Tensor
  /** The noise of the step at respaced index `t`. */
  step(t: number): Tensor
  /** Draw `k` of the re-noising of self-guidance at index `t`. */
  renoise(t: number, k: number): Tensor
}

/** Options of {@link GeneratedNoise}. */
export interface GeneratedNoiseOptions {
  /** A whole number below 2^53. */
  readonly seed: number
  /** Index of each sample of the batch in the whole run. */
  readonly samples: readonly number[]
  /** Shape of one sample, [C, H, W]. */
  readonly shape: Shape
  /** `'upsample'`: the second of two stages, whose noise is not that of the first. Default `'base'`. */
  readonly stage?: 'base' | 'upsample'
}

/**
 * Noise of the counter-based generator: a draw depends on seed, sample index, purpose and step alone, so sample k of
 * seed s has the same draws in whatever batch it is computed. `dispose` frees its index tensor.
 *
 * ```ts
 * using noise = new GeneratedNoise(device, { seed: 1, samples: [0, 1, 2, 3], shape: [3, 64, 64] })
 * ```
 */
export class GeneratedNoise implements NoiseSource {
  readonly replayable = true
  readonly #seed: readonly [number, number]
  readonly #samples: Tensor<'u32'>
  readonly #shape: Shape
  readonly #purposes: { readonly initial: Purpose; readonly step: Purpose }

  /** @throws TweedieError 'option' for an option that is none, or out of range */
  constructor(device: Device, options: GeneratedNoiseOptions) {
    checkAwaited('GeneratedNoise', { device })
    refuseUnknown('GeneratedNoise', options, { seed: true, samples: true, shape: true, stage: true })
    const { seed, samples, shape, stage = 'base' } = options
    refuseOther('stage', stage, ['base', 'upsample'])
    const [numbers, sides] = [Array.from(samples ?? []), Array.from(shape ?? [])]
    const wrong = numbers.find((k) => !Number.isInteger(k) || k < 0 || k >= 2 ** 32)
    if (wrong !== undefined || numbers.length === 0)
      throw new TweedieError(
        'option',
        "samples are the numbers of this batch's samples in the run, whole ones of 0 or more, as in [0, 1, 2, " +
          `3]; found ${named(wrong ?? samples)}.`,
      )
    if (sides.length !== 3 || !sides.every((n) => Number.isInteger(n) && n > 0))
      throw new TweedieError(
        'shape',
        `shape is that of one sample, [C, H, W], found ${sides.length > 0 ? `[${sides.join(', ')}]` : named(shape)}.`,
      )
    this.#purposes = stage === 'base' ? purposes : { initial: purposes.upsampleInitial, step: purposes.upsampleStep }
    this.#seed = splitSeed(seed)
    this.#samples = device.keep(device.tensor(samples, [samples.length], 'u32'))
    this.#shape = shape
  }

  #draw(purpose: Purpose, draw: Live<number>): Tensor {
    return randomNormal(this.#samples, { seed: this.#seed, draw, purpose, shape: this.#shape })
  }

  initial(): Tensor {
    return this.#draw(this.#purposes.initial, 0)
  }

  step(t: Live<number>): Tensor {
    return this.#draw(this.#purposes.step, t)
  }

  renoise(t: Live<number>, k: number): Tensor {
    // 2^16 steps and as many draws before two counters meet.
    const draw = (at: number): number => at + k * 2 ** 16
    return this.#draw(purposes.renoise, typeof t === 'function' ? () => draw(t()) : draw(t))
  }

  /** What a start from the marginal draws of it: [N, dimension]. */
  marginal(dimension: number): Tensor {
    return randomNormal(this.#samples, { seed: this.#seed, draw: 0, purpose: purposes.marginal, shape: [dimension] })
  }

  dispose(): void {
    this.#samples.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/**
 * Noise in the order of the reference sampler: `xT` [N, C, H, W] and `noise` [draws, N, C, H, W], of which every call
 * takes the next: each step's own first, then those of a guided step.
 */
export class GivenNoise implements NoiseSource {
  readonly #xT: Tensor
  readonly #noise: Tensor
  #next = 0

  constructor(xT: Tensor, noise: Tensor) {
    if (noise.shape.length !== 5 || noise.shape.slice(1).some((n, i) => n !== xT.shape[i])) {
      throw new TweedieError(
        'shape',
        `Given noise is [draws, ${xT.shape.join(', ')}], found [${noise.shape.join(', ')}].`,
      )
    }
    this.#xT = xT
    this.#noise = noise
  }

  initial(): Tensor {
    return this.#xT.device.track(this.#xT.alias())
  }

  step(): Tensor {
    const draws = this.#noise.shape[0]
    if (this.#next >= draws)
      throw new TweedieError(
        'option',
        `The given noise has ${draws} draws, and the sampler asks for one more: record it with ` +
          'the same steps and guidance.',
      )
    const one = slice(this.#noise, 0, this.#next, ++this.#next)
    return reshape(one, this.#xT.shape)
  }

  renoise(): Tensor {
    return this.step()
  }
}
