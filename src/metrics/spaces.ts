import { imageBatch } from '../data/index.ts'
import { checkAwaited, TweedieError } from '../errors.ts'
import { featureNetImageSize, loadFeatureNet, loadResNet, resNet18ToLayer3, type DescribedSource } from '../nn/index.ts'
import { refuseOther, refuseUnknown } from '../refuse.ts'
import { resizeBilinear, type Device } from '../tensor/index.ts'
import { hashing, resizedBatch, rowsOf, type FeatureSpace, type Rows, type SpaceOptions } from './feature-space.ts'
import type { InceptionInput } from './inception-input.ts'
import { inceptionSpace } from './inception-space.ts'
import { pixelSpace } from './pixel-space.ts'

const known = { weights: true, fit: true, components: true, size: true, signal: true, onProgress: true } as const

/** The names of the feature spaces that {@link openSpace} knows. */
export const spaceNames = [
  'features',
  'inception',
  'inception-legacy-pytorch',
  'inception-legacy-tensorflow',
  'resnet18',
  'pixels',
] as const

/** The name of a feature space. */
export type SpaceName = (typeof spaceNames)[number]

type Opener = (device: Device, options: SpaceOptions) => Promise<FeatureSpace>

const openers: { readonly [K in SpaceName]: Opener } = {
  features: ownFeatures,
  inception: inception('inception', 'clean'),
  'inception-legacy-pytorch': inception('inception-legacy-pytorch', 'legacy_pytorch'),
  'inception-legacy-tensorflow': inception('inception-legacy-tensorflow', 'legacy_tensorflow'),
  resnet18,
  pixels: pixelSpace,
}

/**
 * Opens a feature space by its name, which belongs to the caller, who disposes of it.
 *
 * | name | network | features |
 * | --- | --- | --- |
 * | `features` | our own feature net (`tweedie train features`), `weights` | its channels |
 * | `inception` | that of FID, `weights` of pytorch-fid, folded; pictures as clean-fid resizes them | 2048 |
 * | `inception-legacy-pytorch` | the same, pictures as pytorch-fid resizes them | 2048 |
 * | `inception-legacy-tensorflow` | the same, pictures as guided-diffusion's evaluator resizes them | 2048 |
 * | `resnet18` | ResNet-18 to layer 3, `weights` of torchvision, folded | 256 |
 * | `pixels` | none: the pixels' principal components over the pictures of `fit` | `components` |
 *
 * ```ts
 * using space = await openSpace(device, 'features', { weights: await openCheckpoint(file) })
 * const real = await space.features(await openImages('real'))
 * ```
 *
 * @throws TweedieError 'option' for a name that is none, and where what the space needs is missing; 'weights' for those
 *   of another network
 */
export function openSpace(device: Device, name: SpaceName, options: SpaceOptions = {}): Promise<FeatureSpace> {
  refuseUnknown('openSpace', options, known)
  refuseOther('openSpace: the space', name, spaceNames)
  checkAwaited('openSpace', { device, weights: options.weights, fit: options.fit })
  return openers[name](device, options)
}

/** The checkpoint that a space cannot do without. */
function weightsOf(name: string, { weights }: SpaceOptions, what: string): DescribedSource {
  if (!weights) throw new TweedieError('option', `The space ${name} needs weights, ${what}: give the checkpoint.`)
  return weights
}

/** A space of a network that takes pictures one way. */
function networkSpace(
  network: { dispose(): void },
  rows: Rows,
  about: Pick<FeatureSpace, 'name' | 'preprocessing' | 'weights'>,
): FeatureSpace {
  const dispose = (): void => network.dispose()
  return {
    ...about,
    dimension: rows.dimension,
    features: (images, options) => rowsOf(images, rows, options),
    dispose,
    [Symbol.dispose]: dispose,
  }
}

async function ownFeatures(device: Device, options: SpaceOptions): Promise<FeatureSpace> {
  const file = weightsOf('features', options, 'as tweedie train features writes them')
  const size = options.size ?? featureNetImageSize(file)
  if (size === undefined)
    throw new TweedieError('option', `${file.name} does not say for which size its net was trained: give the size.`)
  const { source, weights } = hashing(file)
  const net = await loadFeatureNet(device, source, options)
  const { inChannels: channels } = net.config
  const rows: Rows = {
    dimension: net.dimension,
    // 256 maps of 24 channels and 32 x 32 places are 25 MB.
    batch: Math.max(1, Math.min(256, Math.floor(2 ** 18 / size ** 2))),
    async read(images, indices, signal) {
      const { images: values } = await imageBatch(images, indices, { size, channels }, signal)
      return device.tensor(values, [indices.length, channels, size, size])
    },
    run: (x) => net.features(x),
  }
  return networkSpace(net, rows, {
    name: 'features',
    preprocessing: `middle square, bicubic to ${size} x ${size}, values in [-1, 1]`,
    weights: weights(),
  })
}

function inception(name: SpaceName, input: InceptionInput): Opener {
  const what = "pytorch-fid's pt_inception-2015-12-05-6726825d.pth"
  return async (device, options) => inceptionSpace(device, name, weightsOf(name, options, what), input, options)
}

/** The side that this space scales to; densities move with it, so it is always the same. */
const resNet18Side = 64

async function resnet18(device: Device, options: SpaceOptions): Promise<FeatureSpace> {
  const { source, weights } = hashing(weightsOf('resnet18', options, "torchvision's resnet18"))
  const net = await loadResNet(device, source, resNet18ToLayer3, options)
  const rows: Rows = {
    dimension: net.dimension,
    batch: 128,
    read: resizedBatch(device, (picture) => resizeBilinear(picture, [resNet18Side, resNet18Side])),
    run: (x) => net.features(x),
  }
  return networkSpace(net, rows, {
    name: 'resnet18',
    preprocessing: `bilinear without antialiasing to ${resNet18Side} x ${resNet18Side}, mean and deviation of ImageNet`,
    weights: weights(),
  })
}
