/**
 * Values that a caller gives, on their way into a tensor: flat or nested arrays of numbers, of any kind. What
 * JavaScript would turn into NaN, 0 or another number without a word is refused; a NaN that is given is a
 * number like any other.
 */
import { TweedieError, unexpected } from '../errors.ts'
import { constructors, type ArrayOf, type DType } from './dtype.ts'
import { formatShape, sameShape, type Shape } from './shape.ts'

/** Numbers in row-major order, or arrays of such, all of one shape. */
export type Values = ArrayLike<number> | readonly Values[]

const isList = (value: unknown): value is ArrayLike<unknown> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && 'length' in value)

/**
 * The values in row-major order and their shape.
 *
 * @throws TweedieError 'shape', naming `user`, for rows of different shapes; 'option' for what is no array
 */
export function flatten(user: string, values: Values): { readonly flat: ArrayLike<number>; readonly shape: Shape } {
  if (typeof values !== 'object' || !Number.isInteger(values?.length))
    throw unexpected(user, 'an array of numbers', values)
  if (!isList(values[0])) return { flat: values as ArrayLike<number>, shape: [values.length] }
  const rows = Array.from(values as readonly Values[], (row) => flatten(user, row))
  const { shape } = rows[0]
  const other = rows.find((row) => !sameShape(row.shape, shape))
  if (other)
    throw new TweedieError(
      'shape',
      `${user}: expected nested arrays of one shape, found ${formatShape(shape)} and ${formatShape(other.shape)}.`,
    )
  const flat: number[] = []
  for (const row of rows) for (let i = 0; i < row.flat.length; i++) flat.push(row.flat[i])
  return { flat, shape: [rows.length, ...shape] }
}

/**
 * Copies numbers into a typed array of `dtype`; an array of that type already is returned as it is.
 *
 * @throws TweedieError 'option', naming `user`, for what is no number, and for one that an integer type does not hold
 */
export function arrayOf<D extends DType>(user: string, values: ArrayLike<number>, dtype: D): ArrayOf[D] {
  const constructor = constructors[dtype]
  if (values instanceof constructor) return values as ArrayOf[D]
  const out = new constructor(values.length)
  for (let i = 0; i < out.length; i++) {
    const value = values[i]
    if (typeof value !== 'number') throw unexpected(user, `numbers`, value)
    out[i] = value
    if (dtype !== 'f32' && out[i] !== value) {
      const range = dtype === 'i32' ? '-2^31 to 2^31 - 1' : '0 to 2^32 - 1'
      throw new TweedieError(
        'option',
        `${user}: expected whole numbers from ${range} for ${dtype}, found ${value} at ${i}.`,
      )
    }
  }
  return out as ArrayOf[D]
}
