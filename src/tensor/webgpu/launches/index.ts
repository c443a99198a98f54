/** A launch for every op of the table: the mapped type makes a missing one a compile error. */
import type { OpName, ParamsOf } from '../../ops/index.ts'
import type { Launch } from '../launch.ts'
import { conv2d, conv2dDataGrad, conv2dWeightGrad } from './conv2d.ts'
import { copy } from './copy.ts'
import { map } from './map.ts'
import { matmul } from './matmul.ts'
import { reduce } from './reduce.ts'

export const launches: { readonly [K in OpName]: Launch<ParamsOf<K>> } = {
  conv2d,
  conv2dDataGrad,
  conv2dWeightGrad,
  copy,
  map,
  matmul,
  reduce,
}
