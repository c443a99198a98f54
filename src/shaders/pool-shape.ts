/**
 * What the pooling kernels share: the uniform. Window o of an axis covers the elements o·stride − padding up to, but
 * not including, o·stride − padding + kernel, of which those outside the image do not count. Planes are images `[h, w]`
 * and windows `[ho, wo]`; batch and channels are one axis to a kernel. `count` is the number of elements of the output.
 */
import { uniform } from './uniform.ts'

export const poolUniform = uniform({
  count: 'i32',
  h: 'i32',
  w: 'i32',
  ho: 'i32',
  wo: 'i32',
  kernel: 'i32',
  stride: 'i32',
  padding: 'i32',
  scale: 'f32',
})

/**
 * `coveringX(x)` and `coveringY(y)`: the first and the last window that covers a pixel; first > last where none does.
 * The first one is the smallest o with o·stride + kernel > x + padding.
 */
export const poolCovering = /* wgsl */ `
fn covering(at: i32, windows: i32) -> vec2<i32> {
  let a = at + p.padding;
  return vec2<i32>(max((a - p.kernel + p.stride) / p.stride, 0), min(a / p.stride, windows - 1));
}
`
