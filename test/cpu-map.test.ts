/**
 * Elementwise kernels of the CPU backend: what can go wrong because they are compiled at run time and walk memory in
 * rows, pieces and chunks. The op tests hold the same ops against references on every backend.
 */
import { afterAll, describe, expect, test } from 'vitest'
import { mapModule } from '../src/tensor/cpu/emit/map.ts'
import { functions, type FunctionName } from '../src/tensor/expression.ts'
import * as t from '../src/tensor/index.ts'
import { erf } from './erf.ts'
import { cpuBackends, numbers, size, testDevice } from './op.ts'

const devices = new Map<number, Promise<t.Device>>()
const deviceOf = (threads: number): Promise<t.Device> => {
  const device = devices.get(threads) ?? t.Device.request({ backend: 'cpu', threads })
  devices.set(threads, device)
  return device
}
afterAll(async () => {
  for (const device of devices.values()) (await device).dispose()
})

/** Every 8191st float: all magnitudes of both signs, denormals and NaN; and the ends of the number line. */
const everywhere = new Float32Array(Uint32Array.from({ length: 524352 }, (_, i) => i * 8191).buffer)
everywhere.set([Infinity, -Infinity, 0, -0, 1, -1, 88.7, -87.3, 2 ** -149, 3.4e38])

/** The largest relative error of `found` beyond an absolute one of `floor`; NaN and infinities must match. */
function worstError(found: Float32Array, truth: (x: number) => number, floor: number): { error: number; x: number } {
  let worst = { error: 0, x: 0 }
  for (const [i, x] of everywhere.entries()) {
    const y = Math.fround(truth(x))
    const same = found[i] === y || (Number.isNaN(y) && Number.isNaN(found[i]))
    const error = same ? 0 : (Math.abs(found[i] - y) - floor) / Math.abs(y)
    if (!(error <= worst.error)) worst = { error, x }
    if (Number.isNaN(error)) break
  }
  return worst
}

describe.each(cpuBackends)('functions over all floats [%s]', (backend) => {
  // Results below 2^-126 may be 0; silu multiplies what is lost by up to 104.
  const cases: [string, (x: t.Tensor) => t.Tensor, (x: number) => number, number, number?][] = [
    ['exp', t.exp, Math.exp, 1.5e-7],
    ['log', t.log, Math.log, 1.5e-7],
    ['tanh', t.tanh, Math.tanh, 2.5e-7],
    ['sigmoid', t.sigmoid, (x) => 1 / (1 + Math.exp(-x)), 2.5e-7],
    ['silu', t.silu, (x) => (x === -Infinity ? NaN : x / (1 + Math.exp(-x))), 3.5e-7, 2 ** -119],
    ['erf', t.erf, erf, 4e-7],
    ['sqrt', t.sqrt, Math.sqrt, 0],
    ['pow 2', (x) => t.pow(x, 2), (x) => x * x, 0],
    ['pow -1', (x) => t.pow(x, -1), (x) => 1 / x, 0],
    ['pow 0', (x) => t.pow(x, 0), () => 1, 0],
    // 1e-7 times an exponent's argument of up to 88.
    ['pow 5', (x) => t.pow(x, 5), (x) => x ** 5, 1.5e-5],
    ['pow 1.5', (x) => t.pow(x, 1.5), (x) => (x < 0 ? NaN : x ** 1.5), 1.5e-5],
    ['pow -0.25', (x) => t.pow(x, -0.25), (x) => (x < 0 ? NaN : x ** -0.25), 1e-5],
    ['sign', t.sign, (x) => Math.sign(x) || 0, 0],
    ['maximum', (x) => t.maximum(x, 3), (x) => Math.max(x, 3), 0],
    ['minimum', (x) => t.minimum(x, 3), (x) => Math.min(x, 3), 0],
  ]
  test.each(cases)('%s', async (_, op, truth, tolerance, floor = 2 ** -126) => {
    const device = await testDevice(backend)
    using x = device.tensor(everywhere)
    using y = op(x)
    const { error, x: at } = worstError(await y.read(), truth, floor)
    expect(error, `at ${at}`).toBeLessThanOrEqual(tolerance)
  })
})

test('values outside an integer type are clamped, fractions cut off, NaN is 0', async () => {
  const device = await deviceOf(1)
  using x = device.tensor([-1.9, 1.9, 3e9, -3e9, 5e9, NaN, 7])
  using i = t.cast(x, 'i32')
  using u = t.cast(x, 'u32')
  expect([...(await i.read())]).toEqual([-1, 1, 2 ** 31 - 1, -(2 ** 31), 2 ** 31 - 1, 0, 7])
  expect([...(await u.read())]).toEqual([0, 1, 3e9, 0, 2 ** 32 - 1, 0, 7])
  using back = t.cast(u, 'f32')
  expect([...(await back.read())]).toEqual([0, 1, 3e9, 0, 2 ** 32, 0, 7])
})

describe('a value does not depend on where it lies', () => {
  const chain = t.expression(3, 2, ([x, y, z], [a, b]) =>
    t.f.add(t.f.mul(t.f.sigmoid(t.f.mul(a, x)), t.f.tanh(y)), t.f.mul(t.f.exp(z), t.f.exp(b))),
  )
  // Rows shorter than a vector, rows with every remainder, rows cut into pieces, many rows a chunk.
  const shapes = [
    [1],
    [3],
    [4],
    [5],
    [7, 1],
    [9, 2],
    [5, 3, 3],
    [2, 3, 6],
    [3, 5, 7],
    [2, 3, 65, 67],
    [30_001],
    [5, 40_002],
    [3, 40_003],
  ]
  test.each(shapes.map((shape) => [shape]))('%j', async (shape) => {
    const results: Float32Array[] = []
    for (const threads of [1, 4]) {
      const device = await deviceOf(threads)
      const channels = shape.map((n, i) => (i === 1 ? n : 1))
      const columns = shape.map((n, i) => (i === shape.length - 1 ? n : 1))
      const [x, y, z] = [shape, channels, columns].map((s, k) => device.tensor(numbers(size(s), k), s))
      const [fullY, fullZ] = [y, z].map((part) => t.broadcastTo(part, shape))
      // Once broadcast as they are; once all dense, and a place further on.
      const direct = t.map(chain, [x, y, z], [0.5, -1])
      const flat = [x, fullY, fullZ].map((part) => t.pad(t.reshape(part, [-1]), [1], [0]))
      const shifted = t.map(chain, flat, [0.5, -1])
      results.push(Float32Array.from(await direct.read()), Float32Array.from(await shifted.read()).subarray(1))
      for (const tensor of [x, y, z, fullY, fullZ, direct, ...flat, shifted]) tensor.dispose()
    }
    const [xs, ys, zs] = [numbers(size(shape), 0), numbers(shape[1] ?? 1, 1), numbers(shape[shape.length - 1], 2)]
    const inner = size(shape.slice(2))
    const worst = results[0].reduce((most, found, i) => {
      const [y, z] = [ys[shape.length > 1 ? Math.floor(i / inner) % shape[1] : 0], zs[i % shape[shape.length - 1]]]
      const truth = Math.tanh(y) / (1 + Math.exp(-0.5 * xs[i])) + Math.exp(z) * Math.exp(-1)
      return Math.max(most, Math.abs(found - truth))
    }, 0)
    expect(worst).toBeLessThan(5e-7)
    for (const other of results.slice(1))
      expect(Buffer.from(other.buffer, other.byteOffset, other.byteLength).equals(Buffer.from(results[0].buffer))).toBe(
        true,
      )
  })
})

test('nothing is written beside the output', async () => {
  const device = await deviceOf(1)
  for (const count of [1, 2, 3, 5, 16, 17]) {
    // Neighbours on the heap, made and freed so that the output lies between them.
    const [before, hole, after] = [0, 0, 0].map(() => device.tensor(new Float32Array(count).fill(7)))
    hole.dispose()
    const y = t.full(device, [count], 1)
    expect([...(await before.read()), ...(await y.read()), ...(await after.read())]).toEqual(
      [7, 1, 7].flatMap((v) => Array<number>(count).fill(v)),
    )
    for (const tensor of [before, after, y]) tensor.dispose()
  }
})

test('every function compiles for memory that is not shared, in any place of a row', () => {
  for (const [name, count] of Object.entries(functions) as [FunctionName, number][]) {
    const apply = t.f[name] as (...args: t.ExpressionNode[]) => t.ExpressionNode
    const inner = t.expression(3, 0, (x) => apply(...x.slice(0, count)))
    const outer = t.expression(3, 3, (_, s) => apply(...s.slice(0, count)))
    for (const expression of [inner, outer]) {
      for (const access of ['dense', 'single', 'strided'] as const) {
        const inputs = [true, false, false].map((within) => ({ access, type: 'f32', inner: within }) as const)
        const bytes = mapModule(
          { expression, inputs, outputType: 'f32', rank: 3, wide: true },
          { shared: false, initial: 1, maximum: 10, relaxed: false },
        )
        const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>), {
          env: { memory: new WebAssembly.Memory({ initial: 1, maximum: 10 }) },
        })
        expect(Object.keys(exports), name).toEqual(['kernel'])
      }
    }
  }
})
