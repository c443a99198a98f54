import { describe, expect, test } from 'vitest'
import { linear, matmul, type Tensor } from '../src/tensor/index.ts'
import {
  asHardware,
  backends,
  checkOp,
  cpuBackends,
  deviceTest,
  expectClose,
  host,
  numbers,
  type Host,
  type OpCheck,
} from './op.ts'
import { product, transposed } from './references.ts'

const check = (
  a: readonly number[],
  b: readonly number[],
  ta = false,
  tb = false,
  on: OpCheck['on'] = backends,
): Promise<void> => {
  // k products are added in a row: k/2 roundings of 6e-8, of partial sums that may exceed the result.
  const k = a[a.length - (ta ? 2 : 1)]
  return checkOp(`matmul [${a}]${ta ? 'ᵀ' : ''} [${b}]${tb ? 'ᵀ' : ''}`, {
    on,
    inputs: [a, b],
    op: (x, y) => matmul(x, y, { transposeA: ta, transposeB: tb }),
    reference: product(ta, tb),
    tolerance: 1e-6 + k * 6e-8,
    probes: 8,
  })
}

describe('matmul', () => {
  const sizes = [
    [1, 1, 1],
    [1, 7, 33],
    [7, 1, 65],
    [33, 65, 1],
    [33, 7, 65],
    [65, 33, 7],
    [32, 16, 64],
  ]
  for (const [ta, tb] of [
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ]) {
    test(`${ta ? 'Aᵀ' : 'A'} ${tb ? 'Bᵀ' : 'B'} of sizes from 1 to 65`, async () => {
      for (const [m, k, n] of sizes) await check(transposed([m, k], ta), transposed([k, n], tb), ta, tb)
    })
  }
  const batches = [
    [[3], [3]],
    [[3], []],
    [[], [5]],
    [[3], [1]],
    [[1], [3]],
    [[2, 3], [3]],
    [[3], [2, 3]],
    [[2, 1], [3]],
    [
      [2, 1, 1],
      [3, 2],
    ],
    [
      [2, 3, 2],
      [2, 3, 2],
    ],
  ]
  for (const [a, b] of batches) {
    test(`batch [${a}] with [${b}]`, async () => {
      await check([...a, 3, 5], [...b, 5, 2])
      await check([...a, 5, 3], [...b, 2, 5], true, true)
    })
  }
  // A GPU multiplies by the GEMM where sizes allow it, here the sum of 96 in two parts, and few rows otherwise; the
  // gradients go by matmul.ts, for 9 and 5 rows leave no vec4.
  test.skipIf(asHardware.length === 0)('by the kernels that hardware is given', async () => {
    await check([9, 96], [36, 96], false, true, asHardware)
    await check([5, 144], [36, 144], false, true, asHardware)
  })
  test('a tensor times itself', () =>
    checkOp('x xᵀ', {
      inputs: [[5, 7]],
      op: (x) => matmul(x, x, { transposeB: true }),
      reference: (x) => product(false, true)(x, x),
    }))
  deviceTest('shapes that do not fit are a typed error', async (device) => {
    using a = device.tensor([1, 2, 3, 4, 5, 6], [2, 3])
    using vector = device.tensor([1, 2])
    using c = device.tensor(new Float32Array(24), [4, 3, 2])
    using d = device.tensor(new Float32Array(30), [5, 3, 2])
    expect(() => matmul(a, a)).toThrowError(/expected equal inner dimensions, found \[2, 3\] and \[2, 3\]/)
    expect(() => matmul(a, vector)).toThrowError(/expected two matrices/)
    expect(() => matmul(c, d, { transposeB: true })).toThrowError(/broadcast/)
  })
  // Batch axes that broadcast one way, then the other, then the first again.
  const [left, right] = [
    [2, 1, 3, 1, 2],
    [1, 5, 1, 2, 1],
  ]
  deviceTest(
    'three runs of batch axes are one too many for the WGSL kernel',
    async (device) => {
      using e = device.tensor(new Float32Array(12), left)
      using f = device.tensor(new Float32Array(10), right)
      const before = device.stats.liveBuffers
      expect(() => matmul(e, f)).toThrowError(/broadcast in more than two runs/)
      expect(device.stats.liveBuffers, 'the result that was never computed').toBe(before)
    },
    { on: ['webgpu'] },
  )
  deviceTest(
    'three runs of batch axes',
    async (device) => {
      const [a, b] = [host(left, numbers(12, 1)), host(right, numbers(10, 2))]
      using e = device.tensor(a.data, left)
      using f = device.tensor(b.data, right)
      using y = matmul(e, f)
      expect(y.shape).toEqual([2, 5, 3, 1, 1])
      expectClose(await y.read(), product(false, false)(a, b).data, 2e-6, 'product')
    },
    { on: cpuBackends },
  )
})

describe('linear', () => {
  const reference = (x: Host, weight: Host, bias?: Host): Host => {
    const y = product(false, true)(x, weight)
    return bias ? { shape: y.shape, data: y.data.map((v, i) => v + bias.data[i % bias.data.length]) } : y
  }
  for (const [n, i, o] of [
    [1, 1, 1],
    [3, 7, 33],
    [65, 33, 7],
  ]) {
    test(`[${n}, ${i}] to ${o}`, async () => {
      await checkOp('linear', {
        inputs: [
          [n, i],
          [o, i],
        ],
        op: (x: Tensor, w: Tensor) => linear(x, w),
        reference,
        tolerance: 4e-6,
        probes: 8,
      })
      // A bias is not scaled with x and w, so that it is seen beside their product.
      await checkOp('linear with bias', {
        inputs: [[n, i], [o, i], [o]],
        op: linear,
        reference,
        tolerance: 4e-6,
        probes: 8,
      })
    })
  }
})
