/** Softmax and log-softmax against float64 references of the definition, short rows and long ones. */
import { describe, expect, test } from 'vitest'
import { grad, logSoftmax, slice, softmax } from '../src/tensor/index.ts'
import { checkOp, deviceTest, expectClose, host, type Host } from './op.ts'

const rowwise =
  (finish: (x: number, top: number, total: number) => number) =>
  (x: Host): Host => {
    const out = host(x.shape)
    const n = x.shape[x.shape.length - 1]
    for (let start = 0; start < x.data.length; start += n) {
      const row = x.data.subarray(start, start + n)
      const top = row.reduce((a, b) => Math.max(a, b))
      const total = row.reduce((sum, v) => sum + Math.exp(v - top), 0)
      row.forEach((v, i) => (out.data[start + i] = finish(v, top, total)))
    }
    return out
  }

const shapes = [[1], [7], [3, 5], [2, 3, 64], [70, 1], [2, 65], [3, 2, 129], [2, 1000]]

describe('softmax', () => {
  for (const shape of shapes) {
    // With values of 1e4 a difference quotient sees either a constant or a cliff; the stability test has those values.
    test(`[${shape}]`, () =>
      checkOp('softmax', {
        inputs: [shape],
        op: softmax,
        reference: rowwise((x, top, total) => Math.exp(x - top) / total),
        large: false,
      }))
  }
})

describe('log softmax', () => {
  for (const shape of shapes) {
    // WGSL's log is good to 2^-21 absolute between 0.5 and 2.
    test(`[${shape}]`, () =>
      checkOp('logSoftmax', {
        inputs: [shape],
        op: logSoftmax,
        reference: rowwise((x, top, total) => x - top - Math.log(total)),
        large: false,
        tolerance: 3e-6,
      }))
  }
})

deviceTest('stable at values of 1e4', async (device) => {
  for (const length of [4, 100]) {
    const values = Array.from({ length }, (_, i) => [1e4, -1e4, 9999, 1e4][i % 4])
    const x = { shape: [length], data: Float64Array.from(values) }
    using t = device.tensor(values)
    using y = softmax(t)
    using log = logSoftmax(t)
    expectClose(await y.read(), rowwise((v, top, total) => Math.exp(v - top) / total)(x).data, 2e-6, 'softmax')
    expectClose(await log.read(), rowwise((v, top, total) => v - top - Math.log(total))(x).data, 1e-6, 'log softmax')
    expect([...(await log.read())].every(Number.isFinite)).toBe(true)
  }
})

deviceTest('a gradient through large logits is finite and right', async (device) => {
  // Of two equal logits of 1e4 and a far one: p = (1/2, 1/2, 0), d log p0 = (1/2, -1/2, 0).
  using x = device.tensor([1e4, 1e4, -1e4], [1, 3])
  const {
    value,
    gradients: [dx],
  } = device.scope(() => ({ ...grad(() => slice(logSoftmax(x), 1, 0, 1), [x]) }))
  expectClose(await dx.read(), [0.5, -0.5, 0], 1e-6, 'gradient')
  value.dispose()
  dx.dispose()
})
