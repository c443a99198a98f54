/**
 * What the authors of the published models published about sampling from them: one table, each figure with its source.
 * These are the defaults wherever such a model is used, by --preset or by the name that its file keeps; what a run does
 * otherwise is said (cli/sampling/departures.ts). A number that was not published is absent, not guessed.
 *
 * gd = openai/guided-diffusion, sg = soobin-um/sg-minority, bns = soobin-um/BnS, mg = soobin-um/minority-guidance, and
 * Table 2 = that of Um et al. (ICLR 2024).
 */

/**
 * What the authors of a published model published about sampling from it; each figure with its source. What was not
 * published is absent.
 */
export interface SamplingHints {
  /** Steps of the published samples, as `timestep_respacing`. */
  respacing?: { steps: string; source: string }
  /** Class guidance: the classifier's preset and scale. */
  classifier?: { preset: string; scale: number; source: string }
  /**
   * Self-guided sampling: weight w = mg_scale, every n-th step = inter_rate, strength = p_ratio. The
   * distance is LPIPS (alex).
   */
  selfGuided?: { weight: number; every: number; strength: number; source: string }
  /** Boost-and-Skip: gamma and Delta_t. */
  boostAndSkip?: { boost: number; skip: number; source: string }
  /** Minority guidance, on a minority classifier. */
  minority?: {
    /** Preset of the U-Net it guides, null where none was published. */
    backbone: string | null
    /** Preset of the frozen classifier whose middle-block output it reads, null where it reads the image. */
    featureExtractor: string | null
    scale: number
    /** The published target class (L - 1 = rarest), absent where the range was not published. */
    target?: number
    /** How the classifier was trained, by AdamW. */
    training: ClassifierTraining
    source: string
  }
}

/** How a minority classifier was trained. */
export interface ClassifierTraining {
  /** Steps. */
  iterations: number
  batch: number
  lr: number
  weightDecay: number
}

/**
 * The distance of the published self-guidance (sg gaussian_diffusion.py: LPIPS, net alex), as a distance
 * is called for people.
 */
export const publishedSelfDistance = 'LPIPS (alex)'

/** The distance of the published minority scores (mg construct_ms_dataset.py: LPIPS, net vgg), likewise. */
export const publishedScoreDistance = 'LPIPS (vgg)'

const TABLE = 'Um et al. (ICLR 2024), Table 2'

/**
 * SAMPLE_FLAGS of every model of gd. Its README adds that LSUN models are best in 1000; mg and sg draw
 * them in 250 as well.
 */
const gd250 = { respacing: { steps: '250', source: 'gd README.md' } }

const guided = (preset: string, scale: number): SamplingHints => ({
  ...gd250,
  classifier: { preset, scale, source: 'gd README.md' },
})

const minority = (
  backbone: string | null,
  featureExtractor: string | null,
  training: ClassifierTraining,
  scale: number,
  target?: number,
  source = TABLE,
): SamplingHints => ({
  respacing: { steps: '250', source: TABLE },
  minority: { backbone, featureExtractor, scale, ...(target === undefined ? {} : { target }), training, source },
})

const training = (iterations: number, batch: number, lr = 3e-4, weightDecay = 0.05): ClassifierTraining => ({
  iterations,
  batch,
  lr,
  weightDecay,
})

/**
 * What was published about sampling from each published model, by preset: the defaults wherever such a model is used.
 */
export const published: Readonly<Record<string, SamplingHints>> = {
  '64x64_diffusion': {
    ...guided('64x64_classifier', 1),
    // The base stage of ImageNet-256; of ImageNet-64 by itself sg states nothing else.
    selfGuided: { weight: 0.2, every: 2, strength: 0.8, source: 'sg README.md' },
    boostAndSkip: { boost: 2.5, skip: 3, source: 'bns README.md' },
  },
  '128x128_diffusion': guided('128x128_classifier', 0.5),
  '256x256_diffusion': guided('256x256_classifier', 1),
  '256x256_diffusion_uncond': guided('256x256_classifier', 10),
  '512x512_diffusion': guided('512x512_classifier', 4),
  // sg draws bedrooms too, and does not say with which weight.
  lsun_bedroom: gd250,
  lsun_cat: gd250,
  lsun_horse: gd250,
  lsun_horse_nodropout: gd250,
  '64_256_upsampler': gd250,
  '128_512_upsampler': gd250,
  celeba64_uncond: {
    respacing: { steps: '250', source: 'sg README.md' },
    selfGuided: {
      weight: 0.4,
      every: 5,
      strength: 0.8,
      source: 'sg README.md; every and strength are the defaults of image_sample.py',
    },
    boostAndSkip: { boost: 4, skip: 3, source: 'bns README.md' },
  },
  // id's own command draws in all 4000; the papers' samples of it are these.
  cifar10_uncond_50M_500K: { respacing: { steps: '250', source: TABLE } },

  mc_celeba: minority('celeba64_uncond', null, training(20_000, 256), 4),
  mc_cifar10: minority('cifar10_uncond_50M_500K', null, training(12_000, 128), 8),
  mc_lsun: minority('lsun_bedroom', '256x256_classifier', training(60_000, 256), 3.5, 99, `${TABLE}; mg README.md`),
  mc_imagenet: minority('64x64_diffusion', '64x64_classifier', training(60_000, 1024, 6e-4, 0.2), 2.5, 24),
  mc_brain_mri: minority(null, null, training(5_000, 256), 1.5),
}

/**
 * Settings of self-guidance and Boost-and-Skip where nothing was published for a model: CelebA's, which is said when
 * they are used.
 */
export const unpublished = {
  selfGuided: published.celeba64_uncond.selfGuided!,
  boostAndSkip: published.celeba64_uncond.boostAndSkip!,
}

/** How a U-Net was trained. */
export interface DiffusionTraining {
  batch: number
  lr: number
  scheduleSampler: 'uniform' | 'loss-second-moment'
}

/** How U-Nets were trained, where a command is published: TRAIN_FLAGS of openai/improved-diffusion README.md. */
export const publishedTraining: Readonly<Record<string, DiffusionTraining>> = {
  cifar10_uncond_50M_500K: { batch: 128, lr: 1e-4, scheduleSampler: 'uniform' },
  cifar10_uncond_vlb_50M_500K: { batch: 128, lr: 1e-4, scheduleSampler: 'loss-second-moment' },
  imagenet64_uncond_100M_1500K: { batch: 128, lr: 1e-4, scheduleSampler: 'uniform' },
  imagenet64_uncond_vlb_100M_1500K: { batch: 128, lr: 1e-4, scheduleSampler: 'loss-second-moment' },
  imagenet64_cond_270M_250K: { batch: 2048, lr: 3e-4, scheduleSampler: 'uniform' },
  lsun_uncond_100M_1200K_bs128: { batch: 128, lr: 1e-4, scheduleSampler: 'uniform' },
  lsun_uncond_100M_2400K_bs64: { batch: 128, lr: 2e-5, scheduleSampler: 'uniform' },
}
