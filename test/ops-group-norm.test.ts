import { describe, expect, test } from 'vitest'
import * as t from '../src/tensor/index.ts'
import { groupNorm } from '../src/tensor/ops/group-norm.ts'
import {
  asHardware,
  backends,
  checkOp,
  deviceTest,
  expectClose,
  granularity,
  host,
  numbers,
  size,
  type Host,
  type Input,
} from './op.ts'

interface Options {
  readonly groups: number
  readonly silu?: boolean
  readonly eps?: number
}

const reference =
  ({ groups, silu = false, eps = 1e-5 }: Options) =>
  (x: Host, weight: Host, bias: Host, scaleShift?: Host): Host => {
    const out = host(x.shape)
    const [n, channels] = x.shape
    const positions = size(x.shape) / n / channels
    const perGroup = (channels / groups) * positions
    for (let start = 0; start < out.data.length; start += perGroup) {
      const group = x.data.subarray(start, start + perGroup)
      const mean = group.reduce((a, v) => a + v, 0) / perGroup
      const variance = group.reduce((a, v) => a + (v - mean) ** 2, 0) / perGroup
      group.forEach((value, k) => {
        const row = Math.floor((start + k) / positions)
        const c = row % channels
        let v = ((value - mean) / Math.sqrt(variance + eps)) * weight.data[c] + bias.data[c]
        if (scaleShift) {
          const at = (row - c) * 2 + c
          v = v * (1 + scaleShift.data[at]) + scaleShift.data[at + channels]
        }
        out.data[start + k] = silu ? v / (1 + Math.exp(-v)) : v
      })
    }
    return out
  }

const cases: readonly { x: readonly number[]; groups: number; silu?: boolean; modulated?: boolean }[] = [
  { x: [2, 6, 5, 3], groups: 3 },
  { x: [2, 6, 5, 3], groups: 3, silu: true, modulated: true },
  { x: [1, 32, 8, 8], groups: 32, silu: true },
  { x: [3, 8, 4], groups: 4, modulated: true },
  { x: [2, 4, 17], groups: 1, silu: true },
  { x: [3, 15], groups: 5, silu: true, modulated: true },
  { x: [1, 3, 20, 27], groups: 1, modulated: true },
  { x: [1, 2, 48, 32], groups: 2, silu: true },
]

describe('group norm against float64', () => {
  for (const { x, groups, silu = false, modulated = false } of cases) {
    const channels = x[1]
    const inputs: Input[] = [
      { shape: x },
      { shape: [channels], values: numbers(channels, 2).map((v) => 1 + v / 2), scaled: false },
      { shape: [channels], scaled: false },
      ...(modulated ? [{ shape: [x[0], 2 * channels], scaled: false }] : []),
    ]
    test(`[${x}] in ${groups} groups${modulated ? ', scale-shift' : ''}${silu ? ', SiLU' : ''}`, () =>
      checkOp('groupNorm', {
        inputs,
        reference: reference({ groups, silu }),
        tolerance: 4e-6,
        op: (v, weight, bias, scaleShift) => groupNorm(v, { groups, weight, bias, scaleShift, silu }),
      }))
  }

  // f32 holds 1e4 to 1e-3 / 2; the mean is rounded to that, so the result is off by as much of a standard deviation.
  for (const shape of [
    [2, 8, 16, 16],
    [1, 4, 33, 31],
    [2, 64],
  ]) {
    test(`mean 1e4 and standard deviation 1: [${shape}]`, () => {
      const channels = shape[1]
      return checkOp('groupNorm', {
        inputs: [{ shape, values: numbers(size(shape), 5).map((v) => 1e4 + Math.sqrt(3) * v) }, [channels], [channels]],
        op: (x, weight, bias) => groupNorm(x, { groups: 2, weight, bias, silu: true }),
        reference: reference({ groups: 2, silu: true }),
        tolerance: 1e-3,
        gradientTolerance: 2e-3,
        large: false,
        midGraph: false,
      })
    })
  }

  deviceTest('a small variance next to eps, and none', async (device) => {
    using weight = device.tensor([2, -1])
    using bias = device.tensor([0.5, 3])
    using flat = device.tensor(new Array(8).fill(7), [1, 2, 4])
    using y = groupNorm(flat, { groups: 1, weight, bias })
    expect([...(await y.read())]).toEqual([0.5, 0.5, 0.5, 0.5, 3, 3, 3, 3])
    const values = numbers(8, 1).map((v) => Math.fround(3e-3 * v))
    using small = device.tensor(values, [1, 2, 4])
    using z = groupNorm(small, { groups: 2, weight, bias, eps: 1e-3 })
    expectClose(
      await z.read(),
      reference({ groups: 2, eps: 1e-3 })(host([1, 2, 4], values), host([2], [2, -1]), host([2], [0.5, 3])).data,
      2e-6,
      'eps',
    )
  })
})

describe('group norm at the sizes of the models', () => {
  test('spatial_v2 head: [3, 2048] in 32 groups', async () => {
    const channels = 2048
    await checkOp('groupNorm', {
      inputs: [[3, channels], { shape: [channels], scaled: false }, { shape: [channels], scaled: false }],
      op: (x, weight, bias) => groupNorm(x, { groups: 32, weight, bias, silu: true }),
      reference: reference({ groups: 32, silu: true }),
      tolerance: 4e-6,
      probes: 8,
    })
  })

  test('ADM-64: [2, 192, 32, 32], scale-shift and SiLU', () =>
    checkOp('groupNorm', {
      inputs: [[2, 192, 32, 32], [192], [192], [2, 384]],
      differentiate: [],
      op: (x, weight, bias, scaleShift) => groupNorm(x, { groups: 32, weight, bias, scaleShift, silu: true }),
      reference: reference({ groups: 32, silu: true }),
      tolerance: 4e-6,
      large: false,
    }))

  // More than any adapter gives to one workgroup, in chunks of unequal length.
  for (const shape of [
    [1, 2, 160, 163],
    [1, 1, 189, 189],
  ]) {
    test(`a group cut into chunks: [${shape}]`, async () => {
      const [, channels] = shape
      for (const [mean, on] of [0, 1e4].flatMap((m) => [backends, asHardware].map((names) => [m, names] as const))) {
        if (on.length === 0) continue
        await checkOp('groupNorm', {
          inputs: [
            { shape, values: numbers(size(shape), 5).map((v, i) => mean + v + i / 5e4) },
            [channels],
            [channels],
          ],
          op: (x, weight, bias) => groupNorm(x, { groups: 1, weight, bias }),
          reference: reference({ groups: 1 }),
          tolerance: mean ? 1e-3 : 4e-6,
          gradientTolerance: mean ? 2e-3 : 1e-4,
          large: false,
          midGraph: false,
          probes: 4,
          on,
        })
      }
    })
  }

  // Groups that a thread of a GPU holds 2, 4, 8 and 16 steps of, of vec4f and of one, by 64 threads and by 256.
  for (const shape of [
    [3, 2, 2, 4],
    [2, 2, 3, 5],
    [1, 2, 40, 40],
    [1, 2, 33, 33],
    [1, 2, 96, 96],
  ])
    test.skipIf(asHardware.length === 0)(`a group in the registers of a workgroup: [${shape}]`, () =>
      checkOp('groupNorm', {
        inputs: [shape, [2], [2]],
        op: (x, weight, bias) => groupNorm(x, { groups: 2, weight, bias }),
        reference: reference({ groups: 2 }),
        differentiate: [],
        midGraph: false,
        on: asHardware,
      }),
    )

  deviceTest('GroupNorm32(64) of guided-diffusion', async (device) => {
    using x = device.tensor(
      Array.from({ length: 576 }, (_, n) => Math.sin(0.31 * n + 0.2)),
      [1, 64, 3, 3],
    )
    // guided-diffusion's weights of this golden follow the fill rule: entry 0 is the weight, entry 1 the bias.
    const filled = (j: number, base: number): number[] =>
      Array.from({ length: 64 }, (_, i) => base + 0.1 * Math.sin(0.37 * i + 1.3 * j + 0.5))
    using weight = device.tensor(filled(0, 1))
    using bias = device.tensor(filled(1, 0))
    using y = groupNorm(x, { groups: 32, weight, bias })
    const values = [...(await y.read())]
    const absolute = values.reduce((a, v) => a + Math.abs(v), 0)
    expectClose([values.reduce((a, v) => a + v, 0), absolute], [-5.372478, 521.5201], 1e-5, 'sums')
    expectClose(values.slice(0, 4), [0.3259318, 0.7362277, 1.080567, 1.326124], 2e-4, 'first elements')
  })
})

deviceTest('the gradient by x keeps x and the statistics, and nothing is left behind', async (device) => {
  const before = device.stats.liveBuffers
  {
    using x = device.tensor(numbers(512, 1), [1, 8, 8, 8])
    using weight = device.tensor(numbers(8, 2))
    using bias = device.tensor(numbers(8, 3))
    const { value, gradients, savedBytes } = t.grad(
      () => device.scope(() => groupNorm(t.mul(x, 2), { groups: 4, weight, bias, silu: true })),
      [x],
    )
    // 2x, and 4 groups of two numbers in the smallest buffer there is.
    expect(savedBytes).toBe(512 * 4 + granularity(device))
    value.dispose()
    gradients[0].dispose()
  }
  expect(device.stats.liveBuffers).toBe(before)
})

deviceTest('shapes that do not fit are typed errors', async (device) => {
  using x = device.tensor(numbers(24, 1), [2, 6, 2])
  using six = device.tensor(numbers(6, 1))
  using five = device.tensor(numbers(5, 1))
  using pair = device.tensor(numbers(12, 1), [2, 6])
  expect(() => groupNorm(six, { groups: 2, weight: six, bias: six })).toThrowError(/\[N, C, H, W\], found \[6\]/)
  expect(() => groupNorm(x, { groups: 4, weight: six, bias: six })).toThrowError(/divides the 6 channels, found 4/)
  expect(() => groupNorm(x, { groups: 2, weight: six, bias: five })).toThrowError(
    /weight and a bias \[6\], found \[5\]/,
  )
  expect(() => groupNorm(x, { groups: 2, weight: six, bias: six, scaleShift: pair })).toThrowError(
    /scale and shift \[2, 12\], found \[2, 6\]/,
  )
})
