/**
 * The inverse of the normal distribution's CDF by M. J. Wichura's algorithm AS 241 (Applied Statistics 37, 1988,
 * routine PPND7), arranged so that single precision keeps every digit that counts. Each of his rational functions is
 * divided out into a polynomial and a smaller remainder, which changes nothing in exact arithmetic:
 *
 *   |q| ≤ 0.425:  x = q·A(s)/B(s)  = 2.5·q + q·(A − 2.5·B)(s)/B(s)       s = 0.180625 − q²,   q = u − ½
 *   else:         x = C(t)/D(t)    = slope·t + offset − (E₁·t + E₀)/D(t)  t = √(−ln p) − 1.6,  p = min(u, 1 − u)
 *
 * What is rounded badly (a WGSL quotient may be off by 2.5 units) is then at most 0.4 or 0.8 and not 6. Of AS 241's
 * three ranges the last, p < e^-25, is out of reach of 32 random bits (p ≥ 2^-33).
 */
const a = [3.3871327179, 50.434271938, 159.29113202, 59.10937472] as const
const b = [1, 17.895169469, 78.757757664, 67.1875636] as const
const c = [1.4234372777, 2.75681539, 1.3067284816, 0.17023821103] as const
const d = [1, 0.7370016425, 0.12021132975] as const

/** Polynomials are lowest power first. */
export const central = { numerator: a.map((coefficient, i) => coefficient - 2.5 * b[i]), denominator: b } as const

const slope = c[3] / d[2]
const constant = (c[2] - slope * d[1]) / d[2]
export const tail = {
  slope,
  /** The constant in terms of √(−ln p) instead of t. */
  offset: constant - 1.6 * slope,
  numerator: [constant - c[0], constant * d[1] + slope - c[1]],
  denominator: d,
} as const

/** Random magnitudes from here on (|q| ≤ 0.425 for p = (m + ½)·2^-32) are in the central range. */
export const firstCentral = Math.ceil(0.075 * 2 ** 32 - 0.5)
