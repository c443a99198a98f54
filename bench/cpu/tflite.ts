/**
 * The two single-op models in the form LiteRT reads: a FlatBuffer of tflite's schema.fbs (version 3), with one subgraph
 * of one operator. The numbers of fields and enums are that schema's; what they are called there stands beside them.
 */
import { Builder } from 'flatbuffers'
import type { ConvTask, GemmTask } from './clock.ts'

interface TensorSpec {
  readonly shape: readonly number[]
  readonly values?: Float32Array
}

/** A table with the fields given by number; `write` is called between its start and its end. */
function table(b: Builder, fields: number, write: () => void = () => {}): number {
  b.startObject(fields)
  write()
  return b.endObject()
}

function vector(b: Builder, items: readonly number[], add: 'addInt32' | 'addOffset'): number {
  b.startVector(4, items.length, 4)
  for (const item of [...items].reverse()) b[add](item)
  return b.endVector()
}

/** The data of a Buffer, aligned to 16 bytes as the schema demands. */
function data(b: Builder, values: Float32Array): number {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  b.startVector(1, bytes.length, 16)
  for (let i = bytes.length - 1; i >= 0; i--) b.addInt8(bytes[i])
  return b.endVector()
}

/** Tensor 0 is the input, the last one the output, those between are the operator's constants. */
function model(
  code: number,
  optionsType: number,
  options: (b: Builder) => number,
  tensors: readonly TensorSpec[],
): Uint8Array {
  const b = new Builder(1 << 20)
  const last = tensors.length - 1
  // Buffer: data 0. The first one is empty and stands for all that is no constant.
  const buffers = [undefined, ...tensors.map((t) => t.values)].map((values) => {
    const at = values && data(b, values)
    return table(b, 1, () => at !== undefined && b.addFieldOffset(0, at, 0))
  })
  // Tensor: shape 0, type 1 (FLOAT32 is 0, the default), buffer 2, name 3.
  const tensorTables = tensors.map(({ shape, values }, i) => {
    const [shapeAt, name] = [vector(b, shape, 'addInt32'), b.createString(`t${i}`)]
    return table(b, 4, () => {
      b.addFieldOffset(0, shapeAt, 0)
      b.addFieldInt32(2, values ? i + 1 : 0, 0)
      b.addFieldOffset(3, name, 0)
    })
  })
  // Operator: opcode_index 0, inputs 1, outputs 2, builtin_options_type 3, builtin_options 4.
  const [inputs, outputs, optionsAt] = [
    vector(b, tensors.map((_, i) => i).slice(0, -1), 'addInt32'),
    vector(b, [last], 'addInt32'),
    options(b),
  ]
  const operator = table(b, 5, () => {
    b.addFieldOffset(1, inputs, 0)
    b.addFieldOffset(2, outputs, 0)
    b.addFieldInt8(3, optionsType, 0)
    b.addFieldOffset(4, optionsAt, 0)
  })
  // SubGraph: tensors 0, inputs 1, outputs 2, operators 3, name 4.
  const parts = [
    vector(b, tensorTables, 'addOffset'),
    vector(b, [0], 'addInt32'),
    vector(b, [last], 'addInt32'),
    vector(b, [operator], 'addOffset'),
    b.createString('main'),
  ]
  const subgraph = table(b, 5, () => parts.forEach((at, field) => b.addFieldOffset(field, at, 0)))
  // OperatorCode: deprecated_builtin_code 0, version 2, builtin_code 3.
  const operatorCode = table(b, 4, () => {
    b.addFieldInt8(0, code, 0)
    b.addFieldInt32(3, code, 0)
  })
  // Model: version 0, operator_codes 1, subgraphs 2, description 3, buffers 4.
  const [codes, subgraphs, bufferList] = [[operatorCode], [subgraph], buffers].map((list) =>
    vector(b, list, 'addOffset'),
  ) as [number, number, number]
  b.finish(
    table(b, 5, () => {
      b.addFieldInt32(0, 3, 0)
      b.addFieldOffset(1, codes, 0)
      b.addFieldOffset(2, subgraphs, 0)
      b.addFieldOffset(4, bufferList, 0)
    }),
    'TFL3',
  )
  return b.asUint8Array()
}

/**
 * Channels last, as LiteRT has them: weights [out, 3, 3, in]. A bias of zeros, without which XNNPACK
 * does not take the op.
 */
export function convTflite({ batch, channels: c, size }: ConvTask, w: Float32Array): Uint8Array {
  const filter = new Float32Array(w.length)
  for (let o = 0; o < c; o++)
    for (let i = 0; i < c; i++)
      for (let tap = 0; tap < 9; tap++) filter[(o * 9 + tap) * c + i] = w[(o * c + i) * 9 + tap]
  const image = { shape: [batch, size, size, c] }
  // CONV_2D 3, Conv2DOptions 1: padding 0 (SAME is 0), stride_w 1, stride_h 2.
  const options = (b: Builder): number =>
    table(b, 3, () => {
      b.addFieldInt32(1, 1, 0)
      b.addFieldInt32(2, 1, 0)
    })
  return model(3, 1, options, [
    image,
    { shape: [c, 3, 3, c], values: filter },
    { shape: [c], values: new Float32Array(c) },
    image,
  ])
}

/** FULLY_CONNECTED 9, FullyConnectedOptions 8: its weights are [out, in], so b transposed. */
export function gemmTflite({ size }: GemmTask, matrix: Float32Array): Uint8Array {
  const weights = matrix.map((_, at) => matrix[(at % size) * size + Math.floor(at / size)])
  const square = { shape: [size, size] }
  return model(9, 8, (b) => table(b, 1), [
    square,
    { ...square, values: weights },
    { shape: [size], values: new Float32Array(size) },
    square,
  ])
}
