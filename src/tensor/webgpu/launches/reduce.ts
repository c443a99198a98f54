import { reduceShader, reduceUniform, reduceWorkgroup, type ReduceKeys } from '../../../shaders/reduce.ts'
import type { ReduceParams } from '../../ops/reduce.ts'
import { collapse, sizeOf, stridesOf } from '../../shape.ts'
import { linearGrid, type Dispatch, type Launch } from '../launch.ts'

/**
 * Elements that a workgroup adds on a GPU: the 65,536 of a bias's gradient at 64 x 64 and batch 16 took 458 us of an
 * H100 for 192 channels, 110 GB/s of 2,700. It depends on the sum alone, so that a sample is the same in any batch.
 */
const partElements = 4096
const maxParts = 64

/**
 * Splits the axes into those that stay and those that are summed, merged where they are contiguous, and decides who
 * adds: a lane per output where sums are short or outputs many enough to fill the adapter, else a workgroup, or
 * several, of which each writes a part.
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
  const { maxGrid, software } = encoder.capabilities
  const wanted = by === 'thread' || software ? 1 : Math.min(maxParts, Math.ceil(count / partElements))
  const range = Math.ceil(count / wanted)
  const parts = Math.ceil(count / range)
  const target = parts === 1 ? y : encoder.temporary(parts * outputs * 4)
  encoder.dispatch({
    ...kernelOf({ kind, by, keptRank: kept.dims.length, reducedRank: reduced.dims.length }),
    uniforms: reduceUniform.words({
      ...{ outputs, count, range },
      keptExtent: kept.dims,
      keptStride: kept.strides,
      reducedExtent: reduced.dims,
      reducedStride: reduced.strides,
    }),
    read: [x],
    write: [target],
    grid: linearGrid(by === 'thread' ? Math.ceil(outputs / reduceWorkgroup) : outputs * parts, maxGrid),
  })
  if (parts === 1) return
  encoder.dispatch({
    ...kernelOf({ kind, by: 'thread', keptRank: 1, reducedRank: 1 }),
    uniforms: reduceUniform.words({
      ...{ outputs, count: parts, range: parts },
      ...{ keptExtent: [outputs], keptStride: [1], reducedExtent: [parts], reducedStride: [outputs] },
    }),
    read: [target],
    write: [y],
    grid: linearGrid(Math.ceil(outputs / reduceWorkgroup), maxGrid),
  })
}

const kernelOf = (keys: ReduceKeys): Pick<Dispatch, 'key' | 'code'> => ({
  key: `reduce ${keys.kind} ${keys.by} ${keys.keptRank} ${keys.reducedRank}`,
  code: () => reduceShader(keys),
})
