/**
 * Moving values without changing them: permute, slice, pad and concatenate are all one strided copy of a box. One op
 * with one kernel serves them, and its gradient is the same op the other way round.
 */
import { TweedieError } from '../../errors.ts'
import type { DType } from '../dtype.ts'
import { applyOne, checkTensor, defineOp, type Op } from '../op.ts'
import { checkArray, formatShape, normalizeAxis, shapeError, sizeOf, stridesOf, type Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'

/**
 * A box of one input, and where it lands in the output: both described by an offset and a stride per axis of the box.
 */
export interface Box {
  readonly input: number
  readonly extent: Shape
  readonly from: { readonly offset: number; readonly strides: readonly number[] }
  readonly to: { readonly offset: number; readonly strides: readonly number[] }
}

/** What the op behind slices, joins and permutations is told: boxes of its inputs, and where they go. */
export interface CopyParams {
  readonly boxes: readonly Box[]
  readonly shape: Shape
}

/** Copies boxes that do not overlap; what no box covers is 0. */
export const copy: Op<CopyParams> = defineOp<CopyParams>({
  name: 'copy',
  dtypes: 'any',
  shape: ({ shape }, [x]) => [{ shape, dtype: x.dtype }],
  saves: () => ({}),
  gradient({ params, inputSpec, cotangent, needs }) {
    const dy = cotangent()
    const inputs = 1 + Math.max(...params.boxes.map((b) => b.input))
    return Array.from({ length: inputs }, (_, i) => {
      if (!needs(i)) return null
      const boxes = params.boxes
        .filter((b) => b.input === i)
        .map((b): Box => ({ input: 0, extent: b.extent, from: b.to, to: b.from }))
      return applyOne(copy, { boxes, shape: inputSpec(i).shape }, [dy])
    })
  },
})

const copyOne = <D extends DType>(user: string, params: CopyParams, x: Tensor<D>): Tensor<D> =>
  applyOne<CopyParams, D>(copy, params, [x], user)

/** Reorders axes: axis i of the result is axis `order[i]` of `x`. */
export function permute<D extends DType>(x: Tensor<D>, order: readonly number[]): Tensor<D> {
  checkTensor('permute', x)
  checkArray('permute', 'the order of the axes', order)
  if ([...order].sort((a, b) => a - b).some((axis, i) => axis !== i) || order.length !== x.shape.length) {
    throw new TweedieError(
      'shape',
      `permute: expected an order of the ${x.shape.length} axes of ${formatShape(x.shape)}, ` +
        `found ${formatShape(order)}.`,
    )
  }
  const shape = order.map((axis) => x.shape[axis])
  const strides = stridesOf(x.shape)
  return copyOne(
    'permute',
    {
      shape,
      boxes: [
        {
          input: 0,
          extent: shape,
          from: { offset: 0, strides: order.map((axis) => strides[axis]) },
          to: { offset: 0, strides: stridesOf(shape) },
        },
      ],
    },
    x,
  )
}

/** Elements `start` (inclusive) to `end` (exclusive) along `axis`. */
export function slice<D extends DType>(x: Tensor<D>, axis: number, start: number, end: number): Tensor<D> {
  checkTensor('slice', x)
  const a = normalizeAxis('slice', axis, x.shape.length)
  if (!(Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start < end && end <= x.shape[a])) {
    throw shapeError('slice', `0 <= start < end <= ${x.shape[a]} along axis ${a}`, [start, end])
  }
  const shape = x.shape.map((n, i) => (i === a ? end - start : n))
  const strides = stridesOf(x.shape)
  return copyOne(
    'slice',
    {
      shape,
      boxes: [
        {
          input: 0,
          extent: shape,
          from: { offset: start * strides[a], strides },
          to: { offset: 0, strides: stridesOf(shape) },
        },
      ],
    },
    x,
  )
}

/** Surrounds `x` with zeros: `before[i]` and `after[i]` elements along axis i. */
export function pad<D extends DType>(x: Tensor<D>, before: readonly number[], after: readonly number[]): Tensor<D> {
  checkTensor('pad', x)
  for (const list of [before, after]) checkArray('pad', 'a number for each axis', list)
  const usable = (list: readonly number[]): boolean =>
    list.length === x.shape.length && list.every((n) => Number.isInteger(n) && n >= 0)
  if (!usable(before) || !usable(after))
    throw shapeError('pad', `for each axis of ${formatShape(x.shape)} two numbers of 0 or more`, before, after)
  const shape = x.shape.map((n, i) => n + before[i] + after[i])
  const strides = stridesOf(shape)
  const offset = strides.reduce((sum, s, i) => sum + s * before[i], 0)
  return copyOne(
    'pad',
    {
      shape,
      boxes: [{ input: 0, extent: x.shape, from: { offset: 0, strides: stridesOf(x.shape) }, to: { offset, strides } }],
    },
    x,
  )
}

/** Joins tensors that agree in all dimensions but `axis`. */
export function concat<D extends DType>(tensors: readonly Tensor<D>[], axis: number): Tensor<D> {
  checkArray('concat', 'tensors', tensors)
  if (tensors.length === 0) throw new TweedieError('option', 'concat: expected at least one tensor.')
  for (const t of tensors) checkTensor('concat', t)
  const a = normalizeAxis('concat', axis, tensors[0].shape.length)
  for (const t of tensors) {
    if (t.dtype !== tensors[0].dtype)
      throw new TweedieError('shape', `concat: expected tensors of one type, found ${tensors[0].dtype} and ${t.dtype}.`)
    if (t.shape.length !== tensors[0].shape.length || t.shape.some((n, i) => i !== a && n !== tensors[0].shape[i])) {
      throw shapeError('concat', `shapes that differ along axis ${a} only`, ...tensors.map((u) => u.shape))
    }
  }
  const shape = tensors[0].shape.map((n, i) => (i === a ? tensors.reduce((sum, t) => sum + t.shape[a], 0) : n))
  const strides = stridesOf(shape)
  let start = 0
  const boxes = tensors.map((t, input): Box => {
    const to = { offset: start * strides[a], strides }
    start += t.shape[a]
    return { input, extent: t.shape, from: { offset: 0, strides: stridesOf(t.shape) }, to }
  })
  return applyOne<CopyParams, D>(copy, { boxes, shape }, tensors, 'concat')
}

/** Cuts `x` into pieces of the given sizes along `axis`. */
export function split<D extends DType>(x: Tensor<D>, axis: number, sizes: readonly number[]): Tensor<D>[] {
  checkTensor('split', x)
  checkArray('split', 'sizes', sizes)
  const extent = x.shape[normalizeAxis('split', axis, x.shape.length)]
  if (!sizes.every((n) => Number.isInteger(n) && n > 0) || sizes.reduce((sum, n) => sum + n, 0) !== extent) {
    throw shapeError('split', `positive sizes that add up to ${extent}`, sizes)
  }
  let start = 0
  return sizes.map((size) => slice(x, axis, start, (start += size)))
}

/** Whether the boxes write every element of the output. */
export const coversAll = ({ boxes, shape }: CopyParams): boolean =>
  boxes.reduce((sum, b) => sum + sizeOf(b.extent), 0) === sizeOf(shape)

/**
 * [size] with the elements of tensors of any shapes, those of `tensors[i]` from `offsets[i]` on, and 0 elsewhere.
 * @internal
 */
export function layOut(tensors: readonly Tensor[], offsets: readonly number[], size: number): Tensor {
  const boxes = tensors.map(
    (t, input): Box => ({
      input,
      extent: [t.size],
      from: { offset: 0, strides: [1] },
      to: { offset: offsets[input], strides: [1] },
    }),
  )
  return applyOne(copy, { boxes, shape: [size] }, tensors, 'layOut')
}
