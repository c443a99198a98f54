/**
 * The options of guidance: each kind is added to any method by its own options, and a method of a kind's name only says
 * that it must be there. All of them add up, self-guidance among them.
 */
import { resolve } from 'node:path'
import type { Preset } from '../../nn/index.ts'
import type { MinorityFiles, MinorityTarget } from '../../tweedie/guidance-minority.ts'
import { targetWish, type LabelWish } from '../../tweedie/labels.ts'
import {
  classifierScaleOf,
  guideOf,
  minorityScaleOf,
  publishedMinority,
  type DrawSettings,
  type GuideSettings,
} from '../../tweedie/settings.ts'
import { fail, type Arguments } from '../arguments.ts'
import { classes } from './classes.ts'
import { skipBadOption } from './data.ts'
import { aboutWeightsOf } from './flags.ts'
import type { KnownFiles } from './known-files.ts'
import { choice, file, flag, images, integer, number, optionOf, text, type Kind, type OptionTable } from '../option.ts'
import { tell } from '../print.ts'

export interface ClassifierSettings {
  readonly file: string
  readonly preset: string | null
  readonly weights: string | null
  /** Null: the labels. */
  readonly target: LabelWish | null
  readonly scale: number
}

export interface MinoritySettings extends MinorityFiles<string> {
  /** Which of the weights in either file; null: the only ones, or the average. */
  readonly weights: string | null
  readonly extractorWeights: string | null
  /** The preset (mc_*) whose figures are its defaults; null: none. */
  readonly published: string | null
  readonly scale: number
  readonly target: MinorityTarget
}

export interface SehwagSettings {
  readonly file: string
  readonly data: string
  /** Files of it that are no images are left out. */
  readonly skipBad: boolean
  readonly discriminator: string
  readonly alpha: number
  readonly beta: number
}

export interface AttributeSettings {
  readonly file: string
  readonly scale: number
}

/** What leads the samples; null: not used. */
export interface GuidanceSettings {
  readonly guide: GuideSettings | null
  readonly classifier: ClassifierSettings | null
  readonly minority: MinoritySettings | null
  readonly sehwag: SehwagSettings | null
  readonly attributes: AttributeSettings | null
}

/** A setting of a kind of guidance, for the record of a run that has it. */
const setting =
  <G extends keyof GuidanceSettings, K extends keyof NonNullable<GuidanceSettings[G]>>(kind: G, key: K) =>
  (settings: GuidanceSettings): NonNullable<GuidanceSettings[G]>[K] | undefined =>
    (settings[kind] as NonNullable<GuidanceSettings[G]> | null)?.[key]

/** `99`, `90-99` or `rarest`. */
const levels: Kind<readonly [number, number] | 'rarest'> = {
  read: (word, name) => {
    if (word === 'rarest') return word
    const [, first, last = first] =
      /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(word) ??
      fail(`--${name}: expected a level (99), a range of them (90-99) or rarest, found "${word}".`)
    const range = [Number(first), Number(last)] as const
    return range[0] <= range[1]
      ? range
      : fail(`--${name}: a range goes from the smaller level to the larger, found "${word}".`)
  },
  write: (target) => (target === 'rarest' ? target : [...new Set(target)].join('-')),
}

export const guidanceOptions = {
  'self-guided': flag({ help: 'add self-guidance to the method (Um & Ye, ECCV 2024); any --guide-* does so too' }),
  'guide-weight': number({
    value: 'W',
    help: 'weight of self-guidance (mg_scale)',
    otherwise: "the model's published one, else CelebA's 0.4",
    recorded: setting('guide', 'weight'),
  }),
  'guide-every': integer({
    value: 'N',
    min: 1,
    help: 'guide at steps whose index is a multiple of N (inter_rate)',
    otherwise: "the model's published one, else CelebA's 5",
    recorded: setting('guide', 'every'),
  }),
  'guide-strength': number({
    value: 'S',
    min: 0,
    max: 1,
    help: 'noise to which an estimate is brought again, as a fraction of the steps (p_ratio)',
    otherwise: "the model's published one, else CelebA's 0.8",
    recorded: setting('guide', 'strength'),
  }),
  'guide-after': number({
    value: 'F',
    min: -1,
    max: 1,
    help: 'guide only above this fraction of the steps; -1: always (t_mid)',
    default: '-1',
    recorded: setting('guide', 'after'),
  }),
  'guide-scale': choice(['variance', 'fixed'], {
    help: "multiply by the model's variance, or not (mg_scale_type)",
    default: 'variance',
    recorded: setting('guide', 'scale'),
  }),
  'guide-draws': integer({
    value: 'N',
    min: 1,
    help: 'noise draws averaged (num_mc_samples)',
    default: '1',
    recorded: setting('guide', 'draws'),
  }),
  'guide-raw': flag({
    help: 'leave the gradient as it is, instead of dividing by its largest element (use_normed_grad false)',
    recorded: setting('guide', 'raw'),
  }),
  'guide-through': choice(['first', 'second', 'both'], {
    help:
      "the estimate through which the gradient flows: the first, where the reference's stop-gradient leaves " +
      "it; the second or both are the paper's ablation, and take the memory of further passes",
    default: 'first',
    recorded: setting('guide', 'through'),
  }),
  'guide-clip': flag({ help: 'clip the estimates to [-1, 1] (mg_clip_denoised)', recorded: setting('guide', 'clip') }),
  classifier: file({
    value: 'C.safetensors',
    called: 'the classifier',
    help: 'guide any method by the gradient of this classifier (Dhariwal & Nichol, NeurIPS 2021)',
    recorded: setting('classifier', 'file'),
  }),
  'classifier-preset': text({
    value: 'NAME',
    help: 'the published classifier it is, for a file that does not say so itself',
    recorded: setting('classifier', 'preset'),
  }),
  'classifier-weights': text({ ...aboutWeightsOf('classifier'), recorded: setting('classifier', 'weights') }),
  target: classes({
    value: '1|random|all',
    help: "class the classifier leads to; several (1,2) go to the samples in order; the words are of the classifier's",
    otherwise: '--labels',
    recorded: ({ classifier, ...labels }: GuidanceSettings & Pick<DrawSettings, 'labels' | 'labelWord'>) =>
      classifier && targetWish(classifier.target, labels),
  }),
  'classifier-scale': number({
    value: 'S',
    help: 'weight of classifier guidance',
    otherwise: "the model's published one, else 1",
    recorded: setting('classifier', 'scale'),
  }),
  'minority-classifier': file({
    value: 'C.safetensors',
    called: 'the minority classifier',
    help:
      'guide any method to minority levels by this classifier of them (Um et al., ICLR 2024, Eq. 8; Eq. 17 ' +
      'where it is class-conditional)',
    recorded: setting('minority', 'file'),
  }),
  'minority-preset': text({
    value: 'NAME',
    help: 'the published minority classifier it is (mc_*), for a file that does not say so itself',
    recorded: setting('minority', 'preset'),
  }),
  'minority-weights': text({ ...aboutWeightsOf('minority-classifier'), recorded: setting('minority', 'weights') }),
  extractor: file({
    value: 'E.safetensors',
    called: 'its extractor',
    help: 'the frozen ADM classifier whose features the minority classifier reads',
    recorded: setting('minority', 'extractor'),
  }),
  'extractor-preset': text({
    value: 'NAME',
    help: 'the published classifier it is, for a file that does not say so itself',
    otherwise: 'that of --minority-preset',
    recorded: setting('minority', 'extractorPreset'),
  }),
  'extractor-weights': text({ ...aboutWeightsOf('extractor'), recorded: setting('minority', 'extractorWeights') }),
  'minority-scale': number({
    value: 'W',
    help: 'weight of minority guidance',
    otherwise: "the minority classifier's published one, else that for the model, else 1",
    recorded: setting('minority', 'scale'),
  }),
  'minority-target': optionOf(levels, {
    value: '99|90-99|rarest',
    help: 'level to lead to; of a range, each sample its own, by the seed',
    default: 'rarest',
    recorded: ({ minority }: GuidanceSettings) => (minority && minority.target !== 'tilt' ? minority.target : null),
  }),
  'minority-tilt': flag({
    help: 'lead to all levels, each by its minority score, instead of to one (Um et al., ICLR 2024, Eq. 18)',
    recorded: ({ minority }: GuidanceSettings) => minority?.target === 'tilt' || null,
  }),
  'sehwag-classifier': file({
    value: 'C.safetensors',
    called: "Sehwag et al.'s classifier",
    help:
      'guide any method away from its class in the features of this classifier, as Sehwag et al. (2022) do: a ' +
      'reconstruction, their code is not public',
    recorded: setting('sehwag', 'file'),
  }),
  'sehwag-data': images({
    value: 'DATA',
    called: 'the images of its class means',
    help:
      'images by class, whose mean features say where a class is: a folder of folders or .npz. For a ' +
      'model without classes any images: samples leave the mean of all (ours; the paper has such a ' +
      'row and does not say how)',
    recorded: setting('sehwag', 'data'),
  }),
  'sehwag-discriminator': file({
    value: 'D.safetensors',
    called: 'its discriminator',
    help: 'classifier of two classes, 0 real and 1 synthetic, that keeps samples real',
    recorded: setting('sehwag', 'discriminator'),
  }),
  'skip-bad': {
    ...skipBadOption,
    help: 'leave out files of --sehwag-data and --base-samples that cannot be read as images; run.json names them',
    record: ({ sehwag, skipBad = sehwag?.skipBad }: GuidanceSettings & { readonly skipBad?: boolean }) =>
      skipBad || null,
  },
  'sehwag-alpha': number({
    value: 'A',
    help: 'weight of the way away from the class',
    otherwise: '1, ours',
    recorded: setting('sehwag', 'alpha'),
  }),
  'sehwag-beta': number({
    value: 'B',
    help: 'weight of the discriminator',
    otherwise: '1, ours',
    recorded: setting('sehwag', 'beta'),
  }),
  'attributes-classifier': file({
    value: 'P.safetensors',
    called: 'the classifier of attributes',
    help:
      'guide any method to random combinations of the attributes this classifier tells (ADM-ML): a ' +
      'reconstruction, its code is not public',
    recorded: setting('attributes', 'file'),
  }),
  'attributes-scale': number({
    value: 'S',
    help: 'weight of attribute guidance',
    default: '1',
    recorded: setting('attributes', 'scale'),
  }),
}

export type GuidanceOption = keyof typeof guidanceOptions

/** The options of self-guidance: any of them adds it. */
const selfOptions = (Object.keys(guidanceOptions) as GuidanceOption[]).filter((name) => name.startsWith('guide-'))

/** Says of options that are given that nothing uses them. */
export function noteIdle<T extends OptionTable>(
  args: Arguments<T>,
  use: string,
  applies: boolean,
  names: readonly (keyof T & string)[],
): void {
  const idle = names.filter((name) => args.has(name))
  if (!applies && idle.length > 0)
    tell(
      `note: ${idle.map((name) => `--${name}`).join(', ')} ${idle.length === 1 ? 'has' : 'have'} ` +
        `no effect without ${use}.`,
    )
}

type Args = Arguments<typeof guidanceOptions>

/** Reads and checks the options of guidance. `labels`: classes of the samples, empty for a model without classes. */
export function guidanceSettings(
  args: Args,
  {
    method,
    preset,
    labels,
    files,
  }: { method: string; preset: Preset | undefined; labels: readonly number[]; files: KnownFiles },
): GuidanceSettings {
  const needs = (name: string, file: GuidanceOption): void => {
    if (method === name && !args.has(file)) fail(`--method ${name} needs --${file}: ${guidanceOptions[file].help}.`)
  }
  needs('minority-guided', 'minority-classifier')
  needs('sehwag', 'sehwag-classifier')
  needs('attributes', 'attributes-classifier')
  noteIdle(args, '--classifier', args.has('classifier'), [
    'target',
    'classifier-scale',
    'classifier-preset',
    'classifier-weights',
  ])
  noteIdle(args, '--minority-classifier', args.has('minority-classifier'), [
    'minority-preset',
    'minority-weights',
    'extractor',
    'extractor-preset',
    'extractor-weights',
    'minority-scale',
    'minority-target',
    'minority-tilt',
  ])
  noteIdle(args, '--sehwag-classifier', args.has('sehwag-classifier'), [
    'sehwag-data',
    'skip-bad',
    'sehwag-discriminator',
    'sehwag-alpha',
    'sehwag-beta',
  ])
  noteIdle(args, '--attributes-classifier', args.has('attributes-classifier'), ['attributes-scale'])
  return {
    guide: selfGuided(args, method) ? guideSettings(args, preset) : null,
    classifier: classifierSettings(args, preset, labels),
    minority: minoritySettings(args, preset, files.minority?.preset),
    sehwag: sehwagSettings(args),
    attributes: args.has('attributes-classifier')
      ? { file: resolve(args.required('attributes-classifier')), scale: args.get('attributes-scale') }
      : null,
  }
}

function selfGuided(args: Args, method: string): boolean {
  const asked = method === 'self-guided' || selfOptions.some((name) => args.has(name))
  const flag = args.get('self-guided')
  if (flag === false && asked)
    fail(`--self-guided=false contradicts ${method === 'self-guided' ? '--method self-guided' : '--guide-*'}.`)
  return flag ?? asked
}

function guideSettings(args: Args, preset: Preset | undefined): GuideSettings {
  const settings = guideOf(
    {
      weight: args.get('guide-weight'),
      every: args.get('guide-every'),
      strength: args.get('guide-strength'),
      after: args.get('guide-after'),
      scale: args.get('guide-scale'),
      draws: args.get('guide-draws'),
      raw: args.get('guide-raw'),
      through: args.get('guide-through'),
      clip: args.get('guide-clip'),
    },
    preset,
  )
  return settings.strength === 1
    ? fail('--guide-strength: expected a fraction of the steps below 1, found 1.')
    : settings
}

function classifierSettings(
  args: Args,
  preset: Preset | undefined,
  labels: readonly number[],
): ClassifierSettings | null {
  if (!args.has('classifier')) return null
  const target = args.get('target') ?? null
  if (target === null && labels.length === 0)
    fail('--classifier needs --target: the class it leads to, as in --target 1.')
  const scale = classifierScaleOf(args.get('classifier-scale'), preset)
  return {
    file: resolve(args.required('classifier')),
    preset: args.get('classifier-preset') ?? null,
    weights: args.get('classifier-weights') ?? null,
    target,
    scale,
  }
}

/** `kept`: the published minority classifier that its file is. */
function minoritySettings(args: Args, model: Preset | undefined, kept: string | undefined): MinoritySettings | null {
  if (!args.has('minority-classifier')) return null
  const name = args.get('minority-preset')
  const published = publishedMinority(name ?? kept, model)
  const tilt = args.get('minority-tilt') ?? false
  if (tilt && args.has('minority-target'))
    fail('--minority-tilt leads to all levels and --minority-target to some: give one of them.')
  const idle = (['extractor-preset', 'extractor-weights'] as const).find((name) => args.has(name))
  if (idle !== undefined && !args.has('extractor')) fail(`--${idle} is about --extractor FILE, which is not given.`)
  return {
    file: resolve(args.required('minority-classifier')),
    preset: name ?? null,
    weights: args.get('minority-weights') ?? null,
    extractorWeights: args.get('extractor-weights') ?? null,
    extractor: args.path('extractor'),
    extractorPreset:
      args.get('extractor-preset') ??
      (name !== undefined && args.has('extractor') ? (published?.sampling.minority?.featureExtractor ?? null) : null),
    published: published?.name ?? null,
    scale: minorityScaleOf(args.get('minority-scale'), published),
    target: tilt ? 'tilt' : args.get('minority-target'),
  }
}

function sehwagSettings(args: Args): SehwagSettings | null {
  if (!args.has('sehwag-classifier')) return null
  return {
    file: resolve(args.required('sehwag-classifier')),
    data: resolve(args.required('sehwag-data', `: ${guidanceOptions['sehwag-data'].help}`)),
    discriminator: resolve(args.required('sehwag-discriminator', `: ${guidanceOptions['sehwag-discriminator'].help}`)),
    skipBad: args.get('skip-bad') ?? false,
    alpha: args.get('sehwag-alpha') ?? 1,
    beta: args.get('sehwag-beta') ?? 1,
  }
}
