/**
 * The one-dimensional transforms of Winograd's F(4, 3) that all its kernels share: four outputs of a filter of
 * three taps from six inputs by six multiplications, y = Aᵀ((G g) ⊙ (Bᵀ d)). In two dimensions each is applied
 * to columns, then rows.
 *
 * The interpolation points are 0, ±5/8, ±3/2 and ∞ rather than the usual 0, ±1, ±2, ∞: all constants are exact in f32,
 * and over 64 channels of normal data the error is 1.9e-7 of the largest output (root mean square) where the usual
 * points give 4.2e-7 and a direct sum 1.05e-7; the largest error is 1.6e-6 for 7.1e-6 and 0.9e-6. With fused
 * multiply-add the transforms cost the same.
 */
import { madd } from './simd'

// a = 5/8, b = 3/2
const a: f32 = 0.625
const b: f32 = 1.5
const a2: f32 = a * a
const b2: f32 = b * b
const a3: f32 = a2 * a
const b3: f32 = b2 * b
/** What G divides by at 0, ±a and ±b. */
const at0: f32 = 1 / (a2 * b2)
const atA: f32 = 1 / (2 * a2 * (a2 - b2))
const atB: f32 = 1 / (2 * b2 * (b2 - a2))

/** Bᵀ d, six vectors stored `stride` bytes apart. */
// @ts-ignore: decorator
@inline
export function storeInput(d0: v128, d1: v128, d2: v128, d3: v128, d4: v128, d5: v128, to: usize, stride: usize): void {
  const product = f32x4.splat(a2 * b2)
  const sum = f32x4.splat(-(a2 + b2))
  v128.store(to, madd(product, d0, madd(sum, d2, d4)))
  let even = madd(f32x4.splat(-b2), d2, d4)
  let odd = f32x4.mul(f32x4.splat(a), madd(f32x4.splat(-b2), d1, d3))
  v128.store(to + stride, f32x4.add(even, odd))
  v128.store(to + 2 * stride, f32x4.sub(even, odd))
  even = madd(f32x4.splat(-a2), d2, d4)
  odd = f32x4.mul(f32x4.splat(b), madd(f32x4.splat(-a2), d1, d3))
  v128.store(to + 3 * stride, f32x4.add(even, odd))
  v128.store(to + 4 * stride, f32x4.sub(even, odd))
  v128.store(to + 5 * stride, madd(product, d1, madd(sum, d3, d5)))
}

/** G g for one tap vector each, six vectors stored `stride` bytes apart. */
// @ts-ignore: decorator
@inline
export function storeWeight(g0: v128, g1: v128, g2: v128, to: usize, stride: usize): void {
  v128.store(to, f32x4.mul(g0, f32x4.splat(at0)))
  let even = f32x4.mul(f32x4.splat(atA), madd(f32x4.splat(a2), g2, g0))
  let odd = f32x4.mul(f32x4.splat(atA * a), g1)
  v128.store(to + stride, f32x4.add(even, odd))
  v128.store(to + 2 * stride, f32x4.sub(even, odd))
  even = f32x4.mul(f32x4.splat(atB), madd(f32x4.splat(b2), g2, g0))
  odd = f32x4.mul(f32x4.splat(atB * b), g1)
  v128.store(to + 3 * stride, f32x4.add(even, odd))
  v128.store(to + 4 * stride, f32x4.sub(even, odd))
  v128.store(to + 5 * stride, g2)
}

/**
 * A y, the transform of four outputs' cotangents: six vectors, `stride` bytes apart. Where `split`, a vector's first
 * two lanes go to `to` and the others to `high`.
 */
// @ts-ignore: decorator
@inline
export function storeExpanded(
  y0: v128, y1: v128, y2: v128, y3: v128, to: usize, high: usize, stride: usize, split: bool
): void {
  put(y0, to, high, split)
  let even = madd(f32x4.splat(a2), y2, y0)
  let odd = madd(f32x4.splat(a3), y3, f32x4.mul(f32x4.splat(a), y1))
  put(f32x4.add(even, odd), to + stride, high + stride, split)
  put(f32x4.sub(even, odd), to + 2 * stride, high + 2 * stride, split)
  even = madd(f32x4.splat(b2), y2, y0)
  odd = madd(f32x4.splat(b3), y3, f32x4.mul(f32x4.splat(b), y1))
  put(f32x4.add(even, odd), to + 3 * stride, high + 3 * stride, split)
  put(f32x4.sub(even, odd), to + 4 * stride, high + 4 * stride, split)
  put(y3, to + 5 * stride, high + 5 * stride, split)
}

// @ts-ignore: decorator
@inline
function put(x: v128, to: usize, high: usize, split: bool): void {
  if (split) {
    v128.store64_lane(high, x, 1)
    v128.store64_lane(to, x, 0)
  } else v128.store(to, x)
}

/** Gᵀ m, the three taps' gradients from six vectors `stride` bytes apart, stored `toStride` bytes apart. */
// @ts-ignore: decorator
@inline
export function storeTaps(m: usize, stride: usize, to: usize, toStride: usize): void {
  const m1 = v128.load(m + stride)
  const m2 = v128.load(m + 2 * stride)
  const m3 = v128.load(m + 3 * stride)
  const m4 = v128.load(m + 4 * stride)
  const sumA = f32x4.mul(f32x4.splat(atA), f32x4.add(m1, m2))
  const sumB = f32x4.mul(f32x4.splat(atB), f32x4.add(m3, m4))
  v128.store(to, madd(f32x4.splat(at0), v128.load(m), f32x4.add(sumA, sumB)))
  v128.store(
    to + toStride, madd(f32x4.splat(atA * a), f32x4.sub(m1, m2), f32x4.mul(f32x4.splat(atB * b), f32x4.sub(m3, m4)))
  )
  v128.store(to + 2 * toStride, madd(f32x4.splat(a2), sumA, madd(f32x4.splat(b2), sumB, v128.load(m + 5 * stride))))
}

/** Rows 0 to 3 of Aᵀ m, from the sums and differences of its middle four. */
// @ts-ignore: decorator
@inline
export function output0(m0: v128, sumA: v128, sumB: v128): v128 {
  return f32x4.add(m0, f32x4.add(sumA, sumB))
}

// @ts-ignore: decorator
@inline
export function output1(differenceA: v128, differenceB: v128): v128 {
  return madd(f32x4.splat(a), differenceA, f32x4.mul(f32x4.splat(b), differenceB))
}

// @ts-ignore: decorator
@inline
export function output2(sumA: v128, sumB: v128): v128 {
  return madd(f32x4.splat(a2), sumA, f32x4.mul(f32x4.splat(b2), sumB))
}

// @ts-ignore: decorator
@inline
export function output3(differenceA: v128, differenceB: v128, m5: v128): v128 {
  return madd(f32x4.splat(a3), differenceA, madd(f32x4.splat(b3), differenceB, m5))
}
