import { topological, type Expression, type Node } from '../../expression.ts'
import { now } from '../../live.ts'
import type { MapParams } from '../../ops/map.ts'
import { broadcastStrides, collapse, sizeOf, stridesOf } from '../../shape.ts'
import { mapFields, mapModule, type MapInput } from '../emit/map.ts'
import { cut, type Launch } from '../launch.ts'

/** Measured, in nanoseconds an element: a cheap function; one with a polynomial. */
const cost = (node: Node): number =>
  node.kind !== 'call' ? 0.1 : ['exp', 'log', 'tanh', 'sigmoid', 'pow'].includes(node.name) ? 2 : 0.1

const costs = new WeakMap<Expression, number>()

/** Nanoseconds an element; counted once an expression. */
function costOf(expression: Expression): number {
  let known = costs.get(expression)
  if (known === undefined)
    costs.set(expression, (known = topological(expression.root).reduce((sum, node) => sum + cost(node), 0.3)))
  return known
}

/** Finds the flattest rows for an expression's operands and cuts them into pieces and chunks of some 40 µs. */
export const map: Launch<MapParams> = (encoder, { expression, scalars, dtype }, inputs, [output]) => {
  const { shape } = output
  const {
    dims,
    strides: [, ...strides],
  } = collapse(shape, [stridesOf(shape), ...inputs.map((t) => broadcastStrides(t.shape, shape))])
  const last = dims.length - 1
  const length = dims[last]
  const dense = stridesOf(dims)
  const access = inputs.map(
    ({ dtype: type }, k): MapInput => ({
      type,
      access: strides[k].every((s) => s === 0)
        ? 'single'
        : strides[k].every((s, a) => s === dense[a])
          ? 'dense'
          : 'strided',
      inner: strides[k][last] === 1,
    }),
  )
  const rank = access.some((k) => k.access === 'strided') ? dims.length : 1
  const rowLength = rank > 1 ? length : sizeOf(dims)
  const wide = rowLength >= 4
  const elements = Math.max(4096, Math.ceil(40_000 / costOf(expression)))
  // A piece's last step reaches back by up to three elements, so no piece has fewer than four.
  let each = Math.min(rowLength, Math.ceil(elements / 16) * 16)
  while (rowLength > each && rowLength % each > 0 && rowLength % each < 4) each += 16
  const perRow = Math.ceil(rowLength / each)
  const total = perRow * (sizeOf(dims) / rowLength)
  const { chunks, each: pieces } = cut(total, elements / each)
  const signature = access
    .map((k) => `${k.type[0]}${k.access[0]}${k.access === 'strided' && k.inner ? 'i' : ''}`)
    .join('')
  const key = `map ${expression.key} ${signature}>${dtype} r${rank}${wide ? 'w' : ''}`
  encoder.run({
    kernel: encoder.compile(key, mapFields, (memory) =>
      mapModule({ expression, inputs: access, outputType: dtype, rank, wide }, memory),
    ),
    chunks,
    params: {
      total,
      pieces,
      perRow,
      each,
      length: rowLength,
      output,
      extents: dims.slice(1, rank - 1),
      inputs,
      strides: access.flatMap((k, i) => (k.access === 'strided' ? strides[i].slice(0, last).map((s) => s * 4) : [])),
      scalars: now(scalars),
    },
  })
}
