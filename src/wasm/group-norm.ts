/**
 * Group norm, forward. A chunk is some groups: each is read from memory once, for its mean; its variance and the sweep
 * that normalises, scales, shifts and takes SiLU find it in the cache. A group beyond the cache is cut into parts: one
 * job finds their moments, the next joins them, in order (Chan, Golub & LeVeque 1979), and sweeps.
 *
 * The first pass gives a mean m that rounding to f32 has moved; the second sums d = x − m and d² and corrects both
 * results by Σd: mean = m + Σd / n, M2 = Σd² − (Σd)² / n, where the subtraction removes next to nothing.
 */
import { silu4 } from './exp'
import { GroupParams, copyFew, factorOf, offsetOf } from './group-norm-row'
import { sumOf } from './reduce-run'
import { laneSum, madd } from './simd'

@unmanaged
class GroupNormParams extends GroupParams {
  y: usize
  /** Mean and M2 of every part, in f64. */
  moments: usize
  eps: f32
}

/** Whole groups. */
export function groupNorm(p: GroupNormParams, chunk: i32, scratch: usize): void {
  const size = p.part
  const last = min((chunk + 1) * p.each, p.count)
  for (let group = chunk * p.each; group < last; group++) {
    momentsOf(p.x + (<usize>group * size << 2), size, scratch)
    const at = p.statistics + (<usize>group << 3)
    statisticsOf(load<f64>(scratch), load<f64>(scratch, 8), size, p.eps, at)
    sweep(p, group, 0, size, load<f32>(at), load<f32>(at, 4), scratch)
  }
}

/** The moments of parts of groups. */
export function groupNormMoments(p: GroupNormParams, chunk: i32, scratch: usize): void {
  const size = p.channels / p.groups * p.positions
  const last = min((chunk + 1) * p.each, p.count)
  for (let item = chunk * p.each; item < last; item++) {
    const from = item % p.parts * p.part
    momentsOf(
      p.x + (<usize>(item / p.parts * size + from) << 2), min(p.part, size - from), p.moments + (<usize>item << 4)
    )
  }
}

/** Joins the moments of a group and sweeps over one part of it; who has the first part writes the statistics. */
export function groupNormParts(p: GroupNormParams, chunk: i32, scratch: usize): void {
  const size = p.channels / p.groups * p.positions
  const last = min((chunk + 1) * p.each, p.count)
  for (let item = chunk * p.each; item < last; item++) {
    const group = item / p.parts
    const from = item % p.parts * p.part
    let at = p.moments + (<usize>(group * p.parts) << 4)
    let mean = load<f64>(at), m2 = load<f64>(at, 8)
    let n = <f64>p.part
    for (let part = 1; part < p.parts; part++) {
      at += 16
      const more = <f64>min(p.part, size - part * p.part)
      const delta = load<f64>(at) - mean
      mean += delta * (more / (n + more))
      m2 += load<f64>(at, 8) + delta * delta * (n * more / (n + more))
      n += more
    }
    const result = from == 0 ? p.statistics + (<usize>group << 3) : scratch
    statisticsOf(mean, m2, size, p.eps, result)
    sweep(p, group, from, min(from + p.part, size), load<f32>(result), load<f32>(result, 4), scratch)
  }
}

function statisticsOf(mean: f64, m2: f64, n: i32, eps: f32, result: usize): void {
  store<f32>(result, <f32>mean)
  store<f32>(result, <f32>(1 / sqrt(m2 / <f64>n + <f64>eps)), 4)
}

/** Mean and M2 of a run, as f64 at `result`. */
function momentsOf(x: usize, count: i32, result: usize): void {
  const n = <f64>count
  const m = <f32>(sumOf(x, count) / n)
  const mean = f32x4.splat(m)
  const end = x + (<usize>count << 2)
  const whole = end - ((<usize>count << 2) & 31)
  let first: f64 = 0, second: f64 = 0
  while (x < whole) {
    const stop = min(x + 8192, whole)
    let a0 = f32x4.splat(0), a1 = f32x4.splat(0), b0 = f32x4.splat(0), b1 = f32x4.splat(0)
    do {
      const d0 = f32x4.sub(v128.load(x), mean)
      const d1 = f32x4.sub(v128.load(x, 16), mean)
      a0 = f32x4.add(a0, d0)
      a1 = f32x4.add(a1, d1)
      b0 = madd(d0, d0, b0)
      b1 = madd(d1, d1, b1)
      x += 32
    } while (x < stop)
    first += <f64>laneSum(f32x4.add(a0, a1))
    second += <f64>laneSum(f32x4.add(b0, b1))
  }
  while (x < end) {
    const d = <f64>load<f32>(x) - <f64>m
    first += d
    second += d * d
    x += 4
  }
  store<f64>(result, <f64>m + first / n)
  store<f64>(result, max(second - first * first / n, 0), 8)
}

/** Elements `from` to `to` of a group, row by row. */
function sweep(p: GroupNormParams, group: i32, from: i32, to: i32, mean: f32, inverse: f32, scratch: usize): void {
  const positions = p.positions
  const rows = p.channels / p.groups
  while (from < to) {
    const row = group * rows + from / positions
    const count = min(positions - from % positions, to - from)
    const at = <usize>(group * rows * positions + from) << 2
    const factor = factorOf(p, row) * inverse
    const offset = offsetOf(p, row)
    const bytes = <usize>count << 2
    const rest = bytes & 15
    if (bytes > rest) apply(p.x + at, p.y + at, bytes - rest, mean, factor, offset, p.silu)
    if (rest) {
      const tail = at + bytes - rest
      copyFew(scratch, p.x + tail, rest)
      apply(scratch, scratch + 16, 16, mean, factor, offset, p.silu)
      copyFew(p.y + tail, scratch + 16, rest)
    }
    from += count
  }
}

/** A multiple of 16 bytes. */
function apply(x: usize, y: usize, bytes: usize, mean: f32, factor: f32, offset: f32, silu: i32): void {
  const end = x + bytes
  const m = f32x4.splat(mean), f = f32x4.splat(factor), o = f32x4.splat(offset)
  if (silu) {
    do {
      v128.store(y, silu4(madd(f32x4.sub(v128.load(x), m), f, o)))
      x += 16
      y += 16
    } while (x < end)
  } else {
    do {
      v128.store(y, madd(f32x4.sub(v128.load(x), m), f, o))
      x += 16
      y += 16
    } while (x < end)
  }
}
