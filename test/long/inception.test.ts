/**
 * The Inception of FID against pytorch-fid's own on torch 1.13 (float32, CPU), with weights by a formula: every element
 * within 2e-5 of the largest, some ten times what two float32 implementations differ by. What this network does unlike
 * others (average pools that leave the padding out, a maximum in the last block, a larger epsilon) is undone, one by
 * one, and the features move as far as pytorch-fid's do.
 */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { imageArrays, type Image } from '../../src/data/index.ts'
import { inceptionInput, openSpace } from '../../src/metrics/index.ts'
import { inceptionNorms, inceptionPlan, inceptionStateDict } from '../../src/nn/inception-plan.ts'
import type { InceptionLayer, InceptionPool } from '../../src/nn/inception-plan.ts'
import { loadInception, type Inception, type InceptionOptions } from '../../src/nn/inception.ts'
import { parameterCount, type WeightSource } from '../../src/nn/index.ts'
import { grad, sum, type Device, type Tensor } from '../../src/tensor/index.ts'
import { arrayNamed, readGolden, type Golden } from '../golden.ts'
import { keyedBytes, keyedValues, keyedWeights } from '../keyed-formula.ts'
import { backends, deviceTest, expectClose, onCPU, testDevice, type BackendName } from '../op.ts'
import { describeShared, shared } from '../shared.ts'

const pixels = 3 * 299 * 299

/** The formula's weights, made once: 24 million numbers; and the networks with them, one for each device. */
let source: WeightSource
const nets = new Map<Device, Inception>()
beforeAll(async () => {
  const { name, tensors } = keyedWeights(inceptionStateDict(), 6)
  const made = new Map<string, ArrayBufferView>()
  for (const [key, entry] of tensors) made.set(key, await entry.read())
  source = {
    name,
    tensors: new Map([...tensors].map(([key, entry]) => [key, { ...entry, read: async () => made.get(key)! }])),
  }
  for (const backend of new Set<BackendName>([...backends, 'cpu'])) {
    const device = await testDevice(backend)
    nets.set(device, await loadInception(device, source))
  }
})
afterAll(() => nets.forEach((net) => net.dispose()))

/** The features of one image. */
async function featuresOf(
  device: Device,
  net: Inception,
  image: Float32Array,
  options?: InceptionOptions,
): Promise<Float32Array> {
  using x = device.tensor(image, [1, 3, 299, 299])
  const { features, spatial } = net.forward(x, options)
  spatial.dispose()
  const values = await features.read()
  features.dispose()
  return values
}

test('names, shapes and numbers in all', () => {
  const dict = inceptionStateDict()
  expect([dict.size, inceptionNorms().size]).toEqual([472, 94])
  // The published count is of what is learned: without running means and variances.
  const learned = new Map([...dict].filter(([key]) => !key.includes('.running_')))
  expect(parameterCount(learned)).toBe(23_850_960)
  expect(parameterCount(learned) - parameterCount(new Map([...dict].filter(([key]) => key.startsWith('fc.'))))).toBe(
    21_785_568,
  )
})

describeShared('as pytorch-fid', () => {
  let golden: Golden
  beforeAll(async () => void (golden = await readGolden('goldens/baselines/inception.safetensors')))
  const expected = (name: string): ArrayLike<number> => arrayNamed(golden, name).data

  test('has its keys and shapes, in its order', () => {
    const keys = JSON.parse(readFileSync(shared('goldens/baselines/keys/inception_fid.json'), 'utf8'))
    expect([...inceptionStateDict()]).toEqual(Object.entries(keys))
  })

  deviceTest('gives its features, its map for sFID and its logits, layer by layer', async (device) => {
    const net = nets.get(device)!
    using x = device.tensor(keyedValues('x', 2 * pixels), [2, 3, 299, 299])
    const layers = new Map<string, Promise<Float32Array>>()
    const { features, spatial } = net.forward(x, {
      onLayer: (name, output) => golden.arrays.has(`stats.${name}`) && layers.set(name, output.read()),
    })
    using logits = net.logits(features)
    expect(layers.size).toBe(10)
    for (const [name, reading] of layers) {
      const values = await reading
      const [sum, absolute, first, last] = Array.from(expected(`stats.${name}`))
      const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
      const found = values.reduce((a, v) => a + v, 0)
      expect(Math.abs(found - sum), `${name}: sum`).toBeLessThanOrEqual(1e-5 * absolute)
      expect(Math.abs(values[0] - first), `${name}: first`).toBeLessThanOrEqual(2e-5 * largest)
      expect(Math.abs(values[values.length - 1] - last), `${name}: last`).toBeLessThanOrEqual(2e-5 * largest)
    }
    expect([features.shape, spatial.shape, logits.shape]).toEqual([
      [2, 2048],
      [2, 2023],
      [2, 1008],
    ])
    expectClose(await features.read(), expected('pool3'), 2e-5, 'pool3')
    expectClose(await spatial.read(), expected('spatial'), 2e-5, 'the map for sFID')
    expectClose(await logits.read(), expected('logits_without_bias'), 2e-5, 'logits')
    features.dispose()
    spatial.dispose()
  })

  deviceTest('is a space, whose pictures are resized as clean-fid does it', async (device) => {
    const resized = await readGolden('goldens/baselines/clean-resize.safetensors')
    using space = await openSpace(device, 'inception', { weights: { ...source, metadata: {} } })
    const data = keyedBytes('image', 64 * 64 * 3)
    const images = imageArrays({ name: 'one', fingerprint: 'one', width: 64, height: 64, channels: 3, data })
    const { features, spatial, logits } = await space.all!(images)
    expectClose(features.data, arrayNamed(resized, 'pool3_of_clean64').data, 2e-5, 'pool3')
    expect([features, spatial, logits].map(({ dimension }) => dimension)).toEqual([2048, 2023, 1008])
    expect([features, spatial, logits].map(({ data }) => data.length)).toEqual([2048, 2023, 1008])
  })

  /** The plan with some of its pools replaced. */
  const replaced = (where: (layer: InceptionLayer) => boolean, by: Partial<InceptionPool>): InceptionLayer[] =>
    inceptionPlan.map((layer) =>
      !where(layer)
        ? layer
        : {
            name: layer.name,
            branches: layer.branches.map((steps) =>
              steps.map((step) => (step.type === 'unit' || step.type === 'fork' ? step : { ...step, ...by })),
            ),
          },
    )

  deviceTest(
    'is itself only as it is: each of its peculiarities, undone, is seen',
    async (device) => {
      const reference = Array.from(expected('pool3')).slice(0, 2048)
      const largest = Math.max(...reference)
      const image = keyedValues('x', pixels)
      const sensitivity = JSON.parse(golden.metadata.sensitivity)
      /** Relative to the largest, as the golden's metadata has it for two images of which this is one. */
      const expectMoved = (features: Float32Array, name: string): void => {
        const moved = features.reduce((m, v, i) => Math.max(m, Math.abs(v - reference[i])), 0) / largest
        expect(moved, name).toBeGreaterThan(0.5 * sensitivity[name])
        expect(moved, name).toBeLessThan(1.5 * sensitivity[name])
      }
      const net = nets.get(device)!
      const blocks = replaced(({ name }) => name.startsWith('Mixed') && name !== 'Mixed_7c', { countPadding: true })
      expectMoved(await featuresOf(device, net, image, { plan: blocks }), 'average pool counting the padding')
      const last = replaced(({ name }) => name === 'Mixed_7c', { type: 'average' })
      expectMoved(await featuresOf(device, net, image, { plan: last }), 'average instead of max pool in Mixed_7c')
      using other = await loadInception(device, source, { epsilon: 1e-5 })
      expectMoved(await featuresOf(device, other, image), 'batch norm eps 1e-5')
    },
    onCPU,
  )
})

describe('the space', () => {
  deviceTest(
    'gives each kind of row alone or all by one pass, in any batch, of pictures of any size',
    async (device) => {
      const pictures: Image[] = [
        { width: 40, height: 30, channels: 3, data: keyedBytes('a', 3600) },
        { width: 31, height: 64, channels: 1, data: keyedBytes('b', 31 * 64) },
      ]
      const images = {
        ...imageArrays({ name: 'two', fingerprint: '', width: 1, height: 2, channels: 1, data: new Uint8Array(2) }),
        length: 2,
        read: async (i: number) => pictures[i],
      }
      using space = await openSpace(device, 'inception-legacy-pytorch', { weights: { ...source, metadata: {} } })
      expect(space).toMatchObject({ name: 'inception-legacy-pytorch', dimension: 2048 })
      expect(space.preprocessing).toMatch(/^pytorch-fid/)
      expect(space.weights).toMatch(/^tensors sha256 [0-9a-f]{64}$/)
      const done: number[] = []
      const { features, spatial, logits } = await space.all!(images, { batch: 1, onProgress: (n) => done.push(n) })
      expect(done).toEqual([1, 2])
      expectClose((await space.features(images)).data, features.data, 1e-5, 'features')
      expect(spatial.data).toHaveLength(2 * 2023)
      const net = nets.get(device)!
      const direct = await featuresOf(device, net, inceptionInput(pictures[1], 'legacy_pytorch'))
      expectClose(features.data.subarray(2048), direct, 1e-5, 'the grey picture')
      const aborted = { signal: AbortSignal.abort(new Error('enough')) }
      await expect(space.features(images, aborted)).rejects.toThrow('enough')
      // Without the bias of the classifier.
      const row = keyedValues('fc.weight', 2048, Math.sqrt(6 / 2048))
      const logit = direct.reduce((sum, v, i) => sum + v * row[i], 0)
      expect(Math.abs(logits.data[1008] - logit)).toBeLessThan(2e-5 * Math.abs(logit) + 1e-4)
    },
    onCPU,
  )

  test('says what it needs', async () => {
    const opening = openSpace(await testDevice('cpu'), 'inception')
    await expect(opening).rejects.toThrow(/space inception needs weights, pytorch-fid's pt_inception/)
  })
})

describe('what it takes', () => {
  deviceTest(
    'pictures of three channels, not too small; small ones have a smaller map',
    async (device) => {
      const net = nets.get(device)!
      using grey = device.tensor(new Float32Array(299 * 299), [1, 1, 299, 299])
      expect(() => net.forward(grey)).toThrow(/^inception: expected pictures \[N, 3, H, W\] of 75 x 75 pixels or more/)
      using tiny = device.tensor(new Float32Array(3 * 74 * 80), [1, 3, 74, 80])
      expect(() => net.forward(tiny)).toThrow(/found \[1, 3, 74, 80\]/)
      using small = device.tensor(keyedValues('x', 3 * 75 * 80), [1, 3, 75, 80])
      const { features, spatial } = net.forward(small)
      expect([features.shape, spatial.shape]).toEqual([
        [1, 2048],
        [1, 7 * 3 * 3],
      ])
      features.dispose()
      spatial.dispose()
    },
    onCPU,
  )

  deviceTest(
    'is differentiable: the gradient by a picture is the slope of its features',
    async (device) => {
      const net = nets.get(device)!
      const shape = [1, 3, 75, 75]
      const picture = keyedValues('x', 3 * 75 * 75)
      const total = (x: Tensor): Tensor => sum(net.forward(x).features)
      using x = device.tensor(picture, shape)
      const { value, gradients } = grad(() => total(x), [x])
      value.dispose()
      using gradient = gradients[0]
      const direction = await gradient.read()
      const length = Math.hypot(...direction)
      const at = async (step: number): Promise<number> => {
        using moved = device.tensor(
          picture.map((v, i) => v + (step / length) * direction[i]),
          shape,
        )
        using y = device.scope(() => total(moved))
        return (await y.read())[0]
      }
      // In a longer step more ReLUs and maxima switch: 0.1 is 1 % off.
      const difference = ((await at(0.01)) - (await at(-0.01))) / 0.02
      expect(difference / length).toBeGreaterThan(0.995)
      expect(difference / length).toBeLessThan(1.005)
    },
    onCPU,
  )
})
