/**
 * Guidance by a classifier (spec C.6): g = scale * grad_x log p(y | x_t). A sampler adds up the gradients of all its
 * guidances and applies the sum once, to the mean (ancestral) or to the score (DDIM).
 */
import { TweedieError } from '../errors.ts'
import { gather, grad, logSoftmax, mul, type Tensor } from '../tensor/index.ts'

/**
 * A term of the score at x_t [N, C, H, W]: d log p / dx of whatever the samples are to be led to, of x's shape.
 * `timesteps` are the mapped ones, as the network sees them, one a sample.
 */
export type Guidance = (x: Tensor, timesteps: readonly number[]) => Tensor

export interface ClassifierGuidanceOptions {
  /** Target class of every sample, or one for all. */
  readonly target: number | readonly number[]
  /** Default 1. */
  readonly scale?: number
}

/** `logits(x, timesteps)` gives [N, K]; differentiated by x. */
export function classifierGuidance(logits: (x: Tensor, timesteps: readonly number[]) => Tensor, { target, scale = 1 }: ClassifierGuidanceOptions): Guidance {
  return (x, timesteps) => {
    const { device } = x
    const [n] = x.shape
    const targets = typeof target === 'number' ? new Array<number>(n).fill(target) : target
    if (targets.length !== n) throw new TweedieError('option', `Expected one target class for each of the ${n} samples, found ${targets.length}.`)
    return device.scope(() => {
      const index = device.tensor(targets, [n, 1], 'i32')
      const logProb = (): Tensor => {
        const y = logits(x, timesteps)
        const wrong = targets.find((k) => !Number.isInteger(k) || k < 0 || k >= y.shape[1])
        if (wrong !== undefined) throw new TweedieError('option', `Target class ${wrong} is not one of the classifier's classes 0 to ${y.shape[1] - 1}.`)
        return gather(logSoftmax(y), 1, index)
      }
      return mul(grad(logProb, [x]).gradients[0], scale)
    })
  }
}
