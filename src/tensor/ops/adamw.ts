/**
 * AdamW's update (Loshchilov & Hutter 2019, Algorithm 2) with moving averages of the weights: the one op that
 * overwrites its inputs. With g the gradient times a factor,
 *
 *     m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g²
 *     w = decay w - rate m / (correction sqrt(v) + eps)
 *     average = keep average + (1 - keep) w
 *
 * `train/adamw.ts` says what the numbers are, and lays the tensors of a network one after another, so that there is one
 * update for all of them.
 */
import type { Live } from '../live.ts'
import { applyOp, defineOp, noGradient } from '../op.ts'
import { formatShape, sameShape, shapeError } from '../shape.ts'
import type { Tensor } from '../tensor.ts'

/** The numbers of one update, of which three depend on its count k. */
export interface AdamWParams {
  /** What is left of a weight: 1 - lr * weightDecay. */
  readonly decay: Live<number>
  /** The learning rate, corrected for the first moment's beginning at 0: lr / (1 - beta1^k). */
  readonly rate: Live<number>
  /** (1 - beta2^k)^-0.5 */
  readonly correction: Live<number>
  readonly eps: number
  readonly betas: readonly [number, number]
  /** Of each average: how much of it is kept. */
  readonly keep: readonly number[]
}

/** (gradient, w, m, v, averages…, factor?) → nothing: all but the first and the last are overwritten. */
export const adamWOp = defineOp<AdamWParams>({
  ...noGradient('adamW'),
  shape({ keep }, [gradient, ...rest], user) {
    for (const t of rest.slice(0, 3 + keep.length))
      if (!sameShape(t.shape, gradient.shape)) throw shapeError(user, formatShape(gradient.shape), t.shape)
    return []
  },
})

/** What an update overwrites, all of one shape. */
export interface AdamWState {
  readonly w: Tensor
  readonly m: Tensor
  readonly v: Tensor
  readonly averages: readonly Tensor[]
}

/** Updates `state` in place. The gradient is multiplied by `factor`, a tensor of one number. */
export function updateAdamW(gradient: Tensor, state: AdamWState, params: AdamWParams, factor?: Tensor): void {
  const { w, m, v, averages } = state
  const written = [w, m, v, ...averages]
  applyOp(adamWOp, params, [gradient, ...written, ...(factor ? [factor] : [])])
  for (const { storage } of written) storage.version++
}
