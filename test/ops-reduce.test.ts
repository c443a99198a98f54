/**
 * Reductions where they are cut: parts of long rows, tall columns, blocks of columns. Small ones are in
 * ops-map.test.ts.
 */
import { describe, expect, test } from 'vitest'
import { Device, max, softmax, sum } from '../src/tensor/index.ts'
import { asHardware, at, cpuBackends, deviceTest, eachIndex, expectClose, numbers, size } from './op.ts'

/** Sum, maximum and sum of absolute values in float64. */
function reference(
  shape: readonly number[],
  values: Float64Array,
  axes: readonly number[],
): { sums: Float64Array; tops: Float64Array; absolutes: Float64Array } {
  const kept = shape.map((n, i) => (axes.includes(i) ? 1 : n))
  const sums = new Float64Array(size(kept))
  const tops = new Float64Array(size(kept)).fill(-Infinity)
  const absolutes = new Float64Array(size(kept))
  eachIndex(shape, (index, flat) => {
    const to = at(kept, index)
    sums[to] += values[flat]
    absolutes[to] += Math.abs(values[flat])
    tops[to] = Math.max(tops[to], values[flat])
  })
  return { sums, tops, absolutes }
}

const cases: readonly [readonly number[], readonly number[]][] = [
  [[1_000_003], [0]],
  [[3, 70_001], [1]],
  [[70_001, 3], [0]],
  [[1300, 101], [0]],
  [[5, 300, 77], [1]],
  [
    [4, 3, 20_011],
    [0, 2],
  ],
  [
    [40, 6, 50, 9],
    [0, 2],
  ],
  [
    [7, 30, 5, 64],
    [1, 3],
  ],
  [
    [2, 3, 4, 5, 6, 7],
    [0, 2, 4],
  ],
  [
    [1, 9, 1],
    [0, 2],
  ],
]

describe('sums and maxima that are cut into parts', () => {
  for (const [shape, axes] of cases) {
    deviceTest(
      `[${shape}] along ${axes}`,
      async (device) => {
        // Of one sign, where roundings add up: the mean of x is 1/2.
        const values = numbers(size(shape), 3).map((v) => Math.fround((v + 1) / 2))
        const { sums, tops, absolutes } = reference(shape, values, axes)
        using x = device.tensor(values, shape)
        using total = sum(x, { axes, keepDims: true })
        using top = max(x, { axes, keepDims: true })
        const found = await total.read()
        // 256 additions in a row err by 2e-7 (rms), twice where the parts are added again; and the result is rounded.
        sums.forEach((expected, i) => expect(Math.abs(found[i] - expected) / absolutes[i]).toBeLessThan(6e-7))
        expect([...(await top.read())]).toEqual([...tops])
      },
      { on: [...cpuBackends, ...asHardware] },
    )
  }
})

test('sums are the same to the bit on any number of threads', async () => {
  const results: string[] = []
  for (const threads of [1, 3]) {
    using device = await Device.request({ backend: 'cpu', threads })
    const found: number[] = []
    for (const [shape, axes] of cases) {
      using x = device.tensor(numbers(size(shape), 4), shape)
      using total = sum(x, { axes, keepDims: true })
      found.push(...(await total.read()))
    }
    results.push(found.join())
  }
  expect(results[1]).toBe(results[0])
})

test('NaN is the maximum of what it is in', async () => {
  using device = await Device.request({ backend: 'cpu', threads: 1 })
  for (const [length, position] of [
    [3, 1],
    [40, 0],
    [40, 21],
    [43, 42],
  ]) {
    using x = device.tensor(Array.from({ length }, (_, i) => (i === position ? NaN : i)))
    using top = max(x, { keepDims: true })
    expect((await top.read())[0]).toBeNaN()
  }
})

// The kernels' exponential, through the quickest op that has it: every 1000th float from -87 to -1e-5.
deviceTest(
  'softmax of rows [x, x, x, 0] has the relative error of an exponential and a division',
  async (device) => {
    const bits = new Uint32Array(1)
    const float = new Float32Array(bits.buffer)
    const xs: number[] = []
    for (bits[0] = 0xb727c5ac; float[0] > -86.9; bits[0] += 1000) xs.push(float[0])
    using x = device.tensor(
      Float32Array.from({ length: 4 * xs.length }, (_, i) => (i % 4 < 3 ? xs[i >> 2] : 0)),
      [xs.length, 4],
    )
    using y = softmax(x)
    const found = await y.read()
    // 2e-7 of the exponential, again in the sum with its rounding, one of the quotient and one of the product.
    const relative = Float64Array.from(xs, (v, i) => found[4 * i + 1] / (Math.exp(v) / (1 + 3 * Math.exp(v))))
    expectClose(relative, new Float64Array(xs.length).fill(1), 5e-7, 'exponentials')
  },
  { on: cpuBackends },
)
