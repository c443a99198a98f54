import { describe, expect, test } from 'vitest'
import * as t from '../src/tensor/index.ts'
import { at, checkOp, deviceTest, eachIndex, expectClose, host, numbers, size, type Host, type Input } from './op.ts'

const broadcast = (shape: readonly number[], f: (...values: number[]) => number) => (...inputs: Host[]): Host => {
  const out = host(shape)
  eachIndex(shape, (index, flat) => (out.data[flat] = f(...inputs.map((x) => x.data[at(x.shape, index)]))))
  return out
}

const positive = (shape: readonly number[], seed: number, low = 0.5): Input => ({ shape, values: numbers(size(shape), seed).map((v) => low + Math.abs(v)) })
/** Values that stay away from 0 and from each other, for functions with a kink. */
const apart = (shape: readonly number[], seed: number): Input => ({ shape, values: numbers(size(shape), seed).map((v) => (v < 0 ? v - 0.1 : v + 0.1)) })

describe('arithmetic with broadcasting', () => {
  const shapes = [
    [[7], [7]],
    [[2, 3, 5, 7], [1, 3, 1, 1]],
    [[2, 3, 4, 8], [3, 1, 1]],
    [[3, 1, 4], [2, 1, 5, 4]],
    [[2, 3], []],
    [[5, 1], [1, 8]],
  ] as const
  const broadcastShape = (a: readonly number[], b: readonly number[]): number[] => {
    const rank = Math.max(a.length, b.length)
    return Array.from({ length: rank }, (_, i) => Math.max(a[a.length - rank + i] ?? 1, b[b.length - rank + i] ?? 1))
  }
  for (const [a, b] of shapes) {
    const out = broadcastShape(a, b)
    test(`[${a}] and [${b}]`, async () => {
      await checkOp('add', { inputs: [a, b], op: t.add, reference: broadcast(out, (x, y) => x + y) })
      await checkOp('sub', { inputs: [a, b], op: t.sub, reference: broadcast(out, (x, y) => x - y) })
      await checkOp('mul', { inputs: [a, b], op: t.mul, reference: broadcast(out, (x, y) => x * y) })
      await checkOp('div', { inputs: [a, positive(b, 3)], op: t.div, reference: broadcast(out, (x, y) => x / y) })
      await checkOp('maximum', { inputs: [apart(a, 4), apart(b, 9)], op: t.maximum, reference: broadcast(out, Math.max), midGraph: false })
      await checkOp('minimum', { inputs: [apart(a, 4), apart(b, 9)], op: t.minimum, reference: broadcast(out, Math.min), midGraph: false })
    })
  }
  test('comparisons give 1 and 0', async () => {
    const [a, b] = [{ shape: [9], values: [-1, 0, 1, 2, 3, -2, 0, 5, 1e4] }, { shape: [9], values: [0, 0, 0, 2, 2, -1, -0, 6, 1e4] }]
    await checkOp('greater', { inputs: [a, b], op: t.greater, reference: broadcast([9], (x, y) => (x > y ? 1 : 0)), differentiate: [] })
    await checkOp('greaterEqual', { inputs: [a, b], op: t.greaterEqual, reference: broadcast([9], (x, y) => (x >= y ? 1 : 0)), differentiate: [] })
    await checkOp('equal', { inputs: [a, b], op: t.equal, reference: broadcast([9], (x, y) => (x === y ? 1 : 0)), differentiate: [] })
  })
  deviceTest('a comparison passes no gradient', async (device) => {
    using x = device.tensor([1, 2])
    const { value, gradients } = t.grad(() => t.greater(x, 1.5), [x])
    expect([...await gradients[0].read()]).toEqual([0, 0])
    value.dispose()
    gradients[0].dispose()
  })
  deviceTest('shapes that do not fit are a typed error', async (device) => {
    using a = device.tensor([1, 2, 3])
    using b = device.tensor([1, 2])
    expect(() => t.add(a, b)).toThrowError(/expected shapes that broadcast, found \[3\] and \[2\]/)
  })
})

describe('functions', () => {
  const shape = [3, 17]
  const unary: [string, (x: t.Tensor) => t.Tensor, (x: number) => number, Input | readonly number[], { large?: boolean; tolerance?: number }?][] = [
    ['exp', t.exp, Math.exp, shape, { large: false }],
    ['log', t.log, Math.log, positive(shape, 1)],
    ['sqrt', t.sqrt, Math.sqrt, positive(shape, 2)],
    ['square', t.square, (x) => x * x, shape],
    ['abs', t.abs, Math.abs, apart(shape, 3)],
    ['neg', t.neg, (x) => -x, shape],
    // Built on exp in WGSL: absolute error, so near 0 a few more bits are lost than in exp itself.
    ['tanh', t.tanh, Math.tanh, shape, { tolerance: 1e-5 }],
    ['sigmoid', t.sigmoid, (x) => 1 / (1 + Math.exp(-x)), shape],
    ['silu', t.silu, (x) => x / (1 + Math.exp(-x)), shape],
    ['relu', t.relu, (x) => Math.max(x, 0), apart(shape, 5)],
    ['clamp', (x) => t.clamp(x, -0.5, 0.25), (x) => Math.min(Math.max(x, -0.5), 0.25), apart(shape, 6)],
    ['pow 2', (x) => t.pow(x, 2), (x) => x * x, shape],
    ['pow 3', (x) => t.pow(x, 3), (x) => x ** 3, shape],
    // pow is exp2(y log2 x) in WGSL; log2's error is multiplied by y and by log2 of the result.
    ['pow 5 of negatives', (x) => t.pow(x, 5), (x) => x ** 5, apart(shape, 7), { tolerance: 1e-4, large: false }],
    ['pow 0.5', (x) => t.pow(x, 0.5), Math.sqrt, positive(shape, 8)],
    ['pow 1.7', (x) => t.pow(x, 1.7), (x) => x ** 1.7, positive(shape, 9), { tolerance: 1e-4 }],
  ]
  for (const [name, op, reference, input, options] of unary) {
    test(name, () => checkOp(name, { inputs: [input], op, reference: broadcast(shape, reference), ...options }))
  }
  test('pow with a tensor for an exponent', () =>
    checkOp('pow', { inputs: [positive([4, 5], 1), [4, 5]], op: t.pow, reference: broadcast([4, 5], Math.pow), tolerance: 1e-5, large: false }))
  test('select', () => {
    const condition: Input = { shape: [4, 5], values: numbers(20, 5).map((v) => (v > 0 ? 1 : 0)), scaled: false }
    return checkOp('select', { inputs: [condition, [4, 5], [4, 5]], differentiate: [1, 2], op: t.select, reference: broadcast([4, 5], (c, a, b) => (c ? a : b)) })
  })
  test('a fused expression of five inputs, with scalars', () => {
    const fused = t.expression(5, 2, ([a, b, c, d, e], [s, u]) => t.f.add(t.f.mul(t.f.mul(s, a), t.f.sigmoid(b)), t.f.sub(t.f.mul(c, d), t.f.mul(u, t.f.exp(e)))))
    const shapes = [[2, 3, 4], [3, 1], [1], [2, 1, 4], [2, 3, 4]]
    return checkOp('fused', { inputs: shapes, op: (...x) => t.map(fused, x, [0.5, -2]), large: false,
      reference: broadcast([2, 3, 4], (a, b, c, d, e) => 0.5 * a / (1 + Math.exp(-b)) + c * d + 2 * Math.exp(e)) })
  })
  deviceTest('extremes: no NaN where mathematics has a number', async (device) => {
    using x = device.tensor([-1e4, -100, -0, 0, 100, 1e4])
    const read = async (op: (x: t.Tensor) => t.Tensor): Promise<number[]> => { using y = op(x); return [...await y.read()] }
    expectClose(await read(t.sigmoid), [0, 0, 0.5, 0.5, 1, 1], 1e-6, 'sigmoid')
    expectClose(await read(t.tanh), [-1, -1, 0, 0, 1, 1], 1e-6, 'tanh')
    expectClose(await read(t.silu), [0, 0, 0, 0, 100, 1e4], 1e-6, 'silu')
    expectClose(await read((v) => t.pow(v, 0)), [1, 1, 1, 1, 1, 1], 0, 'pow 0')
    const { value, gradients } = device.scope(() => t.grad(() => t.relu(x), [x]))
    expect([...await gradients[0].read()]).toEqual([0, 0, 0, 0, 1, 1])
    value.dispose(); gradients[0].dispose()
  })
})

deviceTest('whole numbers are broadcast too', async (device) => {
  using x = device.tensor(numbers(16, 1), [2, 8])
  for (const dtype of ['i32', 'u32'] as const) {
    using single = device.tensor([3], [1], dtype)
    using column = device.tensor([3, 5], [2, 1], dtype)
    for (const [whole, at] of [[single, () => 3], [column, (i: number) => (i < 8 ? 3 : 5)]] as const) {
      using y = t.mul(x, whole as t.AnyTensor as t.Tensor)
      expectClose(await y.read(), numbers(16, 1).map((v, i) => v * at(i)), 1e-7, dtype)
    }
  }
})

describe('reductions', () => {
  const cases: [readonly number[], number[]][] = [[[3, 5, 7], [0]], [[3, 5, 7], [1]], [[3, 5, 7], [2]], [[3, 5, 7], [0, 2]], [[2, 3, 4, 5], [0, 2, 3]], [[1000], [0]], [[9000, 2], [1]], [[2, 70, 3], [1]]]
  const reduced = (shape: readonly number[], axes: number[], start: number, f: (a: number, b: number) => number) => (x: Host): Host => {
    const keep = shape.map((n, i) => (axes.includes(i) ? 1 : n))
    const out = host(keep, new Float64Array(size(keep)).fill(start))
    eachIndex(shape, (index, flat) => { const to = at(keep, index); out.data[to] = f(out.data[to], x.data[flat]) })
    return { shape: shape.filter((_, i) => !axes.includes(i)), data: out.data }
  }
  for (const [shape, axes] of cases) {
    const count = axes.reduce((n, a) => n * shape[a], 1)
    test(`[${shape}] along ${axes}`, async () => {
      // n additions of f32 in a row: n/2 roundings of 6e-8 of a partial sum that can exceed the total.
      await checkOp('sum', { inputs: [shape], op: (x) => t.sum(x, { axes }), reference: reduced(shape, axes, 0, (a, b) => a + b), tolerance: 1e-6 + count * 6e-8 })
      await checkOp('mean', { inputs: [shape], op: (x) => t.mean(x, { axes }), reference: (x) => { const r = reduced(shape, axes, 0, (a, b) => a + b)(x); return { shape: r.shape, data: r.data.map((v) => v / count) } }, tolerance: 1e-6 + count * 6e-8 })
      await checkOp('max', { inputs: [shape], op: (x) => t.max(x, { axes }), reference: reduced(shape, axes, -Infinity, Math.max) })
    })
  }
})
