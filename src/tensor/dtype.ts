/** Data types of tensors: f32 for values, i32 for labels and indices, u32 for random bits. All are four bytes wide. */
export type DType = 'f32' | 'i32' | 'u32'

export interface ArrayOf {
  f32: Float32Array
  i32: Int32Array
  u32: Uint32Array
}

const constructors = { f32: Float32Array, i32: Int32Array, u32: Uint32Array } as const

/** Views `bytes` as numbers of type `dtype`. */
export function viewAs<D extends DType>(bytes: ArrayBuffer, dtype: D): ArrayOf[D] {
  return new constructors[dtype](bytes) as ArrayOf[D]
}

/** Copies `values` into a typed array of `dtype`; an array of that type already is returned as it is. */
export function arrayOf<D extends DType>(values: ArrayLike<number>, dtype: D): ArrayOf[D] {
  const constructor = constructors[dtype]
  return (values instanceof constructor ? values : new constructor(values)) as ArrayOf[D]
}
