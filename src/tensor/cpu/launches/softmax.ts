import type { SoftmaxParams } from '../../ops/softmax.ts'
import { sizeOf } from '../../shape.ts'
import { cut, type Launch } from '../launch.ts'

/** Rows are independent: a chunk is as many as make up about 30 µs. */
export const softmax: Launch<SoftmaxParams> = (encoder, { log }, [x], [y]) => {
  const length = x.shape[x.shape.length - 1]
  const rows = sizeOf(x.shape) / length
  const { chunks, each } = cut(rows, 16384 / length)
  encoder.run({ kernel: 'softmax', chunks, params: { x, y, rows, length, each, log: log ? 1 : 0 } })
}
