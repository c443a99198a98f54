/**
 * Which steps a training batch is noised to (Improved DDPM Eq. 18; guided-diffusion resample.py). A sampler that
 * prefers some steps weighs their losses by 1 / (T p), so that the expected loss is the uniform sampler's; only its
 * variance changes.
 */
import { TweedieError } from '../../errors.ts'

/**
 * Which steps a training batch is noised to (Improved DDPM Eq. 18; guided-diffusion resample.py). A sampler that
 * prefers some steps weighs their losses by 1 / (T p), so that the expected loss is the uniform sampler's; only its
 * variance changes.
 */
export interface ScheduleSampler {
  /**
   * Steps of `batch` samples and the weight of each one's loss. `random` gives uniform numbers in [0, 1), one a sample.
   */
  sample(batch: number, random: () => number): { readonly t: number[]; readonly weights: number[] }
  /** Tells of the unweighted losses at steps `t`, for samplers that learn from them. */
  update?(t: readonly number[], losses: ArrayLike<number>): void
  /** What it has learned, as JSON. */
  save?(): unknown
  /** Goes on from what {@link save} gave. */
  restore?(saved: unknown): void
}

/** Every step with the same probability; all weights are 1. */
export class UniformSampler implements ScheduleSampler {
  readonly steps: number

  constructor(steps: number) {
    this.steps = steps
  }

  sample(batch: number, random: () => number): { t: number[]; weights: number[] } {
    return {
      t: Array.from({ length: batch }, () => Math.floor(random() * this.steps)),
      weights: new Array<number>(batch).fill(1),
    }
  }
}

/** Options of {@link LossSecondMomentResampler}. */
export interface LossSecondMomentOptions {
  /** Losses remembered for each step. Default 10. */
  readonly historyPerTerm?: number
  /** Share of the probability that is spread over all steps. Default 0.001. */
  readonly uniformProb?: number
}

/**
 * Steps in proportion to the root of the mean square of their latest losses (Nichol & Dhariwal 2021, Eq. 18), uniform
 * until every step has its history full: p_t = (1 - u) r_t / sum r + u / T.
 */
export class LossSecondMomentResampler implements ScheduleSampler {
  readonly steps: number
  readonly #historyPerTerm: number
  readonly #uniformProb: number
  /** The latest losses of each step, oldest first. */
  #history: number[][]

  constructor(steps: number, { historyPerTerm = 10, uniformProb = 0.001 }: LossSecondMomentOptions = {}) {
    this.steps = steps
    this.#historyPerTerm = historyPerTerm
    this.#uniformProb = uniformProb
    this.#history = Array.from({ length: steps }, () => [])
  }

  /** p_t, of sum 1. */
  probabilities(): Float64Array {
    const { steps } = this
    if (this.#history.some(({ length }) => length < this.#historyPerTerm))
      return new Float64Array(steps).fill(1 / steps)
    const roots = Float64Array.from(this.#history, (losses) =>
      Math.sqrt(losses.reduce((total, loss) => total + loss * loss, 0) / losses.length),
    )
    const total = roots.reduce((a, b) => a + b, 0)
    // Losses that are all 0 prefer no step.
    if (total === 0) return roots.fill(1 / steps)
    return roots.map((root) => ((1 - this.#uniformProb) * root) / total + this.#uniformProb / steps)
  }

  sample(batch: number, random: () => number): { t: number[]; weights: number[] } {
    const p = this.probabilities()
    let sum = 0
    const upTo = p.map((value) => (sum += value))
    // Rounding may leave the sum below the last number drawn.
    const draw = (): number => Math.min(firstAbove(upTo, random() * sum), this.steps - 1)
    const t = Array.from({ length: batch }, draw)
    return { t, weights: t.map((k) => 1 / (this.steps * p[k])) }
  }

  update(t: readonly number[], losses: ArrayLike<number>): void {
    t.forEach((k, i) => {
      const history = this.#history[k]
      if (history.length === this.#historyPerTerm) history.shift()
      history.push(losses[i])
    })
  }

  save(): { history: number[][] } {
    return { history: this.#history.map((losses) => [...losses]) }
  }

  /** @throws TweedieError 'option' for what is not the history of a sampler of as many steps and losses a step */
  restore(saved: unknown): void {
    const { history } = (saved ?? {}) as { history?: unknown }
    const fits = (losses: unknown): losses is number[] =>
      Array.isArray(losses) && losses.length <= this.#historyPerTerm && losses.every((loss) => typeof loss === 'number')
    if (!Array.isArray(history) || history.length !== this.steps || !history.every(fits)) {
      throw new TweedieError(
        'option',
        `The schedule sampler's state is to hold up to ${this.#historyPerTerm} losses for each of ` +
          `${this.steps} steps, and the one found does not: go on with the schedule sampler and the ` +
          'steps that the run began with.',
      )
    }
    this.#history = history.map((losses) => [...losses])
  }
}

/** Index of the first element above `value`; `sums` ascends. */
function firstAbove(sums: Float64Array, value: number): number {
  let low = 0
  let high = sums.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (sums[middle] > value) high = middle
    else low = middle + 1
  }
  return low
}

/**
 * A sampler by guided-diffusion's name for it: `'uniform'` or `'loss-second-moment'`.
 * @throws TweedieError 'option' for another name
 */
export function createNamedScheduleSampler(name: string, steps: number): ScheduleSampler {
  if (name === 'uniform') return new UniformSampler(steps)
  if (name === 'loss-second-moment') return new LossSecondMomentResampler(steps)
  throw new TweedieError('option', `A schedule sampler is uniform or loss-second-moment, found ${name}.`)
}
