/**
 * Both directions run one lane an element of what they write. An index of one axis picks whole rows; an index of the
 * picks' own shape has an entry for each, which three strides tell the kernel.
 */
import { elementsPerWorkgroup } from '../../../shaders/elements.ts'
import { gatherGradShader } from '../../../shaders/gather-grad.ts'
import { gatherUniform } from '../../../shaders/gather-shape.ts'
import { gatherShader } from '../../../shaders/gather.ts'
import type { View } from '../../backend.ts'
import type { GatherGradParams, GatherParams } from '../../ops/gather.ts'
import { sizeOf } from '../../shape.ts'
import { linearGrid, type Encoder, type Launch } from '../launch.ts'

function launch(
  encoder: Encoder,
  key: string,
  code: () => string,
  axis: number,
  table: View,
  index: View,
  picks: View,
  read: View,
  write: View,
): void {
  const count = sizeOf(write.shape)
  const inner = sizeOf(table.shape.slice(axis + 1))
  const [outerStep, step, innerStep] = index.shape.length === 1 ? [0, 1, 0] : [picks.shape[axis] * inner, inner, 1]
  encoder.dispatch({
    key,
    code,
    uniforms: gatherUniform.words({
      count,
      entries: table.shape[axis],
      picks: picks.shape[axis],
      inner,
      outerStep,
      step,
      innerStep,
    }),
    read: [read, index],
    write: [write],
    grid: linearGrid(Math.ceil(count / elementsPerWorkgroup), encoder.capabilities.maxGrid),
  })
}

export const gather: Launch<GatherParams> = (encoder, { axis }, [x, index], [y]) =>
  launch(encoder, 'gather', gatherShader, axis, x, index, y, x, y)

export const gatherGrad: Launch<GatherGradParams> = (encoder, { axis }, [dy, index], [dx]) =>
  launch(encoder, 'gather-grad', gatherGradShader, axis, dx, index, dy, dy, dx)
