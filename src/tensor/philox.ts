/**
 * The random numbers of `shaders/random.ts` on the host: the same bits, and the same normal deviates in double
 * precision rounded once. Philox 4x32-10 (Salmon et al., SC 2011) is a function of a counter and a key with no state:
 *
 *   counter = (position / 4, draw, sample, purpose)   key = (seed low, seed high)
 *
 * so element i of draw d for sample k of seed s depends on these alone, whichever batch, device or order it is made in.
 */
import { named, TweedieError } from '../errors.ts'
import { central, firstCentral, tail } from '../shaders/random-coefficients.ts'

/** Which numbers of a sample are meant. */
export interface RandomStream {
  /** 64 bits, low word first; see {@link splitSeed}. */
  readonly seed: readonly [low: number, high: number]
  /** A number from 0 to 2^32 - 1 that tells draws of one purpose apart: the step, say. */
  readonly draw: number
  /**
   * A number from 0 to 2^32 - 1 for what is drawn: one stream each, so that more noise in one place moves none
   * elsewhere. Those below 128 are taken or kept free for the project itself (`purposes.ts` lists them).
   */
  readonly purpose: number
}

/** A whole number from 0 to 2^64 - 1 as the two words of a {@link RandomStream}'s seed. */
export function splitSeed(seed: number | bigint): [low: number, high: number] {
  if (typeof seed !== 'bigint' && !Number.isSafeInteger(seed)) throw seedError(seed)
  const wide = BigInt(seed)
  if (wide < 0n || wide >= 1n << 64n) throw seedError(seed)
  return [Number(wide & 0xffffffffn), Number(wide >> 32n)]
}

const seedError = (seed: number | bigint): TweedieError =>
  new TweedieError(
    'option',
    `A seed is a whole number from 0 to 2^64 - 1 (a bigint from 2^53 on), found ${named(seed)}.`,
  )

/** The high word of a 32x32 bit product: by halves, because a double holds 53 bits exactly. */
const highWord = (a: number, b: number): number =>
  Math.floor(((a >>> 16) * b + Math.floor(((a & 0xffff) * b) / 65536)) / 65536)

/** Four words of 32 bits: a counter, or what becomes of it. */
export type Words = readonly [number, number, number, number]

/** Ten rounds of Philox 4x32: four random words for a counter of four and a key of two. */
export function philox4x32(counter: Words, key: readonly [number, number]): Words {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const high0 = highWord(0xd2511f53, c0)
    const high1 = highWord(0xcd9e8d57, c2)
    const low0 = Math.imul(0xd2511f53, c0) >>> 0
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0
    c0 = (high1 ^ c1 ^ k0) >>> 0
    c1 = low1
    c2 = (high0 ^ c3 ^ k1) >>> 0
    c3 = low0
    k0 = (k0 + 0x9e3779b9) >>> 0
    k1 = (k1 + 0xbb67ae85) >>> 0
  }
  return [c0, c1, c2, c3]
}

/** Row-major [samples.length, elements]: `elements` random words for each sample. */
export function hostRandomBits(
  { seed, draw, purpose }: RandomStream,
  samples: ArrayLike<number>,
  elements: number,
): Uint32Array<ArrayBuffer> {
  const out = new Uint32Array(samples.length * elements)
  for (let n = 0; n < samples.length; n++) {
    for (let i = 0; i < elements; i += 4) {
      const words = philox4x32([i / 4, draw, samples[n], purpose], seed)
      for (let j = 0; j < 4 && i + j < elements; j++) out[n * elements + i + j] = words[j]
    }
  }
  return out
}

/** {@link hostRandomBits} as numbers in [0, 1): bits / 2^32. */
export const hostRandomUniform = (stream: RandomStream, samples: ArrayLike<number>, elements: number): number[] =>
  Array.from(hostRandomBits(stream, samples, elements), (bits) => bits / 2 ** 32)

/** {@link hostRandomBits} as standard normal deviates. */
export const hostRandomNormal = (
  stream: RandomStream,
  samples: ArrayLike<number>,
  elements: number,
): Float32Array<ArrayBuffer> => Float32Array.from(hostRandomBits(stream, samples, elements), normalOf)

const polynomial = (coefficients: readonly number[], x: number): number =>
  coefficients.reduceRight((sum, k) => sum * x + k, 0)

/**
 * The standard normal deviate of a random word: the inverse CDF at u = (bits + ½)·2^-32, by AS 241 (PPND7), within
 * 7e-7 of the true one. It is symmetric: the complement of a word gives the deviate's negative.
 */
export function normalOf(bits: number): number {
  const upper = bits >= 2 ** 31
  const m = upper ? 2 ** 32 - 1 - bits : bits
  const p = (m + 0.5) / 2 ** 32
  let x: number
  if (m >= firstCentral) {
    const q = 0.5 - p
    const s = 0.180625 - q * q
    x = 2.5 * q + (q * polynomial(central.numerator, s)) / polynomial(central.denominator, s)
  } else {
    const r = Math.sqrt(-Math.log(p))
    x = tail.slope * r + tail.offset - polynomial(tail.numerator, r - 1.6) / polynomial(tail.denominator, r - 1.6)
  }
  return upper ? x : -x
}
