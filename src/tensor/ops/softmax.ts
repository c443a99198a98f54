/** Softmax and its logarithm along the last axis. Both gradients are a sum along the row and one elementwise kernel. */
import { expression, f } from '../expression.ts'
import { applyOne, defineOp } from '../op.ts'
import { shapeError } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import { mul } from './arithmetic.ts'
import { map } from './map.ts'
import { sum } from './reduce.ts'

/** What {@link softmaxOp} is told. */
export interface SoftmaxParams {
  readonly log: boolean
}

// y = softmax: dx = y·(dy − Σ dy·y).  y = log softmax: dx = dy − exp(y)·Σ dy.
const gradientOfSoftmax = expression(3, 0, ([y, dy, total]) => f.mul(y, f.sub(dy, total)))
const gradientOfLog = expression(3, 0, ([y, dy, total]) => f.sub(dy, f.mul(f.exp(y), total)))
const rows = { axes: [-1], keepDims: true }

/** The op behind {@link softmax} and {@link logSoftmax}. */
export const softmaxOp = defineOp<SoftmaxParams>({
  name: 'softmax',
  shape(_, [x], user) {
    if (x.shape.length === 0) throw shapeError(user, 'at least one dimension', x.shape)
    return [{ shape: x.shape, dtype: 'f32' }]
  },
  saves: () => ({ outputs: [0] }),
  gradient({ params, output, cotangent }) {
    const y = output(0) as Tensor
    const dy = cotangent()
    return [
      params.log ? map(gradientOfLog, [y, dy, sum(dy, rows)]) : map(gradientOfSoftmax, [y, dy, sum(mul(dy, y), rows)]),
    ]
  },
})

/** exp(x) / Σ exp(x) along the last axis, stable for any finite x. */
export const softmax = (x: Tensor): Tensor => applyOne(softmaxOp, { log: false }, [x])

/** x − log Σ exp(x) along the last axis, stable for any finite x. */
export const logSoftmax = (x: Tensor): Tensor => applyOne(softmaxOp, { log: true }, [x], 'logSoftmax')
