/**
 * Summing windows and spreading values back over them, transposes of each other: average pooling, nearest-neighbour
 * upsampling and both gradients. Networks do both by 2, so windows of 2 x 2 side by side have kernels of their own.
 */
import { PoolParams, firstCovering, lastCovering, rowOf } from './pool-shape'

/** y = scale · (the sum over each window). */
export function windowSum(p: PoolParams, chunk: i32, scratch: usize): void {
  const end = min((chunk + 1) * p.each, p.rows)
  for (let row = chunk * p.each; row < end; row++) {
    const plane = row / p.ho
    const startY = (row - plane * p.ho) * p.stride - p.padding
    const top = max(startY, 0)
    const bottom = min(startY + p.kernel, p.h)
    const image = rowOf(p.image, plane * p.h, p.w)
    const y = rowOf(p.windows, row, p.wo)
    for (let ox = 0; ox < p.wo; ox++) {
      const startX = ox * p.stride - p.padding
      let total: f32 = 0
      for (let iy = top; iy < bottom; iy++) {
        const line = rowOf(image, iy, p.w)
        for (let ix = max(startX, 0); ix < min(startX + p.kernel, p.w); ix++)
          total += load<f32>(line + (<usize>ix << 2))
      }
      store<f32>(y + (<usize>ox << 2), total * p.scale)
    }
  }
}

/**
 * `windowSum` of windows of 2 x 2 side by side: average pooling by 2 and the gradient of nearest-neighbour upsampling.
 */
export function windowSum2(p: PoolParams, chunk: i32, scratch: usize): void {
  const end = min((chunk + 1) * p.each, p.rows)
  for (let row = chunk * p.each; row < end; row++) {
    const plane = row / p.ho
    const y = rowOf(p.windows, row, p.wo)
    const upper = rowOf(p.image, plane * p.h + 2 * (row - plane * p.ho), p.w)
    const lower = upper + (<usize>p.w << 2)
    let ox = 0
    for (; ox + 4 <= p.wo; ox += 4) {
      const at = <usize>ox << 3
      const a = f32x4.add(v128.load(upper + at), v128.load(lower + at))
      const b = f32x4.add(v128.load(upper + at, 16), v128.load(lower + at, 16))
      const total = f32x4.add(v128.shuffle<f32>(a, b, 0, 2, 4, 6), v128.shuffle<f32>(a, b, 1, 3, 5, 7))
      v128.store(y + (<usize>ox << 2), f32x4.mul(total, f32x4.splat(p.scale)))
    }
    for (; ox < p.wo; ox++) {
      const at = <usize>ox << 3
      const total =
        load<f32>(upper + at) + load<f32>(lower + at) + (load<f32>(upper + at, 4) + load<f32>(lower + at, 4))
      store<f32>(y + (<usize>ox << 2), total * p.scale)
    }
  }
}

/** The transpose of `windowSum`: each pixel is scale · (the sum of the windows that cover it). */
export function windowSpread(p: PoolParams, chunk: i32, scratch: usize): void {
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
 * `windowSpread` of windows of 2 x 2 side by side: nearest-neighbour upsampling by 2 and the gradient of average
 * pooling. A row here is one of windows, so two of pixels; what an odd image has beyond the windows becomes 0.
 */
export function windowSpread2(p: PoolParams, chunk: i32, scratch: usize): void {
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
