/**
 * A small writer of ONNX models, as far as the bench needs one: a graph of nodes with integer, float and text
 * attributes, float and int64 initializers, and inputs and outputs of fixed shape. The file is protobuf (onnx.proto3),
 * of which two wire types are enough: varints, and bytes behind their length.
 */
export type Attribute = number | string | readonly number[] | { readonly float: number }

const text = new TextEncoder()

function varint(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = BigInt.asUintN(64, BigInt(value))
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  bytes.push(Number(rest))
  return Uint8Array.from(bytes)
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

const integer = (field: number, value: number): Uint8Array => join([varint(field * 8), varint(value)])
const bytes = (field: number, ...parts: readonly Uint8Array[]): Uint8Array =>
  join([varint(field * 8 + 2), varint(parts.reduce((sum, part) => sum + part.length, 0)), ...parts])
const string = (field: number, value: string): Uint8Array => bytes(field, text.encode(value))

/** AttributeProto: name 1, f 2, i 3, s 4, ints 8, type 20 (1 float, 2 int, 3 string, 7 ints). */
function attribute(name: string, value: Attribute): Uint8Array {
  if (typeof value === 'number') return join([string(1, name), integer(3, value), integer(20, 2)])
  if (typeof value === 'string') return join([string(1, name), string(4, value), integer(20, 3)])
  if ('float' in value)
    return join([
      string(1, name),
      varint(2 * 8 + 5),
      new Uint8Array(Float32Array.of(value.float).buffer),
      integer(20, 1),
    ])
  return join([string(1, name), ...value.map((v) => integer(8, v)), integer(20, 7)])
}

/**
 * ValueInfoProto of a float tensor: name 1, type 2 { tensor_type 1 { elem_type 1, shape 2 { dim 1 {
 * dim_value 1 } } } }.
 */
const valueInfo = (name: string, shape: readonly number[]): Uint8Array =>
  join([string(1, name), bytes(2, bytes(1, integer(1, 1), bytes(2, ...shape.map((d) => bytes(1, integer(1, d))))))])

export class OnnxGraph {
  readonly #nodes: Uint8Array[] = []
  readonly #initializers = new Map<string, Uint8Array>()
  readonly #inputs: Uint8Array[] = []
  readonly #outputs: Uint8Array[] = []
  #count = 0

  input(name: string, shape: readonly number[]): string {
    this.#inputs.push(valueInfo(name, shape))
    return name
  }

  /**
   * A constant; floats (data type 1) or, for shapes and axes, int64 (7). TensorProto: dims 1, data_type
   * 2, name 8, raw_data 9.
   */
  constant(name: string, values: Float32Array | BigInt64Array, shape: readonly number[]): string {
    const raw = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    this.#initializers.set(
      name,
      join([
        ...shape.map((d) => integer(1, d)),
        integer(2, values instanceof Float32Array ? 1 : 7),
        string(8, name),
        bytes(9, raw),
      ]),
    )
    return name
  }

  integers(values: readonly number[]): string {
    return this.constant(`ints_${values.join('_').replaceAll('-', 'm')}`, BigInt64Array.from(values, BigInt), [
      values.length,
    ])
  }

  float(value: number): string {
    return this.constant(`float_${value}`, Float32Array.of(value), [])
  }

  /** A node of the op set; the name of its one output. */
  node(op: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string {
    return this.nodes(op, inputs, 1, attributes)[0]
  }

  /** NodeProto: input 1, output 2, name 3, op_type 4, attribute 5. */
  nodes(
    op: string,
    inputs: readonly string[],
    outputs: number,
    attributes: Readonly<Record<string, Attribute>> = {},
  ): string[] {
    const name = `${op}_${this.#count++}`
    const names = Array.from({ length: outputs }, (_, i) => `${name}_${i}`)
    const fields = [
      ...inputs.map((i) => string(1, i)),
      ...names.map((o) => string(2, o)),
      string(3, name),
      string(4, op),
    ]
    this.#nodes.push(
      join([...fields, ...Object.entries(attributes).map(([key, value]) => bytes(5, attribute(key, value)))]),
    )
    return names
  }

  output(name: string, value: string, shape: readonly number[]): void {
    this.#nodes.push(join([string(1, value), string(2, name), string(4, 'Identity')]))
    this.#outputs.push(valueInfo(name, shape))
  }

  /**
   * ModelProto: ir_version 1, producer_name 2, graph 7, opset_import 8. GraphProto: node 1, name 2, initializer 5,
   * input 11, output 12.
   */
  encode(): Uint8Array {
    const graph = [
      ...this.#nodes.map((n) => bytes(1, n)),
      string(2, 'bench'),
      ...[...this.#initializers.values()].map((t) => bytes(5, t)),
      ...this.#inputs.map((i) => bytes(11, i)),
      ...this.#outputs.map((o) => bytes(12, o)),
    ]
    return join([
      integer(1, 8),
      string(2, 'tweedie-bench'),
      bytes(7, ...graph),
      bytes(8, string(1, ''), integer(2, 18)),
    ])
  }
}
