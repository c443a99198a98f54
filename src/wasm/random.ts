/**
 * Random bits and normal deviates by counter, as `shaders/random.ts` has it and explains: Philox 4x32-10 of
 * (position / 4, draw, sample, purpose) keyed by the seed, and the inverse CDF of one word. Four counters at a
 * time, one a lane; their sixteen words are then put in order by a transpose. Here division and root are exact to
 * the last bit, so only the roundings of f32 remain. There is no `madd`: a deviate is the same with plain and with
 * relaxed SIMD, on any CPU.
 *
 * The coefficients come as parameters (`shaders/random-coefficients.ts` is where they are).
 */
@unmanaged
class RandomParams {
  target: usize
  samples: usize
  /** Groups of 16 elements in all, in a sample, and in a chunk. */
  groups: i32
  perSample: i32
  each: i32
  /** Elements of a sample. */
  elements: i32
  draw: i32
  purpose: i32
  seedLow: i32
  seedHigh: i32
  /** Whether deviates are wanted and not bits. */
  normal: i32
  firstCentral: i32
  c0: f32; c1: f32; c2: f32; c3: f32
  d0: f32; d1: f32; d2: f32; d3: f32
  slope: f32; slopeHigh: f32; slopeLow: f32; offset: f32
  t0: f32; t1: f32
  u0: f32; u1: f32; u2: f32
}

export function random(p: RandomParams, chunk: i32, scratch: usize): void {
  const end = min(p.groups, (chunk + 1) * p.each)
  for (let group = chunk * p.each; group < end; group++) {
    const sample = <u32>group / <u32>p.perSample
    const first = (group - sample * p.perSample) << 4
    const count = p.elements - first
    const target = p.target + (<usize>(sample * p.elements + first) << 2)
    const to = count >= 16 ? target : scratch
    philox(to, i32x4.add(i32x4.splat(first >> 2), i32x4(0, 1, 2, 3)), load<i32>(p.samples + (<usize>sample << 2)), p)
    if (p.normal) for (let at = to; at < to + 64; at += 16) v128.store(at, normal(v128.load(at), p))
    if (count < 16)
      for (let i: usize = 0; i < <usize>count; i++) store<u32>(target + (i << 2), load<u32>(scratch + (i << 2)))
  }
}

/** 16 words for the counters (blocks, draw, sample, purpose), a block's four next to each other. */
function philox(to: usize, blocks: v128, sample: i32, p: RandomParams): void {
  let c0 = blocks
  let c1 = i32x4.splat(p.draw)
  let c2 = i32x4.splat(sample)
  let c3 = i32x4.splat(p.purpose)
  let k0 = i32x4.splat(p.seedLow)
  let k1 = i32x4.splat(p.seedHigh)
  for (let round = 0; round < 10; round++) {
    const a = i64x2.extmul_low_i32x4_u(c0, i32x4.splat(0xd2511f53))
    const b = i64x2.extmul_high_i32x4_u(c0, i32x4.splat(0xd2511f53))
    const c = i64x2.extmul_low_i32x4_u(c2, i32x4.splat(0xcd9e8d57))
    const d = i64x2.extmul_high_i32x4_u(c2, i32x4.splat(0xcd9e8d57))
    c0 = v128.xor(v128.xor(v128.shuffle<i32>(c, d, 1, 3, 5, 7), c1), k0)
    c1 = v128.shuffle<i32>(c, d, 0, 2, 4, 6)
    c2 = v128.xor(v128.xor(v128.shuffle<i32>(a, b, 1, 3, 5, 7), c3), k1)
    c3 = v128.shuffle<i32>(a, b, 0, 2, 4, 6)
    k0 = i32x4.add(k0, i32x4.splat(0x9e3779b9))
    k1 = i32x4.add(k1, i32x4.splat(0xbb67ae85))
  }
  const a = v128.shuffle<i32>(c0, c1, 0, 4, 1, 5)
  const b = v128.shuffle<i32>(c2, c3, 0, 4, 1, 5)
  const c = v128.shuffle<i32>(c0, c1, 2, 6, 3, 7)
  const d = v128.shuffle<i32>(c2, c3, 2, 6, 3, 7)
  v128.store(to, v128.shuffle<i32>(a, b, 0, 1, 4, 5))
  v128.store(to, v128.shuffle<i32>(a, b, 2, 3, 6, 7), 16)
  v128.store(to, v128.shuffle<i32>(c, d, 0, 1, 4, 5), 32)
  v128.store(to, v128.shuffle<i32>(c, d, 2, 3, 6, 7), 48)
}

/** a·x + b. */
// @ts-ignore: decorator
@inline
function line(a: v128, x: v128, b: f32): v128 {
  return f32x4.add(f32x4.mul(a, x), f32x4.splat(b))
}

/** whole + fraction, exact but for one rounding, for a whole number of 32 bits. */
// @ts-ignore: decorator
@inline
function widen(whole: v128, fraction: f32): v128 {
  const high = f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_u(whole, 8)), f32x4.splat(256))
  return f32x4.add(high, f32x4.add(f32x4.convert_i32x4_s(v128.and(whole, i32x4.splat(255))), f32x4.splat(fraction)))
}

/** The standard normal deviate at (bits + ½) · 2^-32. */
// @ts-ignore: decorator
@inline
function normal(bits: v128, p: RandomParams): v128 {
  const upper = i32x4.shr_s(bits, 31)
  const m = v128.xor(bits, upper)
  const q = f32x4.mul(widen(i32x4.sub(i32x4.splat(0x80000000), m), -0.5), f32x4.splat(2.3283064365386963e-10))
  const s = f32x4.sub(f32x4.splat(0.180625), f32x4.mul(q, q))
  const numerator = line(line(line(f32x4.splat(p.c3), s, p.c2), s, p.c1), s, p.c0)
  const denominator = line(line(line(f32x4.splat(p.d3), s, p.d2), s, p.d1), s, p.d0)
  let x = f32x4.add(f32x4.mul(f32x4.splat(2.5), q), f32x4.mul(q, f32x4.div(numerator, denominator)))
  const outer = i32x4.lt_s(m, i32x4.splat(p.firstCentral))
  if (v128.any_true(outer)) x = v128.bitselect(tail(m, p), x, outer)
  return v128.xor(x, v128.andnot(i32x4.splat(0x80000000), upper))
}

/** The deviate's magnitude where p = (m + ½) · 2^-32 is below 0.075; see `shaders/random.ts`. */
function tail(m: v128, p: RandomParams): v128 {
  const word = widen(m, 0.5)
  const above = i32x4.gt_s(v128.and(word, i32x4.splat(0x7fffff)), i32x4.splat(0x3504f3))
  const exponent = i32x4.sub(i32x4.sub(i32x4.shr_u(word, 23), i32x4.splat(127)), above)
  const one = v128.bitselect(i32x4.splat(0x3f000000), i32x4.splat(0x3f800000), above)
  const mantissa = v128.or(v128.and(word, i32x4.splat(0x7fffff)), one)
  const s = f32x4.div(f32x4.sub(mantissa, f32x4.splat(1)), f32x4.add(mantissa, f32x4.splat(1)))
  const z = f32x4.mul(s, s)
  const odd = line(line(line(f32x4.splat(2.0 / 9.0), z, 2.0 / 7.0), z, 2.0 / 5.0), z, 2.0 / 3.0)
  const series = f32x4.add(f32x4.add(s, s), f32x4.mul(f32x4.mul(s, z), odd))
  // -ln p = high + low; ln 2 = 355/512 - 2.12e-4, so that high is exact.
  const k = f32x4.convert_i32x4_s(i32x4.sub(i32x4.splat(32), exponent))
  const high = f32x4.mul(k, f32x4.splat(0.693359375))
  const low = f32x4.sub(f32x4.mul(k, f32x4.splat(-2.12194440e-4)), series)
  // The root is r + rest, where r is its first 12 bits: r · r is exact, and so is what it leaves of high.
  const about = f32x4.sqrt(f32x4.add(high, low))
  const r = v128.and(about, i32x4.splat(0xfffff000))
  const rest = f32x4.div(f32x4.add(f32x4.sub(high, f32x4.mul(r, r)), low), f32x4.add(r, about))
  const t = f32x4.sub(about, f32x4.splat(1.6))
  const correction = f32x4.div(line(f32x4.splat(p.t1), t, p.t0), line(line(f32x4.splat(p.u2), t, p.u1), t, p.u0))
  const smaller = f32x4.add(f32x4.mul(f32x4.splat(p.slope), rest), f32x4.mul(f32x4.splat(p.slopeLow), r))
  const small = f32x4.sub(f32x4.add(smaller, f32x4.splat(p.offset)), correction)
  return f32x4.add(f32x4.mul(f32x4.splat(p.slopeHigh), r), small)
}
