/**
 * Every kernel among which a launch chooses, forced by its name, against float64: those of software adapters and those
 * of hardware, whole and in every cut. One kernel compiles for a second or two, which is what this takes: shapes are
 * few and small, and none is here twice for one kernel's sake.
 */
import { expect, test } from 'vitest'
import { attention, conv2d, matmul } from '../../src/tensor/index.ts'
import { checkOp, eachKernel, numbers, testDevice, type OpCheck } from '../op.ts'
import { attended, convolved, product } from '../references.ts'

const all: Partial<OpCheck> = {
  on: ['webgpu, with every kernel'],
  everyKernel: /./,
  probes: 3,
  midGraph: false,
  large: false,
}
/** Products added in a row: half a rounding each, of sums that may exceed the result. */
const rounded = (products: number): number => 1e-6 + products * 3e-8

test.each<{ x: number[]; weight: number[]; everyKernel?: RegExp; differentiate?: number[] }>([
  // All there are: tiles of many channels forward, of few in the data gradient; none is full.
  { x: [1, 11, 15, 16], weight: [40, 11, 3, 3] },
  // Patches of 32 channels, and rows that leave no vec4.
  { x: [1, 13, 10, 35], weight: [24, 13, 3, 3], everyKernel: /halo/, differentiate: [1] },
  // Two, then four small maps in a workgroup.
  { x: [2, 12, 8, 8], weight: [66, 12, 3, 3], everyKernel: /halo 2x/, differentiate: [] },
  { x: [5, 17, 4, 4], weight: [66, 17, 3, 3], everyKernel: /halo/, differentiate: [1] },
  // Products with images within a tile, and their gradients.
  { x: [2, 112, 4, 5], weight: [80, 112, 1, 1], everyKernel: /gemm/ },
  // Terms that come from images, cut within one.
  { x: [3, 68, 4, 8], weight: [72, 68, 1, 1], everyKernel: /gemm/, differentiate: [1] },
])('convolution: $x by $weight', ({ x, weight, ...rest }) => {
  const padding = weight[2] >> 1
  const [, cin, kh, kw] = weight
  return checkOp('conv2d', {
    ...all,
    ...rest,
    inputs: [x, weight],
    op: (x, weight) => conv2d(x, weight, { padding }),
    reference: convolved({ padding }),
    tolerance: rounded(cin * kh * kw),
  })
})

// The third way in which operands lie: two are those of the convolution and its gradient.
test('matmul, both with terms as neighbours', () =>
  checkOp('matmul', {
    ...all,
    inputs: [
      [2, 72, 112],
      [68, 112],
    ],
    op: (a, b) => matmul(a, b, { transposeB: true }),
    reference: product(false, true),
    differentiate: [],
    tolerance: rounded(112),
  }))

test.each([1, 7])('matmul of %i rows', (rows) =>
  checkOp('matmul', {
    ...all,
    everyKernel: /rows/,
    inputs: [
      [rows, 112],
      [68, 112],
    ],
    op: (a, b) => matmul(a, b, { transposeB: true }),
    reference: product(false, true),
    differentiate: [],
    tolerance: rounded(112),
  }),
)

// The larger tiles: filled by tokens and channels, so that no kernel asks about bounds, whose gradients compile for
// a minute here; and not filled, without vec4.
test.each<{ shape: number[]; heads: number; everyKernel: RegExp; differentiate?: number[] }>([
  { shape: [1, 48, 128], heads: 1, everyKernel: /64x64/, differentiate: [] },
  { shape: [1, 48, 64], heads: 1, everyKernel: /64x32/ },
  { shape: [1, 18, 131], heads: 2, everyKernel: /64x64/ },
])('attention: $shape, $heads heads', ({ shape, heads, ...rest }) =>
  checkOp('attention', {
    ...all,
    ...rest,
    inputs: [shape],
    op: (qkv) => attention(qkv, { heads, newOrder: true }),
    reference: attended({ heads, newOrder: true }),
    tolerance: 4e-6,
  }),
)

test('the same bits twice, by whatever kernel', async () => {
  const device = await testDevice('webgpu, with every kernel')
  using x = device.tensor(numbers(11 * 240, 1), [1, 11, 15, 16])
  using weight = device.tensor(numbers(40 * 99, 2), [40, 11, 3, 3])
  const names: string[] = []
  await eachKernel(device, async (forced) => {
    const [one, other] = [conv2d(x, weight, { padding: 1 }), conv2d(x, weight, { padding: 1 })]
    expect(await other.read(), [...forced.values()].join()).toEqual(await one.read())
    names.push(...forced.values())
    one.dispose()
    other.dispose()
  })
  expect(names).toEqual(expect.arrayContaining(['register', 'tile 64x64 /2', 'halo 16x16x64', 'halo 8x8x64 /2']))
})
