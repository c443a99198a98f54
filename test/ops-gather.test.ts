/** Gather and embedding against float64 references of the definition. */
import { describe, expect, test } from 'vitest'
import { embedding, gather, grad, sum, type Tensor } from '../src/tensor/index.ts'
import { at, checkOp, deviceTest, eachIndex, host, numbers, size, type Host, type Input } from './op.ts'

/** Indices below `entries`, some of them repeated. */
const picks = (shape: readonly number[], entries: number, seed = 9): Input => ({
  shape,
  dtype: 'i32',
  values: numbers(size(shape), seed).map((v) => Math.floor(((v + 1) / 2) * entries)),
})

const gathered =
  (axis: number) =>
  (x: Host, index: Host): Host => {
    const out = host(index.shape)
    eachIndex(
      out.shape,
      (i, flat) =>
        (out.data[flat] =
          x.data[
            at(
              x.shape,
              i.map((k, a) => (a === axis ? index.data[flat] : k)),
            )
          ]),
    )
    return out
  }

const integers = (t: Tensor): Tensor<'i32'> => t as unknown as Tensor<'i32'>

describe('gather', () => {
  const cases: [readonly number[], number, readonly number[]][] = [
    [[5], 0, [9]],
    [[4, 7], 1, [4, 1]],
    [[4, 7], 1, [4, 3]],
    [[6, 5], 0, [2, 5]],
    [[2, 5, 3, 7], 1, [2, 4, 3, 7]],
    [[5, 4, 3], 1, [2, 6, 3]],
    [[3, 300], 1, [3, 2]],
  ]
  for (const [shape, axis, index] of cases) {
    test(`[${shape}] along ${axis} by [${index}]`, () =>
      checkOp('gather', {
        inputs: [shape, picks(index, shape[axis])],
        op: (x, i) => gather(x, axis, integers(i)),
        reference: gathered(axis),
        probes: 40,
      }))
  }
  test('a negative axis counts from the back', () =>
    checkOp('gather', {
      inputs: [[3, 4], picks([3, 2], 4)],
      op: (x, i) => gather(x, -1, integers(i)),
      reference: gathered(1),
    }))
  deviceTest('what does not fit is a typed error', async (device) => {
    using x = device.tensor([1, 2, 3, 4], [2, 2])
    using flat = device.tensor([0], [1], 'i32')
    using tall = device.tensor([0, 0, 0], [3, 1], 'i32')
    using unsigned = device.tensor([0, 0], [2, 1], 'u32')
    expect(() => gather(x, 1, flat)).toThrowError(/index of the rank of the table/)
    expect(() => gather(x, 1, tall)).toThrowError(/index like the table in all axes but 1, found \[2, 2\] and \[3, 1\]/)
    expect(() => gather(x, 1, integers(unsigned as unknown as Tensor))).toThrowError(
      /gather: expected a tensor of type i32, found \[2, 1\] of type u32/,
    )
  })
})

describe('embedding', () => {
  const rows = (table: Host, index: Host): Host => {
    const [, d] = table.shape
    const out = host([index.data.length, d])
    eachIndex(out.shape, ([n, k], flat) => (out.data[flat] = table.data[index.data[n] * d + k]))
    return out
  }
  for (const [shape, n] of [
    [[1, 1], 1],
    [[10, 33], 4],
    [[5, 8], 13],
    [[1000, 64], 3],
  ] as const) {
    test(`${n} rows of [${shape}]`, () =>
      checkOp('embedding', {
        inputs: [shape, picks([n], shape[0])],
        op: (x, i) => embedding(x, integers(i)),
        reference: rows,
        probes: 50,
      }))
  }
  deviceTest('a row picked several times gets every cotangent, in order', async (device) => {
    using table = device.tensor([1, 2, 3, 4, 5, 6], [3, 2])
    using index = device.tensor([2, 0, 2, 2], [4], 'i32')
    using dy = device.tensor([1, 2, 3, 4, 5, 6, 7, 8], [4, 2])
    const {
      value,
      gradients: [dx],
    } = grad(() => embedding(table, index), [table], dy)
    expect([...(await dx.read())]).toEqual([3, 4, 0, 0, 13, 16])
    value.dispose()
    dx.dispose()
  })
  deviceTest('an index outside the table picks its nearest end', async (device) => {
    using table = device.tensor([1, 2, 3, 4, 5, 6], [3, 2])
    using index = device.tensor([-1, 3, -2147483648, 2147483647], [4], 'i32')
    const {
      value,
      gradients: [dx],
    } = device.scope(() => ({ ...grad(() => sum(embedding(table, index)), [table]) }))
    expect(await value.read()).toEqual(Float32Array.of(2 * (1 + 2 + 5 + 6)))
    expect([...(await dx.read())]).toEqual([2, 2, 0, 0, 2, 2])
    value.dispose()
    dx.dispose()
  })
})
