/**
 * Every published configuration under its checkpoint's file name: the network and the process it was trained with.
 * What its authors published about sampling from it is added by `preset.ts`. Sources of the networks:
 * gd = openai/guided-diffusion README, id = openai/improved-diffusion README, mg = soobin-um/minority-guidance README
 * and Um et al. (ICLR 2024) Table 2, sg = soobin-um/sg-minority README, bns = soobin-um/BnS README.
 */
import { TweedieError } from '../errors.ts'
import type { ClassifierConfig, DiffusionSettings, ModelConfig, TrunkConfig, UNetConfig } from './config.ts'
import { nearestName } from '../suggest.ts'

/** A published configuration: the network and the process it was trained with. */
export interface NetworkPreset {
  /** Its checkpoint's file name, without `.pt`. */
  name: string
  /** README or paper the figures are from. */
  source: string
  config: ModelConfig
  diffusion: DiffusionSettings
}

/** channel_mult by image size (gd script_util.py, `create_model`; 32 as in id). */
const CHANNEL_MULT: Record<number, number[]> = {
  512: [0.5, 1, 1, 2, 2, 4, 4],
  256: [1, 1, 2, 2, 4, 4],
  128: [1, 1, 2, 3, 4],
  64: [1, 2, 3, 4],
  32: [1, 2, 2, 2],
}

/** The command lines list RESOLUTIONS; the networks take rates. */
const rates = (imageSize: number, resolutions: number[]) => resolutions.map((r) => Math.floor(imageSize / r))

const COSINE_1000: DiffusionSettings = {
  schedule: 'cosine',
  diffusionSteps: 1000,
  rescaleTimesteps: false,
  rescaleLearnedSigmas: false,
  learnSigma: true,
}
const LINEAR_1000: DiffusionSettings = { ...COSINE_1000, schedule: 'linear' }
/** id's own defaults rescale both. */
const COSINE_4000_RESCALED: DiffusionSettings = {
  ...COSINE_1000,
  diffusionSteps: 4000,
  rescaleTimesteps: true,
  rescaleLearnedSigmas: true,
}

type UNetPreset = Omit<NetworkPreset, 'config'> & { config: UNetConfig & { kind: 'unet' } }
type ClassifierPreset = Omit<NetworkPreset, 'config'> & { config: ClassifierConfig & { kind: 'classifier' } }

/** ADM (guided-diffusion README): updown and scale-shift everywhere, head channels 64, legacy attention unless said. */
function adm(
  name: string,
  imageSize: number,
  modelChannels: number,
  numResBlocks: number,
  diffusion: DiffusionSettings,
  overrides: Partial<UNetConfig> & { resolutions?: number[]; source?: string } = {},
): UNetPreset {
  const { resolutions = [32, 16, 8], source = 'gd', ...config } = overrides
  return {
    name,
    source,
    config: {
      kind: 'unet',
      imageSize,
      inChannels: 3,
      modelChannels,
      outChannels: 6,
      numResBlocks,
      attentionResolutions: rates(imageSize, resolutions),
      dropout: 0,
      channelMult: CHANNEL_MULT[imageSize],
      convResample: true,
      numClasses: null,
      numHeads: 4,
      numHeadChannels: 64,
      useScaleShiftNorm: true,
      resblockUpdown: true,
      useNewAttentionOrder: false,
      superResolution: false,
      ...config,
    },
    diffusion,
  }
}

/** Improved DDPM (improved-diffusion README): strided convolutions between levels, 4 heads, scale-shift unless said. */
function iddpm(
  name: string,
  imageSize: number,
  modelChannels: number,
  numResBlocks: number,
  diffusion: DiffusionSettings,
  overrides: Partial<UNetConfig> & { resolutions?: number[] } = {},
): UNetPreset {
  return adm(name, imageSize, modelChannels, numResBlocks, diffusion, {
    resolutions: [16, 8],
    source: 'id',
    numHeadChannels: -1,
    resblockUpdown: false,
    ...overrides,
  })
}

/** Encoder classifiers (guided-diffusion; Um et al. 2024, Table 2): head channels 64, scale-shift, attention pool. */
function classifier(
  name: string,
  imageSize: number,
  modelChannels: number,
  numResBlocks: number,
  diffusion: DiffusionSettings,
  overrides: Partial<ClassifierConfig> & { resolutions?: number[]; source?: string } = {},
): ClassifierPreset {
  const { resolutions = [32, 16, 8], source = 'gd', ...config } = overrides
  const trunk: TrunkConfig = {
    imageSize,
    inChannels: 3,
    modelChannels,
    outChannels: 1000,
    numResBlocks,
    attentionResolutions: rates(imageSize, resolutions),
    dropout: 0,
    channelMult: CHANNEL_MULT[imageSize] ?? [1],
    convResample: true,
    numClasses: null,
    numHeads: 1,
    numHeadChannels: 64,
    useScaleShiftNorm: true,
    resblockUpdown: true,
    useNewAttentionOrder: false,
  }
  return { name, source, config: { kind: 'classifier', ...trunk, pool: 'attention', ...config }, diffusion }
}

const IMAGENET = { numClasses: 1000 }
const LINEAR_4000: DiffusionSettings = { ...LINEAR_1000, diffusionSteps: 4000 }
/** id's LSUN model: one head, attention at 16 only, the embedding is added. */
const IDDPM_LSUN = { numHeads: 1, useScaleShiftNorm: false, resolutions: [16] }

function all(): NetworkPreset[] {
  const networks: (UNetPreset | ClassifierPreset)[] = [
    adm('64x64_diffusion', 64, 192, 3, COSINE_1000, {
      ...IMAGENET,
      dropout: 0.1,
      useNewAttentionOrder: true,
      source: 'gd, sg, bns',
    }),
    adm('128x128_diffusion', 128, 256, 2, LINEAR_1000, { ...IMAGENET, numHeadChannels: -1 }),
    adm('256x256_diffusion', 256, 256, 2, LINEAR_1000, IMAGENET),
    adm('256x256_diffusion_uncond', 256, 256, 2, LINEAR_1000),
    adm('512x512_diffusion', 512, 256, 2, LINEAR_1000, IMAGENET),
    ...['lsun_bedroom', 'lsun_cat', 'lsun_horse'].map((name) => adm(name, 256, 256, 2, LINEAR_1000, { dropout: 0.1 })),
    adm('lsun_horse_nodropout', 256, 256, 2, LINEAR_1000),
    adm('64_256_upsampler', 256, 192, 2, LINEAR_1000, { ...IMAGENET, superResolution: true, numHeadChannels: -1 }),
    adm(
      '128_512_upsampler',
      512,
      192,
      2,
      LINEAR_1000,
      // sr_create_model has 256's factors for 512 too (guided-diffusion script_util.py).
      { ...IMAGENET, superResolution: true, resolutions: [32, 16], channelMult: CHANNEL_MULT[256] },
    ),
    adm('celeba64_uncond', 64, 192, 3, COSINE_1000, { dropout: 0.1, useNewAttentionOrder: true, source: 'sg, bns' }),

    classifier('64x64_classifier', 64, 128, 4, COSINE_1000),
    classifier('128x128_classifier', 128, 128, 2, LINEAR_1000),
    classifier('256x256_classifier', 256, 128, 2, LINEAR_1000),
    classifier('512x512_classifier', 512, 128, 2, LINEAR_1000),

    iddpm('cifar10_uncond_50M_500K', 32, 128, 3, COSINE_4000_RESCALED, { dropout: 0.3 }),
    iddpm('cifar10_uncond_vlb_50M_500K', 32, 128, 3, { ...COSINE_4000_RESCALED, useKl: true }, { dropout: 0.3 }),
    iddpm('imagenet64_uncond_100M_1500K', 64, 128, 3, COSINE_4000_RESCALED),
    iddpm('imagenet64_uncond_vlb_100M_1500K', 64, 128, 3, { ...COSINE_4000_RESCALED, useKl: true }),
    iddpm('imagenet64_cond_270M_250K', 64, 192, 3, { ...COSINE_1000, diffusionSteps: 4000 }, IMAGENET),
    iddpm('upsample_cond_500K', 256, 192, 2, LINEAR_4000, { ...IMAGENET, superResolution: true }),
    iddpm('lsun_uncond_100M_1200K_bs128', 256, 128, 2, LINEAR_1000, IDDPM_LSUN),
    iddpm('lsun_uncond_100M_2400K_bs64', 256, 128, 2, LINEAR_1000, IDDPM_LSUN),

    // Minority classifiers (Um et al. 2024, Table 2): trained by their users; that of LSUN is published.
    classifier('mc_celeba', 64, 64, 2, COSINE_1000, { source: 'mg', outChannels: 100 }),
    classifier('mc_cifar10', 32, 32, 2, COSINE_4000_RESCALED, {
      source: 'mg',
      outChannels: 100,
      channelMult: [1, 2, 2, 4],
      resolutions: [16, 8],
    }),
    classifier('mc_lsun', 8, 128, 2, LINEAR_1000, {
      source: 'mg',
      inChannels: 512,
      outChannels: 100,
      resolutions: [8],
      resblockUpdown: false,
    }),
    // Class-conditional: the label embedding is added as in the U-Net (and in classifier_lib.py of DG).
    classifier('mc_imagenet', 8, 128, 4, COSINE_1000, {
      source: 'mg',
      ...IMAGENET,
      inChannels: 512,
      outChannels: 25,
      resolutions: [8],
      resblockUpdown: false,
    }),
    classifier('mc_brain_mri', 256, 32, 4, LINEAR_1000, { source: 'mg', inChannels: 1, outChannels: 50 }),
  ]
  return networks
}

/** The names that `preset` knows: the published checkpoints' file names without `.pt`, and `mc_*`. */
export function presetNames(): string[] {
  return all().map(({ name }) => name)
}

/**
 * A published network by name, the caller's own.
 * @throws TweedieError 'option' for an unknown name, with the nearest one
 */
export function networkPreset(name: string): NetworkPreset {
  const found = all().find((candidate) => candidate.name === name)
  if (found) return structuredClone(found)
  const near = typeof name === 'string' && nearestName(name, presetNames())
  const hint = near ? `, did you mean "${near}"?` : '.'
  throw new TweedieError('option', `unknown preset "${name}"${hint} Known are ${presetNames().join(', ')}`)
}
