/**
 * Softmax and its logarithm along rows, a chunk being some rows: the maximum, the exponentials (of a softmax kept in y)
 * and their sum, then the sweep that divides, while the row is in the cache. The largest term of the sum is exactly 1.
 */
import { exp1, exp4 } from './exp'
import { maxOf } from './reduce-run'
import { laneSum } from './simd'

@unmanaged
class SoftmaxParams {
  x: usize
  y: usize
  rows: i32
  length: i32
  /** Rows a chunk. */
  each: i32
  log: i32
}

export function softmax(p: SoftmaxParams, chunk: i32, scratch: usize): void {
  const bytes = <usize>p.length << 2
  const last = min((chunk + 1) * p.each, p.rows)
  for (let row = chunk * p.each; row < last; row++) {
    const x = p.x + <usize>row * bytes
    const y = p.y + <usize>row * bytes
    const top = maxOf(x, p.length)
    const total = exponentials(x, y, bytes, top)
    if (p.log) finish(x, y, bytes, top, 1, <f32>log(total))
    else finish(y, y, bytes, 0, <f32>(1 / total), 0)
  }
}

/** y = exp(x − top); returns their sum, added in blocks so that f32 sums stay short. */
function exponentials(x: usize, y: usize, bytes: usize, top: f32): f64 {
  const end = x + bytes
  const whole = end - (bytes & 15)
  const t = f32x4.splat(top)
  let total: f64 = 0
  while (x < whole) {
    const stop = min(x + 4096, whole)
    let sum = f32x4.splat(0)
    do {
      const e = exp4(f32x4.sub(v128.load(x), t))
      sum = f32x4.add(sum, e)
      v128.store(y, e)
      x += 16
      y += 16
    } while (x < stop)
    total += <f64>laneSum(sum)
  }
  while (x < end) {
    const e = exp1(load<f32>(x) - top)
    total += <f64>e
    store<f32>(y, e)
    x += 4
    y += 4
  }
  return total
}

/** y = (x − top) · factor − shift. */
function finish(x: usize, y: usize, bytes: usize, top: f32, factor: f32, shift: f32): void {
  const end = x + bytes
  const whole = end - (bytes & 15)
  const t = f32x4.splat(top), f = f32x4.splat(factor), s = f32x4.splat(shift)
  while (x < whole) {
    v128.store(y, f32x4.sub(f32x4.mul(f32x4.sub(v128.load(x), t), f), s))
    x += 16
    y += 16
  }
  while (x < end) {
    store<f32>(y, (load<f32>(x) - top) * factor - shift)
    x += 4
    y += 4
  }
}

/**
 * The logarithm of a number of at least 1 (or NaN): with m in [1, 2) times 2^n and s = (m − 1) / (m + 1),
 * 2 artanh(s) + n ln 2.
 */
function log(x: f64): f64 {
  if (!(x < Infinity)) return x
  const bits = reinterpret<u64>(x)
  const n = <f64>(<i64>(bits >> 52) - 1023)
  const m = reinterpret<f64>((bits & 0xfffffffffffff) | 0x3ff0000000000000)
  const s = (m - 1) / (m + 1)
  const q = s * s
  // s is at most 1/3, so what is left after eight terms is below 2e-9.
  let series: f64 = 1.0 / 15
  for (let k: f64 = 13; k > 0; k -= 2) series = series * q + 1 / k
  return 2 * s * series + n * 0.6931471805599453
}
