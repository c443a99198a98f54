import { expression, f } from '../expression.ts'
import { refuseUnknown } from '../../refuse.ts'
import { applyOne, checkTensor, defineOp, type Op } from '../op.ts'
import {
  checkArray,
  formatShape,
  normalizeAxis,
  sameShape,
  shapeError,
  sizeOf,
  stretchesTo,
  type Shape,
} from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import { div, mul } from './arithmetic.ts'
import { broadcastTo, map } from './map.ts'
import { reshape } from './reshape.ts'

/** What the op behind sums and maxima is told. */
export interface ReduceParams {
  readonly kind: 'sum' | 'max'
  /** Ascending; reduced axes keep an extent of 1. */
  readonly axes: readonly number[]
}

// Where the maximum is attained more than once, the gradient is shared equally.
const isMaximum = expression(2, 0, ([x, y]) => f.eq(x, y))

/**
 * Sums and maxima along axes. A sum is never reordered between runs: each output element has one thread or one
 * workgroup, which adds in a fixed order, so results repeat bit for bit.
 */
export const reduce: Op<ReduceParams> = defineOp<ReduceParams>({
  name: 'reduce',
  shape: ({ axes }, [x]) => [{ shape: x.shape.map((n, i) => (axes.includes(i) ? 1 : n)), dtype: 'f32' }],
  saves: ({ kind }) => (kind === 'max' ? { inputs: [0], outputs: [0] } : {}),
  gradient({ params, input, output, inputSpec, cotangent }) {
    if (params.kind === 'sum') return [broadcastTo(cotangent(), inputSpec(0).shape)]
    const mask = map(isMaximum, [input(0), output(0)])
    return [mul(mask, div(cotangent(), applyOne(reduce, { kind: 'sum', axes: params.axes }, [mask])))]
  },
})

/** Options of {@link sum}, {@link mean} and {@link max}. */
export interface ReduceOptions {
  /** Axes to reduce, negative ones counted from the back; default all. */
  readonly axes?: readonly number[]
  /** Keep reduced axes with extent 1. Default false. */
  readonly keepDims?: boolean
}

const reduceOptions = { axes: true, keepDims: true } as const

function along(user: string, kind: ReduceParams['kind'], x: Tensor, options: ReduceOptions): Tensor {
  checkTensor(user, x)
  refuseUnknown(user, options, reduceOptions)
  const wanted = options.axes ?? x.shape.map((_, i) => i)
  checkArray(user, 'axes', wanted)
  const axes = [...new Set(wanted.map((a) => normalizeAxis(user, a, x.shape.length)))].sort((a, b) => a - b)
  const reduced = applyOne(reduce, { kind, axes }, [x], user)
  return options.keepDims
    ? reduced
    : reshape(
        reduced,
        x.shape.filter((_, i) => !axes.includes(i)),
      )
}

/**
 * The sum of x along `axes`, by default of all elements. It is never reordered between runs: results repeat bit for
 * bit.
 */
export const sum = (x: Tensor, options: ReduceOptions = {}): Tensor => along('sum', 'sum', x, options)
/**
 * The largest element of x along `axes`, by default of all. Where it is attained more than once the gradient is shared
 * equally.
 */
export const max = (x: Tensor, options: ReduceOptions = {}): Tensor => along('max', 'max', x, options)

/** The mean of x along `axes`, by default of all elements. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  const total = along('mean', 'sum', x, options)
  return div(total, x.size / total.size)
}

/**
 * Sums `x` down to `shape`: the transpose of broadcasting. Where the shapes are equal it is `x` itself.
 *
 * @throws TweedieError `shape` unless `shape` broadcasts to that of `x`
 */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  checkTensor('sumTo', x)
  checkArray('sumTo', 'the dimensions of a shape', shape)
  if (sameShape(x.shape, shape)) return x
  if (!stretchesTo(shape, x.shape))
    throw shapeError('sumTo', `a tensor of a shape to which ${formatShape(shape)} broadcasts`, x.shape)
  const lead = x.shape.length - shape.length
  const axes = x.shape.flatMap((n, i) => (i < lead || (shape[i - lead] === 1 && n !== 1) ? [i] : []))
  const reduced =
    axes.length > 0 && sizeOf(shape) !== x.size ? applyOne(reduce, { kind: 'sum', axes }, [x], 'sumTo') : x
  return reshape(reduced, shape)
}
