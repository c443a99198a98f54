/**
 * The settings of a second stage alone, `sample --upsampler U --base-samples DATA` (guided-diffusion
 * super_res_sample.py): small pictures of a set instead of those of a model.
 */
import { resolve } from 'node:path'
import { commonSize, type ImageSet } from '../../data/index.ts'
import type { ModelDescription } from '../../nn/index.ts'
import { checkLabels, labelList, labelWord, type LabelWord } from '../../tweedie/labels.ts'
import { fail, type Arguments } from '../arguments.ts'
import type { Word } from '../option.ts'
import { deviceOptions } from './device.ts'
import { optionWords, type RunSettings, type SampleOption, type sampleOptions } from './sample.ts'
import { upsamplerOptions, upsamplerSettings, type UpsamplerSettings } from './upsampler.ts'

export interface SecondStageSettings extends RunSettings {
  readonly upsampler: UpsamplerSettings
  readonly baseSamples: string
  readonly skipBad: boolean
  /** The side of the small pictures. */
  readonly side: number
  /** Classes of the samples in order, starting over; empty where the upsampler knows none. */
  readonly labels: readonly number[]
  readonly labelWord: LabelWord | null
  /** Whether the labels are those of the data. */
  readonly labelled: boolean
  readonly clipDenoised: boolean
  readonly seed: number
  readonly noise: null
}

/** What a second stage alone takes; all else is about the model that it has not. */
const taken: readonly SampleOption[] = [
  ...(Object.keys(upsamplerOptions) as SampleOption[]),
  ...(['labels', 'skip-bad', 'no-clip-denoised', 'number', 'batch', 'seed', 'out', 'save', 'npz'] as const),
]

/** `upsampler`: what its file is; `set`: the small pictures. */
export function secondStageSettings(
  args: Arguments<typeof sampleOptions>,
  upsampler: ModelDescription,
  set: ImageSet,
): SecondStageSettings {
  const other = (Object.keys(args.options) as SampleOption[]).find(
    (name) => args.has(name) && !taken.includes(name) && !Object.hasOwn(deviceOptions, name),
  )
  if (other !== undefined)
    fail(`--${other} is about a first stage, whose pictures --base-samples has already: leave one of the two out.`)
  const side =
    commonSize(set) ?? fail(`${set.name}: --base-samples are squares of one size, as a first stage draws them.`)
  // Further samples are other large pictures of the first small ones, as in the reference.
  const number = args.has('number') ? args.get('number') : set.length
  const seed = args.get('seed')
  const { config } = upsampler
  const wish = args.get('labels')
  const known = wish === undefined && config.numClasses !== null ? labelsIn(set, config.numClasses) : null
  return {
    upsampler: upsamplerSettings(args, upsampler)!,
    baseSamples: resolve(args.required('base-samples')),
    skipBad: args.get('skip-bad') ?? false,
    side,
    labels: known
      ? Array.from({ length: Math.min(number, set.length) }, (_, k) => known[k])
      : config.numClasses === null && wish === undefined
        ? []
        : checkLabels(labelList(wish, config, { number, seed }), config, {
            called: '--labels',
            example: '--labels 3,8, or --labels random',
          }),
    labelWord: labelWord(wish),
    labelled: known !== null,
    clipDenoised: !args.get('no-clip-denoised'),
    number,
    batch: Math.min(args.get('batch'), number),
    seed,
    out: resolve(args.get('out')),
    noise: null,
    save: args.path('save'),
    npz: args.path('npz'),
  }
}

/**
 * The labels of a set, where they are numbers of an upsampler's `classes`: those of a file, whose classes go by number,
 * or of as many folders as it has classes.
 */
function labelsIn({ labels, classes = [] }: ImageSet, numClasses: number): Int32Array | null {
  const numbered = classes.length <= numClasses && classes.every((name, c) => name === String(c))
  return labels && (numbered || classes.length === numClasses) ? labels : null
}

/** In the command line's words: what run.json keeps. The data's own labels are the data's to keep. */
export const secondStageOptions = (settings: SecondStageSettings): Record<string, Word> =>
  optionWords(
    settings,
    taken.filter((name) => name !== 'labels' || !settings.labelled),
  )

/** Which published model the upsampler is. */
export const publishedUpsampler = (args: Arguments<typeof sampleOptions>, file: ModelDescription): string | null =>
  file.preset ?? args.get('upsampler-preset') ?? null
