/** Pooling against float64 references of the definition, and against figures of PyTorch 1.13. */
import { describe, expect, test } from 'vitest'
import { avgPool2d, grad, maxPool2d, sum, type MaxPoolOptions } from '../src/tensor/index.ts'
import { pooledSize } from '../src/tensor/ops/pool.ts'
import { checkOp, deviceTest, eachIndex, host, numbers, size, type Host, type Input } from './op.ts'

/** Every window's elements inside the image, put through `f`. */
const pooled =
  ({ kernel, stride = kernel, padding = 0, ceilMode = false }: MaxPoolOptions, f: (values: number[]) => number) =>
  (x: Host): Host => {
    const [n, c, h, w] = x.shape
    const params = { kernel, stride, padding }
    const out = host([n, c, pooledSize(h, params, ceilMode), pooledSize(w, params, ceilMode)])
    eachIndex(out.shape, ([b, k, oy, ox], flat) => {
      const values: number[] = []
      for (let iy = oy * stride - padding; iy < oy * stride - padding + kernel; iy++) {
        for (let ix = ox * stride - padding; ix < ox * stride - padding + kernel; ix++) {
          if (iy >= 0 && iy < h && ix >= 0 && ix < w) values.push(x.data[((b * c + k) * h + iy) * w + ix])
        }
      }
      out.data[flat] = f(values)
    })
    return out
  }

/** A shuffle of different values, so that no maximum is attained twice and none moves within a difference quotient. */
function distinct(shape: readonly number[]): Input {
  const order = [...numbers(size(shape), 3).keys()].sort(
    (a, b) => numbers(size(shape), 3)[a] - numbers(size(shape), 3)[b],
  )
  return { shape, values: order.map((rank) => rank / size(shape) - 0.5) }
}

describe('max pool', () => {
  const cases: [readonly number[], MaxPoolOptions][] = [
    [[1, 1, 2, 2], { kernel: 2 }],
    [[2, 3, 7, 9], { kernel: 2 }],
    [[2, 3, 7, 9], { kernel: 2, ceilMode: true }],
    [[1, 3, 15, 8], { kernel: 3, stride: 2 }],
    [[1, 3, 16, 8], { kernel: 3, stride: 2, ceilMode: true }],
    [[2, 1, 9, 11], { kernel: 3, stride: 2, padding: 1 }],
    [[1, 2, 6, 5], { kernel: 3, stride: 1, padding: 1, ceilMode: true }],
    [[1, 1, 10, 9], { kernel: 3, stride: 4, ceilMode: true }],
    [[1, 1, 2, 3], { kernel: 3, stride: 2, ceilMode: true }],
    // More than a vector of windows, inside and at the edges.
    [[1, 2, 6, 13], { kernel: 3, stride: 1, padding: 1 }],
    [[1, 1, 5, 24], { kernel: 3, stride: 2, ceilMode: true }],
  ]
  for (const [shape, options] of cases) {
    test(`[${shape}] ${JSON.stringify(options)}`, () =>
      checkOp('maxPool2d', {
        inputs: [distinct(shape)],
        op: (x) => maxPool2d(x, options),
        reference: pooled(options, (v) => Math.max(...v)),
      }))
  }

  test('sizes are those of PyTorch', () => {
    // size, kernel, stride, padding → without and with ceil_mode
    const torch = [
      [15, 3, 2, 0, 7, 7],
      [16, 3, 2, 0, 7, 8],
      [7, 2, 2, 0, 3, 4],
      [7, 3, 2, 1, 4, 4],
      [6, 3, 2, 1, 3, 4],
      [5, 2, 3, 1, 2, 2],
      [4, 2, 3, 1, 2, 2],
      [3, 2, 2, 1, 2, 2],
      [8, 3, 3, 1, 3, 3],
      [9, 3, 4, 0, 2, 3],
      [10, 3, 4, 0, 2, 3],
      [1, 1, 2, 0, 1, 1],
    ]
    for (const [n, kernel, stride, padding, floor, ceil] of torch) {
      expect([pooledSize(n, { kernel, stride, padding }), pooledSize(n, { kernel, stride, padding }, true)]).toEqual([
        floor,
        ceil,
      ])
    }
  })

  deviceTest('of equal values the first in reading order wins, whatever the width', async (device) => {
    using x = device.tensor(new Float32Array(4 * 18).fill(-3), [1, 1, 4, 18])
    using dy = device.tensor(new Float32Array(2 * 9).fill(1), [1, 1, 2, 9])
    const {
      value,
      gradients: [dx],
    } = grad(() => maxPool2d(x, { kernel: 2 }), [x], dy)
    expect([...(await value.read())]).toEqual(Array(18).fill(-3))
    expect([...(await dx.read())]).toEqual(
      Array.from({ length: 72 }, (_, i) => (i % 2 === 0 && Math.floor(i / 18) % 2 === 0 ? 1 : 0)),
    )
    value.dispose()
    dx.dispose()
  })

  deviceTest('the gradient of a tie goes to the first in reading order', async (device) => {
    using x = device.tensor([1, 1, 0, 2, 1, 1, 2, 2, 0, 0, 0, 0], [1, 1, 3, 4])
    using dy = device.tensor([1, 2, 3, 4, 5, 6], [1, 1, 2, 3])
    const {
      value,
      gradients: [dx],
    } = grad(() => maxPool2d(x, { kernel: 2, stride: 1 }), [x], dy)
    expect([...(await value.read())]).toEqual([1, 2, 2, 1, 2, 2])
    expect([...(await dx.read())]).toEqual([1, 0, 0, 3, 4, 0, 13, 0, 0, 0, 0, 0])
    value.dispose()
    dx.dispose()
  })

  deviceTest('keeps one integer a window, not the image', async (device) => {
    using x = device.tensor(numbers(4 * 64 * 64, 1), [1, 4, 64, 64])
    const {
      value,
      gradients: [dx],
      savedBytes,
    } = grad(() => sum(maxPool2d(x, { kernel: 2 })), [x])
    expect(savedBytes).toBe(4 * 32 * 32 * 4)
    value.dispose()
    dx.dispose()
  })

  deviceTest('what does not fit is a typed error', async (device) => {
    using x = device.tensor(numbers(24, 1), [1, 1, 4, 6])
    expect(() => maxPool2d(x, { kernel: 5 })).toThrowError(
      /an image that a window of 5 x 5 fits into, found \[1, 1, 4, 6\]/,
    )
    expect(() => maxPool2d(x, { kernel: 3, padding: 2 })).toThrowError(/padding from 0 to half the kernel/)
  })
})

describe('average pool', () => {
  const cases: [readonly number[], MaxPoolOptions][] = [
    [[1, 1, 2, 2], { kernel: 2 }],
    [[2, 3, 8, 10], { kernel: 2 }],
    [[2, 3, 7, 9], { kernel: 2 }],
    [[1, 2, 9, 8], { kernel: 3, stride: 2, padding: 1 }],
    [[1, 2, 6, 7], { kernel: 3, stride: 1 }],
    [[1, 1, 9, 10], { kernel: 2, stride: 3, padding: 1 }],
  ]
  for (const [shape, options] of cases) {
    test(`[${shape}] ${JSON.stringify(options)}`, () =>
      checkOp('avgPool2d', {
        inputs: [shape],
        op: (x) => avgPool2d(x, options),
        reference: pooled(options, (v) => v.reduce((a, b) => a + b, 0) / options.kernel ** 2),
      }))
  }

  for (const [shape, options] of [...cases.slice(3), [[2, 2, 3, 1], { kernel: 3, stride: 1, padding: 1 }] as const]) {
    test(`of the pixels that exist: [${shape}] ${JSON.stringify(options)}`, () =>
      checkOp('avgPool2d', {
        inputs: [shape],
        op: (x) => avgPool2d(x, { ...options, countPadding: false }),
        reference: pooled(options, (v) => v.reduce((a, b) => a + b, 0) / v.length),
      }))
  }

  deviceTest('padding counts, as in PyTorch', async (device) => {
    using x = device.tensor(
      Array.from({ length: 16 }, (_, i) => i + 1),
      [1, 1, 4, 4],
    )
    using y = avgPool2d(x, { kernel: 3, stride: 2, padding: 1 })
    expect([...(await y.read())]).toEqual([14 / 9, 30 / 9, 57 / 9, 11].map((v) => expect.closeTo(v, 6)))
  })
})
