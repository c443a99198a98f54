import { describe, expect, test } from 'vitest'
import { differentiate, topological } from '../src/tensor/expression.ts'
import * as t from '../src/tensor/index.ts'
import { erf } from './erf.ts'
import {
  at,
  checkOp,
  cpuBackends,
  deviceTest,
  eachIndex,
  expectClose,
  host,
  numbers,
  size,
  type Host,
  type Input,
} from './op.ts'

const broadcast =
  (shape: readonly number[], f: (...values: number[]) => number) =>
  (...inputs: Host[]): Host => {
    const out = host(shape)
    eachIndex(shape, (index, flat) => (out.data[flat] = f(...inputs.map((x) => x.data[at(x.shape, index)]))))
    return out
  }

const positive = (shape: readonly number[], seed: number, low = 0.5): Input => ({
  shape,
  values: numbers(size(shape), seed).map((v) => low + Math.abs(v)),
})
/** Values that stay away from 0 and from each other, for functions with a kink. */
const apart = (shape: readonly number[], seed: number): Input => ({
  shape,
  values: numbers(size(shape), seed).map((v) => (v < 0 ? v - 0.1 : v + 0.1)),
})

describe('arithmetic with broadcasting', () => {
  const shapes = [
    [[7], [7]],
    [
      [2, 3, 5, 7],
      [1, 3, 1, 1],
    ],
    [
      [2, 3, 4, 8],
      [3, 1, 1],
    ],
    [
      [3, 1, 4],
      [2, 1, 5, 4],
    ],
    [[2, 3], []],
    [
      [5, 1],
      [1, 8],
    ],
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
      await checkOp('maximum', {
        inputs: [apart(a, 4), apart(b, 9)],
        op: t.maximum,
        reference: broadcast(out, Math.max),
        midGraph: false,
      })
      await checkOp('minimum', {
        inputs: [apart(a, 4), apart(b, 9)],
        op: t.minimum,
        reference: broadcast(out, Math.min),
        midGraph: false,
      })
    })
  }
  test('comparisons give 1 and 0', async () => {
    const [a, b] = [
      { shape: [9], values: [-1, 0, 1, 2, 3, -2, 0, 5, 1e4] },
      { shape: [9], values: [0, 0, 0, 2, 2, -1, -0, 6, 1e4] },
    ]
    await checkOp('greater', {
      inputs: [a, b],
      op: t.greater,
      reference: broadcast([9], (x, y) => (x > y ? 1 : 0)),
      differentiate: [],
    })
    await checkOp('greaterEqual', {
      inputs: [a, b],
      op: t.greaterEqual,
      reference: broadcast([9], (x, y) => (x >= y ? 1 : 0)),
      differentiate: [],
    })
    await checkOp('equal', {
      inputs: [a, b],
      op: t.equal,
      reference: broadcast([9], (x, y) => (x === y ? 1 : 0)),
      differentiate: [],
    })
  })
  deviceTest('a comparison passes no gradient', async (device) => {
    using x = device.tensor([1, 2])
    const { value, gradients } = t.grad(() => t.greater(x, 1.5), [x])
    expect([...(await gradients[0].read())]).toEqual([0, 0])
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
  const unary: [
    string,
    (x: t.Tensor) => t.Tensor,
    (x: number) => number,
    Input | readonly number[],
    { large?: boolean; tolerance?: number }?,
  ][] = [
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
    ['erf', t.erf, erf, shape],
    ['gelu', t.gelu, (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)), shape],
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
    checkOp('pow', {
      inputs: [positive([4, 5], 1), [4, 5]],
      op: t.pow,
      reference: broadcast([4, 5], Math.pow),
      tolerance: 1e-5,
      large: false,
    }))
  test('select', () => {
    const condition: Input = { shape: [4, 5], values: numbers(20, 5).map((v) => (v > 0 ? 1 : 0)), scaled: false }
    return checkOp('select', {
      inputs: [condition, [4, 5], [4, 5]],
      differentiate: [1, 2],
      op: t.select,
      reference: broadcast([4, 5], (c, a, b) => (c ? a : b)),
    })
  })
  test('a fused expression of five inputs, with scalars', () => {
    const fused = t.expression(5, 2, ([a, b, c, d, e], [s, u]) =>
      t.f.add(t.f.mul(t.f.mul(s, a), t.f.sigmoid(b)), t.f.sub(t.f.mul(c, d), t.f.mul(u, t.f.exp(e)))),
    )
    const shapes = [[2, 3, 4], [3, 1], [1], [2, 1, 4], [2, 3, 4]]
    return checkOp('fused', {
      inputs: shapes,
      op: (...x) => t.map(fused, x, [0.5, -2]),
      large: false,
      reference: broadcast([2, 3, 4], (a, b, c, d, e) => (0.5 * a) / (1 + Math.exp(-b)) + c * d + 2 * Math.exp(e)),
    })
  })
  deviceTest('GELU is not its tanh form, which differs in the fourth digit', async (device) => {
    const tanhForm = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
    const values = Array.from({ length: 61 }, (_, i) => i / 10 - 3)
    using x = device.tensor(values)
    using y = t.gelu(x)
    const found = await y.read()
    const worst = values.reduce((m, v, i) => Math.max(m, Math.abs(found[i] - tanhForm(v))), 0)
    expect(worst).toBeGreaterThan(4e-4)
    expect(worst).toBeLessThan(5e-4)
  })
  deviceTest('extremes: no NaN where mathematics has a number', async (device) => {
    using x = device.tensor([-1e4, -100, -0, 0, 100, 1e4])
    const read = async (op: (x: t.Tensor) => t.Tensor): Promise<number[]> => {
      using y = op(x)
      return [...(await y.read())]
    }
    expectClose(await read(t.sigmoid), [0, 0, 0.5, 0.5, 1, 1], 1e-6, 'sigmoid')
    expectClose(await read(t.tanh), [-1, -1, 0, 0, 1, 1], 1e-6, 'tanh')
    expectClose(await read(t.silu), [0, 0, 0, 0, 100, 1e4], 1e-6, 'silu')
    expectClose(await read((v) => t.pow(v, 0)), [1, 1, 1, 1, 1, 1], 0, 'pow 0')
    const { value, gradients } = device.scope(() => t.grad(() => t.relu(x), [x]))
    expect([...(await gradients[0].read())]).toEqual([0, 0, 0, 0, 1, 1])
    value.dispose()
    gradients[0].dispose()
  })
})

describe('expressions', () => {
  const { f } = t
  const code = (code: string, message: RegExp) =>
    expect.objectContaining({ code, message: expect.stringMatching(message) })
  const thrown = (action: () => unknown): unknown => {
    try {
      return action()
    } catch (error) {
      return error
    }
  }
  const nest = (x: t.ExpressionNode): t.ExpressionNode =>
    Array.from({ length: 20 }).reduce<t.ExpressionNode>((y) => f.mul(y, y), x)
  const bits = (values: Float32Array): number[] => [...new Uint32Array(values.buffer, values.byteOffset, values.length)]

  test('equal ones are one object, and so are their derivatives', () => {
    const write = (tenth: number) =>
      t.expression(2, 1, ([x], [s]) => f.add(f.mul(s, f.exp(f.mul(x, tenth))), f.exp(f.mul(x, t.constant(0.1)))))
    expect(write(0.1)).toBe(write(Math.fround(0.1)))
    expect(topological(write(0.1).root)).toHaveLength(7)
    expect(write(0.1)).not.toBe(write(0.2))
    expect(t.constant(-0)).not.toBe(t.constant(0))
    expect(t.expression(1, 0, ([x]) => x)).not.toBe(t.expression(2, 0, ([x]) => x))
    expect(differentiate(write(0.1), 0)).toBe(differentiate(write(0.1), 0))
  })
  deviceTest('twenty nested squares are twenty-one nodes, and their gradient not many more', async (device) => {
    const squares = t.expression(1, 0, ([x]) => nest(x))
    expect(topological(squares.root)).toHaveLength(21)
    expect(squares.key.length).toBeLessThan(20)
    // A square's two halves each bring a product and their sum.
    const { expression: derived } = differentiate(squares, 0)
    expect(topological(derived.root).length).toBeLessThanOrEqual(20 * 3 + 2)
    expect(derived.key.length).toBeLessThan(20)
    using x = device.tensor([1, -1, 0.5])
    const { value, gradients } = t.grad(() => t.map(squares, [x]), [x])
    expect([...(await value.read())]).toEqual([1, 1, 0])
    expect([...(await gradients[0].read())]).toEqual([2 ** 20, -(2 ** 20), 0])
    for (const tensor of [value, ...gradients]) tensor.dispose()
  })
  deviceTest('a number written into one is the float32 next to it, to the bit, whatever it is', async (device) => {
    const values = [
      0.1,
      -1 / 3,
      16777217,
      2 ** -126,
      3.4028234e38,
      1e39,
      -0,
      0,
      Infinity,
      -Infinity,
      Math.PI,
      1e-12,
      4294967296.5,
    ]
    using x = device.tensor(numbers(8, 1))
    for (const value of values) {
      using written = t.map(
        t.expression(1, 0, () => value),
        [x],
      )
      using chosen = t.map(
        t.expression(1, 0, ([v]) => f.select(f.ge(f.mul(v, v), 0), value, v)),
        [x],
      )
      for (const found of [written, chosen])
        expect(bits((await found.read()) as Float32Array), `${value}`).toEqual(
          Array(8).fill(bits(Float32Array.of(value))[0]),
        )
    }
    using none = t.map(
      t.expression(1, 0, () => NaN),
      [x],
    )
    expect([...(await none.read())]).toEqual(Array(8).fill(NaN))
    // What a compiler of WGSL would refuse among constants.
    using quotient = t.map(
      t.expression(1, 0, ([v]) => f.add(f.mul(v, 0.5), f.div(1, f.sub(t.constant(2), 2)))),
      [x],
    )
    expect([...(await quotient.read())]).toEqual(Array(8).fill(Infinity))
  })
  deviceTest(
    'numbers written into it and given to it give the same bits; 0 x is NaN where x is',
    async (device) => {
      const write = (x: t.ExpressionNode, [a, b, c]: readonly (t.ExpressionNode | number)[]) =>
        f.sub(f.mul(a, f.exp(f.add(x, b))), f.div(f.mul(x, c), f.sigmoid(f.mul(a, x))))
      const given = [0.1, -1 / 3, 7.3]
      const apply = [t.expression(1, 0, ([x]) => write(x, given)), t.expression(1, 3, ([x], s) => write(x, s))]
      using x = device.tensor(numbers(1000, 1))
      const found = await Promise.all(
        apply.map(async (one) => {
          const { value, gradients } = t.grad(() => t.map(one, [x], one.scalars ? given : []), [x])
          const read = await Promise.all([value, ...gradients].map(async (y) => bits((await y.read()) as Float32Array)))
          for (const y of [value, ...gradients]) y.dispose()
          return read
        }),
      )
      expect(found[0]).toEqual(found[1])
      using broken = device.tensor([NaN, Infinity, 1])
      using zero = t.map(
        t.expression(1, 0, ([v]) => f.mul(0, v)),
        [broken],
      )
      expect([...(await zero.read())]).toEqual([NaN, NaN, 0])
      // Drivers of GPUs may take 0 x for 0, and sum otherwise where they see a number.
    },
    { on: cpuBackends },
  )
  test('what is no part of the language is refused', () => {
    const x = t.expression(1, 0, ([v]) => v).root
    expect(thrown(() => f.add(x, '1' as never))).toEqual(
      code('option', /^f\.add: expected a number, or a node .*, found "?1/),
    )
    expect(thrown(() => f.mul(x, undefined as never))).toEqual(code('option', /^f\.mul: .*found undefined/))
    // As from another copy of the library, whose ids mean other nodes.
    expect(thrown(() => f.neg({ ...x }))).toEqual(code('option', /^f\.neg: .*this copy of the library/))
    expect(thrown(() => t.expression(0, 0, () => x))).toEqual(
      code('option', /^expression: it reads input 1 and takes 0/),
    )
    expect(thrown(() => t.expression(0, 0, () => ({ ...x })))).toEqual(
      code('option', /^expression: .*this copy of the library/),
    )
  })
  deviceTest('map takes no expression of another copy of the library', (device) => {
    using x = device.tensor([1])
    const copy = { ...t.expression(1, 0, ([v]) => f.neg(v)) }
    for (const wrong of [copy, undefined as never])
      expect(thrown(() => t.map(wrong, [x]))).toEqual(
        code('option', /^map: expected an expression that expression\(\) of this copy/),
      )
    return Promise.resolve()
  })
})

deviceTest('whole numbers are broadcast too', async (device) => {
  using x = device.tensor(numbers(16, 1), [2, 8])
  for (const dtype of ['i32', 'u32'] as const) {
    using single = device.tensor([3], [1], dtype)
    using column = device.tensor([3, 5], [2, 1], dtype)
    for (const [whole, at] of [
      [single, () => 3],
      [column, (i: number) => (i < 8 ? 3 : 5)],
    ] as const) {
      using y = t.mul(x, whole as t.AnyTensor as t.Tensor)
      expectClose(
        await y.read(),
        numbers(16, 1).map((v, i) => v * at(i)),
        1e-7,
        dtype,
      )
    }
  }
})

describe('reductions', () => {
  const cases: [readonly number[], number[]][] = [
    [[3, 5, 7], [0]],
    [[3, 5, 7], [1]],
    [[3, 5, 7], [2]],
    [
      [3, 5, 7],
      [0, 2],
    ],
    [
      [2, 3, 4, 5],
      [0, 2, 3],
    ],
    [[1000], [0]],
    [[9000, 2], [1]],
    [[2, 70, 3], [1]],
  ]
  const reduced =
    (shape: readonly number[], axes: number[], start: number, f: (a: number, b: number) => number) =>
    (x: Host): Host => {
      const keep = shape.map((n, i) => (axes.includes(i) ? 1 : n))
      const out = host(keep, new Float64Array(size(keep)).fill(start))
      eachIndex(shape, (index, flat) => {
        const to = at(keep, index)
        out.data[to] = f(out.data[to], x.data[flat])
      })
      return { shape: shape.filter((_, i) => !axes.includes(i)), data: out.data }
    }
  for (const [shape, axes] of cases) {
    const count = axes.reduce((n, a) => n * shape[a], 1)
    test(`[${shape}] along ${axes}`, async () => {
      // n additions of f32 in a row: n/2 roundings of 6e-8 of a partial sum that can exceed the total.
      await checkOp('sum', {
        inputs: [shape],
        op: (x) => t.sum(x, { axes }),
        reference: reduced(shape, axes, 0, (a, b) => a + b),
        tolerance: 1e-6 + count * 6e-8,
      })
      await checkOp('mean', {
        inputs: [shape],
        op: (x) => t.mean(x, { axes }),
        reference: (x) => {
          const r = reduced(shape, axes, 0, (a, b) => a + b)(x)
          return { shape: r.shape, data: r.data.map((v) => v / count) }
        },
        tolerance: 1e-6 + count * 6e-8,
      })
      await checkOp('max', {
        inputs: [shape],
        op: (x) => t.max(x, { axes }),
        reference: reduced(shape, axes, -Infinity, Math.max),
      })
    })
  }
})
