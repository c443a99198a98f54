/** The sizes of a convolution, as its launches pass them around. */
import type { Spec } from '../../backend.ts'
import type { ConvParams } from '../../ops/conv2d.ts'

/** x [n, cin, h, w] with weights [cout, cin, kh, kw] gives y [n, cout, ho, wo]. */
export interface ConvShape {
  readonly n: number
  readonly cin: number
  readonly h: number
  readonly w: number
  readonly cout: number
  readonly kh: number
  readonly kw: number
  readonly stride: number
  readonly padding: number
  readonly ho: number
  readonly wo: number
}

export function convShape(x: Pick<Spec, 'shape'>, weight: Pick<Spec, 'shape'>, y: Pick<Spec, 'shape'>, { stride, padding }: ConvParams): ConvShape {
  const [n, cin, h, w] = x.shape
  const [cout, , kh, kw] = weight.shape
  return { n, cin, h, w, cout, kh, kw, stride, padding, ho: y.shape[2], wo: y.shape[3] }
}

/** Multiply-adds counted as two; the gradients have as many as the forward pass. */
export const convFlops = (s: ConvShape): number => 2 * s.n * s.cout * s.ho * s.wo * s.cin * s.kh * s.kw
