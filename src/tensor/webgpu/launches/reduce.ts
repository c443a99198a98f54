import { reduceShader, reduceUniform, reduceWorkgroup } from '../../../shaders/reduce.ts'
import type { ReduceParams } from '../../ops/reduce.ts'
import { collapse, sizeOf, stridesOf } from '../../shape.ts'
import { linearGrid, type Launch } from '../launch.ts'

/**
 * Splits the axes into those that stay and those that are summed, merged where they are contiguous, and decides who
 * adds: a lane per output where sums are short or outputs many enough to fill the adapter, else a workgroup.
 */
export const reduce: Launch<ReduceParams> = (encoder, { kind, axes }, [x], [y]) => {
  const strides = stridesOf(x.shape)
  const part = (wanted: boolean): { dims: number[]; strides: number[] } => {
    const own = x.shape.map((_, i) => i).filter((i) => axes.includes(i) === wanted)
    const loops = collapse(
      own.map((i) => x.shape[i]),
      [own.map((i) => strides[i])],
    )
    return { dims: loops.dims, strides: loops.strides[0] }
  }
  const kept = part(false)
  const reduced = part(true)
  const outputs = sizeOf(kept.dims)
  const count = sizeOf(reduced.dims)
  const by = count <= 32 || outputs >= 8192 ? 'thread' : 'workgroup'
  const keys = { kind, by, keptRank: kept.dims.length, reducedRank: reduced.dims.length } as const
  encoder.dispatch({
    key: `reduce ${kind} ${by} ${keys.keptRank} ${keys.reducedRank}`,
    code: () => reduceShader(keys),
    uniforms: reduceUniform.words({
      outputs,
      count,
      keptExtent: kept.dims,
      keptStride: kept.strides,
      reducedExtent: reduced.dims,
      reducedStride: reduced.strides,
    }),
    read: [x],
    write: [y],
    grid: linearGrid(by === 'thread' ? Math.ceil(outputs / reduceWorkgroup) : outputs, encoder.capabilities.maxGrid),
  })
}
