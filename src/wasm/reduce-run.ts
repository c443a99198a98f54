/**
 * Sum and maximum of a run of floats. A sum is made of blocks of 4096 in sixteen partial sums, and the blocks are added
 * in f64, so that its error is about 1e-7 of the sum of absolute values, however long the run.
 */
import { laneSum } from './simd'

export function sumOf(at: usize, count: i32): f64 {
  const end = at + (<usize>count << 2)
  const whole = end - ((<usize>count << 2) & 63)
  let total: f64 = 0
  while (at < whole) {
    const stop = min(at + 16384, whole)
    let a = f32x4.splat(0), b = f32x4.splat(0), c = f32x4.splat(0), d = f32x4.splat(0)
    do {
      a = f32x4.add(a, v128.load(at))
      b = f32x4.add(b, v128.load(at, 16))
      c = f32x4.add(c, v128.load(at, 32))
      d = f32x4.add(d, v128.load(at, 48))
      at += 64
    } while (at < stop)
    total += <f64>laneSum(f32x4.add(f32x4.add(a, b), f32x4.add(c, d)))
  }
  while (at < end) {
    total += <f64>load<f32>(at)
    at += 4
  }
  return total
}

/** NaN if there is one, like `Math.max`. */
export function maxOf(at: usize, count: i32): f32 {
  const end = at + (<usize>count << 2)
  let top = load<f32>(at)
  if (count >= 8) {
    const whole = end - ((<usize>count << 2) & 31)
    let a = v128.load(at), b = v128.load(at, 16)
    at += 32
    while (at < whole) {
      a = f32x4.max(a, v128.load(at))
      b = f32x4.max(b, v128.load(at, 16))
      at += 32
    }
    top = laneMax(f32x4.max(a, b))
  }
  while (at < end) {
    top = max(top, load<f32>(at))
    at += 4
  }
  return top
}

// @ts-ignore: decorator
@inline
function laneMax(x: v128): f32 {
  const pairs = f32x4.max(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1))
  return max(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1))
}
