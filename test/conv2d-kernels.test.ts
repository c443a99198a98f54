/**
 * Every convolution kernel in every variant, on odd shapes, against float64 on the host. The ops' tests reach only the
 * variants that this adapter's launches pick. Tolerance: f32 sums of up to a few hundred terms, 1e-6·Σ|a||b|.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { conv2dDataGradient, conv2dDataGradientGrid } from '../src/shaders/conv2d-data-gradient.ts'
import { conv2dHalo, conv2dHaloGrid, type Conv2dHaloKeys } from '../src/shaders/conv2d-halo.ts'
import { conv2dRegister, conv2dRegisterGrid } from '../src/shaders/conv2d-register.ts'
import { convWords, dataGradientShape, fold, type ConvShape } from '../src/shaders/conv2d-shape.ts'
import { sumSplitsShader, sumSplitsGrid, sumSplitsUniform } from '../src/shaders/sum-splits.ts'
import { conv2dTile, conv2dTileGrid } from '../src/shaders/conv2d-tile.ts'
import {
  conv2dWeightGradient,
  conv2dWeightGradientGrid,
  conv2dWeightGradientSplits,
  conv2dWeightGradientWords,
} from '../src/shaders/conv2d-weight-gradient.ts'
import { gemmFits, gemmTiles, pointwiseProduct } from '../src/tensor/webgpu/launches/gemm.ts'
import type { Variant } from '../src/tensor/webgpu/launches/splits.ts'
import { requestGPU, waitFor } from '../src/platform/index.node.ts'

type Grid = readonly [number, number, number]

const shape = (
  n: number,
  cin: number,
  h: number,
  w: number,
  cout: number,
  kh: number,
  kw: number,
  stride: number,
  pad: number,
): ConvShape => ({
  n,
  cin,
  h,
  w,
  cout,
  kh,
  kw,
  stride,
  pad,
  ho: Math.floor((h + 2 * pad - kh) / stride) + 1,
  wo: Math.floor((w + 2 * pad - kw) / stride) + 1,
})
const shapes = [
  shape(2, 3, 9, 7, 6, 3, 3, 1, 1),
  shape(1, 33, 5, 13, 7, 3, 3, 1, 1),
  shape(2, 5, 11, 9, 64, 3, 3, 1, 0),
  shape(1, 4, 6, 6, 4, 3, 3, 1, 2),
  shape(3, 33, 7, 5, 33, 1, 1, 1, 0),
  // The GEMM: tiles that are not full either way, images within them, and sums that can be cut, unevenly.
  shape(2, 112, 4, 5, 80, 1, 1, 1, 0),
  shape(1, 5, 7, 9, 6, 1, 1, 2, 0),
  shape(1, 3, 5, 5, 7, 1, 1, 1, 1),
  shape(2, 6, 13, 11, 5, 3, 3, 2, 1),
  shape(1, 5, 9, 12, 6, 5, 5, 1, 2),
  shape(1, 3, 35, 39, 64, 11, 11, 4, 2),
  shape(2, 7, 17, 16, 3, 5, 5, 3, 4),
  shape(1, 3, 12, 10, 5, 11, 11, 1, 5),
  shape(1, 4, 9, 8, 5, 3, 3, 4, 5),
  shape(1, 3, 8, 9, 4, 2, 2, 2, 0),
  shape(2, 3, 7, 9, 5, 3, 5, 1, 1),
  shape(1, 3, 6, 9, 5, 3, 1, 1, 1),
]

let device: GPUDevice
let subgroup = 0
const pipelines = new Map<string, GPUComputePipeline>()

beforeAll(async () => {
  const adapter = await (await requestGPU()).requestAdapter()
  if (!adapter) throw new Error('no adapter')
  const { subgroupMinSize, subgroupMaxSize } = adapter.info as { subgroupMinSize?: number; subgroupMaxSize?: number }
  if (adapter.features.has('subgroups') && subgroupMinSize === subgroupMaxSize) subgroup = subgroupMinSize ?? 0
  device = await adapter.requestDevice({ requiredFeatures: subgroup ? ['subgroups'] : [] })
})
afterAll(() => device.destroy())

function upload(data: Float32Array | Int32Array, usage = GPUBufferUsage.STORAGE): GPUBuffer {
  const buffer = device.createBuffer({
    size: data.byteLength,
    usage: usage | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
  })
  device.queue.writeBuffer(buffer, 0, data as BufferSource)
  return buffer
}

/** Runs a kernel over an output of NaN, so that an element nobody writes is seen. */
async function run(
  code: string,
  uniform: readonly number[],
  inputs: readonly Float32Array[],
  grid: Grid,
  size: number,
): Promise<Float32Array> {
  let pipeline = pipelines.get(code)
  if (!pipeline) {
    const compute = { module: device.createShaderModule({ code }), entryPoint: 'main' }
    pipeline = await waitFor(device.createComputePipelineAsync({ layout: 'auto', compute }))
    pipelines.set(code, pipeline)
  }
  const output = upload(new Float32Array(size).fill(NaN))
  const buffers = [
    upload(Int32Array.from(uniform), GPUBufferUsage.UNIFORM),
    ...inputs.map((data) => upload(data)),
    output,
  ]
  const staging = device.createBuffer({ size: output.size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ })
  const encoder = device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  pass.setBindGroup(
    0,
    device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
    }),
  )
  pass.dispatchWorkgroups(...grid)
  pass.end()
  encoder.copyBufferToBuffer(output, 0, staging, 0, output.size)
  device.queue.submit([encoder.finish()])
  await waitFor(staging.mapAsync(GPUMapMode.READ))
  const result = new Float32Array(staging.getMappedRange().slice(0))
  for (const buffer of [...buffers, staging]) buffer.destroy()
  return result
}

function random(n: number, seed: number): Float32Array {
  let state = seed
  return Float32Array.from({ length: n }, () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1)
}

interface Exact {
  readonly sum: Float64Array
  readonly scale: Float64Array
}

/** y, dX and dW in float64, each with the Σ|a||b| of its elements. */
function exact(s: ConvShape, x: Float32Array, w: Float32Array, dy: Float32Array): { y: Exact; dx: Exact; dw: Exact } {
  const like = (n: number): Exact => ({ sum: new Float64Array(n), scale: new Float64Array(n) })
  const [y, dx, dw] = [like(dy.length), like(x.length), like(w.length)]
  const add = (to: Exact, i: number, product: number): void => {
    to.sum[i] += product
    to.scale[i] += Math.abs(product)
  }
  for (let n = 0; n < s.n; n++)
    for (let co = 0; co < s.cout; co++)
      for (let oy = 0; oy < s.ho; oy++)
        for (let ox = 0; ox < s.wo; ox++) {
          const o = ((n * s.cout + co) * s.ho + oy) * s.wo + ox
          for (let ci = 0; ci < s.cin; ci++)
            for (let ky = 0; ky < s.kh; ky++)
              for (let kx = 0; kx < s.kw; kx++) {
                const iy = oy * s.stride - s.pad + ky
                const ix = ox * s.stride - s.pad + kx
                if (iy < 0 || iy >= s.h || ix < 0 || ix >= s.w) continue
                const i = ((n * s.cin + ci) * s.h + iy) * s.w + ix
                const k = ((co * s.cin + ci) * s.kh + ky) * s.kw + kx
                add(y, o, x[i] * w[k])
                add(dx, i, dy[o] * w[k])
                add(dw, k, dy[o] * x[i])
              }
        }
  return { y, dx, dw }
}

function error(got: Float32Array, { sum, scale }: Exact, more: (i: number) => number = () => 0): number {
  let worst = 0
  got.forEach((value, i) => {
    const e = Math.abs(value - sum[i] - more(i)) / (scale[i] + Math.abs(more(i)) + Number.MIN_VALUE)
    if (!(e <= worst)) worst = e
  })
  return worst
}

/** How kernels are held against `want`, the exact result of `s` applied to x. */
function checks(s: ConvShape, x: Float32Array, w: Float32Array, want: Exact) {
  const bias = random(s.cout, 5)
  const residual = random(s.n * s.cout * s.ho * s.wo, 6)
  const check = async (
    keys: { bias: boolean; residual: boolean },
    code: string,
    grid: Grid,
    inputs = [x, w],
    words = convWords(s),
  ): Promise<void> => {
    const added = [...(keys.bias ? [bias] : []), ...(keys.residual ? [residual] : [])]
    const got = await run(code, words, [...inputs, ...added], grid, residual.length)
    const more = (i: number): number =>
      (keys.bias ? bias[Math.floor(i / s.ho / s.wo) % s.cout] : 0) + (keys.residual ? residual[i] : 0)
    expect(error(got, want, more), JSON.stringify([keys, s, words])).toBeLessThan(1e-6)
  }
  /** A kernel that leaves its sums in parts, then their sum. */
  const checkSplit = async (
    { bias, residual }: { bias: boolean; residual: boolean },
    splits: number,
    code: string,
    grid: Grid,
    inputs = [x, w],
    kernelWords = convWords(s, splits),
  ): Promise<void> => {
    const count = s.n * s.cout * s.ho * s.wo
    const partial = await run(code, kernelWords, inputs, grid, splits * count)
    const again = await run(code, kernelWords, inputs, grid, splits * count)
    expect(again, 'the same bits twice').toEqual(partial)
    const words = sumSplitsUniform.words({ count, splits, area: s.ho * s.wo, channels: s.cout })
    const added = { bias, residual }
    await check(added, sumSplitsShader(added), sumSplitsGrid(count), [partial], words)
  }
  return { check, checkSplit }
}

/** Every forward kernel that supports `s`, applied to x; `want` is the exact result. */
async function forward(s: ConvShape, x: Float32Array, w: Float32Array, want: Exact): Promise<void> {
  const { check, checkSplit } = checks(s, x, w, want)
  for (const sharing of new Set([0, subgroup])) {
    for (const kw of [0, 1, 3] as const) {
      const keys = {
        subgroup: sharing,
        px: sharing ? 8 : 4,
        co: sharing ? 2 * sharing : 8,
        kw,
        bias: kw !== 1,
        residual: kw === 3,
      }
      if (kw === 0 || (kw === 3 ? s.kw === 3 && s.stride === 1 : s.kh === 1 && s.kw === 1))
        await check(keys, conv2dRegister(keys), conv2dRegisterGrid(s, keys))
    }
  }
  for (const [side, px, co, k] of [
    [16, 4, 4, 0],
    [8, 4, 4, 3],
    [8, 4, 2, 1],
  ] as const) {
    if (k !== 0 && (s.kh !== k || s.kw !== k)) continue
    const keys = { side, px, co, kh: k, kw: k, bias: k !== 1, residual: k === 0, split: false }
    await check(keys, conv2dTile(keys), conv2dTileGrid(s, keys))
    // The small tile compiles three times as fast on lavapipe.
    const cut = { ...keys, side: 8, bias: false, residual: false, split: true }
    for (const splits of new Set([2, Math.ceil(s.cin / 2), s.cin]))
      if (splits > 1) await checkSplit(keys, splits, conv2dTile(cut), conv2dTileGrid(s, cut, splits))
  }
  if (s.kh * s.kw > 1 || s.stride > 1 || s.ho !== s.h || !gemmFits(pointwiseProduct(s))) return
  const tiles = new Map<string, () => Variant>()
  const added = { bias: true, residual: !s.transposed }
  gemmTiles(tiles, pointwiseProduct(s), added)
  for (const [name, make] of tiles) {
    // Each staging, whole and cut: a tile compiles for a second or two.
    if (!(s.transposed ? ['gemm 128x64 /2'] : ['gemm 64x64', 'gemm 64x128 /2']).includes(name)) continue
    const { code, grid, uniforms, splits } = make()
    if (splits === 1) await check(added, code(), grid, [x, w], [...uniforms])
    else await checkSplit(added, splits, code(), grid, [x, w], [...uniforms])
  }
}

type HaloVariant = Omit<Conv2dHaloKeys, 'bias' | 'residual'>

/** The halo kernel as launches ask for it. One takes a second to compile on lavapipe: `npm run test:long` tries all. */
const halos: HaloVariant[] = process.env.TWEEDIE_LONG
  ? [true, false].flatMap((vector) =>
      [true, false].flatMap((split) =>
        [
          { images: 1, tx: 16, ty: 16, co: 64 },
          { images: 1, tx: 16, ty: 8, co: 64 },
          { images: 1, tx: 8, ty: 8, co: 64 },
          { images: 2, tx: 8, ty: 8, co: 64 },
          { images: 4, tx: 4, ty: 4, co: 64 },
          { images: 1, tx: 16, ty: 16, co: 32 },
          { images: 1, tx: 16, ty: 8, co: 32 },
          { images: 1, tx: 16, ty: 16, co: 16 },
        ].map((tile) => ({ ...tile, vector, split })),
      ),
    )
  : [
      { images: 1, tx: 16, ty: 16, co: 64, vector: true, split: false },
      { images: 2, tx: 8, ty: 8, co: 64, vector: true, split: true },
      { images: 1, tx: 16, ty: 8, co: 32, vector: false, split: false },
    ]

async function halo(s: ConvShape, x: Float32Array, w: Float32Array, want: Exact): Promise<void> {
  const { check, checkSplit } = checks(s, x, w, want)
  for (const variant of halos) {
    if (variant.vector && s.w % 4 !== 0) continue
    const added = { bias: true, residual: true }
    const keys = { ...variant, ...(variant.split ? { bias: false, residual: false } : added) }
    if (!variant.split) await check(keys, conv2dHalo(keys), conv2dHaloGrid(s, keys))
    // 9 splits of 8 channels are 8 of one.
    else
      for (const splits of new Set([2, 3, s.cin].map((wanted) => Math.ceil(s.cin / Math.ceil(s.cin / wanted)))))
        if (splits > 1) await checkSplit(added, splits, conv2dHalo(keys), conv2dHaloGrid(s, keys, splits))
  }
}

// Tiles that end beyond the map, channels beyond the last, maps smaller than a tile, fewer images than in one.
describe.each([
  shape(1, 3, 16, 16, 5, 3, 3, 1, 1),
  shape(2, 7, 20, 36, 70, 3, 3, 1, 1),
  shape(9, 6, 4, 4, 12, 3, 3, 1, 1),
  shape(5, 9, 8, 8, 66, 3, 3, 1, 1),
  shape(1, 13, 17, 19, 6, 3, 3, 1, 1),
  shape(3, 5, 1, 1, 9, 3, 3, 1, 1),
])('halo: x [$n,$cin,$h,$w] → $cout', (s) => {
  const x = random(s.n * s.cin * s.h * s.w, 1)
  const w = random(s.cout * s.cin * s.kh * s.kw, 2)
  const dy = random(s.n * s.cout * s.ho * s.wo, 3)
  const { y, dx } = exact(s, x, w, dy)
  it('forward', () => halo(s, x, w, y))
  it('data gradient', () => halo(dataGradientShape(s), dy, w, dx))
})

describe.each(shapes)('x [$n,$cin,$h,$w] → $cout, kernel $kh x $kw, stride $stride, pad $pad', (s) => {
  const x = random(s.n * s.cin * s.h * s.w, 1)
  const w = random(s.cout * s.cin * s.kh * s.kw, 2)
  const dy = random(s.n * s.cout * s.ho * s.wo, 3)
  const { y, dx, dw } = exact(s, x, w, dy)

  it('forward', () => forward(s, x, w, y))

  it('data gradient', async () => {
    if (s.stride === 1) await forward(dataGradientShape(s), dy, w, dx)
    for (const sharing of new Set([0, subgroup])) {
      const keys = { subgroup: sharing, px: 4, ci: sharing || 8 }
      const got = await run(conv2dDataGradient(keys), convWords(s), [dy, w], conv2dDataGradientGrid(s, keys), x.length)
      expect(error(got, dx), JSON.stringify(keys)).toBeLessThan(1e-6)
    }
  })

  it('weight gradient, in one range and in several', async () => {
    for (const side of process.env.TWEEDIE_CAPABILITIES ? [8, 16] : [8]) {
      const keys = { side, each: 4 }
      for (const splits of new Set([1, 3, conv2dWeightGradientSplits(s, keys, 1000)])) {
        const grid = conv2dWeightGradientGrid(s, keys, splits)
        const partial = await run(
          conv2dWeightGradient(keys),
          conv2dWeightGradientWords(s, splits),
          [x, dy],
          grid,
          splits * w.length,
        )
        const got = await run(
          sumSplitsShader({ bias: false, residual: false }),
          sumSplitsUniform.words({ count: w.length, splits, area: w.length, channels: 1 }),
          [partial],
          sumSplitsGrid(w.length),
          w.length,
        )
        expect(error(got, dw), `side ${side}, ${splits} splits`).toBeLessThan(1e-6)
      }
    }
  })
})

it('folds large grids', () => {
  expect(fold(65535)).toEqual({ x: 65535, z: 1 })
  for (const count of [65536, 1e6, 65535 ** 2]) {
    const { x, z } = fold(count)
    expect(x * z).toBeGreaterThanOrEqual(count)
    expect(Math.max(x, z)).toBeLessThanOrEqual(65535)
  }
})
