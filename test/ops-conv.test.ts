/**
 * Convolution and its two gradients, by every kernel among which this adapter chooses; those of hardware are
 * test/long/kernels.test.ts's, but for what it usually takes.
 */
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { conv2d, type Tensor } from '../src/tensor/index.ts'
import type { WebGPUBackend } from '../src/tensor/webgpu/backend.ts'
import { asHardware, backends, checkOp, deviceTest, eachKernel, testDevice, type OpCheck } from './op.ts'
import { convolved } from './references.ts'

interface Case {
  readonly x: readonly number[]
  readonly weight: readonly number[]
  readonly stride?: number
  readonly padding?: number | readonly [number, number]
  readonly bias?: boolean
  readonly probes?: number
}

const cases: Case[] = [
  { x: [2, 3, 5, 7], weight: [6, 3, 1, 1], bias: true },
  { x: [1, 5, 7, 5], weight: [33, 5, 1, 1], stride: 2 },
  { x: [2, 3, 4, 5], weight: [7, 3, 1, 1], padding: 1, bias: true },
  { x: [1, 5, 9, 7], weight: [7, 5, 3, 3], padding: 1, bias: true },
  { x: [2, 3, 5, 3], weight: [6, 3, 3, 3] },
  { x: [2, 3, 8, 9], weight: [6, 3, 3, 3], stride: 2, padding: 1 },
  { x: [1, 3, 9, 11], weight: [7, 3, 3, 3], stride: 4, bias: true },
  // More padding than the kernel reaches: whole windows of zeros, and a data gradient that is cropped.
  { x: [1, 3, 4, 5], weight: [6, 3, 3, 3], padding: 5 },
  { x: [1, 5, 5, 4], weight: [6, 5, 3, 3], stride: 2, padding: 4, bias: true },
  { x: [1, 3, 7, 11], weight: [33, 3, 5, 5], padding: 2, bias: true },
  { x: [2, 3, 8, 7], weight: [6, 3, 5, 5], stride: 2, padding: 3 },
  { x: [1, 5, 6, 9], weight: [6, 5, 3, 5], padding: 2 },
  { x: [1, 3, 23, 19], weight: [6, 3, 11, 11], stride: 4, padding: 2, bias: true },
  { x: [1, 3, 11, 12], weight: [7, 3, 11, 11], padding: 5 },
  { x: [1, 3, 1, 1], weight: [6, 3, 3, 3], padding: 1, bias: true },
  // Several tiles of 32 and of 64 both ways, none of them full.
  { x: [1, 3, 33, 35], weight: [33, 3, 3, 3], padding: 1, bias: true, probes: 2 },
]

const name = ({ x, weight, stride = 1, padding = 0, bias }: Case): string =>
  `[${x}] by [${weight}], stride ${stride}, padding ${padding}${bias ? ', bias' : ''}`

const onWebGPU = backends.includes('webgpu')

for (const one of cases) test(name(one), () => check(one, backends, /./))

deviceTest(
  'what a software adapter chooses from',
  async (device) => {
    const { subgroupSize } = (device.backend as WebGPUBackend).capabilities
    using x = device.tensor(new Float32Array(75), [1, 3, 5, 5])
    using weight = device.tensor(new Float32Array(27 * 9), [9, 3, 3, 3])
    const all = new Set<string>()
    await eachKernel(device, async (forced) => {
      conv2d(x, weight).dispose()
      for (const name of forced.values()) all.add(name)
    })
    expect([...all]).toEqual([
      'register',
      ...(subgroupSize >= 8 && subgroupSize <= 16 ? ['subgroup wide'] : []),
      ...(subgroupSize >= 4 && subgroupSize <= 16 ? ['subgroup'] : []),
      'tile 32x32',
      'tile 64x64',
    ])
  },
  { on: onWebGPU ? ['webgpu'] : [] },
)

// As a GPU gets them: patches for 3×3, products for 1×1, else the large tile, cut where a grid is small, no subgroups.
if (onWebGPU)
  describe('by the kernels that hardware is given', () => {
    const labels = new Set<string>()
    beforeAll(async () => {
      const { gpuDevice } = (await testDevice('webgpu, as hardware')).backend as WebGPUBackend
      const create = gpuDevice.createShaderModule.bind(gpuDevice)
      vi.spyOn(gpuDevice, 'createShaderModule').mockImplementation((descriptor) => {
        labels.add(descriptor.label ?? '')
        return create(descriptor)
      })
    })
    const some: Case[] = [
      { x: [2, 3, 5, 7], weight: [6, 3, 1, 1], bias: true },
      { x: [1, 5, 9, 7], weight: [7, 5, 3, 3], padding: 1, bias: true },
      { x: [2, 3, 8, 9], weight: [13, 3, 3, 3], stride: 2, padding: 1 },
      { x: [1, 37, 5, 4], weight: [35, 37, 3, 3], padding: 1, bias: true },
      { x: [2, 96, 3, 4], weight: [48, 96, 1, 1], bias: true, probes: 3 },
    ]
    test.each(some)('[$x] by [$weight]', (one) => check(one, asHardware))
    test('and by no others', () => {
      const kernels = [...labels].map((label) => label.split(/[ ,]/).slice(0, 2).join(' '))
      expect(new Set(kernels.filter((name) => /^(conv2d|gemm|sum-splits)/.test(name)))).toEqual(
        new Set([
          'gemm {"rows":64',
          'conv2d-halo {"images":1',
          'conv2d-tile {"side":16',
          'sum-splits {"bias":false',
          'sum-splits {"bias":true',
          'conv2d-data-gradient {"subgroup":0',
          'conv2d-weight-gradient {"side":16',
          'conv2d-weight-gradient-halo {"tx":8',
        ]),
      )
    })
  })

function check(one: Case, on: OpCheck['on'] = backends, everyKernel?: RegExp): Promise<void> {
  const [, cin, kh, kw] = one.weight
  const { stride, padding } = one
  return checkOp(name(one), {
    on,
    everyKernel,
    inputs: [one.x, one.weight, ...(one.bias ? [[one.weight[0]]] : [])],
    op: (x: Tensor, weight: Tensor, bias?: Tensor) => conv2d(x, weight, { stride, padding, bias }),
    reference: convolved(one),
    // Products added in a row: half a rounding each, of sums that may exceed the result.
    tolerance: 1e-6 + cin * kh * kw * 3e-8,
    probes: one.probes ?? 6,
  })
}

test.each<Case>([
  { x: [2, 3, 5, 9], weight: [6, 3, 1, 7], padding: [0, 3], bias: true },
  { x: [1, 3, 9, 4], weight: [5, 3, 7, 1], padding: [3, 0] },
  { x: [1, 2, 8, 7], weight: [3, 2, 3, 5], stride: 2, padding: [1, 2], bias: true },
  { x: [1, 2, 4, 5], weight: [3, 2, 3, 3], padding: [1, 1] },
])('padding by axis: [$x] by [$weight], padding [$padding]', (one) => check(one))

test('a padding that is none is refused', async () => {
  const device = await testDevice('cpu')
  using x = device.tensor(new Float32Array(9), [1, 1, 3, 3])
  for (const padding of [[1], [0, -1], [0, 0.5]]) {
    expect(() => conv2d(x, x, { padding: padding as never })).toThrow(
      /^conv2d: expected a padding \[rows, columns\], each 0 or more, found/,
    )
  }
})

test('a residual is added by the kernel, and its gradient passes through', async () => {
  for (const [bias, on] of [
    [true, backends],
    [false, backends],
    [true, asHardware],
  ] as const) {
    const one: Case = { x: [2, 5, 6, 7], weight: [7, 5, 3, 3], padding: 1, bias }
    const plain = convolved(one)
    await checkOp(`residual${bias ? ' and bias' : ''}`, {
      on,
      inputs: [one.x, one.weight, [2, 7, 6, 7], ...(bias ? [[7]] : [])],
      op: (x, weight, residual, b?: Tensor) => conv2d(x, weight, { padding: 1, residual, bias: b }),
      reference: (x, weight, residual, b) => {
        const y = b ? plain(x, weight, b) : plain(x, weight)
        return { shape: y.shape, data: y.data.map((v, i) => v + residual.data[i]) }
      },
      // Hardware's kernels compile for seconds, and the gradients have no residual.
      ...(on === asHardware && { differentiate: [], midGraph: false, large: false }),
      tolerance: 1e-6 + 45 * 3e-8,
      probes: 6,
    })
  }
})

test('a kernel beyond one workgroup’s worth of channels', () =>
  check({ x: [1, 67, 5, 5], weight: [65, 67, 3, 3], padding: 1, bias: true }))

deviceTest('convolutions of one kernel and outputs alike differ by their padding', async (device) => {
  using weight = device.tensor(new Float32Array(9).fill(1), [1, 1, 3, 3])
  for (const round of [1, 2]) {
    using whole = device.tensor(new Float32Array(25).fill(round), [1, 1, 5, 5])
    using inner = conv2d(whole, weight)
    expect([...(await inner.read())]).toEqual(new Array(9).fill(9 * round))
    using small = device.tensor(new Float32Array(9).fill(round), [1, 1, 3, 3])
    using padded = conv2d(small, weight, { padding: 1 })
    expect([...(await padded.read())]).toEqual([4, 6, 4, 6, 9, 6, 4, 6, 4].map((n) => n * round))
  }
})

deviceTest('what does not fit is a typed error', async (device) => {
  const before = device.stats.liveBuffers
  using x = device.tensor(new Float32Array(75), [1, 3, 5, 5])
  using weight = device.tensor(new Float32Array(54), [2, 3, 3, 3])
  using other = device.tensor(new Float32Array(36), [2, 2, 3, 3])
  using wide = device.tensor(new Float32Array(36), [1, 3, 1, 12])
  using bias = device.tensor(new Float32Array(3))
  expect(() => conv2d(x, other)).toThrowError(/\[N, Cin, H, W\].*found \[1, 3, 5, 5\] and \[2, 2, 3, 3\]/)
  expect(() => conv2d(x, weight, { bias })).toThrowError(/a bias \[2\], found \[3\]/)
  expect(() => conv2d(x, weight, { stride: 0 })).toThrowError(/stride of 1 or more/)
  expect(() => conv2d(x, weight, { padding: -1 })).toThrowError(/padding -1/)
  expect(() => conv2d(x, wide, { padding: 5 })).toThrowError(/kernel 1x12/)
  using small = device.tensor(new Float32Array(12), [1, 3, 2, 2])
  expect(() => conv2d(small, weight)).toThrowError(/no smaller than the kernel/)
  expect(device.stats.liveBuffers).toBe(before + 6)
})
