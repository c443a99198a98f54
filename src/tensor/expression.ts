/**
 * A small language for elementwise arithmetic. An {@link Expression} is written once, as a function of its inputs and of
 * scalars that may change from call to call; each backend turns it into one kernel that passes over memory once, however
 * long it is, and its gradient is found by differentiating it, which again gives one kernel per input. So `silu`, a
 * broadcast multiply-add and a whole sampler step are the same op: {@link map}.
 *
 * Nodes are interned: equal subexpressions are the same object, so a renderer names each one once.
 */
import { TweedieError } from '../errors.ts'

/** Every function of the language with its number of arguments. Comparisons give 1 or 0. */
export const functions = {
  add: 2, sub: 2, mul: 2, div: 2, pow: 2, max: 2, min: 2, gt: 2, ge: 2, eq: 2,
  neg: 1, exp: 1, log: 1, sqrt: 1, abs: 1, sign: 1, tanh: 1, sigmoid: 1,
  /** select(condition, then, otherwise): `then` where the condition is not 0. */
  select: 3,
} as const

export type FunctionName = keyof typeof functions

export type Node =
  | { readonly kind: 'constant'; readonly value: number; readonly key: string }
  | { readonly kind: 'scalar'; readonly index: number; readonly key: string }
  | { readonly kind: 'input'; readonly index: number; readonly key: string }
  | { readonly kind: 'call'; readonly name: FunctionName; readonly args: readonly Node[]; readonly key: string }

export const constant = (value: number): Node => ({ kind: 'constant', value, key: `${Object.is(value, -0) ? '-0' : value}` })
const scalar = (index: number): Node => ({ kind: 'scalar', index, key: `s${index}` })
const input = (index: number): Node => ({ kind: 'input', index, key: `x${index}` })

const isConstant = (node: Node, value: number): boolean => node.kind === 'constant' && node.value === value

/** Builds a call, dropping additions of 0 and multiplications by 0 and 1, which differentiation leaves in heaps. */
export function call(name: FunctionName, ...args: Node[]): Node {
  const [a, b] = args
  if (name === 'add') {
    if (isConstant(a, 0)) return b
    if (isConstant(b, 0)) return a
  }
  if (name === 'sub' && isConstant(b, 0)) return a
  if (name === 'mul') {
    if (isConstant(a, 0) || isConstant(b, 0)) return constant(0)
    if (isConstant(a, 1)) return b
    if (isConstant(b, 1)) return a
  }
  if (name === 'div' && isConstant(b, 1)) return a
  if (name === 'neg' && a.kind === 'constant') return constant(-a.value)
  if (name === 'select' && args[1].key === args[2].key) return args[1]
  return { kind: 'call', name, args, key: `${name}(${args.map((arg) => arg.key).join(',')})` }
}

export const f = {
  add: (a: Node, b: Node) => call('add', a, b),
  sub: (a: Node, b: Node) => call('sub', a, b),
  mul: (a: Node, b: Node) => call('mul', a, b),
  div: (a: Node, b: Node) => call('div', a, b),
  pow: (a: Node, b: Node) => call('pow', a, b),
  max: (a: Node, b: Node) => call('max', a, b),
  min: (a: Node, b: Node) => call('min', a, b),
  gt: (a: Node, b: Node) => call('gt', a, b),
  ge: (a: Node, b: Node) => call('ge', a, b),
  eq: (a: Node, b: Node) => call('eq', a, b),
  neg: (a: Node) => call('neg', a),
  exp: (a: Node) => call('exp', a),
  log: (a: Node) => call('log', a),
  sqrt: (a: Node) => call('sqrt', a),
  abs: (a: Node) => call('abs', a),
  sign: (a: Node) => call('sign', a),
  tanh: (a: Node) => call('tanh', a),
  sigmoid: (a: Node) => call('sigmoid', a),
  select: (condition: Node, then: Node, otherwise: Node) => call('select', condition, then, otherwise),
} as const

/** A rule for each function: the derivatives by its arguments, given the arguments and the value itself. */
type DerivativeRule = (args: readonly Node[], value: Node) => readonly Node[]

const zero = constant(0)
const one = constant(1)

const derivatives: { readonly [K in FunctionName]: DerivativeRule } = {
  add: () => [one, one],
  sub: () => [one, constant(-1)],
  mul: ([a, b]) => [b, a],
  div: ([, b], value) => [f.div(one, b), f.neg(f.div(value, b))],
  // At a = 0 the derivative by the exponent is 0, as the limit is for positive exponents (and PyTorch's choice).
  pow: ([a, b], value) => [
    f.mul(b, f.pow(a, f.sub(b, one))),
    f.select(f.eq(a, zero), zero, f.mul(value, f.log(a))),
  ],
  // Ties share the gradient equally, as in PyTorch's maximum and minimum.
  max: ([a, b]) => [half(a, b, f.gt(a, b)), half(a, b, f.gt(b, a))],
  min: ([a, b]) => [half(a, b, f.gt(b, a)), half(a, b, f.gt(a, b))],
  gt: () => [zero, zero],
  ge: () => [zero, zero],
  eq: () => [zero, zero],
  neg: () => [constant(-1)],
  exp: (_, value) => [value],
  log: ([a]) => [f.div(one, a)],
  sqrt: (_, value) => [f.div(constant(0.5), value)],
  abs: ([a]) => [f.sign(a)],
  sign: () => [zero],
  tanh: (_, value) => [f.sub(one, f.mul(value, value))],
  sigmoid: (_, value) => [f.mul(value, f.sub(one, value))],
  select: ([condition]) => [zero, condition, f.sub(one, condition)],
}

function half(a: Node, b: Node, wins: Node): Node {
  return f.select(f.eq(a, b), constant(0.5), wins)
}

export interface Expression {
  readonly root: Node
  readonly inputs: number
  readonly scalars: number
  /** Equal for equal expressions: what a backend caches its kernel under. */
  readonly key: string
}

/**
 * Writes an expression of `inputs` tensors and `scalars` numbers.
 *
 * ```ts
 * const axpy = expression(2, 1, ([x, y], [a]) => f.add(f.mul(a, x), y))
 * map(axpy, [x, y], [0.5])
 * ```
 */
export function expression(inputs: number, scalars: number, build: (inputs: Node[], scalars: Node[]) => Node): Expression {
  return finish(build(Array.from({ length: inputs }, (_, i) => input(i)), Array.from({ length: scalars }, (_, i) => scalar(i))), inputs, scalars)
}

function finish(root: Node, inputs: number, scalars: number): Expression {
  return { root, inputs, scalars, key: root.key }
}

/** The nodes of `root` in an order in which arguments come before calls, each once. */
export function topological(root: Node): Node[] {
  const order: Node[] = []
  const seen = new Set<string>()
  const visit = (node: Node): void => {
    if (seen.has(node.key)) return
    seen.add(node.key)
    if (node.kind === 'call') node.args.forEach(visit)
    order.push(node)
  }
  visit(root)
  return order
}

export interface DerivedExpression {
  /** (the inputs named in `uses`, then the cotangent, then the same scalars) → the gradient by one input. */
  readonly expression: Expression
  /** Which of the original inputs it reads. */
  readonly uses: readonly number[]
}

const derivedCache = new WeakMap<Expression, Map<number, DerivedExpression>>()

/** The gradient of `expression` by input `by`, times a cotangent: again an expression. Computed once. */
export function differentiate(source: Expression, by: number): DerivedExpression {
  const cached = derivedCache.get(source) ?? new Map<number, DerivedExpression>()
  derivedCache.set(source, cached)
  const known = cached.get(by)
  if (known) return known
  if (by >= source.inputs) throw new TweedieError('option', `differentiate: the expression has ${source.inputs} inputs, not ${by + 1}.`)
  const adjoints = new Map<string, Node>([[source.root.key, input(source.inputs)]])
  for (const node of topological(source.root).reverse()) {
    const adjoint = adjoints.get(node.key)
    if (!adjoint || node.kind !== 'call') continue
    derivatives[node.name](node.args, node).forEach((partial, i) => {
      const { key } = node.args[i]
      // select(c, adjoint, 0) and not adjoint * c: where the branch was not taken, an infinite cotangent must not become NaN.
      const part =
        node.name === 'select' && i > 0
          ? i === 1 ? f.select(node.args[0], adjoint, zero) : f.select(node.args[0], zero, adjoint)
          : f.mul(adjoint, partial)
      adjoints.set(key, f.add(adjoints.get(key) ?? zero, part))
    })
  }
  const raw = adjoints.get(input(by).key) ?? zero
  const uses = [...new Set(topological(raw).flatMap((n) => (n.kind === 'input' && n.index < source.inputs ? [n.index] : [])))].sort((a, b) => a - b)
  const renumbered = renumber(raw, (index) => (index === source.inputs ? uses.length : uses.indexOf(index)))
  const derived = { expression: finish(renumbered, uses.length + 1, source.scalars), uses }
  cached.set(by, derived)
  return derived
}

function renumber(root: Node, to: (index: number) => number): Node {
  const done = new Map<string, Node>()
  for (const node of topological(root)) {
    done.set(node.key, node.kind === 'input' ? input(to(node.index)) : node.kind === 'call'
      ? call(node.name, ...node.args.map((arg) => done.get(arg.key) as Node)) : node)
  }
  return done.get(root.key) as Node
}
