/**
 * Every op of the table, run once with an answer known by hand: the mapped type makes an op without an entry a compile
 * error, and each entry must really run its op. This list is what a new backend passes first; the ops' own test files
 * go into sizes, gradients and accuracy.
 */
import { describe, expect, test } from 'vitest'
import * as t from '../src/tensor/index.ts'
import { ops, type OpName } from '../src/tensor/ops/index.ts'
import { deviceTest, expectClose } from './op.ts'

interface Entry {
  readonly compute: (device: t.Device) => t.AnyTensor
  readonly expected: ArrayLike<number>
  /** Relative to the largest number; default 0. */
  readonly tolerance?: number
}

/** The gradient of the sum of `y` by its argument `x`. */
const gradient = (x: t.Tensor, y: (x: t.Tensor) => t.Tensor, cotangent?: t.Tensor): t.Tensor =>
  t.grad(() => y(x), [x], cotangent).gradients[0]

const image = (device: t.Device, values = [1, 2, 3, 4]): t.Tensor => device.tensor(values, [1, 1, 2, 2])
const two = (device: t.Device): t.Tensor => device.tensor([2], [1, 1, 1, 1])
const norm = (device: t.Device, x: t.Tensor, weight = device.tensor([1, 1, 1])): t.Tensor =>
  t.groupNorm(x, { groups: 1, weight, bias: device.tensor([0, 0, 0]), eps: 0 })
const first = (device: t.Device): t.Tensor => device.tensor([1, 0, 0], [1, 3])
const stream = { seed: t.splitSeed(7), draw: 1, purpose: 2 }
const labels = (device: t.Device): t.Tensor<'i32'> => device.tensor([2, 0, 2], [3], 'i32')

/** Queries and keys of 0, so that every query sees the mean of the values, 0 to 15 in rows of two. */
const qkv = (device: t.Device): t.Tensor =>
  device.tensor(
    Array.from({ length: 48 }, (_, i) => Math.max(i - 32, 0)),
    [1, 24, 2],
  )
const attend = (x: t.Tensor): t.Tensor => t.attention(x, { heads: 1, newOrder: true })

const entries: { readonly [K in OpName]: Entry } = {
  // All of both moments from g = 2 · 3, an average of half of the weight before and half of that after.
  adamW: {
    compute: (d) => {
      const [w, m, v, average] = [5, 1, 1, 5].map((value) => t.full(d, [1], value))
      const numbers = { decay: 0.5, rate: 2, correction: 0.5, eps: 1, betas: [0, 0], keep: [0.5] } as const
      t.updateAdamW(d.tensor([2]), { w, m, v, averages: [average] }, numbers, d.tensor([3]))
      return t.concat([w, m, v, average], 0)
    },
    // 5 · 0.5 - 2 · 6 / (0.5 · 6 + 1) = -0.5
    expected: [-0.5, 6, 36, 2.25],
  },
  attention: {
    compute: (d) => attend(qkv(d)),
    expected: Array.from({ length: 16 }, (_, i) => 2 * Math.floor(i / 2) + 0.5),
    tolerance: 1e-6,
  },
  attentionGrad: {
    compute: (d) => gradient(qkv(d), attend),
    expected: Array.from({ length: 48 }, (_, i) => (i < 32 ? 0 : 1)),
    tolerance: 1e-6,
  },
  conv2d: { compute: (d) => t.conv2d(image(d), two(d)), expected: [2, 4, 6, 8] },
  conv2dDataGrad: { compute: (d) => gradient(image(d), (x) => t.conv2d(x, two(d))), expected: [2, 2, 2, 2] },
  conv2dWeightGrad: { compute: (d) => gradient(two(d), (w) => t.conv2d(image(d), w)), expected: [10] },
  copy: {
    compute: (d) => t.permute(d.tensor([1, 2, 3, 4, 5, 6], [2, 3], 'u32'), [1, 0]),
    expected: [1, 4, 2, 5, 3, 6],
  },
  gather: { compute: (d) => t.embedding(d.tensor([1, 2, 3], [3, 1]), labels(d)), expected: [3, 1, 3] },
  gatherGrad: {
    compute: (d) => gradient(d.tensor([1, 2, 3], [3, 1]), (x) => t.embedding(x, labels(d))),
    expected: [1, 0, 2],
  },
  // Mean 1, variance 2.
  groupNorm: {
    compute: (d) => norm(d, d.tensor([0, 0, 3], [1, 3])),
    expected: [-Math.SQRT1_2, -Math.SQRT1_2, Math.SQRT2],
    tolerance: 1e-6,
  },
  groupNormDataGrad: {
    compute: (d) => gradient(d.tensor([0, 0, 3], [1, 3]), (x) => norm(d, x), first(d)),
    expected: [Math.SQRT1_2 / 2, -Math.SQRT1_2 / 2, 0],
    tolerance: 1e-6,
  },
  groupNormSums: {
    compute: (d) => gradient(d.tensor([1, 1, 1]), (w) => norm(d, d.tensor([0, 0, 3], [1, 3]), w), first(d)),
    expected: [-Math.SQRT1_2, 0, 0],
    tolerance: 1e-6,
  },
  map: { compute: (d) => t.add(d.tensor([1, 2, 3], [3, 1]), d.tensor([10, 20])), expected: [11, 21, 12, 22, 13, 23] },
  matmul: { compute: (d) => t.matmul(d.tensor([1, 2, 3, 4], [2, 2]), d.tensor([5, 6], [2, 1])), expected: [17, 39] },
  maxPool: { compute: (d) => t.maxPool2d(image(d), { kernel: 2 }), expected: [4] },
  maxPoolGrad: { compute: (d) => gradient(image(d), (x) => t.maxPool2d(x, { kernel: 2 })), expected: [0, 0, 0, 1] },
  randomBits: {
    compute: (d) => t.randomBits(d.tensor([0, 5], [2], 'u32'), { ...stream, shape: [3] }),
    expected: t.hostRandomBits(stream, [0, 5], 3),
  },
  randomNormal: {
    compute: (d) => t.randomNormal(d.tensor([0, 5], [2], 'u32'), { ...stream, shape: [3] }),
    expected: t.hostRandomNormal(stream, [0, 5], 3),
    tolerance: 1e-6,
  },
  reduce: { compute: (d) => t.sum(d.tensor([1, 2, 3, 4, 5, 6], [2, 3]), { axes: [0] }), expected: [5, 7, 9] },
  resizeBilinear: {
    compute: (d) => t.resizeBilinear(d.tensor([1, 3], [1, 1, 1, 2]), [1, 4]),
    expected: [1, 1.5, 2.5, 3],
    tolerance: 1e-6,
  },
  resizeBilinearGrad: {
    compute: (d) => gradient(d.tensor([1, 3], [1, 1, 1, 2]), (x) => t.resizeBilinear(x, [1, 4])),
    expected: [2, 2],
    tolerance: 1e-6,
  },
  softmax: { compute: (d) => t.softmax(d.tensor([0, Math.log(3)], [1, 2])), expected: [0.25, 0.75], tolerance: 1e-6 },
  windowSpread: {
    compute: (d) => t.upsampleNearest(d.tensor([1, 2], [1, 1, 1, 2]), 2),
    expected: [1, 1, 2, 2, 1, 1, 2, 2],
  },
  windowSum: { compute: (d) => t.avgPool2d(image(d), { kernel: 2 }), expected: [2.5] },
}

describe('every op', () => {
  for (const [name, { compute, expected, tolerance = 0 }] of Object.entries(entries)) {
    deviceTest(name, async (device) => {
      const { backend } = device
      const ran = new Set<string>()
      const run = backend.run.bind(backend)
      backend.run = (op, ...rest): void => {
        ran.add(op)
        run(op, ...rest)
      }
      try {
        using result = device.scope(() => compute(device))
        expectClose(await result.read(), expected, tolerance, name)
      } finally {
        backend.run = run
      }
      expect([...ran]).toContain(name)
    })
  }
})

test('the keys of the table are the names of the ops', () => {
  expect(Object.values(ops).map(({ name }) => name)).toEqual(Object.keys(ops))
})
