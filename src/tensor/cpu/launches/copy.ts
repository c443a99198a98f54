import { coversAll, type CopyParams } from '../../ops/copy.ts'
import { collapse, sizeOf } from '../../shape.ts'
import { cut, type Launch } from '../launch.ts'

/** Words a chunk: some 30 µs. */
const least = 2 ** 15

/**
 * Orders a box's axes by the target's strides, merges those that both sides walk alike, and picks the two of the inner
 * loops; `src/wasm/copy-box.ts` says why. The output is cleared first only if the boxes leave gaps.
 */
export const copy: Launch<CopyParams> = (encoder, params, inputs, [output]) => {
  if (!coversAll(params)) encoder.clear(output)
  for (const { input, extent, from, to } of params.boxes) {
    const order = extent.map((_, a) => a).sort((a, b) => to.strides[b] - to.strides[a])
    const inOrder = (list: readonly number[]): number[] => order.map((a) => list[a])
    const {
      dims,
      strides: [target, source],
    } = collapse(inOrder(extent), [inOrder(to.strides), inOrder(from.strides)])
    const axes = dims.map((size, a) => ({ size, target: target[a], source: source[a] }))
    const [columns] = axes.splice(-1)
    const dense = columns.source === 1 ? -1 : axes.findIndex((axis) => axis.source === 1)
    const [rows] = axes.length > 0 ? axes.splice(dense, 1) : [{ size: 1, target: 0, source: 0 }]
    const tileColumns = Math.min(columns.size, dense < 0 ? least : 128)
    const tileRows = Math.min(rows.size, dense < 0 ? Math.ceil(least / tileColumns) : 64)
    const tiles =
      Math.ceil(columns.size / tileColumns) * Math.ceil(rows.size / tileRows) * sizeOf(axes.map(({ size }) => size))
    const { chunks, each } = cut(tiles, least / (tileColumns * tileRows))
    encoder.run({
      kernel: 'copyBox',
      chunks,
      params: {
        target: output,
        source: inputs[input],
        targetOffset: to.offset * 4,
        sourceOffset: from.offset * 4,
        tiles,
        each,
        rows: rows.size,
        columns: columns.size,
        tileRows,
        tileColumns,
        targetRow: rows.target * 4,
        targetColumn: columns.target * 4,
        sourceRow: rows.source * 4,
        sourceColumn: columns.source * 4,
        rank: axes.length,
        axes: axes.flatMap((axis) => [axis.size, axis.target * 4, axis.source * 4]),
      },
    })
  }
}
