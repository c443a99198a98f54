/**
 * LPIPS, computed. What flows from slice to slice here are the taps before their ReLU. Max pooling commutes with a
 * ReLU, so it is applied after the pool, to a quarter of the elements, where a convolution reads them; and the tail of
 * a tap applies it as it reads. So a backward pass keeps each map once, and the two images walk side by side, each map
 * freed once it has been read by the next layer and by its tail.
 */
import { checkAwaited } from '../errors.ts'
import {
  concat,
  conv2d,
  expression,
  f,
  map,
  maxPool2d,
  relu,
  resizeBilinear,
  sum,
  type Device,
  type Expression,
  type Tensor,
} from '../tensor/index.ts'
import { checkTensor } from '../tensor/op.ts'
import { sameShape, shapeError } from '../tensor/shape.ts'
import { parameter, type Parameters } from './layers.ts'
import { loadParameters, type LoadOptions, type WeightSource } from './load.ts'
import {
  LPIPS_SCALE,
  LPIPS_SHIFT,
  linKey,
  lpipsNetOf,
  lpipsPlan,
  lpipsStateDict,
  lpipsTapSizes,
  type LpipsLayer,
  type LpipsNet,
} from './lpips-plan.ts'
import { unitDifference } from './unit-difference.ts'

/** Options of {@link lpips}. */
export interface LpipsOptions {
  /** The images are in [0, 1] and not in [-1, 1]; default false. */
  readonly normalize?: boolean
  /** A map and not a number per image: every tap's map is resized bilinearly to the images' size; default false. */
  readonly spatial?: boolean
}

/**
 * LPIPS v0.1 (Zhang et al., CVPR 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", Eq.
 * 1): two images go through a classification network, at several depths ("taps") the features of every place are scaled
 * to unit length, and the distance is the weighted squared difference, averaged over places and summed over taps.
 *
 * The perceptual distance of `a` and `b`, both [N, 3, H, W] in [-1, 1] (or [N, 1, H, W], taken for all three channels):
 * [N], or [N, 1, H, W] with `spatial`. 0 for equal images, and bit for bit the same when they change places.
 * The largest distances seen are about 1.
 *
 * `parameters` are those of {@link loadLpips}. Differentiable by both images and by the `lin` weights (and by the
 * backbone). Where all channels of a tap are 0 the derivative of the unit normalisation does not exist; the reference
 * yields NaN there (0 times infinity), here the gradient by such a place is 0.
 *
 * @throws TweedieError 'shape' for shapes that differ or are no images, and for images too small for the net
 */
export function lpips(parameters: Parameters, net: LpipsNet, a: Tensor, b: Tensor, options: LpipsOptions = {}): Tensor {
  checkTensor('lpips', a)
  return a.device.scope(() => {
    const taps = lpipsTaps(parameters, net, a, b, options)
    return map(sumOf(taps.length), taps)
  })
}

/**
 * The taps' parts of {@link lpips}, in order (`retPerLayer` of the reference): each [N], or [N, 1, H, W] with
 * `spatial`.
 */
export function lpipsTaps(
  parameters: Parameters,
  net: LpipsNet,
  a: Tensor,
  b: Tensor,
  options: LpipsOptions = {},
): Tensor[] {
  const { normalize = false, spatial = false } = options
  checkTensor('lpips', a)
  checkTensor('lpips', b)
  if (a.shape.length !== 4 || ![1, 3].includes(a.shape[1]) || !sameShape(a.shape, b.shape)) {
    throw shapeError('lpips', 'two batches of images [N, 3, H, W] of one shape', a.shape, b.shape)
  }
  const [, , height, width] = a.shape
  const sizes = lpipsTapSizes(net, height, width)
  const { device } = a
  return device.scope(() => {
    const scaled = (image: Tensor): Tensor =>
      map(
        scaling,
        [image, parameter(parameters, shiftKey), parameter(parameters, scaleKey)],
        normalize ? [2, -1] : [1, 0],
      )
    let maps = [scaled(a), scaled(b)]
    return lpipsPlan(net).slices.map((slice, k) => {
      slice.forEach((layer, i) => {
        maps = maps.map((x) => {
          const y = device.scope(() => run(parameters, layer, x, k === 0 && i === 0))
          x.dispose()
          return y
        })
      })
      const places = sizes[k][0] * sizes[k][1]
      return device.scope(() => {
        const tap = unitDifference(maps[0], maps[1], parameter(parameters, linKey(k)), spatial ? 1 : 1 / places)
        return spatial ? resizeBilinear(tap, [height, width]) : sum(tap, { axes: [1, 2, 3] })
      })
    })
  })
}

/** One layer on a map before its ReLU, giving a map before its ReLU. `image`: the first layer, whose input has none. */
function run(p: Parameters, layer: LpipsLayer, x: Tensor, image: boolean): Tensor {
  const conv = (key: string, input: Tensor, padding: number, stride = 1): Tensor =>
    conv2d(input, parameter(p, `${key}.weight`), { bias: parameter(p, `${key}.bias`), stride, padding })
  switch (layer.type) {
    case 'maxpool':
      return maxPool2d(x, { kernel: layer.kernel, stride: layer.stride, ceilMode: layer.ceilMode })
    case 'conv':
      return conv(layer.key, image ? x : relu(x), layer.padding, layer.stride)
    case 'fire': {
      const squeezed = relu(conv(`${layer.key}.squeeze`, relu(x), 0))
      return concat([conv(`${layer.key}.expand1x1`, squeezed, 0), conv(`${layer.key}.expand3x3`, squeezed, 1)], 1)
    }
  }
}

// Named as in the reference's module, where they are buffers.
const shiftKey = 'scaling_layer.shift'
const scaleKey = 'scaling_layer.scale'

const scaling = expression(3, 2, ([x, shift, scale], [factor, offset]) =>
  f.div(f.sub(f.add(f.mul(x, factor), offset), shift), scale),
)

const sumOf = (count: number): Expression => expression(count, 0, (inputs) => inputs.reduce(f.add))

/** A loaded LPIPS net, ready to measure; {@link loadLpips} makes it. It owns its weights. */
export interface Lpips {
  /** Its backbone. */
  readonly net: LpipsNet
  /** By state-dict name; with the constants `scaling_layer.shift` and `scaling_layer.scale`. */
  readonly parameters: Parameters
  /** See {@link lpips}. */
  distance(a: Tensor, b: Tensor, options?: LpipsOptions): Tensor
  /** Frees the parameters. */
  dispose(): void
  [Symbol.dispose](): void
}

/**
 * Loads a complete LPIPS file (backbone `features.*` and `lin*`); which net it is its keys tell. The checkpoint stays
 * open. Errors are those of {@link loadParameters}.
 *
 * @example
 * const net = await loadLpips(device, await openCheckpoint(await openFile('lpips_alex_v0.1.safetensors')))
 * const d = net.distance(a, b)   // [N]
 */
export async function loadLpips(device: Device, source: WeightSource, options: LoadOptions = {}): Promise<Lpips> {
  checkAwaited('loadLpips', { device, checkpoint: source })
  const net = lpipsNetOf(source.tensors.keys(), source.name)
  const parameters = await loadParameters(device, source, lpipsStateDict(net), options)
  parameters.set(shiftKey, device.tensor(LPIPS_SHIFT, [1, 3, 1, 1]))
  parameters.set(scaleKey, device.tensor(LPIPS_SCALE, [1, 3, 1, 1]))
  const dispose = (): void => parameters.forEach((tensor) => tensor.dispose())
  return {
    net,
    parameters,
    distance: (a, b, distanceOptions) => lpips(parameters, net, a, b, distanceOptions),
    dispose,
    [Symbol.dispose]: dispose,
  }
}
