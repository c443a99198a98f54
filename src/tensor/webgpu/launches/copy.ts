import { copyFlatShader, copyFlatUniform, maxPieces } from '../../../shaders/copy-flat.ts'
import { copyShader, copyUniform } from '../../../shaders/copy.ts'
import type { View } from '../../backend.ts'
import { coversAll, type Box, type CopyParams } from '../../ops/copy.ts'
import { collapse, sizeOf } from '../../shape.ts'
import { linearGrid, type Encoder, type Launch } from '../launch.ts'

/**
 * Merges the axes that both sides of a box walk alike, and moves four elements a lane where both strides allow it.
 * Several boxes that are runs of elements share a kernel. The output is cleared first only if the boxes leave gaps.
 */
export const copy: Launch<CopyParams> = (encoder, params, inputs, [output]) => {
  if (!coversAll(params)) encoder.clear(output)
  const flat = params.boxes.length > 1 ? params.boxes.filter(isFlat) : []
  for (let first = 0; first < flat.length; first += maxPieces)
    copyFlat(encoder, flat.slice(first, first + maxPieces), inputs, output)
  for (const { input, extent, from, to } of flat.length > 0 ? params.boxes.filter((b) => !isFlat(b)) : params.boxes) {
    const {
      dims,
      strides: [source, sink],
    } = collapse(extent, [from.strides, to.strides])
    const last = dims.length - 1
    const inFours = (stride: readonly number[], offset: number): boolean =>
      stride[last] === 1 && offset % 4 === 0 && stride.slice(0, last).every((s) => s % 4 === 0)
    const vec4 = dims[last] % 4 === 0 && inFours(source, from.offset) && inFours(sink, to.offset)
    const width = vec4 ? 4 : 1
    const lanes = sizeOf(dims) / width
    const inLanes = (strides: readonly number[]): number[] => strides.map((s, a) => (a < last ? s / width : s))
    encoder.dispatch({
      key: `copy ${dims.length}${vec4 ? 'v' : ''}`,
      code: () => copyShader({ rank: dims.length, vec4 }),
      uniforms: copyUniform.words({
        lanes,
        fromStart: from.offset / width,
        toStart: to.offset / width,
        extent: [...dims.slice(0, last), dims[last] / width],
        from: inLanes(source),
        to: inLanes(sink),
      }),
      read: [inputs[input]],
      write: [output],
      grid: linearGrid(Math.ceil(lanes / 64), encoder.capabilities.maxGrid),
    })
  }
}

function isFlat({ extent, from, to }: Box): boolean {
  const { dims, strides } = collapse(extent, [from.strides, to.strides])
  return dims.length === 1 && (dims[0] === 1 || strides.every(([s]) => s === 1))
}

function copyFlat(encoder: Encoder, boxes: readonly Box[], inputs: readonly View[], output: View): void {
  const vec4 = boxes.every(({ extent, from, to }) => [sizeOf(extent), from.offset, to.offset].every((n) => n % 4 === 0))
  const width = vec4 ? 4 : 1
  const end: number[] = []
  const [from, to]: number[][] = [[], []]
  let lanes = 0
  for (const box of boxes) {
    from.push((box.from.offset / width - lanes) >>> 0)
    to.push((box.to.offset / width - lanes) >>> 0)
    end.push((lanes += sizeOf(box.extent) / width))
  }
  encoder.dispatch({
    key: `copy-flat ${boxes.length}${vec4 ? 'v' : ''}`,
    code: () => copyFlatShader({ pieces: boxes.length, vec4 }),
    uniforms: copyFlatUniform.words({ end, from, to }),
    read: boxes.map(({ input }) => inputs[input]),
    write: [output],
    grid: linearGrid(Math.ceil(lanes / 64), encoder.capabilities.maxGrid),
  })
}
