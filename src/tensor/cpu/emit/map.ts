import type { DType } from '../../dtype.ts'
import { topological, type Expression, type Node } from '../../expression.ts'
import type { MemoryType } from '../launch.ts'
import { fieldsOf } from '../params.ts'
import { functionCode, type Place } from './functions.ts'
import { Body, f32x4, get, i32, i32x4, Locals, moduleOf, set, v128, type Code } from './module.ts'

/** How an input is walked: as the output is, not at all, or along a row (`inner`) or not but from row to row. */
export interface MapInput {
  readonly access: 'dense' | 'single' | 'strided'
  readonly type: DType
  readonly inner: boolean
}

export interface MapKernel {
  readonly expression: Expression
  readonly inputs: readonly MapInput[]
  readonly outputType: DType
  /** Axes, of which the last is the row. */
  readonly rank: number
  /** Whether rows have four elements or more. */
  readonly wide: boolean
}

/** The kernel's parameters, in order. */
export const mapFields = fieldsOf({
  /** Pieces in all, in a chunk and in a row. */
  total: 'i32',
  pieces: 'i32',
  perRow: 'i32',
  /** Elements of a piece and of a row. */
  each: 'i32',
  length: 'i32',
  output: 'usize',
  /** Of the outer axes but the first. */
  extents: 'i32[]',
  inputs: 'usize[]',
  /** Of every strided input, along the outer axes, in bytes. */
  strides: 'i32[]',
  scalars: 'f32[]',
} as const)

type Field = keyof typeof mapFields.layout

/** The first word of every field, where lists have as many as `counts` says. */
function startsOf(counts: { readonly [name in Field]?: number }): { readonly [name in Field]: number } {
  let words = 0
  return Object.fromEntries(
    mapFields.all.map(({ name }) => {
      const start = words
      words += counts[name as Field] ?? 1
      return [name, start]
    }),
  ) as { [name in Field]: number }
}

/**
 * The kernel of an elementwise expression: one pass over memory however long it is. The output is walked in rows, along
 * which every operand is either dense or constant, and long rows in pieces; a chunk is some pieces. What depends on
 * scalars alone is computed once a chunk, what is constant along a row once a row, the rest four elements at a time.
 * The last four of a piece may overlap those before them, which computes the same again and needs no other code; rows
 * shorter than four are walked one element at a time, in lane 0.
 */
export function mapModule({ expression, inputs, outputType, rank, wide }: MapKernel, memory: MemoryType): Uint8Array {
  const locals = new Locals()
  const [once, row, step] = [new Body(locals), new Body(locals), new Body(locals)]
  const [params, chunk] = [get(0), get(1)]
  const outer = Array.from({ length: rank - 1 }, (_, a) => a)
  const strided = inputs.filter(({ access }) => access === 'strided').length
  const starts = startsOf({
    extents: Math.max(0, rank - 2),
    inputs: inputs.length,
    strides: strided * outer.length,
    scalars: expression.scalars,
  })
  const offsetOf = (name: Field, index = 0): number => (starts[name] + index) * 4
  const word = (name: Field, index?: number): Code => once.keep(i32.load(params, offsetOf(name, index)), 'i32')

  const [total, pieces, perRow] = [word('total'), word('pieces'), word('perRow')]
  const [each, length, output] = [word('each'), word('length'), word('output')]
  const extents = outer.map((a) => (a === 0 ? [] : word('extents', a - 1)))
  const piece = locals.add('i32')
  once.run(set(piece, i32.mul(chunk, pieces)))
  const end = once.keep(i32.min(i32.add(get(piece), pieces), total), 'i32')

  // Where this piece is, in elements of its row, bytes of the output and along each axis.
  const index = row.keep(i32.divU(get(piece), perRow), 'i32')
  const from = row.keep(i32.mul(i32.sub(get(piece), i32.mul(index, perRow)), each), 'i32')
  const bytes = row.keep(i32.shl(i32.add(i32.mul(index, length), from), 2), 'i32')
  const axes: Code[] = []
  let rest = index
  for (const a of [...outer].reverse()) {
    axes[a] = a === 0 ? rest : row.keep(i32.remU(rest, extents[a]), 'i32')
    if (a > 0) rest = row.keep(i32.divU(rest, extents[a]), 'i32')
  }
  const at = locals.add('i32')
  const width = wide ? 4 : 1
  const last = row.keep(i32.shl(i32.sub(i32.min(i32.sub(length, from), each), i32.const(width)), 2), 'i32')
  row.run(set(at, i32.const(0)))

  const load = wide ? v128.load : v128.loadSplat
  const asFloat = (type: DType, value: Code): Code =>
    type === 'i32' ? f32x4.fromI32(value) : type === 'u32' ? f32x4.fromU32(value) : value
  const bodies = [once, row, step]
  /** A value, and the body in which it is computed: 0 once, 1 a row, 2 a step. */
  type Value = { code: Code; level: number }
  let strides = 0
  const loads = inputs.map(({ access, type, inner }, k): Value => {
    const address = word('inputs', k)
    const along = (sum: Code, a: number): Code => i32.add(sum, i32.mul(axes[a], word('strides', strides++)))
    const offset = access !== 'strided' ? bytes : outer.reduce(along, inner ? i32.shl(from, 2) : i32.const(0))
    const level = access === 'single' ? 0 : access === 'dense' || inner ? 2 : 1
    const start = level === 0 ? address : row.keep(i32.add(address, offset), 'i32')
    const loaded = level === 2 ? load(i32.add(start, get(at))) : v128.loadSplat(start)
    return { code: bodies[level].keep(asFloat(type, loaded)), level }
  })
  const scalars = Array.from(
    { length: expression.scalars },
    (_, index): Value => ({ code: once.keep(v128.loadSplat(params, offsetOf('scalars', index))), level: 0 }),
  )

  const constants = new Map<string, Code>()
  const constant = (key: string, code: Code): Code => {
    const known = constants.get(key) ?? once.keep(code)
    constants.set(key, known)
    return known
  }
  const shared: Omit<Place, 'body'> = {
    constant: (value) => constant(`${Object.is(value, -0) ? '-0' : value}`, f32x4.splat(value)),
    bits: (value) => constant(`bits ${value}`, i32x4.splat(value)),
    madd: (a, b, c) => (memory.relaxed ? f32x4.relaxedMadd(a, b, c) : f32x4.add(f32x4.mul(a, b), c)),
  }
  const values = new Map<Node, Value>()
  const valueOf = (node: Node): Value => {
    switch (node.kind) {
      case 'constant':
        return { code: shared.constant(node.value), level: 0 }
      case 'scalar':
        return scalars[node.index]
      case 'input':
        return loads[node.index]
      case 'call': {
        const args = node.args.map((arg) => values.get(arg) as Value)
        const level = Math.max(...args.map((arg) => arg.level))
        const body = bodies[level]
        const [a, b, c] = args.map(({ code }) => code)
        return { code: body.keep(functionCode[node.name]({ ...shared, body }, a, b, c)), level }
      }
    }
  }
  for (const node of topological(expression.root)) values.set(node, valueOf(node))
  const { code: result } = values.get(expression.root) as Value
  const target = row.keep(i32.add(output, bytes), 'i32')
  const converted =
    outputType === 'i32' ? i32x4.fromF32(result) : outputType === 'u32' ? i32x4.fromF32U(result) : result
  step.run((wide ? v128.store : v128.storeLane0)(i32.add(target, get(at)), converted))
  // Whether this was the last step is asked before moving on.
  const more = [...i32.ltS(get(at), last), ...set(at, i32.min(i32.add(get(at), i32.const(width * 4)), last))]
  row.loop(step.code, more)
  once.loop([...row.code, ...set(piece, i32.add(get(piece), i32.const(1)))], i32.ltS(get(piece), end))
  return moduleOf(once, memory)
}
