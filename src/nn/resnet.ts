import { checkAwaited } from '../errors.ts'
import { conv2d, maxPool2d, mean, relu, type Device, type Tensor } from '../tensor/index.ts'
import { checkTensor } from '../tensor/op.ts'
import { shapeError } from '../tensor/shape.ts'
import { batchNormEntries, foldedStateDict, loadFolded } from './fold.ts'
import { parameter, type Parameters } from './layers.ts'
import { loadParameters, type LoadOptions, type WeightSource } from './load.ts'
import { fanOutDeviation, randomParameters } from './random-network.ts'

/** A residual network of torchvision's `resnet.py`, or its first stages. */
export interface ResNetConfig {
  /**
   * `basic`: two 3 x 3 convolutions, as in ResNet-18. `bottleneck`: 1 x 1, 3 x 3 (which strides), 1 x 1 of
   * four times the width.
   */
  readonly block: 'basic' | 'bottleneck'
  /** Blocks of each stage, `layer1` and so on; each but the first halves the map. */
  readonly layers: readonly number[]
}

/** ResNet-18 up to `layer3`: 256 features. */
export const resNet18ToLayer3: ResNetConfig = { block: 'basic', layers: [2, 2, 2] }
/** ResNet-50: 2,048 features. */
export const resNet50: ResNetConfig = { block: 'bottleneck', layers: [3, 4, 6, 3] }

/** A convolution without bias, and the batch norm after it, by their state-dict names. */
interface NormedConv {
  readonly key: string
  readonly norm: string
  readonly inChannels: number
  readonly outChannels: number
  readonly kernel: 1 | 3 | 7
  readonly stride: 1 | 2
}

interface ResidualBlock {
  /** ReLU between them. */
  readonly convs: readonly NormedConv[]
  /** Where the block's output is of another shape than its input. */
  readonly downsample?: NormedConv
}

interface ResNetPlan {
  readonly stem: NormedConv
  readonly blocks: readonly ResidualBlock[]
  readonly dimension: number
}

const expansionOf = { basic: 1, bottleneck: 4 } as const

/** The layers in order. A bottleneck's 3 x 3 convolution has the stride ("V1.5"), not its first one as in the paper. */
function resNetPlan({ block, layers }: ResNetConfig): ResNetPlan {
  const blocks: ResidualBlock[] = []
  let channels = 64
  layers.forEach((count, stage) => {
    const width = 64 * 2 ** stage
    const out = width * expansionOf[block]
    for (let i = 0; i < count; i++) {
      const key = `layer${stage + 1}.${i}`
      const stride = stage > 0 && i === 0 ? 2 : 1
      const conv = (
        n: number,
        inChannels: number,
        outChannels: number,
        kernel: 1 | 3,
        convStride: 1 | 2 = 1,
      ): NormedConv => ({
        key: `${key}.conv${n}`,
        norm: `${key}.bn${n}`,
        inChannels,
        outChannels,
        kernel,
        stride: convStride,
      })
      const convs =
        block === 'basic'
          ? [conv(1, channels, width, 3, stride), conv(2, width, width, 3)]
          : [conv(1, channels, width, 1), conv(2, width, width, 3, stride), conv(3, width, out, 1)]
      const fits = stride === 1 && channels === out
      blocks.push(
        fits
          ? { convs }
          : {
              convs,
              downsample: {
                key: `${key}.downsample.0`,
                norm: `${key}.downsample.1`,
                inChannels: channels,
                outChannels: out,
                kernel: 1,
                stride,
              },
            },
      )
      channels = out
    }
  })
  return {
    stem: { key: 'conv1', norm: 'bn1', inChannels: 3, outChannels: 64, kernel: 7, stride: 2 },
    blocks,
    dimension: channels,
  }
}

const convsOf = ({ stem, blocks }: ResNetPlan): NormedConv[] => [
  stem,
  ...blocks.flatMap(({ convs, downsample }) => [...convs, ...(downsample ? [downsample] : [])]),
]

const weightShape = ({ outChannels, inChannels, kernel }: NormedConv): number[] => [
  outChannels,
  inChannels,
  kernel,
  kernel,
]

/** Of a whole network. */
const [stages, classes] = [4, 1000]
/** PyTorch's default for batch norms. */
const epsilon = 1e-5

/** Which batch norm follows which convolution, for `loadFolded`. */
export const resNetNorms = (config: ResNetConfig): Map<string, string> =>
  new Map(convsOf(resNetPlan(config)).map(({ key, norm }) => [key, norm]))

/** The convolutions and their norms, as torchvision's `resnet.py` has them. */
const featureStateDict = (config: ResNetConfig): Map<string, number[]> =>
  new Map(
    convsOf(resNetPlan(config)).flatMap((conv): [string, number[]][] => [
      [`${conv.key}.weight`, weightShape(conv)],
      ...batchNormEntries(conv.norm, conv.outChannels),
    ]),
  )

/**
 * Name to shape of every tensor of torchvision's network, without PyTorch's counters; with all four stages also of its
 * classifier `fc`. Of what is learned (no running means and variances) ResNet-50 has 25,557,032.
 */
export function resNetStateDict(config: ResNetConfig): Map<string, number[]> {
  const { dimension } = resNetPlan(config)
  const fc: [string, number[]][] = [
    ['fc.weight', [classes, dimension]],
    ['fc.bias', [classes]],
  ]
  return new Map([...featureStateDict(config), ...(config.layers.length === stages ? fc : [])])
}

/** Name to shape of every tensor when the batch norms are folded: weight and bias of each convolution. */
export const resNetFoldedStateDict = (config: ResNetConfig): Map<string, number[]> =>
  new Map([...foldedStateDict(featureStateDict(config), resNetNorms(config))].map(([key, shape]) => [key, [...shape]]))

/**
 * A residual network (He et al. 2016) as a feature space, with its batch norms folded: the global average of its last
 * stage. {@link loadResNet} makes one. Differentiable; it owns its parameters.
 */
export class ResNet {
  readonly config: ResNetConfig
  /** By state-dict name, those of {@link resNetFoldedStateDict}. */
  readonly parameters: Parameters
  /** Length of a feature vector. */
  readonly dimension: number
  readonly #plan: ResNetPlan

  constructor(config: ResNetConfig, parameters: Parameters) {
    this.config = config
    this.parameters = parameters
    this.#plan = resNetPlan(config)
    this.dimension = this.#plan.dimension
  }

  /**
   * Features [N, dimension] of pictures [N, 3, H, W], normalised by ImageNet's mean and deviation.
   *
   * @throws TweedieError 'shape' for what is no batch of such pictures
   */
  features(x: Tensor): Tensor {
    return x.device.scope(() => mean(this.stages(x).at(-1)!, { axes: [2, 3] }))
  }

  /** What each stage leaves, [N, C, h, w], after its ReLU. The caller owns them. */
  stages(x: Tensor): Tensor[] {
    checkTensor('ResNet', x)
    if (x.shape.length !== 4 || x.shape[1] !== 3) throw shapeError('ResNet', 'pictures [N, 3, H, W]', x.shape)
    const { device } = x
    const { stem, blocks } = this.#plan
    return device.scope(() => {
      let h = device.scope(() => maxPool2d(relu(this.#conv(stem, x)), { kernel: 3, stride: 2, padding: 1 }))
      let block = 0
      return this.config.layers.map((count) => {
        for (let i = 0; i < count; i++) {
          const before = h
          h = device.scope(() => this.#block(blocks[block], before))
          if (i > 0) before.dispose()
          block++
        }
        return h
      })
    })
  }

  #block({ convs, downsample }: ResidualBlock, x: Tensor): Tensor {
    const skip = downsample ? this.#conv(downsample, x) : x
    const last = convs.length - 1
    return convs.reduce((h, conv, i) => relu(this.#conv(conv, h, i === last ? skip : undefined)), x)
  }

  #conv({ key, kernel, stride }: NormedConv, x: Tensor, residual?: Tensor): Tensor {
    const { parameters: p } = this
    const options = { bias: parameter(p, `${key}.bias`), stride, padding: (kernel - 1) / 2, residual }
    return conv2d(x, parameter(p, `${key}.weight`), options)
  }

  /** Frees the parameters. */
  dispose(): void {
    for (const tensor of this.parameters.values()) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/** What a file holds of the network: torchvision's have a classifier too, and all four stages. */
function own({ name, tensors }: WeightSource, { layers }: ResNetConfig): WeightSource {
  const beyond = (key: string): boolean => Number(/^layer(\d+)\./.exec(key)?.[1] ?? 0) > layers.length
  return { name, tensors: new Map([...tensors].filter(([key]) => !key.startsWith('fc.') && !beyond(key))) }
}

/**
 * Loads a residual network, as torchvision publishes it or with its batch norms folded already; which it is its names
 * tell. A classifier and further stages in the file are left out. The checkpoint stays open.
 *
 * @throws TweedieError as {@link loadParameters}
 */
export async function loadResNet(
  device: Device,
  source: WeightSource,
  config: ResNetConfig,
  options: LoadOptions = {},
): Promise<ResNet> {
  checkAwaited('loadResNet', { device, checkpoint: source })
  const file = own(source, config)
  const parameters = source.tensors.has('bn1.weight')
    ? await loadFolded(device, file, featureStateDict(config), resNetNorms(config), epsilon, options)
    : await loadParameters(device, file, resNetFoldedStateDict(config), options)
  return new ResNet(config, parameters)
}

/**
 * A residual network that was never trained, as torchvision begins it (He et al. 2015 by the number of outputs, norms
 * that do nothing); see {@link randomParameters}.
 */
export function randomResNet(device: Device, config: ResNetConfig, seed: number): ResNet {
  // A folded norm of variance 1.
  const scale = 1 / Math.sqrt(1 + epsilon)
  const parameters = randomParameters(device, resNetFoldedStateDict(config), seed, (_, shape) =>
    shape.length === 4 ? { deviation: scale * fanOutDeviation(shape) } : { value: 0 },
  )
  return new ResNet(config, parameters)
}
