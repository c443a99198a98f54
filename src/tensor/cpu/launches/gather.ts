/**
 * Picks are cut by elements of the result, their gradient by columns of the table. An index of one axis picks whole rows;
 * an index of the picks' own shape has an entry for each, which three strides tell the kernel.
 */
import type { View } from '../../backend.ts'
import type { GatherGradParams, GatherParams } from '../../ops/gather.ts'
import { sizeOf } from '../../shape.ts'
import { cut, type Launch, type Word } from '../launch.ts'

/** Elements a chunk writes. */
const least = 2 ** 15

function geometry(axis: number, table: View, index: View, picks: View): { entries: number; picked: number; inner: number; words: Word[] } {
  const [entries, picked, inner] = [table.shape[axis], picks.shape[axis], sizeOf(table.shape.slice(axis + 1))]
  const steps = index.shape.length === 1 ? [0, 1, 0] : [picked * inner, inner, 1]
  return { entries, picked, inner, words: [entries, picked, inner, ...steps] }
}

export const gather: Launch<GatherParams> = (encoder, { axis }, [x, index], [y]) => {
  const count = sizeOf(y.shape)
  const { chunks, each } = cut(count, least)
  encoder.run({ kernel: 'gather', chunks, params: [x, index, y, count, each, ...geometry(axis, x, index, y).words] })
}

export const gatherGrad: Launch<GatherGradParams> = (encoder, { axis }, [dy, index], [dx]) => {
  const { entries, picked, words } = geometry(axis, dx, index, dy)
  const columns = sizeOf(dx.shape) / entries
  // Whole cache lines, so that threads do not write to the same one.
  const { chunks, each } = cut(Math.ceil(columns / 16), least / 16 / (entries + picked))
  encoder.run({ kernel: 'gatherGrad', chunks, params: [dx, index, dy, columns, 16 * each, ...words] })
}
