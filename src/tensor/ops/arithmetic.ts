/**
 * Elementwise arithmetic by name. Either argument may be a number; a number is a scalar of the kernel, so changing it
 * compiles nothing. Shapes broadcast as in NumPy. Gradients come from the expressions themselves.
 */
import { expression, f, type Expression, type Node } from '../expression.ts'
import { TweedieError } from '../../errors.ts'
import type { Tensor } from '../tensor.ts'
import { map } from './map.ts'

type Operand = Tensor | number

function binary(name: string, build: (a: Node, b: Node) => Node): (a: Operand, b: Operand) => Tensor {
  const both = expression(2, 0, ([a, b]) => build(a, b))
  const right = expression(1, 1, ([a], [b]) => build(a, b))
  const left = expression(1, 1, ([b], [a]) => build(a, b))
  const options = { name }
  return (a, b) => {
    if (typeof a === 'number') {
      if (typeof b === 'number') throw new TweedieError('option', `${name}: expected at least one tensor, found two numbers.`)
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

export const add = binary('add', f.add)
export const sub = binary('sub', f.sub)
export const mul = binary('mul', f.mul)
export const div = binary('div', f.div)
/** a^b. A negative base with a whole exponent is as in JavaScript; with any other it is NaN. */
export const pow = binary('pow', f.pow)
export const maximum = binary('maximum', f.max)
export const minimum = binary('minimum', f.min)
/** 1 where a > b, else 0. */
export const greater = binary('greater', f.gt)
export const greaterEqual = binary('greaterEqual', f.ge)
export const equal = binary('equal', f.eq)

export const neg = unary('neg', f.neg)
export const exp = unary('exp', f.exp)
export const log = unary('log', f.log)
export const sqrt = unary('sqrt', f.sqrt)
export const square = unary('square', (x) => f.mul(x, x))
export const abs = unary('abs', f.abs)
export const sign = unary('sign', f.sign)
export const tanh = unary('tanh', f.tanh)
export const sigmoid = unary('sigmoid', f.sigmoid)
/** x * sigmoid(x). */
export const silu = unary('silu', (x) => f.mul(x, f.sigmoid(x)))

/** max(x, 0), with gradient 0 at 0. */
export const relu = unary('relu', (x) => f.select(f.gt(x, 0), x, 0))

// The gradient is 1 on the bounds themselves, as in PyTorch's clamp.
const clampExpression = expression(1, 2, ([x], [low, high]) => f.select(f.gt(x, high), high, f.select(f.gt(low, x), low, x)))
export const clamp = (x: Tensor, low: number, high: number): Tensor => map(clampExpression, [x], [low, high], { name: 'clamp' })

const selectExpression = expression(3, 0, ([c, a, b]) => f.select(c, a, b))
/** `a` where `condition` is not 0, else `b`. */
export const select = (condition: Tensor, a: Tensor, b: Tensor): Tensor => map(selectExpression, [condition, a, b], [], { name: 'select' })
