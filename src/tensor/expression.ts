/**
 * A small language for elementwise arithmetic. An {@link Expression} is written once, as a function of its inputs and
 * of scalars that may change from call to call; each backend turns it into one kernel that passes over memory once,
 * however long it is, and its gradient is found by differentiating it, which again gives one kernel per input. So
 * `silu`, a broadcast multiply-add and a whole sampler step are the same op: `map`.
 *
 * Nodes are interned: equal subexpressions are the same object, equal expressions are too. So a renderer names each
 * value once, an expression's size is its number of distinct nodes (twenty nested squares are 21), and its key is a
 * short number, however long it is.
 *
 * What was made once is kept for good, as a device keeps its kernel, which is larger by far. (Tables of weak references
 * would give an expression that is written anew in a loop another number after each collection, and with it a kernel.)
 * A number that changes from call to call belongs in a scalar: written into the expression it is a part of the kernel.
 */
import { TweedieError, unexpected } from '../errors.ts'

/** Every function of the language with its number of arguments. Comparisons give 1 or 0. */
export const functions = {
  add: 2,
  sub: 2,
  mul: 2,
  div: 2,
  pow: 2,
  max: 2,
  min: 2,
  gt: 2,
  ge: 2,
  eq: 2,
  neg: 1,
  exp: 1,
  log: 1,
  sqrt: 1,
  abs: 1,
  sign: 1,
  tanh: 1,
  sigmoid: 1,
  erf: 1,
  /** select(condition, then, otherwise): `then` where the condition is not 0. */
  select: 3,
} as const

/** A function of the language, as {@link f} has it. */
export type FunctionName = keyof typeof functions

/** A value of the language. `id` is its number: equal nodes have the same, and no other node ever gets it. */
export type Node = { readonly id: number } & (
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'scalar'; readonly index: number }
  | { readonly kind: 'input'; readonly index: number }
  | { readonly kind: 'call'; readonly name: FunctionName; readonly args: readonly Node[] }
)

/** Every node by what it is; calls by the ids of their arguments. */
const nodes = new Map<string, Node>()
/** The same nodes, to tell them from objects of another origin: another copy of this library counts from 0 again. */
const known = new Set<unknown>()

function intern(key: string, make: (id: number) => Node): Node {
  let node = nodes.get(key)
  if (!node) {
    node = Object.freeze(make(nodes.size))
    nodes.set(key, node)
    known.add(node)
  }
  return node
}

/**
 * A number as a node. Kernels compute in float32, so it is rounded to that here: 0.1 and Math.fround(0.1) are one node.
 */
export function constant(number: number): Node {
  const value = Math.fround(number)
  return intern(`c${Object.is(value, -0) ? '-0' : value}`, (id) => ({ id, kind: 'constant', value }))
}

const scalar = (index: number): Node => intern(`s${index}`, (id) => ({ id, kind: 'scalar', index }))
const input = (index: number): Node => intern(`x${index}`, (id) => ({ id, kind: 'input', index }))

const isConstant = (node: Node, value: number): boolean => node.kind === 'constant' && Object.is(node.value, value)

/** What a function of the language takes: a node, or a number for a {@link constant}. */
export type Argument = Node | number

function nodeOf(user: string, value: Argument): Node {
  if (typeof value === 'number') return constant(value)
  if (!known.has(value))
    throw unexpected(user, 'a number, or a node that f, constant or expression of this copy of the library made', value)
  return value
}

/** Builds a call. What changes no bit is dropped: differentiation leaves products with 1 in heaps. */
function call(name: FunctionName, ...given: Argument[]): Node {
  const args = given.map((value) => nodeOf(`f.${name}`, value))
  const [a, b, c] = args
  if (name === 'mul') {
    if (isConstant(a, 1)) return b
    if (isConstant(b, 1)) return a
  }
  if (name === 'div' && isConstant(b, 1)) return a
  if (name === 'neg' && a.kind === 'constant') return constant(-a.value)
  if (name === 'select' && b === c) return b
  return intern(`${name} ${args.map(({ id }) => id).join(' ')}`, (id) => ({
    id,
    kind: 'call',
    name,
    args: Object.freeze(args),
  }))
}

/**
 * The functions of the language. Each takes nodes and numbers, and gives a node; comparisons give 1 or 0.
 * On the CPU a written number computes the same bits as a scalar; the drivers of GPUs may sum in another order where
 * they see a number, and take 0 x for 0 where x is NaN.
 *
 * ```ts
 * const softsign = expression(1, 0, ([x]) => f.div(x, f.add(1, f.abs(x))))
 * ```
 * @throws TweedieError 'option' for an argument that is neither
 */
export const f = {
  add: (a: Argument, b: Argument) => call('add', a, b),
  sub: (a: Argument, b: Argument) => call('sub', a, b),
  mul: (a: Argument, b: Argument) => call('mul', a, b),
  div: (a: Argument, b: Argument) => call('div', a, b),
  /** a^b. A negative base with a whole exponent is as in JavaScript; with any other it is NaN. */
  pow: (a: Argument, b: Argument) => call('pow', a, b),
  max: (a: Argument, b: Argument) => call('max', a, b),
  min: (a: Argument, b: Argument) => call('min', a, b),
  /** 1 where a > b, else 0. */
  gt: (a: Argument, b: Argument) => call('gt', a, b),
  /** 1 where a ≥ b, else 0. */
  ge: (a: Argument, b: Argument) => call('ge', a, b),
  /** 1 where a = b, else 0. */
  eq: (a: Argument, b: Argument) => call('eq', a, b),
  neg: (a: Argument) => call('neg', a),
  exp: (a: Argument) => call('exp', a),
  log: (a: Argument) => call('log', a),
  sqrt: (a: Argument) => call('sqrt', a),
  abs: (a: Argument) => call('abs', a),
  /** -1, 0 or 1. */
  sign: (a: Argument) => call('sign', a),
  tanh: (a: Argument) => call('tanh', a),
  sigmoid: (a: Argument) => call('sigmoid', a),
  /** The error function, 2/√π ∫ exp(-t²) dt from 0 to a. */
  erf: (a: Argument) => call('erf', a),
  /** `then` where `condition` is not 0. */
  select: (condition: Argument, then: Argument, otherwise: Argument) => call('select', condition, then, otherwise),
} as const

/** A rule for each function: the derivatives by its arguments, given the arguments and the value itself. */
type DerivativeRule = (args: readonly Node[], value: Node) => readonly Argument[]

const derivatives: { readonly [K in FunctionName]: DerivativeRule } = {
  add: () => [1, 1],
  sub: () => [1, -1],
  mul: ([a, b]) => [b, a],
  div: ([, b], value) => [f.div(1, b), f.neg(f.div(value, b))],
  // At a = 0 the derivative by the exponent is 0, as the limit is for positive exponents (and PyTorch's choice).
  pow: ([a, b], value) => [f.mul(b, f.pow(a, f.sub(b, 1))), f.select(f.eq(a, 0), 0, f.mul(value, f.log(a)))],
  // Ties share the gradient equally, as in PyTorch's maximum and minimum.
  max: ([a, b]) => [half(a, b, f.gt(a, b)), half(a, b, f.gt(b, a))],
  min: ([a, b]) => [half(a, b, f.gt(b, a)), half(a, b, f.gt(a, b))],
  gt: () => [0, 0],
  ge: () => [0, 0],
  eq: () => [0, 0],
  neg: () => [-1],
  exp: (_, value) => [value],
  log: ([a]) => [f.div(1, a)],
  sqrt: (_, value) => [f.div(0.5, value)],
  abs: ([a]) => [f.sign(a)],
  sign: () => [0],
  tanh: (_, value) => [f.sub(1, f.mul(value, value))],
  sigmoid: (_, value) => [f.mul(value, f.sub(1, value))],
  erf: ([a]) => [f.mul(2 / Math.sqrt(Math.PI), f.exp(f.neg(f.mul(a, a))))],
  select: ([condition]) => [0, condition, f.sub(1, condition)],
}

function half(a: Node, b: Node, wins: Node): Node {
  return f.select(f.eq(a, b), 0.5, wins)
}

/**
 * An elementwise formula of so many inputs and scalars, made by {@link expression} and evaluated by `map`. Equal ones
 * are one object; its gradient is found by differentiating it.
 */
export interface Expression {
  /** The value. */
  readonly root: Node
  /** How many tensors it takes. */
  readonly inputs: number
  /** How many numbers it takes. */
  readonly scalars: number
  /** Equal for equal expressions, which are one object: what a backend caches its kernel under. */
  readonly key: string
}

/** Every expression by its key. */
const expressions = new Map<string, Expression>()

/**
 * Writes an expression of `inputs` tensors and `scalars` numbers. The numbers are given anew at each call and compile
 * nothing; a number written into the expression is a part of its kernel.
 *
 * ```ts
 * const axpy = expression(2, 1, ([x, y], [a]) => f.add(f.mul(a, x), y))
 * map(axpy, [x, y], [0.5])
 * ```
 * @throws TweedieError 'option' if it reads an input or a scalar that it does not take
 */
export function expression(
  inputs: number,
  scalars: number,
  build: (inputs: Node[], scalars: Node[]) => Argument,
): Expression {
  return finish(
    build(
      Array.from({ length: inputs }, (_, i) => input(i)),
      Array.from({ length: scalars }, (_, i) => scalar(i)),
    ),
    inputs,
    scalars,
  )
}

function finish(built: Argument, inputs: number, scalars: number): Expression {
  const root = nodeOf('expression', built)
  const key = `${root.id}(${inputs},${scalars})`
  const made = expressions.get(key)
  if (made) return made
  for (const node of topological(root)) {
    if (node.kind === 'input' && node.index >= inputs)
      throw new TweedieError('option', `expression: it reads input ${node.index + 1} and takes ${inputs}.`)
    if (node.kind === 'scalar' && node.index >= scalars)
      throw new TweedieError('option', `expression: it reads scalar ${node.index + 1} and takes ${scalars}.`)
  }
  const finished = Object.freeze({ root, inputs, scalars, key })
  expressions.set(key, finished)
  return finished
}

/** Whether {@link expression} of this copy of the library made it: the keys of another mean other kernels. */
export const isExpression = (value: Expression): boolean =>
  value instanceof Object && expressions.get(value.key) === value

/** The nodes of `root` in an order in which arguments come before calls, each once. */
export function topological(root: Node): Node[] {
  const order = new Set<Node>()
  const visit = (node: Node): void => {
    if (order.has(node)) return
    if (node.kind === 'call') node.args.forEach(visit)
    order.add(node)
  }
  visit(root)
  return [...order]
}

/** The derivative of an expression by one input; see {@link differentiate}. */
export interface DerivedExpression {
  /** (the inputs named in `uses`, then the cotangent, then the same scalars) → the gradient by one input. */
  readonly expression: Expression
  /** Which of the original inputs it reads. */
  readonly uses: readonly number[]
}

const derivedBy = new WeakMap<Expression, Map<number, DerivedExpression>>()

/**
 * The gradient of `expression` by input `by`, times a cotangent: again an expression. Found once for equal expressions.
 */
export function differentiate(source: Expression, by: number): DerivedExpression {
  const found = derivedBy.get(source) ?? new Map<number, DerivedExpression>()
  derivedBy.set(source, found)
  const known = found.get(by)
  if (known) return known
  if (by >= source.inputs)
    throw new TweedieError('option', `differentiate: the expression has ${source.inputs} inputs, not ${by + 1}.`)
  const adjoints = new Map<Node, Node>([[source.root, input(source.inputs)]])
  for (const node of topological(source.root).reverse()) {
    const adjoint = adjoints.get(node)
    if (!adjoint || node.kind !== 'call') continue
    derivatives[node.name](node.args, node).forEach((partial, i) => {
      const arg = node.args[i]
      // Nothing is added where a rule says 0: 0 times a cotangent that is not finite is NaN.
      if (partial === 0 || arg.kind === 'constant' || arg.kind === 'scalar') return
      // Where the branch was not taken, an infinite cotangent must not become NaN.
      const part =
        node.name !== 'select'
          ? f.mul(adjoint, partial)
          : i === 1
            ? f.select(node.args[0], adjoint, 0)
            : f.select(node.args[0], 0, adjoint)
      const others = adjoints.get(arg)
      adjoints.set(arg, others ? f.add(others, part) : part)
    })
  }
  const raw = adjoints.get(input(by)) ?? constant(0)
  const uses = [
    ...new Set(topological(raw).flatMap((n) => (n.kind === 'input' && n.index < source.inputs ? [n.index] : []))),
  ].sort((a, b) => a - b)
  const renumbered = renumber(raw, (index) => (index === source.inputs ? uses.length : uses.indexOf(index)))
  const derived = { expression: finish(renumbered, uses.length + 1, source.scalars), uses }
  found.set(by, derived)
  return derived
}

function renumber(root: Node, to: (index: number) => number): Node {
  const done = new Map<Node, Node>()
  for (const node of topological(root)) {
    done.set(
      node,
      node.kind === 'input'
        ? input(to(node.index))
        : node.kind === 'call'
          ? call(node.name, ...node.args.map((arg) => done.get(arg) as Node))
          : node,
    )
  }
  return done.get(root) as Node
}
