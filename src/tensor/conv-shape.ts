/** The sizes of a convolution from its tensors, for the launches of both backends. */
import type { ConvShape } from '../shaders/conv2d-shape.ts'
import type { Spec } from './backend.ts'
import type { ConvParams } from './ops/conv2d.ts'

/** x [n, cin, h, w] with weights [cout, cin, kh, kw] gives y [n, cout, ho, wo]. */
export function convShape(x: Spec, weight: Spec, y: Spec, { stride, padding }: ConvParams): ConvShape {
  const [n, cin, h, w] = x.shape
  const [cout, , kh, kw] = weight.shape
  return { n, cin, h, w, cout, kh, kw, stride, pad: padding, ho: y.shape[2], wo: y.shape[3] }
}

/** Multiply-adds counted as two; the gradients have as many as the forward pass. */
export const convFlops = (s: ConvShape): number => 2 * s.n * s.cout * s.ho * s.wo * s.cin * s.kh * s.kw
