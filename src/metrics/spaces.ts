import { checkAwaited } from '../errors.ts'
import { viTB16, viTS16 } from '../nn/index.ts'
import { refuseOther, refuseUnknown } from '../refuse.ts'
import type { Device, DeviceNeed } from '../tensor/index.ts'
import type { FeatureSpace, SpaceOptions } from './feature-space.ts'
import type { InceptionInput } from './inception-input.ts'
import { inceptionSpace } from './inception-space.ts'
import {
  classifierSpace,
  dinoSpace,
  featureNetSpace,
  ownTransformerSpace,
  randomResnet50Space,
  randomVgg16Space,
  resnet18Space,
  resnet50Space,
  resnet50v2Space,
  vgg16Space,
  weightsOf,
  type Opener,
} from './network-spaces.ts'
import { pixelSpace } from './pixel-space.ts'

const known = {
  weights: true,
  seed: true,
  fit: true,
  components: true,
  size: true,
  signal: true,
  onProgress: true,
} as const

/** The names of the feature spaces that {@link openSpace} knows. */
export const spaceNames = [
  'features',
  'inception',
  'inception-legacy-pytorch',
  'inception-legacy-tensorflow',
  'resnet50',
  'resnet50-v2',
  'vgg16',
  'dino-vits16',
  'dino-vitb16',
  'dino',
  'resnet18',
  'classifier',
  'random-resnet50',
  'random-vgg16',
  'pixels',
] as const

/** The name of a feature space. */
export type SpaceName = (typeof spaceNames)[number]

const openers: { readonly [K in SpaceName]: Opener } = {
  features: featureNetSpace,
  inception: inception('clean'),
  'inception-legacy-pytorch': inception('legacy_pytorch'),
  'inception-legacy-tensorflow': inception('legacy_tensorflow'),
  resnet50: resnet50Space,
  'resnet50-v2': resnet50v2Space,
  vgg16: vgg16Space,
  'dino-vits16': dinoSpace(viTS16, "DINO's dino_deitsmall16_pretrain"),
  'dino-vitb16': dinoSpace(viTB16, "DINO's dino_vitbase16_pretrain"),
  dino: ownTransformerSpace,
  resnet18: resnet18Space,
  classifier: classifierSpace,
  'random-resnet50': randomResnet50Space,
  'random-vgg16': randomVgg16Space,
  pixels: (device, _, options) => pixelSpace(device, options),
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
 * | `resnet50` | ResNet-50, `weights` of torchvision: the average of its last maps, for AvgkNN | 2048 |
 * | `resnet50-v2` | the same with torchvision's second weights, `IMAGENET1K_V2` | 2048 |
 * | `vgg16` | VGG-16, `weights` of torchvision: fc2, for precision, recall and the Rarity Score | 4096 |
 * | `dino-vits16`, `dino-vitb16` | DINO's transformers, `weights` of theirs: the class token | 384, 768 |
 * | `dino` | a transformer of DINO, `weights`; `size` of its pictures, if no file says it and not 224 | its own |
 * | `resnet18` | ResNet-18 to layer 3, `weights` of torchvision | 256 |
 * | `classifier` | an ADM classifier, `weights`: the input of its last layer | its own |
 * | `random-resnet50`, `random-vgg16` | never trained, by `seed`: the papers' choice for MRI | 2048, 4096 |
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
  return openers[name](device, name, options)
}

/** MiB, weights and a batch of pictures at once, and of it the largest tensor: as measured, and some more. */
const memory: { readonly [K in SpaceName]?: readonly [all: number, largest: number] } = {
  inception: [350, 90],
  'inception-legacy-pytorch': [350, 90],
  'inception-legacy-tensorflow': [350, 90],
  resnet50: [550, 100],
  'resnet50-v2': [550, 100],
  'random-resnet50': [550, 100],
  // The weights of fc1 are 392 of it.
  vgg16: [950, 395],
  'random-vgg16': [950, 395],
  'dino-vits16': [450, 75],
  'dino-vitb16': [1000, 75],
  resnet18: [100, 35],
}

/**
 * What a device must hold for a space, with as many pictures at once as it takes by itself: before its weights are
 * loaded, `Device.request({ need: spaceMemoryOf('vgg16') })` refuses a device that cannot. Undefined for spaces that
 * are as large as their weights say, and for pixels.
 */
export function spaceMemoryOf(name: SpaceName): DeviceNeed | undefined {
  const found = memory[name]
  return found && { bytes: found[0] * 2 ** 20, largestBuffer: found[1] * 2 ** 20 }
}

function inception(input: InceptionInput): Opener {
  const what = "pytorch-fid's pt_inception-2015-12-05-6726825d.pth"
  return async (device, name, options) => inceptionSpace(device, name, weightsOf(name, options, what), input, options)
}
