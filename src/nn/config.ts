/**
 * What a network is built from. The fields are the constructor arguments of guided-diffusion's `UNetModel`,
 * `SuperResModel` and `EncoderUNetModel` (unet.py) in camel case; a checkpoint's own spelling (snake case, in
 * `__metadata__.config` or a `.json` beside it) is read once, in parse-config.ts, and appears nowhere else.
 */
import { TweedieError } from '../errors.ts'

/** What the U-Net and the encoder classifier share. */
export interface TrunkConfig {
  /** Side of the square input; only `pool: 'attention'` depends on it, the rest of a network takes any size. */
  imageSize: number
  /** Channels of x. A super-resolution U-Net's first convolution takes twice as many: x, then the upsampled low_res. */
  inChannels: number
  /** M: a level's width is `int(channelMult[level] * M)`, the timestep embedding has M entries, its MLP 4M. */
  modelChannels: number
  /** U-Net: 6 = epsilon and the variance head of 3 image channels. Classifier: the number of classes K. */
  outChannels: number
  /** R: residual blocks a level on the way down (R + 1 on the way up). */
  numResBlocks: number
  /** Downsample RATES at which attention is used (not resolutions: rate = imageSize / resolution). */
  attentionResolutions: number[]
  dropout: number
  /** One entry a level, may be fractional. */
  channelMult: number[]
  /** Convolutions in stand-alone down- and upsampling (IDDPM style); without effect under `resblockUpdown`. */
  convResample: boolean
  /** Entries of the label embedding, null for an unconditional network. */
  numClasses: number | null
  /** Attention heads, used where numHeadChannels is -1. */
  numHeads: number
  /** Channels a head, or -1 to fix the number of heads instead. */
  numHeadChannels: number
  /** The embedding scales and shifts the second norm of a residual block (true) or is added before it (false). */
  useScaleShiftNorm: boolean
  /** Residual blocks do the down- and upsampling (BigGAN style). */
  resblockUpdown: boolean
  /** qkv channels ordered q, k, v over all heads (true) or head by head (false: "legacy", `QKVAttentionLegacy`). */
  useNewAttentionOrder: boolean
}

/** What a U-Net is built from (guided-diffusion `UNetModel`, `SuperResModel`). */
export interface UNetConfig extends TrunkConfig {
  /** Takes a low-resolution image beside x (`SuperResModel`). */
  superResolution: boolean
  /**
   * Attention heads on the way up, where it is another number than numHeads and numHeadChannels is -1. Absent:
   * numHeads.
   */
  numHeadsUpsample?: number
}

/** How a classifier's head makes logits of what the network found: `EncoderUNetModel`'s `pool`. */
export type Pool = 'attention' | 'adaptive' | 'spatial' | 'spatial_v2'

/** What a classifier is built from (guided-diffusion `EncoderUNetModel`). */
export interface ClassifierConfig extends TrunkConfig {
  /** Its head. */
  pool: Pool
}

/** What a network is built from, whichever it is. */
export type ModelConfig = (UNetConfig & { kind: 'unet' }) | (ClassifierConfig & { kind: 'classifier' })

/**
 * How the noise grows over the process (guided-diffusion gaussian_diffusion.py, `get_named_beta_schedule`): linearly
 * (DDPM), or so that abar_t falls like a squared cosine (Improved DDPM, Eq. 17).
 */
export type NoiseSchedule = 'linear' | 'cosine'

/**
 * What a network predicts: the noise (guided-diffusion's default), the clean image (`predict_xstart`), the mean of the
 * previous step, or the velocity v = sqrt(abar) epsilon - sqrt(1 - abar) x_0 (Salimans & Ho 2022), which no published
 * model of guided-diffusion does.
 */
export type MeanType = 'epsilon' | 'xStart' | 'previousX' | 'v'

/** How files (`predict`) and the command line (`--predict`) call what a network predicts. */
export const meanTypes = {
  epsilon: 'epsilon',
  xstart: 'xStart',
  'previous-x': 'previousX',
  v: 'v',
} as const satisfies Record<string, MeanType>

export const varianceTypes = ['learned', 'learnedRange', 'fixedSmall', 'fixedLarge'] as const

/** Where the variance comes from: the network (as a log-variance, or between two bounds) or the schedule. */
export type VarianceType = (typeof varianceTypes)[number]

/**
 * How images are noised, and what a network is told of it: classifiers of noisy images must have learnt that of
 * the model they guide.
 */
export interface NoiseProcess {
  readonly schedule: NoiseSchedule
  /** T, the steps of training. */
  readonly diffusionSteps: number
  /** The network sees `t * 1000 / T`. guided-diffusion's default is false, improved-diffusion's true. */
  readonly rescaleTimesteps: boolean
}

/** All of a process that its formulas need: the noise, what the network predicts, and where the variance comes from. */
export interface DiffusionProcess extends NoiseProcess {
  readonly meanType: MeanType
  readonly varianceType: VarianceType
}

/**
 * What a checkpoint says of the process that its network was trained with (guided-diffusion script_util.py,
 * `create_gaussian_diffusion`). `meanType` absent: epsilon. With the network's channels, `processOf` makes a
 * {@link DiffusionProcess} of it.
 */
export interface DiffusionSettings extends NoiseProcess, Partial<Pick<DiffusionProcess, 'meanType'>> {
  /**
   * The second half of the output interpolates the log-variance. The number of output channels tells it: where this is
   * stated, `describeModel` checks that it agrees.
   */
  readonly learnSigma?: boolean
  /**
   * Of a network without variance head: it is sampled with the posterior's variance (FIXED_SMALL) instead of the
   * forward process's (FIXED_LARGE), which is the reference's default. Absent: false.
   */
  readonly sigmaSmall?: boolean
  /** Training only: the weight of the vb term (`RESCALED_MSE`; Improved DDPM Eq. 16). */
  readonly rescaleLearnedSigmas?: boolean
  /** Training only: the loss is the bound itself (`RESCALED_KL`; Improved DDPM Eq. 4). */
  readonly useKl?: boolean
}

/** For people: the noise in a few words. */
export const noiseInWords = ({ schedule, diffusionSteps, rescaleTimesteps }: NoiseProcess): string =>
  `${schedule}, ${diffusionSteps} steps${rescaleTimesteps ? ', rescaled' : ''}`

/** Whether two networks see the same noise at the same timestep. */
export const isSameNoise = (a: NoiseProcess, b: NoiseProcess): boolean =>
  a.schedule === b.schedule && a.diffusionSteps === b.diffusionSteps && a.rescaleTimesteps === b.rescaleTimesteps

/** Of a process: published ones have 4,000 at most, and its tables are of this length. */
export const maxDiffusionSteps = 1_000_000

/** Width of each level: `int(mult * M)`, truncated as Python does. */
export function levelChannels(config: TrunkConfig): number[] {
  return config.channelMult.map((mult) => Math.trunc(mult * config.modelChannels))
}

/** Downsample rate of each level: 1, 2, 4 for three. Its maps have imageSize / rate a side. */
export const levelRates = ({ channelMult }: Pick<TrunkConfig, 'channelMult'>): number[] =>
  channelMult.map((_, level) => 2 ** level)

/** Attention heads of a block of this width; `numHeads`: where their width is not given. */
export function headsOf(
  { numHeadChannels, numHeads: ofDescent }: TrunkConfig,
  channels: number,
  numHeads = ofDescent,
): number {
  return numHeadChannels === -1 ? numHeads : channels / numHeadChannels
}

/**
 * Refuses what no network can be built from, or not the one that was meant: widths that 32 groups do not divide, heads
 * that do not divide the width, attention at a rate that no level has.
 * @throws TweedieError 'option'
 */
export function checkConfig(config: ModelConfig): void {
  const fail = (message: string): never => {
    throw new TweedieError('option', `model configuration: ${message}`)
  }
  const count = (name: keyof UNetConfig, value: number, most = 2 ** 24) => {
    if (!Number.isInteger(value) || value < 1) fail(`${name} must be a positive integer, found ${value}`)
    if (value > most) fail(`${name} must be at most ${most}, found ${value}`)
  }
  count('imageSize', config.imageSize)
  count('inChannels', config.inChannels)
  count('modelChannels', config.modelChannels)
  count('outChannels', config.outChannels)
  // Published networks have 4; of a plan of very many nothing comes but that memory runs out.
  count('numResBlocks', config.numResBlocks, 256)
  if (config.numClasses !== null) count('numClasses', config.numClasses)
  for (const rate of config.attentionResolutions) count('attentionResolutions', rate)
  if (!(config.dropout >= 0 && config.dropout < 1)) fail(`dropout must be in [0, 1), found ${config.dropout}`)
  if (config.channelMult.length === 0) fail('channelMult is empty, one factor a level is needed')
  const numHeadsUpsample = config.kind === 'unet' ? config.numHeadsUpsample : undefined
  if (numHeadsUpsample !== undefined) count('numHeadsUpsample', numHeadsUpsample)
  if (config.numHeadChannels === -1) count('numHeads', config.numHeads)
  else count('numHeadChannels', config.numHeadChannels)

  const widths = levelChannels(config)
  widths.forEach((channels, level) => {
    if (channels >= 32 && channels % 32 === 0) return
    fail(
      `level ${level} has int(${config.channelMult[level]} * ${config.modelChannels}) = ${channels} channels, ` +
        'but every norm has 32 groups: modelChannels times each channelMult must be a multiple of 32',
    )
  })
  const last = widths.length - 1
  const deepest = 2 ** last
  if (config.imageSize % deepest !== 0) {
    fail(
      `imageSize ${config.imageSize} cannot be halved ${last} times (${widths.length} levels): take a multiple ` +
        `of ${deepest}, or fewer levels`,
    )
  }
  const rates = levelRates(config)
  const nowhere = config.attentionResolutions.filter((rate) => !rates.includes(rate))
  if (nowhere.length > 0) {
    fail(
      `attentionResolutions are downsample rates, and no level has ${nowhere.join(', ')}: the levels have ` +
        rates.map((rate) => `${rate} (maps of side ${config.imageSize / rate})`).join(', '),
    )
  }
  widths.forEach((channels, level) => {
    if (level !== last && !config.attentionResolutions.includes(2 ** level)) return
    checkHeads(`attention of level ${level}`, channels, config, fail)
    if (
      numHeadsUpsample === undefined ||
      config.numHeadChannels !== -1 ||
      !config.attentionResolutions.includes(2 ** level)
    )
      return
    if (channels % numHeadsUpsample !== 0)
      fail(
        `attention of level ${level} has ${channels} channels, which numHeadsUpsample ` +
          `${numHeadsUpsample} does not divide`,
      )
  })
  if (config.kind === 'classifier' && config.pool === 'attention' && config.numHeadChannels === -1) {
    fail("pool 'attention' needs numHeadChannels: its heads are given by their width")
  }
}

function checkHeads(where: string, channels: number, config: TrunkConfig, fail: (message: string) => never): void {
  const [name, divisor] =
    config.numHeadChannels === -1 ? ['numHeads', config.numHeads] : ['numHeadChannels', config.numHeadChannels]
  if (channels % divisor !== 0) {
    fail(`${where} has ${channels} channels, which ${name} ${divisor} does not divide`)
  }
}
