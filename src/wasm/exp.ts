/**
 * The exponential and what follows from it, four floats at a time. With n = round(x / ln 2) and r = x − n ln 2,
 * exp(x) = 2^n · p(r): p is the polynomial of degree 5 that is nearest to exp relative to its value (1.05e-7, found by
 * Lawson's iteration with the first two coefficients held at 1, so that exp(0) is 1 to the bit), and ln 2 is subtracted
 * in two parts of which the first times n is exact. With rounding the relative error is 2e-7 at most.
 *
 * Adding 1.5 · 2^23 rounds to an integer and leaves it in the low bits; the 126 beside it makes them the exponent's
 * field of 2^(n-1), whose other half is in p. So the result runs to the largest float, then to infinity (above 88.72),
 * and is 0 below -86.99, where 1.7e-38 is left. NaN stays NaN.
 *
 * V8 lifts the constants out of a loop only if the loop has its condition at the end; at the top, every constant is
 * built anew each time round, by three instructions, and the loop is half as fast: write `do { … } while (at < end)`.
 */
import { madd } from './simd'

/** exp(sign · x); the sign, 1 or -1, goes into the constants. */
// @ts-ignore: decorator
@inline
export function exp4(x: v128, sign: f32 = 1): v128 {
  // pmin(a, b) is b < a ? b : a, so the order of arguments lets NaN through.
  x = f32x4.pmax(f32x4.pmin(x, f32x4.splat(sign > 0 ? 89 : 87.33)), f32x4.splat(sign > 0 ? -87.33 : -89))
  const shifted = madd(x, f32x4.splat(sign * 1.44269504), f32x4.splat(12583038))
  const n = f32x4.sub(shifted, f32x4.splat(12583038))
  // r, or −r; the odd coefficients change sign with it.
  const r = madd(n, f32x4.splat(sign * 2.12194440e-4), madd(n, f32x4.splat(sign * -0.693359375), x))
  let p = madd(r, f32x4.splat(sign * 2 * 0.008312523365020752), f32x4.splat(2 * 0.04189012572169304))
  p = madd(p, r, f32x4.splat(sign * 2 * 0.16667114198207855))
  p = madd(p, r, f32x4.splat(2 * 0.499992311000824))
  p = madd(p, r, f32x4.splat(sign * 2))
  p = madd(p, r, f32x4.splat(2))
  return f32x4.mul(p, i32x4.shl(shifted, 23))
}

/** One exponential, to the bit what a lane of {@link exp4} is. */
// @ts-ignore: decorator
@inline
export function exp1(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0)
}

/** 1 / (1 + exp(−x)). */
// @ts-ignore: decorator
@inline
export function sigmoid4(x: v128): v128 {
  const one = f32x4.splat(1)
  return f32x4.div(one, f32x4.add(one, exp4(x, -1)))
}

/** x · sigmoid(x). */
// @ts-ignore: decorator
@inline
export function silu4(x: v128): v128 {
  return f32x4.div(x, f32x4.add(f32x4.splat(1), exp4(x, -1)))
}
