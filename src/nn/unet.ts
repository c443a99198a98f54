import { checkAwaited, TweedieError } from '../errors.ts'
import { concat, resizeBilinear, type Live, type Tensor } from '../tensor/index.ts'
import { refuseUnknown } from '../refuse.ts'
import { checkTensor } from '../tensor/op.ts'
import type { UNetConfig } from './config.ts'
import { runBlock, runConv, runNormSilu, type BlockOptions, type Parameters } from './layers.ts'
import { planUNet, type UNetPlan } from './plan.ts'
import type { Remembered } from './remembered.ts'
import { conditioningOf, rememberAll, runTrunk } from './trunk.ts'

/** What {@link UNet.forward} takes beside images and timesteps. */
export interface UNetInputs extends BlockOptions {
  /** One label a sample; given if and only if the network is class-conditional; in a recorded pass also a function. */
  readonly y?: Live<ArrayLike<number>>
  /** [N, 3, h, w], for a super-resolution network: resized to x's size and put behind x. */
  readonly lowRes?: Tensor
}

const known = { y: true, lowRes: true, recompute: true, dropout: true } as const

/**
 * The ADM U-Net (guided-diffusion unet.py, `UNetModel` and `SuperResModel`): a walk over its plan. Skips are freed as
 * soon as they are concatenated, so the memory of a forward pass is the skip stack and one block. `loadModel`
 * makes one from a checkpoint, `initializeParameters` parameters to train. Differentiable by its input and by every
 * parameter. It owns its parameters: {@link UNet.dispose} frees them.
 *
 * ```ts
 * const model = new UNet(config, initializeParameters(device, planOf({ kind: 'unet', ...config }), 0))
 * const epsilon = model.forward(x, [999, 999])   // x [2, 3, 64, 64]
 * ```
 */
export class UNet {
  readonly kind = 'unet'
  /** Its passes may be recorded, by `Device.record`: timesteps may be a function that gives them. */
  readonly replayable = true
  /** What it is built from. */
  readonly config: UNetConfig
  /** Its layers, in order, as data. */
  readonly plan: UNetPlan
  /** Plain tensors under their state-dict names: differentiate by any of them. */
  readonly parameters: Parameters

  readonly #remembered = new Set<Remembered>()

  /** @throws TweedieError 'option' where no network can be built from the configuration */
  constructor(config: UNetConfig, parameters: Parameters) {
    checkAwaited('UNet', { parameters })
    this.config = config
    this.plan = planUNet(config)
    this.parameters = parameters
  }

  /**
   * The network's output for noisy images `x` [N, C, H, W] at `timesteps` (one a sample, fractions allowed):
   * [N, outChannels, H, W], of which with a variance head the first half is epsilon and the second interpolates the
   * log-variance.
   *
   * @throws TweedieError 'shape' for an `x` of other channels, or whose sides cannot be halved often enough; 'option'
   *   for a `lowRes` or classes that the network does not take, or lacks
   */
  forward(x: Tensor, timesteps: Live<ArrayLike<number>>, inputs: UNetInputs = {}): Tensor {
    checkTensor('UNet.forward', x)
    refuseUnknown('UNet.forward', inputs, known)
    const { y, lowRes, ...options } = inputs
    const { plan, parameters: p, config } = this
    const down = 2 ** (config.channelMult.length - 1)
    if (
      x.shape.length !== 4 ||
      x.shape[1] !== config.inChannels ||
      x.shape[2] % down !== 0 ||
      x.shape[3] % down !== 0
    ) {
      throw new TweedieError(
        'shape',
        `The U-Net takes [N, ${config.inChannels}, H, W] with H and W multiples of ${down}, ` +
          `found [${x.shape.join(', ')}].`,
      )
    }
    if (config.superResolution !== (lowRes !== undefined)) {
      throw new TweedieError(
        'option',
        config.superResolution
          ? 'A super-resolution network needs lowRes.'
          : 'lowRes is for super-resolution networks; this is none.',
      )
    }
    if (
      lowRes &&
      (lowRes.shape.length !== 4 || lowRes.shape[0] !== x.shape[0] || lowRes.shape[1] !== config.inChannels)
    ) {
      throw new TweedieError(
        'shape',
        `The U-Net takes lowRes [${x.shape[0]}, ${config.inChannels}, h, w], found [${lowRes.shape.join(', ')}].`,
      )
    }
    return x.device.scope(() => {
      const emb = conditioningOf(p, plan, x, timesteps, y, options.recompute ? [] : this.#remembered)
      const input = lowRes ? concat([x, resizeBilinear(lowRes, [x.shape[2], x.shape[3]])], 1) : x
      const { skips, middle } = runTrunk(p, plan, input, emb, options)
      let h = middle
      for (const block of plan.outputBlocks) {
        const skip = skips.pop() as Tensor
        const joined = concat([h, skip], 1)
        h.dispose()
        skip.dispose()
        h = runBlock(p, block, joined, emb, options)
        joined.dispose()
      }
      return runConv(p, plan.out.conv, runNormSilu(p, plan.out.norm, h))
    })
  }

  /**
   * Computes all that depends on the timestep and the class alone, for every one of `timesteps` with every class in
   * `y`, at once: until what it returns is disposed of, {@link UNet.forward} at these picks rows of it, and is the same
   * but for rounding. The samplers do so themselves. Rows of parameters that were overwritten since, or that a gradient
   * is taken by, are not used. More than 1000 pairs of timestep and class are not remembered. `memoryOf` counts them as
   * `steps`.
   *
   * ```ts
   * using rows = model.remember([999, 749, 499, 249])
   * ```
   */
  remember(timesteps: readonly number[], y?: ArrayLike<number>): Disposable {
    const rows = rememberAll(this.parameters, this.plan, timesteps, y)
    if (rows) this.#remembered.add(rows)
    return {
      [Symbol.dispose]: () => {
        if (rows && this.#remembered.delete(rows)) rows.dispose()
      },
    }
  }

  /** Frees the parameters. */
  dispose(): void {
    for (const tensor of this.parameters.values()) tensor.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
