/**
 * `map`: any elementwise arithmetic over broadcast inputs in one pass over memory. See `expression.ts` for the
 * language; `arithmetic.ts` gives its words names.
 */
import { TweedieError, unexpected } from '../../errors.ts'
import type { Spec } from '../backend.ts'
import { checkDType, type DType } from '../dtype.ts'
import type { Device } from '../device.ts'
import { differentiate, expression, isExpression, type Expression } from '../expression.ts'
import { now, type Live } from '../live.ts'
import { applyOne, defineOp } from '../op.ts'
import { broadcastShapes, checkShape, formatShape, sameShape, shapeError, type Shape } from '../shape.ts'
import type { AnyTensor, Tensor } from '../tensor.ts'

/** What {@link mapOp} is told. */
export interface MapParams {
  readonly expression: Expression
  readonly scalars: Live<readonly number[]>
  readonly dtype: DType
  /** The output's shape where it is not what the inputs broadcast to (an expression without inputs). */
  readonly shape?: Shape
}

/** The op behind {@link map}, and behind all arithmetic. */
export const mapOp = defineOp<MapParams>({
  name: 'map',
  // Integers are converted as they are read.
  dtypes: 'any',
  shape({ dtype, shape }, inputs, user): Spec[] {
    const found = broadcastShapes(user, [...(shape ? [shape] : []), ...inputs.map((t) => t.shape)])
    if (shape && !sameShape(found, shape))
      throw shapeError(user, `inputs that broadcast to ${formatShape(shape)}`, ...inputs.map((t) => t.shape))
    return [{ shape: found, dtype }]
  },
  saves: (params, needs) => ({
    inputs: [...new Set(needs.flatMap((need, i) => (need ? differentiate(params.expression, i).uses : [])))],
  }),
  gradient({ params, input, cotangent, needs }) {
    const dy = cotangent()
    return Array.from({ length: params.expression.inputs }, (_, i) => {
      if (!needs(i)) return null
      const derived = differentiate(params.expression, i)
      const inputs = [...derived.uses.map(input), dy]
      // The cotangent may be all an expression such as x + y depends on; then there is nothing to compute.
      const isCotangent = derived.expression.root.kind === 'input'
      return isCotangent ? dy : map(derived.expression, inputs, params.scalars, { shape: dy.shape })
    })
  },
})

/** Options of {@link map}. */
export interface MapOptions<D extends DType> {
  /** Type of the output, default f32. Values are converted as WGSL converts them: truncated, out of range clamped. */
  readonly dtype?: D
  /** Of the output; the inputs broadcast to it. Default: what they broadcast to among themselves. */
  readonly shape?: Shape
  /** What errors call it. Default 'map'. */
  readonly name?: string
}

/**
 * Evaluates `expression` over `inputs`, which broadcast against each other, with the numbers `scalars`, or those that a
 * function gives: a program that `Device.record` made asks it again at every replay.
 */
export function map<D extends DType = 'f32'>(
  expression: Expression,
  inputs: readonly AnyTensor[],
  scalars: Live<readonly number[]> = [],
  options: MapOptions<D> = {},
): Tensor<D> {
  const { dtype = 'f32' as D, shape, name = 'map' } = options
  if (!isExpression(expression))
    throw unexpected(name, 'an expression that expression() of this copy of the library made', expression)
  const numbers = now(scalars)
  if (inputs.length !== expression.inputs || numbers.length !== expression.scalars) {
    throw new TweedieError(
      'option',
      `${name}: the expression takes ${expression.inputs} tensors and ${expression.scalars} numbers, found ` +
        `${inputs.length} and ${numbers.length}.`,
    )
  }
  for (const value of numbers) checkNumber(name, value)
  return applyOne<MapParams, D>(
    mapOp,
    { expression, scalars, dtype: checkDType(name, dtype), shape: shape && checkShape(name, shape) },
    inputs,
    name,
  )
}

function checkNumber(user: string, value: number): void {
  if (typeof value !== 'number') throw unexpected(user, 'a number', value)
}

const fill = expression(0, 1, (_, [value]) => value)

function filled(user: string, device: Device, shape: Shape, value: Live<number>): Tensor {
  if (typeof device?.runOp !== 'function')
    throw unexpected(user, 'a device', device, `${user}(device, shape${user === 'full' ? ', value' : ''})`)
  checkNumber(user, now(value))
  const scalars = typeof value === 'function' ? () => [value()] : [value]
  return device.runOp(
    mapOp,
    { expression: fill, scalars, dtype: 'f32', shape: checkShape(user, shape) },
    [],
    user,
  )[0] as Tensor
}

/** A tensor in which every element is `value`, or what a function gives, as the numbers of {@link map}. */
export const full = (device: Device, shape: Shape, value: Live<number>): Tensor => filled('full', device, shape, value)

/** A tensor of zeros. */
export const zeros = (device: Device, shape: Shape): Tensor => filled('zeros', device, shape, 0)

const identity = expression(1, 0, ([x]) => x)

/** Stretches `x` to `shape` as broadcasting does. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  return map(identity, [x], [], { shape: checkShape('broadcastTo', shape), name: 'broadcastTo' })
}

/** Converts to another type; no gradient flows through integers. */
export function cast<D extends DType>(x: AnyTensor, dtype: D): Tensor<D> {
  return map(identity, [x], [], { dtype: checkDType('cast', dtype), name: 'cast' })
}
