/**
 * The spaces of networks that give one vector a picture: which pictures each takes, and where its weights come from.
 */
import { centerCrop, imageBatch, middle, resize, resizeShortSide, type Image } from '../data/index.ts'
import { TweedieError } from '../errors.ts'
import {
  type Classifier,
  describeModel,
  featureNetConfigOf,
  featureNetImageSize,
  loadFeatureNet,
  loadModel,
  loadResNet,
  loadVgg16,
  loadViT,
  randomResNet,
  randomVgg16,
  resNet18ToLayer3,
  resNet50,
  type DescribedSource,
  type LoadOptions,
  type ViTConfig,
  type WeightSource,
} from '../nn/index.ts'
import { resizeBilinear, type Device, type Tensor } from '../tensor/index.ts'
import {
  hashing,
  imageNetBatch,
  resizedBatch,
  rowsOf,
  type FeatureSpace,
  type ReadBatch,
  type SpaceOptions,
} from './feature-space.ts'

/** Opens a space by its name. */
export type Opener = (device: Device, name: string, options: SpaceOptions) => Promise<FeatureSpace>

/** A network that gives one vector a picture. */
interface Network {
  readonly dimension: number
  features(batch: Tensor): Tensor
  dispose(): void
}

/** Pictures on their way into a network. */
interface Input {
  /** What is done to them, in words. */
  readonly preprocessing: string
  readonly read: ReadBatch
  /** Pictures at a time. */
  readonly batch: number
}

function networkSpace(
  network: Network,
  { batch, read, preprocessing }: Input,
  name: string,
  weights: string,
): FeatureSpace {
  const { dimension } = network
  const dispose = (): void => network.dispose()
  return {
    name,
    dimension,
    preprocessing,
    weights,
    features: (images, options) => rowsOf(images, { dimension, batch, read, run: (x) => network.features(x) }, options),
    dispose,
    [Symbol.dispose]: dispose,
  }
}

/** The checkpoint that a space cannot do without; `what` says which. */
export function weightsOf(name: string, { weights }: SpaceOptions, what: string): DescribedSource {
  if (!weights) throw new TweedieError('option', `The space ${name} needs weights, ${what}: give the checkpoint.`)
  return weights
}

const imageNetWords = 'mean and deviation of ImageNet'

/** Pictures whose short side is scaled to `short`, of which the middle 224 x 224 are taken. */
const middleOf =
  (short: number, filter: 'bilinear' | 'bicubic', batch: number) =>
  (device: Device): Input => ({
    preprocessing: `short side ${filter} to ${short}, middle 224 x 224, ${imageNetWords}`,
    read: imageNetBatch(device, (image) => middle(resizeShortSide(image, short, filter), 224)),
    batch,
  })

/** Pictures scaled to a square, whatever their shape. */
const stretched =
  (batch: number) =>
  (device: Device): Input => ({
    preprocessing: `bicubic to 224 x 224 whatever the shape, ${imageNetWords}`,
    read: imageNetBatch(device, (image: Image) => resize(image, 224, 224, 'bicubic')),
    batch,
  })

/** The side that this space scales to; densities move with it, so it is always the same. */
const resNet18Side = 64

const bilinear =
  (batch: number) =>
  (device: Device): Input => ({
    preprocessing: `bilinear without antialiasing to ${resNet18Side} x ${resNet18Side}, ${imageNetWords}`,
    read: resizedBatch(device, (picture) => resizeBilinear(picture, [resNet18Side, resNet18Side])),
    batch,
  })

// The largest maps of a batch are some 100 MB: 64 channels of 112 x 112 in ResNet-50, of 224 x 224 in VGG-16.
const inputs = {
  resnet18: bilinear(128),
  resnet50: middleOf(256, 'bilinear', 32),
  // torchvision's ResNet50_Weights.IMAGENET1K_V2.
  resnet50v2: middleOf(232, 'bilinear', 32),
  vgg16: stretched(8),
  dino: middleOf(256, 'bicubic', 32),
}

/** A space of published weights. */
function published(
  what: string,
  input: (device: Device) => Input,
  load: (device: Device, source: WeightSource, options: LoadOptions) => Promise<Network>,
): Opener {
  return async (device, name, options) => {
    const { source, weights } = hashing(weightsOf(name, options, what))
    const { signal, onProgress } = options
    return networkSpace(await load(device, source, { signal, onProgress }), input(device), name, weights())
  }
}

/** A space of a network that was never trained. */
const random =
  (input: (device: Device) => Input, make: (device: Device, seed: number) => Network): Opener =>
  async (device, name, { seed = 0 }) =>
    networkSpace(make(device, seed), input(device), name, `seed ${seed}`)

const transformer = (config?: ViTConfig) => (device: Device, source: WeightSource, options: LoadOptions) =>
  loadViT(device, source, config, options)

/** ResNet-18 to layer 3. */
export const resnet18Space = published("torchvision's resnet18", inputs.resnet18, (device, source, options) =>
  loadResNet(device, source, resNet18ToLayer3, options),
)

const resnet50 = (device: Device, source: WeightSource, options: LoadOptions) =>
  loadResNet(device, source, resNet50, options)

/** ResNet-50 as torchvision trained it first. */
export const resnet50Space = published("torchvision's resnet50-0676ba61.pth", inputs.resnet50, resnet50)

/** The same network, trained again and better: other features of pictures of another size. */
export const resnet50v2Space = published("torchvision's resnet50-11ad3fa6.pth", inputs.resnet50v2, resnet50)

/** ResNet-50, never trained. */
export const randomResnet50Space = random(inputs.resnet50, (device, seed) => randomResNet(device, resNet50, seed))

/** The second fully connected layer of VGG-16. */
export const vgg16Space = published("torchvision's vgg16", inputs.vgg16, loadVgg16)

/** VGG-16, never trained. */
export const randomVgg16Space = random(inputs.vgg16, randomVgg16)

/** A vision transformer of DINO: `config`, which the file must hold. */
export const dinoSpace = (config: ViTConfig, what: string): Opener => published(what, inputs.dino, transformer(config))

/** The middle square of pictures, values in [-1, 1]. */
function square(device: Device, size: number, channels: 1 | 3, batch: number, more = ''): Input {
  return {
    preprocessing: `middle square, bicubic to ${size} x ${size}, values in [-1, 1]${more}`,
    async read(images, indices, signal) {
      const { images: values } = await imageBatch(images, indices, { size, channels }, signal)
      return device.tensor(values, [indices.length, channels, size, size])
    },
    batch,
  }
}

/** 256 maps of 24 channels and 32 x 32 places are 25 MB. */
const batchOf = (size: number): number => Math.max(1, Math.min(256, Math.floor(2 ** 18 / size ** 2)))

/** The side of the pictures of a training of ours (`train features --objective dino --from`), which its file says. */
function trainedSide({ metadata: { kind, training } }: DescribedSource): number | undefined {
  const [, digits] = kind === 'vit' ? (/"size":\s*(\d+)/.exec(training ?? '') ?? []) : []
  return digits === undefined ? undefined : Number(digits)
}

/** A vision transformer that somebody trained on pictures of their own, as its file says. */
export const ownTransformerSpace: Opener = async (device, name, options) => {
  const file = weightsOf(name, options, 'a vision transformer of DINO, any size of it')
  const size = options.size ?? trainedSide(file)
  const { source, weights } = hashing(file)
  const net = await transformer()(device, source, options)
  const input: Input =
    size === undefined
      ? inputs.dino(device)
      : {
          preprocessing: `middle square, bicubic to ${size} x ${size}, ${imageNetWords}`,
          read: imageNetBatch(device, (image) => centerCrop(image, size)),
          batch: batchOf(size),
        }
  return networkSpace(net, input, name, weights())
}

/** Our own feature net. */
export const featureNetSpace: Opener = async (device, name, options) => {
  const file = weightsOf(name, options, 'as tweedie train features writes them')
  // Of another network that is what is wrong, not a size that is missing.
  featureNetConfigOf(file)
  const size = options.size ?? featureNetImageSize(file)
  if (size === undefined)
    throw new TweedieError('option', `${file.name} does not say for which size its net was trained: give the size.`)
  const { source, weights } = hashing(file)
  const net = await loadFeatureNet(device, source, options)
  return networkSpace(net, square(device, size, net.config.inChannels, batchOf(size)), name, weights())
}

/** An ADM classifier, shown clean pictures: what its last layer makes logits of. */
export const classifierSpace: Opener = async (device, name, options) => {
  const file = weightsOf(name, options, 'an ADM classifier')
  const { config } = describeModel(file)
  const fail = (found: string): never => {
    throw new TweedieError('weights', `${file.name}: expected a classifier of pictures, found ${found}.`)
  }
  if (config.kind !== 'classifier') return fail('a diffusion model')
  const { inChannels: channels, imageSize: size } = config
  if (channels !== 1 && channels !== 3) return fail(`one of ${channels} channels of features`)
  if (config.numClasses !== null) return fail('one that is told classes')
  const { source, weights } = hashing(file)
  const { signal, onProgress } = options
  const net = (await loadModel(device, source, { config }, { signal, onProgress })) as Classifier
  const network: Network = {
    dimension: pooledLength(net),
    features: (x) => net.pooled(x, new Float32Array(x.shape[0])),
    dispose: () => net.dispose(),
  }
  // A network of 64 x 64 has maps of 128 channels.
  const batch = Math.max(1, Math.floor(batchOf(size) / 4))
  return networkSpace(network, square(device, size, channels, batch, ', timestep 0'), name, weights())
}

/** Length of what {@link Classifier.pooled} gives. */
function pooledLength({ plan: { head } }: Classifier): number {
  switch (head.pool) {
    case 'attention':
      return head.attention.channels
    case 'adaptive':
      return head.conv.inChannels
    case 'spatial':
    case 'spatial_v2':
      return head.linear1.inFeatures
  }
}
