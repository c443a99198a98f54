/**
 * The options of guidance: each kind is added to any method by its own options, and a method of a kind's name only says
 * that it must be there. All of them add up, self-guidance among them.
 */
import { resolve } from 'node:path'
import type { Preset } from '../../nn/index.ts'
import type { MinorityFiles, MinorityTarget } from '../../tweedie/guidance-minority.ts'
import { guideOf, minorityScaleOf, publishedMinority, type GuideSettings } from '../../tweedie/settings.ts'
import { fail, type Arguments } from '../arguments.ts'
import type { KnownFiles } from './known-files.ts'

export const guidanceOptions = {
  'self-guided': { help: 'add self-guidance to the method (Um & Ye, ECCV 2024); any --guide-* does so too' },
  'guide-weight': { value: 'W', help: 'weight of self-guidance (mg_scale)', default: "the model's published one, else CelebA's 0.4" },
  'guide-every': { value: 'N', help: 'guide at steps whose index is a multiple of N (inter_rate)', default: "the model's published one, else CelebA's 5" },
  'guide-strength': { value: 'S', help: 'noise to which an estimate is brought again, as a fraction of the steps (p_ratio)', default: "the model's published one, else CelebA's 0.8" },
  'guide-after': { value: 'F', help: 'guide only above this fraction of the steps; -1: always (t_mid)', default: '-1' },
  'guide-scale': { value: 'variance|fixed', help: "multiply by the model's variance, or not (mg_scale_type)", default: 'variance' },
  'guide-draws': { value: 'N', help: 'noise draws averaged (num_mc_samples)', default: '1' },
  'guide-raw': { help: 'leave the gradient as it is, instead of dividing by its largest element (use_normed_grad false)' },
  'guide-through': { value: 'first|second|both', help: "the estimate through which the gradient flows: the first, where the reference's stop-gradient leaves it; the second or both are the paper's ablation, and take the memory of further passes", default: 'first' },
  'guide-clip': { help: 'clip the estimates to [-1, 1] (mg_clip_denoised)' },
  classifier: { value: 'C.safetensors', help: 'guide any method by the gradient of this classifier (Dhariwal & Nichol, NeurIPS 2021)' },
  'classifier-preset': { value: 'NAME', help: 'the published classifier it is, for a file that does not say so itself' },
  target: { value: '1', help: 'class the classifier leads to; several (1,2) go to the samples in order', default: '--labels' },
  'classifier-scale': { value: 'S', help: 'weight of classifier guidance', default: "the model's published one, else 1" },
  'minority-classifier': { value: 'C.safetensors', help: 'guide any method to minority levels by this classifier of them (Um et al., ICLR 2024, Eq. 8; Eq. 17 where it is class-conditional)' },
  'minority-preset': { value: 'NAME', help: 'the published minority classifier it is (mc_*), for a file that does not say so itself' },
  extractor: { value: 'E.safetensors', help: 'the frozen ADM classifier whose features the minority classifier reads' },
  'extractor-preset': { value: 'NAME', help: 'the published classifier it is, for a file that does not say so itself', default: 'that of --minority-preset' },
  'minority-scale': { value: 'W', help: 'weight of minority guidance', default: "the minority classifier's published one, else that for the model, else 1" },
  'minority-target': { value: '99|90-99|rarest', help: 'level to lead to; of a range, each sample its own, by the seed', default: 'rarest' },
  'minority-tilt': { help: 'lead to all levels, each by its minority score, instead of to one (Um et al., ICLR 2024, Eq. 18)' },
  'sehwag-classifier': { value: 'C.safetensors', help: 'guide any method away from its class in the features of this classifier, as Sehwag et al. (2022) do: a reconstruction, their code is not public' },
  'sehwag-data': { value: 'DATA', help: 'images by class, whose mean features say where a class is: a folder of folders or .npz. For a model without classes any images: samples leave the mean of all (ours; the paper has such a row and does not say how)' },
  'sehwag-discriminator': { value: 'D.safetensors', help: 'classifier of two classes, 0 real and 1 synthetic, that keeps samples real' },
  'sehwag-alpha': { value: 'A', help: 'weight of the way away from the class', default: '1, ours' },
  'sehwag-beta': { value: 'B', help: 'weight of the discriminator', default: '1, ours' },
  'attributes-classifier': { value: 'P.safetensors', help: 'guide any method to random combinations of the attributes this classifier tells (ADM-ML): a reconstruction, its code is not public' },
  'attributes-scale': { value: 'S', help: 'weight of attribute guidance', default: '1' },
} as const

export type GuidanceOption = keyof typeof guidanceOptions

/** The options of self-guidance: any of them adds it. */
const selfOptions = ['guide-weight', 'guide-every', 'guide-strength', 'guide-after', 'guide-scale', 'guide-draws', 'guide-raw', 'guide-through', 'guide-clip'] as const

export interface ClassifierSettings {
  readonly file: string
  readonly preset: string | null
  readonly target: readonly number[]
  readonly scale: number
}

export interface MinoritySettings extends MinorityFiles<string> {
  /** The preset (mc_*) whose figures are its defaults; null: none. */
  readonly published: string | null
  readonly scale: number
  readonly target: MinorityTarget
}

export interface SehwagSettings {
  readonly file: string
  readonly data: string
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

/** Says of options that are given that nothing uses them. */
export function noteIdle<K extends string>(args: Arguments<K>, use: string, applies: boolean, names: readonly K[]): void {
  const idle = names.filter((name) => args.has(name))
  if (!applies && idle.length > 0) console.error(`note: ${idle.map((name) => `--${name}`).join(', ')} ${idle.length === 1 ? 'has' : 'have'} no effect without ${use}.`)
}

type Args = Arguments<GuidanceOption>

/** Reads and checks the options of guidance. `labels`: classes of the samples, empty for a model without classes. */
export function guidanceSettings(args: Args, { method, preset, labels, files }: { method: string; preset: Preset | undefined; labels: readonly number[]; files: KnownFiles }): GuidanceSettings {
  const needs = (name: string, file: GuidanceOption): void => {
    if (method === name && !args.has(file)) fail(`--method ${name} needs --${file}: ${guidanceOptions[file].help}.`)
  }
  needs('minority-guided', 'minority-classifier')
  needs('sehwag', 'sehwag-classifier')
  needs('attributes', 'attributes-classifier')
  noteIdle(args, '--classifier', args.has('classifier'), ['target', 'classifier-scale', 'classifier-preset'])
  noteIdle(args, '--minority-classifier', args.has('minority-classifier'), ['minority-preset', 'extractor', 'extractor-preset', 'minority-scale', 'minority-target', 'minority-tilt'])
  noteIdle(args, '--sehwag-classifier', args.has('sehwag-classifier'), ['sehwag-data', 'sehwag-discriminator', 'sehwag-alpha', 'sehwag-beta'])
  noteIdle(args, '--attributes-classifier', args.has('attributes-classifier'), ['attributes-scale'])
  return {
    guide: selfGuided(args, method) ? guideSettings(args, preset) : null,
    classifier: classifierSettings(args, preset, labels),
    minority: minoritySettings(args, preset, files.minority?.preset),
    sehwag: sehwagSettings(args),
    attributes: args.has('attributes-classifier') ? { file: resolve(args.required('attributes-classifier')), scale: args.number('attributes-scale') ?? 1 } : null,
  }
}

function selfGuided(args: Args, method: string): boolean {
  const asked = method === 'self-guided' || selfOptions.some((name) => args.has(name))
  const flag = args.flag('self-guided')
  if (flag === false && asked) fail(`--self-guided=false contradicts ${method === 'self-guided' ? '--method self-guided' : '--guide-*'}.`)
  return flag ?? asked
}

function guideSettings(args: Args, preset: Preset | undefined): GuideSettings {
  const settings = guideOf({
    weight: args.number('guide-weight'),
    every: args.integer('guide-every', { min: 1 }),
    strength: args.number('guide-strength', { min: 0, max: 1 }),
    after: args.number('guide-after', { min: -1, max: 1 }),
    scale: args.choice('guide-scale', ['variance', 'fixed']),
    draws: args.integer('guide-draws', { min: 1 }),
    raw: args.flag('guide-raw'),
    through: args.choice('guide-through', ['first', 'second', 'both']),
    clip: args.flag('guide-clip'),
  }, preset)
  return settings.strength === 1 ? fail('--guide-strength: expected a fraction of the steps below 1, found 1.') : settings
}

function classifierSettings(args: Args, preset: Preset | undefined, labels: readonly number[]): ClassifierSettings | null {
  if (!args.has('classifier')) return null
  const target = args.integers('target') ?? (labels.length > 0 ? labels : fail('--classifier needs --target: the class it leads to, as in --target 1.'))
  const scale = args.number('classifier-scale') ?? preset?.sampling.classifier?.scale ?? 1
  return { file: resolve(args.required('classifier')), preset: args.text('classifier-preset') ?? null, target, scale }
}

/** `kept`: the published minority classifier that its file is. */
function minoritySettings(args: Args, model: Preset | undefined, kept: string | undefined): MinoritySettings | null {
  if (!args.has('minority-classifier')) return null
  const name = args.text('minority-preset')
  const published = publishedMinority(name ?? kept, model)
  const tilt = args.flag('minority-tilt') ?? false
  if (tilt && args.has('minority-target')) fail('--minority-tilt leads to all levels and --minority-target to some: give one of them.')
  if (args.has('extractor-preset') && !args.has('extractor')) fail('--extractor-preset says what --extractor FILE is, which is not given.')
  return {
    file: resolve(args.required('minority-classifier')),
    preset: name ?? null,
    extractor: args.has('extractor') ? resolve(args.required('extractor')) : null,
    extractorPreset: args.text('extractor-preset') ?? (name !== undefined && args.has('extractor') ? published?.sampling.minority?.featureExtractor ?? null : null),
    published: published?.name ?? null,
    scale: minorityScaleOf(args.number('minority-scale'), published),
    target: tilt ? 'tilt' : levels(args.text('minority-target') ?? 'rarest'),
  }
}

/** `99`, `90-99` or `rarest`. */
function levels(text: string): readonly [number, number] | 'rarest' {
  if (text === 'rarest') return text
  const [, first, last = first] = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(text) ?? fail(`--minority-target: expected a level (99), a range of them (90-99) or rarest, found "${text}".`)
  const range = [Number(first), Number(last)] as const
  return range[0] <= range[1] ? range : fail(`--minority-target: a range goes from the smaller level to the larger, found "${text}".`)
}

function sehwagSettings(args: Args): SehwagSettings | null {
  if (!args.has('sehwag-classifier')) return null
  return {
    file: resolve(args.required('sehwag-classifier')),
    data: resolve(args.required('sehwag-data', `: ${guidanceOptions['sehwag-data'].help}`)),
    discriminator: resolve(args.required('sehwag-discriminator', `: ${guidanceOptions['sehwag-discriminator'].help}`)),
    alpha: args.number('sehwag-alpha') ?? 1,
    beta: args.number('sehwag-beta') ?? 1,
  }
}

/** The settings in the command line's own words; null: as without the option. */
export function guidanceToOptions({ guide, classifier, minority, sehwag, attributes }: GuidanceSettings): Partial<Record<GuidanceOption, string | number | boolean | null>> {
  return {
    ...(guide && {
      'guide-weight': guide.weight, 'guide-every': guide.every, 'guide-strength': guide.strength, 'guide-after': guide.after,
      'guide-scale': guide.scale, 'guide-draws': guide.draws, 'guide-raw': guide.raw, 'guide-through': guide.through, 'guide-clip': guide.clip,
    }),
    ...(classifier && { classifier: classifier.file, 'classifier-preset': classifier.preset, target: classifier.target.join(','), 'classifier-scale': classifier.scale }),
    ...(minority && {
      'minority-classifier': minority.file, 'minority-preset': minority.preset, extractor: minority.extractor, 'extractor-preset': minority.extractorPreset,
      'minority-scale': minority.scale,
      ...(minority.target === 'tilt' ? { 'minority-tilt': true } : { 'minority-target': typeof minority.target === 'string' ? minority.target : [...new Set(minority.target)].join('-') }),
    }),
    ...(sehwag && {
      'sehwag-classifier': sehwag.file, 'sehwag-data': sehwag.data, 'sehwag-discriminator': sehwag.discriminator, 'sehwag-alpha': sehwag.alpha, 'sehwag-beta': sehwag.beta,
    }),
    ...(attributes && { 'attributes-classifier': attributes.file, 'attributes-scale': attributes.scale }),
  }
}
