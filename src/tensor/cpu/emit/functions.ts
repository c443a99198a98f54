/**
 * The functions of the expression language on four floats. Polynomials were fitted by Lawson's iteration on the
 * relative error; over all floats exp and log are within 1.5e-7 of the true value, sigmoid and tanh within 2.5e-7,
 * results below 2^-126 may be 0 (`test/cpu-map.test.ts`). Every lane is computed alike and alone, so a value's place in
 * memory changes no bit of its result. They are pasted in and not called: a call spills all vector registers and sets
 * up every constant anew (exp alone 1.2 times slower called, two in a row 1.4 times).
 */
import { erfBound, erfDenominator, erfNumerator } from '../../../shaders/erf.ts'
import type { FunctionName } from '../../expression.ts'
import { f32x4, i32x4, v128, type Body, type Code } from './module.ts'

const { add, sub, mul, div, abs, pmin, pmax, eq, lt, gt } = f32x4
const { select, and } = v128

/** Where a function's instructions go, and what it may use. */
export interface Place {
  readonly body: Body
  /** A float in every lane; kept in a local outside all loops. */
  constant(value: number): Code
  /** The same bits in every lane. */
  bits(value: number): Code
  /** a·b + c, fused or not. */
  madd(a: Code, b: Code, c: Code): Code
}

type Rule = (place: Place, a: Code, b: Code, c: Code) => Code

/** Horner's rule, lowest power first. */
const polynomial = ({ constant, madd }: Place, x: Code, coefficients: readonly number[]): Code =>
  coefficients
    .slice(0, -1)
    .reduceRight((sum, c) => madd(sum, x, constant(c)), constant(coefficients[coefficients.length - 1]))

/** ln 2 in two parts, of which the first times a whole number up to 2^15 is exact. */
const ln2High = 0.693359375
const ln2Low = -2.1219444e-4
// biome-ignore lint/suspicious/noApproximativeNumericConstant: the float32 nearest to it, as in src/wasm/exp.ts
const log2e = 1.44269504

/**
 * 2^n · p(x − n ln 2) with n = floor(x / ln 2) and p of degree 6. (`src/wasm/exp.ts` rounds n to the nearest and makes
 * do with degree 5: 15 % faster, 1.8e-7 where this is good to 1.1e-7.)
 */
function exp(place: Place, a: Code): Code {
  const { body, constant, madd } = place
  const x = body.keep(pmax(pmin(a, constant(89)), constant(-88)))
  const n = body.keep(f32x4.floor(mul(x, constant(log2e))))
  const r = body.keep(madd(n, constant(-ln2Low), madd(n, constant(-ln2High), x)))
  const p = polynomial(
    place,
    r,
    [1, 1, 0.5000022649765015, 0.16663190722465515, 0.04185498133301735, 0.007868426851928234, 0.0019124869722872972],
  )
  return mul(p, i32x4.shl(add(n, constant(8388735)), 23))
}

/**
 * From a = |x|: e = exp(2a) − 1 and tanh a = e / (e + 2), which loses nothing near 0. With n = round(2a / ln 2),
 * e = 2^n (exp(r) − 1) + (2^n − 1), and exp(r) − 1 = r + r² q(r), |r| ≤ ln 2 / 2.
 */
function tanh(place: Place, a: Code): Code {
  const { body, constant, bits, madd } = place
  // tanh 10 rounds to 1.
  const x = body.keep(pmin(abs(a), constant(10)))
  const twice = body.keep(add(x, x))
  const n = body.keep(f32x4.nearest(mul(twice, constant(log2e))))
  const r = body.keep(madd(n, constant(-ln2Low), madd(n, constant(-ln2High), twice)))
  const q = polynomial(
    place,
    r,
    [0.4999999403953552, 0.1666651964187622, 0.04166839271783829, 0.0083687799051404, 0.0013814496342092752],
  )
  const power = body.keep(i32x4.shl(add(n, constant(8388735)), 23))
  const e = body.keep(madd(power, madd(mul(r, r), q, r), sub(power, constant(1))))
  return v128.or(div(e, add(e, constant(2))), and(a, bits(-0x80000000)))
}

/** x P(x²) / Q(x²), clamped on both sides (`shaders/erf.ts`): no exponential, and no digits lost near 0. */
function erf(place: Place, a: Code): Code {
  const { body, constant } = place
  const clamped = (x: Code, bound: number): Code => pmax(pmin(x, constant(bound)), constant(-bound))
  const x = body.keep(clamped(a, erfBound))
  const t = body.keep(mul(x, x))
  const numerator = mul(x, polynomial(place, t, erfNumerator))
  return clamped(body.keep(div(numerator, polynomial(place, t, erfDenominator))), 1)
}

/**
 * x = 2^k · (1 + f) with 1 + f in [√½, √2), s = f / (2 + f): log(1 + f) = 2 artanh s = f − (f²/2 − s (f²/2 + R)), where
 * R = 2/3 s² + 2/5 s⁴ + ..., and f is exact.
 */
function log(place: Place, a: Code): Code {
  const { body, constant, bits, madd } = place
  const denormal = body.keep(lt(a, constant(2 ** -126)))
  const x = select(mul(a, constant(2 ** 23)), a, denormal)
  // Counted from the bits of √½, the exponent field is that of the power of two below x/√½.
  const shifted = body.keep(i32x4.sub(x, bits(0x3f3504f3)))
  const k = body.keep(sub(f32x4.fromI32(i32x4.shrS(shifted, 23)), and(denormal, constant(23))))
  const f = body.keep(sub(i32x4.add(and(shifted, bits(0x7fffff)), bits(0x3f3504f3)), constant(1)))
  const s = body.keep(div(f, add(f, constant(2))))
  const z = body.keep(mul(s, s))
  const half = body.keep(mul(mul(f, f), constant(0.5)))
  const series = mul(z, polynomial(place, z, [2 / 3, 2 / 5, 2 / 7, 2 / 9]))
  const small = madd(s, add(half, series), mul(k, constant(ln2Low)))
  const y = madd(k, constant(ln2High), sub(f, sub(half, small)))
  // Infinity and NaN are their own logarithms; below 0 there is none.
  const positive = select(y, a, lt(a, constant(Infinity)))
  return select(constant(-Infinity), select(constant(NaN), positive, lt(a, constant(0))), eq(a, constant(0)))
}

/**
 * exp(b log |a|), which is good to 1e-7 times b log |a|, except that exponents −1, 0, ½, 1, 2 and 3 are exact. A
 * negative base works with whole exponents; with any other it gives NaN. `shaders/map.ts` has the same rules. (No
 * branch around the logarithm for exponents that do not need it: V8 would set up every constant anew inside,
 * which takes longer.)
 */
function pow(place: Place, a: Code, b: Code): Code {
  const { body, constant, bits } = place
  const size = exp(place, mul(b, log(place, body.keep(abs(a)))))
  const negative = body.keep(lt(a, constant(0)))
  const whole = body.keep(eq(f32x4.floor(b), b))
  const odd = f32x4.ne(mul(f32x4.floor(mul(b, constant(0.5))), constant(2)), b)
  const signed = v128.or(size, and(and(and(negative, whole), odd), bits(-0x80000000)))
  const general = select(constant(NaN), signed, v128.andNot(negative, whole))
  const square = body.keep(mul(a, a))
  const exact: [number, Code][] = [
    [-1, div(constant(1), a)],
    [0, constant(1)],
    [0.5, f32x4.sqrt(a)],
    [1, a],
    [2, square],
    [3, mul(square, a)],
  ]
  return exact.reduce((otherwise, [exponent, value]) => select(value, otherwise, eq(b, constant(exponent))), general)
}

const truth =
  (mask: (a: Code, b: Code) => Code): Rule =>
  ({ constant }, a, b) =>
    and(mask(a, b), constant(1))

/** The code of every function; its arguments are cheap to read more than once. */
export const functionCode: { readonly [K in FunctionName]: Rule } = {
  add: (_, a, b) => add(a, b),
  sub: (_, a, b) => sub(a, b),
  mul: (_, a, b) => mul(a, b),
  div: (_, a, b) => div(a, b),
  pow,
  max: (_, a, b) => f32x4.max(a, b),
  min: (_, a, b) => f32x4.min(a, b),
  gt: truth(gt),
  ge: truth(f32x4.ge),
  eq: truth(eq),
  neg: (_, a) => f32x4.neg(a),
  exp,
  log,
  sqrt: (_, a) => f32x4.sqrt(a),
  abs: (_, a) => abs(a),
  sign: ({ constant }, a) => sub(and(gt(a, constant(0)), constant(1)), and(lt(a, constant(0)), constant(1))),
  tanh,
  sigmoid: (place, a) => div(place.constant(1), add(place.constant(1), exp(place, f32x4.neg(a)))),
  erf,
  select: ({ constant }, a, b, c) => select(b, c, f32x4.ne(a, constant(0))),
}
