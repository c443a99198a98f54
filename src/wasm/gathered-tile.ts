/**
 * The tiles of gemm-tile.ts for a B that lies somewhere else: a convolution reads shifted pieces of one plane, so row k
 * of B begins at a base plus an offset from a table, and im2col's copy, 9 times the input, is never made. The two
 * halves of a row have bases of their own: 4 pixels end at the end of an image's row more often than 8.
 */
import { madd } from './simd'

/**
 * Like tile6x8, with row k of B in two halves of 4 floats at `b0 + offsets[k]` and `b1 + offsets[k]` (byte offsets).
 */
export function gathered6x8(
  a: usize, offsets: usize, b0: usize, b1: usize, k: i32, c: usize, ldc: usize, accumulate: bool
): void {
  let c0a = f32x4.splat(0), c0b = f32x4.splat(0)
  let c1a = f32x4.splat(0), c1b = f32x4.splat(0)
  let c2a = f32x4.splat(0), c2b = f32x4.splat(0)
  let c3a = f32x4.splat(0), c3b = f32x4.splat(0)
  let c4a = f32x4.splat(0), c4b = f32x4.splat(0)
  let c5a = f32x4.splat(0), c5b = f32x4.splat(0)
  if (accumulate) {
    let row = c
    c0a = v128.load(row)
    c0b = v128.load(row, 16)
    row += ldc
    c1a = v128.load(row)
    c1b = v128.load(row, 16)
    row += ldc
    c2a = v128.load(row)
    c2b = v128.load(row, 16)
    row += ldc
    c3a = v128.load(row)
    c3b = v128.load(row, 16)
    row += ldc
    c4a = v128.load(row)
    c4b = v128.load(row, 16)
    row += ldc
    c5a = v128.load(row)
    c5b = v128.load(row, 16)
  }
  const end = offsets + (<usize>k << 2)
  while (offsets < end) {
    const offset = load<usize>(offsets)
    const left = v128.load(b0 + offset)
    const right = v128.load(b1 + offset)
    let s = v128.load32_splat(a)
    c0a = madd(s, left, c0a)
    c0b = madd(s, right, c0b)
    s = v128.load32_splat(a, 4)
    c1a = madd(s, left, c1a)
    c1b = madd(s, right, c1b)
    s = v128.load32_splat(a, 8)
    c2a = madd(s, left, c2a)
    c2b = madd(s, right, c2b)
    s = v128.load32_splat(a, 12)
    c3a = madd(s, left, c3a)
    c3b = madd(s, right, c3b)
    s = v128.load32_splat(a, 16)
    c4a = madd(s, left, c4a)
    c4b = madd(s, right, c4b)
    s = v128.load32_splat(a, 20)
    c5a = madd(s, left, c5a)
    c5b = madd(s, right, c5b)
    a += 24
    offsets += 4
  }
  v128.store(c, c0a)
  v128.store(c, c0b, 16)
  c += ldc
  v128.store(c, c1a)
  v128.store(c, c1b, 16)
  c += ldc
  v128.store(c, c2a)
  v128.store(c, c2b, 16)
  c += ldc
  v128.store(c, c3a)
  v128.store(c, c3b, 16)
  c += ldc
  v128.store(c, c4a)
  v128.store(c, c4b, 16)
  c += ldc
  v128.store(c, c5a)
  v128.store(c, c5b, 16)
}

/**
 * Like tile4x8, with row k of B in two halves of 4 floats at `b0 + offsets[k]` and `b1 + offsets[k]` (byte offsets).
 */
export function gathered4x8(
  a: usize, offsets: usize, b0: usize, b1: usize, k: i32, c: usize, ldc: usize, accumulate: bool
): void {
  let c0a = f32x4.splat(0), c0b = f32x4.splat(0)
  let c1a = f32x4.splat(0), c1b = f32x4.splat(0)
  let c2a = f32x4.splat(0), c2b = f32x4.splat(0)
  let c3a = f32x4.splat(0), c3b = f32x4.splat(0)
  if (accumulate) {
    let row = c
    c0a = v128.load(row)
    c0b = v128.load(row, 16)
    row += ldc
    c1a = v128.load(row)
    c1b = v128.load(row, 16)
    row += ldc
    c2a = v128.load(row)
    c2b = v128.load(row, 16)
    row += ldc
    c3a = v128.load(row)
    c3b = v128.load(row, 16)
  }
  const end = offsets + (<usize>k << 2)
  while (offsets < end) {
    const offset = load<usize>(offsets)
    const left = v128.load(b0 + offset)
    const right = v128.load(b1 + offset)
    let s = v128.load32_splat(a)
    c0a = madd(s, left, c0a)
    c0b = madd(s, right, c0b)
    s = v128.load32_splat(a, 4)
    c1a = madd(s, left, c1a)
    c1b = madd(s, right, c1b)
    s = v128.load32_splat(a, 8)
    c2a = madd(s, left, c2a)
    c2b = madd(s, right, c2b)
    s = v128.load32_splat(a, 12)
    c3a = madd(s, left, c3a)
    c3b = madd(s, right, c3b)
    a += 16
    offsets += 4
  }
  v128.store(c, c0a)
  v128.store(c, c0b, 16)
  c += ldc
  v128.store(c, c1a)
  v128.store(c, c1b, 16)
  c += ldc
  v128.store(c, c2a)
  v128.store(c, c2b, 16)
  c += ldc
  v128.store(c, c3a)
  v128.store(c, c3b, 16)
}
