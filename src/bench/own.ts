/**
 * A kernel of the user's in the place of one of ours: run on odd and even shapes first, over an output of NaN, and held
 * against sums in double precision at every element; then it is a row beside ours.
 *
 * The contract: entry point `main`; group 0 has at binding 0 the uniform of sixteen i32
 *
 *     struct Params { n: i32, cin: i32, h: i32, w: i32, cout: i32, ho: i32, wo: i32, kh: i32, kw: i32,
 *                     stride: i32, padY: i32, padX: i32, wOut: i32, wIn: i32, wTap0: i32, wTapStep: i32 }
 *
 * of which ho = h and wo = w, stride 1; then as `array<f32>` x [n, cin, h, w] and weight [cout, cin, kh, kw], both
 * `read`, and y [n, cout, h, w], `read_write`, at bindings 1 to 3. A tensor's buffer may be longer than its elements.
 */
import { TweedieError } from '../errors.ts'
import { convWords } from '../shaders/conv2d-shape.ts'
import type { Device, Tensor } from '../tensor/index.ts'
import { hash } from './formula.ts'
import { convolved } from './reference.ts'
import type { ConvolutionShape } from './shapes.ts'

/** What a kernel can stand for. */
export const ownKinds = ['conv2d-3x3', 'conv2d-1x1'] as const
export type OwnKind = (typeof ownKinds)[number]

/** A kernel of the user's. */
export interface OwnKernel {
  /** As rows call it. */
  readonly name: string
  readonly wgsl: string
  readonly as: OwnKind
  /** Workgroups along x, y and z, for a shape. */
  readonly grid: (shape: ConvolutionShape) => readonly number[]
}

/** Side of the convolution that it computes. */
export const sideOf = (as: OwnKind): number => (as === 'conv2d-3x3' ? 3 : 1)

/** Enqueues it. `into`: the tensor that is written, else a new one. */
export function runOwn(
  device: Device,
  { name, wgsl, grid }: OwnKernel,
  s: ConvolutionShape,
  [x, weight]: readonly Tensor[],
  into?: Tensor,
): Tensor {
  const { n, cin, cout, h, w, k } = s
  const words = convWords({ n, cin, h, w, cout, kh: k, kw: k, stride: 1, pad: (k - 1) / 2, ho: h, wo: w })
  const outputs = [into ?? [n, cout, h, w]]
  const uniforms = Int32Array.from(words)
  return device.kernel({ name, wgsl, inputs: [x, weight], outputs, workgroups: grid(s), uniforms })[0] as Tensor
}

/** Shapes that are odd, even, of one element, and larger than a tile of 64. */
const checked: readonly (readonly [n: number, cin: number, cout: number, h: number, w: number])[] = [
  [1, 1, 1, 1, 1],
  [2, 7, 11, 9, 13],
  [1, 16, 64, 8, 8],
  [1, 33, 70, 17, 6],
  [3, 4, 2, 5, 4],
]

/**
 * Throws for a kernel that computes something else.
 * @throws TweedieError 'option' with the first element that differs, or that nobody wrote, or with the line that does
 *   not compile; 'unsupported' on the CPU backend
 */
export async function checkOwn(device: Device, kernel: OwnKernel, signal?: AbortSignal): Promise<void> {
  const k = sideOf(kernel.as)
  for (const [n, cin, cout, h, w] of checked) {
    signal?.throwIfAborted()
    const s = { n, cin, cout, h, w, k }
    const [x, weight] = [hash(n * cin * h * w, 0, 3, 1), hash(cout * cin * k * k, 1, 3, 1)]
    using xs = device.tensor(x, [n, cin, h, w])
    using weights = device.tensor(weight, [cout, cin, k, k])
    using y = device.tensor(new Float32Array(n * cout * h * w).fill(Number.NaN), [n, cout, h, w])
    const found = await readOwn(device, kernel, s, [xs, weights], y)
    const exact = convolved(s, x, weight)
    for (const [i, value] of found.entries()) {
      const want = exact(i)
      if (Math.abs(value - want.value) <= 1e-5 * want.scale + 1e-30) continue
      const place = `y[${Math.floor(i / (cout * h * w))}, ${Math.floor(i / (h * w)) % cout}, ${
        Math.floor(i / w) % h
      }, ${i % w}]`
      throw new TweedieError(
        'option',
        `${kernel.name}: for x [${n}, ${cin}, ${h}, ${w}] and ${cout} channels out, ${place} is ` +
          `${Number.isNaN(value) ? 'not written, or NaN' : value}, expected ${want.value.toPrecision(8)}.`,
      )
    }
  }
}

/** Its result. What does not compile is the user's, and no defect of ours. */
async function readOwn(
  device: Device,
  kernel: OwnKernel,
  s: ConvolutionShape,
  inputs: readonly Tensor[],
  y: Tensor,
): Promise<Float32Array> {
  try {
    runOwn(device, kernel, s, inputs, y)
    return await y.read()
  } catch (error) {
    if (!(error instanceof TweedieError) || error.code !== 'shader-compile') throw error
    throw new TweedieError('option', error.message, { cause: error })
  }
}

/**
 * A grid from text, as in `ceil(px/64),ceil(cout/64),1`: one to three terms of numbers, + - * / and brackets, `ceil`,
 * `floor`, `min`, `max`, and the shape's n, cin, cout, h, w and px = n h w.
 * @throws TweedieError 'option' for anything else
 */
export function gridOf(text: string): OwnKernel['grid'] {
  const terms = parse(text)
  if (terms.length < 1 || terms.length > 3) throw gridError(text, `${terms.length} terms`)
  return ({ n, cin, cout, h, w }) => terms.map((term) => term({ n, cin, cout, h, w, px: n * h * w }))
}

type Term = (values: Readonly<Record<string, number>>) => number

const gridError = (text: string, found: string): TweedieError =>
  new TweedieError(
    'option',
    `A grid is one to three terms of n, cin, cout, h, w, px, numbers, + - * /, ceil, floor, min and max, as in ` +
      `ceil(px/64),ceil(cout/64),1; found ${found} in "${text}".`,
  )

const calls: Readonly<Record<string, (...values: number[]) => number>> = {
  ceil: Math.ceil,
  floor: Math.floor,
  min: Math.min,
  max: Math.max,
}

function parse(text: string): Term[] {
  const tokens = text.match(/\d+(?:\.\d+)?|\w+|[^\s\w]/g) ?? []
  let at = 0
  const expect = (token: string): void => {
    if (tokens[at++] !== token) throw gridError(text, tokens[at - 1] === undefined ? 'the end' : `"${tokens[at - 1]}"`)
  }
  const list = (): Term[] => {
    const found = [sum()]
    while (tokens[at] === ',') {
      at++
      found.push(sum())
    }
    return found
  }
  const chain = (next: () => Term, one: string, other: string, join: (o: string, a: number, b: number) => number) => {
    let left = next()
    while (tokens[at] === one || tokens[at] === other) {
      const [operator, before] = [tokens[at++], left]
      const right = next()
      left = (values) => join(operator, before(values), right(values))
    }
    return left
  }
  const sum = (): Term => chain(factor, '+', '-', (o, a, b) => (o === '+' ? a + b : a - b))
  const factor = (): Term => chain(atom, '*', '/', (o, a, b) => (o === '*' ? a * b : a / b))
  const atom = (): Term => {
    const token = tokens[at++] ?? ''
    if (/^\d/.test(token)) return () => Number(token)
    if (token === '(') {
      const inner = sum()
      expect(')')
      return inner
    }
    if (Object.hasOwn(calls, token)) {
      expect('(')
      const given = list()
      expect(')')
      return (values) => calls[token](...given.map((term) => term(values)))
    }
    if (!['n', 'cin', 'cout', 'h', 'w', 'px'].includes(token)) throw gridError(text, token ? `"${token}"` : 'the end')
    return (values) => values[token]
  }
  const terms = list()
  if (at < tokens.length) throw gridError(text, `"${tokens[at]}"`)
  return terms
}
