/**
 * The maximum over windows and which tap of a window it was: the first in reading order where several are equal, as in
 * PyTorch. The gradient needs that tap and nothing else. Four windows of stride 1 or 2 are done at once where they lie
 * inside the image; the last four of a row may overlap those before.
 */
import { PoolParams, firstCovering, lastCovering, rowOf } from './pool-shape'

export function maxPool(p: PoolParams, chunk: i32, scratch: usize): void {
  const end = min((chunk + 1) * p.each, p.rows)
  // All columns of the windows from `inside` on are in the image, and of three more after `last`.
  const inside = (p.padding + p.stride - 1) / p.stride
  const last = p.stride > 2 ? -1 : min((p.w + p.padding - p.kernel) / p.stride, p.wo - 1) - 3
  for (let row = chunk * p.each; row < end; row++) {
    const plane = row / p.ho
    const startY = (row - plane * p.ho) * p.stride - p.padding
    const image = rowOf(p.image, plane * p.h, p.w)
    const top = max(startY, 0)
    const bottom = min(startY + p.kernel, p.h)
    let ox = 0
    while (ox < p.wo) {
      if (ox >= inside && ox <= last + 3 && last >= inside) {
        ox = min(ox, last)
        if (p.stride == 1) maxOfFour(p, row, ox, image, startY, top, bottom, 1)
        else maxOfFour(p, row, ox, image, startY, top, bottom, 2)
        ox += 4
      } else {
        maxOfOne(p, row, ox, image, startY, top, bottom)
        ox++
      }
    }
  }
}

/** The four elements at, at + stride, ... for a stride of 1 or 2; reads none beyond the last of them. */
// @ts-ignore: decorator
@inline
function load4(at: usize, stride: i32): v128 {
  const first = v128.load(at)
  if (stride == 1) return first
  return v128.shuffle<f32>(first, v128.load(at, 12), 0, 2, 5, 7)
}

// @ts-ignore: decorator
@inline
function maxOfFour(
  p: PoolParams, row: i32, ox: i32, image: usize, startY: i32, top: i32, bottom: i32, stride: i32
): void {
  // The first tap counts whatever it is, NaN too; after it only what is larger.
  let line = rowOf(image, top, p.w) + (<usize>(ox * stride - p.padding) << 2)
  let best = load4(line, stride)
  let tap = i32x4.splat((top - startY) * p.kernel)
  let number = tap
  for (let iy = top; iy < bottom; iy++) {
    const stop = line + (<usize>p.kernel << 2)
    for (let at = line; at < stop; at += 4) {
      const value = load4(at, stride)
      const larger = f32x4.gt(value, best)
      best = f32x4.pmax(best, value)
      tap = v128.bitselect(number, tap, larger)
      number = i32x4.add(number, i32x4.splat(1))
    }
    line += <usize>p.w << 2
  }
  const offset = <usize>ox << 2
  v128.store(rowOf(p.windows, row, p.wo) + offset, best)
  v128.store(rowOf(p.taps, row, p.wo) + offset, tap)
}

function maxOfOne(p: PoolParams, row: i32, ox: i32, image: usize, startY: i32, top: i32, bottom: i32): void {
  const startX = ox * p.stride - p.padding
  const left = max(startX, 0)
  const right = min(startX + p.kernel, p.w)
  let best = load<f32>(rowOf(image, top, p.w) + (<usize>left << 2))
  let tap = (top - startY) * p.kernel + left - startX
  for (let iy = top; iy < bottom; iy++) {
    const line = rowOf(image, iy, p.w)
    for (let ix = left; ix < right; ix++) {
      const value = load<f32>(line + (<usize>ix << 2))
      if (value > best) {
        best = value
        tap = (iy - startY) * p.kernel + ix - startX
      }
    }
  }
  const offset = <usize>ox << 2
  store<f32>(rowOf(p.windows, row, p.wo) + offset, best)
  store<i32>(rowOf(p.taps, row, p.wo) + offset, tap)
}

/** Every pixel adds up the cotangents of those windows whose maximum it was. */
export function maxPoolGrad(p: PoolParams, chunk: i32, scratch: usize): void {
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
