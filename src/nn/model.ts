import { asksForAwait, checkAwaited, TweedieError, unexpected } from '../errors.ts'
import type { Device } from '../tensor/index.ts'
import { refuseUnknown } from '../refuse.ts'
import { Classifier } from './classifier.ts'
import type { DiffusionSettings, ModelConfig } from './config.ts'
import type { FlagsReader } from './flags.ts'
import { loadParameters, type LoadOptions, type WeightSource } from './load.ts'
import { parseConfig, parseDiffusionSettings } from './parse-config.ts'
import { planOf } from './plan.ts'
import { networkPreset } from './presets.ts'
import { presetsWith, recognized, sameModel } from './recognize.ts'
import { shapesOf, stateDictOf } from './state-dict.ts'
import { UNet } from './unet.ts'

/** What a checkpoint holds: enough to build the network, and to walk the process that it was trained with. */
export interface ModelDescription {
  /** What the network is built from. */
  readonly config: ModelConfig
  /** The process it was trained with, where the checkpoint or the preset says so. */
  readonly diffusion?: DiffusionSettings
  /** Which published model it is: as the caller says, as its file says, or as only one has this network and process. */
  readonly preset?: string
}

/** A checkpoint with its metadata; `Checkpoint` of the io room is one. */
export interface DescribedSource extends WeightSource {
  readonly metadata: Readonly<Record<string, string>>
}

/** Options of {@link describeModel}: what a checkpoint does not say itself. */
export interface DescribeOptions {
  /** Name of a published configuration, for a checkpoint that brings none. */
  readonly preset?: string
  /**
   * The flags it was trained with by guided-diffusion's or improved-diffusion's scripts, such as a README's
   * `MODEL_FLAGS`, for a checkpoint that brings no configuration: `readFlags('--image_size 64 …')`. What reads them is
   * 3 KB of a page that has some, and of no other.
   */
  readonly flags?: FlagsReader
  /** Text of the `.json` beside a checkpoint that brings no configuration itself. */
  readonly json?: string
}

/**
 * The network a checkpoint holds: from its own `__metadata__.config`, else from `flags`, from `json`, from the preset.
 * The process it was trained with: from its own `__metadata__.diffusion`, else from the same. No device is touched, so
 * that memory can be asked for before a byte is loaded:
 *
 * ```ts
 * const description = describeModel(checkpoint)
 * const device = await Device.request({ need: memoryOf(description.config, { batch: 8 }) })
 * const model = await loadModel(device, checkpoint, description)
 * ```
 *
 * @throws TweedieError 'option' where none of them is there or what is there cannot be read, where `learn_sigma` is not
 *   what the channels say, and where the flags are of another network than the checkpoint's own configuration
 */
export function describeModel(checkpoint: DescribedSource, options: DescribeOptions = {}): ModelDescription {
  if (checkpoint?.tensors === undefined)
    throw unexpected('describeModel', 'a checkpoint', checkpoint, 'openCheckpoint opens one.')
  refuseUnknown('describeModel', options, { preset: true, flags: true, json: true })
  const { preset, flags, json } = options
  if (preset !== undefined && flags !== undefined)
    throw new TweedieError('option', `${checkpoint.name}: a preset and flags say the same thing: give one of them.`)
  const shapes = shapesOf(checkpoint)
  const { diffusion: process } = checkpoint.metadata
  const known = preset === undefined ? undefined : networkPreset(preset)
  if (flags !== undefined && typeof flags !== 'function')
    throw unexpected('describeModel: flags', 'what readFlags(text) gives', flags)
  const flagged = flags?.(shapes)
  const own = checkpoint.metadata.config === undefined ? undefined : parseConfig(checkpoint.metadata.config, shapes)
  const said = own ?? flagged ?? (json === undefined ? known : parseConfig(json, shapes))
  if (!said) {
    const like = presetsWith(shapes)
    const hint = like.length > 0 ? `its tensors are those of ${like.join(', ')}, which others may have too: ` : ''
    throw new TweedieError(
      'option',
      `${checkpoint.name} does not say what network it holds: ${hint}name a preset, give the flags it was ` +
        'trained with, put its configuration as .json beside it, or convert it with one.',
    )
  }
  const { config } = said
  const diffusion =
    process === undefined ? (said.diffusion ?? flagged?.diffusion ?? known?.diffusion) : parseDiffusionSettings(process)
  if (flagged && own && !sameModel({ config, ...(diffusion && { diffusion }) }, flagged)) {
    throw new TweedieError(
      'option',
      `${checkpoint.name} says itself what network it holds and how it was trained, and the flags say otherwise: ` +
        'leave them out, or take the file they belong to.',
    )
  }
  const name = preset ?? recognized(checkpoint.metadata, config, diffusion)
  const named = name === undefined ? {} : { preset: name }
  if (!diffusion) return { config, ...named }
  checkLearnSigma(config, diffusion, checkpoint.name)
  return { config, diffusion, ...named }
}

/**
 * Whether there is a variance head shows in the channels; a `learn_sigma` that is stated must say the same.
 * @throws TweedieError 'option'
 */
export function checkLearnSigma(config: ModelConfig, { learnSigma }: DiffusionSettings, name: string): void {
  if (config.kind !== 'unet' || learnSigma === undefined) return
  const expected = learnSigma ? 2 * config.inChannels : config.inChannels
  if (config.outChannels !== expected) {
    throw new TweedieError(
      'option',
      `${name}: learn_sigma ${learnSigma} means ${expected} output channels for images of ${config.inChannels}, ` +
        `but the network has ${config.outChannels}: does the configuration belong to this checkpoint?`,
    )
  }
}

/**
 * Loads the network `description` describes. It belongs to the caller, who disposes of it.
 *
 * @throws TweedieError 'weights' if the checkpoint's tensors are not the network's, all differences listed
 */
export function loadModel(
  device: Device,
  checkpoint: WeightSource,
  description: ModelDescription,
  options: LoadOptions = {},
): Promise<UNet | Classifier> {
  return asksForAwait(load(device, checkpoint, description, options), 'model', UNet)
}

async function load(
  device: Device,
  checkpoint: WeightSource,
  description: ModelDescription,
  options: LoadOptions,
): Promise<UNet | Classifier> {
  checkAwaited('loadModel', { device, checkpoint, description })
  if (description?.config === undefined)
    throw unexpected('loadModel', "a checkpoint's description", description, 'describeModel(checkpoint) makes one.')
  const { config } = description
  const parameters = await loadParameters(device, checkpoint, stateDictOf(planOf(config)), options)
  return config.kind === 'unet' ? new UNet(config, parameters) : new Classifier(config, parameters)
}
