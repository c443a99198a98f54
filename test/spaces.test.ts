/**
 * The feature spaces: the values of their networks, what they are called, and that they know pictures that do not fit.
 */
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { imageArrays, imageBatch, type ImageSet } from '../src/data/index.ts'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import type { Checkpoint } from '../src/io/index.ts'
import { countOf, openSpace, principalComponents, symmetricEigen, type SpaceName } from '../src/metrics/index.ts'
import {
  configMetadata,
  loadModel,
  loadResNet,
  planOf,
  randomResNet,
  resNet18ToLayer3,
  resNet50,
  resNetStateDict,
  stateDictOf,
  vgg16StateDict,
  viTS16,
  viTStateDict,
  type Classifier,
  type DescribedSource,
  type ModelConfig,
  type WeightSource,
} from '../src/nn/index.ts'
import { Device } from '../src/tensor/index.ts'
import { formulaWeights, hashes } from './formula.ts'
import { resNetRules, viTRules } from './golden-features.ts'
import { keyedWeights } from './keyed-formula.ts'
import { cosine } from './small-models.ts'
import { encoderConfig, unetConfig } from './spec-models.ts'
import { deviceTest, expectClose, numbers, onCPU, testDevice } from './op.ts'
import { describeShared, shared } from './shared.ts'
import { readFileSync } from 'node:fs'

const checkpoint = async (path: string): Promise<Checkpoint> => openCheckpoint(await openFile(path))
const ownNet = (): Promise<Checkpoint> =>
  checkpoint(fileURLToPath(new URL('../weights/bccd32-features.safetensors', import.meta.url)))

/** Noise: `count` pictures of `side` pixels. */
const noise = (count: number, side: number, channels: 1 | 3 = 3, seed = 1): ImageSet =>
  imageArrays({
    name: 'noise',
    fingerprint: `noise ${seed}`,
    width: side,
    height: side,
    channels,
    data: Uint8Array.from(numbers(count * side * side * channels, seed), (v) => 128 + 127 * v),
  })

deviceTest(
  'our own feature net: rows as the net gives them, in any batch, with progress',
  async (device) => {
    using space = await openSpace(device, 'features', { weights: await ownNet() })
    expect(space).toMatchObject({
      name: 'features',
      dimension: 232,
      preprocessing: expect.stringContaining('32 x 32') as string,
    })
    expect(space.weights).toMatch(/^tensors sha256 [0-9a-f]{64}$/)
    const images = noise(5, 32)
    const done: number[] = []
    const all = await space.features(images, { batch: 2, onProgress: (n) => done.push(n) })
    expect(done).toEqual([2, 4, 5])
    expect(countOf(all)).toBe(5)
    expectClose((await space.features(images)).data, all.data, 1e-5, 'another batch')
    for (let i = 0; i < 5; i++) expect(Math.hypot(...all.data.subarray(i * 232, (i + 1) * 232))).toBeCloseTo(1, 5)
  },
  onCPU,
)

test('an abort stops between batches with its reason', async () => {
  using space = await openSpace(await testDevice('cpu'), 'features', { weights: await ownNet() })
  const stop = new AbortController()
  const run = space.features(noise(3, 32), {
    batch: 1,
    signal: stop.signal,
    onProgress: () => stop.abort(new Error('enough')),
  })
  await expect(run).rejects.toThrow('enough')
})

test('what a space needs and does not get is one sentence', async () => {
  const device = await testDevice('cpu')
  await expect(async () => openSpace(device, 'feature' as never)).rejects.toThrow(
    /the space is 'features'.*did you mean 'features'/,
  )
  await expect(openSpace(device, 'features')).rejects.toThrow(
    /space features needs weights, as tweedie train features writes them/,
  )
  await expect(openSpace(device, 'resnet50-v2')).rejects.toThrow(/needs weights, torchvision's resnet50-11ad3fa6\.pth/)
  await expect(openSpace(device, 'pixels')).rejects.toThrow(/space pixels needs pictures/)
  await expect(openSpace(device, 'pixels', { fit: noise(1, 16) })).rejects.toThrow(/two pictures or more, found one/)
  await expect(async () => openSpace(device, 'resnet18', { weigths: 1 } as never)).rejects.toThrow(/weigths/)
  await expect(openSpace(device, 'resnet18', { weights: await ownNet() })).rejects.toThrow(/conv1\.weight/)
})

describeShared('ResNet-18 to layer 3', () => {
  deviceTest('features against the reference, and a space of any size of picture', async (device) => {
    const values = JSON.parse(readFileSync(shared('goldens/weights-reference-values.json'), 'utf8')) as {
      resnet18_layer3_gap: { first8: number[]; sum: number }
    }
    using file = closing(await checkpoint(shared('weights/resnet18_to_layer3_bnfolded.safetensors')))
    using net = await loadResNet(device, file, resNet18ToLayer3)
    const x = new Float32Array(3 * 64 * 64)
    const [mean, deviation] = [
      [0.485, 0.456, 0.406],
      [0.229, 0.224, 0.225],
    ]
    for (let i = 0; i < x.length; i++) {
      const [c, row, column] = [Math.floor(i / 4096), Math.floor(i / 64) % 64, i % 64]
      const v = Math.sin(0.37 * column + 0.23 * row * (c + 1)) * Math.cos(0.11 * row - 0.19 * column * (c + 1))
      x[i] = ((v + 1) / 2 - mean[c]) / deviation[c]
    }
    using input = device.tensor(x, [1, 3, 64, 64])
    using features = net.features(input)
    const found = await features.read()
    const { first8, sum } = values.resnet18_layer3_gap
    const largest = found.reduce((m, v) => Math.max(m, v), 0)
    for (const [i, v] of first8.entries()) expect(Math.abs(found[i] - v)).toBeLessThanOrEqual(2e-5 * largest)
    expect(Math.abs(found.reduce((a, b) => a + b, 0) - sum)).toBeLessThanOrEqual(1e-5 * sum)
  })
  deviceTest(
    'grey pictures are three equal channels, and 64 x 64 is left as it is',
    async (device) => {
      using space = await openSpace(device, 'resnet18', {
        weights: await checkpoint(shared('weights/resnet18_to_layer3_bnfolded.safetensors')),
      })
      expect(space.dimension).toBe(256)
      const grey = noise(2, 64, 1)
      const data = new Uint8Array(2 * 64 * 64 * 3)
      const bytes = await Promise.all([0, 1].map((i) => grey.read(i)))
      bytes.forEach((image, i) =>
        image.data.forEach((b, p) => data.fill(b, 3 * (i * 4096 + p), 3 * (i * 4096 + p) + 3)),
      )
      const colour = imageArrays({ name: 'colour', fingerprint: 'c', width: 64, height: 64, channels: 3, data })
      expect((await space.features(grey)).data).toEqual((await space.features(colour)).data)
    },
    onCPU,
  )
})

const closing = (file: Checkpoint): Checkpoint & Disposable =>
  Object.assign(file, { [Symbol.dispose]: () => void file.close() })

/** A checkpoint in memory, of weights by the formula. */
const described = (
  { name, tensors }: WeightSource,
  metadata: Readonly<Record<string, string>> = {},
): DescribedSource => ({ name, tensors, metadata })

deviceTest(
  'the published networks: what each is called, and that pictures of any shape go in',
  async (device) => {
    const images = imageArrays({
      name: 'wide',
      fingerprint: 'wide',
      width: 40,
      height: 30,
      channels: 1,
      data: Uint8Array.from(numbers(40 * 30, 3), (v) => 128 + 127 * v),
    })
    const small = { ...viTS16, depth: 1 }
    const vit = keyedWeights(viTStateDict(small), 3, viTRules)
    const cases: [SpaceName, WeightSource, number, RegExp][] = [
      [
        'resnet50',
        keyedWeights(resNetStateDict(resNet50), 6, resNetRules),
        2048,
        /^short side bilinear to 256, middle/,
      ],
      [
        'resnet50-v2',
        keyedWeights(resNetStateDict(resNet50), 6, resNetRules),
        2048,
        /^short side bilinear to 232, middle/,
      ],
      ['vgg16', keyedWeights(vgg16StateDict(32), 6), 32, /^bicubic to 224 x 224 whatever the shape/],
      ['dino', vit, 384, /^short side bicubic to 256, middle 224 x 224/],
    ]
    for (const [name, weights, dimension, preprocessing] of cases) {
      using space = await openSpace(device, name, { weights: described(weights) })
      expect(space).toMatchObject({ name, dimension })
      expect(space.preprocessing).toMatch(preprocessing)
      expect(space.weights).toMatch(/^tensors sha256 [0-9a-f]{64}$/)
      const { data } = await space.features(images)
      expect(data).toHaveLength(dimension)
      expect(data.every(Number.isFinite)).toBe(true)
    }
    using space = await openSpace(device, 'dino', { weights: described(vit), size: 32 })
    expect(space.preprocessing).toMatch(/^middle square, bicubic to 32 x 32/)
    const training = JSON.stringify({ kind: 'vit', size: 48 })
    using own = await openSpace(device, 'dino', { weights: described(vit, { kind: 'vit', training }) })
    expect(own.preprocessing).toMatch(/^middle square, bicubic to 48 x 48/)
    await expect(openSpace(device, 'dino-vits16', { weights: described(vit) })).rejects.toThrow(
      /blocks\.1\.norm1\.weight/,
    )
  },
  onCPU,
)

deviceTest(
  'a random network: its seed is its weights, and another seed another network',
  async (device) => {
    const read = async (seed: number): Promise<Float32Array> => {
      using space = await openSpace(device, 'random-resnet50', { seed })
      expect(space).toMatchObject({ name: 'random-resnet50', dimension: 2048, weights: `seed ${seed}` })
      return (await space.features(noise(1, 32))).data
    }
    const [one, other] = [await read(1), await read(2)]
    const largest = one.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
    expect(Number.isFinite(largest) && largest > 0).toBe(true)
    expect(other.some((v, i) => Math.abs(v - one[i]) > 0.1 * largest)).toBe(true)
  },
  onCPU,
)

test('features are the same bits on any number of threads', async () => {
  const rows: Float32Array[] = []
  for (const threads of [1, 3]) {
    using device = await Device.request({ backend: 'cpu', threads })
    using net = randomResNet(device, resNet18ToLayer3, 0)
    using x = device.tensor(numbers(2 * 3 * 33 * 40, 4), [2, 3, 33, 40])
    using y = net.features(x)
    rows.push(await y.read())
  }
  expect(rows[1]).toEqual(rows[0])
})

deviceTest('random weights are of the deviation that torchvision begins with', async (device) => {
  using net = randomResNet(device, resNet18ToLayer3, 0)
  for (const key of ['conv1', 'layer2.0.conv2', 'layer3.0.downsample.0']) {
    const weight = net.parameters.get(`${key}.weight`)!
    const values = await weight.read()
    const [out, , kernel] = weight.shape
    const squares = values.reduce((a, v) => a + v * v, 0)
    // Of n normal numbers the square of the deviation is known to sqrt(2 / n) of it.
    expect((squares / values.length) * out * kernel * kernel).toBeCloseTo(2, 1)
  }
  expect([...(await net.parameters.get('conv1.bias')!.read())]).toEqual(Array(64).fill(0))
})

test('a classifier as a space: what its last layer makes logits of', async () => {
  const device = await testDevice('cpu')
  const pools = ['attention', 'adaptive', 'spatial', 'spatial_v2'] as const
  for (const pool of pools) {
    const config = { ...encoderConfig, kind: 'classifier', pool } as const
    const weights = described(formulaWeights(stateDictOf(planOf(config)), hashes(1)), configMetadata(config, cosine))
    using space = await openSpace(device, 'classifier', { weights })
    expect(space.preprocessing).toMatch(/timestep 0$/)
    const images = noise(2, config.imageSize, config.inChannels as 1 | 3)
    const { data, dimension } = await space.features(images)
    using net = (await loadModel(device, weights, { config })) as Classifier
    using x = device.tensor((await imageBatch(images, [0, 1], { size: config.imageSize, channels: 3 })).images, [
      2,
      3,
      config.imageSize,
      config.imageSize,
    ])
    using logits = net.forward(x, [0, 0])
    // The last layer, on the host.
    const last = { attention: 'out.2.c_proj', adaptive: 'out.3', spatial: 'out.2', spatial_v2: 'out.3' }[pool]
    const [weight, bias] = [`${last}.weight`, `${last}.bias`].map((key) => net.parameters.get(key)!)
    const [w, b] = [await weight.read(), await bias.read()]
    const expected = Array.from({ length: 2 * b.length }, (_, i) => {
      const [row, k] = [Math.floor(i / b.length), i % b.length]
      return Array.from({ length: dimension }, (_, j) => data[row * dimension + j] * w[k * dimension + j]).reduce(
        (sum, v) => sum + v,
        b[k],
      )
    })
    expectClose(await logits.read(), expected, 1e-5, pool)
  }
  const base: ModelConfig = { kind: 'unet', ...unetConfig }
  const file = described(formulaWeights(stateDictOf(planOf(base)), hashes(1)), configMetadata(base, cosine))
  await expect(openSpace(device, 'classifier', { weights: file })).rejects.toThrow(
    /expected a classifier of pictures, found a diffusion model/,
  )
})

deviceTest('principal components: those of points that lie along three known directions', async (device) => {
  const [n, dimension] = [300, 40]
  const directions = [0, 1, 2].map((k) => numbers(dimension, 50 + k))
  const points = new Float32Array(n * dimension)
  const amounts = [0, 1, 2].map((k) => numbers(n, 60 + k).map((v) => v * [9, 3, 1][k]))
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < dimension; j++)
      points[i * dimension + j] = 5 + amounts.reduce((s, a, k) => s + a[i] * directions[k][j], 0)
  }
  const found = await principalComponents(device, { data: points, dimension }, 3)
  // Distances along them are those in all coordinates.
  const along = (i: number, j: number): number =>
    Math.hypot(
      ...[0, 1, 2].map((k) => {
        let sum = 0
        for (let d = 0; d < dimension; d++)
          sum += (points[i * dimension + d] - points[j * dimension + d]) * found.directions[k * dimension + d]
        return sum
      }),
    )
  for (const [i, j] of [
    [0, 1],
    [5, 9],
    [100, 299],
  ]) {
    const whole = Math.hypot(
      ...Array.from({ length: dimension }, (_, d) => points[i * dimension + d] - points[j * dimension + d]),
    )
    expect(along(i, j) / whole).toBeCloseTo(1, 4)
  }
  await expect(principalComponents(device, { data: points, dimension }, 41)).rejects.toThrow(
    /1 to 40 components of 300 points/,
  )
})

deviceTest('as many principal components of a slowly falling spectrum: their variances, one by one', async (device) => {
  const [n, dimension, components] = [200, 60, 12]
  const data = Float32Array.from(numbers(n * dimension, 70), (v, i) => v / Math.sqrt(1 + (i % dimension)))
  const { directions, mean } = await principalComponents(device, { data, dimension }, components)
  const centred = data.map((v, i) => v - mean[i % dimension])
  const covariance = new Float64Array(dimension * dimension)
  for (let i = 0; i < n; i++)
    for (let a = 0; a < dimension; a++)
      for (let b = 0; b < dimension; b++)
        covariance[a * dimension + b] += centred[i * dimension + a] * centred[i * dimension + b]
  const { values } = await symmetricEigen(covariance, dimension)
  for (let k = 0; k < components; k++) {
    const row = directions.subarray(k * dimension, (k + 1) * dimension)
    let variance = 0
    for (let a = 0; a < dimension; a++)
      for (let b = 0; b < dimension; b++) variance += row[a] * covariance[a * dimension + b] * row[b]
    expect(variance / values[dimension - 1 - k]).toBeCloseTo(1, 3)
  }
})

deviceTest(
  'pixels: their components keep most of what the pictures differ by',
  async (device) => {
    const images = imageArrays({
      name: 'ramps',
      fingerprint: 'ramps',
      width: 16,
      height: 16,
      channels: 1,
      data: Uint8Array.from(
        { length: 30 * 256 },
        (_, i) => 128 + 60 * Math.sin(Math.floor(i / 256)) * Math.cos((i % 16) / 3) + 3 * Math.sin(i * i),
      ),
    })
    using space = await openSpace(device, 'pixels', { fit: images, components: 4 })
    expect(space).toMatchObject({ dimension: 4, weights: 'fitted to 30 pictures of ramps' })
    const { data } = await space.features(images)
    const variance = Array.from({ length: 4 }, (_, k) =>
      Array.from({ length: 30 }, (_, i) => data[4 * i + k] ** 2).reduce((a, b) => a + b),
    )
    expect(variance[0]).toBeGreaterThan(20 * variance[1])
  },
  onCPU,
)
