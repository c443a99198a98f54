/** The kernels of pooling take the same parameters and are cut by rows of what they write. */
import type { View } from '../../backend.ts'
import type { MaxPoolGradParams, MaxPoolParams, WindowParams, WindowSumParams } from '../../ops/pool.ts'
import { cut, float, type Encoder, type Launch, type Word } from '../launch.ts'

type Kernel = 'windowSum' | 'windowSpread' | 'windowSpread2' | 'maxPool' | 'maxPoolGrad'

/** Elements that a chunk writes: 128 KiB. */
const least = 2 ** 15

function launch(encoder: Encoder, kernel: Kernel, image: View, windows: View, taps: Word, { kernel: side, stride, padding }: WindowParams, scale = 1): void {
  const [n, c, h, w] = image.shape
  const [, , ho, wo] = windows.shape
  const written = kernel === 'windowSum' || kernel === 'maxPool' ? windows : image
  // Two rows of pixels to each of windows.
  const rows = n * c * (kernel === 'windowSpread2' ? ho : written.shape[2])
  const { chunks, each } = cut(rows, (least * rows) / (n * c * written.shape[2] * written.shape[3]))
  encoder.run({ kernel, chunks, params: [image, windows, taps, rows, each, h, w, ho, wo, side, stride, padding, float(scale)] })
}

export const windowSum: Launch<WindowSumParams> = (encoder, params, [x], [y]) => launch(encoder, 'windowSum', x, y, 0, params, params.scale)

export const windowSpread: Launch<WindowSumParams> = (encoder, params, [dy], [dx]) => {
  const sideBySide = params.kernel === 2 && params.stride === 2 && params.padding === 0
  launch(encoder, sideBySide ? 'windowSpread2' : 'windowSpread', dx, dy, 0, params, params.scale)
}

export const maxPool: Launch<MaxPoolParams> = (encoder, params, [x], [y, taps]) => launch(encoder, 'maxPool', x, y, taps, params)

export const maxPoolGrad: Launch<MaxPoolGradParams> = (encoder, params, [dy, taps], [dx]) => launch(encoder, 'maxPoolGrad', dx, dy, taps, params)
