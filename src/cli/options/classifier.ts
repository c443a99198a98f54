/**
 * The network and the process of `train classifier` on the command line, in guided-diffusion's and
 * minority-guidance's words (script_util.py). What it reads follows from the extractor, from the model that it is to
 * guide, or from the data.
 */
import { featureShape } from '../../diffusion/index.ts'
import {
  checkConfig,
  configOfFlags,
  isSameNoise,
  noiseInWords,
  preset as presetOf,
  type ClassifierConfig,
  type DiffusionSettings,
  type NoiseProcess,
  type Preset,
  type UNetConfig,
} from '../../nn/index.ts'
import { fail, type Arguments } from '../arguments.ts'
import { attentionOption, attentionRates } from './attention.ts'
import { flagsOption } from './flags.ts'
import { choice, factors, file, flag, integer, text } from '../option.ts'
import { noiseIn, noiseOptions } from './process.ts'
import { tell } from '../print.ts'

const otherwise = "the model's, then the preset's"

/** What says on which noise a classifier is trained. */
export const guidedOptions = {
  model: file({
    value: 'M.safetensors',
    help: 'the diffusion model to be guided: the classifier is trained on its noise',
  }),
  'model-preset': text({ value: 'NAME', help: 'the published model it is, for a file that does not say so itself' }),
  schedule: { ...noiseOptions.schedule, help: 'noise schedule', otherwise },
  'diffusion-steps': integer({ value: 'T', min: 4, help: 'steps of the process', otherwise }),
  'rescale-timesteps': flag({ help: 'the classifier sees t * 1000 / T, as the model must', otherwise }),
}

export const classifierOptions = {
  preset: text({
    value: 'NAME',
    help:
      'network and process of a published minority classifier (mc_*), instead of the options that follow; ' +
      "levels and classes are the data's",
  }),
  flags: {
    ...flagsOption,
    help:
      "the same as flags of guided-diffusion's and minority-guidance's scripts (their " +
      'CLASSIFIER_FLAGS and DIFFUSION_FLAGS)',
  },
  'image-size': integer({
    value: 'N',
    min: 8,
    help: 'side of the images',
    otherwise: "the extractor's, the model's, or the data's, where all have one",
  }),
  grayscale: flag({
    help: 'one channel; colour images become luma',
    otherwise: 'as the model draws, else as the data is',
  }),
  'class-cond': flag({ help: "told each image's class, with the data's classes: for a class-conditional model" }),
  'classifier-width': integer({ value: 'N', min: 1, help: 'model channels', default: '64' }),
  'classifier-depth': integer({ value: 'N', min: 1, help: 'residual blocks a level', default: '2' }),
  'classifier-channel-mult': factors({
    value: '1,2,2',
    help: 'width of each level, in model channels',
    otherwise: '1,2,2; 1 on features',
  }),
  'classifier-attention-resolutions': attentionOption,
  'classifier-pool': choice(['attention', 'adaptive', 'spatial', 'spatial_v2'], {
    help: 'the head',
    default: 'attention',
  }),
  'classifier-head-channels': integer({ value: 'N', min: 1, help: 'channels of an attention head', default: '64' }),
  'no-classifier-resblock-updown': flag({ help: 'strided convolutions between levels instead of residual blocks' }),
  'no-classifier-use-scale-shift-norm': flag({
    help: 'the embedding is added to the second norm instead of scaling and shifting it',
  }),
}

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

function wholeIn(args: Arguments<Pick<typeof classifierOptions, 'preset' | 'flags'>>): Whole | undefined {
  const [name, flags] = [args.get('preset'), args.get('flags')]
  if (name !== undefined && flags !== undefined) fail('--preset and --flags say the same thing: give one of them.')
  if (name === undefined && flags === undefined) return undefined
  const { config, diffusion, sampling } =
    name !== undefined ? presetOf(name) : { ...configOfFlags(flags!, { network: 'classifier' }), sampling: {} }
  const said = name !== undefined ? `--preset ${name}` : '--flags'
  return config.kind === 'classifier'
    ? { said, config, diffusion, sampling }
    : fail(`${said} is a U-Net: train classifier takes a classifier, such as mc_cifar10.`)
}

/** The noise by options, then by the model, then by the preset. `said`: whether an option chose it. */
export function guidedNoise(
  args: Arguments<typeof guidedOptions & Pick<typeof classifierOptions, 'preset' | 'flags'>>,
  model: ClassifierSources['model'],
): { process: NoiseProcess; said: boolean } {
  const preset = wholeIn(args)
  const known = model?.diffusion ?? preset?.diffusion
  if (model?.diffusion && preset && !isSameNoise(model.diffusion, preset.diffusion)) {
    fail(
      `${preset.said} is trained on "${noiseInWords(preset.diffusion)}", but the model draws with ` +
        `"${noiseInWords(model.diffusion)}": take the options --classifier-* instead, or the model it belongs to.`,
    )
  }
  return {
    said: (Object.keys(noiseOptions) as (keyof typeof noiseOptions)[]).some((name) => args.has(name)),
    process: noiseIn(
      args,
      known,
      ': --model M names the diffusion model that is to be guided, on whose noise the classifier is trained',
    ),
  }
}

/** `attention`: that of the run that goes on, if one does. */
export function classifierNetworkOf(
  args: Arguments<typeof classifierOptions>,
  { model, extractor, data, outputs }: ClassifierSources,
  attention: readonly number[] | null = null,
): ClassifierNetwork {
  const preset = wholeIn(args)
  const reads = preset?.sampling.minority?.featureExtractor
  if (preset && reads && !extractor)
    fail(`${preset.said} reads the features of ${reads}: --extractor FILE says where it is.`)
  const drawn = extractor?.config ?? model?.config
  // What the extractor reads and the model draws is the same image.
  if (
    extractor &&
    model &&
    (extractor.config.imageSize !== model.config.imageSize || extractor.config.inChannels !== model.config.inChannels)
  ) {
    fail(
      `--extractor reads ${extractor.config.inChannels}x${extractor.config.imageSize}x` +
        `${extractor.config.imageSize}, but the model draws ` +
        `${model.config.inChannels}x${model.config.imageSize}x${model.config.imageSize}.`,
    )
  }
  const pixels = preset && !reads ? preset.config : undefined
  const channels = args.get('grayscale') ? 1 : (drawn?.inChannels ?? pixels?.inChannels ?? data.channels)
  const size =
    args.get('image-size') ??
    drawn?.imageSize ??
    pixels?.imageSize ??
    data.size ??
    fail('the images are not all squares of one size: --image-size says what to crop them to.')
  if (drawn && (channels !== drawn.inChannels || size !== drawn.imageSize)) {
    fail(
      `--image-size and --grayscale say ${channels}x${size}x${size}, but the ` +
        `${extractor ? 'extractor reads' : 'model draws'} ` +
        `${drawn.inChannels}x${drawn.imageSize}x${drawn.imageSize}: leave them out.`,
    )
  }
  const input = extractor ? featureShape(extractor) : { channels, side: size }
  const numClasses =
    args.get('class-cond') || preset?.config.numClasses
      ? (data.classes ??
        fail(
          'a class-conditional classifier needs classes: sub-folders, names with a prefix and ' +
            '"_", or an array of labels.',
        ))
      : null
  if (numClasses !== null && model && model.config.numClasses !== numClasses) {
    fail(
      `a class-conditional classifier of ${numClasses} classes cannot guide this model, which ` +
        `${model.config.numClasses === null ? 'has no classes' : `has ${model.config.numClasses}`}: leave ` +
        '--class-cond out, or take the data and the model that belong together.',
    )
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
    fail(
      `${said} reads ${config.inChannels}x${config.imageSize}x${config.imageSize}` +
        `${onFeatures ? ' of features' : ' pixels'}, found ${input.channels}x${input.side}x${input.side}.`,
    )
  }
  if (config.numClasses !== null && config.numClasses !== numClasses)
    fail(`${said} has ${config.numClasses} classes, and the data ${numClasses}.`)
  if (config.outChannels !== outputs) tell(`note: ${said} has ${config.outChannels} outputs; this one has ${outputs}.`)
  return { ...config, outChannels: outputs, numClasses }
}

function own(
  args: Arguments<typeof classifierOptions>,
  { input, numClasses, outputs, onFeatures }: Given,
  attention: readonly number[] | null,
): Config {
  const channelMult = [...(args.get('classifier-channel-mult') ?? (onFeatures ? [1] : [1, 2, 2]))]
  return {
    kind: 'classifier',
    imageSize: input.side,
    inChannels: input.channels,
    outChannels: outputs,
    modelChannels: args.get('classifier-width'),
    channelMult,
    numResBlocks: args.get('classifier-depth'),
    attentionResolutions: attentionRates(
      'classifier-attention-resolutions',
      args.get('classifier-attention-resolutions'),
      { imageSize: input.side, channelMult },
      attention,
    ),
    pool: args.get('classifier-pool'),
    numHeadChannels: args.get('classifier-head-channels'),
    numHeads: 1,
    dropout: 0,
    numClasses,
    convResample: true,
    useScaleShiftNorm: !args.get('no-classifier-use-scale-shift-norm'),
    resblockUpdown: !args.get('no-classifier-resblock-updown'),
    useNewAttentionOrder: false,
  }
}
