import { FeatureNet, featureNetStateDict, type FeatureNetConfig } from '../nn/feature-net.ts'
import { uniformWithin } from '../nn/initialize.ts'
import {
  add,
  concat,
  div,
  expression,
  f,
  full,
  gather,
  linear,
  liveOf,
  logSoftmax,
  map,
  matmul,
  mul,
  neg,
  now,
  randomBits,
  randomNormal,
  relu,
  reshape,
  slice,
  splitSeed,
  sum,
  type Device,
  type Live,
  type Shape,
  type Tensor,
} from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import type { TrainImages } from './diffusion.ts'
import type { Draw, Task } from './trainer.ts'
import { viewDefaults, viewsOf, type ViewOptions } from './views.ts'

/** Options of {@link FeatureTask}: the net, its pictures, and how strongly the views are changed. */
export interface FeatureTaskOptions extends Partial<ViewOptions> {
  readonly config: FeatureNetConfig
  /** Side of the pictures. */
  readonly size: number
  /** Training images number `first` to `first + count - 1` of the run. */
  readonly load: (first: number, count: number, signal?: AbortSignal) => Promise<TrainImages>
  /** How many pictures of each class there are; empty (default) trains without classes. */
  readonly classCounts?: readonly number[]
  /** Weight of the classes' loss beside the contrast's. Default 1. */
  readonly classWeight?: number
  /** Temperature tau. Default 0.2. */
  readonly temperature?: number
  /** Standard deviation of the noise on a view, at most. Default 0.1. */
  readonly noise?: number
  readonly seed: number
}

/** A batch of {@link FeatureTask}: two views of each image and its class, and the number of the first in the run. */
export interface FeatureDraw extends Draw {
  readonly first: number
  readonly views: readonly [Float32Array, Float32Array]
  readonly labels: readonly number[]
}

/** Length of the vectors that are contrasted. */
const projected = 64

/** x / |x| of x and |x|², with 1e-6 for the length of vectors near 0. */
export const unit = expression(2, 0, ([x, s]) => f.div(x, f.sqrt(f.add(s, 1e-12))))
const noisy = expression(3, 1, ([x, noise, bits], [scale]) => f.add(x, f.mul(f.mul(bits, scale), noise)))

/**
 * Weights by He's initialisation from the seed (uniform in +-sqrt(6 / fan_in); biases 0), under their names. The
 * caller's.
 */
export function untrained(
  device: Device,
  shapes: Iterable<readonly [string, Shape]>,
  seed: number,
): Map<string, Tensor> {
  const parameters = new Map<string, Tensor>()
  device.scope(() => {
    const index = device.tensor([0], [1], 'u32')
    let draw = 0
    for (const [key, shape] of shapes) {
      const fanIn = shape.slice(1).reduce((a, b) => a * b, 1)
      const stream = { seed: splitSeed(seed), draw: draw++, purpose: purposes.featureParameters, shape }
      const values = key.endsWith('.bias')
        ? full(device, shape, 0)
        : reshape(map(uniformWithin, [randomBits(index, stream)], [Math.sqrt(6 / fanIn)]), shape)
      parameters.set(key, device.keep(values))
    }
  })
  return parameters
}

/**
 * The {@link Task} of training a {@link FeatureNet} on the pictures themselves: two random views of a picture are to
 * lie nearer to each other than to the views of all other pictures of the batch (Chen et al. 2020), and where the data
 * set has classes, a linear layer on the features is to tell them too. Both heads are for training only.
 *
 *     loss = -log softmax_j(z_i . z_j / tau)[partner of i], over j != i, + classWeight * cross entropy of the class
 *
 * Classes count equally however rare they are: each sample's cross entropy is weighted by 1 / (classes * share).
 */
export class FeatureTask implements Task<FeatureDraw, FeatureDraw> {
  readonly net: FeatureNet
  /** Those of the net, then `heads.*`. */
  readonly parameters: ReadonlyMap<string, Tensor>
  readonly groups = ['all'] as const
  /** Its steps may be recorded. */
  readonly replayable = true
  readonly #device: Device
  readonly #options: Required<Omit<FeatureTaskOptions, 'areaMost'>>
  readonly #classWeights: readonly number[]

  /** He's initialisation (uniform in +-sqrt(6 / fan_in), biases 0) from the seed. */
  constructor(device: Device, options: FeatureTaskOptions) {
    this.#device = device
    this.#options = { classCounts: [], classWeight: 1, temperature: 0.2, noise: 0.1, ...viewDefaults, ...options }
    const { config, classCounts, seed } = this.#options
    const width = config.channels.reduce((a, b) => a + b)
    const net = featureNetStateDict(config)
    const heads = new Map<string, Shape>([
      ['heads.project.0.weight', [2 * projected, width]],
      ['heads.project.0.bias', [2 * projected]],
      ['heads.project.1.weight', [projected, 2 * projected]],
      ...(classCounts.length > 1
        ? ([
            ['heads.classes.weight', [classCounts.length, width]],
            ['heads.classes.bias', [classCounts.length]],
          ] as [string, Shape][])
        : []),
    ])
    const parameters = untrained(device, [...net, ...heads], seed)
    this.parameters = parameters
    this.net = new FeatureNet(config, new Map([...net.keys()].map((key) => [key, parameters.get(key)!])))
    const total = classCounts.reduce((a, b) => a + b, 0)
    this.#classWeights = classCounts.map((count) => (count === 0 ? 0 : total / (classCounts.length * count)))
  }

  async load(first: number, count: number, signal?: AbortSignal): Promise<FeatureDraw> {
    const { config, size, load, seed } = this.#options
    const { images, labels = [] } = await load(first, count, signal)
    const [one, other] = ([0, 1] as const).map((view) =>
      viewsOf(images, config.inChannels, size, first, view, seed, this.#options),
    )
    return {
      first,
      views: [one, other],
      labels: Array.from(labels),
      weights: new Array<number>(count).fill(1),
      groups: new Array<number>(count).fill(0),
    }
  }

  draw(loaded: FeatureDraw): FeatureDraw {
    return loaded
  }

  losses(given: FeatureDraw): { loss: Tensor; terms: Record<string, Tensor> } {
    const device = this.#device
    const draw = given as Live<FeatureDraw>
    const { views } = now(draw)
    const { config, size, classCounts, classWeight, temperature, noise, seed } = this.#options
    const n = views[0].length / (config.inChannels * size * size)
    const shape = [config.inChannels, size, size]
    const index = device.tensor(
      liveOf(draw, ({ first }) => Array.from({ length: n }, (_, i) => first + i)),
      [n],
      'u32',
    )
    // A mean square of 1, as linear layers start from.
    const features = mul(
      this.net.features(
        concat(
          views.map((_, k) => {
            const view = device.tensor(
              liveOf(draw, (drawn) => drawn.views[k]),
              [n, ...shape],
            )
            const stream = { seed: splitSeed(seed), draw: k, purpose: purposes.featureNoise }
            const strength = randomBits(index, { ...stream, draw: 2 + k, shape: [1, 1, 1] })
            return map(noisy, [view, randomNormal(index, { ...stream, shape }), strength], [noise / 2 ** 32])
          }),
          0,
        ),
      ),
      Math.sqrt(this.net.dimension),
    )
    const contrast = this.#contrast(features, n, temperature)
    if (classCounts.length < 2) return { loss: contrast, terms: {} }
    const logits = linear(features, this.#parameter('heads.classes.weight'), this.#parameter('heads.classes.bias'))
    const both = liveOf(draw, ({ labels }) => [...labels, ...labels])
    const twice = device.tensor(both, [2 * n, 1], 'i32')
    const weights = device.tensor(
      liveOf(both, (labels) => labels.map((label) => this.#classWeights[label])),
      [2 * n],
    )
    const entropy = this.#meanOfViews(mul(weights, reshape(neg(gather(logSoftmax(logits), 1, twice)), [2 * n])), n)
    return {
      loss: add(contrast, mul(entropy, classWeight)),
      terms: { contrast: mul(contrast, 1), class: mul(entropy, 1) },
    }
  }

  /** The contrastive loss of each picture, [N], of the features [2N, D] of its two views. */
  #contrast(features: Tensor, n: number, temperature: number): Tensor {
    const device = this.#device
    const hidden = relu(
      linear(features, this.#parameter('heads.project.0.weight'), this.#parameter('heads.project.0.bias')),
    )
    const raw = linear(hidden, this.#parameter('heads.project.1.weight'))
    const z = map(unit, [raw, sum(mul(raw, raw), { axes: [1], keepDims: true })])
    const own = device.tensor(
      Float32Array.from({ length: 4 * n * n }, (_, i) => (i % (2 * n + 1) === 0 ? -1e9 : 0)),
      [2 * n, 2 * n],
    )
    const similar = add(div(matmul(z, z, { transposeB: true }), temperature), own)
    const partner = device.tensor(
      Array.from({ length: 2 * n }, (_, i) => (i + n) % (2 * n)),
      [2 * n, 1],
      'i32',
    )
    return this.#meanOfViews(reshape(neg(gather(logSoftmax(similar), 1, partner)), [2 * n]), n)
  }

  #meanOfViews(values: Tensor, n: number): Tensor {
    return div(add(slice(values, 0, 0, n), slice(values, 0, n, 2 * n)), 2)
  }

  #parameter(key: string): Tensor {
    return this.parameters.get(key)!
  }

  /** Frees the net and the heads. */
  dispose(): void {
    for (const tensor of this.parameters.values()) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
