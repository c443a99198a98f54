/**
 * Both directions take the same uniform, the sizes of source and target, and run one lane an element of what they
 * write.
 */
import { elementsPerWorkgroup } from '../../../shaders/elements.ts'
import { resizeBilinearGradShader } from '../../../shaders/resize-bilinear-grad.ts'
import { resizeBilinearShader, resizeUniform } from '../../../shaders/resize-bilinear.ts'
import type { View } from '../../backend.ts'
import type { ResizeParams } from '../../ops/resize.ts'
import { sizeOf } from '../../shape.ts'
import { linearGrid, type Encoder, type Launch } from '../launch.ts'

function launch(
  encoder: Encoder,
  key: string,
  code: () => string,
  source: View,
  target: View,
  read: View,
  write: View,
): void {
  const count = sizeOf(write.shape)
  const [, , h, w] = source.shape
  const [, , ho, wo] = target.shape
  encoder.dispatch({
    key,
    code,
    uniforms: resizeUniform.words({ count, h, w, ho, wo }),
    read: [read],
    write: [write],
    grid: linearGrid(Math.ceil(count / elementsPerWorkgroup), encoder.capabilities.maxGrid),
  })
}

export const resizeBilinear: Launch<ResizeParams> = (encoder, _, [x], [y]) =>
  launch(encoder, 'resize-bilinear', resizeBilinearShader, x, y, x, y)

export const resizeBilinearGrad: Launch<ResizeParams> = (encoder, _, [dy], [dx]) =>
  launch(encoder, 'resize-bilinear-grad', resizeBilinearGradShader, dx, dy, dy, dx)
