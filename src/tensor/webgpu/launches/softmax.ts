import { softmaxLanes, softmaxShader, softmaxUniform, type SoftmaxKeys } from '../../../shaders/softmax.ts'
import type { SoftmaxParams } from '../../ops/softmax.ts'
import { sizeOf } from '../../shape.ts'
import { linearGrid, type Launch } from '../launch.ts'

/** Short rows get a lane each, long ones a workgroup. */
export const softmax: Launch<SoftmaxParams> = (encoder, { log }, [x], [y]) => {
  const length = x.shape[x.shape.length - 1]
  const rows = sizeOf(x.shape) / length
  const keys: SoftmaxKeys = { log, by: length <= softmaxLanes ? 'thread' : 'workgroup' }
  encoder.dispatch({
    key: `softmax${log ? ' log' : ''} ${keys.by}`,
    code: () => softmaxShader(keys),
    uniforms: softmaxUniform.words({ rows, length }),
    read: [x],
    write: [y],
    grid: linearGrid(keys.by === 'thread' ? Math.ceil(rows / softmaxLanes) : rows, encoder.capabilities.maxGrid),
  })
}
