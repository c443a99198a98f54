/**
 * Picks are cut by elements of the result, their gradient by columns of the table. An index of one axis picks whole
 * rows; an index of the picks' own shape has an entry for each, which three strides tell the kernel.
 */
import type { View } from '../../backend.ts'
import type { GatherGradParams, GatherParams } from '../../ops/gather.ts'
import { sizeOf } from '../../shape.ts'
import { cut, type Launch } from '../launch.ts'

/** Elements a chunk writes. */
const least = 2 ** 15

/** The sizes among the kernels' parameters. */
function sizesOf(axis: number, table: View, index: View, picked: View) {
  const [entries, picks, inner] = [table.shape[axis], picked.shape[axis], sizeOf(table.shape.slice(axis + 1))]
  const [outerStep, step, innerStep] = index.shape.length === 1 ? [0, 1, 0] : [picks * inner, inner, 1]
  return { entries, picks, inner, outerStep, step, innerStep }
}

export const gather: Launch<GatherParams> = (encoder, { axis }, [x, index], [y]) => {
  const count = sizeOf(y.shape)
  const { chunks, each } = cut(count, least)
  encoder.run({
    kernel: 'gather',
    chunks,
    params: { table: x, index, picked: y, count, each, ...sizesOf(axis, x, index, y) },
  })
}

export const gatherGrad: Launch<GatherGradParams> = (encoder, { axis }, [dy, index], [dx]) => {
  const sizes = sizesOf(axis, dx, index, dy)
  const columns = sizeOf(dx.shape) / sizes.entries
  // Whole cache lines, so that threads do not write to the same one.
  const { chunks, each } = cut(Math.ceil(columns / 16), least / 16 / (sizes.entries + sizes.picks))
  encoder.run({
    kernel: 'gatherGrad',
    chunks,
    params: { table: dx, index, picked: dy, count: columns, each: 16 * each, ...sizes },
  })
}
