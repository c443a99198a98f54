import { byteOf, byteValues } from '../../data/values.ts'
import { TweedieError } from '../../errors.ts'
import type { UNet } from '../../nn/index.ts'
import { avgPool2d, type Tensor } from '../../tensor/index.ts'
import { checkNetwork, type Denoiser } from './denoiser.ts'
import { replayable, type Timesteps } from './replayable.ts'

/**
 * What the second stage sees of samples in [-1, 1], of any shape: (x + 1) * 127.5 in float32, clamped to [0, 255] and
 * truncated, then brought back by u8 / 127.5 - 1. On the host: a GPU may divide an integer to just below the next.
 */
export function lowResolution(samples: Float32Array): Float32Array<ArrayBuffer> {
  // NaN has no byte, and stays NaN.
  return samples.map((x) => byteValues[byteOf(x)] ?? NaN)
}

/**
 * What a second stage is trained beside: images [N, C, H, W] made small by means over areas, [N, C, side, side]
 * (guided-diffusion super_res_train.py: `F.interpolate(…, mode='area')`). H and W are a multiple of `side`.
 */
export function areaDownsample(images: Tensor, side: number): Tensor {
  const [, , height, width] = images.shape
  const factor = height / side
  if (!Number.isInteger(factor) || height !== width)
    throw new TweedieError(
      'shape',
      `areaDownsample: expected squares whose side is a multiple of ${side}, found [${images.shape.join(', ')}].`,
    )
  return avgPool2d(images, { kernel: factor })
}

/**
 * The second of two stages (guided-diffusion super_res_sample.py): a base model draws small samples, then a
 * super-resolution U-Net draws large ones beside them, by plain ancestral sampling. Between the two lies the
 * reference's picture file: a small sample is truncated to bytes, and the second stage is given u8 / 127.5 - 1
 * ({@link lowResolution}).
 *
 * This is that U-Net beside the small pictures `lowRes` [N, C, h, w] in [-1, 1], one for each sample of the batch; it
 * resizes them to x's [N, C, H, W] itself. `y`: one class a sample, if and only if the network is class-conditional.
 * `lowRes` stays the caller's, and alive as long as the denoiser is used.
 *
 * ```ts
 * using lowRes = device.tensor(lowResolution(await base.read()), base.shape)
 * const noise = new GeneratedNoise(device, { seed, samples, shape: [3, 256, 256], stage: 'upsample' })
 * const large = await sample(diffusion, superResolutionDenoiser(upsampler, lowRes, labels), { noise })
 * ```
 *
 * @throws TweedieError 'option' for a network that takes no picture beside the noise; 'shape' for a batch of another
 *   size
 */
export function superResolutionDenoiser(model: UNet, lowRes: Tensor, y?: ArrayLike<number>): Denoiser {
  checkNetwork(model, 'unet', 'The second stage is a super-resolution U-Net')
  const { superResolution, inChannels } = model.config
  if (!superResolution)
    throw new TweedieError(
      'option',
      'Two-stage sampling takes a super-resolution U-Net for its second stage, found one that draws by itself.',
    )
  if (lowRes.shape.length !== 4 || lowRes.shape[1] !== inChannels)
    throw new TweedieError(
      'shape',
      `The small pictures are [N, ${inChannels}, h, w], found [${lowRes.shape.join(', ')}].`,
    )
  const denoiser = replayable((x: Tensor, timesteps: Timesteps) => {
    if (x.shape[0] !== lowRes.shape[0])
      throw new TweedieError(
        'shape',
        `There are ${lowRes.shape[0]} small pictures for a batch of ${x.shape[0]} samples.`,
      )
    return model.forward(x, timesteps, { lowRes, ...(y ? { y } : {}) })
  }, model)
  return Object.assign(denoiser, { remember: (timesteps: readonly number[]) => model.remember(timesteps, y) })
}
