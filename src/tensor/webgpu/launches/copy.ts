import { copyShader, copyUniform } from '../../../shaders/copy.ts'
import { coversAll, type CopyParams } from '../../ops/copy.ts'
import { collapse, sizeOf } from '../../shape.ts'
import { linearGrid, type Launch } from '../launch.ts'

/**
 * Merges the axes that both sides of a box walk alike, and moves four elements a lane where both strides allow it. The
 * output is cleared first only if the boxes leave gaps.
 */
export const copy: Launch<CopyParams> = (encoder, params, inputs, [output]) => {
  if (!coversAll(params)) encoder.clear(output)
  for (const { input, extent, from, to } of params.boxes) {
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
