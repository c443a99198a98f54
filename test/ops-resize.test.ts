/** Resizing against float64 references of the definition, and against figures of PyTorch 1.13. */
import { describe, expect, test } from 'vitest'
import { resizeBilinear, upsampleNearest } from '../src/tensor/index.ts'
import { checkOp, deviceTest, eachIndex, expectClose, host, type Host } from './op.ts'

const nearest =
  (factor: number) =>
  (x: Host): Host => {
    const [n, c, h, w] = x.shape
    const out = host([n, c, h * factor, w * factor])
    eachIndex(
      out.shape,
      ([b, k, oy, ox], flat) =>
        (out.data[flat] = x.data[((b * c + k) * h + Math.floor(oy / factor)) * w + Math.floor(ox / factor)]),
    )
    return out
  }

const bilinear =
  ([ho, wo]: readonly [number, number]) =>
  (x: Host): Host => {
    const [n, c, h, w] = x.shape
    const out = host([n, c, ho, wo])
    const source = (i: number, from: number, to: number): [number, number, number] => {
      const position = Math.max(((i + 0.5) * from) / to - 0.5, 0)
      const low = Math.floor(position + 1e-12)
      return [low, Math.min(low + 1, from - 1), position - low]
    }
    eachIndex(out.shape, ([b, k, oy, ox], flat) => {
      const [y0, y1, fy] = source(oy, h, ho)
      const [x0, x1, fx] = source(ox, w, wo)
      const value = (iy: number, ix: number): number => x.data[((b * c + k) * h + iy) * w + ix]
      out.data[flat] =
        (1 - fy) * ((1 - fx) * value(y0, x0) + fx * value(y0, x1)) +
        fy * ((1 - fx) * value(y1, x0) + fx * value(y1, x1))
    })
    return out
  }

describe('nearest', () => {
  for (const [shape, factor] of [
    [[1, 1, 1, 1], 2],
    [[2, 3, 5, 7], 2],
    [[1, 4, 8, 8], 2],
    [[2, 1, 3, 5], 3],
    [[1, 2, 3, 4], 1],
  ] as const) {
    test(`[${shape}] by ${factor}`, () =>
      checkOp('upsampleNearest', {
        inputs: [shape],
        op: (x) => upsampleNearest(x, factor),
        reference: nearest(factor),
      }))
  }
  deviceTest('a factor that is no whole number is a typed error', async (device) => {
    using x = device.tensor([1], [1, 1, 1, 1])
    expect(() => upsampleNearest(x, 1.5)).toThrowError(/whole factor of 1 or more, found 1.5/)
  })
})

describe('bilinear', () => {
  const cases: [readonly number[], readonly [number, number]][] = [
    [
      [1, 1, 1, 1],
      [3, 2],
    ],
    [
      [2, 3, 5, 7],
      [10, 14],
    ],
    [
      [1, 2, 5, 7],
      [8, 3],
    ],
    [
      [1, 2, 9, 11],
      [4, 5],
    ],
    [
      [1, 1, 31, 3],
      [2, 64],
    ],
    [
      [2, 1, 6, 6],
      [6, 6],
    ],
    [
      [1, 1, 16, 16],
      [64, 64],
    ],
    [
      [1, 1, 20, 17],
      [3, 1],
    ],
  ]
  for (const [shape, size] of cases) {
    test(`[${shape}] to ${size}`, () =>
      checkOp('resizeBilinear', {
        inputs: [shape],
        op: (x) => resizeBilinear(x, size),
        reference: bilinear(size),
        probes: 60,
      }))
  }
  deviceTest('agrees with PyTorch', async (device) => {
    using x = device.tensor([1, 2, 4, 8, 3, -5], [1, 1, 2, 3])
    const torch: [readonly [number, number], number[]][] = [
      [
        [5, 4],
        [1, 1.625, 2.75, 4, 1.7, 1.95, 2.475, 3.1, 4.5, 3.25, 1.375, -0.5, 7.3, 4.55, 0.275, -4.1, 8, 4.875, 0, -5],
      ],
      [
        [1, 2],
        [4, 0.25],
      ],
      [
        [3, 7],
        [
          1, 1.142857, 1.571429, 2, 2.857143, 3.714286, 4, 4.5, 4.214286, 3.357143, 2.5, 1.214286, -0.071429, -0.5, 8,
          7.285714, 5.142857, 3, -0.428572, -3.857143, -5,
        ],
      ],
    ]
    for (const [size, expected] of torch) {
      using y = resizeBilinear(x, size)
      expectClose(await y.read(), expected, 1e-6, `to ${size}`)
    }
  })
})
