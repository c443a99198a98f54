/**
 * Reads a checkpoint's configuration: `__metadata__.config` of a safetensors file, or a `.json` beside the checkpoint,
 * which holds the constructor arguments of guided-diffusion's classes under their own names; docs/configuration.md has
 * the table of them, which a test holds against this file. Nothing is guessed: an unknown key, a wrong type or a value
 * out of range is an error that says which. The number of input and output channels follows the tensors, since that is
 * where a checkpoint cannot be wrong about itself.
 */
import { TweedieError } from '../errors.ts'
import { checkConfig, levelRates, maxDiffusionSteps, meanTypes } from './config.ts'
import type { DiffusionSettings, MeanType, ModelConfig, NoiseSchedule, Pool, TrunkConfig } from './config.ts'
import { preview } from '../printable.ts'
import { editDistance, unknownNames } from '../suggest.ts'

const POOLS: readonly Pool[] = ['attention', 'adaptive', 'spatial', 'spatial_v2']
const SCHEDULES: readonly NoiseSchedule[] = ['linear', 'cosine']

/**
 * The configuration in `json` (an object or its JSON text), with channel counts taken from `shapes`, the checkpoint's
 * tensors by name. Absent keys mean: num_heads 1, num_heads_upsample -1 (the same), num_head_channels -1,
 * use_scale_shift_norm false, resblock_updown false, use_new_attention_order false, conv_resample true, dropout 0,
 * num_classes null. `attention_resolutions` are downsample rates in a list, or sides of maps in a text such as "16,8".
 * `pool` marks a classifier, `super_resolution` a U-Net whose input is doubled. `diffusion` in the result is there
 * where the JSON has a key of that name (the `.json` form); a safetensors file keeps it beside, for
 * {@link parseDiffusionSettings}.
 *
 * @throws TweedieError 'option'
 * @example
 * const { config } = parseConfig(file.metadata.config, file.shapes)
 */
export function parseConfig(
  json: unknown,
  shapes: ReadonlyMap<string, readonly number[]>,
): { config: ModelConfig; diffusion?: DiffusionSettings } {
  const fields = new Fields('model configuration', json)
  const trunk: TrunkConfig = {
    imageSize: fields.integer('image_size'),
    inChannels: 0,
    modelChannels: fields.integer('model_channels'),
    outChannels: 0,
    numResBlocks: fields.integer('num_res_blocks'),
    attentionResolutions: [],
    dropout: fields.number('dropout', 0),
    channelMult: fields.numbers('channel_mult'),
    convResample: fields.boolean('conv_resample', true),
    numClasses: fields.get('num_classes') == null ? null : fields.integer('num_classes'),
    numHeads: fields.integer('num_heads', 1),
    numHeadChannels: fields.integer('num_head_channels', -1),
    useScaleShiftNorm: fields.boolean('use_scale_shift_norm', false),
    resblockUpdown: fields.boolean('resblock_updown', false),
    useNewAttentionOrder: fields.boolean('use_new_attention_order', false),
  }
  trunk.attentionResolutions = attentionRates(fields, trunk, shapes.size > 0)
  const superResolution = fields.boolean('super_resolution', false)
  const pool = fields.get('pool') == null ? null : fields.oneOf('pool', POOLS)
  if (pool && superResolution) fields.fail('pool (a classifier) and super_resolution exclude each other')
  checkIgnored(fields)
  // -1 is the reference's word for num_heads.
  const upsample = fields.integer('num_heads_upsample', -1)
  const numHeadsUpsample = pool || upsample === -1 || upsample === trunk.numHeads ? {} : { numHeadsUpsample: upsample }

  const inTensor = shapes.get('input_blocks.0.0.weight')?.[1]
  const outTensor = outKeys(pool)
    .map((key) => shapes.get(key)?.[0])
    .find((n) => n !== undefined)
  const found = inTensor === undefined ? undefined : superResolution ? inTensor / 2 : inTensor
  trunk.inChannels = agree(fields, 'in_channels', found, 3)
  const diffusionJson = fields.get('diffusion')
  const diffusion = diffusionJson === undefined ? undefined : parseDiffusionSettings(diffusionJson)
  // Silent about it, a configuration means a variance head, as every published U-Net has one.
  trunk.outChannels = agree(
    fields,
    'out_channels',
    outTensor,
    pool ? 1000 : diffusion?.learnSigma === false ? trunk.inChannels : 2 * trunk.inChannels,
  )
  fields.get('training') // how it was trained: prose for people
  fields.finish()
  const config: ModelConfig = pool
    ? { kind: 'classifier', ...trunk, pool }
    : { kind: 'unet', ...trunk, superResolution, ...numHeadsUpsample }
  checkConfig(config)
  return diffusion === undefined ? { config } : { config, diffusion }
}

/**
 * `__metadata__.diffusion`, or `diffusion` of the `.json`: `noise_schedule` and `diffusion_steps` are required;
 * `rescale_timesteps` is false where absent (guided-diffusion's default; improved-diffusion's is true). What the
 * network predicts is guided-diffusion's `predict_xstart`, or `predict` with one of the names of {@link meanTypes}.
 * @throws TweedieError 'option'
 */
export function parseDiffusionSettings(json: unknown): DiffusionSettings {
  const fields = new Fields('diffusion settings', json)
  const said = (key: string): boolean => fields.get(key) !== undefined
  const meanType = meanTypeIn(fields)
  const settings: DiffusionSettings = {
    schedule: fields.oneOf('noise_schedule', SCHEDULES),
    diffusionSteps: fields.integer('diffusion_steps'),
    rescaleTimesteps: fields.boolean('rescale_timesteps', false),
    ...(said('learn_sigma') && { learnSigma: fields.boolean('learn_sigma') }),
    ...(meanType !== undefined && { meanType }),
    ...(said('sigma_small') && { sigmaSmall: fields.boolean('sigma_small') }),
    ...(said('rescale_learned_sigmas') && { rescaleLearnedSigmas: fields.boolean('rescale_learned_sigmas') }),
    ...(said('use_kl') && { useKl: fields.boolean('use_kl') }),
  }
  fields.finish()
  if (settings.diffusionSteps < 1) fields.fail(`diffusion_steps must be positive, found ${settings.diffusionSteps}`)
  if (settings.diffusionSteps > maxDiffusionSteps)
    fields.fail(`diffusion_steps must be at most ${maxDiffusionSteps}, found ${settings.diffusionSteps}`)
  return settings
}

function meanTypeIn(fields: Fields): MeanType | undefined {
  const xStart = fields.get('predict_xstart') === undefined ? undefined : fields.boolean('predict_xstart')
  const flagged = xStart === undefined ? undefined : xStart ? 'xStart' : 'epsilon'
  if (fields.get('predict') === undefined) return flagged
  const predict = fields.oneOf('predict', Object.keys(meanTypes) as (keyof typeof meanTypes)[])
  if (flagged !== undefined && flagged !== meanTypes[predict])
    fields.fail(`predict "${predict}" contradicts predict_xstart ${xStart}`)
  return meanTypes[predict]
}

/**
 * `attention_resolutions`: rates in a list, as the constructors take them, or sides of maps in a text such as "16,8",
 * as guided-diffusion's flag is written. A rate that no level has is refused by `checkConfig`; but a checkpoint cannot
 * be wrong about its levels, and ours did say such rates until November 2026: there they mean nothing.
 */
function attentionRates(fields: Fields, { imageSize, channelMult }: TrunkConfig, isCheckpoint: boolean): number[] {
  const rates = levelRates({ channelMult })
  const value = fields.get('attention_resolutions')
  if (typeof value !== 'string') {
    const stated = fields.numbers('attention_resolutions')
    return isCheckpoint ? stated.filter((rate) => rates.includes(rate)) : stated
  }
  const sides = value
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
  const found = sides.filter((side) => rates.some((rate) => String(imageSize / rate) === side))
  const nowhere = sides.filter((side) => !found.includes(side))
  if (nowhere.length > 0 && !isCheckpoint) {
    fields.fail(
      `attention_resolutions "${value}" are sides of maps, and no level has ${nowhere.join(', ')}: the levels ` +
        `have ${rates.map((rate) => imageSize / rate).join(', ')}`,
    )
  }
  return found.map((side) => imageSize / Number(side))
}

/** The weight whose first axis is the number of outputs. */
function outKeys(pool: Pool | null): string[] {
  if (pool === 'attention') return ['out.2.c_proj.weight']
  if (pool === 'adaptive' || pool === 'spatial_v2') return ['out.3.weight']
  return ['out.2.weight']
}

/** The tensors decide; a number that the configuration states must be the same. */
function agree(fields: Fields, key: string, found: number | undefined, otherwise: number): number {
  if (fields.get(key) === undefined) return found ?? otherwise
  const stated = fields.integer(key)
  if (found !== undefined && found !== stated) fields.fail(`${key} is ${stated}, but the tensors have ${found}`)
  return stated
}

/** Arguments of the reference's constructors that change memory or precision there, not the network. */
function checkIgnored(fields: Fields): void {
  fields.boolean('use_checkpoint', false)
  fields.boolean('use_fp16', false)
  const dims = fields.integer('dims', 2)
  if (dims !== 2) fields.fail(`dims must be 2 (images), found ${dims}`)
}

/** A JSON object whose keys are taken one by one; what is left over at the end is unknown. */
class Fields {
  private readonly values: Record<string, unknown>
  private readonly taken = new Set<string>()
  private readonly what: string

  constructor(what: string, json: unknown) {
    this.what = what
    let value = json
    if (typeof json === 'string') {
      try {
        value = JSON.parse(json)
      } catch (cause) {
        throw new TweedieError('option', `${what}: expected JSON, found "${json.slice(0, 60)}"`, { cause })
      }
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.fail(`expected a JSON object, found ${show(value)}`)
    }
    this.values = value as Record<string, unknown>
  }

  fail(message: string): never {
    throw new TweedieError('option', `${this.what}: ${message}`)
  }

  get(key: string): unknown {
    this.taken.add(key)
    return Object.hasOwn(this.values, key) ? this.values[key] : undefined
  }

  private need(key: string, expected: string, otherwise: unknown): unknown {
    const value = this.get(key) ?? otherwise
    if (value === undefined) {
      const meant = Object.keys(this.values)
        .slice(0, 1000)
        .find((other) => other !== key && editDistance(key, other, 2) <= 2)
      this.fail(`${key} is missing (${expected})${meant === undefined ? '' : `: is it "${meant}"?`}`)
    }
    return value
  }

  number(key: string, otherwise?: number): number {
    const value = this.need(key, 'a number', otherwise)
    if (typeof value !== 'number' || !Number.isFinite(value)) this.fail(`${key} must be a number, found ${show(value)}`)
    return value
  }

  integer(key: string, otherwise?: number): number {
    const value = this.need(key, 'an integer', otherwise)
    if (!Number.isInteger(value)) this.fail(`${key} must be an integer, found ${show(value)}`)
    return value as number
  }

  boolean(key: string, otherwise?: boolean): boolean {
    const value = this.need(key, 'true or false', otherwise)
    if (typeof value !== 'boolean') this.fail(`${key} must be true or false, found ${show(value)}`)
    return value
  }

  numbers(key: string): number[] {
    const value = this.need(key, 'a list of numbers', undefined)
    if (!Array.isArray(value) || !value.every((entry) => typeof entry === 'number' && entry > 0)) {
      this.fail(`${key} must be a list of positive numbers, found ${show(value)}`)
    }
    return value as number[]
  }

  oneOf<const T extends string>(key: string, choices: readonly T[]): T {
    const value = this.need(key, choices.join(', '), undefined)
    if (!choices.includes(value as T)) this.fail(`${key} must be one of ${choices.join(', ')}, found ${show(value)}`)
    return value as T
  }

  finish(): void {
    const unknown = unknownNames('key', Object.keys(this.values), this.taken)
    if (unknown) this.fail(unknown)
  }
}

const show = (value: unknown): string => preview(value, 60)
