import { unexpected } from '../errors.ts'

/**
 * The type of a tensor's elements: f32 for values, i32 for labels and indices, u32 for random bits. All are four bytes
 * wide.
 */
export type DType = 'f32' | 'i32' | 'u32'

/** The array that a tensor of each type is read into. */
export interface ArrayOf {
  f32: Float32Array<ArrayBuffer>
  i32: Int32Array<ArrayBuffer>
  u32: Uint32Array<ArrayBuffer>
}

/** The array of each type. */
export const constructors = { f32: Float32Array, i32: Int32Array, u32: Uint32Array } as const

/** Throws 'option', naming `user`, for what is no data type. */
export function checkDType<D extends DType>(user: string, dtype: D): D {
  if (!Object.hasOwn(constructors, dtype))
    throw unexpected(user, `a data type, ${Object.keys(constructors).join(', ')}`, dtype)
  return dtype
}

/** Views `bytes` as numbers of type `dtype`. */
export function viewAs<D extends DType>(bytes: ArrayBuffer, dtype: D): ArrayOf[D] {
  return new constructors[dtype](bytes) as ArrayOf[D]
}
