import { checkAwaited, TweedieError } from '../errors.ts'
import {
  add,
  avgPool2d,
  broadcastTo,
  concat,
  conv2d,
  expression,
  f,
  full,
  map,
  mean,
  relu,
  square,
  sum,
  type Device,
  type Tensor,
} from '../tensor/index.ts'
import { checkTensor } from '../tensor/op.ts'
import { sameShape, shapeError } from '../tensor/shape.ts'
import { parameter, type Parameters } from './layers.ts'
import { loadParameters, type LoadOptions, type WeightSource } from './load.ts'
import type { Memory, MemoryOptions } from './memory.ts'
import { parameterCount } from './state-dict.ts'
import { unitDifference } from './unit-difference.ts'

/** What a {@link FeatureNet} is built from. */
export interface FeatureNetConfig {
  /** Of the pictures. A net of 3 takes grey pictures too, for all three channels. */
  readonly inChannels: 1 | 3
  /** Of each stage; every one but the first works on half the side of the one before. */
  readonly channels: readonly number[]
}

/** Smallest side: four stages leave 2 x 2 places of it. */
const smallest = 16

const convKey = (stage: number, conv: number): string => `stages.${stage}.${conv}`

/** Name to shape of every tensor: `stages.K.0` and `stages.K.1`, each with weight and bias. */
export function featureNetStateDict({ inChannels, channels }: FeatureNetConfig): Map<string, number[]> {
  return new Map(
    channels.flatMap((out, k) =>
      [k === 0 ? inChannels : channels[k - 1], out].flatMap((input, i): [string, number[]][] => [
        [`${convKey(k, i)}.weight`, [out, input, 3, 3]],
        [`${convKey(k, i)}.bias`, [out]],
      ]),
    ),
  )
}

/**
 * The metadata of a feature net's file. `imageSize`: side of the pictures it was trained on. The tensors tell the rest.
 */
export const featureNetMetadata = (
  { inChannels, channels }: FeatureNetConfig,
  imageSize: number,
): { kind: 'features'; config: string } => ({
  kind: 'features',
  config: JSON.stringify({ in_channels: inChannels, channels, image_size: imageSize }),
})

/** The side of the pictures that a file's net was trained on, where its metadata say it. */
export function featureNetImageSize({
  metadata,
}: {
  readonly metadata: Readonly<Record<string, string>>
}): number | undefined {
  const [, digits] = metadata.kind === 'features' ? (/"image_size":\s*(\d+)/.exec(metadata.config ?? '') ?? []) : []
  const size = Number(digits)
  return size > 0 ? size : undefined
}

/**
 * The configuration of a file's net, told from its tensors; whether it is complete is for loading to say.
 * @throws TweedieError 'weights' for a file that holds another network
 */
export function featureNetConfigOf({ name, tensors }: Pick<WeightSource, 'name' | 'tensors'>): FeatureNetConfig {
  const channels: number[] = []
  for (;;) {
    const shape = tensors.get(`${convKey(channels.length, 0)}.weight`)?.shape
    if (!shape) break
    channels.push(shape[0] ?? 0)
  }
  const inChannels = tensors.get(`${convKey(0, 0)}.weight`)?.shape[1]
  if (inChannels !== 1 && inChannels !== 3) {
    throw new TweedieError(
      'weights',
      `${name}: expected a feature net (stages.0.0.weight and so on, as tweedie train features writes it), ` +
        `found ${tensors.size} tensors, the first of them ${[...tensors.keys()][0] ?? 'none'}`,
    )
  }
  return { inChannels, channels }
}

// x / sqrt(stages |x|²), with an addend that keeps it and its gradient finite at 0.
const scaled = expression(2, 1, ([x, s], [stages]) => f.div(x, f.sqrt(f.mul(stages, f.add(s, 1e-12)))))

/**
 * Our own small feature net: a convolutional net for pictures of 16 pixels and more a side, trained by this engine on
 * the user's data (`tweedie train features`), which stands in for third-party networks in two places. As a perceptual
 * distance it is read like LPIPS (Zhang et al. 2018, Eq. 1) without learned weights: at the end of every stage the
 * channels of each place are scaled to unit length, and the squared differences are averaged over places and over
 * stages. As a feature space it gives one vector a picture, for nearest neighbours, densities and metrics.
 *
 * A stage is two 3 x 3 convolutions, each followed by a ReLU; between stages 2 x 2 means halve the picture. There is no
 * normalisation layer: a norm over places takes the mean of a channel away, and with it the colour of a picture, which
 * is what our diffusion models most often get wrong.
 */
export class FeatureNet {
  readonly config: FeatureNetConfig
  /** By state-dict name. */
  readonly parameters: Parameters
  constructor(config: FeatureNetConfig, parameters: Parameters) {
    this.config = config
    this.parameters = parameters
  }

  /** Length of a feature vector. */
  get dimension(): number {
    return this.config.channels.reduce((a, b) => a + b)
  }

  /**
   * The perceptual distance of `a` and `b`, both [N, C, H, W] in [-1, 1]: [N], from 0 for equal
   * pictures (exactly) to 2.
   *
   *   d = 1/K Σ_k mean_places Σ_c (û_kc - v̂_kc)²,   û = f / (|f| + 1e-10)
   *
   * Differentiable by both; where all channels of a stage are 0 the gradient is 0.
   *
   * @throws TweedieError 'shape' for shapes that differ, that are no pictures of this net, or that are too small
   */
  distance(a: Tensor, b: Tensor): Tensor {
    if (!sameShape(a.shape, b.shape))
      throw shapeError('featureDistance', 'two batches of pictures of one shape', a.shape, b.shape)
    this.#check(a)
    const { device } = a
    return device.scope(() => {
      let maps = [a, b].map((x) => this.#image(x))
      return this.config.channels
        .map((channels, k) => {
          maps = maps.map((x) => this.#stage(k, x))
          const [, , height, width] = maps[0].shape
          const weights = full(device, [1, channels, 1, 1], 1 / this.config.channels.length)
          return sum(unitDifference(maps[0], maps[1], weights, 1 / (height * width)), { axes: [1, 2, 3] })
        })
        .reduce(add)
    })
  }

  /**
   * Feature vectors [N, dimension] of pictures [N, C, H, W] in [-1, 1]: of every stage the mean of each channel over
   * its places, scaled to the length 1 / sqrt(stages), so that every stage counts equally and the whole has length 1.
   */
  features(x: Tensor): Tensor {
    this.#check(x)
    return x.device.scope(() => {
      let h = this.#image(x)
      return concat(
        this.config.channels.map((_, k) => {
          h = this.#stage(k, h)
          const means = mean(relu(h), { axes: [2, 3] })
          return map(scaled, [means, sum(square(means), { axes: [1], keepDims: true })], [this.config.channels.length])
        }),
        1,
      )
    })
  }

  /** Stage `k` on what the one before left before its ReLU (the first: on the picture), again before the ReLU. */
  #stage(k: number, x: Tensor): Tensor {
    const conv = (i: number, input: Tensor): Tensor => {
      const [weight, bias] = ['weight', 'bias'].map((kind) => parameter(this.parameters, `${convKey(k, i)}.${kind}`))
      return conv2d(input, weight, { bias: bias, padding: 1 })
    }
    return x.device.scope(() => conv(1, relu(conv(0, k === 0 ? x : avgPool2d(relu(x), { kernel: 2 })))))
  }

  #image(x: Tensor): Tensor {
    const [n, channels, ...size] = x.shape
    return channels === this.config.inChannels ? x : broadcastTo(x, [n, this.config.inChannels, ...size])
  }

  #check(x: Tensor): void {
    checkTensor('feature net', x)
    const { shape } = x
    const { inChannels } = this.config
    if (shape.length !== 4 || (shape[1] !== inChannels && shape[1] !== 1))
      throw shapeError('feature net', `pictures [N, ${inChannels}, H, W]`, shape)
    if (Math.min(shape[2], shape[3]) < smallest)
      throw shapeError('feature net', `pictures of ${smallest} x ${smallest} pixels or more`, shape)
  }

  /** Frees the parameters. */
  dispose(): void {
    for (const tensor of this.parameters.values()) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/**
 * Loads a feature net, as `tweedie train features` writes it. The checkpoint stays open. Errors are those of
 * {@link loadParameters}, and 'weights' for a file of another network.
 *
 * @example
 * const file = await openFile(import.meta.resolve('tweedie/weights/bccd32-features.safetensors'))
 * const net = await loadFeatureNet(device, await openCheckpoint(file))
 * const d = net.distance(a, b)   // [N]
 */
export async function loadFeatureNet(
  device: Device,
  source: WeightSource,
  options: LoadOptions = {},
): Promise<FeatureNet> {
  checkAwaited('loadFeatureNet', { device, checkpoint: source })
  const config = featureNetConfigOf(source)
  // The files of an unfinished training hold its heads too.
  const tensors = new Map([...source.tensors].filter(([key]) => !key.startsWith('heads.')))
  return new FeatureNet(
    config,
    await loadParameters(device, { name: source.name, tensors }, featureNetStateDict(config), options),
  )
}

/**
 * What a feature net takes on the device: its weights, and a bound on the maps of one distance. With `gradient` (by the
 * pictures) every map of both is kept, and cotangents stand beside the stage's own.
 */
export function featureNetMemoryOf(
  config: FeatureNetConfig,
  {
    batch = 1,
    gradient = false,
    size,
  }: Pick<MemoryOptions, 'batch' | 'gradient'> & Required<Pick<MemoryOptions, 'size'>>,
): Pick<Memory, 'bytes' | 'largestBuffer' | 'weights'> {
  let [height, width] = size
  let kept = 0
  let working = 0
  let largest = 0
  config.channels.forEach((channels, k) => {
    if (k > 0) [height, width] = [height >> 1, width >> 1]
    const map = channels * height * width
    // Both convolutions' outputs and the ReLUs of both, and the pooled map, at most as large.
    kept += 5 * map
    working = Math.max(working, 5 * map)
    largest = Math.max(largest, map)
  })
  const stateDict = featureNetStateDict(config)
  const weights = 4 * parameterCount(stateDict)
  const tensors = [...stateDict.values()].map((shape) => 4 * shape.reduce((a, b) => a * b, 1))
  return {
    weights,
    bytes: weights + 4 * batch * 2 * (gradient ? kept + 2 * working : 2 * working),
    largestBuffer: Math.max(...tensors, 4 * batch * largest),
  }
}
