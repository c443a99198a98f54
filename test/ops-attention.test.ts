import { describe, expect, test } from 'vitest'
import * as t from '../src/tensor/index.ts'
import { attention, type AttentionOptions } from '../src/tensor/ops/attention.ts'
import { asHardware, checkOp, deviceTest, expectClose, numbers, type OpCheck } from './op.ts'
import { attended, rowOf } from './references.ts'

/** Random qkv with queries and keys multiplied by one number and values by another. */
const values = (shape: readonly number[], options: AttentionOptions, qk: number, v = 1): Float64Array => {
  const [n, rows, tokens] = shape
  const x = numbers(n * rows * tokens, 1).map((value) => value * qk)
  for (let b = 0; b < n; b++)
    for (let h = 0; h < options.heads; h++)
      for (let c = 0; c < rows / 3 / options.heads; c++) {
        const start = (b * rows + rowOf(options, rows / 3, 2, h, c)) * tokens
        for (let i = start; i < start + tokens; i++) x[i] *= v / qk
      }
  return x
}

const check = (
  shape: readonly number[],
  options: AttentionOptions,
  qk = 1,
  v = 1,
  rest: Partial<OpCheck> = {},
): Promise<void> =>
  checkOp(`attention [${shape}]`, {
    inputs: [{ shape, values: values(shape, options, qk, v) }],
    op: (qkv) => attention(qkv, options),
    reference: attended(options),
    // Scores reach qk² sqrt(d) and are rounded to 6e-8 of that, which the exponential turns into a relative error.
    tolerance: 3e-6 + 2e-7 * qk * qk * Math.sqrt(shape[1] / 3 / options.heads),
    large: false,
    ...rest,
  })

describe('attention against float64', () => {
  for (const newOrder of [false, true]) {
    for (const [shape, heads] of [
      [[2, 48, 5], 2],
      [[1, 24, 1], 1],
      [[2, 96, 16], 4],
      [[1, 3 * 27, 17], 1],
      [[2, 3 * 32, 68], 1],
    ] as const) {
      test(`[${shape}], ${heads} heads, ${newOrder ? 'new' : 'legacy'} order`, () => check(shape, { heads, newOrder }))
    }
  }
  // Less than a lane's channels; two chunks of channels, the second not full; two full ones.
  for (const [width, tokens] of [
    [1, 40],
    [136, 39],
    [256, 36],
  ]) {
    test(`heads of ${width} channels`, () =>
      check([1, 6 * width, tokens], { heads: 2, newOrder: width !== 136 }, 1, 1, { probes: 4, midGraph: false }))
  }
  test('values of 1e4', () => check([1, 48, 40], { heads: 2, newOrder: false }, 1, 1e4))
  test('scores up to 400: one key takes all, nothing overflows', () =>
    check([1, 48, 37], { heads: 2, newOrder: false }, 10, 1, { midGraph: false }))

  deviceTest('scores of 1e9 stay finite', async (device) => {
    using qkv = device.tensor(
      numbers(3 * 16 * 9, 1).map((v) => 1e4 * v),
      [1, 48, 9],
    )
    const { value, gradients } = t.grad(() => attention(qkv, { heads: 2, newOrder: false }), [qkv])
    expect([...(await value.read()), ...(await gradients[0].read())].filter((v) => !Number.isFinite(v))).toEqual([])
    value.dispose()
    gradients[0].dispose()
  })
})

describe('attention at the sizes of the models', () => {
  test('1024 tokens: [1, 24, 1024]', () =>
    check([1, 24, 1024], { heads: 1, newOrder: true }, 2, 1, { differentiate: [], midGraph: false }))
  test('gradients over many tiles: [1, 24, 300]', () =>
    check([1, 24, 300], { heads: 1, newOrder: false }, 2, 1, { probes: 6 }))

  // As a GPU gets it: 5 tiles of keys in 1, 2 and 3 parts, the last not full. Larger tiles: test/long/kernels.test.ts.
  test.skipIf(asHardware.length === 0)('in every cut: [1, 24, 150]', () =>
    check([1, 24, 150], { heads: 1, newOrder: false }, 2, 1, {
      on: asHardware,
      everyKernel: /32x32/,
      probes: 6,
      midGraph: false,
    }),
  )

  // From guided-diffusion itself.
  for (const [newOrder, sums, first] of [
    [true, [5.326483, 48.98439], [-0.250199, -0.2692548, -0.2863502, -0.3008465]],
    [false, [3.637619, 49.56783], [-0.1713336, -0.1690336, -0.1698105, -0.1735886]],
  ] as const) {
    deviceTest(newOrder ? 'QKVAttention' : 'QKVAttentionLegacy', async (device) => {
      using qkv = device.tensor(
        Array.from({ length: 240 }, (_, i) => Math.sin(0.19 * i + 0.4)),
        [1, 48, 5],
      )
      using out = attention(qkv, { heads: 2, newOrder })
      const found = [...(await out.read())]
      const sum = found.reduce((a, v) => a + v, 0)
      expect(Math.abs(sum - sums[0])).toBeLessThan(1e-5 * sums[1])
      expect(Math.abs(found.reduce((a, v) => a + Math.abs(v), 0) - sums[1])).toBeLessThan(1e-5 * sums[1])
      expectClose(found.slice(0, 4), first, 2e-4, 'first elements')
    })
  }
})

// 300 tokens are cut among threads in one way for one sample, in another for 33. A GPU is cut by the batch as well, and
// may change the last bits: docs/guarantees.md promises these for the CPU.
for (const [n, tokens] of [
  [3, 40],
  [33, 300],
]) {
  deviceTest(`a sample is the same in a batch of ${n}, bit for bit`, async (device) => {
    if (!device.adapter.software) return
    const data = numbers(n * 24 * tokens, 9)
    const cotangent = numbers(n * 8 * tokens, 5)
    const run = async (from: number, to: number): Promise<Float32Array[]> => {
      using x = device.tensor(data.subarray(from * 24 * tokens, to * 24 * tokens), [to - from, 24, tokens])
      using dy = device.tensor(cotangent.subarray(from * 8 * tokens, to * 8 * tokens), [to - from, 8, tokens])
      const {
        value,
        gradients: [dx],
      } = t.grad(() => attention(x, { heads: 1, newOrder: false }), [x], dy)
      const found = [await value.read(), await dx.read()]
      value.dispose()
      dx.dispose()
      return found
    }
    const [all, one] = [await run(0, n), await run(1, 2)]
    for (const k of [0, 1]) expect(all[k].subarray(one[k].length, 2 * one[k].length)).toEqual(one[k])
  })
}

deviceTest('the gradient keeps qkv, the result and a number a query, and nothing is left behind', async (device) => {
  const before = device.stats.liveBuffers
  {
    using x = device.tensor(numbers(48 * 64, 1), [1, 48, 64])
    const { value, gradients, savedBytes } = t.grad(
      () => device.scope(() => attention(t.mul(x, 2), { heads: 2, newOrder: false })),
      [x],
    )
    expect(savedBytes).toBe(4 * 64 * (48 + 16 + 2))
    value.dispose()
    gradients[0].dispose()
  }
  expect(device.stats.liveBuffers).toBe(before)
})

deviceTest('shapes that do not fit are typed errors', async (device) => {
  using x = device.tensor(numbers(48, 1), [1, 12, 4])
  using y = device.tensor(numbers(40, 1), [1, 10, 4])
  expect(() => attention(x, { heads: 3, newOrder: false })).toThrowError(/divides the 4 channels, found 3/)
  expect(() => attention(y, { heads: 1, newOrder: false })).toThrowError(/\[N, 3C, T\], found \[1, 10, 4\]/)
})
