/**
 * The options of `sample`: read and checked once, with every default filled in, into one plain object that run.json
 * keeps and `replay` reads again. What a model was trained with comes from its file, then from the preset.
 */
import { resolve } from 'node:path'
import { processOf, samplerNames } from '../../diffusion/index.ts'
import { preset as presetOf, presetNames, presetsLike, type ModelDescription, type Preset } from '../../nn/index.ts'
import { checkLabels, labelList, labelWord } from '../../tweedie/labels.ts'
import {
  boostAndSkipOf,
  checkSteps,
  methods,
  respacingOf,
  samplerOf,
  type DrawSettings,
  type Method,
  type ProcessSettings,
} from '../../tweedie/settings.ts'
import { fail, type Arguments } from '../arguments.ts'
import { classes } from './classes.ts'
import { deviceOptions } from './device.ts'
import { distanceOptions, distanceSettings, type DistanceSettings } from './distance.ts'
import { flagsOption, weightsOption } from './flags.ts'
import type { KnownFiles } from './known-files.ts'
import { choice, file, flag, integer, number, output, readsPath, text, type Option, type Word } from '../option.ts'
import { guidanceOptions, guidanceSettings, noteIdle, type GuidanceSettings } from './guidance.ts'
import { upsamplerOptions, upsamplerSettings, type UpsamplerSettings } from './upsampler.ts'
import { meanTypeIn, noiseIn, noiseOptions, parametrizationOptions } from './process.ts'
import { tell } from '../print.ts'

/** A setting as it is, for the record of a run. */
const setting =
  <K extends keyof SampleSettings>(key: K) =>
  (settings: SampleSettings): SampleSettings[K] =>
    settings[key]

/** What says which model it is and how it was trained: common to `sample`, `score` and `nll`. */
export const modelOptions = {
  model: file({
    value: 'M.safetensors',
    called: 'the model file',
    help:
      'the U-Net; .pt and .pth work too; bccd32 is the shipped one of blood cells, with its ' +
      'classifier and feature net',
    recorded: setting('model'),
  }),
  preset: text({
    value: 'NAME',
    help:
      'the published model it is, for a file that does not say so itself; tweedie info lists the names. What ' +
      'was published for it is the default',
    recorded: setting('preset'),
  }),
  flags: { ...flagsOption, record: setting('flags') },
  weights: { ...weightsOption, record: setting('weights') },
  ...noiseOptions,
  ...parametrizationOptions,
  'no-clip-denoised': flag({
    help: 'do not clip the estimates of x_0 to [-1, 1] (clip_denoised False)',
    recorded: ({ clipDenoised }: ProcessSettings) => !clipDenoised,
  }),
}

/** The same, and how far images are apart: of `sample` and `score`. */
export const processOptions = { ...modelOptions, ...distanceOptions }

export const sampleOptions = {
  ...processOptions,
  method: choice(methods, {
    help:
      'ancestral and ddim are plain; self-guided has --guide-*, boost-and-skip --boost and --skip, ' +
      'minority-guided --minority-*; sehwag and attributes are reconstructions of baselines',
    default: 'ancestral',
    recorded: setting('method'),
  }),
  sampler: choice(samplerNames, {
    help: 'what walks the steps, with any method',
    otherwise: 'ddim for --method ddim, else ancestral',
    recorded: setting('sampler'),
  }),
  respacing: text({
    value: 'N',
    help: 'steps to sample in: 50, ddim50, or counts by section as in 10,15,20',
    otherwise: "the model's published ones, else all T",
    recorded: setting('respacing'),
  }),
  eta: number({
    value: '0..1',
    min: 0,
    max: 1,
    help: 'noise of ddim: 0 none, 1 that of ancestral sampling',
    default: '0',
    recorded: ({ sampler, eta }: SampleSettings) => (sampler === 'ddim' ? eta : null),
  }),
  labels: classes({
    value: '3,8|random|all',
    help:
      'classes for a class-conditional model, in order; fewer than samples start over; random: of each sample one ' +
      'by chance, by the seed; all: its classes in turn',
    recorded: ({ labels, labelWord }: SampleSettings) => labelWord ?? (labels.length > 0 ? labels : null),
  }),
  ...guidanceOptions,
  boost: number({
    value: 'G',
    min: 0,
    help: 'multiply the initial noise by G (Boost-and-Skip: Um et al., ICML 2025)',
    otherwise: "boost-and-skip: the model's published one, else CelebA's 4; otherwise 1",
    recorded: setting('boost'),
  }),
  skip: integer({
    value: 'N',
    help: 'leave out the first N steps (Boost-and-Skip)',
    otherwise: "boost-and-skip: the model's published one, else CelebA's 3; otherwise 0",
    recorded: setting('skip'),
  }),
  marginal: file({
    value: 'FILE',
    called: 'the marginal that samples start from',
    help:
      'begin at the first step of log-SNR -3 with a noised draw of the Gaussian fitted to the training images, ' +
      'which train diffusion writes as marginal.safetensors beside the model, instead of in pure noise: ours, ' +
      'against colours that drift in the first steps',
    recorded: setting('marginal'),
  }),
  ...upsamplerOptions,
  number: integer({ value: 'N', min: 1, max: 1_000_000, help: 'samples', default: '16', recorded: setting('number') }),
  batch: integer({
    value: 'N',
    min: 1,
    max: 4096,
    help: 'samples at a time; after each batch its pictures are on disk',
    default: '8',
    recorded: ({ noise, batch }: SampleSettings) => (noise === null ? batch : null),
  }),
  seed: integer({
    value: 'N',
    help: 'sample k of a seed is the same in any batch; with --noise only the scores depend on it',
    default: '0',
    recorded: setting('seed'),
  }),
  out: output({ value: 'DIR', help: 'folder for the results', default: 'out/sample', recorded: setting('out') }),
  noise: file({
    value: 'IN.safetensors',
    called: 'the given noise',
    help:
      'x_T [N, C, H, W] and noise [draws, N, C, H, W] to use instead of the generator, in the order in which ' +
      'they are drawn: each step its own, then those of a guided step',
    recorded: setting('noise'),
  }),
  save: output({
    value: 'OUT.safetensors',
    help:
      'also the samples as numbers: sample, with --upsampler base, and with --noise first_step and middle_step ' +
      '(after N/2 + 1 of N steps)',
    recorded: setting('save'),
  }),
  npz: output({
    value: 'OUT.npz',
    help:
      "also the pictures in one file, as guided-diffusion's scripts write and evaluators read them: arr_0, bytes " +
      '[N, H, W, 3], and arr_1, the classes where there are any',
    recorded: setting('npz'),
  }),
  ...deviceOptions,
}

export type SampleOption = keyof typeof sampleOptions

/** Where the samples of a run go, and how many there are: of every run. */
export interface RunSettings {
  readonly number: number
  readonly batch: number
  readonly out: string
  readonly save: string | null
  readonly npz: string | null
}

export interface SampleSettings extends DrawSettings, DistanceSettings, GuidanceSettings, RunSettings {
  readonly model: string
  /** As given. */
  readonly preset: string | null
  readonly flags: string | null
  readonly weights: string | null
  /**
   * The published models that the files of the run are, by --*-preset, by their own word or by their
   * networks; null: none.
   */
  readonly known: {
    readonly model: string | null
    readonly classifier: string | null
    readonly minority: string | null
    readonly upsampler: string | null
  }
  readonly method: Method
  readonly respacing: string
  /** The fitted Gaussian to start from. */
  readonly marginal: string | null
  readonly upsampler: UpsamplerSettings | null
  /** Those of a second stage alone are none of these settings. */
  readonly baseSamples: null
  readonly noise: string | null
}

/** The published model it is, by --preset or by its file: its figures are defaults. */
const presetIn = (args: Arguments<typeof modelOptions>, model: ModelDescription): Preset | undefined => {
  const name = args.get('preset') ?? model.preset
  return name === undefined ? undefined : presetOf(name)
}

export function processSettings(args: Arguments<typeof modelOptions>, model: ModelDescription): ProcessSettings {
  const known = model.diffusion ?? presetIn(args, model)?.diffusion
  const noise = noiseIn(
    args,
    known,
    ': neither the model file nor a preset says how the model was trained (--preset NAME; there are ' +
      `${presetNames().length}, see tweedie info)`,
  )
  const [meanType, sigmaSmall] = [meanTypeIn(args) ?? known?.meanType, args.get('sigma-small') ?? known?.sigmaSmall]
  const diffusion = { ...noise, ...(meanType && { meanType }), ...(sigmaSmall && { sigmaSmall }) }
  return { process: processOf({ config: model.config, diffusion }), clipDenoised: !args.get('no-clip-denoised') }
}

/**
 * Reads and checks the options of `sample`. `given`: the number of samples in --noise; `files`: what
 * the other files are.
 */
export function sampleSettings(
  args: Arguments<typeof sampleOptions>,
  model: ModelDescription,
  given?: number,
  files: KnownFiles = {},
): SampleSettings {
  const { config } = model
  if (config.kind !== 'unet')
    fail(`${args.get('model')} is a classifier: --model takes a U-Net, --classifier a classifier.`)
  if ('superResolution' in config && config.superResolution)
    fail(
      `${args.get('model')} is a super-resolution U-Net, which takes a picture beside the noise: --upsampler ` +
        'takes it, beside a --model that draws by itself.',
    )
  const preset = presetIn(args, model)
  const like = preset ? [] : presetsLike(config, model.diffusion)
  if (like.length > 1)
    tell(
      `note: ${like.join(', ')} have this network: --preset says which it is, if it is one, and takes ` +
        'what was published for it.',
    )
  const method = args.get('method')
  const sampler = samplerOf(method, args.get('sampler'))
  if (method === 'ddim' && sampler !== 'ddim') fail('--method ddim is the sampler ddim: leave one of the two out.')
  const { process, clipDenoised } = processSettings(args, model)
  const respacing = respacingOf(args.get('respacing'), preset, process.diffusionSteps)
  const { boost, skip } = boostAndSkipOf(method, { boost: args.get('boost'), skip: args.get('skip') }, preset)
  noteIdle(args, '--sampler ddim', sampler === 'ddim', ['eta'])
  noteIdle(args, 'a network without variance head', process.varianceType !== 'learnedRange', ['sigma-small'])
  noteIdle(args, 'the generator: --noise says how many', given === undefined, ['batch'])

  const number = args.has('number') ? args.get('number') : (given ?? args.get('number'))
  if (given !== undefined && number !== given) fail(`--number ${number}: --noise holds ${given} samples.`)
  if (args.has('marginal')) {
    if (method === 'boost-and-skip' || args.has('boost') || args.has('skip'))
      fail('--marginal and Boost-and-Skip both say where a sample begins: leave one of them out.')
    if (given !== undefined) fail('--marginal draws where a sample begins, and --noise says it: leave one of them out.')
  }
  const [seed, wish] = [args.get('seed'), args.get('labels')]
  const labels = checkLabels(labelList(wish, config, { number, seed }), config, {
    called: '--labels',
    example: '--labels 3,8, or --labels random',
  })
  const guidance = guidanceSettings(args, { method, preset, labels, files })
  checkSteps({ process, respacing, skip, guide: guidance.guide }, (option) => `--${option}`)
  return {
    model: resolve(args.required('model')),
    preset: args.get('preset') ?? null,
    flags: args.get('flags') ?? null,
    weights: args.get('weights') ?? null,
    known: {
      model: preset?.name ?? null,
      classifier: files.classifier?.preset ?? null,
      minority: guidance.minority?.published ?? null,
      upsampler: files.upsampler?.preset ?? args.get('upsampler-preset') ?? null,
    },
    method,
    sampler,
    process,
    clipDenoised,
    respacing,
    eta: args.get('eta'),
    labels,
    labelWord: labelWord(wish),
    ...guidance,
    ...distanceSettings(args, config),
    boost,
    skip,
    marginal: args.path('marginal'),
    upsampler: upsamplerSettings(args, files.upsampler),
    baseSamples: null,
    number,
    batch: given ?? Math.min(args.get('batch'), number),
    seed,
    out: resolve(args.get('out')),
    noise: args.path('noise'),
    save: args.path('save'),
    npz: args.path('npz'),
  }
}

/** The order of run.json, which is older than that of the help; what is not named follows in that. */
const recordOrder = [
  'model',
  'preset',
  'flags',
  'weights',
  'method',
  'sampler',
  'schedule',
  'diffusion-steps',
  'respacing',
  'rescale-timesteps',
  'predict',
  'sigma-small',
  'no-clip-denoised',
  'eta',
  'labels',
  ...Object.keys(guidanceOptions),
]

/** The settings in the command line's own words, every default filled in: what run.json keeps and a report shows. */
export const toOptions = (settings: SampleSettings): Record<string, Word> =>
  optionWords(settings, Object.keys(sampleOptions) as SampleOption[])

/** The same of some of the options, of settings that have at least these. */
export function optionWords(settings: RunSettings, names: readonly SampleOption[]): Record<string, Word> {
  const table: Readonly<Record<string, Option<unknown, RunSettings>>> = sampleOptions as never
  return Object.fromEntries(
    [...new Set([...recordOrder, ...names])].flatMap((name) => {
      const word = names.includes(name as SampleOption) ? (table[name].record?.(settings) ?? null) : null
      return word === null ? [] : [[name, word]]
    }),
  )
}

/** The paths that a run with these options reads, by option. */
export const pathsIn = (options: Readonly<Record<string, Word>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(options).flatMap(([name, word]) =>
      readsPath(sampleOptions[name as SampleOption]) ? [[name, String(word)]] : [],
    ),
  )
