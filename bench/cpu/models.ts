/** The ONNX models of the single ops, weights within. */
import type { ConvTask, GemmTask } from './clock.ts'
import { OnnxGraph } from './onnx.ts'

export function convModel({ batch, channels, size }: ConvTask, w: Float32Array): Uint8Array {
  const graph = new OnnxGraph()
  const shape = [batch, channels, size, size]
  const weight = graph.constant('w', w, [channels, channels, 3, 3])
  graph.output(
    'y',
    graph.node('Conv', [graph.input('x', shape), weight], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }),
    shape,
  )
  return graph.encode()
}

export function gemmModel({ size }: GemmTask, b: Float32Array): Uint8Array {
  const graph = new OnnxGraph()
  graph.output('y', graph.node('MatMul', [graph.input('x', [size, size]), graph.constant('b', b, [size, size])]), [
    size,
    size,
  ])
  return graph.encode()
}

/** A model that copies: for the time that handing tensors in and out takes. */
export function identityModel(shape: readonly number[]): Uint8Array {
  const graph = new OnnxGraph()
  graph.output('y', graph.input('x', shape), shape)
  return graph.encode()
}
