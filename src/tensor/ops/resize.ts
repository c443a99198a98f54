/** Resizing images: nearest neighbour by whole factors, bilinear to any size, as PyTorch's `interpolate`. */
import { TweedieError } from '../../errors.ts'
import { applyOne, checkTensor, defineOp, noGradient } from '../op.ts'
import { checkArray, checkShape, shapeError, type Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import { windowSpread } from './pool.ts'

export interface ResizeParams {
  /** Shape of what is computed. */
  readonly shape: Shape
}

/** The op behind {@link resizeBilinear}. */
export const resizeBilinearOp = defineOp<ResizeParams>({
  name: 'resizeBilinear',
  shape: ({ shape }) => [{ shape, dtype: 'f32' }],
  saves: () => ({}),
  gradient: ({ inputSpec, cotangent }) => [applyOne(resizeBilinearGrad, { shape: inputSpec(0).shape }, [cotangent()])],
})

/** dy → dx of `shape`. */
export const resizeBilinearGrad = defineOp<ResizeParams>({
  ...noGradient('resizeBilinearGrad'),
  shape: ({ shape }) => [{ shape, dtype: 'f32' }],
})

/**
 * `x` [N, C, H, W] resized to `size` [H', W'] (`align_corners=False`, no antialiasing): output i reads at
 * (i + ½)·H/H' − ½, not below 0, between that pixel and the next.
 */
export function resizeBilinear(x: Tensor, size: readonly [number, number]): Tensor {
  checkTensor('resizeBilinear', x)
  if (x.shape.length !== 4) throw shapeError('resizeBilinear', 'an input [N, C, H, W]', x.shape)
  checkArray('resizeBilinear', 'height and width', size)
  if (size.length !== 2) throw shapeError('resizeBilinear', "a size [H', W']", size)
  return applyOne(resizeBilinearOp, { shape: checkShape('resizeBilinear', [x.shape[0], x.shape[1], ...size]) }, [x])
}

/** `x` [N, C, H, W] with every pixel repeated `factor` times along both axes, [N, C, H·factor, W·factor]. */
export function upsampleNearest(x: Tensor, factor: number): Tensor {
  checkTensor('upsampleNearest', x)
  if (x.shape.length !== 4) throw shapeError('upsampleNearest', 'an input [N, C, H, W]', x.shape)
  if (!Number.isInteger(factor) || factor < 1)
    throw new TweedieError('option', `upsampleNearest: expected a whole factor of 1 or more, found ${factor}.`)
  const [n, c, h, w] = x.shape
  // Windows side by side: each pixel of the result lies in one.
  return applyOne(
    windowSpread,
    { kernel: factor, stride: factor, padding: 0, scale: 1, shape: [n, c, h * factor, w * factor] },
    [x],
    'upsampleNearest',
  )
}
