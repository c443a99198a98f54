/**
 * The options of `sample`: read and checked once, with every default filled in, into one plain object that run.json
 * keeps and `replay` reads again. What a model was trained with comes from its file, then from the preset.
 */
import { resolve } from 'node:path'
import { processOf } from '../../diffusion/index.ts'
import { preset as presetOf, presetNames, presetsLike, type ModelConfig, type ModelDescription, type Preset } from '../../nn/index.ts'
import { checkLabels } from '../../tweedie/labels.ts'
import { boostAndSkipOf, checkSteps, methods, respacingOf, samplerOf, samplers, type DrawSettings, type Method, type ProcessSettings } from '../../tweedie/settings.ts'
import { fail, type Arguments } from '../arguments.ts'
import { deviceOptions } from './device.ts'
import { distanceOptions, distanceSettings, type DistanceSettings } from './distance.ts'
import { flagsOption } from './flags.ts'
import type { KnownFiles } from './known-files.ts'
import { guidanceOptions, guidanceSettings, guidanceToOptions, noteIdle, type GuidanceSettings } from './guidance.ts'
import { upsamplerOptions, upsamplerSettings, upsamplerToOptions, type UpsamplerSettings } from './upsampler.ts'
import { meanTypeIn, meanTypeName, noiseIn, noiseOptions, parametrizationOptions } from './process.ts'

/** What says how the model was trained and how far images are apart: common to `sample` and `score`. */
export const processOptions = {
  model: { value: 'M.safetensors', help: 'the U-Net; .pt and .pth work too; bccd32 is the shipped one of blood cells, with its classifier and feature net' },
  preset: { value: 'NAME', help: 'the published model it is, for a file that does not say so itself; tweedie info lists the names. What was published for it is the default' },
  flags: flagsOption,
  ...noiseOptions,
  ...parametrizationOptions,
  'no-clip-denoised': { help: 'do not clip the estimates of x_0 to [-1, 1] (clip_denoised False)' },
  ...distanceOptions,
} as const

export const sampleOptions = {
  ...processOptions,
  method: { value: methods.join('|'), help: 'ancestral and ddim are plain; self-guided has --guide-*, boost-and-skip --boost and --skip, minority-guided --minority-*; sehwag and attributes are reconstructions of baselines', default: 'ancestral' },
  sampler: { value: samplers.join('|'), help: 'what walks the steps, with any method', default: 'ddim for --method ddim, else ancestral' },
  respacing: { value: 'N', help: 'steps to sample in: 50, ddim50, or counts by section as in 10,15,20', default: "the model's published ones, else all T" },
  eta: { value: '0..1', help: 'noise of ddim: 0 none, 1 that of ancestral sampling', default: '0' },
  labels: { value: '3,8', help: 'classes for a class-conditional model, in order; fewer than samples start over' },
  ...guidanceOptions,
  boost: { value: 'G', help: 'multiply the initial noise by G (Boost-and-Skip: Um et al., ICML 2025)', default: "boost-and-skip: the model's published one, else CelebA's 4; otherwise 1" },
  skip: { value: 'N', help: 'leave out the first N steps (Boost-and-Skip)', default: "boost-and-skip: the model's published one, else CelebA's 3; otherwise 0" },
  marginal: { value: 'FILE', help: "begin at the first step of log-SNR -3 with a noised draw of the Gaussian fitted to the training images, which train diffusion writes as marginal.safetensors beside the model, instead of in pure noise: ours, against colours that drift in the first steps" },
  ...upsamplerOptions,
  number: { value: 'N', help: 'samples', default: '16' },
  batch: { value: 'N', help: 'samples at a time; after each batch its pictures are on disk', default: '8' },
  seed: { value: 'N', help: 'sample k of a seed is the same in any batch; with --noise only the scores depend on it', default: '0' },
  out: { value: 'DIR', help: 'folder for the results', default: 'out/sample' },
  noise: { value: 'IN.safetensors', help: 'x_T [N, C, H, W] and noise [draws, N, C, H, W] to use instead of the generator, in the order in which they are drawn: each step its own, then those of a guided step' },
  save: { value: 'OUT.safetensors', help: 'also the samples as numbers: sample, with --upsampler base, and with --noise first_step and middle_step (after N/2 + 1 of N steps)' },
  ...deviceOptions,
} as const

export type ProcessOption = keyof typeof processOptions
export type SampleOption = keyof typeof sampleOptions

export interface SampleSettings extends DrawSettings, DistanceSettings, GuidanceSettings {
  readonly model: string
  /** As given. */
  readonly preset: string | null
  readonly flags: string | null
  /** The published models that the files of the run are, by --*-preset, by their own word or by their networks; null: none. */
  readonly known: { readonly model: string | null; readonly classifier: string | null; readonly minority: string | null; readonly upsampler: string | null }
  readonly method: Method
  readonly respacing: string
  /** The fitted Gaussian to start from. */
  readonly marginal: string | null
  readonly upsampler: UpsamplerSettings | null
  readonly number: number
  readonly batch: number
  readonly out: string
  readonly noise: string | null
  readonly save: string | null
}

/** The published model it is, by --preset or by its file: its figures are defaults. */
const presetIn = (args: Arguments<ProcessOption>, model: ModelDescription): Preset | undefined => {
  const name = args.text('preset') ?? model.preset
  return name === undefined ? undefined : presetOf(name)
}

export function processSettings(args: Arguments<ProcessOption>, model: ModelDescription): ProcessSettings {
  const known = model.diffusion ?? presetIn(args, model)?.diffusion
  const noise = noiseIn(args, known, {
    least: 1, rescaled: args.flag('rescale-timesteps'),
    missing: `: neither the model file nor a preset says how the model was trained (--preset NAME; there are ${presetNames().length}, see tweedie info)`,
  })
  const [meanType, sigmaSmall] = [meanTypeIn(args) ?? known?.meanType, args.flag('sigma-small') ?? known?.sigmaSmall]
  const diffusion = { ...noise, ...(meanType && { meanType }), ...(sigmaSmall && { sigmaSmall }) }
  return { process: processOf({ config: model.config, diffusion }), clipDenoised: !args.flag('no-clip-denoised') }
}

/** Labels for a model: one to number of classes, or none for a model without classes. */
export const labelsFor = (args: Arguments<'labels'>, config: ModelConfig): number[] => checkLabels(args.integers('labels'), config, { called: '--labels', example: '--labels 3,8' })

/** Reads and checks the options of `sample`. `given`: the number of samples in --noise; `files`: what the other files are. */
export function sampleSettings(args: Arguments<SampleOption>, model: ModelDescription, given?: number, files: KnownFiles = {}): SampleSettings {
  const { config } = model
  if (config.kind !== 'unet') fail(`${args.text('model')} is a classifier: --model takes a U-Net, --classifier a classifier.`)
  if ('superResolution' in config && config.superResolution) fail(`${args.text('model')} is a super-resolution U-Net, which takes a picture beside the noise: --upsampler takes it, beside a --model that draws by itself.`)
  const preset = presetIn(args, model)
  const like = preset ? [] : presetsLike(config, model.diffusion)
  if (like.length > 1) console.error(`note: ${like.join(', ')} have this network: --preset says which it is, if it is one, and takes what was published for it.`)
  const method = args.choice('method', methods) ?? 'ancestral'
  const sampler = samplerOf(method, args.choice('sampler', samplers))
  if (method === 'ddim' && sampler !== 'ddim') fail('--method ddim is the sampler ddim: leave one of the two out.')
  const { process, clipDenoised } = processSettings(args, model)
  const respacing = respacingOf(args.text('respacing'), preset, process.diffusionSteps)
  const { boost, skip } = boostAndSkipOf(method, { boost: args.number('boost', { min: 0 }), skip: args.integer('skip') }, preset)
  noteIdle(args, '--sampler ddim', sampler === 'ddim', ['eta'])
  noteIdle(args, 'a network without variance head', process.varianceType !== 'learnedRange', ['sigma-small'])
  noteIdle(args, 'the generator: --noise says how many', given === undefined, ['batch'])

  const number = args.integer('number', { min: 1, max: 1_000_000 }) ?? given ?? 16
  if (given !== undefined && number !== given) fail(`--number ${number}: --noise holds ${given} samples.`)
  const path = (name: SampleOption): string | null => args.has(name) ? resolve(args.required(name)) : null
  if (args.has('marginal')) {
    if (method === 'boost-and-skip' || args.has('boost') || args.has('skip')) fail('--marginal and Boost-and-Skip both say where a sample begins: leave one of them out.')
    if (given !== undefined) fail('--marginal draws where a sample begins, and --noise says it: leave one of them out.')
  }
  const labels = labelsFor(args, config)
  const guidance = guidanceSettings(args, { method, preset, labels, files })
  checkSteps({ process, respacing, skip, guide: guidance.guide }, (option) => `--${option}`)
  return {
    model: resolve(args.required('model')),
    preset: args.text('preset') ?? null,
    flags: args.text('flags') ?? null,
    known: {
      model: preset?.name ?? null, classifier: files.classifier?.preset ?? null, minority: guidance.minority?.published ?? null, upsampler: files.upsampler?.preset ?? args.text('upsampler-preset') ?? null,
    },
    method,
    sampler,
    process,
    clipDenoised,
    respacing,
    eta: args.number('eta', { min: 0, max: 1 }) ?? 0,
    labels,
    ...guidance,
    ...distanceSettings(args, config),
    boost,
    skip,
    marginal: path('marginal'),
    upsampler: upsamplerSettings(args, files.upsampler),
    number,
    batch: given ?? Math.min(args.integer('batch', { min: 1, max: 4096 }) ?? 8, number),
    seed: args.integer('seed') ?? 0,
    out: resolve(args.text('out') ?? 'out/sample'),
    noise: path('noise'),
    save: path('save'),
  }
}

/** The settings in the command line's own words, every default filled in: what run.json keeps and a report shows. */
export function toOptions(settings: SampleSettings): Record<string, string | number | boolean> {
  const { process } = settings
  const named: Partial<Record<SampleOption, string | number | boolean | null>> = {
    model: settings.model,
    preset: settings.preset,
    flags: settings.flags,
    method: settings.method,
    sampler: settings.sampler,
    schedule: process.schedule,
    'diffusion-steps': process.diffusionSteps,
    respacing: settings.respacing,
    'rescale-timesteps': process.rescaleTimesteps,
    predict: meanTypeName(process.meanType),
    'sigma-small': process.varianceType === 'learnedRange' ? null : process.varianceType === 'fixedSmall',
    'no-clip-denoised': !settings.clipDenoised,
    eta: settings.sampler === 'ddim' ? settings.eta : null,
    labels: settings.labels.join(',') || null,
    ...guidanceToOptions(settings),
    distance: settings.distance,
    lpips: settings.lpips,
    features: settings.features,
    'grey-range': settings.greyRange,
    boost: settings.boost,
    skip: settings.skip,
    marginal: settings.marginal,
    ...upsamplerToOptions(settings.upsampler),
    number: settings.number,
    ...(settings.noise === null && { batch: settings.batch }),
    seed: settings.seed,
    out: settings.out,
    noise: settings.noise,
    save: settings.save,
  }
  return Object.fromEntries(Object.entries(named).filter((entry): entry is [string, string | number | boolean] => entry[1] !== null))
}
