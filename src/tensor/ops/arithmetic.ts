/**
 * Elementwise arithmetic by name. A number is a scalar of the kernel, so changing it compiles nothing. Gradients come
 * from the expressions themselves.
 */
import { expression, f, type Expression, type Node } from '../expression.ts'
import { TweedieError } from '../../errors.ts'
import type { Tensor } from '../tensor.ts'
import { map } from './map.ts'

/** One side of an operation, element by element: a tensor, or a number for all elements. */
export type Operand = Tensor | number

function binary(name: string, build: (a: Node, b: Node) => Node): (a: Operand, b: Operand) => Tensor {
  const both = expression(2, 0, ([a, b]) => build(a, b))
  const right = expression(1, 1, ([a], [b]) => build(a, b))
  const left = expression(1, 1, ([b], [a]) => build(a, b))
  const options = { name }
  return (a, b) => {
    if (typeof a === 'number') {
      if (typeof b === 'number')
        throw new TweedieError('option', `${name}: expected at least one tensor, found two numbers.`)
      return map(left, [b], [a], options)
    }
    return typeof b === 'number' ? map(right, [a], [b], options) : map(both, [a, b], [], options)
  }
}

const unary = (name: string, build: (x: Node) => Node): ((x: Tensor) => Tensor) => {
  const built: Expression = expression(1, 0, ([x]) => build(x))
  const options = { name }
  return (x) => map(built, [x], [], options)
}

/** a + b, element by element. Either may be a number; shapes broadcast as in NumPy. */
export const add = binary('add', f.add)
/** a - b, element by element. Either may be a number; shapes broadcast as in NumPy. */
export const sub = binary('sub', f.sub)
/** a * b, element by element. Either may be a number; shapes broadcast as in NumPy. The matrix product is `matmul`. */
export const mul = binary('mul', f.mul)
/** a / b, element by element. Either may be a number; shapes broadcast as in NumPy. */
export const div = binary('div', f.div)
/**
 * a^b, element by element; either may be a number, and shapes broadcast. A negative base with a whole exponent is as in
 * JavaScript; with any other it is NaN.
 */
export const pow = binary('pow', f.pow)
/**
 * The larger of a and b, element by element; either may be a number, and shapes broadcast. Where they are equal each
 * has half the gradient. Along an axis it is `max`.
 */
export const maximum = binary('maximum', f.max)
/**
 * The smaller of a and b, element by element; either may be a number, and shapes broadcast. Where they are equal each
 * has half the gradient.
 */
export const minimum = binary('minimum', f.min)
/** 1 where a > b, else 0; either may be a number, and shapes broadcast. No gradient flows. */
export const greater = binary('greater', f.gt)
/** 1 where a >= b, else 0; either may be a number, and shapes broadcast. No gradient flows. */
export const greaterEqual = binary('greaterEqual', f.ge)
/** 1 where a = b, else 0; either may be a number, and shapes broadcast. No gradient flows. */
export const equal = binary('equal', f.eq)

/** -x. */
export const neg = unary('neg', f.neg)
/** e^x. */
export const exp = unary('exp', f.exp)
/** The natural logarithm of x; NaN below 0. */
export const log = unary('log', f.log)
/** The square root of x; NaN below 0. Its gradient at 0 is infinite. */
export const sqrt = unary('sqrt', f.sqrt)
/** x². */
export const square = unary('square', (x) => f.mul(x, x))
/** |x|, with gradient 0 at 0. */
export const abs = unary('abs', f.abs)
/** -1, 0 or 1 as x is negative, 0 or positive. Its gradient is 0. */
export const sign = unary('sign', f.sign)
/** The hyperbolic tangent of x. */
export const tanh = unary('tanh', f.tanh)
/** 1 / (1 + e^-x). */
export const sigmoid = unary('sigmoid', f.sigmoid)
/** x * sigmoid(x). */
export const silu = unary('silu', (x) => f.mul(x, f.sigmoid(x)))
/** The error function of x, 2/√π ∫ exp(-t²) dt from 0 to x. */
export const erf = unary('erf', f.erf)
/** x Φ(x) = x/2 (1 + erf(x/√2)): PyTorch's GELU without an approximation (Hendrycks and Gimpel 2016). */
export const gelu = unary('gelu', (x) => f.mul(f.mul(0.5, x), f.add(1, f.erf(f.mul(x, Math.SQRT1_2)))))

/** max(x, 0), with gradient 0 at 0. */
export const relu = unary('relu', (x) => f.select(f.gt(x, 0), x, 0))

// The gradient is 1 on the bounds themselves, as in PyTorch's clamp.
const clampExpression = expression(1, 2, ([x], [low, high]) =>
  f.select(f.gt(x, high), high, f.select(f.gt(low, x), low, x)),
)
/**
 * x, but `low` where it is below, and `high` where it is above. The gradient is 1 on the bounds themselves, as in
 * PyTorch's clamp.
 */
export const clamp = (x: Tensor, low: number, high: number): Tensor =>
  map(clampExpression, [x], [low, high], { name: 'clamp' })

const selectExpression = expression(3, 0, ([c, a, b]) => f.select(c, a, b))
/** `a` where `condition` is not 0, else `b`; the three broadcast. The condition gets no gradient. */
export const select = (condition: Tensor, a: Tensor, b: Tensor): Tensor =>
  map(selectExpression, [condition, a, b], [], { name: 'select' })
