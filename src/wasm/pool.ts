/**
 * Pooling over square windows of planes [h, w], windows [ho, wo]; batch and channels are one axis to a kernel. Window o
 * of an axis covers the elements o·stride − padding up to, but not including, o·stride − padding + kernel, of which those
 * outside the image do not count. All four kernels go by rows of what they write. Forward, four windows of stride 1 or 2
 * are done at once where they lie inside the image. Backward, a row of pixels is cleared and the windows over it are
 * added in reading order; rows belong to one chunk, so nothing races and results repeat.
 */
@unmanaged
class PoolParams {
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

/** The four elements at, at + stride, ... for a stride of 1 or 2; reads none beyond the last of them. */
// @ts-ignore: decorator
@inline
function load4(at: usize, stride: i32): v128 {
  const first = v128.load(at)
  if (stride == 1) return first
  return v128.shuffle<f32>(first, v128.load(at, 12), 0, 2, 5, 7)
}

/** Windows from this one on have all columns inside the image. */
// @ts-ignore: decorator
@inline
function firstInside(p: PoolParams): i32 {
  return (p.padding + p.stride - 1) / p.stride
}

/** The last window from which on four lie inside the image, as far as columns go; negative where none does. */
// @ts-ignore: decorator
@inline
function lastOfFour(p: PoolParams): i32 {
  if (p.stride > 2) return -1
  return min((p.w + p.padding - p.kernel) / p.stride, p.wo - 1) - 3
}

// @ts-ignore: decorator
@inline
function rowOf(plane: usize, row: i32, width: i32): usize {
  return plane + (<usize>(row * width) << 2)
}

/** y = scale · (the sum over each window). */
export function windowSum(params: usize, chunk: i32, scratch: usize): void {
  const p = changetype<PoolParams>(params)
  const end = min((chunk + 1) * p.each, p.rows)
  const inside = firstInside(p)
  const last = lastOfFour(p)
  for (let row = chunk * p.each; row < end; row++) {
    const plane = row / p.ho
    const startY = (row - plane * p.ho) * p.stride - p.padding
    const image = rowOf(p.image, plane * p.h, p.w)
    const y = rowOf(p.windows, row, p.wo)
    const top = max(startY, 0)
    const bottom = min(startY + p.kernel, p.h)
    let ox = 0
    while (ox < p.wo) {
      const startX = ox * p.stride - p.padding
      if (ox >= inside && ox <= last) {
        let total = f32x4.splat(0)
        for (let iy = top; iy < bottom; iy++) {
          const at = rowOf(image, iy, p.w) + (<usize>startX << 2)
          for (let k = 0; k < p.kernel; k++) total = f32x4.add(total, load4(at + (<usize>k << 2), p.stride))
        }
        v128.store(y + (<usize>ox << 2), f32x4.mul(total, f32x4.splat(p.scale)))
        ox += 4
      } else {
        let total: f32 = 0
        for (let iy = top; iy < bottom; iy++) {
          for (let ix = max(startX, 0); ix < min(startX + p.kernel, p.w); ix++) total += load<f32>(rowOf(image, iy, p.w) + (<usize>ix << 2))
        }
        store<f32>(y + (<usize>ox << 2), total * p.scale)
        ox++
      }
    }
  }
}

/** The maximum over each window, and its tap: the first in reading order where several are equal, as in PyTorch. */
export function maxPool(params: usize, chunk: i32, scratch: usize): void {
  const p = changetype<PoolParams>(params)
  const end = min((chunk + 1) * p.each, p.rows)
  const inside = firstInside(p)
  const last = lastOfFour(p)
  for (let row = chunk * p.each; row < end; row++) {
    const plane = row / p.ho
    const startY = (row - plane * p.ho) * p.stride - p.padding
    const image = rowOf(p.image, plane * p.h, p.w)
    const y = rowOf(p.windows, row, p.wo)
    const taps = rowOf(p.taps, row, p.wo)
    const top = max(startY, 0)
    const bottom = min(startY + p.kernel, p.h)
    let ox = 0
    while (ox < p.wo) {
      const startX = ox * p.stride - p.padding
      if (ox >= inside && ox <= last) {
        // The first tap counts whatever it is, NaN too; after it only what is larger.
        let best = load4(rowOf(image, top, p.w) + (<usize>startX << 2), p.stride)
        let tap = i32x4.splat((top - startY) * p.kernel)
        for (let iy = top; iy < bottom; iy++) {
          const at = rowOf(image, iy, p.w) + (<usize>startX << 2)
          for (let k = 0; k < p.kernel; k++) {
            const value = load4(at + (<usize>k << 2), p.stride)
            const larger = f32x4.gt(value, best)
            best = v128.bitselect(value, best, larger)
            tap = v128.bitselect(i32x4.splat((iy - startY) * p.kernel + k), tap, larger)
          }
        }
        v128.store(y + (<usize>ox << 2), best)
        v128.store(taps + (<usize>ox << 2), tap)
        ox += 4
      } else {
        const left = max(startX, 0)
        let best = load<f32>(rowOf(image, top, p.w) + (<usize>left << 2))
        let tap = (top - startY) * p.kernel + left - startX
        for (let iy = top; iy < bottom; iy++) {
          for (let ix = left; ix < min(startX + p.kernel, p.w); ix++) {
            const value = load<f32>(rowOf(image, iy, p.w) + (<usize>ix << 2))
            if (value > best) {
              best = value
              tap = (iy - startY) * p.kernel + ix - startX
            }
          }
        }
        store<f32>(y + (<usize>ox << 2), best)
        store<i32>(taps + (<usize>ox << 2), tap)
        ox++
      }
    }
  }
}

/** The first window that covers a pixel: the smallest o with o·stride + kernel > at + padding. */
// @ts-ignore: decorator
@inline
function firstCovering(p: PoolParams, at: i32): i32 {
  return max((at + p.padding - p.kernel + p.stride) / p.stride, 0)
}

/** The last one; below the first where none does. */
// @ts-ignore: decorator
@inline
function lastCovering(p: PoolParams, at: i32, windows: i32): i32 {
  return min((at + p.padding) / p.stride, windows - 1)
}

/** The transpose of `windowSum`: each pixel is scale · (the sum of the windows that cover it). */
export function windowSpread(params: usize, chunk: i32, scratch: usize): void {
  const p = changetype<PoolParams>(params)
  const end = min((chunk + 1) * p.each, p.rows)
  const bytes = <usize>p.w << 2
  for (let row = chunk * p.each; row < end; row++) {
    const plane = row / p.h
    const y = row - plane * p.h
    const dx = rowOf(p.image, row, p.w)
    memory.fill(dx, 0, bytes)
    for (let oy = firstCovering(p, y); oy <= lastCovering(p, y, p.ho); oy++) {
      const dy = rowOf(p.windows, plane * p.ho + oy, p.wo)
      for (let ox = 0; ox < p.wo; ox++) {
        const value = load<f32>(dy + (<usize>ox << 2)) * p.scale
        const startX = ox * p.stride - p.padding
        for (let ix = max(startX, 0); ix < min(startX + p.kernel, p.w); ix++) {
          const at = dx + (<usize>ix << 2)
          store<f32>(at, load<f32>(at) + value)
        }
      }
    }
  }
}

/**
 * `windowSpread` of windows of 2 x 2 side by side: nearest-neighbour upsampling by 2 and the gradient of average pooling.
 * A row here is one of windows, so two of pixels; what an odd image has beyond the windows becomes 0.
 */
export function windowSpread2(params: usize, chunk: i32, scratch: usize): void {
  const p = changetype<PoolParams>(params)
  const end = min((chunk + 1) * p.each, p.rows)
  const bytes = <usize>p.w << 2
  const scale = f32x4.splat(p.scale)
  for (let row = chunk * p.each; row < end; row++) {
    const plane = row / p.ho
    const oy = row - plane * p.ho
    const dy = rowOf(p.windows, row, p.wo)
    const upper = rowOf(p.image, plane * p.h + 2 * oy, p.w)
    const lower = upper + bytes
    let ox = 0
    for (; ox + 4 <= p.wo; ox += 4) {
      const value = f32x4.mul(v128.load(dy + (<usize>ox << 2)), scale)
      const left = v128.shuffle<f32>(value, value, 0, 0, 1, 1)
      const right = v128.shuffle<f32>(value, value, 2, 2, 3, 3)
      const at = <usize>ox << 3
      v128.store(upper + at, left)
      v128.store(upper + at, right, 16)
      v128.store(lower + at, left)
      v128.store(lower + at, right, 16)
    }
    for (; ox < p.wo; ox++) {
      const value = load<f32>(dy + (<usize>ox << 2)) * p.scale
      const at = <usize>ox << 3
      store<f32>(upper + at, value)
      store<f32>(upper + at, value, 4)
      store<f32>(lower + at, value)
      store<f32>(lower + at, value, 4)
    }
    if (p.w > 2 * p.wo) {
      store<f32>(upper + bytes - 4, 0)
      store<f32>(lower + bytes - 4, 0)
    }
    if (oy == p.ho - 1 && p.h > 2 * p.ho) memory.fill(lower + bytes, 0, bytes)
  }
}

/** Every pixel adds up the cotangents of those windows whose maximum it was. */
export function maxPoolGrad(params: usize, chunk: i32, scratch: usize): void {
  const p = changetype<PoolParams>(params)
  const end = min((chunk + 1) * p.each, p.rows)
  for (let row = chunk * p.each; row < end; row++) {
    const plane = row / p.h
    const y = row - plane * p.h
    const dx = rowOf(p.image, row, p.w)
    memory.fill(dx, 0, <usize>p.w << 2)
    for (let oy = firstCovering(p, y); oy <= lastCovering(p, y, p.ho); oy++) {
      const dy = rowOf(p.windows, plane * p.ho + oy, p.wo)
      const taps = rowOf(p.taps, plane * p.ho + oy, p.wo)
      // Taps of this row of pixels are those from here on, `kernel` of them.
      const first = (y + p.padding - oy * p.stride) * p.kernel
      for (let ox = 0; ox < p.wo; ox++) {
        const column = load<i32>(taps + (<usize>ox << 2)) - first
        if (<u32>column < <u32>p.kernel) {
          const at = dx + (<usize>(ox * p.stride - p.padding + column) << 2)
          store<f32>(at, load<f32>(at) + load<f32>(dy + (<usize>ox << 2)))
        }
      }
    }
  }
}
