/** The same values in another shape: a second handle on the same memory, no kernel, nothing saved. */
import type { DType } from '../dtype.ts'
import { checkTensor } from '../op.ts'
import { checkArray, checkShape, formatShape, shapeError, sizeOf, type Shape } from '../shape.ts'
import { newTensorId, type Tensor } from '../tensor.ts'

const view = <D extends DType>(x: Tensor<D>, shape: Shape): Tensor<D> => x.device.track(x.alias(shape, newTensorId()))

/** The same elements in another shape, without a copy. One dimension of `shape` may be -1: it is whatever remains. */
export function reshape<D extends DType>(x: Tensor<D>, shape: Shape): Tensor<D> {
  checkTensor('reshape', x)
  checkArray('reshape', 'the dimensions of a shape', shape)
  const known = sizeOf(shape.filter((n) => n !== -1))
  const full = shape.map((n) => (n === -1 ? x.size / known : n))
  if (sizeOf(full) !== x.size) throw shapeError('reshape', `${x.size} elements as ${formatShape(shape)}`, x.shape)
  const output = view(x, checkShape('reshape', full))
  const { id, shape: original } = x
  const { tape } = x.device
  if (tape?.watches(id)) {
    tape.record({
      name: 'reshape',
      outputs: [{ id: output.id, spec: { shape: full, dtype: 'f32' } }],
      backward: (cotangent, addGradient) => addGradient(id, view(cotangent(0), original)),
      release: () => {},
    })
  }
  return output
}
