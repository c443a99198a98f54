/** The Inception-v3 of the Fréchet inception distance, computed. */
import { checkAwaited } from '../errors.ts'
import { avgPool2d, concat, conv2d, matmul, maxPool2d, mean, relu, reshape, slice } from '../tensor/index.ts'
import type { Device, Tensor } from '../tensor/index.ts'
import { checkTensor } from '../tensor/op.ts'
import { shapeError } from '../tensor/shape.ts'
import { loadFolded } from './fold.ts'
import { INCEPTION_EPSILON, inceptionNorms, inceptionPlan, inceptionStateDict } from './inception-plan.ts'
import type { InceptionLayer, InceptionPool, InceptionStep, InceptionUnit } from './inception-plan.ts'
import { parameter, type Parameters } from './layers.ts'
import type { LoadOptions, WeightSource } from './load.ts'

/** What {@link inception} gives, all of it by one pass. */
export interface InceptionOutputs {
  /** [N, 2048], the means over the last map: what FID, KID and the Inception Score are computed of. */
  readonly features: Tensor
  /**
   * 7 channels of a map of 17 x 17 by channel, row and column, [N, 2023], for sFID (Nash et al. 2021): those that
   * guided-diffusion's evaluator takes, the first of `Mixed_6d.branch1x1`. Other sizes of pictures give other lengths.
   */
  readonly spatial: Tensor
}

/** Options of {@link inception}. */
export interface InceptionOptions {
  /** Sees every layer's output [N, C, H, W] under its name; it is disposed of afterwards. */
  readonly onLayer?: (name: string, output: Tensor) => void
  /** Default {@link inceptionPlan}. */
  readonly plan?: readonly InceptionLayer[]
}

/** Three pixels fewer, and the last map would be empty. */
const smallest = 75

const spatialUnit = 'Mixed_6d.branch1x1'
const spatialChannels = 7

/**
 * `x` [N, 3, 299, 299], red, green and blue, about [-1, 1], through the network, whose `parameters` are those of
 * {@link loadInception}. Differentiable by `x` and by the parameters.
 *
 * @throws TweedieError 'shape' for what is no batch of pictures of three channels and 75 x 75 pixels or more
 */
export function inception(parameters: Parameters, x: Tensor, options: InceptionOptions = {}): InceptionOutputs {
  const { onLayer, plan = inceptionPlan } = options
  checkTensor('inception', x)
  if (x.shape.length !== 4 || x.shape[1] !== 3 || Math.min(x.shape[2], x.shape[3]) < smallest) {
    throw shapeError('inception', `pictures [N, 3, H, W] of ${smallest} x ${smallest} pixels or more`, x.shape)
  }
  const { device } = x
  return device.scope(() => {
    const taps: Tensor[] = []
    const unit = ({ key, stride, padding }: InceptionUnit, input: Tensor): Tensor => {
      const bias = parameter(parameters, `${key}.conv.bias`)
      const y = relu(conv2d(input, parameter(parameters, `${key}.conv.weight`), { bias, stride, padding }))
      if (key === spatialUnit) taps.push(slice(y, 1, 0, spatialChannels))
      return y
    }
    const step = (input: Tensor, next: InceptionStep): Tensor => {
      switch (next.type) {
        case 'unit':
          return unit(next, input)
        case 'fork':
          return concat(
            next.units.map((each) => unit(each, input)),
            1,
          )
        default:
          return pool(next, input)
      }
    }
    let h = x
    for (const { name, branches } of plan) {
      const layer = device.scope(() => ({
        output: joined(branches.map((steps) => device.scope(() => ({ y: steps.reduce(step, h), taps })).y)),
        taps,
      }))
      if (h !== x) h.dispose()
      h = layer.output
      onLayer?.(name, h)
    }
    return { features: mean(h, { axes: [2, 3] }), spatial: reshape(taps[0], [x.shape[0], -1]) }
  })
}

const joined = (maps: readonly Tensor[]): Tensor => (maps.length === 1 ? maps[0] : concat(maps, 1))

function pool({ type, stride, countPadding }: InceptionPool, x: Tensor): Tensor {
  const options = { kernel: 3, stride, padding: stride === 1 ? 1 : 0 }
  return type === 'maximum' ? maxPool2d(x, options) : avgPool2d(x, { ...options, countPadding })
}

/**
 * Features [N, 2048] as logits [N, 1008] of the Inception Score. Without the classifier's bias, as the evaluators of
 * the published scores have it since Salimans et al. 2016.
 */
export function inceptionLogits(parameters: Parameters, features: Tensor): Tensor {
  return matmul(features, parameter(parameters, 'fc.weight'), { transposeB: true })
}

/** A loaded Inception; {@link loadInception} makes it. It owns its weights. */
export interface Inception {
  /** By state-dict name, the batch norms folded into the convolutions. */
  readonly parameters: Parameters
  /** See {@link inception}. */
  forward(x: Tensor, options?: InceptionOptions): InceptionOutputs
  /** See {@link inceptionLogits}. */
  logits(features: Tensor): Tensor
  /** Frees the parameters. */
  dispose(): void
  [Symbol.dispose](): void
}

/**
 * Loads pytorch-fid's `pt_inception-2015-12-05-6726825d.pth`, or a file of the same names. The checkpoint stays open.
 * Errors are those of `loadParameters`. `epsilon` is for tests: what is added to the variances.
 *
 * @example
 * const net = await loadInception(device, await openCheckpoint(await openFile('pt_inception-2015-12-05-6726825d.pth')))
 * const { features, spatial } = net.forward(x)   // [N, 2048], [N, 2023]
 */
export async function loadInception(
  device: Device,
  source: WeightSource,
  options: LoadOptions & { readonly epsilon?: number } = {},
): Promise<Inception> {
  checkAwaited('loadInception', { device, checkpoint: source })
  const { epsilon = INCEPTION_EPSILON, ...rest } = options
  const parameters = await loadFolded(device, source, inceptionStateDict(), inceptionNorms(), epsilon, rest)
  const dispose = (): void => parameters.forEach((tensor) => tensor.dispose())
  return {
    parameters,
    forward: (x, forwardOptions) => inception(parameters, x, forwardOptions),
    logits: (features) => inceptionLogits(parameters, features),
    dispose,
    [Symbol.dispose]: dispose,
  }
}
