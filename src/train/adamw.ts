import { TweedieError } from '../errors.ts'
import { now, updateAdamW, type Device, type Live, type Storage, type Tensor } from '../tensor/index.ts'
import { refuseUnknown } from '../refuse.ts'
import { layOut } from '../tensor/ops/copy.ts'
import { checkArray } from '../tensor/shape.ts'
import { partsOf, piecesOf, wholesOf, type Piece } from './pieces.ts'

/** Options of {@link AdamW}; a trainer takes them among its own. */
export interface AdamWOptions {
  /** Default 0.9 and 0.999. */
  readonly betas?: readonly [number, number]
  /** Default 1e-8. */
  readonly eps?: number
  /** Decoupled: the weights shrink by lr * weightDecay a step. Default 0. */
  readonly weightDecay?: number
  /** A moving average of the weights is kept for each rate, from a copy of them on. Default none. */
  readonly emaRates?: readonly number[]
}

/** Their names. */
export const adamWOptions = { betas: true, eps: true, weightDecay: true, emaRates: true } as const

/**
 * AdamW (Loshchilov & Hutter 2019, Algorithm 2) with exponential moving averages of the weights, as guided-diffusion
 * trains (train_util.py):
 *
 *     m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g²
 *     w = (1 - lr weightDecay) w - lr m / (1 - beta1^k) / (sqrt(v / (1 - beta2^k)) + eps)   at update k, from 1 on
 *     average = rate average + (1 - rate) w
 *
 * Moments and averages are tensors under the parameters' names, so that a checkpoint can hold them. They lie one after
 * another, each kind in pieces of 64 MiB, and the parameters are moved to lie in the same order: an update is one
 * kernel for a piece, whatever the number of parameters.
 *
 * @throws TweedieError 'option' for an option that is none of these, for a rate that is not from 0 to below 1, and for
 *   one tensor under two names
 */
export class AdamW {
  /** The caller's, overwritten by every step, and moved to memory that they share. */
  readonly parameters: ReadonlyMap<string, Tensor>
  readonly options: Required<AdamWOptions>
  /** First moment of the gradient, by parameter. */
  readonly m: Map<string, Tensor>
  /** Second moment, likewise. */
  readonly v: Map<string, Tensor>
  /** One for each of `emaRates`, in their order. */
  readonly emas: readonly Map<string, Tensor>[]
  /** Updates made so far; settable, for a run that goes on. */
  steps = 0
  /**
   * What of the parameters, and of all that is as large, lies together.
   * @internal
   */
  readonly pieces: readonly Piece[]
  /** By piece. */
  readonly #weights: readonly Tensor[]
  readonly #m: readonly Tensor[]
  readonly #v: readonly Tensor[]
  readonly #emas: readonly (readonly Tensor[])[]
  /** Where each parameter was put. */
  readonly #places = new Map<string, Storage>()

  /** `parameters` stay the caller's; they are overwritten by every {@link step}. */
  constructor(device: Device, parameters: ReadonlyMap<string, Tensor>, options: AdamWOptions = {}) {
    refuseUnknown('AdamW', options, adamWOptions)
    const { betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0, emaRates = [] } = options
    for (const list of [betas, emaRates]) checkArray('AdamW', 'rates', list)
    const wrong = [...betas, ...emaRates].find((rate) => !(rate >= 0 && rate < 1))
    if (wrong !== undefined)
      throw new TweedieError('option', `AdamW: betas and EMA rates are numbers from 0 to below 1, found ${wrong}.`)
    const names = new Map<Storage, string>()
    for (const [name, { storage }] of parameters) {
      const twin = names.get(storage)
      if (twin !== undefined)
        throw new TweedieError('option', `AdamW: "${name}" is the memory of "${twin}" too: give a tensor once.`)
      names.set(storage, name)
    }
    this.parameters = parameters
    this.options = { betas, eps, weightDecay, emaRates }
    this.pieces = piecesOf(parameters)
    const wholes = (): Tensor[] => wholesOf(device, this.pieces)
    const parts = (of: readonly Tensor[]): Map<string, Tensor> => partsOf(this.pieces, of, parameters)
    this.#weights = wholes()
    this.#m = wholes()
    this.#v = wholes()
    this.#emas = emaRates.map(wholes)
    this.m = parts(this.#m)
    this.v = parts(this.#v)
    this.emas = this.#emas.map(parts)
    this.settle()
    for (const ema of this.emas) for (const [name, average] of ema) average.assign(parameters.get(name)!)
  }

  /**
   * Moves the parameters to where the kernel finds them, and says whether any had to be: another optimizer of the same
   * may have moved them away.
   * @internal
   */
  settle(): boolean {
    let moved = false
    this.pieces.forEach(({ names, offsets }, k) =>
      names.forEach((name, i) => {
        const parameter = this.parameters.get(name)!
        if (this.#places.get(name) === parameter.storage) return
        parameter.moveTo(this.#weights[k].part(offsets[i], parameter.shape))
        this.#places.set(name, parameter.storage)
        moved = true
      }),
    )
    return moved
  }

  /**
   * `gradients`, in the order of the parameters, as {@link update} takes them: one tensor for each piece. They are
   * freed on the way, so that there are never two sets of them.
   * @internal
   */
  take(gradients: readonly Tensor[]): Tensor[] {
    let first = 0
    return this.pieces.map(({ names, offsets, size }) => {
      const own = gradients.slice(first, (first += names.length))
      const whole = layOut(own, offsets, size)
      for (const gradient of own) gradient.dispose()
      return whole
    })
  }

  /**
   * One update with learning rate `lr`; `gradients` in the order of the parameters. Enqueues only. In a program of
   * `Device.record` it counts as one of {@link AdamW.steps} once: add 1 to them before each replay.
   */
  step(gradients: readonly Tensor[], lr: Live<number>): void {
    const taken = this.take(gradients.map((gradient) => gradient.alias()))
    this.settle()
    this.steps++
    this.update(taken, lr)
    for (const tensor of taken) tensor.dispose()
  }

  /**
   * Enqueues update number {@link steps}, with gradients that {@link take} gave, times `factor` [1].
   * @internal
   */
  update(gradients: readonly Tensor[], lr: Live<number>, factor?: Tensor): void {
    const { betas, eps, weightDecay, emaRates } = this.options
    const params = {
      decay: () => 1 - now(lr) * weightDecay,
      rate: () => now(lr) / (1 - betas[0] ** this.steps),
      correction: () => (1 - betas[1] ** this.steps) ** -0.5,
      eps,
      betas,
      keep: emaRates,
    }
    gradients.forEach((gradient, k) => {
      const averages = this.#emas.map((ema) => ema[k])
      updateAdamW(gradient, { w: this.#weights[k], m: this.#m[k], v: this.#v[k], averages }, params, factor)
    })
  }

  /** Frees moments and averages, not the parameters. */
  dispose(): void {
    for (const tensors of [this.m, this.v, ...this.emas]) for (const tensor of tensors.values()) tensor.dispose()
    for (const tensor of [this.#weights, this.#m, this.#v, ...this.#emas].flat()) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
