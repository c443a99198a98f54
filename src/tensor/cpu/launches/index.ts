/** A launch for every op of the table: the mapped type makes a missing one a compile error. */
import type { OpName, ParamsOf } from '../../ops/index.ts'
import type { Launch } from '../launch.ts'
import { adamW } from './adamw.ts'
import { attention, attentionGrad } from './attention.ts'
import { conv2d, conv2dDataGrad, conv2dWeightGrad } from './conv2d.ts'
import { copy } from './copy.ts'
import { groupNorm, groupNormDataGrad, groupNormSums } from './group-norm.ts'
import { gather, gatherGrad } from './gather.ts'
import { map } from './map.ts'
import { matmul } from './matmul.ts'
import { maxPool, maxPoolGrad, windowSpread, windowSum } from './pool.ts'
import { randomBits, randomNormal } from './random.ts'
import { reduce } from './reduce.ts'
import { resizeBilinear, resizeBilinearGrad } from './resize.ts'
import { softmax } from './softmax.ts'

export const launches: { readonly [K in OpName]: Launch<ParamsOf<K>> } = {
  adamW,
  attention,
  attentionGrad,
  conv2d,
  conv2dDataGrad,
  conv2dWeightGrad,
  copy,
  groupNorm,
  groupNormDataGrad,
  groupNormSums,
  gather,
  gatherGrad,
  map,
  matmul,
  maxPool,
  maxPoolGrad,
  randomBits,
  randomNormal,
  reduce,
  resizeBilinear,
  resizeBilinearGrad,
  softmax,
  windowSpread,
  windowSum,
}
