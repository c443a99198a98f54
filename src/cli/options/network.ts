/** The network of `train diffusion` on the command line, in guided-diffusion's words (script_util.py). */
import { readFile } from 'node:fs/promises'
import {
  checkConfig,
  checkLearnSigma,
  configOfFlags,
  parseConfig,
  preset as presetOf,
  type DiffusionSettings,
  type ModelConfig,
  type ModelDescription,
  type UNetConfig,
} from '../../nn/index.ts'
import { flagsInFile } from '../../nn/flags-file.ts'
import { fail, type Arguments } from '../arguments.ts'
import { attentionOption, attentionRates } from './attention.ts'
import { flagsOption } from './flags.ts'
import { choice, factors, file, flag, integer, number, text } from '../option.ts'
import { noteIdle } from './guidance.ts'
import { meanTypeIn, parametrizationOptions } from './process.ts'

export const networkOptions = {
  preset: text({ value: 'NAME', help: 'network and process of a published model; tweedie info lists them' }),
  config: file({
    value: 'FILE.json',
    help: "network and process in guided-diffusion's names (docs/configuration.md), instead of the options that follow",
  }),
  flags: { ...flagsOption, help: "the same as flags of its scripts, such as a README's MODEL_FLAGS" },
  'image-size': integer({
    value: 'N',
    min: 8,
    help: 'side of the images',
    otherwise: "the data's, where all have one",
  }),
  'small-size': integer({
    value: 'N',
    min: 1,
    help: 'train a second stage, beside pictures of this side: the images made small by areas (super_res_train.py)',
  }),
  grayscale: flag({ help: 'one channel; colour images become luma', otherwise: 'as the data is' }),
  'class-cond': flag({ help: "class-conditional, with the data's classes" }),
  'num-channels': integer({ value: 'N', min: 1, help: 'model channels', default: '64' }),
  'channel-mult': factors({ value: '1,2,2', help: 'width of each level, in model channels', default: '1,2,2' }),
  'num-res-blocks': integer({ value: 'N', min: 1, help: 'residual blocks a level', default: '1' }),
  'attention-resolutions': attentionOption,
  'num-head-channels': integer({ value: 'N', min: 1, help: 'channels of an attention head', default: '32' }),
  'num-heads': integer({ value: 'N', min: 1, help: 'attention heads, instead of their channels' }),
  'num-heads-upsample': integer({ value: 'N', min: 1, help: 'the same on the way up', otherwise: '--num-heads' }),
  dropout: number({ value: 'P', min: 0, max: 0.99, help: 'dropout in residual blocks', default: '0' }),
  schedule: choice(['cosine', 'linear'], { help: 'noise schedule', default: 'cosine' }),
  'diffusion-steps': integer({ value: 'T', min: 2, help: 'steps of the process', default: '1000' }),
  'no-learn-sigma': flag({ help: "no variance head: the variance is the schedule's" }),
  ...parametrizationOptions,
  predict: { ...parametrizationOptions.predict, otherwise: 'epsilon' },
  'sigma-small': { ...parametrizationOptions['sigma-small'], otherwise: 'its forward variance' },
  loss: choice(['mse', 'rescaled-mse', 'rescaled-kl'], {
    help: 'rescaled-mse weighs the variance term by T / 1000',
    default: 'mse',
  }),
}

type Args = Arguments<typeof networkOptions>
type NetworkOption = keyof typeof networkOptions

/** What a preset or a configuration says instead. */
const own = (Object.keys(networkOptions) as NetworkOption[]).filter(
  (name) => !['preset', 'config', 'flags', 'small-size'].includes(name),
)

export interface Network {
  readonly config: UNetConfig & { readonly kind: 'unet' }
  readonly diffusion: DiffusionSettings
}

/** What the data say: the side, if all images have one, the channels and the number of classes. */
export interface DataShape {
  readonly size: number | null
  readonly channels: 1 | 3
  readonly classes: number | null
}

/** `attention`: that of the run that goes on, if one does. */
export async function networkOf(
  args: Args,
  data: DataShape,
  attention: readonly number[] | null = null,
): Promise<Network> {
  const said = (['preset', 'config', 'flags'] as const).filter((name) => args.has(name))
  if (said.length > 1) fail(`--${said.join(' and --')} say the same thing: give one of them.`)
  if (said[0] !== undefined) {
    const idle = own.filter((name) => args.has(name))
    if (idle.length > 0)
      fail(
        `--${said[0]} says all of the network and the process: leave ` +
          `${idle.map((name) => `--${name}`).join(', ')} out.`,
      )
    return given(said[0], args.required(said[0]), data, args.get('small-size'))
  }
  const inChannels = args.get('grayscale') ? 1 : data.channels
  const imageSize =
    args.get('image-size') ??
    data.size ??
    fail('the images are not all squares of one size: --image-size says what to crop them to.')
  const numClasses = args.get('class-cond')
    ? (data.classes ??
      fail('--class-cond needs classes: sub-folders, names with a prefix and "_", or an array of labels.'))
    : null
  const learnSigma = !args.get('no-learn-sigma')
  const channelMult = [...args.get('channel-mult')]
  const config: Network['config'] = {
    kind: 'unet',
    superResolution: args.has('small-size'),
    imageSize,
    inChannels,
    outChannels: learnSigma ? 2 * inChannels : inChannels,
    modelChannels: args.get('num-channels'),
    channelMult,
    numResBlocks: args.get('num-res-blocks'),
    attentionResolutions: attentionRates(
      'attention-resolutions',
      args.get('attention-resolutions'),
      { imageSize, channelMult },
      attention,
    ),
    ...headsIn(args),
    dropout: args.get('dropout'),
    convResample: true,
    numClasses,
    useScaleShiftNorm: true,
    resblockUpdown: true,
    useNewAttentionOrder: true,
  }
  checkConfig(config)
  checkSmallSize('the network', config, args.get('small-size'))
  noteIdle(args, '--no-learn-sigma', !learnSigma, ['sigma-small'])
  const meanType = meanTypeIn(args)
  const loss = args.get('loss')
  return {
    config,
    diffusion: {
      schedule: args.get('schedule'),
      diffusionSteps: args.get('diffusion-steps'),
      rescaleTimesteps: false,
      learnSigma,
      rescaleLearnedSigmas: loss === 'rescaled-mse',
      useKl: loss === 'rescaled-kl',
      ...(meanType && { meanType }),
      ...(args.get('sigma-small') && { sigmaSmall: true }),
    },
  }
}

/** Heads of a width that is given, or as many as are. */
function headsIn(args: Args): Pick<UNetConfig, 'numHeadChannels' | 'numHeads' | 'numHeadsUpsample'> {
  const [numHeads, numHeadsUpsample] = [args.get('num-heads'), args.get('num-heads-upsample')]
  if (numHeads === undefined) {
    noteIdle(args, '--num-heads', false, ['num-heads-upsample'])
    return { numHeadChannels: args.get('num-head-channels'), numHeads: 1 }
  }
  if (args.has('num-head-channels'))
    fail(
      '--num-heads says how many attention heads there are and --num-head-channels how wide ' +
        'they are: give one of them.',
    )
  return {
    numHeadChannels: -1,
    numHeads,
    ...(numHeadsUpsample !== undefined && numHeadsUpsample !== numHeads && { numHeadsUpsample }),
  }
}

/** The network of --from, where no option says what it is to be; null where the file does not say either. */
export function networkFrom(
  args: Args,
  { path, description }: { readonly path: string; readonly description: ModelDescription | null },
  data: DataShape,
): Network | null {
  const asked = (Object.keys(networkOptions) as NetworkOption[]).some((name) => name !== 'small-size' && args.has(name))
  if (!description?.diffusion || asked) return null
  return fitting(path, description.config, description.diffusion, data, args.get('small-size'))
}

async function given(
  option: 'preset' | 'config' | 'flags',
  value: string,
  data: DataShape,
  smallSize: number | undefined,
): Promise<Network> {
  const { config, diffusion } =
    option === 'preset'
      ? presetOf(value)
      : option === 'flags'
        ? configOfFlags(value)
        : configIn(await readFile(value, 'utf8'))
  return fitting(
    option === 'flags' ? 'the network of --flags' : value,
    config,
    diffusion ?? fail(`${value}: "diffusion" is missing: { "noise_schedule": "cosine", "diffusion_steps": 1000 }.`),
    data,
    smallSize,
  )
}

/** In the constructors' words or in those of the scripts' flags. */
function configIn(text: string): { config: ModelConfig; diffusion?: DiffusionSettings } {
  const flags = flagsInFile(text)
  return flags ? configOfFlags(flags) : parseConfig(text, new Map())
}

/** Says of a second stage without small pictures, and of small pictures without a second stage, what is missing. */
function checkSmallSize(name: string, { superResolution, imageSize }: UNetConfig, smallSize: number | undefined): void {
  if (superResolution && smallSize === undefined)
    fail(
      `${name} is a super-resolution U-Net, which takes a small picture beside the noise: --small-size says of which ` +
        'side, as in --small-size 64.',
    )
  if (!superResolution && smallSize !== undefined)
    fail(`${name} is a U-Net that draws images by itself: leave --small-size out, or take a super-resolution one.`)
  if (smallSize !== undefined && (smallSize >= imageSize || imageSize % smallSize !== 0))
    fail(`--small-size: expected a side of which the images' ${imageSize} is a multiple, found ${smallSize}.`)
}

function fitting(
  name: string,
  config: ModelConfig,
  diffusion: DiffusionSettings,
  { classes }: DataShape,
  smallSize: number | undefined,
): Network {
  if (config.kind !== 'unet') return fail(`${name} is no U-Net, which draws images, but a ${config.kind}.`)
  checkSmallSize(name, config, smallSize)
  checkLearnSigma(config, diffusion, name)
  if (config.numClasses !== null && !(classes !== null && classes <= config.numClasses)) {
    fail(
      `${name} is class-conditional, with ${config.numClasses} classes, and the data have ` +
        `${classes ?? 'none'}: take the data it is for (classes are sub-folders, prefixes of names or an array ` +
        'of labels), or another network.',
    )
  }
  return { config, diffusion }
}
