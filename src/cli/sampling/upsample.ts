/** The second stage of `sample`: its U-Net from file to batches of large pictures. */
import {
  diffusionOf,
  GeneratedNoise,
  sample,
  superResolutionDenoiser,
  type GaussianDiffusion,
} from '../../diffusion/index.ts'
import { memoryOf, type UNet, type UNetConfig } from '../../nn/index.ts'
import { mostPairs } from '../../nn/remembered.ts'
import type { Device, DeviceNeed } from '../../tensor/index.ts'
import { checkFinite } from '../../tweedie/drawing.ts'
import type { Hold, ImageNeed } from '../../tweedie/guidance-files.ts'
import { fail } from '../arguments.ts'
import { loadWithProgress } from '../files.ts'
import type { Opener } from './guidance-files.ts'
import type { UpsamplerSettings } from '../options/upsampler.ts'
import { progress } from '../progress.ts'

export interface Upsampler {
  readonly model: UNet
  readonly diffusion: GaussianDiffusion
  /** [C, H, W] of a large picture. */
  readonly shape: readonly number[]
}

export interface OpenUpsampler {
  readonly need: DeviceNeed
  readonly shape: readonly number[]
  load(device: Device, hold: Hold, signal: AbortSignal): Promise<Upsampler>
}

/** Opens the second stage for small pictures of `images.size` and of `base`, and says what does not fit. */
export async function openUpsampler(
  { file: path, preset, respacing }: UpsamplerSettings,
  base: Pick<UNetConfig, 'inChannels' | 'numClasses'>,
  images: ImageNeed,
  { open }: Pick<Opener, 'open'>,
): Promise<OpenUpsampler> {
  const file = await open('upsampler', path, preset)
  const { config, diffusion: process } = file.description
  if (config.kind !== 'unet' || !config.superResolution)
    return fail(
      `${path}: --upsampler takes a super-resolution U-Net, which gets a small picture beside the noise; this is none.`,
    )
  if (!process)
    return fail(
      `${path} does not say with which noise it was trained: --upsampler-preset names the published model it is, ` +
        'or tweedie convert writes it into the file.',
    )
  if (config.inChannels !== base.inChannels)
    fail(`${path}: takes pictures of ${config.inChannels} channels, but the model draws ${base.inChannels}.`)
  if (config.imageSize <= Math.max(...images.size))
    fail(
      `${path}: draws ${config.imageSize} x ${config.imageSize} pixels, no more than the small pictures, ` +
        `${images.size.join(' x ')}.`,
    )
  if (config.numClasses !== null && config.numClasses !== base.numClasses)
    fail(`${path}: an upsampler of ${config.numClasses} classes needs a model with the same classes.`)
  const diffusion = diffusionOf({ config, diffusion: process }, { respacing: respacing ?? '' })
  const size = [config.imageSize, config.imageSize] as const
  return {
    need: memoryOf(config, {
      batch: images.batch,
      size,
      steps: mostPairs(config.numClasses, diffusion.steps, images.batch),
    }),
    shape: [config.inChannels, ...size],
    load: async (device, hold, signal) => ({
      model: hold(await loadWithProgress(device, file, signal)) as UNet,
      diffusion,
      shape: [config.inChannels, ...size],
    }),
  }
}

export interface UpsampleOptions {
  readonly samples: readonly number[]
  readonly y: readonly number[] | undefined
  readonly seed: number
  readonly clipDenoised: boolean
  /** What progress calls it. */
  readonly label: string
  readonly signal: AbortSignal
}

/**
 * The large pictures [N, C, H, W] of the small ones, values of bytes [N, C, h, w].
 * @throws TweedieError 'non-finite' for pictures that are no numbers
 */
export async function upsample(
  upsampler: Upsampler,
  small: Float32Array,
  smallShape: readonly number[],
  options: UpsampleOptions,
): Promise<Float32Array> {
  const { model, diffusion, shape } = upsampler
  const { samples, y, seed, clipDenoised, label, signal } = options
  const device = [...model.parameters.values()][0].device
  using lowRes = device.tensor(small, smallShape)
  using noise = new GeneratedNoise(device, { seed, samples, shape, stage: 'upsample' })
  const bar = progress(`${label}, large`, diffusion.steps, 'steps')
  try {
    const denoiser = superResolutionDenoiser(model, lowRes, model.config.numClasses === null ? undefined : y)
    using x = await sample(diffusion, denoiser, { noise, clipDenoised, signal, onStep: ({ done }) => bar.update(done) })
    const large = await x.read()
    const damaged = "The upsampler's weights are damaged, or of another network."
    checkFinite('The second stage makes', large, samples, damaged)
    return large
  } finally {
    bar.stop()
  }
}
