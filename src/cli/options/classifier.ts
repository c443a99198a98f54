/**
 * The network and the process of `train classifier` on the command line, in guided-diffusion's and minority-guidance's words
 * (script_util.py). What it reads follows from the extractor, from the model that it is to guide, or from the data.
 */
import { featureShape } from '../../diffusion/index.ts'
import {
  checkConfig, configOfFlags, isSameNoise, noiseInWords, preset as presetOf, type ClassifierConfig, type DiffusionSettings, type NoiseProcess, type Preset, type UNetConfig,
} from '../../nn/index.ts'
import { fail, type Arguments } from '../arguments.ts'
import { attentionDefault, attentionRates } from './attention.ts'
import { flagsOption } from './flags.ts'
import { noiseIn, noiseOptions } from './process.ts'

const trainedOn = { default: "the model's, then the preset's" } as const

/** What says on which noise a classifier is trained. */
export const guidedOptions = {
  model: { value: 'M.safetensors', help: 'the diffusion model to be guided: the classifier is trained on its noise' },
  'model-preset': { value: 'NAME', help: 'the published model it is, for a file that does not say so itself' },
  schedule: { ...noiseOptions.schedule, ...trainedOn, help: 'noise schedule' },
  'diffusion-steps': { ...noiseOptions['diffusion-steps'], ...trainedOn, help: 'steps of the process' },
  'rescale-timesteps': { ...trainedOn, help: 'the classifier sees t * 1000 / T, as the model must' },
} as const

export const classifierOptions = {
  preset: { value: 'NAME', help: 'network and process of a published minority classifier (mc_*), instead of the options that follow; levels and classes are the data\'s' },
  flags: { ...flagsOption, help: 'the same as flags of guided-diffusion\'s and minority-guidance\'s scripts (their CLASSIFIER_FLAGS and DIFFUSION_FLAGS)' },
  'image-size': { value: 'N', help: 'side of the images', default: "the extractor's, the model's, or the data's, where all have one" },
  grayscale: { help: 'one channel; colour images become luma', default: 'as the model draws, else as the data is' },
  'class-cond': { help: "told each image's class, with the data's classes: for a class-conditional model" },
  'classifier-width': { value: 'N', help: 'model channels', default: '64' },
  'classifier-depth': { value: 'N', help: 'residual blocks a level', default: '2' },
  'classifier-channel-mult': { value: '1,2,2', help: 'width of each level, in model channels', default: '1,2,2; 1 on features' },
  'classifier-attention-resolutions': { value: '16,8|none', help: 'sides of the maps that get attention', default: attentionDefault },
  'classifier-pool': { value: 'attention|adaptive|spatial|spatial_v2', help: 'the head', default: 'attention' },
  'classifier-head-channels': { value: 'N', help: 'channels of an attention head', default: '64' },
  'no-classifier-resblock-updown': { help: 'strided convolutions between levels instead of residual blocks' },
  'no-classifier-use-scale-shift-norm': { help: 'the embedding is added to the second norm instead of scaling and shifting it' },
} as const

type Config = ClassifierConfig & { readonly kind: 'classifier' }

/** What files say, those that are given. */
export interface ClassifierSources {
  readonly model: { readonly config: UNetConfig; readonly diffusion?: DiffusionSettings } | null
  readonly extractor: { readonly config: ClassifierConfig } | null
  readonly data: { readonly size: number | null; readonly channels: 1 | 3; readonly classes: number | null }
  /** What it tells: this many levels, classes or attributes. */
  readonly outputs: number
}

export interface ClassifierNetwork {
  readonly config: Config
  /** Of the images, ahead of an extractor. */
  readonly images: { readonly size: number; readonly channels: 1 | 3 }
}

/** A network and its process that are given as a whole. `said`: by which option. */
interface Whole extends Pick<Preset, 'diffusion' | 'sampling'> {
  readonly said: string
  readonly config: Config
}

function wholeIn(args: Arguments<'preset' | 'flags'>): Whole | undefined {
  const [name, flags] = [args.text('preset'), args.text('flags')]
  if (name !== undefined && flags !== undefined) fail('--preset and --flags say the same thing: give one of them.')
  if (name === undefined && flags === undefined) return undefined
  const { config, diffusion, sampling } = name !== undefined ? presetOf(name) : { ...configOfFlags(flags!, { network: 'classifier' }), sampling: {} }
  const said = name !== undefined ? `--preset ${name}` : '--flags'
  return config.kind === 'classifier' ? { said, config, diffusion, sampling } : fail(`${said} is a U-Net: train classifier takes a classifier, such as mc_cifar10.`)
}

/** The noise by options, then by the model, then by the preset. `said`: whether an option chose it. */
export function guidedNoise(args: Arguments<keyof typeof guidedOptions | 'preset' | 'flags'>, model: ClassifierSources['model']): { process: NoiseProcess; said: boolean } {
  const preset = wholeIn(args)
  const known = model?.diffusion ?? preset?.diffusion
  if (model?.diffusion && preset && !isSameNoise(model.diffusion, preset.diffusion)) {
    fail(`${preset.said} is trained on "${noiseInWords(preset.diffusion)}", but the model draws with "${noiseInWords(model.diffusion)}": take the options --classifier-* instead, or the model it belongs to.`)
  }
  return {
    said: (Object.keys(noiseOptions) as (keyof typeof noiseOptions)[]).some((name) => args.has(name)),
    process: noiseIn(args, known, {
      least: 4, rescaled: args.flag('rescale-timesteps'),
      missing: ': --model M names the diffusion model that is to be guided, on whose noise the classifier is trained',
    }),
  }
}

/** `attention`: that of the run that goes on, if one does. */
export function classifierNetworkOf(args: Arguments<keyof typeof classifierOptions>, { model, extractor, data, outputs }: ClassifierSources, attention: readonly number[] | null = null): ClassifierNetwork {
  const preset = wholeIn(args)
  const reads = preset?.sampling.minority?.featureExtractor
  if (preset && reads && !extractor) fail(`${preset.said} reads the features of ${reads}: --extractor FILE says where it is.`)
  const drawn = extractor?.config ?? model?.config
  // What the extractor reads and the model draws is the same image.
  if (extractor && model && (extractor.config.imageSize !== model.config.imageSize || extractor.config.inChannels !== model.config.inChannels)) {
    fail(`--extractor reads ${extractor.config.inChannels}x${extractor.config.imageSize}x${extractor.config.imageSize}, but the model draws ${model.config.inChannels}x${model.config.imageSize}x${model.config.imageSize}.`)
  }
  const pixels = preset && !reads ? preset.config : undefined
  const channels = args.flag('grayscale') ? 1 : drawn?.inChannels ?? pixels?.inChannels ?? data.channels
  const size = args.integer('image-size', { min: 8 }) ?? drawn?.imageSize ?? pixels?.imageSize ?? data.size ?? fail('the images are not all squares of one size: --image-size says what to crop them to.')
  if (drawn && (channels !== drawn.inChannels || size !== drawn.imageSize)) {
    fail(`--image-size and --grayscale say ${channels}x${size}x${size}, but the ${extractor ? 'extractor reads' : 'model draws'} ${drawn.inChannels}x${drawn.imageSize}x${drawn.imageSize}: leave them out.`)
  }
  const input = extractor ? featureShape(extractor) : { channels, side: size }
  const numClasses = args.flag('class-cond') || preset?.config.numClasses ? data.classes ?? fail('a class-conditional classifier needs classes: sub-folders, names with a prefix and "_", or an array of labels.') : null
  if (numClasses !== null && model && model.config.numClasses !== numClasses) {
    fail(`a class-conditional classifier of ${numClasses} classes cannot guide this model, which ${model.config.numClasses === null ? 'has no classes' : `has ${model.config.numClasses}`}: leave --class-cond out, or take the data and the model that belong together.`)
  }
  const images = { size, channels: channels as 1 | 3 }
  const given: Given = { input, numClasses, outputs, onFeatures: extractor !== null }
  const config = preset ? published(preset, given) : own(args, given, attention)
  checkConfig(config)
  return { config, images }
}

interface Given {
  readonly input: { readonly channels: number; readonly side: number }
  readonly numClasses: number | null
  readonly outputs: number
  readonly onFeatures: boolean
}

function published({ said, config }: Whole, { input, numClasses, outputs, onFeatures }: Given): Config {
  if (config.inChannels !== input.channels || config.imageSize !== input.side) {
    fail(`${said} reads ${config.inChannels}x${config.imageSize}x${config.imageSize}${onFeatures ? ' of features' : ' pixels'}, found ${input.channels}x${input.side}x${input.side}.`)
  }
  if (config.numClasses !== null && config.numClasses !== numClasses) fail(`${said} has ${config.numClasses} classes, and the data ${numClasses}.`)
  if (config.outChannels !== outputs) console.error(`note: ${said} has ${config.outChannels} outputs; this one has ${outputs}.`)
  return { ...config, outChannels: outputs, numClasses }
}

function own(args: Arguments<keyof typeof classifierOptions>, { input, numClasses, outputs, onFeatures }: Given, attention: readonly number[] | null): Config {
  const mult = args.text('classifier-channel-mult')?.split(',').map(Number) ?? (onFeatures ? [1] : [1, 2, 2])
  if (!mult.every((m) => m > 0)) fail(`--classifier-channel-mult: expected factors with commas between, as in 1,2,2, found "${args.text('classifier-channel-mult')}".`)
  return {
    kind: 'classifier', imageSize: input.side, inChannels: input.channels, outChannels: outputs,
    modelChannels: args.integer('classifier-width', { min: 1 }) ?? 64, channelMult: mult, numResBlocks: args.integer('classifier-depth', { min: 1 }) ?? 2,
    attentionResolutions: attentionRates('classifier-attention-resolutions', args, { imageSize: input.side, channelMult: mult }, attention),
    pool: args.choice('classifier-pool', ['attention', 'adaptive', 'spatial', 'spatial_v2']) ?? 'attention',
    numHeadChannels: args.integer('classifier-head-channels', { min: 1 }) ?? 64, numHeads: 1, dropout: 0, numClasses,
    convResample: true, useScaleShiftNorm: !args.flag('no-classifier-use-scale-shift-norm'), resblockUpdown: !args.flag('no-classifier-resblock-updown'), useNewAttentionOrder: false,
  }
}
