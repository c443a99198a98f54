/** Philox by its published vectors, device against host, the shape of the normal distribution, and dropout. */
import { describe, expect, test } from 'vitest'
import {
  dropout,
  grad,
  hostRandomBits,
  hostRandomNormal,
  hostRandomUniform,
  randomBits,
  randomNormal,
  splitSeed,
  sum,
  type RandomStream,
} from '../src/tensor/index.ts'
import { normalOf, philox4x32, type Words } from '../src/tensor/philox.ts'
import { checkOp, deviceTest, host, numbers } from './op.ts'

const stream: RandomStream = { seed: [0xfedcba98, 0x76543210], draw: 41, purpose: 1 }

/** Random123's kat_vectors for philox4x32 with ten rounds: counter, key, result. */
const published: [Words, readonly [number, number], Words][] = [
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
]

describe('bits', () => {
  test('published vectors on the host', () => {
    for (const [counter, key, expected] of published) expect(philox4x32(counter, key)).toEqual(expected)
  })

  test('as numbers in [0, 1)', () => {
    const [[, , words]] = published
    const zero: RandomStream = { seed: [0, 0], draw: 0, purpose: 0 }
    expect(hostRandomUniform(zero, [0], 4)).toEqual(words.map((bits) => bits / 2 ** 32))
  })

  deviceTest('a published vector on the device', async (device) => {
    // Of the three, the first has a position that a tensor can have: block 0.
    using samples = device.tensor([0], [1], 'u32')
    using bits = randomBits(samples, { seed: [0, 0], draw: 0, purpose: 0, shape: [4] })
    expect([...(await bits.read())]).toEqual([...published[0][2]])
  })

  for (const shape of [[1], [3], [4], [5], [3, 7, 11], [1025]]) {
    deviceTest(`the device's are the host's, [3, ${shape}]`, async (device) => {
      const indices = [7, 0, 0xffffffff]
      using samples = device.tensor(indices, [3], 'u32')
      using bits = randomBits(samples, { ...stream, shape })
      const elements = shape.reduce((a, b) => a * b, 1)
      expect(bits.shape).toEqual([3, ...shape])
      expect(await bits.read()).toEqual(hostRandomBits(stream, indices, elements))
    })
  }

  deviceTest('sample k is the same in batches of 1, 3 and 8', async (device) => {
    const batch = async (indices: number[]): Promise<Map<number, Float32Array>> => {
      using samples = device.tensor(indices, [indices.length], 'u32')
      using noise = randomNormal(samples, { ...stream, shape: [3, 5, 5] })
      const all = await noise.read()
      return new Map(indices.map((k, i) => [k, all.slice(75 * i, 75 * (i + 1))]))
    }
    const eight = await batch([0, 1, 2, 3, 4, 5, 6, 7])
    for (const [k, values] of [...(await batch([5])), ...(await batch([2, 7, 0]))]) expect(values).toEqual(eight.get(k))
  })

  test('seed, draw, purpose and sample each make a stream of their own', () => {
    const streams = [
      stream,
      { ...stream, seed: [0xfedcba98, 0x76543211] },
      { ...stream, seed: [0xfedcba99, 0x76543210] },
      { ...stream, draw: 42 },
      { ...stream, purpose: 0 },
    ] as const
    const words = [...streams.flatMap((s) => [...hostRandomBits(s, [3], 64)]), ...hostRandomBits(stream, [4], 64)]
    // 384 words, of which two would be equal by chance once in 60000 seeds.
    expect(new Set(words).size).toBe(384)
  })

  deviceTest('a new draw compiles and creates nothing', async (device) => {
    using samples = device.tensor([0, 1], [2], 'u32')
    randomNormal(samples, { ...stream, shape: [33] }).dispose()
    await device.flush()
    const before = device.stats.objectsCreated
    for (let draw = 0; draw < 5; draw++)
      randomNormal(samples, { seed: [draw, 1], draw, purpose: draw, shape: [33] }).dispose()
    await device.flush()
    expect(device.stats.objectsCreated).toBe(before)
  })

  test('seeds of 64 bits', () => {
    expect(splitSeed(7)).toEqual([7, 0])
    expect(splitSeed(2 ** 33 + 5)).toEqual([5, 2])
    expect(splitSeed(0xfedcba9876543210n)).toEqual([0x76543210, 0xfedcba98])
    for (const bad of [-1, 0.5, 2 ** 53, NaN, 1n << 64n])
      expect(() => splitSeed(bad)).toThrowError(/whole number from 0 to 2\^64 - 1/)
  })

  deviceTest('bad parameters are typed errors', async (device) => {
    using samples = device.tensor([0, 1], [2], 'u32')
    using signed = device.tensor([0, 1], [2], 'i32')
    expect(() => randomBits(samples, { ...stream, draw: -1, shape: [4] })).toThrowError(
      /whole numbers from 0 to 2\^32 - 1/,
    )
    expect(() => randomBits(signed as never, { ...stream, shape: [4] })).toThrowError(
      /randomBits: expected a tensor of type u32, found \[2\] of type i32/,
    )
    expect(() => randomBits(samples, { ...stream, shape: [0] })).toThrowError(/positive whole dimensions/)
  })
})

describe('normals', () => {
  test('are the inverse CDF', () => {
    // Python: statistics.NormalDist().inv_cdf((bits + 0.5) / 2**32). AS 241's PPND7 claims seven digits.
    const python: [number, number][] = [
      [0x00000000, -6.337957754553789],
      [0x00000001, -6.166429517819749],
      [0x00000fff, -4.763025658726428],
      [0x01234567, -2.616298204319643],
      [0x13333332, -1.4395314720898171],
      [0x13333333, -1.4395314704450153],
      [0x40000000, -0.6744897498297384],
      [0x7fffffff, -2.9180993729166234e-10],
      [0x80000000, 2.9180993729166234e-10],
      [0xdeadbeef, 1.1256287403742193],
      [0xfffff000, 4.763025658726428],
      [0xffffffff, 6.337957754553789],
    ]
    for (const [bits, x] of python)
      expect(Math.abs(normalOf(bits) - x), bits.toString(16)).toBeLessThan(1.5e-7 * Math.max(1, Math.abs(x)))
  })

  deviceTest("the device's agree with the host's to 1e-6", async (device) => {
    const indices = [0, 1, 2]
    using samples = device.tensor(indices, [3], 'u32')
    using noise = randomNormal(samples, { ...stream, shape: [99_999] })
    const [found, expected] = [await noise.read(), hostRandomNormal(stream, indices, 99_999)]
    expect(found.reduce((worst, x, i) => Math.max(worst, Math.abs(x - expected[i])), 0)).toBeLessThan(1e-6)
  })

  deviceTest('as far out as 32 bits go', async (device) => {
    // Found by search: samples of seed 0 whose first words contain 0, 1, 2, 0xfffffff9 and 0xffffffff.
    const far = [371492825, 84170650, 75551930, 417599979, 389732782]
    const zero: RandomStream = { seed: [0, 0], draw: 0, purpose: 0 }
    using samples = device.tensor(far, [5], 'u32')
    using noise = randomNormal(samples, { ...zero, shape: [4] })
    const [found, expected] = [await noise.read(), hostRandomNormal(zero, far, 4)]
    expect(found.reduce((worst, x, i) => Math.max(worst, Math.abs(x - expected[i])), 0)).toBeLessThan(1e-6)
    expect([Math.min(...found), Math.max(...found)]).toEqual([-6.33795, 6.33795].map((x) => expect.closeTo(x, 4)))
  })

  deviceTest('the moments and the distribution of 1e5', async (device) => {
    const n = 100_000
    using samples = device.tensor([12], [1], 'u32')
    using noise = randomNormal(samples, { seed: splitSeed(2024), draw: 0, purpose: 0, shape: [n] })
    const x = Float64Array.from(await noise.read()).sort()
    const moment = (k: number): number => x.reduce((total, v) => total + v ** k, 0) / n
    // Standard errors of the sample moments: sqrt(1/n), sqrt(2/n), sqrt(15/n), sqrt(96/n); four of each.
    expect(Math.abs(moment(1))).toBeLessThan(4 * Math.sqrt(1 / n))
    expect(Math.abs(moment(2) - 1)).toBeLessThan(4 * Math.sqrt(2 / n))
    expect(Math.abs(moment(3))).toBeLessThan(4 * Math.sqrt(15 / n))
    expect(Math.abs(moment(4) - 3)).toBeLessThan(4 * Math.sqrt(96 / n))
    // Kolmogorov and Smirnov: 1.95/sqrt(n) is exceeded once in a thousand.
    const distance = x.reduce((worst, v, i) => Math.max(worst, Math.abs(cdf(v) - (i + 0.5) / n)), 0)
    expect(distance).toBeLessThan(1.95 / Math.sqrt(n))
  })
})

/** The normal CDF by the series Φ(x) = ½ + φ(x)·(x + x³/3 + x⁵/(3·5) + …), which converges for every x. */
function cdf(x: number): number {
  let term = x
  let total = x
  for (let k = 3; Math.abs(term) > 1e-17 && k < 400; k += 2) total += term *= (x * x) / k
  return 0.5 + (total * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI)
}

describe('dropout', () => {
  const indices = [4, 9]
  test('zeroes by the bits and scales the rest, forward and backward', async () => {
    const keep = hostRandomBits(stream, indices, 35).map((bits) => (bits >= 0.3 * 2 ** 32 ? 1 : 0))
    await checkOp('dropout', {
      inputs: [[2, 5, 7]],
      op: (x) => dropout(x, 0.3, { ...stream, samples: x.device.tensor(indices, [2], 'u32') }),
      reference: (x) =>
        host(
          x.shape,
          x.data.map((v, i) => (v * keep[i]) / 0.7),
        ),
    })
  })
  deviceTest('drops as often as it says and keeps the mean', async (device) => {
    using samples = device.tensor([0], [1], 'u32')
    using x = device.tensor(new Float32Array(40_000).fill(1), [1, 40_000])
    using y = dropout(x, 0.1, { ...stream, samples })
    const kept = (await y.read()).filter((v) => v !== 0)
    // A binomial's standard deviation, four of them.
    expect(Math.abs(kept.length - 36_000)).toBeLessThan(4 * Math.sqrt(40_000 * 0.1 * 0.9))
    expect(new Set(kept)).toEqual(new Set([Math.fround(1 / 0.9)]))
  })
  deviceTest('of 0 is the identity, of 1 an error', async (device) => {
    using samples = device.tensor([0], [1], 'u32')
    using x = device.tensor(numbers(4, 1), [1, 4])
    expect(dropout(x, 0, { ...stream, samples })).toBe(x)
    expect(() => dropout(x, 1, { ...stream, samples })).toThrowError(/probability from 0 to below 1, found 1/)
  })
  deviceTest('leaves no buffer behind', async (device) => {
    using samples = device.tensor([0, 1], [2], 'u32')
    using x = device.tensor(numbers(20, 1), [2, 10])
    const before = device.stats.liveBuffers
    const { value, gradients } = device.scope(() => ({
      ...grad(() => sum(dropout(x, 0.5, { ...stream, samples })), [x]),
    }))
    value.dispose()
    for (const gradient of gradients) gradient.dispose()
    expect(device.stats.liveBuffers).toBe(before)
  })
})
