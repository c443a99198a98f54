import {
  samplerNames,
  selfGuidance as checkGuidance,
  type Guidance,
  type Respacing,
  type Sampler,
  type SelfGuidanceOptions,
} from '../diffusion/index.ts'
import { TweedieError, unexpected } from '../errors.ts'
import { refuseOther, refuseUnknown } from '../refuse.ts'
import { fail, wholeOf } from './fail.ts'
import type { ClassWish } from './guidance-classes.ts'
import type { MinorityWish } from './guidance-minority.ts'
import { checkLabels, labelList, labelWord, labelWords } from './labels.ts'
import type { Loaded } from './load.ts'
import { sampleOptions } from './option-names.ts'
import {
  boostAndSkipOf,
  checkSteps,
  classifierScaleOf,
  guideOf,
  respacingOf,
  samplerOf,
  type DrawSettings,
} from './settings.ts'

const methods = ['ancestral', 'ddim', 'self-guided', 'boost-and-skip', 'minority-guided'] as const

/** What `Tweedie.sample` takes: names and defaults of `tweedie sample`. */
export interface TweedieSampleOptions {
  /** How many. Default 16. */
  readonly number?: number
  /**
   * Steps to sample in, as `timestep_respacing`: `50`, `'ddim50'`, `'10,15,20'`. Default: the model's published ones,
   * else all T of its training.
   */
  readonly steps?: Respacing
  /** Sample k of a seed is the same in any batch. Default 0. */
  readonly seed?: number
  /**
   * `'ancestral'` and `'ddim'` are plain; `'self-guided'` has `selfGuidance`, `'boost-and-skip'` `boost` and `skip`,
   * `'minority-guided'` `target` and `scale`. Default `'ancestral'`.
   */
  readonly method?: (typeof methods)[number]
  /** What walks the steps, with any method. Default `'ddim'` for the method of that name, else `'ancestral'`. */
  readonly sampler?: Sampler
  /** Noise of DDIM, from 0 to 1. Default 0. */
  readonly eta?: number
  /**
   * Classes for a class-conditional model, in order; fewer than samples start over. `'all'`: its classes in turn;
   * `'random'`: one for each sample by chance, which depends on the seed and the sample's number alone.
   */
  readonly labels?: readonly number[] | 'random' | 'all'
  /**
   * The minority level to lead to, 0 to `minorityLevels - 1`; a range of which each sample has its own; the last; or
   * all by their scores (Eq. 18). Default `'rarest'`.
   */
  readonly target?: number | readonly [first: number, last: number] | 'rarest' | 'tilt'
  /** Weight of minority guidance. Default: the published one, else 1. */
  readonly scale?: number
  /**
   * With a `classifier`, which leads every sample: the classes it leads to, in order; fewer than samples start over.
   * `'all'` and `'random'` are of the classifier's classes. Default: `labels`.
   */
  readonly classifierTarget?: readonly number[] | 'random' | 'all'
  /** Weight of class guidance; 0: none. Default: the published one, else 1. */
  readonly classifierScale?: number
  /**
   * Adds self-guidance to any method. Defaults: the model's published figures, else CelebA's, and the model's distance.
   */
  readonly selfGuidance?: SelfGuidanceOptions
  /**
   * Boost-and-Skip: x_T times `boost`, without the first `skip` steps. Default: the model's published ones, else
   * CelebA's 4 and 3; of other methods 1 and 0.
   */
  readonly boost?: number
  /** See `boost`. */
  readonly skip?: number
  /** Clip the estimates of x_0 to [-1, 1]. Default true. */
  readonly clipDenoised?: boolean
  /** Further guidances, for the samples with these numbers and classes. */
  readonly guidances?: (samples: readonly number[], y: readonly number[] | undefined) => readonly Guidance[]
  /** Samples at a time. Default: the model's. */
  readonly batch?: number
  /** Also the estimates of what is being drawn, after each step; a number: after every so many. Default false. */
  readonly preview?: boolean | number
  /** Also the minority score of each finished sample: `TweedieStep.scores`. Default false. */
  readonly scores?: boolean
  /** Also how far guidance moves each pixel, after each step that is guided: `TweedieStep.pushes`. Default false. */
  readonly pushes?: boolean
  /** Ends sampling: the loop throws the signal's reason, and nothing stays on the device. */
  readonly signal?: AbortSignal
}

/** What a run is, with every default filled in. */
export interface SampleSettings extends DrawSettings {
  readonly method: (typeof methods)[number]
  readonly number: number
  /** Samples at a time, no more than there are. */
  readonly batch: number
  /** Null: no class guidance. */
  readonly classes: ClassWish | null
  /** Null: no minority guidance. */
  readonly minority: MinorityWish | null
}

const ledByMinority = ({ method, target, scale }: TweedieSampleOptions): boolean =>
  method === 'minority-guided' || target !== undefined || scale !== undefined

function classWish(
  { classes, preset }: Loaded,
  { classifierTarget, classifierScale, seed = 0 }: TweedieSampleOptions,
  labels: readonly number[],
): ClassWish | null {
  if (!classes && (classifierTarget !== undefined || classifierScale !== undefined))
    fail('classifierScale and classifierTarget need a classifier: Tweedie.load(…, { classifier: FILE }).')
  if (!classes || classifierScale === 0) return null
  const target = classifierTarget ?? null
  const wish = target ?? labels
  if (typeof wish === 'string') refuseOther('classifierTarget', wish, labelWords)
  else if (!Array.isArray(wish) || wish.length === 0)
    fail('The classifier leads to classes: classifierTarget says to which, as in [3, 8], or classifierScale 0 to none.')
  return { target, labels, scale: classifierScaleOf(classifierScale, preset), seed }
}

/** Checks the options and fills in what they leave open. */
export function settingsOf(loaded: Loaded, options: TweedieSampleOptions): SampleSettings {
  const {
    preset,
    process,
    description: { config },
    minority,
  } = loaded
  refuseUnknown('sample', options, sampleOptions)
  const { guidances } = options
  if (guidances !== undefined && typeof guidances !== 'function')
    throw unexpected('sample: guidances', 'a function that gives guidances', guidances)
  if (options.selfGuidance !== undefined) checkGuidance(options.selfGuidance)
  const { method = 'ancestral', clipDenoised = true, eta = 0, seed = 0, selfGuidance } = options
  refuseOther('method', method, methods)
  if (options.sampler !== undefined) refuseOther('sampler', options.sampler, samplerNames)
  if (method === 'ddim' && options.sampler === 'ancestral')
    fail("method 'ddim' is the sampler 'ddim': leave one of the two out.")
  if (!minority && ledByMinority(options))
    fail("'minority-guided' needs a classifier of minority levels: Tweedie.load(…, { minorityClassifier: FILE }).")
  const respacing = respacingOf(options.steps, preset, process.diffusionSteps)
  const { distance: _, ...guide } = selfGuidance ?? {}
  const number = wholeOf('number', options.number ?? 16)
  const labels = checkLabels(labelList(options.labels, config, { number, seed }), config, {
    called: 'labels',
    example: "[3, 8], or 'random'",
  })
  const settings = {
    method,
    number,
    batch: Math.min(wholeOf('batch', options.batch ?? loaded.batch), number),
    classes: classWish(loaded, options, labels),
    minority:
      minority && ledByMinority(options)
        ? { target: targetOf(options.target), scale: options.scale ?? minority.scale, labels, seed }
        : null,
    process,
    clipDenoised,
    respacing,
    eta,
    seed,
    ...boostAndSkipOf(method, options, preset),
    sampler: samplerOf(method, options.sampler),
    labels,
    labelWord: labelWord(options.labels),
    guide: method === 'self-guided' || selfGuidance ? guideOf(guide, preset) : null,
  }
  if (options.eta !== undefined && settings.sampler !== 'ddim')
    fail("eta is the noise of the sampler 'ddim', and ancestral sampling has its own: leave eta out, or choose 'ddim'.")
  checkSteps(settings, (option) => option.replace('guide-', 'selfGuidance.'))
  return settings
}

function targetOf(target: TweedieSampleOptions['target'] = 'rarest'): readonly [number, number] | 'rarest' | 'tilt' {
  if (target === 'rarest' || target === 'tilt') return target
  const [first, last] =
    typeof target === 'number' ? [target, target] : Array.isArray(target) ? (target as readonly [number, number]) : []
  if (Number.isInteger(first) && Number.isInteger(last) && first! >= 0 && first! <= last!) return [first!, last!]
  throw new TweedieError(
    'option',
    `target: expected a level, a range [first, last] of levels, 'rarest' or 'tilt', found ${JSON.stringify(target)}.`,
  )
}
