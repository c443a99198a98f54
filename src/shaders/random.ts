import { central, firstCentral, tail } from './random-coefficients.ts'
import { f32, noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface RandomKeys {
  readonly normal: boolean
}

export const randomLanes = 64

export const randomUniform = uniform({
  /** In all, and in a sample. */
  blocks: 'u32',
  perSample: 'u32',
  /** Of a sample. */
  elements: 'u32',
  draw: 'u32',
  purpose: 'u32',
  seedLow: 'u32',
  seedHigh: 'u32',
})

const philox = /* wgsl */ `
/** The high word of a 32x32 bit product, by halves. */
fn high_word(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let middle = ah * bl + ((al * bl) >> 16u);
  return ah * bh + (middle >> 16u) + (((middle & 0xffffu) + al * bh) >> 16u);
}

fn philox(first: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
  var c = first;
  var key = seed;
  for (var round = 0; round < 10; round++) {
    c = vec4<u32>(high_word(0xcd9e8d57u, c.z) ^ c.y ^ key.x, 0xcd9e8d57u * c.z, high_word(0xd2511f53u, c.x) ^ c.w ^ key.y, 0xd2511f53u * c.x);
    key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}
`

/** Horner's rule, lowest power first. */
const polynomial = (coefficients: readonly number[], x: string): string =>
  coefficients.reduceRight((inner, k) => (inner === '' ? f32(k) : `(${inner} * ${x} + ${f32(k)})`), '')

// 12 bits of the slope: its product with a 12-bit root is exact.
const slopeHigh = Math.round(tail.slope * 2 ** 11) / 2 ** 11

const normal = /* wgsl */ `
/** whole + fraction, exact but for one rounding, for a whole number of 32 bits. */
fn widen(whole: u32, fraction: f32) -> f32 { return f32(whole >> 8u) * 256.0 + (f32(whole & 255u) + fraction); }

fn normal_of(bits: u32) -> f32 {
  let upper = (bits >> 31u) == 1u;
  let m = select(bits, ~bits, upper);
  var x = 0.0;
  if (m >= ${firstCentral}u) {
    let q = widen(0x80000000u - m, -0.5) * ${f32(2 ** -32)};
    let s = 0.180625 - q * q;
    x = 2.5 * q + q * (${polynomial(central.numerator, 's')} / ${polynomial(central.denominator, 's')});
  } else {
    // m + 0.5 = mantissa * 2^exponent with the mantissa in [sqrt(1/2), sqrt(2)).
    let word = bitcast<u32>(widen(m, 0.5));
    let above = (word & 0x7fffffu) > 0x3504f3u;
    let exponent = i32(word >> 23u) - 127 + i32(above);
    let mantissa = bitcast<f32>((word & 0x7fffffu) | select(0x3f800000u, 0x3f000000u, above));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let z = s * s;
    let series = 2.0 * s + s * z * (${polynomial([2 / 3, 2 / 5, 2 / 7, 2 / 9], 'z')});
    // -ln p = high + low; ln 2 = 355/512 - 2.12e-4, so that high is exact.
    let k = f32(32 - exponent);
    let high = k * 0.693359375;
    let low = k * ${f32(Math.LN2 - 0.693359375)} - series;
    // The root is r + rest, where r is its first 12 bits: r * r is exact, and so is what it leaves of high.
    let about = sqrt(high + low);
    let r = bitcast<f32>(bitcast<u32>(about) & 0xfffff000u);
    let rest = ((high - r * r) + low) / (r + about);
    let t = about - 1.6;
    let small = ${f32(tail.slope)} * rest + ${f32(tail.slope - slopeHigh)} * r + ${f32(tail.offset)} - ${polynomial(tail.numerator, 't')} / ${polynomial(tail.denominator, 't')};
    x = ${f32(slopeHigh)} * r + small;
  }
  return select(-x, x, upper);
}
`

/**
 * Random bits and normal deviates by Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers, as easy as
 * 1, 2, 3, SC 2011). The counter is (position / 4, draw, sample, purpose), the key is the seed, and the four words of a
 * block are four neighbouring positions: an element depends on nothing else, so sample k of a seed is the same in any
 * batch. A lane computes one block. Integer arithmetic is exact, so bits are equal on every device.
 *
 * A normal deviate is the inverse CDF of one word (`random-coefficients.ts`). It is odd about the middle of the words,
 * so the top bit is the sign and the other 31 say how far out: p = (m + ½)·2^-32 keeps all its digits in the tails.
 * WGSL's log, sqrt and sin are too coarse (sqrt inherits 2 units, log 2^-21, sin 2^-11): the logarithm is that of the
 * exponent plus a series, and the root is corrected by its own exact residual. In an emulation of single precision with
 * every quotient wrong by 2.5 units and the root by 3, the largest difference from double precision is 4.1e-7 (one unit
 * in the last place of |x| > 4).
 *
 * Bindings: 0 the uniform (blocks in all, blocks of a sample, elements of a sample, draw, purpose, seed low and high),
 * 1 the sample indices [n], 2 the output [n, elements] (u32, or f32 for normals).
 */
export function randomShader({ normal: isNormal, ...rest }: RandomKeys): string {
  noMore(rest)
  return wgsl`
${randomUniform.wgsl()}
@group(0) @binding(1) var<storage, read> samples: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<${isNormal ? 'f32' : 'u32'}>;
${philox}
#if ${isNormal}
${normal}
#endif
@compute @workgroup_size(${randomLanes})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.x + id.y * groups.x * ${randomLanes}u;
  if (i >= p.blocks) { return; }
  let n = i / p.perSample;
  let block = i % p.perSample;
  let words = philox(vec4<u32>(block, p.draw, samples[n], p.purpose), vec2<u32>(p.seedLow, p.seedHigh));
  let first = n * p.elements + block * 4u;
  for (var j = 0u; j < min(4u, p.elements - block * 4u); j++) {
    y[first + j] = ${isNormal ? 'normal_of(words[j])' : 'words[j]'};
  }
}
`
}
