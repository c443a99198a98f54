import { mapShader, mapUniform, type MapInput } from '../../../shaders/map.ts'
import { bitsOf } from '../../../shaders/uniform.ts'
import { topological, type FunctionName, type Node } from '../../expression.ts'
import type { MapParams } from '../../ops/map.ts'
import { broadcastStrides, collapse, sizeOf, stridesOf } from '../../shape.ts'
import { linearGrid, type Launch } from '../launch.ts'

/** The WGSL of every function of the language, on values of type V. */
const wgslOf: { readonly [K in FunctionName]: (a: string, b: string, c: string) => string } = {
  add: (a, b) => `${a} + ${b}`,
  sub: (a, b) => `${a} - ${b}`,
  mul: (a, b) => `${a} * ${b}`,
  div: (a, b) => `${a} / ${b}`,
  pow: (a, b) => `power(${a}, ${b})`,
  max: (a, b) => `max(${a}, ${b})`,
  min: (a, b) => `min(${a}, ${b})`,
  gt: (a, b) => `select(V(0.0), V(1.0), ${a} > ${b})`,
  ge: (a, b) => `select(V(0.0), V(1.0), ${a} >= ${b})`,
  eq: (a, b) => `select(V(0.0), V(1.0), ${a} == ${b})`,
  neg: (a) => `-${a}`,
  exp: (a) => `exp(${a})`,
  log: (a) => `log(${a})`,
  sqrt: (a) => `sqrt(${a})`,
  abs: (a) => `abs(${a})`,
  sign: (a) => `sign(${a})`,
  tanh: (a) => `bounded_tanh(${a})`,
  sigmoid: (a) => `sigmoid(${a})`,
  erf: (a) => `erf(${a})`,
  select: (a, b, c) => `select(${c}, ${b}, ${a} != V(0.0))`,
}

function render(root: Node): { body: string; result: string } {
  const names = new Map<Node, string>()
  const lines: string[] = []
  for (const node of topological(root)) {
    if (node.kind === 'scalar') names.set(node, `s${node.index}`)
    else if (node.kind === 'input') names.set(node, `x${node.index}`)
    else {
      const [a, b, c] = node.kind === 'call' ? node.args.map((arg) => names.get(arg) as string) : []
      names.set(node, `v${lines.length}`)
      // WGSL refuses a constant expression whose value is not finite, has no literal for one and may lose -0.
      lines.push(
        `let v${lines.length} = ` +
          `${node.kind === 'call' ? wgslOf[node.name](a, b, c) : `number(${bitsOf(node.value)}u)`};`,
      )
    }
  }
  return { body: lines.join('\n  '), result: names.get(root) as string }
}

/** Renders an expression to WGSL and finds the flattest loops for its operands. */
export const map: Launch<MapParams> = (encoder, { expression, scalars: live, dtype }, inputs, [output]) => {
  const scalars = encoder.now(live)
  const { shape } = output
  const loops = collapse(shape, [stridesOf(shape), ...inputs.map((t) => broadcastStrides(t.shape, shape))])
  const rank = loops.dims.length
  const [, ...strides] = loops.strides
  const last = rank - 1
  const vec4 =
    loops.dims[last] % 4 === 0 &&
    strides.every((s) => s[last] <= 1 && (s[last] === 0 || s.slice(0, last).every((n) => n % 4 === 0)))
  const keys = inputs.map((t, k): MapInput => {
    const isSingle = strides[k].every((s) => s === 0)
    const isDense = rank === 1 ? strides[k][0] === 1 : t.shape.length > 0 && sizeOf(t.shape) === sizeOf(shape)
    return { access: isSingle ? 'single' : isDense ? 'dense' : 'strided', type: t.dtype, inner: strides[k][last] === 1 }
  })
  const usesAxes = keys.some((k) => k.access === 'strided')
  const width = vec4 ? 4 : 1
  const lanes = sizeOf(shape) / width
  // In lanes: an input with inner stride 1 is read as vec4s, so all its strides shrink; one that is constant along the
  // innermost axis is read as scalars and keeps them.
  const stride: number[] = []
  keys.forEach(({ access, inner }, k) => {
    if (access === 'strided') stride.push(...strides[k].map((s, a) => (inner && a < last ? s / width : s)))
  })
  const signature = keys
    .map((k) => `${k.type[0]}${k.access[0]}${k.access === 'strided' && k.inner ? 'i' : ''}`)
    .join('')
  const shownRank = usesAxes ? rank : 1
  encoder.dispatch({
    key: `map ${expression.key} ${signature}>${dtype} r${shownRank}${vec4 ? 'v' : ''}`,
    code: () =>
      mapShader({
        inputs: keys,
        outputType: dtype,
        rank: shownRank,
        scalars: scalars.length,
        vec4,
        ...render(expression.root),
      }),
    uniforms: mapUniform.words({
      lanes,
      extent: usesAxes ? [...loops.dims.slice(0, last), loops.dims[last] / width] : [],
      stride,
      scalar: scalars,
    }),
    read: inputs,
    write: [output],
    grid: linearGrid(Math.ceil(lanes / 64), encoder.capabilities.maxGrid),
  })
}
