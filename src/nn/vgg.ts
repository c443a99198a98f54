import { checkAwaited } from '../errors.ts'
import { conv2d, linear, maxPool2d, relu, reshape, type Device, type Tensor } from '../tensor/index.ts'
import { checkTensor } from '../tensor/op.ts'
import { shapeError } from '../tensor/shape.ts'
import { parameter, type Parameters } from './layers.ts'
import { loadParameters, type LoadOptions, type WeightSource } from './load.ts'
import { lpipsPlan, type LpipsLayer } from './lpips-plan.ts'
import { fanOutDeviation, randomParameters } from './random-network.ts'

/** The side of its pictures: the first fully connected layer takes a map of 7 x 7. */
const side = 224
const mapped = 512 * (side / 32) ** 2
const classes = 1000
const published = 4096

/** The convolutions, which LPIPS has too, and the pool after the last of them. */
const layers: readonly LpipsLayer[] = [
  ...lpipsPlan('vgg').slices.flat(),
  { type: 'maxpool', kernel: 2, stride: 2, ceilMode: false },
]

/**
 * Name to shape of every tensor of torchvision's `vgg16`: 138,357,544 parameters. `hidden`: units of the two fully
 * connected layers whose features are taken; default 4,096, as in everything published.
 */
export function vgg16StateDict(hidden = published): Map<string, number[]> {
  const weighted = (key: string, shape: number[]): [string, number[]][] => [
    [`${key}.weight`, shape],
    [`${key}.bias`, [shape[0]]],
  ]
  return new Map([
    ...layers.flatMap((layer) =>
      layer.type === 'conv'
        ? weighted(layer.key, [layer.outChannels, layer.inChannels, layer.kernel, layer.kernel])
        : [],
    ),
    ...weighted('classifier.0', [hidden, mapped]),
    ...weighted('classifier.3', [hidden, hidden]),
    ...weighted('classifier.6', [classes, hidden]),
  ])
}

/** The part of {@link vgg16StateDict} that the features need: all but the last layer, of the classes. */
export const vgg16FeatureStateDict = (hidden = published): Map<string, number[]> =>
  new Map([...vgg16StateDict(hidden)].filter(([key]) => !key.startsWith('classifier.6.')))

/**
 * VGG-16 (Simonyan and Zisserman 2015) as a feature space: the second fully connected layer after its ReLU ("fc2"), in
 * which improved precision and recall (Kynkäänniemi et al. 2019) and the Rarity Score are published. {@link loadVgg16}
 * makes one. Differentiable; it owns its parameters.
 */
export class Vgg16 {
  /** By state-dict name, those of {@link vgg16FeatureStateDict}. */
  readonly parameters: Parameters

  constructor(parameters: Parameters) {
    checkAwaited('Vgg16', { parameters })
    this.parameters = parameters
  }

  /** Length of a feature vector: 4,096. */
  get dimension(): number {
    return parameter(this.parameters, 'classifier.3.weight').shape[0]
  }

  /**
   * Features [N, 4096] of pictures [N, 3, 224, 224], normalised by ImageNet's mean and deviation.
   *
   * @throws TweedieError 'shape' for what is no batch of such pictures
   */
  features(x: Tensor): Tensor {
    return x.device.scope(() => this.#full('classifier.3', this.#full('classifier.0', this.maps(x))))
  }

  /** What the convolutions leave, after the last pool: [N, 25088], by channel, row and column. */
  maps(x: Tensor): Tensor {
    checkTensor('Vgg16', x)
    if (x.shape.length !== 4 || x.shape[1] !== 3 || x.shape[2] !== side || x.shape[3] !== side) {
      throw shapeError('Vgg16', `pictures [N, 3, ${side}, ${side}]`, x.shape)
    }
    const { device } = x
    return device.scope(() => {
      let h = x
      for (const layer of layers) {
        const before = h
        h = device.scope(() => this.#layer(layer, before))
        if (before !== x) before.dispose()
      }
      return reshape(h, [x.shape[0], mapped])
    })
  }

  #layer(layer: LpipsLayer, x: Tensor): Tensor {
    if (layer.type !== 'conv') return maxPool2d(x, { kernel: 2 })
    const [weight, bias] = this.#weighted(layer.key)
    return relu(conv2d(x, weight, { bias, padding: layer.padding }))
  }

  #full(key: string, x: Tensor): Tensor {
    const [weight, bias] = this.#weighted(key)
    return relu(linear(x, weight, bias))
  }

  #weighted(key: string): [weight: Tensor, bias: Tensor] {
    return [parameter(this.parameters, `${key}.weight`), parameter(this.parameters, `${key}.bias`)]
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
 * Loads torchvision's VGG-16, without its last layer. The checkpoint stays open. Errors are those of
 * {@link loadParameters}.
 */
export async function loadVgg16(device: Device, source: WeightSource, options: LoadOptions = {}): Promise<Vgg16> {
  checkAwaited('loadVgg16', { device, checkpoint: source })
  const hidden = source.tensors.get('classifier.3.weight')?.shape[0]
  const tensors = new Map([...source.tensors].filter(([key]) => !key.startsWith('classifier.6.')))
  const { name } = source
  return new Vgg16(await loadParameters(device, { name, tensors }, vgg16FeatureStateDict(hidden), options))
}

/**
 * A VGG-16 that was never trained, as torchvision begins it: convolutions after He et al. 2015 by the number of
 * outputs, linear layers of deviation 0.01, biases 0; see {@link randomParameters}.
 */
export function randomVgg16(device: Device, seed: number): Vgg16 {
  const parameters = randomParameters(device, vgg16FeatureStateDict(), seed, (_, shape) => {
    if (shape.length === 4) return { deviation: fanOutDeviation(shape) }
    return shape.length === 2 ? { deviation: 0.01 } : { value: 0 }
  })
  return new Vgg16(parameters)
}
