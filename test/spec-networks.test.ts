/**
 * guided-diffusion's networks and layers, with weights by formula (spec K of docs/glossary.md): no file is needed. And
 * both attention orders (L.5), and the input gradients of encoder and U-Net against central differences (L.10).
 */
import { expect, test } from 'vitest'
import { classifierGuidance } from '../src/diffusion/index.ts'
import { poolByAttention, runBlock, runPooled } from '../src/nn/layers.ts'
import type { ResBlockLayer } from '../src/nn/plan.ts'
import {
  Classifier,
  parameterCount,
  planOf,
  stateDictOf,
  timestepEmbedding,
  UNet,
  type ClassifierConfig,
  type ModelConfig,
  type Pool,
  type UNetConfig,
} from '../src/nn/index.ts'
import {
  attention,
  gather,
  grad,
  groupNorm,
  logSoftmax,
  silu,
  type Device,
  type Shape,
  type Tensor,
} from '../src/tensor/index.ts'
import { expectGradient } from './differences.ts'
import { expectSpec, formulaParameters, networkParameters, waves, type SpecValues } from './formula.ts'
import { deviceTest, numbers, size } from './op.ts'
import { encoder, encoderConfig, inputX, modelA, unetConfig } from './spec-models.ts'

const count = (config: ModelConfig): [parameters: number, tensors: number] => {
  const stateDict = stateDictOf(planOf(config))
  return [parameterCount(stateDict), stateDict.size]
}

interface UNetCase {
  readonly name: string
  /** What differs from A. */
  readonly config: Partial<UNetConfig>
  /** Parameters and tensors. */
  readonly counts?: readonly [number, number]
  readonly y?: readonly number[]
  readonly expected: SpecValues
}

const unets: readonly UNetCase[] = [
  {
    name: 'A: head channels 16, scale-shift, updown, new order',
    config: {},
    counts: [828_358, 144],
    expected: { sum: -96.76573, absSum: 208.7146, first: [-0.1280004, -0.01372835, 0.3021911, 0.3468114] },
  },
  {
    name: 'B: the same, legacy order',
    config: { useNewAttentionOrder: false },
    expected: { sum: -99.25301, absSum: 212.7052, first: [-0.09803623, 0.05330696, 0.4052931, 0.4493568] },
  },
  {
    name: 'C: 2 heads, additive embedding, strided convolutions, 10 classes',
    config: {
      numHeads: 2,
      numHeadChannels: -1,
      useScaleShiftNorm: false,
      resblockUpdown: false,
      useNewAttentionOrder: false,
      numClasses: 10,
    },
    counts: [704_646, 129],
    y: [1, 7],
    expected: { sum: -134.0778, absSum: 506.8475, first: [0.2514445, 0.3781947, 0.4324337, 0.5992997] },
  },
  {
    // Computed in float64 by bench/cpu/unet.py, which with 4 heads both ways gives A's values.
    name: 'A with 2 heads on the way down and 4 on the way up',
    config: { numHeadChannels: -1, numHeads: 2, numHeadsUpsample: 4 },
    expected: { sum: -96.757436, absSum: 208.7603, first: [-0.1280661, -0.01394472, 0.3017717, 0.3464291] },
  },
]

for (const { name, config, counts, y, expected } of unets) {
  deviceTest(`U-Net ${name}`, async (device) => {
    const full = { ...unetConfig, ...config }
    if (counts) expect(count({ kind: 'unet', ...full })).toEqual(counts)
    using model = new UNet(full, await networkParameters(device, { kind: 'unet', ...full }))
    using x = inputX(device)
    using out = model.forward(x, [3, 17], y ? { y } : {})
    expect(out.shape).toEqual([2, 6, 8, 8])
    expectSpec(await out.read(), expected, name)
  })
}

deviceTest('super-resolution U-Net, 16 from 8', async (device) => {
  const config: UNetConfig = {
    ...unetConfig,
    imageSize: 16,
    numHeads: 2,
    numHeadChannels: -1,
    useNewAttentionOrder: false,
    superResolution: true,
  }
  using model = new UNet(config, await networkParameters(device, { kind: 'unet', ...config }))
  using x = device.tensor(waves([2, 3, 16, 16], 0.07, 0.3), [2, 3, 16, 16])
  using lowRes = inputX(device)
  using out = model.forward(x, [3, 17], { lowRes })
  expectSpec(
    await out.read(),
    { sum: -491.1859, absSum: 1177.793, first: [0.1969099, 0.3258038, 0.5582767, 0.6128315] },
    'super-resolution',
  )
})

const heads: Readonly<Record<Pool, SpecValues>> = {
  attention: { sum: -0.4495569, absSum: 6.232643, first: [-0.3500861, -0.5269008, 0.1024061, 0.4742158] },
  adaptive: { sum: 0.606675, absSum: 5.44354, first: [0.09411021, 0.5110801, 0.188998, -0.3119932] },
  spatial: { sum: 0.8477349, absSum: 127.432, first: [6.020179, 0.197839, -5.991514, 9.770589] },
  spatial_v2: { sum: 0.1002367, absSum: 138.7764, first: [-3.893494, 9.045923, -10.94775, 8.227363] },
}

for (const [pool, expected] of Object.entries(heads) as [Pool, SpecValues][]) {
  deviceTest(`encoder with ${pool} head`, async (device) => {
    const config: ClassifierConfig = { ...encoderConfig, pool }
    if (pool.startsWith('spatial'))
      expect(stateDictOf(planOf({ kind: 'classifier', ...config })).get('out.0.weight')).toEqual([2048, 224])
    using model = new Classifier(config, await networkParameters(device, { kind: 'classifier', ...config }))
    using x = inputX(device)
    using out = model.forward(x, [3, 17])
    expect(out.shape).toEqual([2, 10])
    expectSpec(await out.read(), expected, pool)
  })
}

deviceTest('encoder: log p and its gradient by x', async (device) => {
  using model = await encoder(device)
  using x = inputX(device)
  using logProb = device.scope(() =>
    gather(logSoftmax(model.forward(x, [3, 17])), 1, device.tensor([4, 9], [2, 1], 'i32')),
  )
  expectSpec(await logProb.read(), { first: [-2.35889, -2.693276] }, 'log p')
  using gradient = classifierGuidance((input, t) => model.forward(input, t), { target: [4, 9] })(x, [3, 17])
  const expected = {
    sum: -0.001386434,
    absSum: 0.2707521,
    first: [7.114041e-4, 6.038788e-4, -1.113106e-4, -6.12426e-4],
  }
  expectSpec(await gradient.read(), expected, 'gradient')
})

deviceTest('attention in both orders', async (device) => {
  using qkv = device.tensor(waves([1, 48, 5], 0.19, 0.4), [1, 48, 5])
  using newOrder = attention(qkv, { heads: 2, newOrder: true })
  expectSpec(
    await newOrder.read(),
    { sum: 5.326483, absSum: 48.98439, first: [-0.250199, -0.2692548, -0.2863502, -0.3008465] },
    'QKVAttention',
  )
  using legacy = attention(qkv, { heads: 2, newOrder: false })
  expectSpec(
    await legacy.read(),
    { sum: 3.637619, absSum: 49.56783, first: [-0.1713336, -0.1690336, -0.1698105, -0.1735886] },
    'QKVAttentionLegacy',
  )
})

deviceTest("L.5: legacy rows put in the new order give the new order's result", async (device) => {
  const heads = 3
  const d = 8
  const tokens = 7
  const rows = 3 * heads * d
  const values = numbers(2 * rows * tokens, 1)
  // Head h has rows [h 3d, (h + 1) 3d) of q, k, v; the new order has all q, then all k, then all v.
  const permuted = Float64Array.from(values, (_, at) => {
    const token = at % tokens
    const row = Math.floor(at / tokens) % rows
    const sample = Math.floor(at / tokens / rows)
    const part = Math.floor(row / (heads * d))
    const head = Math.floor(row / d) % heads
    return values[(sample * rows + head * 3 * d + part * d + (row % d)) * tokens + token]
  })
  using legacy = device.tensor(values, [2, rows, tokens])
  using reordered = device.tensor(permuted, [2, rows, tokens])
  using a = attention(legacy, { heads, newOrder: false })
  using b = attention(reordered, { heads, newOrder: true })
  using different = attention(legacy, { heads, newOrder: true })
  const [found, expected, other] = [await a.read(), await b.read(), await different.read()]
  expect(found).toEqual(expected)
  expect(other).not.toEqual(expected)
})

deviceTest('L.5: a U-Net with its qkv rows permuted is the same network in the other order', async (device) => {
  using a = await modelA(device)
  const parameters = new Map<string, Tensor>()
  for (const [key, tensor] of a.parameters) {
    const values = await tensor.read()
    parameters.set(
      key,
      device.tensor(key.includes('.qkv.') ? toLegacy(values, tensor.shape, 16) : values, tensor.shape),
    )
  }
  using b = new UNet({ ...unetConfig, useNewAttentionOrder: false }, parameters)
  using x = inputX(device)
  using outA = a.forward(x, [3, 17])
  using outB = b.forward(x, [3, 17])
  const [found, expected] = [await outB.read(), await outA.read()]
  found.forEach((v, i) => expect(Math.abs(v - expected[i])).toBeLessThanOrEqual(1e-5))
})

/** The rows of a qkv weight or bias in the new order, head by head. */
function toLegacy(values: Float32Array, [rows, ...rest]: Shape, headChannels: number): Float32Array {
  const width = size(rest)
  const channels = rows / 3
  const out = new Float32Array(values.length)
  for (let row = 0; row < rows; row++) {
    const part = Math.floor(row / channels)
    const head = Math.floor((row % channels) / headChannels)
    const to = head * 3 * headChannels + part * headChannels + (row % headChannels)
    out.set(values.subarray(row * width, (row + 1) * width), to * width)
  }
  return out
}

async function layerParameters(device: Device, shapes: Record<string, Shape>): Promise<Map<string, Tensor>> {
  return formulaParameters(device, new Map(Object.entries(shapes)))
}

const dispose = (parameters: ReadonlyMap<string, Tensor>): void => parameters.forEach((tensor) => tensor.dispose())

deviceTest('AttentionPool2d(4, 32, 16, 7)', async (device) => {
  const p = await layerParameters(device, {
    'pool.positional_embedding': [32, 17],
    'pool.qkv_proj.weight': [96, 32, 1],
    'pool.qkv_proj.bias': [96],
    'pool.c_proj.weight': [7, 32, 1],
    'pool.c_proj.bias': [7],
  })
  const pool = { type: 'attention_pool', key: 'pool', spatial: 4, channels: 32, heads: 2, outFeatures: 7 } as const
  using x = device.tensor(waves([2, 32, 4, 4], 0.05, 0.1), [2, 32, 4, 4])
  using out = device.scope(() => runPooled(p, pool, poolByAttention(p, pool, x)))
  expect(out.shape).toEqual([2, 7])
  expectSpec(
    await out.read(),
    { sum: 0.9136504, absSum: 2.425987, first: [-0.2281689, -0.1385242, 0.01323319, 0.1640804] },
    'AttentionPool2d',
  )
  dispose(p)
})

deviceTest('GroupNorm32(64)', async (device) => {
  const p = await layerParameters(device, { weight: [64], bias: [64] })
  using x = device.tensor(waves([1, 64, 3, 3], 0.31, 0.2), [1, 64, 3, 3])
  using out = groupNorm(x, { groups: 32, weight: p.get('weight') as Tensor, bias: p.get('bias') as Tensor })
  expectSpec(
    await out.read(),
    { sum: -5.372478, absSum: 521.5201, first: [0.3259318, 0.7362277, 1.080567, 1.326124] },
    'GroupNorm32',
  )
  dispose(p)
})

const resblocks: readonly [updown: 'down' | 'up', scaleShift: boolean, expected: SpecValues][] = [
  ['down', true, { sum: -0.7126881, absSum: 228.2976, first: [-1.081878, -0.7527016, 0.1937636, 0.6859963] }],
  ['up', false, { sum: -649.5559, absSum: 13740.36, first: [-0.9772955, -2.328005, -2.324454, -2.403934] }],
]

for (const [updown, scaleShift, expected] of resblocks) {
  deviceTest(`ResBlock 32 to 64, ${updown}, ${scaleShift ? 'scale-shift' : 'additive'}`, async (device) => {
    const rows = scaleShift ? 128 : 64
    const p = await layerParameters(device, {
      'r.in_layers.0.weight': [32],
      'r.in_layers.0.bias': [32],
      'r.in_layers.2.weight': [64, 32, 3, 3],
      'r.in_layers.2.bias': [64],
      'r.emb_layers.1.weight': [rows, 128],
      'r.emb_layers.1.bias': [rows],
      'r.out_layers.0.weight': [64],
      'r.out_layers.0.bias': [64],
      'r.out_layers.3.weight': [64, 64, 3, 3],
      'r.out_layers.3.bias': [64],
      'r.skip_connection.weight': [64, 32, 1, 1],
      'r.skip_connection.bias': [64],
    })
    const layer: ResBlockLayer = {
      type: 'resblock',
      key: 'r',
      inChannels: 32,
      outChannels: 64,
      updown,
      embChannels: 128,
      scaleShift,
    }
    using x = device.tensor(waves([1, 32, 4, 4], 0.09), [1, 32, 4, 4])
    using emb = device.tensor(waves([1, 128], 0.21, 0.7), [1, 128])
    using out = device.scope(() => runBlock(p, [layer], x, silu(emb)))
    expect(out.shape).toEqual(updown === 'down' ? [1, 64, 2, 2] : [1, 64, 8, 8])
    expectSpec(await out.read(), expected, updown)
    dispose(p)
  })
}

test('timestep embedding', () => {
  const first = [0.21943997, -0.17824593, 0.98472655, 0.99984688, -0.97562599, 0.98398596, 0.17410813, 0.017499104]
  expectSpec(timestepEmbedding([17.5], 8), { first }, 'dim 8')
  const odd = timestepEmbedding([3], 5)
  expect(Array.from(odd.subarray(0, 4), (v) => Number(v.toFixed(4)))).toEqual([-0.99, 0.9996, 0.1411, 0.03])
  expect(odd[4]).toBe(0)
})

deviceTest('L.10: input gradient of the encoder against central differences', async (device) => {
  using model = await encoder(device)
  using x = inputX(device)
  using gradient = classifierGuidance((input, t) => model.forward(input, t), { target: [4, 9] })(x, [3, 17])
  const f = (input: Tensor): Tensor =>
    gather(logSoftmax(model.forward(input, [3, 17])), 1, device.tensor([4, 9], [2, 1], 'i32'))
  await expectGradient(x, f, await gradient.read())
})

deviceTest('L.10: input gradient of the U-Net against central differences', async (device) => {
  using model = await modelA(device)
  using x = inputX(device)
  const cotangent = numbers(2 * 6 * 8 * 8, 3)
  using weights = device.tensor(cotangent, [2, 6, 8, 8])
  const f = (input: Tensor): Tensor => model.forward(input, [3, 17])
  using gradient = device.scope(() => grad(() => f(x), [x], weights).gradients[0])
  await expectGradient(x, f, await gradient.read(), cotangent)
})
