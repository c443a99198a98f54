/**
 * Pooling over square windows. Summing windows and spreading values back over them are transposes of each other, so
 * each is the other's gradient, and between them they are average pooling, nearest-neighbour upsampling and both
 * gradients. Max pooling remembers which tap won: its gradient keeps neither input nor output alive.
 */
import { TweedieError } from '../../errors.ts'
import { refuseUnknown } from '../../refuse.ts'
import { applyOne, applyOp, checkTensor, defineOp, noGradient, type Op } from '../op.ts'
import { shapeError, type Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import { mul } from './arithmetic.ts'

export interface WindowParams {
  readonly kernel: number
  readonly stride: number
  /** On every side; never wider than half the kernel, so that every window has a pixel. */
  readonly padding: number
}

export interface WindowSumParams extends WindowParams {
  /** What the sum is multiplied by. */
  readonly scale: number
  /** The image's shape: the input of the sum, the output of the spread. */
  readonly shape: Shape
}

export interface MaxPoolParams extends WindowParams {
  readonly ceilMode: boolean
}

export interface MaxPoolGradParams extends WindowParams {
  readonly shape: Shape
}

function check(op: string, x: Shape, { kernel, stride, padding }: WindowParams): void {
  if (x.length !== 4) throw shapeError(op, 'an input [N, C, H, W]', x)
  const whole = [kernel, stride, padding].every(Number.isInteger)
  if (!whole || kernel < 1 || stride < 1 || padding < 0 || padding > kernel / 2) {
    throw new TweedieError(
      'option',
      `${op}: expected a kernel and a stride of 1 or more and a padding from 0 to half the kernel, found kernel ` +
        `${kernel}, stride ${stride}, padding ${padding}.`,
    )
  }
}

/** How many windows there are along an axis; in ceil mode the last one starts inside the input or the left padding. */
export function pooledSize(size: number, { kernel, stride, padding }: WindowParams, ceilMode = false): number {
  const steps = (size + 2 * padding - kernel) / stride
  const count = (ceilMode ? Math.ceil(steps) : Math.floor(steps)) + 1
  return ceilMode && (count - 1) * stride >= size + padding ? count - 1 : count
}

function pooledShape(op: string, x: Shape, params: WindowParams, ceilMode = false): Shape {
  check(op, x, params)
  const [ho, wo] = [pooledSize(x[2], params, ceilMode), pooledSize(x[3], params, ceilMode)]
  if (ho < 1 || wo < 1)
    throw shapeError(op, `an image that a window of ${params.kernel} x ${params.kernel} fits into`, x)
  return [x[0], x[1], ho, wo]
}

/** x of `shape` → scale · (the sum over each window). */
export const windowSum: Op<WindowSumParams> = defineOp({
  name: 'windowSum',
  shape: (params, _, user) => [{ shape: pooledShape(user, params.shape, params), dtype: 'f32' }],
  saves: () => ({}),
  gradient: ({ params, cotangent }) => [applyOne(windowSpread, params, [cotangent()])],
})

/** The transpose: each element of an image of `shape` is scale · (the sum of the windows that cover it). */
export const windowSpread: Op<WindowSumParams> = defineOp({
  name: 'windowSpread',
  shape: (params) => [{ shape: params.shape, dtype: 'f32' }],
  saves: () => ({}),
  gradient: ({ params, cotangent }) => [applyOne(windowSum, params, [cotangent()])],
})

/** x → (the maxima, and for each the tap of its window, i32). */
export const maxPoolOp = defineOp<MaxPoolParams>({
  name: 'maxPool',
  shape(params, [x], user) {
    const shape = pooledShape(user, x.shape, params, params.ceilMode)
    return [
      { shape, dtype: 'f32' },
      { shape, dtype: 'i32' },
    ]
  },
  saves: () => ({ outputs: [1] }),
  gradient: ({ params, inputSpec, output, cotangent }) => [
    applyOne(maxPoolGrad, { ...params, shape: inputSpec(0).shape }, [cotangent(), output(1)]),
  ],
})

/** (dy, taps) → dx of `shape`. */
export const maxPoolGrad = defineOp<MaxPoolGradParams>({
  ...noGradient('maxPoolGrad'),
  dtypes: ['f32', 'i32'],
  shape: ({ shape }) => [{ shape, dtype: 'f32' }],
})

/** Options of {@link avgPool2d} and of {@link maxPool2d}, which have one more each. */
export interface PoolOptions {
  /** Side of the window. */
  readonly kernel: number
  /** Default: the kernel, so that windows lie side by side. */
  readonly stride?: number
  /** On every side, at most half the kernel; default 0. */
  readonly padding?: number
}

/** Options of {@link avgPool2d}. */
export interface AvgPoolOptions extends PoolOptions {
  /**
   * Padding counts as zeros, so that every window is divided by kernel², PyTorch's `count_include_pad`; otherwise a
   * window is divided by how many pixels it has. Default true.
   */
  readonly countPadding?: boolean
}

const avgPoolOptions = { kernel: true, stride: true, padding: true, countPadding: true } as const

/** The mean over each window of `x` [N, C, H, W]. */
export function avgPool2d(x: Tensor, options: AvgPoolOptions): Tensor {
  checkTensor('avgPool2d', x)
  refuseUnknown('avgPool2d', options, avgPoolOptions)
  const { kernel, stride = kernel, padding = 0, countPadding = true } = options
  const sum = (scale: number): Tensor =>
    applyOne(windowSum, { kernel, stride, padding, scale, shape: x.shape }, [x], 'avgPool2d')
  if (countPadding || padding === 0) return sum(1 / (kernel * kernel))
  const { device } = x
  return device.scope(() => {
    const sums = sum(1)
    const [rows, columns] = [x.shape[2], x.shape[3]].map((size) => pixelsOfWindows(size, { kernel, stride, padding }))
    const shares = rows.flatMap((r) => columns.map((c) => 1 / (r * c)))
    return mul(sums, device.tensor(shares, [1, 1, rows.length, columns.length]))
  })
}

/** How many pixels each window has along an axis, without the padding. */
const pixelsOfWindows = (size: number, { kernel, stride, padding }: WindowParams): number[] =>
  Array.from({ length: pooledSize(size, { kernel, stride, padding }) }, (_, i) => {
    const start = i * stride - padding
    return Math.min(start + kernel, size) - Math.max(start, 0)
  })

/** Options of {@link maxPool2d}. */
export interface MaxPoolOptions extends PoolOptions {
  /** Also pool what remains at the right and bottom edges, as PyTorch's `ceil_mode`; default false. */
  readonly ceilMode?: boolean
}

const maxPoolOptions = { kernel: true, stride: true, padding: true, ceilMode: true } as const

/**
 * The maximum of each window of `x` [N, C, H, W]; padding never wins. Where a maximum is attained more than once the
 * gradient goes to the first in reading order.
 */
export function maxPool2d(x: Tensor, options: MaxPoolOptions): Tensor {
  refuseUnknown('maxPool2d', options, maxPoolOptions)
  const { kernel, stride = kernel, padding = 0, ceilMode = false } = options
  const [y, taps] = applyOp(maxPoolOp, { kernel, stride, padding, ceilMode }, [x], 'maxPool2d')
  // The tape holds the taps if it wants them.
  taps.dispose()
  return y as Tensor
}
