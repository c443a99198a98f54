/**
 * Words that every kernel uses. `madd` is the one place where plain and relaxed SIMD differ: with relaxed SIMD it is
 * one instruction, fused where the CPU can; for engines without, `src/tensor/cpu/plain-simd.ts` writes it as two.
 */

/** a·b + c. */
// @ts-ignore: decorator
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  return f32x4.relaxed_madd(a, b, c)
}

/** The sum of four lanes, pairwise. */
// @ts-ignore: decorator
@inline
export function laneSum(x: v128): f32 {
  const pairs = f32x4.add(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1))
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1)
}
