/**
 * The CPU backend's convolutions and matrix products on shapes that meet the edges of their blocks and panels, against
 * float64 on the host; and what must not change a bit: the number of threads, and the batch a sample is in. Tolerance:
 * f32 sums in a row of up to a few thousand products, 1e-6·Σ|a||b|.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { applyOne } from '../src/tensor/op.ts'
import { conv2d, Device, matmul, type Tensor } from '../src/tensor/index.ts'
import { conv2dDataGrad, conv2dWeightGrad } from '../src/tensor/ops/conv2d.ts'
import { numbers } from './op.ts'

interface Case {
  readonly x: readonly [number, number, number, number]
  readonly weight: readonly [number, number, number, number]
  readonly stride: number
  readonly padding: number
}

const conv = (x: Case['x'], weight: Case['weight'], stride = 1, padding = 0): Case => ({ x, weight, stride, padding })

// None is a 3x3 at stride 1 large enough for Winograd's way.
const cases = [
  conv([2, 3, 9, 7], [6, 3, 5, 5], 1, 2),
  conv([1, 4, 6, 6], [1, 4, 4, 3], 1, 2),
  conv([3, 33, 7, 5], [33, 33, 1, 1]),
  conv([2, 20, 16, 16], [40, 20, 1, 1]),
  conv([1, 5, 7, 9], [6, 5, 1, 1], 2),
  conv([1, 3, 5, 5], [7, 3, 1, 1], 1, 1),
  conv([2, 6, 13, 11], [5, 6, 3, 3], 2, 1),
  conv([3, 40, 18, 22], [23, 40, 3, 3], 2, 1),
  conv([1, 3, 35, 39], [64, 3, 11, 11], 4, 2),
  conv([2, 7, 17, 16], [3, 7, 5, 5], 3, 4),
  conv([1, 4, 9, 8], [5, 4, 3, 3], 4, 5),
  conv([1, 3, 8, 9], [4, 3, 2, 2], 2, 0),
  conv([2, 3, 7, 9], [5, 3, 3, 5], 1, 1),
  conv([1, 3, 6, 9], [5, 3, 3, 1], 1, 1),
  // Rows of more than one block, several rounds of input channels, several blocks of output channels.
  conv([1, 5, 3, 301], [4, 5, 3, 5], 1, 2),
  conv([2, 130, 9, 10], [131, 130, 5, 3], 1, 1),
  conv([1, 2, 21, 270], [3, 2, 1, 1]),
]

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

interface Exact {
  readonly sum: Float64Array
  /** Σ|a||b| of each element. */
  readonly scale: Float64Array
}

const zeros = (count: number): Exact => ({ sum: new Float64Array(count), scale: new Float64Array(count) })

function add(to: Exact, i: number, product: number): void {
  to.sum[i] += product
  to.scale[i] += Math.abs(product)
}

const outputOf = ({ x, weight, stride, padding }: Case): [number, number, number, number] => [
  x[0],
  weight[0],
  Math.floor((x[2] + 2 * padding - weight[2]) / stride) + 1,
  Math.floor((x[3] + 2 * padding - weight[3]) / stride) + 1,
]

function exact(c: Case, x: Float64Array, w: Float64Array, dy: Float64Array): { y: Exact; dx: Exact; dw: Exact } {
  const [, cin, h, width] = c.x
  const [, , kh, kw] = c.weight
  const [n, cout, ho, wo] = outputOf(c)
  const [y, dx, dw] = [zeros(dy.length), zeros(x.length), zeros(w.length)]
  for (let b = 0, o = 0; b < n; b++)
    for (let co = 0; co < cout; co++)
      for (let oy = 0; oy < ho; oy++)
        for (let ox = 0; ox < wo; ox++, o++) {
          for (let ci = 0; ci < cin; ci++)
            for (let ky = 0; ky < kh; ky++)
              for (let kx = 0; kx < kw; kx++) {
                const [iy, ix] = [oy * c.stride - c.padding + ky, ox * c.stride - c.padding + kx]
                if (iy < 0 || iy >= h || ix < 0 || ix >= width) continue
                const i = ((b * cin + ci) * h + iy) * width + ix
                const k = ((co * cin + ci) * kh + ky) * kw + kx
                add(y, o, x[i] * w[k])
                add(dx, i, dy[o] * w[k])
                add(dw, k, dy[o] * x[i])
              }
        }
  return { y, dx, dw }
}

function expectNear(found: ArrayLike<number>, { sum, scale }: Exact, what: string): void {
  expect(found.length, what).toBe(sum.length)
  let worst = 0
  for (let i = 0; i < sum.length; i++) {
    const error = Math.abs(found[i] - sum[i]) / (scale[i] + Number.MIN_VALUE)
    if (!(error <= worst)) worst = error
  }
  expect(worst, what).toBeLessThan(1e-6)
}

let devices: Device[] = []

beforeAll(
  async () => void (devices = await Promise.all([1, 3].map((threads) => Device.request({ backend: 'cpu', threads })))),
)
afterAll(() => devices.forEach((device) => device.dispose()))

/** What `f` gives on one thread; on three it must be the same. */
async function onAll(f: (device: Device) => Tensor): Promise<Float32Array> {
  const results = await Promise.all(
    devices.map((device) => device.scope(() => f(device)).read() as Promise<Float32Array>),
  )
  expect(results[1]).toEqual(results[0])
  return results[0]
}

const tensor = (device: Device, data: Float64Array, shape: readonly number[]): Tensor =>
  device.tensor(Float32Array.from(data), shape)

describe.each(cases)('x $x by $weight, stride $stride, padding $padding', (c) => {
  const { stride, padding } = c
  const yShape = outputOf(c)
  const x = numbers(size(c.x), 1)
  const w = numbers(size(c.weight), 2)
  const dy = numbers(size(yShape), 3)
  const { y, dx, dw } = exact(c, x, w, dy)

  test('forward, with bias and residual and without', async () => {
    const bias = numbers(c.weight[0], 4)
    const residual = numbers(size(yShape), 5)
    expectNear(await onAll((d) => conv2d(tensor(d, x, c.x), tensor(d, w, c.weight), { stride, padding })), y, 'plain')
    const plane = yShape[2] * yShape[3]
    const more = y.sum.map((_, i) => bias[Math.floor(i / plane) % c.weight[0]] + residual[i])
    const both: Exact = { sum: y.sum.map((v, i) => v + more[i]), scale: y.scale.map((v, i) => v + Math.abs(more[i])) }
    expectNear(
      await onAll((d) =>
        conv2d(tensor(d, x, c.x), tensor(d, w, c.weight), {
          stride,
          padding,
          bias: tensor(d, bias, [c.weight[0]]),
          residual: tensor(d, residual, yShape),
        }),
      ),
      both,
      'both',
    )
  })

  test('data gradient', async () => {
    expectNear(
      await onAll((d) =>
        applyOne(conv2dDataGrad, { stride, padding, shape: c.x }, [tensor(d, dy, yShape), tensor(d, w, c.weight)]),
      ),
      dx,
      'dx',
    )
  })

  test('weight gradient', async () => {
    expectNear(
      await onAll((d) =>
        applyOne(conv2dWeightGrad, { stride, padding, shape: c.weight }, [tensor(d, x, c.x), tensor(d, dy, yShape)]),
      ),
      dw,
      'dw',
    )
  })
})

test('the weight gradient of a batch that is cut into parts', async () => {
  const c = conv([24, 16, 20, 20], [32, 16, 3, 3], 2, 1)
  const [x, w, dy] = [numbers(size(c.x), 1), numbers(size(c.weight), 2), numbers(size(outputOf(c)), 3)]
  expectNear(
    await onAll((d) =>
      applyOne(conv2dWeightGrad, { stride: 2, padding: 1, shape: c.weight }, [
        tensor(d, x, c.x),
        tensor(d, dy, outputOf(c)),
      ]),
    ),
    exact(c, x, w, dy).dw,
    'dw',
  )
})

test('a sample is the same to the bit in any batch', async () => {
  for (const c of [conv([9, 48, 8, 8], [64, 48, 3, 3], 2, 1), conv([9, 160, 4, 4], [96, 160, 1, 1])]) {
    const [x, w] = [numbers(size(c.x), 1), numbers(size(c.weight), 2)]
    const one: Case = { ...c, x: [1, c.x[1], c.x[2], c.x[3]] }
    const of = (part: Case): Promise<Float32Array> =>
      onAll((d) =>
        conv2d(tensor(d, x.subarray(0, size(part.x)), part.x), tensor(d, w, c.weight), {
          stride: c.stride,
          padding: c.padding,
        }),
      )
    expect((await of(c)).subarray(0, size(outputOf(one)))).toEqual(await of(one))
  }
  const [x, w] = [numbers(40 * 130, 1), numbers(130 * 96, 2)]
  for (const transposeB of [false, true]) {
    const rows = (n: number): Promise<Float32Array> =>
      onAll((d) =>
        matmul(tensor(d, x.subarray(0, n * 130), [n, 130]), tensor(d, w, transposeB ? [96, 130] : [130, 96]), {
          transposeB,
        }),
      )
    const all = await rows(40)
    for (const n of [1, 5, 16]) expect(await rows(n)).toEqual(all.subarray(0, n * 96))
  }
})

test('a weight that is written is packed anew', async () => {
  using x = devices[0].tensor([1, 2], [1, 2])
  using w = devices[0].tensor([1, 1], [1, 2])
  const product = async (): Promise<number[]> => {
    using y = matmul(x, w, { transposeB: true })
    return [...(await y.read())]
  }
  expect(await product()).toEqual([3])
  w.write([3, 5])
  expect(await product()).toEqual([13])
})

describe('matmul', () => {
  interface Product {
    readonly a: readonly number[]
    readonly b: readonly number[]
    readonly transposeA?: boolean
    readonly transposeB?: boolean
  }
  const strides = (shape: readonly number[], rank: number, transpose: boolean): number[] => {
    const full = [...new Array<number>(rank - shape.length).fill(1), ...shape]
    let step = 1
    const out = full.map(() => 0)
    for (let i = rank - 1; i >= 0; i--) {
      out[i] = full[i] === 1 && i < rank - 2 ? 0 : step
      step *= full[i]
    }
    if (transpose) [out[rank - 2], out[rank - 1]] = [out[rank - 1], out[rank - 2]]
    return out
  }
  function reference(
    { a, b, transposeA = false, transposeB = false }: Product,
    x: Float64Array,
    w: Float64Array,
  ): Exact {
    const rank = Math.max(a.length, b.length)
    const [sa, sb] = [strides(a, rank, transposeA), strides(b, rank, transposeB)]
    const dim = (shape: readonly number[], fromEnd: number): number => shape[shape.length - fromEnd] ?? 1
    const lead = Array.from({ length: rank - 2 }, (_, i) => Math.max(dim(a, rank - i), dim(b, rank - i)))
    const [m, k, n] = [dim(a, transposeA ? 1 : 2), dim(a, transposeA ? 2 : 1), dim(b, transposeB ? 2 : 1)]
    const out = zeros(size(lead) * m * n)
    for (let flat = 0; flat < size(lead); flat++) {
      let [rest, atA, atB] = [flat, 0, 0]
      for (let i = rank - 3; i >= 0; i--) {
        atA += (rest % lead[i]) * sa[i]
        atB += (rest % lead[i]) * sb[i]
        rest = Math.floor(rest / lead[i])
      }
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++)
          for (let l = 0; l < k; l++) {
            add(
              out,
              (flat * m + i) * n + j,
              x[atA + i * sa[rank - 2] + l * sa[rank - 1]] * w[atB + l * sb[rank - 2] + j * sb[rank - 1]],
            )
          }
    }
    return out
  }
  const products: Product[] = [
    { a: [96, 520], b: [520, 72] },
    { a: [97, 1000], b: [61, 1000], transposeB: true },
    { a: [300, 90], b: [300, 110], transposeA: true },
    { a: [77, 101], b: [203, 77], transposeA: true, transposeB: true },
    { a: [16, 128], b: [512, 128], transposeB: true },
    { a: [16, 512], b: [512, 128] },
    { a: [1, 999], b: [999, 24] },
    { a: [999, 501], b: [501, 1] },
    { a: [130, 33], b: [3, 33], transposeB: true },
    { a: [5, 20, 30], b: [30, 8] },
    { a: [7, 11], b: [4, 11, 16] },
    // More matrices than a job has chunks.
    { a: [5000, 3, 2], b: [5000, 2, 9] },
    { a: [2, 1, 3, 1, 2], b: [1, 5, 1, 2, 1] },
    { a: [2, 1, 3, 9, 5], b: [4, 1, 5, 16] },
    { a: [3, 1, 2, 5, 7, 3], b: [4, 2, 1, 3, 9] },
  ]
  test.each(products)('$a by $b', async (product) => {
    const [x, w] = [numbers(size(product.a), 1), numbers(size(product.b), 2)]
    expectNear(
      await onAll((d) =>
        matmul(tensor(d, x, product.a), tensor(d, w, product.b), {
          transposeA: product.transposeA,
          transposeB: product.transposeB,
        }),
      ),
      reference(product, x, w),
      'product',
    )
  })
})
