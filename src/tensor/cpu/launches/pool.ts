/** The kernels of pooling take the same parameters and are cut by rows. */
import type { View } from '../../backend.ts'
import type { MaxPoolGradParams, MaxPoolParams, WindowParams, WindowSumParams } from '../../ops/pool.ts'
import { cut, type Encoder, type Launch } from '../launch.ts'

type Kernel = 'windowSum' | 'windowSum2' | 'windowSpread' | 'windowSpread2' | 'maxPool' | 'maxPoolGrad'

/** Pixels of a chunk: 128 KiB. */
const least = 2 ** 15

function launch(
  encoder: Encoder,
  kernel: Kernel,
  image: View,
  windows: View,
  taps: View | 0,
  { kernel: side, stride, padding }: WindowParams,
  scale = 1,
): void {
  const [n, c, h, w] = image.shape
  const [, , ho, wo] = windows.shape
  // Of windows, or where pixels are written one by one, of pixels.
  const ofPixels = kernel === 'windowSpread' || kernel === 'maxPoolGrad'
  const rows = n * c * (ofPixels ? h : ho)
  const { chunks, each } = cut(rows, (least * rows) / (n * c * h * w))
  encoder.run({
    kernel,
    chunks,
    params: { image, windows, taps, rows, each, h, w, ho, wo, kernel: side, stride, padding, scale },
  })
}

/** Average pooling and upsampling by 2, and their gradients. */
const byTwo = ({ kernel, stride, padding }: WindowParams): boolean => kernel === 2 && stride === 2 && padding === 0

export const windowSum: Launch<WindowSumParams> = (encoder, params, [x], [y]) =>
  launch(encoder, byTwo(params) ? 'windowSum2' : 'windowSum', x, y, 0, params, params.scale)

export const windowSpread: Launch<WindowSumParams> = (encoder, params, [dy], [dx]) =>
  launch(encoder, byTwo(params) ? 'windowSpread2' : 'windowSpread', dx, dy, 0, params, params.scale)

export const maxPool: Launch<MaxPoolParams> = (encoder, params, [x], [y, taps]) =>
  launch(encoder, 'maxPool', x, y, taps, params)

export const maxPoolGrad: Launch<MaxPoolGradParams> = (encoder, params, [dy, taps], [dx]) =>
  launch(encoder, 'maxPoolGrad', dx, dy, taps, params)
