/**
 * How group norm is cut: whole groups, several a chunk while they are small; groups beyond the cache in parts. Either
 * depends on the size of a group alone, so that a sample is the same in any batch.
 */
import type { View } from '../../backend.ts'
import type { GroupNormParams } from '../../ops/group-norm.ts'
import { sizeOf } from '../../shape.ts'
import { cut, type Launch } from '../launch.ts'

/** About 40 µs with SiLU. A group of up to twice as many, 128 KB, is swept while it is in the second-level cache. */
const chunkElements = 16384

/** Floats that are read as if they were there, and sums, of the last elements of a row. */
const scratch = 64

export const groupNorm: Launch<GroupNormParams> = (encoder, params, [x, ...parameters], [y, statistics]) => {
  const { chunks, words } = cutGroups(x, statistics, parameters, params)
  const moments = words.parts === 1 ? 0 : encoder.temporary(words.count * 16)
  const job = { chunks, scratch, params: { y, moments, eps: params.eps, ...words } } as const
  if (words.parts === 1) return encoder.run({ kernel: 'groupNorm', ...job })
  encoder.run({ kernel: 'groupNormMoments', ...job })
  encoder.run({ kernel: 'groupNormParts', ...job })
}

export const groupNormSums: Launch<GroupNormParams> = (encoder, params, [x, dy, statistics, ...parameters], [a, b]) => {
  const [n, channels] = x.shape
  const { chunks, each } = cut(n * channels, chunkElements / (sizeOf(x.shape) / n / channels))
  const words = wordsOf(x, statistics, parameters, params, { count: n * channels, each, parts: 1, part: 0 })
  encoder.run({ kernel: 'groupNormSums', chunks, scratch, params: { dy, sumA: a, sumB: b, ...words } })
}

export const groupNormDataGrad: Launch<GroupNormParams> = (encoder, params, inputs, [dx]) => {
  const [x, dy, statistics, ...parameters] = inputs.slice(0, -2)
  const [sumA, sumB] = inputs.slice(-2)
  const { chunks, words } = cutGroups(x, statistics, parameters, params)
  encoder.run({ kernel: 'groupNormDataGrad', chunks, scratch, params: { dy, sumA, sumB, dx, ...words } })
}

function cutGroups(x: View, statistics: View, parameters: readonly View[], params: GroupNormParams) {
  const groups = x.shape[0] * params.groups
  const size = sizeOf(x.shape) / groups
  const part = size <= 2 * chunkElements ? size : Math.ceil(size / Math.ceil(size / chunkElements) / 16) * 16
  const parts = Math.ceil(size / part)
  const count = groups * parts
  const { chunks, each } = cut(count, chunkElements / part)
  return { chunks, words: wordsOf(x, statistics, parameters, params, { count, each, parts, part }) }
}

type Cuts = { readonly [name in 'count' | 'each' | 'parts' | 'part']: number }

/** `GroupParams` of `src/wasm/group-norm-row.ts`. */
function wordsOf(
  x: View,
  statistics: View,
  [weight, bias, scaleShift]: readonly View[],
  { groups, silu }: GroupNormParams,
  { count, each, parts, part }: Cuts,
) {
  const [n, channels] = x.shape
  const positions = sizeOf(x.shape) / n / channels
  return {
    x,
    statistics,
    weight,
    bias,
    scaleShift: scaleShift ?? 0,
    channels,
    groups,
    positions,
    silu: silu ? 1 : 0,
    count,
    each,
    parts,
    part,
  } as const
}
