/**
 * The backward pass of group norm; the formulas stand in `tensor/ops/group-norm.ts`. With d = x − mean, both kernels
 * recompute v = d · factor / sqrt(variance + eps) + offset and from it dv = dy · silu'(v).
 */
import { sigmoid4 } from './exp'
import { GroupParams, copyFew, factorOf, floatAt, offsetOf } from './group-norm-row'
import { laneSum, madd } from './simd'

@unmanaged
class GroupSumsParams extends GroupParams {
  dy: usize
  /** A = Σ dv and B = Σ dv · xhat of every row. */
  sumA: usize
  sumB: usize
}

@unmanaged
class GroupDataParams extends GroupSumsParams {
  dx: usize
}

/** silu'(v) = s + v s (1 − s), s = sigmoid(v). */
// @ts-ignore: decorator
@inline
function slope(v: v128): v128 {
  const s = sigmoid4(v)
  return madd(f32x4.mul(s, v), f32x4.sub(f32x4.splat(1), s), s)
}

/** A chunk is some rows. */
export function groupNormSums(p: GroupSumsParams, chunk: i32, scratch: usize): void {
  const rows = p.channels / p.groups
  const bytes = <usize>p.positions << 2
  const rest = bytes & 15
  const last = min((chunk + 1) * p.each, p.count)
  // The tail's vector is padded with zeros of dy, which add nothing.
  v128.store(scratch, f32x4.splat(0))
  v128.store(scratch, f32x4.splat(0), 16)
  for (let row = chunk * p.each; row < last; row++) {
    const statistics = p.statistics + (<usize>(row / rows) << 3)
    const mean = load<f32>(statistics), inverse = load<f32>(statistics, 4)
    const factor = factorOf(p, row) * inverse
    const offset = offsetOf(p, row)
    const x = p.x + <usize>row * bytes
    const dy = p.dy + <usize>row * bytes
    store<f64>(scratch, 0, 32)
    store<f64>(scratch, 0, 40)
    if (bytes > rest) sums(x, dy, bytes - rest, mean, factor, offset, p.silu, scratch + 32)
    if (rest) {
      copyFew(scratch, x + bytes - rest, rest)
      copyFew(scratch + 16, dy + bytes - rest, rest)
      sums(scratch, scratch + 16, 16, mean, factor, offset, p.silu, scratch + 32)
    }
    const at = <usize>row << 2
    store<f32>(p.sumA + at, <f32>load<f64>(scratch, 32))
    store<f32>(p.sumB + at, <f32>(load<f64>(scratch, 40) * <f64>inverse))
  }
}

/**
 * Adds Σ dv and Σ dv · (x − mean) of a multiple of 16 bytes to the f64s at `result`; blocks keep their f32 sums short.
 */
function sums(x: usize, dy: usize, bytes: usize, mean: f32, factor: f32, offset: f32, silu: i32, result: usize): void {
  const end = x + bytes
  const m = f32x4.splat(mean), f = f32x4.splat(factor), o = f32x4.splat(offset)
  let totalA = load<f64>(result), totalB = load<f64>(result, 8)
  do {
    const stop = min(x + 4096, end)
    let a = f32x4.splat(0), b = f32x4.splat(0)
    if (silu) {
      do {
        const d = f32x4.sub(v128.load(x), m)
        const dv = f32x4.mul(v128.load(dy), slope(madd(d, f, o)))
        a = f32x4.add(a, dv)
        b = madd(dv, d, b)
        x += 16
        dy += 16
      } while (x < stop)
    } else {
      do {
        const dv = v128.load(dy)
        a = f32x4.add(a, dv)
        b = madd(dv, f32x4.sub(v128.load(x), m), b)
        x += 16
        dy += 16
      } while (x < stop)
    }
    totalA += <f64>laneSum(a)
    totalB += <f64>laneSum(b)
  } while (x < end)
  store<f64>(result, totalA)
  store<f64>(result, totalB, 8)
}

/** A chunk is some groups, or parts of large ones. */
export function groupNormDataGrad(p: GroupDataParams, chunk: i32, scratch: usize): void {
  const size = p.channels / p.groups * p.positions
  const last = min((chunk + 1) * p.each, p.count)
  for (let item = chunk * p.each; item < last; item++) {
    const from = item % p.parts * p.part
    dataOf(p, item / p.parts, from, min(from + p.part, size), scratch)
  }
}

/**
 * Elements `from` to `to` of a group: dx = (k · dv − Σ kA / m − xhat · Σ kB / m) · inverse, as a
 * multiple of dv and of d.
 */
function dataOf(p: GroupDataParams, group: i32, from: i32, to: i32, scratch: usize): void {
  const positions = p.positions
  const rows = p.channels / p.groups
  const inverse = floatAt(p.statistics, 2 * group + 1)
  const mean = floatAt(p.statistics, 2 * group)
  let a: f64 = 0, b: f64 = 0
  for (let row = group * rows; row < (group + 1) * rows; row++) {
    const k = <f64>factorOf(p, row)
    a += k * <f64>floatAt(p.sumA, row)
    b += k * <f64>floatAt(p.sumB, row)
  }
  const share = <f64>inverse / <f64>(rows * positions)
  const constant = <f32>(-a * share)
  const slant = <f32>(-b * share * <f64>inverse)
  while (from < to) {
    const row = group * rows + from / positions
    const count = min(positions - from % positions, to - from)
    const at = <usize>(group * rows * positions + from) << 2
    const factor = factorOf(p, row) * inverse
    const offset = offsetOf(p, row)
    const bytes = <usize>count << 2
    const rest = bytes & 15
    if (bytes > rest) data(p.x + at, p.dy + at, p.dx + at, bytes - rest, mean, factor, offset, constant, slant, p.silu)
    if (rest) {
      const tail = at + bytes - rest
      copyFew(scratch, p.x + tail, rest)
      copyFew(scratch + 16, p.dy + tail, rest)
      data(scratch, scratch + 16, scratch + 32, 16, mean, factor, offset, constant, slant, p.silu)
      copyFew(p.dx + tail, scratch + 32, rest)
    }
    from += count
  }
}

/** A multiple of 16 bytes. */
function data(
  x: usize, dy: usize, dx: usize, bytes: usize, mean: f32, factor: f32, offset: f32, constant: f32, slant: f32,
  silu: i32
): void {
  const end = x + bytes
  const m = f32x4.splat(mean), f = f32x4.splat(factor), o = f32x4.splat(offset)
  const c = f32x4.splat(constant), s = f32x4.splat(slant)
  if (silu) {
    do {
      const d = f32x4.sub(v128.load(x), m)
      const dv = f32x4.mul(v128.load(dy), slope(madd(d, f, o)))
      v128.store(dx, madd(dv, f, madd(d, s, c)))
      x += 16
      dy += 16
      dx += 16
    } while (x < end)
  } else {
    do {
      const d = f32x4.sub(v128.load(x), m)
      v128.store(dx, madd(v128.load(dy), f, madd(d, s, c)))
      x += 16
      dy += 16
      dx += 16
    } while (x < end)
  }
}
