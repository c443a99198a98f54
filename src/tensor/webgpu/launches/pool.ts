/**
 * The four kernels of pooling take the same uniform, the image's and the windows' sizes; forward ones run one lane a
 * window, backward ones one lane a pixel.
 */
import { elementsPerWorkgroup } from '../../../shaders/elements.ts'
import { poolMaxShader } from '../../../shaders/pool-max.ts'
import { poolMaxGradShader } from '../../../shaders/pool-max-grad.ts'
import { poolUniform } from '../../../shaders/pool-shape.ts'
import { poolSpreadShader } from '../../../shaders/pool-spread.ts'
import { poolSumShader } from '../../../shaders/pool-sum.ts'
import type { View } from '../../backend.ts'
import type { MaxPoolGradParams, MaxPoolParams, WindowParams, WindowSumParams } from '../../ops/pool.ts'
import { sizeOf } from '../../shape.ts'
import { linearGrid, type Encoder, type Launch } from '../launch.ts'

interface Kernel {
  readonly key: string
  readonly code: () => string
}

function launch(
  encoder: Encoder,
  kernel: Kernel,
  image: View,
  windows: View,
  { kernel: side, stride, padding }: WindowParams,
  scale: number,
  read: readonly View[],
  write: readonly View[],
): void {
  const count = sizeOf(write[0].shape)
  const [, , h, w] = image.shape
  const [, , ho, wo] = windows.shape
  encoder.dispatch({
    ...kernel,
    uniforms: poolUniform.words({ count, h, w, ho, wo, kernel: side, stride, padding, scale }),
    read,
    write,
    grid: linearGrid(Math.ceil(count / elementsPerWorkgroup), encoder.capabilities.maxGrid),
  })
}

export const windowSum: Launch<WindowSumParams> = (encoder, params, [x], [y]) =>
  launch(encoder, { key: 'pool-sum', code: poolSumShader }, x, y, params, params.scale, [x], [y])

export const windowSpread: Launch<WindowSumParams> = (encoder, params, [dy], [dx]) =>
  launch(encoder, { key: 'pool-spread', code: poolSpreadShader }, dx, dy, params, params.scale, [dy], [dx])

export const maxPool: Launch<MaxPoolParams> = (encoder, params, [x], [y, taps]) =>
  launch(encoder, { key: 'pool-max', code: poolMaxShader }, x, y, params, 1, [x], [y, taps])

export const maxPoolGrad: Launch<MaxPoolGradParams> = (encoder, params, [dy, taps], [dx]) =>
  launch(encoder, { key: 'pool-max-grad', code: poolMaxGradShader }, dx, dy, params, 1, [dy, taps], [dx])
