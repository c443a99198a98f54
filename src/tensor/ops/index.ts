/**
 * The op table. Every backend has a launch for each key (a mapped type says if one is missing), and one test runs every
 * op on every backend.
 */
import { conv2d_, conv2dDataGrad, conv2dWeightGrad } from './conv2d.ts'
import { copy } from './copy.ts'
import { map_ } from './map.ts'
import { matmul_ } from './matmul.ts'
import { reduce } from './reduce.ts'

export const ops = {
  conv2d: conv2d_,
  conv2dDataGrad,
  conv2dWeightGrad,
  copy,
  map: map_,
  matmul: matmul_,
  reduce,
} as const

export type OpName = keyof typeof ops
export type ParamsOf<K extends OpName> = (typeof ops)[K] extends { shape(params: infer P, inputs: never): unknown } ? P : never
