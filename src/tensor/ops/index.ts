/**
 * The op table. Every backend has a launch for each key (a mapped type says if one is missing), and one test runs every
 * op on every backend.
 */
import { adamWOp } from './adamw.ts'
import { attentionOp, attentionGrad } from './attention.ts'
import { conv2dOp, conv2dDataGrad, conv2dWeightGrad } from './conv2d.ts'
import { copy } from './copy.ts'
import { groupNormOp, groupNormDataGrad, groupNormSums } from './group-norm.ts'
import { gatherOp, gatherGrad } from './gather.ts'
import { mapOp } from './map.ts'
import { matmulOp } from './matmul.ts'
import { maxPoolOp, maxPoolGrad, windowSpread, windowSum } from './pool.ts'
import { randomBitsOp, randomNormalOp } from './random.ts'
import { reduce } from './reduce.ts'
import { resizeBilinearOp, resizeBilinearGrad } from './resize.ts'
import { softmaxOp } from './softmax.ts'

export const ops = {
  adamW: adamWOp,
  attention: attentionOp,
  attentionGrad,
  conv2d: conv2dOp,
  conv2dDataGrad,
  conv2dWeightGrad,
  copy,
  groupNorm: groupNormOp,
  groupNormDataGrad,
  groupNormSums,
  gather: gatherOp,
  gatherGrad,
  map: mapOp,
  matmul: matmulOp,
  maxPool: maxPoolOp,
  maxPoolGrad,
  randomBits: randomBitsOp,
  randomNormal: randomNormalOp,
  reduce,
  resizeBilinear: resizeBilinearOp,
  resizeBilinearGrad,
  softmax: softmaxOp,
  windowSpread,
  windowSum,
} as const

export type OpName = keyof typeof ops
export type ParamsOf<K extends OpName> = (typeof ops)[K] extends { shape(params: infer P, inputs: never): unknown }
  ? P
  : never
