/** Picking elements by index. An index outside the table picks its nearest end; callers check what the host knows. */
import { applyOne, checkTensor, defineOp, noGradient } from '../op.ts'
import { normalizeAxis, shapeError, type Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import { slice } from './copy.ts'

export interface GatherParams {
  readonly axis: number
}

export interface GatherGradParams extends GatherParams {
  /** The table's shape. */
  readonly shape: Shape
}

/** (x, index i32) → the picks. An index of rank 1 is shared by all other axes of x, any other has x's rank. */
export const gatherOp = defineOp<GatherParams>({
  name: 'gather',
  dtypes: ['f32', 'i32'],
  shape({ axis }, [x, index], user) {
    const { shape } = index
    const fits =
      shape.length === 1 || (shape.length === x.shape.length && shape.every((n, i) => i === axis || n === x.shape[i]))
    if (!fits) throw shapeError(user, `an index like the table in all axes but ${axis}`, x.shape, shape)
    const picks = shape.length === 1 ? shape[0] : shape[axis]
    return [{ shape: x.shape.map((n, i) => (i === axis ? picks : n)), dtype: 'f32' }]
  },
  saves: () => ({ inputs: [1] }),
  gradient: ({ params, input, inputSpec, cotangent }) => [
    applyOne(gatherGrad, { ...params, shape: inputSpec(0).shape }, [cotangent(), input(1)]),
    null,
  ],
})

/** (dy, index) → dx of `shape`. */
export const gatherGrad = defineOp<GatherGradParams>({
  ...noGradient('gatherGrad'),
  dtypes: ['f32', 'i32'],
  shape: ({ shape }) => [{ shape, dtype: 'f32' }],
})

/**
 * `torch.gather`: out[i, j, k] = x[i, index[i, j, k], k] for axis 1, and so on. `index` has the rank of `x` and is not
 * longer than it along any other axis.
 *
 * ```ts
 * gather(logits, 1, labels)   // logits [N, K], labels i32 [N, 1] → each sample's logit of its label [N, 1]
 * ```
 */
export function gather(x: Tensor, axis: number, index: Tensor<'i32'>): Tensor {
  checkTensor('gather', x)
  checkTensor('gather', index)
  const a = normalizeAxis('gather', axis, x.shape.length)
  if (index.shape.length !== x.shape.length)
    throw shapeError('gather', 'an index of the rank of the table', x.shape, index.shape)
  const table = index.shape.reduce((t, n, i) => (i !== a && n < t.shape[i] ? slice(t, i, 0, n) : t), x)
  return applyOne(gatherOp, { axis: a }, [table, index])
}

/** The rows `indices` [N] of `table` [V, D]: `[N, D]`. */
export function embedding(table: Tensor, indices: Tensor<'i32'>): Tensor {
  checkTensor('embedding', table)
  checkTensor('embedding', indices)
  if (table.shape.length !== 2 || indices.shape.length !== 1)
    throw shapeError('embedding', 'a table [V, D] and indices [N]', table.shape, indices.shape)
  return applyOne(gatherOp, { axis: 0 }, [table, indices], 'embedding')
}
