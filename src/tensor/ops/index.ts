/**
 * The op table. Every backend has a launch for each key (a mapped type says if one is missing), and one test runs every
 * op on every backend.
 */
import { attention_, attentionGrad } from './attention.ts'
import { conv2d_, conv2dDataGrad, conv2dWeightGrad } from './conv2d.ts'
import { copy } from './copy.ts'
import { groupNorm_, groupNormDataGrad, groupNormSums } from './group-norm.ts'
import { gather_, gatherGrad } from './gather.ts'
import { map_ } from './map.ts'
import { matmul_ } from './matmul.ts'
import { maxPool_, maxPoolGrad, windowSpread, windowSum } from './pool.ts'
import { randomBits_, randomNormal_ } from './random.ts'
import { reduce } from './reduce.ts'
import { resizeBilinear_, resizeBilinearGrad } from './resize.ts'
import { softmax_ } from './softmax.ts'

export const ops = {
  attention: attention_,
  attentionGrad,
  conv2d: conv2d_,
  conv2dDataGrad,
  conv2dWeightGrad,
  copy,
  groupNorm: groupNorm_,
  groupNormDataGrad,
  groupNormSums,
  gather: gather_,
  gatherGrad,
  map: map_,
  matmul: matmul_,
  maxPool: maxPool_,
  maxPoolGrad,
  randomBits: randomBits_,
  randomNormal: randomNormal_,
  reduce,
  resizeBilinear: resizeBilinear_,
  resizeBilinearGrad,
  softmax: softmax_,
  windowSpread,
  windowSum,
} as const

export type OpName = keyof typeof ops
export type ParamsOf<K extends OpName> = (typeof ops)[K] extends { shape(params: infer P, inputs: never): unknown } ? P : never
