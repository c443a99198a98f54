/**
 * The exponential and what follows from it, four floats at a time. With n = floor(x / ln 2) and r = x − n ln 2 in
 * [0, ln 2), exp(x) = 2^n · p(r): p is the polynomial of degree 6 that is nearest to exp relative to its value
 * (3e-9, found by Lawson's iteration with the first two coefficients held at 1, so that exp(0) is 1 to the bit), and ln 2
 * is subtracted in two parts of which the first times n is exact. With rounding the relative error is 1.2e-7 at most.
 *
 * Taking floor instead of the nearest integer keeps p in [1, 2), so that n + 127 is the exponent's field of the result
 * over the whole range: 0 below -87.34 (results that would be denormal are 0), 255, infinity, above 88.72. NaN stays NaN.
 */
import { madd } from './simd'

// @ts-ignore: decorator
@inline
export function exp4(x: v128): v128 {
  // pmin(a, b) is b < a ? b : a, so the order of arguments lets NaN through.
  x = f32x4.pmax(f32x4.pmin(x, f32x4.splat(89)), f32x4.splat(-88))
  const n = f32x4.floor(f32x4.mul(x, f32x4.splat(1.44269504)))
  const r = madd(n, f32x4.splat(2.12194440e-4), madd(n, f32x4.splat(-0.693359375), x))
  let p = madd(r, f32x4.splat(0.0019124869722872972), f32x4.splat(0.007868426851928234))
  p = madd(p, r, f32x4.splat(0.04185498133301735))
  p = madd(p, r, f32x4.splat(0.16663190722465515))
  p = madd(p, r, f32x4.splat(0.5000022649765015))
  p = madd(p, r, f32x4.splat(1))
  p = madd(p, r, f32x4.splat(1))
  // In the float 2^23 + (n + 127) the lowest bits are n + 127; the shift drops the others.
  const power = i32x4.shl(f32x4.add(n, f32x4.splat(8388735)), 23)
  return f32x4.mul(p, power)
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
  return f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(x))))
}

/** x · sigmoid(x). */
// @ts-ignore: decorator
@inline
export function silu4(x: v128): v128 {
  return f32x4.div(x, f32x4.add(f32x4.splat(1), exp4(f32x4.neg(x))))
}
