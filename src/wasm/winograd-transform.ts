/**
 * The one-dimensional transforms of Winograd's F(4, 3) that all its kernels share: four outputs of a filter of three taps
 * from six inputs by six multiplications, y = Aᵀ((G g) ⊙ (Bᵀ d)). In two dimensions each is applied to columns, then rows.
 *
 * The interpolation points are 0, ±5/8, ±3/2 and ∞ rather than the usual 0, ±1, ±2, ∞: all constants are exact in f32, and
 * over 64 channels of normal data the error is 1.9e-7 of the largest output (root mean square) where the usual points
 * give 4.2e-7 and a direct sum 1.05e-7; the largest error is 1.6e-6 for 7.1e-6 and 0.9e-6. With fused multiply-add the
 * transforms cost the same.
 */
import { madd } from './simd'

// a = 5/8, b = 3/2
export const a: f32 = 0.625
export const b: f32 = 1.5
const a2: f32 = a * a
const b2: f32 = b * b
const a3: f32 = a2 * a
const b3: f32 = b2 * b

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
  v128.store(to, f32x4.mul(g0, f32x4.splat(1 / (a2 * b2))))
  const atA: f32 = 1 / (2 * a2 * (a2 - b2))
  let even = f32x4.mul(f32x4.splat(atA), madd(f32x4.splat(a2), g2, g0))
  let odd = f32x4.mul(f32x4.splat(atA * a), g1)
  v128.store(to + stride, f32x4.add(even, odd))
  v128.store(to + 2 * stride, f32x4.sub(even, odd))
  const atB: f32 = 1 / (2 * b2 * (b2 - a2))
  even = f32x4.mul(f32x4.splat(atB), madd(f32x4.splat(b2), g2, g0))
  odd = f32x4.mul(f32x4.splat(atB * b), g1)
  v128.store(to + 3 * stride, f32x4.add(even, odd))
  v128.store(to + 4 * stride, f32x4.sub(even, odd))
  v128.store(to + 5 * stride, g2)
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
