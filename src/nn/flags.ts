import { TweedieError } from '../errors.ts'
import { refuseOther, refuseUnknown } from '../refuse.ts'
import { unknownNames } from '../suggest.ts'
import { levelRates, type DiffusionSettings, type ModelConfig } from './config.ts'
import { flagPairs } from './flags-text.ts'
import { parseConfig } from './parse-config.ts'

type Shapes = ReadonlyMap<string, readonly number[]>

/** Which of the networks that a command line speaks of. */
export type FlaggedNetwork = 'unet' | 'superResolution' | 'classifier'

/** What {@link configOfFlags} is told where the flags alone leave it open. */
export interface FlagsOptions {
  /**
   * Default: super-resolution with `large_size` or `small_size`, a classifier where only its flags are
   * given, else a U-Net.
   */
  readonly network?: FlaggedNetwork
  /** Whose defaults are meant, where the flags are of both. Default: as the flags tell. */
  readonly script?: 'guided-diffusion' | 'improved-diffusion'
}

/** A network and its process, as flags describe them. */
export interface FlagsConfig {
  readonly config: ModelConfig
  readonly diffusion: DiffusionSettings
  /**
   * The flags that are not about the network or the process, such as `timestep_respacing` and
   * `batch_size`, as they are given.
   */
  readonly other: Readonly<Record<string, string>>
}

const processFlags = [
  'diffusion_steps',
  'noise_schedule',
  'learn_sigma',
  'sigma_small',
  'predict_xstart',
  'rescale_timesteps',
  'rescale_learned_sigmas',
  'use_kl',
] as const
/** Of the U-Net that draws by itself alone; the scripts of super-resolution do not know them. */
const plainFlags = ['image_size', 'channel_mult', 'use_new_attention_order'] as const
const unetFlags = [
  'num_channels',
  'num_res_blocks',
  'num_heads',
  'num_heads_upsample',
  'num_head_channels',
  'attention_resolutions',
  'dropout',
  'class_cond',
  'use_scale_shift_norm',
  'resblock_updown',
] as const
const sizeFlags = ['large_size', 'small_size'] as const
const classifierFlags = [
  'classifier_width',
  'classifier_depth',
  'classifier_attention_resolutions',
  'classifier_use_scale_shift_norm',
  'classifier_resblock_updown',
  'classifier_pool',
  // minority-guidance's.
  'latent_size',
  'in_channels',
  'out_channels',
] as const

type NetworkFlag = (
  | typeof processFlags
  | typeof plainFlags
  | typeof unetFlags
  | typeof sizeFlags
  | typeof classifierFlags
)[number]
const networkFlags: readonly NetworkFlag[] = [
  ...processFlags,
  ...plainFlags,
  ...unetFlags,
  ...sizeFlags,
  ...classifierFlags,
]

/** What the scripts take beside them: how a network is computed, trained and sampled from, and where files are. */
const otherFlags = [
  'use_fp16',
  'classifier_use_fp16',
  'use_checkpoint',
  'fp16_scale_growth',
  'timestep_respacing',
  'use_ddim',
  'clip_denoised',
  'num_samples',
  'batch_size',
  'model_path',
  'base_samples',
  'classifier_path',
  'classifier_scale',
  'seed',
  'out_dir',
  'output_dir',
  'data_dir',
  'val_data_dir',
  'schedule_sampler',
  'lr',
  'weight_decay',
  'lr_anneal_steps',
  'microbatch',
  'ema_rate',
  'log_interval',
  'save_interval',
  'resume_checkpoint',
  'iterations',
  'anneal_lr',
  'eval_interval',
  'noised',
  'random_crop',
  'random_flip',
  'deterministic',
  'n_iter',
  'perturb_t',
  'num_m_classes',
  'val_ratio',
  'f_extractor_path',
  'use_manual_class',
  'manual_class_id',
  'use_ms_grad',
  'mg_scale',
  'mg_scale_type',
  'mg_clip_denoised',
  'inter_rate',
  'p_ratio',
  't_mid',
  'num_mc_samples',
  'use_normed_grad',
  'use_lpips',
  'norm_for_mg',
  'stop_grad',
]

/** guided-diffusion has them, improved-diffusion has not. */
const guidedOnly: readonly string[] = [
  'num_head_channels',
  'resblock_updown',
  'use_new_attention_order',
  'channel_mult',
  'use_fp16',
  'classifier_use_fp16',
  'classifier_path',
  'classifier_scale',
  ...classifierFlags,
]

/** By the side of the images; of 8 and 32 as in minority-guidance and improved-diffusion. */
const channelMults: Readonly<Record<number, readonly number[]>> = {
  512: [0.5, 1, 1, 2, 2, 4, 4],
  256: [1, 1, 2, 2, 4, 4],
  128: [1, 1, 2, 3, 4],
  64: [1, 2, 3, 4],
  32: [1, 2, 2, 2],
  8: [1],
}
/** The scripts of super-resolution have the factors of 256 for 512, too. */
const superResolutionMults: typeof channelMults = {
  512: channelMults[256],
  256: channelMults[256],
  64: channelMults[64],
}

/** ImageNet's, a constant of the scripts; who has other classes edits it, and the weights tell. */
const imageNetClasses = 1000

const fail = (message: string): never => {
  throw new TweedieError('option', `flags: ${message}`)
}

/**
 * The network and the process that the scripts make of `flags`: a text such as `--image_size 64 --num_channels 192 …`,
 * with or without its `MODEL_FLAGS="…"`, or several of them.
 *
 * ```ts
 * const flags = '--image_size 32 --num_channels 128 --num_res_blocks 3 --diffusion_steps 4000 --noise_schedule cosine'
 * const { config, diffusion } = configOfFlags(flags)
 * ```
 * @throws TweedieError 'option' for an unknown flag, with the nearest one, for a value that is none, and where it is
 *   open whose default is meant and the two differ
 */
export function configOfFlags(flags: string | readonly string[], options: FlagsOptions = {}): FlagsConfig {
  refuseUnknown('configOfFlags', options, { network: true, script: true })
  if (options.network !== undefined)
    refuseOther('configOfFlags: network', options.network, ['unet', 'superResolution', 'classifier'])
  if (options.script !== undefined)
    refuseOther('configOfFlags: script', options.script, ['guided-diffusion', 'improved-diffusion'])
  return flagsConfig(flags, new Map(), options)
}

/** The network and the process of flags, once it is known whose they are: `describeModel` asks it with the tensors. */
export type FlagsReader = (shapes: ReadonlyMap<string, readonly number[]>) => FlagsConfig

/**
 * Flags for `describeModel`, of the form that {@link configOfFlags} takes. Tensors say what flags leave open.
 *
 * ```ts
 * const description = describeModel(checkpoint, { flags: readFlags('--image_size 64 --num_channels 192 …') })
 * ```
 */
export const readFlags =
  (flags: string | readonly string[]): FlagsReader =>
  (shapes) =>
    flagsConfig(flags, shapes)

/**
 * The same for the network whose tensors are `shapes`: they tell which network of a command line it is, its channels
 * and the number of its classes.
 */
export function flagsConfig(
  flags: string | readonly string[],
  shapes: Shapes,
  options: FlagsOptions = {},
): FlagsConfig {
  const said = new Flags(flags)
  const network = options.network ?? networkOf(said, shapes)
  const diffusion = diffusionJson(said, options.script ?? scriptOf(said))
  const json =
    network === 'classifier' ? classifierJson(said, shapes) : unetJson(said, shapes, network === 'superResolution')
  const parsed = parseConfig({ ...json, diffusion }, shapes)
  return { config: parsed.config, diffusion: parsed.diffusion!, other: said.other }
}

function networkOf(said: Flags, shapes: Shapes): FlaggedNetwork {
  if (said.has(...sizeFlags)) return 'superResolution'
  const keys = [...shapes.keys()]
  if (keys.some((key) => key.startsWith('input_blocks.'))) {
    if (!keys.some((key) => key.startsWith('output_blocks.'))) return 'classifier'
    const [channels, outputs] = [shapes.get('input_blocks.0.0.weight')?.[1] ?? 0, shapes.get('out.2.weight')?.[0]]
    const doubled = outputs === (channels / 2) * (said.switch('learn_sigma', false) ? 2 : 1)
    return doubled && !said.has(...plainFlags) ? 'superResolution' : 'unet'
  }
  return said.has(...classifierFlags) && !said.has(...unetFlags) ? 'classifier' : 'unet'
}

/** Null where it is open whose flags they are. */
function scriptOf(said: Flags): FlagsOptions['script'] | null {
  if (said.has(...guidedOnly)) return 'guided-diffusion'
  return said.has('sigma_small') || said.whole('image_size', 64) === 32 ? 'improved-diffusion' : null
}

function diffusionJson(said: Flags, script: FlagsOptions['script'] | null): Record<string, unknown> {
  const steps = said.whole('diffusion_steps', 1000)
  // At 1000 steps t * 1000 / T is t, and the scale of the variance's loss, T / 1000, is 1.
  const rescaled = script === 'improved-diffusion'
  const open = script === null && steps !== 1000
  if (open && !said.has('rescale_timesteps')) {
    fail(
      `of ${steps} steps the network sees t in guided-diffusion, and t * 1000 / ${steps} in improved-diffusion, ` +
        'and these flags are both of theirs: add --rescale_timesteps False or True.',
    )
  }
  return {
    noise_schedule: said.text('noise_schedule', 'linear'),
    diffusion_steps: steps,
    rescale_timesteps: said.switch('rescale_timesteps', rescaled),
    learn_sigma: said.switch('learn_sigma', false),
    ...(!open || said.has('rescale_learned_sigmas')
      ? { rescale_learned_sigmas: said.switch('rescale_learned_sigmas', rescaled) }
      : {}),
    ...Object.fromEntries(
      (['use_kl', 'predict_xstart', 'sigma_small'] as const).flatMap((name) =>
        said.switch(name, false) ? [[name, true]] : [],
      ),
    ),
  }
}

function unetJson(said: Flags, shapes: Shapes, superResolution: boolean): Record<string, unknown> {
  const size = superResolution ? said.whole('large_size', 256) : said.whole('image_size', 64)
  if (superResolution && said.has(...plainFlags))
    fail(
      `--${plainFlags.find((name) => said.has(name))} is no flag of a super-resolution network, ` +
        'whose size is --large_size.',
    )
  const mult = said.text('channel_mult', '') === '' ? multOf(size, superResolution) : said.numbers('channel_mult', '')
  return {
    image_size: size,
    model_channels: said.whole('num_channels', 128),
    num_res_blocks: said.whole('num_res_blocks', 2),
    channel_mult: mult,
    attention_resolutions: said.rates('attention_resolutions', '16,8', size, mult, shapes),
    num_heads: said.whole('num_heads', 4),
    num_heads_upsample: said.whole('num_heads_upsample', -1),
    num_head_channels: said.whole('num_head_channels', -1),
    dropout: said.number('dropout', 0),
    num_classes: said.switch('class_cond', false) ? (shapes.get('label_emb.weight')?.[0] ?? imageNetClasses) : null,
    use_scale_shift_norm: said.switch('use_scale_shift_norm', true),
    resblock_updown: said.switch('resblock_updown', false),
    use_new_attention_order: said.switch('use_new_attention_order', false),
    super_resolution: superResolution,
  }
}

function classifierJson(said: Flags, shapes: Shapes): Record<string, unknown> {
  const size = said.has('latent_size') ? said.whole('latent_size', 8) : said.whole('image_size', 64)
  const mult = multOf(size, false)
  return {
    image_size: size,
    model_channels: said.whole('classifier_width', 128),
    num_res_blocks: said.whole('classifier_depth', 2),
    channel_mult: mult,
    attention_resolutions: said.rates('classifier_attention_resolutions', '32,16,8', size, mult, shapes),
    num_head_channels: 64,
    use_scale_shift_norm: said.switch('classifier_use_scale_shift_norm', true),
    resblock_updown: said.switch('classifier_resblock_updown', true),
    pool: said.text('classifier_pool', 'attention'),
    ...(said.has('in_channels') ? { in_channels: said.whole('in_channels', 3) } : {}),
    ...(said.has('out_channels') ? { out_channels: said.whole('out_channels', 1000) } : {}),
  }
}

function multOf(size: number, superResolution: boolean): readonly number[] {
  const known = superResolution ? superResolutionMults : channelMults
  const advice = superResolution
    ? `large_size is ${Object.keys(known).join(', ')}`
    : 'add --channel_mult, one factor a level'
  return known[size] ?? fail(`the scripts have no channel_mult for images of ${size}: ${advice}.`)
}

/** The values of the flags, each as what it is. */
class Flags {
  readonly other: Readonly<Record<string, string>>
  readonly #values = new Map<string, string>()

  constructor(flags: string | readonly string[]) {
    const pairs = flagPairs(flags)
    const unknown = unknownNames('flag', [...new Set(pairs.map(([name]) => name))], [...networkFlags, ...otherFlags])
    if (unknown) fail(`${unknown}.`)
    const other: Record<string, string> = {}
    for (const [name, value] of pairs) {
      if (!networkFlags.includes(name as NetworkFlag)) {
        other[name] = value
        continue
      }
      const before = this.#values.get(name)
      if (before !== undefined && before !== value) fail(`--${name} is given as ${before} and as ${value}.`)
      this.#values.set(name, value)
    }
    this.other = other
  }

  has(...names: readonly string[]): boolean {
    return names.some((name) => this.#values.has(name) || Object.hasOwn(this.other, name))
  }

  text(name: NetworkFlag, otherwise: string): string {
    return this.#values.get(name) ?? otherwise
  }

  number(name: NetworkFlag, otherwise: number): number {
    const text = this.#values.get(name)
    if (text === undefined) return otherwise
    const value = text.trim() === '' ? NaN : Number(text)
    return Number.isFinite(value) ? value : fail(`--${name} is a number, found "${text}".`)
  }

  whole(name: NetworkFlag, otherwise: number): number {
    const value = this.number(name, otherwise)
    return Number.isInteger(value) ? value : fail(`--${name} is a whole number, found "${this.#values.get(name)}".`)
  }

  /** In the words of the scripts' `str2bool`. */
  switch(name: NetworkFlag, otherwise: boolean): boolean {
    const text = this.#values.get(name)
    if (text === undefined) return otherwise
    if (/^(yes|true|t|y|1)$/i.test(text)) return true
    return /^(no|false|f|n|0)$/i.test(text) ? false : fail(`--${name} is True or False, found "${text}".`)
  }

  numbers(name: NetworkFlag, otherwise: string): number[] {
    const text = this.text(name, otherwise)
    const values = text.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)))
    return values.every((value) => value > 0 && value < Infinity)
      ? values
      : fail(
          `--${name} are numbers with commas between, as in ` +
            `${name === 'channel_mult' ? '1,2,2' : '32,16,8'}, found "${text}".`,
        )
  }

  /**
   * Downsample rates of the sides at which there is attention: image_size // side. Where no level has a rate there is
   * none in the scripts either; of a network that is not there yet it is a mistake, if it was stated.
   */
  rates(name: NetworkFlag, otherwise: string, size: number, mult: readonly number[], shapes: Shapes): number[] {
    const levels = levelRates({ channelMult: [...mult] })
    const sides = this.numbers(name, otherwise)
    const nowhere = sides.filter((side) => !levels.includes(Math.floor(size / side)))
    if (nowhere.length > 0 && shapes.size === 0 && this.has(name)) {
      fail(
        `--${name} are sides of maps, and no level has ${nowhere.join(', ')}: the levels have ` +
          `${levels.map((rate) => size / rate).join(', ')}.`,
      )
    }
    return [...new Set(sides.filter((side) => !nowhere.includes(side)).map((side) => Math.floor(size / side)))]
  }
}
