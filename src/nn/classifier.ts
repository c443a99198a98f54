import { checkAwaited, TweedieError } from '../errors.ts'
import { concat, mean, relu, reshape, type Live, type Tensor } from '../tensor/index.ts'
import { refuseUnknown } from '../refuse.ts'
import { checkTensor } from '../tensor/op.ts'
import type { ClassifierConfig } from './config.ts'
import {
  poolByAttention,
  runConv,
  runLinear,
  runNormSilu,
  runPooled,
  type BlockOptions,
  type Parameters,
} from './layers.ts'
import { planClassifier, type ClassifierPlan } from './plan.ts'
import { conditioningOf, runTrunk } from './trunk.ts'

/** What {@link Classifier.forward} takes beside images and timesteps. */
export interface ClassifierInputs extends BlockOptions {
  /** One label a sample; given if and only if the classifier is itself class-conditional; recorded, also a function. */
  readonly y?: Live<ArrayLike<number>>
}

const known = { y: true, recompute: true, dropout: true } as const

/**
 * The ADM encoder classifier with its four heads (guided-diffusion unet.py, `EncoderUNetModel`): the way down of a
 * U-Net and its middle block, then logits. `loadModel` makes one from a checkpoint, `initializeParameters`
 * parameters to train. Differentiable by its input and by every parameter. It owns its parameters:
 * {@link Classifier.dispose} frees them.
 */
export class Classifier {
  readonly kind = 'classifier'
  /** Its passes may be recorded, by `Device.record`: timesteps may be a function that gives them. */
  readonly replayable = true
  /** What it is built from. */
  readonly config: ClassifierConfig
  /** Its layers, in order, as data. */
  readonly plan: ClassifierPlan
  /** Plain tensors under their state-dict names. */
  readonly parameters: Parameters

  /** @throws TweedieError 'option' where no network can be built from the configuration */
  constructor(config: ClassifierConfig, parameters: Parameters) {
    checkAwaited('Classifier', { parameters })
    this.config = config
    this.plan = planClassifier(config)
    this.parameters = parameters
  }

  /**
   * Logits [N, K] of noisy images `x` [N, C, H, W] at `timesteps`, one a sample, as the diffusion model is told them.
   *
   * @throws TweedieError 'shape' for an `x` of other channels, or whose sides cannot be halved often enough
   */
  forward(x: Tensor, timesteps: Live<ArrayLike<number>>, inputs: ClassifierInputs = {}): Tensor {
    checkTensor('Classifier.forward', x)
    return x.device.scope(() => this.#logits(this.pooled(x, timesteps, inputs)))
  }

  /**
   * What the last layer makes logits of, [N, F]: a picture as one vector. With the head `attention` the attention of
   * the mean over all places, with `adaptive` the mean over places, with `spatial` and `spatial_v2` the hidden layer.
   */
  pooled(x: Tensor, timesteps: Live<ArrayLike<number>>, inputs: ClassifierInputs = {}): Tensor {
    checkTensor('Classifier.pooled', x)
    const { plan, parameters: p } = this
    return x.device.scope(() => {
      const { skips, middle } = this.#trunk(x, timesteps, inputs)
      const { head } = plan
      switch (head.pool) {
        case 'attention':
          return poolByAttention(p, head.attention, runNormSilu(p, head.norm, middle))
        case 'adaptive':
          return mean(runNormSilu(p, head.norm, middle), { axes: [2, 3] })
        case 'spatial':
          return relu(runLinear(p, head.linear0, spatialMeans(skips, middle)))
        case 'spatial_v2':
          return runNormSilu(p, head.norm, runLinear(p, head.linear0, spatialMeans(skips, middle)))
      }
    })
  }

  #logits(pooled: Tensor): Tensor {
    const { plan, parameters: p } = this
    const { head } = plan
    switch (head.pool) {
      case 'attention':
        return runPooled(p, head.attention, pooled)
      case 'adaptive':
        return reshape(runConv(p, head.conv, reshape(pooled, [...pooled.shape, 1, 1])), [pooled.shape[0], -1])
      case 'spatial':
      case 'spatial_v2':
        return runLinear(p, head.linear1, pooled)
    }
  }

  /**
   * The middle block's output, [N, C, h, w], before the head: what a minority classifier reads when this one is its
   * frozen feature extractor (minority-guidance's `f_out`).
   */
  features(x: Tensor, timesteps: Live<ArrayLike<number>>, inputs: ClassifierInputs = {}): Tensor {
    checkTensor('Classifier.features', x)
    return x.device.scope(() => this.#trunk(x, timesteps, inputs).middle)
  }

  #trunk(x: Tensor, timesteps: Live<ArrayLike<number>>, inputs: ClassifierInputs): { skips: Tensor[]; middle: Tensor } {
    refuseUnknown('Classifier.forward', inputs, known)
    const { y, ...options } = inputs
    const { config, plan, parameters: p } = this
    const down = 2 ** (config.channelMult.length - 1)
    if (
      x.shape.length !== 4 ||
      x.shape[1] !== config.inChannels ||
      x.shape[2] % down !== 0 ||
      x.shape[3] % down !== 0
    ) {
      throw new TweedieError(
        'shape',
        `The classifier takes [N, ${config.inChannels}, H, W] with H and W multiples of ${down}, ` +
          `found [${x.shape.join(', ')}].`,
      )
    }
    return runTrunk(p, plan, x, conditioningOf(p, plan, x, timesteps, y, []), options)
  }

  /** Frees the parameters. */
  dispose(): void {
    for (const tensor of this.parameters.values()) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

const spatialMeans = (skips: readonly Tensor[], middle: Tensor): Tensor =>
  concat(
    [...skips, middle].map((h) => mean(h, { axes: [2, 3] })),
    1,
  )
