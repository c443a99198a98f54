/** Both directions take the same parameters and are cut by rows of what they write. */
import type { View } from '../../backend.ts'
import type { ResizeParams } from '../../ops/resize.ts'
import { cut, type Encoder, type Launch } from '../launch.ts'

/** Elements of both images that a chunk passes over. */
const least = 2 ** 15

function launch(encoder: Encoder, kernel: 'resizeBilinear' | 'resizeBilinearGrad', image: View, resized: View): void {
  const [n, c, h, w] = image.shape
  const [, , ho, wo] = resized.shape
  const rows = n * c * (kernel === 'resizeBilinear' ? ho : h)
  const { chunks, each } = cut(rows, (least * rows) / (n * c * (h * w + ho * wo)))
  encoder.run({
    kernel,
    chunks,
    params: { image, resized, rows, each, h, w, ho, wo },
    scratch: 12 * wo + 4 * Math.max(w, wo),
  })
}

export const resizeBilinear: Launch<ResizeParams> = (encoder, _, [x], [y]) => launch(encoder, 'resizeBilinear', x, y)

export const resizeBilinearGrad: Launch<ResizeParams> = (encoder, _, [dy], [dx]) =>
  launch(encoder, 'resizeBilinearGrad', dx, dy)
