/**
 * Statistics, then normalising; backward, two sums a channel, coefficients a group, then dx. Decided here: how many
 * workgroups share a group's statistics (a second kernel combines them, if several do) and how many lanes share a row.
 */
import { groupNormApply } from '../../../shaders/group-norm-apply.ts'
import {
  groupNormCoefficients,
  groupNormCoefficientsUniform,
  groupNormData,
  groupNormRowSums,
} from '../../../shaders/group-norm-gradient.ts'
import { groupNormThreads, groupNormUniform, type GroupNormKeys } from '../../../shaders/group-norm-row.ts'
import {
  groupNormCombine,
  groupNormStatistics,
  groupNormStatisticsUniform,
} from '../../../shaders/group-norm-statistics.ts'
import type { View } from '../../backend.ts'
import type { GroupNormParams } from '../../ops/group-norm.ts'
import { sizeOf } from '../../shape.ts'
import { linearGrid, type Buffer, type Encoder, type Launch } from '../launch.ts'

/** Elements of a group that get a workgroup of their own where it has few neighbours: a CPU. */
const softwareChunk = 16384
/** Steps that a thread of a GPU holds: as many as need be of these, for a kernel each. */
const heldSteps = [2, 4, 8, 16]
/** Steps of a chunk of a GPU at most: 256 threads hold them. */
const hardwareChunk = 16 * 256

export const groupNorm: Launch<GroupNormParams> = (encoder, params, [x, ...parameters], [y, statistics]) => {
  computeStatistics(encoder, params, x, statistics)
  const { keys, name, uniforms, threads } = rows(x, params, (width) => Math.ceil(width / 4))
  encoder.dispatch({
    key: `group-norm-apply ${name}`,
    code: () => groupNormApply(keys),
    uniforms,
    read: [x, statistics, ...parameters],
    write: [y],
    grid: gridOf(encoder, threads),
  })
}

// How a group is cut depends on its size and not on the batch, so that a sample is the same in any batch.
function computeStatistics(encoder: Encoder, { groups, eps }: GroupNormParams, x: View, statistics: View): void {
  const count = x.shape[0] * groups
  const elements = sizeOf(x.shape) / count
  const vector = elements % 4 === 0
  const step = vector ? 4 : 1
  const { software } = encoder.capabilities
  const parts = Math.ceil(elements / (software ? softwareChunk : hardwareChunk * step))
  const chunk = Math.ceil(elements / step / parts)
  const used = Math.ceil(elements / step / chunk)
  const { threads, lanes, held } = software
    ? { threads: groupNormThreads, lanes: meetingLanes(chunk), held: 0 }
    : holding(chunk)
  const shape = { parts: used, group: elements / step, chunk, step, lanes, eps }
  const partial: Buffer = used === 1 ? statistics : encoder.temporary(count * used * 8)
  const keys = { vector, threads, held }
  encoder.dispatch({
    key: `group-norm-statistics ${step} ${threads} ${held}`,
    code: () => groupNormStatistics(keys),
    uniforms: groupNormStatisticsUniform.words({ count: count * used, ...shape }),
    read: [x],
    write: [partial],
    grid: linearGrid(Math.ceil((count * used * lanes) / threads), encoder.capabilities.maxGrid),
  })
  if (used === 1) return
  encoder.dispatch({
    key: 'group-norm-statistics combine',
    code: groupNormCombine,
    uniforms: groupNormStatisticsUniform.words({ count, ...shape }),
    read: [partial],
    write: [statistics],
    grid: gridOf(encoder, count),
  })
}

export const groupNormSums: Launch<GroupNormParams> = (encoder, params, [x, ...others], sums) => {
  const { keys, name, uniforms, threads } = rows(x, params, meetingLanes)
  encoder.dispatch({
    key: `group-norm-gradient sums ${name}`,
    code: () => groupNormRowSums(keys),
    uniforms,
    read: [x, ...others],
    write: sums,
    grid: gridOf(encoder, threads),
  })
}

export const groupNormDataGrad: Launch<GroupNormParams> = (encoder, params, inputs, [dx]) => {
  const [a, b] = inputs.slice(-2)
  const [x, dy, statistics, weight, bias, ...scaleShift] = inputs.slice(0, -2)
  const { keys, name, uniforms, threads } = rows(x, params, (width) => Math.ceil(width / 4))
  const { groups, scaleShift: modulated } = params
  const [n, channels] = x.shape
  const coefficients = encoder.temporary(n * groups * 8)
  encoder.dispatch({
    key: `group-norm-gradient coefficients ${modulated}`,
    code: () => groupNormCoefficients({ scaleShift: modulated }),
    uniforms: groupNormCoefficientsUniform.words({
      count: n * groups,
      channels,
      groups,
      elements: sizeOf(x.shape) / n / groups,
    }),
    read: [a, b, weight, ...scaleShift],
    write: [coefficients],
    grid: gridOf(encoder, n * groups),
  })
  encoder.dispatch({
    key: `group-norm-gradient data ${name}`,
    code: () => groupNormData(keys),
    uniforms,
    read: [x, dy, statistics, weight, bias, ...scaleShift, coefficients],
    write: [dx],
    grid: gridOf(encoder, threads),
  })
}

/** The threads of a GPU that hold a chunk of so many steps, some four each. */
function holding(chunk: number): { threads: number; lanes: number; held: number } {
  const threads = chunk <= 8 * groupNormThreads ? groupNormThreads : 4 * groupNormThreads
  const lanes = Math.min(threads, 2 ** Math.ceil(Math.log2(Math.ceil(chunk / 4))))
  return { threads, lanes, held: heldSteps.find((steps) => steps * lanes >= chunk) as number }
}

/** Threads that share a sum of `steps` terms, about 8 each: a power of two up to a workgroup. */
const meetingLanes = (steps: number): number =>
  Math.min(groupNormThreads, 2 ** Math.ceil(Math.log2(Math.ceil(steps / 8))))

/** How threads walk the rows: `lanesFor` a row of so many steps. */
function rows(
  x: View,
  { groups, scaleShift, silu }: GroupNormParams,
  lanesFor: (width: number) => number,
): { keys: GroupNormKeys; name: string; uniforms: number[]; threads: number } {
  const [n, channels] = x.shape
  const positions = sizeOf(x.shape) / n / channels
  const keys = { vector: positions % 4 === 0, scaleShift, silu }
  const width = keys.vector ? positions / 4 : positions
  const lanes = lanesFor(width)
  return {
    keys,
    name: `${keys.vector ? 'vector' : 'scalar'}${scaleShift ? ' scale-shift' : ''}${silu ? ' silu' : ''}`,
    uniforms: groupNormUniform.words({ rows: n * channels, channels, groups, width, lanes }),
    threads: n * channels * lanes,
  }
}

const gridOf = (encoder: Encoder, threads: number): [number, number, number] =>
  linearGrid(Math.ceil(threads / groupNormThreads), encoder.capabilities.maxGrid)
