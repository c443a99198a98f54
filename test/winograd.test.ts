/**
 * Winograd convolutions of the CPU backend, against float64 on the host: images that fill their tiles and that do not,
 * every padding, odd channels, blocks of tiles and channels that are not full; the choice between Winograd and the
 * direct kernels; and what must not change a bit: the number of threads, and the batch a sample is in.
 *
 * Tolerance, relative to the largest value: transforms by the points 0, ±5/8, ±3/2, ∞ amplify rounding about 2
 * times over a direct sum's on random data (63 times at the very worst), and a sum of n products errs as √n:
 * 2e-6 + 2e-7·√channels.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { winogradDataGrad, winogradForward, winogradWeightGrad } from '../src/tensor/cpu/launches/winograd.ts'
import type { Encoder } from '../src/tensor/cpu/launch.ts'
import { conv2d, Device, type Tensor } from '../src/tensor/index.ts'
import { applyOne } from '../src/tensor/op.ts'
import { conv2dDataGrad, conv2dWeightGrad } from '../src/tensor/ops/conv2d.ts'
import { cpuBackends, expectClose, expectSameBits, numbers } from './op.ts'

interface Case {
  readonly x: readonly [number, number, number, number]
  readonly cout: number
  readonly padding?: number
  /** Multiplies inputs. */
  readonly scale?: number
}

const cases: Case[] = [
  { x: [2, 16, 16, 16], cout: 16 },
  { x: [1, 6, 32, 32], cout: 3 },
  { x: [9, 7, 8, 5], cout: 13 },
  { x: [2, 19, 13, 18], cout: 21, scale: 1e4 },
  { x: [3, 8, 19, 11], cout: 10, padding: 0 },
  { x: [2, 9, 12, 9], cout: 14, padding: 2 },
  { x: [5, 6, 6, 7], cout: 7 },
  // A row of more tiles than a chunk takes; several blocks of channels both ways.
  { x: [1, 6, 7, 170], cout: 6 },
  { x: [2, 75, 16, 12], cout: 79 },
  // Output channels in several chunks; chunks of 8 tiles.
  { x: [2, 10, 8, 16], cout: 139 },
  { x: [5, 260, 8, 8], cout: 9 },
  { x: [1, 530, 14, 16], cout: 6 },
]

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)
const weightShape = ({ x, cout }: Case): number[] => [cout, x[1], 3, 3]
const outputShape = ({ x, cout, padding = 1 }: Case): [number, number, number, number] => [
  x[0],
  cout,
  x[2] + 2 * padding - 2,
  x[3] + 2 * padding - 2,
]

interface Arrays {
  readonly x: Float64Array
  readonly weight: Float64Array
  readonly dy: Float64Array
}

const arraysOf = (c: Case): Arrays => ({
  x: numbers(product(c.x), 1).map((v) => Math.fround(v * (c.scale ?? 1))),
  weight: numbers(product(weightShape(c)), 2).map((v) => Math.fround(v * (c.scale ?? 1))),
  dy: numbers(product(outputShape(c)), 3),
})

function exact(c: Case, { x, weight, dy }: Arrays): { y: Float64Array; dx: Float64Array; dw: Float64Array } {
  const [n, cin, h, w] = c.x
  const [, cout, ho, wo] = outputShape(c)
  const padding = c.padding ?? 1
  const [y, dx, dw] = [new Float64Array(dy.length), new Float64Array(x.length), new Float64Array(weight.length)]
  for (let b = 0, o = 0; b < n; b++)
    for (let co = 0; co < cout; co++)
      for (let oy = 0; oy < ho; oy++)
        for (let ox = 0; ox < wo; ox++, o++) {
          for (let ci = 0; ci < cin; ci++)
            for (let ky = 0; ky < 3; ky++)
              for (let kx = 0; kx < 3; kx++) {
                const [iy, ix] = [oy - padding + ky, ox - padding + kx]
                if (iy < 0 || iy >= h || ix < 0 || ix >= w) continue
                const i = ((b * cin + ci) * h + iy) * w + ix
                const k = ((co * cin + ci) * 3 + ky) * 3 + kx
                y[o] += x[i] * weight[k]
                dx[i] += dy[o] * weight[k]
                dw[k] += dy[o] * x[i]
              }
        }
  return { y, dx, dw }
}

const tolerance = (channels: number): number => 2e-6 + 2e-7 * Math.sqrt(channels)

const requests = cpuBackends.flatMap((name) =>
  [1, 3].map((threads) => ({ backend: 'cpu', threads, simd: name === 'cpu' ? 'plain' : 'relaxed' }) as const),
)
let devices: Device[] = []

beforeAll(async () => void (devices = await Promise.all(requests.map((request) => Device.request(request)))))
afterAll(() => {
  for (const device of devices) {
    expect(device.stats.liveBuffers).toBe(0)
    device.dispose()
  }
})

/** What `f` gives with each kind of SIMD; one thread and three must give the same. */
async function onAll(f: (device: Device) => Tensor): Promise<Float32Array[]> {
  const results = await Promise.all(
    devices.map(async (device) => {
      using result = device.scope(() => f(device))
      return (await result.read()) as Float32Array
    }),
  )
  return results.filter((result, i) => {
    if (i % 2 === 1) expectSameBits(result, results[i - 1], 'three threads against one')
    return i % 2 === 0
  })
}

const tensor = (device: Device, data: Float64Array, shape: readonly number[]): Tensor =>
  device.tensor(Float32Array.from(data), shape)

/** The kernels that a launch enqueues; none where it leaves the work to the direct kernels. */
function kernelsOf(launch: (encoder: Encoder) => boolean): unknown[] {
  const kernels: unknown[] = []
  const storage = { bytes: 0, version: 0 }
  const encoder: Encoder = {
    run: ({ kernel }) => void kernels.push(kernel),
    clear: () => {},
    temporary: () => ({ storage }),
    packed: (_source, _key, _bytes, pack) => {
      pack({ storage })
      return { storage }
    },
    compile: (_key, fields) => ({ address: 0, fields }),
  }
  expect(launch(encoder)).toBe(kernels.length > 0)
  return kernels
}

function kernelsFor(c: Case, stride = 1): { forward: unknown[]; data: unknown[]; weight: unknown[] } {
  const view = (shape: readonly number[]) => ({ storage: { bytes: 0, version: 0 }, shape, dtype: 'f32' as const })
  const [x, weight, y] = [view(c.x), view(weightShape(c)), view(outputShape(c))]
  const params = { stride, padding: c.padding ?? 1 }
  return {
    forward: kernelsOf((e) => winogradForward(e, { ...params, bias: false, residual: false }, [x, weight], [y])),
    data: kernelsOf((e) => winogradDataGrad(e, { ...params, shape: c.x }, [y, weight], [x])),
    weight: kernelsOf((e) => winogradWeightGrad(e, { ...params, shape: weight.shape }, [x, y], [weight])),
  }
}

describe.each(cases)('x $x to $cout channels, padding $padding', (c) => {
  const arrays = arraysOf(c)
  const { x, weight, dy } = arrays
  const { y, dx, dw } = exact(c, arrays)
  const yShape = outputShape(c)
  const padding = c.padding ?? 1

  test('forward, with bias and residual and without', async () => {
    expect(kernelsFor(c).forward).toEqual(['winogradWeights', 'winogradForward'])
    for (const found of await onAll((d) => conv2d(tensor(d, x, c.x), tensor(d, weight, weightShape(c)), { padding }))) {
      expectClose(found, y, tolerance(c.x[1]), 'plain')
    }
    const bias = numbers(c.cout, 4)
    const residual = numbers(y.length, 5)
    const plane = yShape[2] * yShape[3]
    const all = y.map((v, i) => v + bias[Math.floor(i / plane) % c.cout] + residual[i])
    for (const found of await onAll((d) =>
      conv2d(tensor(d, x, c.x), tensor(d, weight, weightShape(c)), {
        padding,
        bias: tensor(d, bias, [c.cout]),
        residual: tensor(d, residual, yShape),
      }),
    )) {
      expectClose(found, all, tolerance(c.x[1]), 'with bias and residual')
    }
  })

  test('data gradient', async () => {
    if (c.cout >= 6) expect(kernelsFor(c).data).toEqual(['winogradWeights', 'winogradForward'])
    for (const found of await onAll((d) =>
      applyOne(conv2dDataGrad, { stride: 1, padding, shape: c.x }, [
        tensor(d, dy, yShape),
        tensor(d, weight, weightShape(c)),
      ]),
    )) {
      expectClose(found, dx, tolerance(c.cout), 'dx')
    }
  })

  test('weight gradient', async () => {
    if (c.x[0] * Math.ceil(yShape[2] / 4) * Math.ceil(yShape[3] / 4) >= 16)
      expect(kernelsFor(c).weight).toEqual(['winogradWeightGradient', 'winogradWeightSum'])
    for (const found of await onAll((d) =>
      applyOne(conv2dWeightGrad, { stride: 1, padding, shape: weightShape(c) }, [
        tensor(d, x, c.x),
        tensor(d, dy, yShape),
      ]),
    )) {
      expectClose(found, dw, tolerance(1), 'dw')
    }
  })
})

test('the weight gradient of many tiles, which are split and summed', async () => {
  const c: Case = { x: [13, 12, 24, 20], cout: 8 }
  const arrays = arraysOf(c)
  for (const found of await onAll((d) =>
    applyOne(conv2dWeightGrad, { stride: 1, padding: 1, shape: weightShape(c) }, [
      tensor(d, arrays.x, c.x),
      tensor(d, arrays.dy, outputShape(c)),
    ]),
  )) {
    expectClose(found, exact(c, arrays).dw, tolerance(1), 'dw')
  }
})

test('left to the direct kernels: other strides, few channels or tiles, narrow images, much padding', () => {
  const none = { forward: [], data: [], weight: [] }
  expect(kernelsFor({ x: [4, 16, 16, 16], cout: 16 }, 2)).toEqual(none)
  expect(kernelsFor({ x: [4, 2, 16, 16], cout: 2 })).toEqual(none)
  expect(kernelsFor({ x: [4, 3, 16, 16], cout: 8 }).forward).toEqual([])
  expect(kernelsFor({ x: [3, 64, 8, 8], cout: 64 }).weight).toEqual([])
  expect(kernelsFor({ x: [16, 64, 4, 4], cout: 64 }).forward).toEqual([])
  expect(kernelsFor({ x: [16, 256, 8, 8], cout: 256 }).forward).toEqual([])
  expect(kernelsFor({ x: [1, 64, 1, 400], cout: 64 })).toEqual(none)
  expect(kernelsFor({ x: [16, 64, 400, 3], cout: 64 })).toEqual(none)
  expect(kernelsFor({ x: [16, 64, 8, 8], cout: 64, padding: 3 }).data).toEqual([])
})

test('a sample is the same to the bit in any batch', async () => {
  for (const c of [
    { x: [11, 40, 8, 8], cout: 34 },
    { x: [5, 13, 17, 30], cout: 9 },
    { x: [9, 33, 4, 4], cout: 9 },
  ] as const) {
    const { x, weight } = arraysOf(c)
    const of = (images: number): Promise<Float32Array[]> =>
      onAll((d) => {
        const shape = [images, ...c.x.slice(1)]
        return conv2d(tensor(d, x.subarray(0, product(shape)), shape), tensor(d, weight, weightShape(c)), {
          padding: 1,
        })
      })
    const all = await of(c.x[0])
    for (const images of [1, 3]) {
      const some = await of(images)
      some.forEach((found, i) => expectSameBits(found, all[i].slice(0, found.length), `${images} images of ${c.x[0]}`))
    }
  }
})

test('a weight that is written is transformed anew', async () => {
  for (const device of devices) {
    using x = device.tensor(numbers(6 * 256, 1), [1, 6, 16, 16])
    using weight = device.tensor(numbers(6 * 6 * 9, 2), [6, 6, 3, 3])
    const y = async (): Promise<Float32Array> => {
      using result = conv2d(x, weight, { padding: 1 })
      return (await result.read()) as Float32Array
    }
    const before = await y()
    weight.write(numbers(6 * 6 * 9, 2).map((v) => 2 * v))
    expectSameBits(
      await y(),
      before.map((v) => 2 * v),
      'twice the weight',
    )
  }
})
