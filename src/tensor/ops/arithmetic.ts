/**
 * Elementwise arithmetic by name. Either argument may be a number; a number is a scalar of the kernel, so changing it
 * compiles nothing. Shapes broadcast as in NumPy. Gradients come from the expressions themselves.
 */
import { expression, f, type Expression, type Node } from '../expression.ts'
import { TweedieError } from '../../errors.ts'
import type { Tensor } from '../tensor.ts'
import { map } from './map.ts'

type Operand = Tensor | number

function binary(build: (a: Node, b: Node) => Node): (a: Operand, b: Operand) => Tensor {
  const both = expression(2, 0, ([a, b]) => build(a, b))
  const right = expression(1, 1, ([a], [b]) => build(a, b))
  const left = expression(1, 1, ([b], [a]) => build(a, b))
  return (a, b) => {
    if (typeof a === 'number') {
      if (typeof b === 'number') throw new TweedieError('option', 'Elementwise arithmetic needs at least one tensor, found two numbers.')
      return map(left, [b], [a])
    }
    return typeof b === 'number' ? map(right, [a], [b]) : map(both, [a, b])
  }
}

const unary = (build: (x: Node) => Node): ((x: Tensor) => Tensor) => {
  const built: Expression = expression(1, 0, ([x]) => build(x))
  return (x) => map(built, [x])
}

export const add = binary(f.add)
export const sub = binary(f.sub)
export const mul = binary(f.mul)
export const div = binary(f.div)
/** a^b. A negative base with a whole exponent is as in JavaScript; with any other it is NaN. */
export const pow = binary(f.pow)
export const maximum = binary(f.max)
export const minimum = binary(f.min)
/** 1 where a > b, else 0. */
export const greater = binary(f.gt)
export const greaterEqual = binary(f.ge)
export const equal = binary(f.eq)

export const neg = unary(f.neg)
export const exp = unary(f.exp)
export const log = unary(f.log)
export const sqrt = unary(f.sqrt)
export const square = unary((x) => f.mul(x, x))
export const abs = unary(f.abs)
export const sign = unary(f.sign)
export const tanh = unary(f.tanh)
export const sigmoid = unary(f.sigmoid)
/** x * sigmoid(x). */
export const silu = unary((x) => f.mul(x, f.sigmoid(x)))

const reluExpression = expression(1, 1, ([x], [zero]) => f.select(f.gt(x, zero), x, zero))
/** max(x, 0), with gradient 0 at 0. */
export const relu = (x: Tensor): Tensor => map(reluExpression, [x], [0])

// The gradient is 1 on the bounds themselves, as in PyTorch's clamp.
const clampExpression = expression(1, 2, ([x], [low, high]) => f.select(f.gt(x, high), high, f.select(f.gt(low, x), low, x)))
export const clamp = (x: Tensor, low: number, high: number): Tensor => map(clampExpression, [x], [low, high])

const selectExpression = expression(3, 0, ([c, a, b]) => f.select(c, a, b))
/** `a` where `condition` is not 0, else `b`. */
export const select = (condition: Tensor, a: Tensor, b: Tensor): Tensor => map(selectExpression, [condition, a, b])
