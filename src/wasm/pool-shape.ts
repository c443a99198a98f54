/**
 * What the kernels of pooling share. Planes are images [h, w] and windows [ho, wo]; batch and channels are one axis
 * to a kernel. Window o of an axis covers the elements o·stride − padding up to, but not including, o·stride −
 * padding + kernel, of which those outside the image do not count. All kernels go by rows of what they write.
 * Backward, a row of pixels is cleared and the windows over it are added in reading order; rows belong to one chunk,
 * so nothing races and results repeat.
 */
@unmanaged
export class PoolParams {
  /** The image: x or dx. */
  image: usize
  /** The windows: y or dy. */
  windows: usize
  /** Which tap of a window was the maximum, row · kernel + column; 0 for sums. */
  taps: usize
  /** Rows of the output, of all planes. */
  rows: i32
  /** Rows a chunk. */
  each: i32
  h: i32
  w: i32
  ho: i32
  wo: i32
  kernel: i32
  stride: i32
  padding: i32
  scale: f32
}

// @ts-ignore: decorator
@inline
export function rowOf(plane: usize, row: i32, width: i32): usize {
  return plane + (<usize>(row * width) << 2)
}

/** The first window that covers a pixel: the smallest o with o·stride + kernel > at + padding. */
// @ts-ignore: decorator
@inline
export function firstCovering(p: PoolParams, at: i32): i32 {
  return max((at + p.padding - p.kernel + p.stride) / p.stride, 0)
}

/** The last one; below the first where none does. */
// @ts-ignore: decorator
@inline
export function lastCovering(p: PoolParams, at: i32, windows: i32): i32 {
  return min((at + p.padding) / p.stride, windows - 1)
}
