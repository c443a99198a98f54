import { describe, expect, test } from 'vitest'
import {
  add,
  concat,
  mul,
  pad,
  permute,
  reshape,
  slice,
  split,
  square,
  type AnyTensor,
  type DType,
  type Tensor,
} from '../src/tensor/index.ts'
import { at, checkOp, deviceTest, eachIndex, host, numbers, size, type Host } from './op.ts'

/** A host tensor of `shape` whose element at `index` is x at `from(index)`, or 0 where that is null. */
const gathered = (
  shape: readonly number[],
  x: Host,
  from: (index: readonly number[]) => readonly number[] | null,
): Host => {
  const out = host(shape)
  eachIndex(shape, (index, flat) => {
    const source = from(index)
    if (source) out.data[flat] = x.data[at(x.shape, source)]
  })
  return out
}

/** These ops move bits: nothing is rounded. */
const exact = { tolerance: 0 } as const
/** Squaring in the middle of a graph rounds. */
const moved = { tolerance: 1e-7 } as const

const permuted = (x: Host, order: readonly number[]): Host =>
  gathered(
    order.map((a) => x.shape[a]),
    x,
    (index) => x.shape.map((_, axis) => index[order.indexOf(axis)]),
  )

const sliced = (x: Host, axis: number, start: number, end: number): Host =>
  gathered(
    x.shape.map((n, i) => (i === axis ? end - start : n)),
    x,
    (index) => index.map((n, i) => (i === axis ? n + start : n)),
  )

const padded = (x: Host, before: readonly number[], after: readonly number[]): Host =>
  gathered(
    x.shape.map((n, i) => n + before[i] + after[i]),
    x,
    (index) => {
      const source = index.map((n, i) => n - before[i])
      return source.every((n, i) => n >= 0 && n < x.shape[i]) ? source : null
    },
  )

const concatenated = (inputs: readonly Host[], axis: number): Host => {
  const out = host(inputs[0].shape.map((n, i) => (i === axis ? inputs.reduce((sum, x) => sum + x.shape[i], 0) : n)))
  let start = 0
  for (const x of inputs) {
    eachIndex(
      x.shape,
      (index, flat) =>
        (out.data[
          at(
            out.shape,
            index.map((n, i) => (i === axis ? n + start : n)),
          )
        ] = x.data[flat]),
    )
    start += x.shape[axis]
  }
  return out
}

const orders = (axes: number[]): number[][] =>
  axes.length === 0 ? [[]] : axes.flatMap((a) => orders(axes.filter((b) => b !== a)).map((rest) => [a, ...rest]))

describe('permute', () => {
  for (const shape of [
    [3, 5, 2, 7],
    [2, 4, 3, 8],
  ]) {
    test(`[${shape}] in every order`, async () => {
      for (const order of orders([0, 1, 2, 3])) {
        await checkOp(`permute ${order}`, {
          inputs: [shape],
          op: (x) => permute(x, order),
          reference: (x) => permuted(x, order),
          ...moved,
          large: false,
          probes: 5,
        })
      }
    })
  }
  // Larger than the tiles that a CPU transposes at a time, with every remainder.
  for (const [shape, order] of [
    [
      [131, 259],
      [1, 0],
    ],
    [
      [3, 66, 130],
      [0, 2, 1],
    ],
    [
      [65, 3, 133],
      [2, 1, 0],
    ],
    [
      [70, 129, 2],
      [1, 0, 2],
    ],
  ] as const) {
    test(`[${shape}] as ${order}`, () =>
      checkOp('permute', {
        inputs: [shape],
        op: (x) => permute(x, order),
        reference: (x) => permuted(x, order),
        ...moved,
        large: false,
        midGraph: false,
        probes: 4,
      }))
  }
  test('six axes, one axis, none', async () => {
    await checkOp('permute', {
      inputs: [[2, 3, 1, 2, 3, 5]],
      op: (x) => permute(x, [5, 0, 3, 2, 4, 1]),
      reference: (x) => permuted(x, [5, 0, 3, 2, 4, 1]),
      ...moved,
    })
    await checkOp('permute', { inputs: [[7]], op: (x) => permute(x, [0]), reference: (x) => x, ...moved })
    await checkOp('permute', { inputs: [[]], op: (x) => permute(x, []), reference: (x) => x, ...moved })
  })
})

describe('slice, split', () => {
  const cases: [number[], number, number, number][] = [
    [[7], 0, 2, 5],
    [[3, 5, 7], 0, 1, 2],
    [[3, 5, 7], 1, 1, 4],
    [[3, 5, 7], 2, 0, 6],
    [[2, 8, 8], 2, 4, 8],
    [[2, 8, 8], 1, 2, 6],
    [[3, 5], 1, 0, 5],
  ]
  for (const [shape, axis, start, end] of cases) {
    test(`[${shape}] from ${start} to ${end} along ${axis}`, async () => {
      await checkOp('slice', {
        inputs: [shape],
        op: (x) => slice(x, axis, start, end),
        reference: (x) => sliced(x, axis, start, end),
        ...moved,
      })
      await checkOp('slice', {
        inputs: [shape],
        op: (x) => slice(x, axis - shape.length, start, end),
        reference: (x) => sliced(x, axis, start, end),
        ...moved,
        large: false,
        midGraph: false,
      })
    })
  }
  test('the pieces of a split, used in different ways', () =>
    checkOp('split', {
      inputs: [[3, 7, 5]],
      op: (x) => {
        const [a, b, c] = split(x, 1, [2, 3, 2])
        return concat([mul(c, 2), square(a), b], 1)
      },
      reference: (x) => {
        const twice = (y: Host): Host => ({ shape: y.shape, data: y.data.map((v) => 2 * v) })
        const squared = (y: Host): Host => ({ shape: y.shape, data: y.data.map((v) => v * v) })
        return concatenated([twice(sliced(x, 1, 5, 7)), squared(sliced(x, 1, 0, 2)), sliced(x, 1, 2, 5)], 1)
      },
    }))
})

describe('pad', () => {
  const cases: [number[], number[], number[]][] = [
    [[5], [2], [3]],
    [
      [3, 5],
      [0, 1],
      [2, 0],
    ],
    [
      [2, 3, 4, 4],
      [0, 0, 4, 4],
      [0, 0, 4, 4],
    ],
    [
      [2, 3, 5, 7],
      [1, 0, 2, 3],
      [0, 2, 1, 4],
    ],
    [
      [3, 4],
      [0, 0],
      [0, 0],
    ],
  ]
  for (const [shape, before, after] of cases) {
    test(`[${shape}] by [${before}] and [${after}]`, () =>
      checkOp('pad', {
        inputs: [shape],
        op: (x) => pad(x, before, after),
        reference: (x) => padded(x, before, after),
        ...moved,
      }))
  }
})

describe('concat', () => {
  const cases: [number[][], number][] = [
    [[[3], [5], [1]], 0],
    [
      [
        [2, 3, 5],
        [2, 1, 5],
      ],
      1,
    ],
    [
      [
        [2, 3, 5],
        [2, 3, 2],
        [2, 3, 1],
      ],
      2,
    ],
    [
      [
        [1, 4, 8],
        [3, 4, 8],
      ],
      0,
    ],
    [
      [
        [2, 4, 4],
        [2, 8, 4],
      ],
      1,
    ],
    [[[3, 5]], 1],
  ]
  for (const [shapes, axis] of cases) {
    test(`${shapes.map((s) => `[${s}]`).join(', ')} along ${axis}`, () =>
      checkOp('concat', {
        inputs: shapes,
        op: (...x) => concat(x, axis),
        reference: (...x) => concatenated(x, axis),
        ...moved,
      }))
  }
  test('a tensor with itself', () =>
    checkOp('concat', {
      inputs: [[3, 5]],
      op: (x) => concat([x, x, x], 0),
      reference: (x) => concatenated([x, x, x], 0),
      ...moved,
    }))
})

describe('reshape', () => {
  const cases: [number[], number[], number[]][] = [
    [
      [3, 5, 7],
      [15, 7],
      [15, 7],
    ],
    [[3, 5, 7], [-1], [105]],
    [
      [6, 5],
      [2, -1, 3],
      [2, 5, 3],
    ],
    [[1], [], []],
    [[], [1, 1], [1, 1]],
  ]
  for (const [from, asked, to] of cases) {
    test(`[${from}] to [${asked}]`, () =>
      checkOp('reshape', {
        inputs: [from],
        op: (x) => reshape(x, asked),
        reference: (x) => ({ shape: to, data: x.data }),
        ...moved,
      }))
  }
  test('a view and its original are two values to the tape', () =>
    checkOp('reshape', {
      inputs: [[3, 4]],
      op: (x) => add(square(reshape(x, [12])), reshape(mul(x, 3), [12])),
      reference: (x) => ({ shape: [12], data: x.data.map((v) => v * v + 3 * v) }),
    }))
  deviceTest('a view outlives its original, and the other way round', async (device) => {
    const before = device.stats.liveBuffers
    const x = device.tensor([1, 2, 3, 4])
    const y = reshape(x, [2, 2])
    x.dispose()
    expect([...(await y.read())]).toEqual([1, 2, 3, 4])
    const z = reshape(y, [4])
    z.dispose()
    expect([...(await y.read())]).toEqual([1, 2, 3, 4])
    y.dispose()
    expect(device.stats.liveBuffers).toBe(before)
  })
})

describe('whole numbers', () => {
  const values = {
    i32: [-(2 ** 31), -1, 0, 1, 2 ** 31 - 1, 16777217],
    u32: [0, 1, 2 ** 31, 2 ** 32 - 1, 16777217, 5],
  } as const
  for (const dtype of ['i32', 'u32'] as const) {
    deviceTest(`${dtype} pass through unchanged`, async (device) => {
      const before = device.stats.liveBuffers
      using x = device.tensor(values[dtype], [2, 3], dtype)
      const expected = host([2, 3], values[dtype])
      const read = async (y: AnyTensor): Promise<number[]> => {
        expect(y.dtype).toBe(dtype)
        const out = [...(await y.read())]
        y.dispose()
        return out
      }
      expect(await read(permute<DType>(x, [1, 0]))).toEqual([...permuted(expected, [1, 0]).data])
      expect(await read(slice<DType>(x, 1, 1, 3))).toEqual([...sliced(expected, 1, 1, 3).data])
      expect(await read(pad<DType>(x, [1, 0], [0, 2]))).toEqual([...padded(expected, [1, 0], [0, 2]).data])
      expect(await read(concat<DType>([x, x], 1))).toEqual([...concatenated([expected, expected], 1).data])
      expect(await read(reshape<DType>(x, [3, -1]))).toEqual([...expected.data])
      for (const [i, piece] of split<DType>(x, 0, [1, 1]).entries())
        expect(await read(piece)).toEqual([...sliced(expected, 0, i, i + 1).data])
      x.dispose()
      expect(device.stats.liveBuffers).toBe(before)
    })
  }
  deviceTest('no bit of an f32 is lost: a NaN, an infinity, a negative zero', async (device) => {
    using x = device.tensor([NaN, Infinity, -0, 1e-40])
    using y = concat([x, x], 0)
    expect([...(await y.read())]).toEqual([...(await x.read()), ...(await x.read())])
  })
})

deviceTest('a large copy takes more workgroups than fit along x', async (device) => {
  // 65535 workgroups of 64 lanes hold 4194240 elements.
  const count = 4_194_241
  using x = device.tensor(Float32Array.from({ length: count }, (_, i) => i % 9973))
  using y = pad(x, [1], [0])
  const found = await y.read()
  expect(found.every((v, i) => v === (i === 0 ? 0 : (i - 1) % 9973))).toBe(true)
})

deviceTest('what does not fit is a typed error', async (device) => {
  const before = device.stats.liveBuffers
  using x = device.tensor(numbers(size([2, 3]), 1), [2, 3])
  using other: Tensor = device.tensor([1, 2], [2, 1])
  using labels = device.tensor([1, 2], [2, 1], 'i32')
  const message = (f: () => unknown): string => {
    try {
      f()
    } catch (error) {
      expect(error).toMatchObject({ name: 'TweedieError', code: 'shape' })
      return (error as Error).message
    }
    return 'nothing was thrown'
  }
  expect(message(() => permute(x, [0, 0]))).toMatch(/expected an order of the 2 axes of \[2, 3\], found \[0, 0\]/)
  expect(message(() => permute(x, [0]))).toMatch(/found \[0\]/)
  expect(message(() => slice(x, 2, 0, 1))).toMatch(/axis 2 does not exist/)
  expect(message(() => slice(x, 1, 2, 2))).toMatch(/0 <= start < end <= 3/)
  expect(message(() => slice(x, 1, 0, 4))).toMatch(/found \[0, 4\]/)
  expect(message(() => pad(x, [0, -1], [0, 0]))).toMatch(/found \[0, -1\]/)
  expect(message(() => pad(x, [0], [0, 0]))).toMatch(/found \[0\]/)
  expect(message(() => concat([x, other], 0))).toMatch(/differ along axis 0 only, found \[2, 3\] and \[2, 1\]/)
  expect(message(() => concat<DType>([other, labels], 0))).toMatch(/f32 and i32/)
  expect(message(() => split(x, 1, [1, 1]))).toMatch(/add up to 3/)
  expect(message(() => reshape(x, [4]))).toMatch(/6 elements as \[4\], found \[2, 3\]/)
  expect(message(() => reshape(x, [-1, 4]))).toMatch(/\[1.5, 4\]/)
  expect(message(() => reshape(x, [-2, -3]))).toMatch(/positive/)
  expect(device.stats.liveBuffers).toBe(before + 3)
})

test('moves after one another', () =>
  checkOp('moves', {
    inputs: [[2, 3, 4]],
    midGraph: false,
    large: false,
    op: (x) => pad(permute(slice(x, 2, 1, 4), [2, 0, 1]), [0, 1, 0], [1, 0, 0]),
    reference: (x) => padded(permuted(sliced(x, 2, 1, 4), [2, 0, 1]), [0, 1, 0], [1, 0, 0]),
    ...exact,
  }))
