import { imagesOf, type Image } from '../data/index.ts'
import {
  samplerNames,
  selfGuidance as checkGuidance,
  type Guidance,
  type Respacing,
  type Sampler,
  type SelfGuidanceOptions,
} from '../diffusion/index.ts'
import { TweedieError } from '../errors.ts'
import { refuseOther, refuseUnknown } from '../refuse.ts'
import type { Tensor } from '../tensor/index.ts'
import { checkFinite, drawing, type Drawing, type FinishedStep } from './drawing.ts'
import { fail, wholeOf } from './fail.ts'
import type { Lead } from './guidance-files.ts'
import { checkLabels, labelsOf } from './labels.ts'
import type { Life } from './life.ts'
import type { Loaded } from './load.ts'
import { scorer } from './score-samples.ts'
import {
  boostAndSkipOf,
  checkSteps,
  classifierScaleOf,
  guideOf,
  respacingOf,
  samplerOf,
  type DrawSettings,
} from './settings.ts'
import { steadySteps } from './steady.ts'

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
  /** Classes for a class-conditional model, in order; fewer than samples start over. */
  readonly labels?: readonly number[]
  /**
   * The minority level to lead to, 0 to `minorityLevels - 1`; a range of which each sample has its own; the last; or
   * all by their scores (Eq. 18). Default `'rarest'`.
   */
  readonly target?: number | readonly [first: number, last: number] | 'rarest' | 'tilt'
  /** Weight of minority guidance. Default: the published one, else 1. */
  readonly scale?: number
  /**
   * With a `classifier`, which leads every sample: the classes it leads to, in order; fewer than samples start over.
   * Default: `labels`.
   */
  readonly classifierTarget?: readonly number[]
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

const known = {
  number: true,
  steps: true,
  seed: true,
  method: true,
  sampler: true,
  eta: true,
  labels: true,
  target: true,
  scale: true,
  classifierTarget: true,
  classifierScale: true,
  selfGuidance: true,
  boost: true,
  skip: true,
  clipDenoised: true,
  guidances: true,
  batch: true,
  preview: true,
  scores: true,
  pushes: true,
  signal: true,
} as const

/** What `Tweedie.sample` yields after every step. */
export interface TweedieStep {
  /** Steps done so far, and in all: those of every batch. */
  readonly done: number
  /** See `done`. */
  readonly total: number
  /**
   * The pictures so far, `images[k]` being sample k: those that are finished, and after them with `preview` the
   * estimates of the batch that is being drawn. After the last step all of them.
   */
  readonly images: readonly Image[]
  /** How many of `images` are finished. */
  readonly finished: number
  /**
   * With `scores` the minority score of each finished picture; higher is rarer. Of the samples as numbers, by the
   * model's distance and the run's seed: those of `tweedie sample`.
   */
  readonly scores?: Float32Array<ArrayBuffer>
  /**
   * With `pushes`, after a step that anything guided: how far guidance moved each pixel of the mean of x_{t-1}, [H * W]
   * of each picture of the batch that is being drawn (the last of `images` with `preview`). The norm over channels, in
   * units of x, whose noise at the first step has a standard deviation of 1.
   */
  readonly pushes?: readonly Float32Array<ArrayBuffer>[]
  /** How often the device was lost in this run, and the run went on after the last finished step; absent if never. */
  readonly recovered?: number
  /** After the last step the samples as numbers: [number, C, H, W] in [-1, 1], but where `clipDenoised` is off. */
  readonly values?: Float32Array<ArrayBuffer>
}

/** {@link TweedieStep}s of `Tweedie.sample`, batch after batch. */
export async function* sample(life: Life, options: TweedieSampleOptions): AsyncGenerator<TweedieStep, void, void> {
  life.check('sample')
  const { config } = life.last.description
  const settings = settingsOf(life.last, options)
  const { number = 16, batch = life.last.batch, preview = false, signal } = options
  const every = typeof preview === 'number' ? wholeOf('preview', preview) : preview ? 1 : Infinity
  wholeOf('batch', batch)
  const leads = leadsOf(life.last, options, settings)
  const shape = [config.inChannels, config.imageSize, config.imageSize]
  const area = shape.reduce((a, b) => a * b, 1)
  const values = roomFor(number, area)
  const scores = new Float32Array(number)
  const images: Image[] = []
  let before = 0
  let recovered = 0
  for (let begin = 0; begin < number; begin += batch) {
    const samples = Array.from({ length: Math.min(batch, number - begin) }, (_, i) => begin + i)
    const y = labelsOf(settings.labels, samples)
    const steps = steadySteps(life, {
      begin: (loaded, from) => beginBatch(loaded, options, { settings, leads, shape, samples, y, from }),
      look: async ({ device, model, distance }, { done, total, predXStart, push }, x) => {
        const finished = done === total
        if (finished) checkFinite('The samples hold', x, samples, tooStrong)
        const scored = finished && options.scores
        const ofBatch = [samples.length, ...shape]
        return {
          shown: !finished && done % every === 0 ? imagesOf(await predXStart.read(), ofBatch) : [],
          moved: push && { pushes: eachOf(await push.read(), samples.length) },
          scores: scored ? await scoresOf(device.tensor(x, ofBatch), { model, distance, settings, samples, y }) : [],
        }
      },
      signal,
    })
    for await (const { done, total: each, x, seen, lost } of steps) {
      recovered += lost
      if (done === each) {
        values.set(x, begin * area)
        scores.set(seen.scores, begin)
        images.push(...imagesOf(x, [samples.length, ...shape]))
      }
      yield {
        done: before + done,
        total: each * Math.ceil(number / batch),
        images: [...images, ...seen.shown],
        finished: images.length,
        ...seen.moved,
        ...(options.scores && { scores: scores.slice(0, images.length) }),
        ...(recovered > 0 && { recovered }),
        ...(images.length === number && { values }),
      }
      if (done === each) before += each
    }
  }
}

/** What a batch of samples is. */
interface Batch {
  readonly settings: DrawSettings
  readonly leads: Leads
  /** [C, H, W] of a sample. */
  readonly shape: readonly number[]
  readonly samples: readonly number[]
  readonly y: readonly number[] | undefined
}

/** A batch on what is loaded, from its noise or from a step that was finished. */
function beginBatch(
  loaded: Loaded,
  { guidances = () => [], selfGuidance, pushes = false, signal }: TweedieSampleOptions,
  { settings, leads, shape, samples, y, from }: Batch & { readonly from: FinishedStep | null },
): Drawing {
  const { device, model } = loaded
  const led = [...leads(loaded, samples, y).map(({ guidance }) => guidance), ...guidances(samples, y)]
  const tools = { device, model, distance: selfGuidance?.distance ?? loaded.distance, shape }
  return drawing(tools, settings, samples, { guidances: led, from, pushes, signal })
}

/** Minority scores of a finished batch, whose `images` are disposed of. */
async function scoresOf(
  images: Tensor,
  { model, distance, settings, samples, y }: Pick<Loaded, 'model' | 'distance'> & Omit<Batch, 'leads' | 'shape'>,
): Promise<Float32Array> {
  using drawn = images
  const found = await scorer(settings, { seed: settings.seed, distance })(model, drawn, samples, y)
  checkFinite('The minority scores are', found, samples, tooStrong)
  return found
}

const tooStrong =
  'Take a smaller weight, scale or boost; if there is none, the weights are damaged, or of another network or preset.'

/** The values of each of `n` samples, in memory of their own, so that a worker may transfer them. */
const eachOf = (values: Float32Array<ArrayBuffer>, n: number): Float32Array<ArrayBuffer>[] => {
  const each = values.length / n
  return Array.from({ length: n }, (_, i) => values.slice(i * each, (i + 1) * each))
}

/** What leads the samples of a batch by the loaded classifiers, in the order of their sum. */
type Leads = (loaded: Loaded, samples: readonly number[], y: readonly number[] | undefined) => Lead[]

function leadsOf({ preset, classes, minority }: Loaded, options: TweedieSampleOptions, settings: DrawSettings): Leads {
  const { labels, seed } = settings
  const { classifierTarget, classifierScale } = options
  if (!classes && (classifierTarget !== undefined || classifierScale !== undefined))
    fail('classifierScale and classifierTarget need a classifier: Tweedie.load(…, { classifier: FILE }).')
  const byClass =
    classes &&
    classifierScale !== 0 &&
    classes.plan({
      target: classTarget(classifierTarget ?? labels),
      scale: classifierScaleOf(classifierScale, preset),
    })
  const byLevel =
    minority &&
    ledByMinority(options) &&
    minority.plan({ target: targetOf(options.target), scale: options.scale ?? minority.scale, labels, seed })
  return (loaded, samples, y) => [
    ...(byClass ? [byClass(loaded.classes!.loaded, samples, y)] : []),
    ...(byLevel ? [byLevel(loaded.minority!.loaded, samples, y)] : []),
  ]
}

const classTarget = (target: unknown): readonly number[] =>
  Array.isArray(target) && target.length > 0
    ? target
    : fail(
        'The classifier leads to classes: classifierTarget says to which, as in [3, 8], or classifierScale 0 to none.',
      )

const ledByMinority = ({ method, target, scale }: TweedieSampleOptions): boolean =>
  method === 'minority-guided' || target !== undefined || scale !== undefined

/** Checks the options and fills in what they leave open. */
function settingsOf(
  { preset, process, description: { config }, minority }: Loaded,
  options: TweedieSampleOptions,
): DrawSettings {
  refuseUnknown('sample', options, known)
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
  const settings = {
    process,
    clipDenoised,
    respacing,
    eta,
    seed,
    ...boostAndSkipOf(method, options, preset),
    sampler: samplerOf(method, options.sampler),
    labels: checkLabels(options.labels, config, { called: 'labels', example: '[3, 8]' }),
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

/** Room for the values of every sample. */
function roomFor(number: number, each: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(wholeOf('number', number) * each)
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw new TweedieError(
      'out-of-memory',
      `number: ${number} samples are ${((4 * number * each) / 2 ** 30).toFixed(1)} GiB, for which there ` +
        'is no room in memory: draw fewer at a time, each with a seed of its own, or with tweedie sample, ' +
        'which writes batch by batch.',
      { cause },
    )
  }
}
