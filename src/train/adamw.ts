import { TweedieError } from '../errors.ts'
import { expression, f, full, map, mul, type Device, type Tensor } from '../tensor/index.ts'
import { refuseUnknown } from '../refuse.ts'
import { checkArray } from '../tensor/shape.ts'

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

// beta a + (1 - beta) x, of which 1 - beta comes from the host: 1 - 0.9999 in float32 is off by 1e-4 of itself.
const average = expression(2, 2, ([a, x], [beta, rest]) => f.add(f.mul(beta, a), f.mul(rest, x)))
const averageOfSquares = expression(2, 2, ([a, x], [beta, rest]) => f.add(f.mul(beta, a), f.mul(f.mul(rest, x), x)))
// weight * decay - rate * m / (sqrt(v) / rootCorrection + eps)
const update = expression(3, 4, ([weight, m, v], [decay, rate, correction, eps]) =>
  f.sub(f.mul(weight, decay), f.mul(rate, f.div(m, f.add(f.mul(f.sqrt(v), correction), eps)))),
)

/**
 * AdamW (Loshchilov & Hutter 2019, Algorithm 2) with exponential moving averages of the weights, as guided-diffusion
 * trains (train_util.py): for every parameter one kernel each for the two moments, the weight and every average,
 *
 *     m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g²
 *     w = (1 - lr weightDecay) w - lr m / (1 - beta1^k) / (sqrt(v / (1 - beta2^k)) + eps)   at update k, from 1 on
 *     average = rate average + (1 - rate) w
 *
 * Moments and averages are tensors under the parameters' names, so that a checkpoint can hold them.
 *
 * @throws TweedieError 'option' for an option that is none of these, and for a rate that is not from 0 to below 1
 */
export class AdamW {
  /** The caller's, overwritten by every step. */
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

  /** `parameters` stay the caller's; they are overwritten by every {@link step}. */
  constructor(device: Device, parameters: ReadonlyMap<string, Tensor>, options: AdamWOptions = {}) {
    refuseUnknown('AdamW', options, adamWOptions)
    const { betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0, emaRates = [] } = options
    for (const list of [betas, emaRates]) checkArray('AdamW', 'rates', list)
    const wrong = [...betas, ...emaRates].find((rate) => !(rate >= 0 && rate < 1))
    if (wrong !== undefined)
      throw new TweedieError('option', `AdamW: betas and EMA rates are numbers from 0 to below 1, found ${wrong}.`)
    this.parameters = parameters
    this.options = { betas, eps, weightDecay, emaRates }
    const like = (make: (x: Tensor) => Tensor): Map<string, Tensor> =>
      new Map([...parameters].map(([key, x]) => [key, device.keep(device.scope(() => make(x)))]))
    this.m = like((x) => full(device, x.shape, 0))
    this.v = like((x) => full(device, x.shape, 0))
    this.emas = emaRates.map(() => like((x) => mul(x, 1)))
  }

  /** One update with learning rate `lr`; `gradients` in the order of the parameters. Enqueues only. */
  step(gradients: readonly Tensor[], lr: number): void {
    const {
      betas: [beta1, beta2],
      eps,
      weightDecay,
      emaRates,
    } = this.options
    this.steps++
    const rate = lr / (1 - beta1 ** this.steps)
    const correction = (1 - beta2 ** this.steps) ** -0.5
    let i = 0
    for (const [key, weight] of this.parameters) {
      const gradient = gradients[i++]
      const m = this.m.get(key)!
      const v = this.v.get(key)!
      weight.device.scope(() => {
        m.assign(map(average, [m, gradient], [beta1, 1 - beta1]))
        v.assign(map(averageOfSquares, [v, gradient], [beta2, 1 - beta2]))
        weight.assign(map(update, [weight, m, v], [1 - lr * weightDecay, rate, correction, eps]))
        this.emas.forEach((ema, k) => {
          const shadow = ema.get(key)!
          shadow.assign(map(average, [shadow, weight], [emaRates[k], 1 - emaRates[k]]))
        })
      })
    }
  }

  /** Frees moments and averages, not the parameters. */
  dispose(): void {
    for (const tensors of [this.m, this.v, ...this.emas]) for (const tensor of tensors.values()) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
