/**
 * Two-dimensional convolution (cross-correlation, as in every network library) and its two gradients, which are ops of
 * their own because each is a kernel of its own: by the data (guidance lives on that one) and by the weights.
 */
import { TweedieError } from '../../errors.ts'
import { refuseUnknown } from '../../refuse.ts'
import { applyOne, checkTensor, defineOp, noGradient } from '../op.ts'
import { checkArray, formatShape, sameShape, shapeError, type Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import { pad } from './copy.ts'
import { sum } from './reduce.ts'

/** What a convolution and its gradients share. */
export interface ConvParams {
  readonly stride: number
  readonly padding: number
}

export interface ConvGradParams extends ConvParams {
  /** Shape of what is computed: the input's for the data gradient, the weight's for the weight gradient. */
  readonly shape: Shape
}

const convolvedSize = (size: number, kernel: number, { stride, padding }: ConvParams): number =>
  Math.floor((size + 2 * padding - kernel) / stride) + 1

function checkParams(op: string, { stride, padding }: ConvParams, kernel: readonly number[]): void {
  if (
    !Number.isInteger(stride) ||
    stride < 1 ||
    !Number.isInteger(padding) ||
    padding < 0 ||
    kernel.some((k) => k < 1 || k > 11)
  ) {
    throw new TweedieError(
      'option',
      `${op}: expected a stride of 1 or more, a padding of 0 or more and kernels of 1 to 11, found stride ` +
        `${stride}, padding ${padding}, kernel ${kernel.join('x')}.`,
    )
  }
}

export interface ConvForwardParams extends ConvParams {
  /** Which optional inputs follow x and weight, in this order. */
  readonly bias: boolean
  readonly residual: boolean
}

/**
 * [N, Cin, H, W] with weight [Cout, Cin, KH, KW], an optional bias [Cout] and an optional residual of the output's
 * shape.
 */
export const conv2dOp = defineOp<ConvForwardParams>({
  name: 'conv2d',
  shape(params, [x, weight, ...optional]) {
    if (x.shape.length !== 4 || weight.shape.length !== 4 || x.shape[1] !== weight.shape[1]) {
      throw shapeError('conv2d', 'an input [N, Cin, H, W] and a weight [Cout, Cin, KH, KW]', x.shape, weight.shape)
    }
    const bias = params.bias ? optional[0] : undefined
    const residual = params.residual ? optional[optional.length - 1] : undefined
    if (bias && (bias.shape.length !== 1 || bias.shape[0] !== weight.shape[0]))
      throw shapeError('conv2d', `a bias [${weight.shape[0]}]`, bias.shape)
    const [cout, , kh, kw] = weight.shape
    checkParams('conv2d', params, [kh, kw])
    const out = [x.shape[0], cout, convolvedSize(x.shape[2], kh, params), convolvedSize(x.shape[3], kw, params)]
    if (out[2] < 1 || out[3] < 1)
      throw shapeError('conv2d', 'an image no smaller than the kernel', x.shape, weight.shape)
    if (residual && !sameShape(residual.shape, out))
      throw shapeError('conv2d', `a residual ${formatShape(out)}`, residual.shape)
    return [{ shape: out, dtype: 'f32' }]
  },
  saves: (_, [x, weight]) => ({ inputs: [...(weight ? [0] : []), ...(x ? [1] : [])] }),
  gradient({ params: { stride, padding, bias, residual }, input, inputSpec, cotangent, needs }) {
    const dy = cotangent()
    const params = { stride, padding }
    return [
      needs(0) ? applyOne(conv2dDataGrad, { ...params, shape: inputSpec(0).shape }, [dy, input(1)]) : null,
      needs(1) ? applyOne(conv2dWeightGrad, { ...params, shape: inputSpec(1).shape }, [input(0), dy]) : null,
      ...(bias ? [needs(2) ? sum(dy, { axes: [0, 2, 3] }) : null] : []),
      ...(residual ? [dy] : []),
    ]
  },
})

/** (dy [N, Cout, Ho, Wo], weight) → dx of `shape`. */
export const conv2dDataGrad = defineOp<ConvGradParams>({
  ...noGradient('conv2dDataGrad'),
  shape: ({ shape }) => [{ shape, dtype: 'f32' }],
})

/** (x, dy) → dWeight of `shape`. */
export const conv2dWeightGrad = defineOp<ConvGradParams>({
  ...noGradient('conv2dWeightGrad'),
  shape: ({ shape }) => [{ shape, dtype: 'f32' }],
})

/** Options of {@link conv2d}. */
export interface ConvOptions {
  /** [Cout], added to every place. Default: none. */
  readonly bias?: Tensor
  /** Of the output's shape, added to it. Default: none. */
  readonly residual?: Tensor
  /** Default 1. */
  readonly stride?: number
  /** Zeros on every side, or [above and below, left and right]; default 0. */
  readonly padding?: number | readonly [number, number]
}

const convOptions = { bias: true, residual: true, stride: true, padding: true } as const

/**
 * The two-dimensional convolution (cross-correlation, as in every network library) of `x` [N, Cin, H, W] with `weight`
 * [Cout, Cin, KH, KW], kernels of 1 to 11: [N, Cout, Ho, Wo], Ho = floor((H + 2 padding - KH) / stride) + 1.
 */
export function conv2d(x: Tensor, weight: Tensor, options: ConvOptions = {}): Tensor {
  refuseUnknown('conv2d', options, convOptions)
  const { bias, residual, stride = 1, padding = 0 } = options
  if (typeof padding === 'object') return convolvePadded(x, weight, padding, options)
  const optional = [bias, residual].filter((t) => t !== undefined)
  return applyOne(conv2dOp, { stride, padding, bias: bias !== undefined, residual: residual !== undefined }, [
    x,
    weight,
    ...optional,
  ])
}

/**
 * What one axis has more than the other is padded ahead of the convolution: kernels of 1 x 7, which are what this is
 * for, stand on small maps, whose copy is next to nothing beside the convolution.
 */
function convolvePadded(x: Tensor, weight: Tensor, padding: readonly [number, number], options: ConvOptions): Tensor {
  checkTensor('conv2d', x)
  checkArray('conv2d', 'a padding of rows and one of columns', padding)
  if (padding.length !== 2 || padding.some((n) => !Number.isInteger(n) || n < 0)) {
    throw new TweedieError(
      'option',
      `conv2d: expected a padding [rows, columns], each 0 or more, found ${formatShape(padding)}.`,
    )
  }
  if (x.shape.length !== 4) throw shapeError('conv2d', 'an input [N, Cin, H, W]', x.shape)
  const common = Math.min(...padding)
  const excess = [0, 0, ...padding.map((n) => n - common)]
  return x.device.scope(() => {
    const padded = padding[0] === padding[1] ? x : pad(x, excess, excess)
    return conv2d(padded, weight, { ...options, padding: common })
  })
}
