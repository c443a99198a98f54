/**
 * Batched matrix product `a @ b`, either side optionally transposed by index arithmetic. Leading dimensions broadcast,
 * so one weight matrix serves a whole batch.
 */
import { refuseUnknown } from '../../refuse.ts'
import { applyOne, defineOp } from '../op.ts'
import { broadcastShapes, shapeError, type Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import { add } from './arithmetic.ts'

/** Which sides of a product are stored transposed. */
export interface MatmulParams {
  readonly transposeA: boolean
  readonly transposeB: boolean
}

const flip = (shape: Shape, transpose: boolean): Shape =>
  transpose ? [...shape.slice(0, -2), shape[shape.length - 1], shape[shape.length - 2]] : shape

/** The op behind {@link matmul} and {@link linear}. */
export const matmulOp = defineOp<MatmulParams>({
  name: 'matmul',
  shape({ transposeA, transposeB }, [a, b], user) {
    if (a.shape.length < 2 || b.shape.length < 2)
      throw shapeError(user, 'two matrices or batches of them', a.shape, b.shape)
    const left = flip(a.shape, transposeA)
    const right = flip(b.shape, transposeB)
    if (left[left.length - 1] !== right[right.length - 2]) throw shapeError(user, 'equal inner dimensions', left, right)
    const batch = broadcastShapes(user, [left.slice(0, -2), right.slice(0, -2)])
    return [{ shape: [...batch, left[left.length - 2], right[right.length - 1]], dtype: 'f32' }]
  },
  saves: (_, [a, b]) => ({ inputs: [...(b ? [0] : []), ...(a ? [1] : [])] }),
  gradient({ params: { transposeA, transposeB }, input, cotangent, needs }) {
    const dy = cotangent()
    const product = (a: Tensor, ta: boolean, b: Tensor, tb: boolean): Tensor =>
      matmul(a, b, { transposeA: ta, transposeB: tb })
    const da = (): Tensor => {
      const b = input(1) as Tensor
      return transposeA ? product(b, transposeB, dy, true) : product(dy, false, b, !transposeB)
    }
    const db = (): Tensor => {
      const a = input(0) as Tensor
      return transposeB ? product(dy, true, a, transposeA) : product(a, !transposeA, dy, false)
    }
    return [needs(0) ? da() : null, needs(1) ? db() : null]
  },
})

const matmulOptions = { transposeA: true, transposeB: true } as const

/** `a` [..., M, K] times `b` [..., K, N] (each stored transposed if so said) gives [..., M, N]. */
export function matmul(a: Tensor, b: Tensor, options: Partial<MatmulParams> = {}): Tensor {
  refuseUnknown('matmul', options, matmulOptions)
  return applyOne(matmulOp, { transposeA: options.transposeA ?? false, transposeB: options.transposeB ?? false }, [
    a,
    b,
  ])
}

/** `x` [N, I] through a layer with `weight` [O, I] and `bias` [O] gives [N, O]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const y = applyOne(matmulOp, { transposeA: false, transposeB: true }, [x, weight], 'linear')
  return bias ? add(y, bias) : y
}
