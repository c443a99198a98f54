import { imagesOf, type Image } from '../data/index.ts'
import type { Guidance } from '../diffusion/index.ts'
import { TweedieError, unexpected } from '../errors.ts'
import type { Tensor } from '../tensor/index.ts'
import { checkFinite, drawing, type Drawing, type FinishedStep } from './drawing.ts'
import { wholeOf } from './fail.ts'
import type { Lead } from './guidance-files.ts'
import { labelsOf } from './labels.ts'
import type { Life } from './life.ts'
import type { Loaded } from './load.ts'
import type { FinishedRun } from './record.ts'
import type { BatchTiming } from './run-record.ts'
import { settingsOf, type SampleSettings, type TweedieSampleOptions } from './sample-settings.ts'
import { scorer } from './score-samples.ts'
import type { DrawSettings } from './settings.ts'
import { steadySteps } from './steady.ts'
import { Stopwatch } from './stopwatch.ts'

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

/**
 * {@link TweedieStep}s of `Tweedie.sample`, batch after batch. `finished` is told of the run before its last step is
 * seen.
 */
export async function* sample(
  life: Life,
  options: TweedieSampleOptions,
  finished: (last: TweedieStep, run: FinishedRun) => void,
): AsyncGenerator<TweedieStep, void, void> {
  life.check('sample')
  const { config } = life.last.description
  const settings = settingsOf(life.last, options)
  const { number, batch } = settings
  const { preview = false, signal } = options
  const every = typeof preview === 'number' ? wholeOf('preview', preview) : preview ? 1 : Infinity
  const leads = leadsOf(life.last, settings)
  const shape = [config.inChannels, config.imageSize, config.imageSize]
  const area = shape.reduce((a, b) => a * b, 1)
  const values = roomFor(number, area)
  const scores = new Float32Array(number)
  const images: Image[] = []
  const targets: (number | string)[] = []
  const batches: BatchTiming[] = []
  const started = new Date().toISOString()
  let before = 0
  let recovered = 0
  for (let begin = 0; begin < number; begin += batch) {
    const samples = Array.from({ length: Math.min(batch, number - begin) }, (_, i) => begin + i)
    const y = labelsOf(settings.labels, samples)
    const watch = new Stopwatch()
    const steps = steadySteps(life, {
      begin: (loaded, from) => beginBatch(loaded, options, { settings, leads, shape, samples, y, from }),
      look: async ({ device, model, distance }, { done, total, predXStart, push }, x) => {
        const last = done === total
        if (last) checkFinite('The samples hold', x, samples, tooStrong)
        const scored = last && options.scores
        const ofBatch = [samples.length, ...shape]
        const drawn = watch.seconds
        return {
          drawn,
          shown: !last && done % every === 0 ? imagesOf(await predXStart.read(), ofBatch) : [],
          moved: push && { pushes: eachOf(await push.read(), samples.length) },
          scores: scored ? await scoresOf(device.tensor(x, ofBatch), { model, distance, settings, samples, y }) : [],
        }
      },
      signal,
    })
    let firstStep = 0
    for await (const { done, total: each, x, seen, lost } of steps) {
      recovered += lost
      if (done === 1) firstStep = watch.seconds
      if (done === each) {
        const scoring = watch.seconds - seen.drawn
        batches.push({ samples: samples.length, seconds: seen.drawn, firstStep, scoring })
        targets.push(...leads(life.last, samples, y).flatMap((lead) => lead.targets ?? []))
        values.set(x, begin * area)
        scores.set(seen.scores, begin)
        images.push(...imagesOf(x, [samples.length, ...shape]))
      }
      const step = {
        done: before + done,
        total: each * Math.ceil(number / batch),
        images: [...images, ...seen.shown],
        finished: images.length,
        ...seen.moved,
        ...(options.scores && { scores: scores.slice(0, images.length) }),
        ...(recovered > 0 && { recovered }),
        ...(images.length === number && { values }),
      }
      if (images.length === number) finished(step, { settings, options, started, batches, targets })
      watch.stop()
      yield step
      watch.start()
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
  const added = guidances(samples, y)
  if (!Array.isArray(added)) throw unexpected('sample: guidances', 'a list of guidances from it', added)
  const led = [...leads(loaded, samples, y).map(({ guidance }) => guidance), ...(added as readonly Guidance[])]
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

function leadsOf({ classes, minority }: Loaded, wishes: Pick<SampleSettings, 'classes' | 'minority'>): Leads {
  const byClass = wishes.classes && classes!.plan(wishes.classes)
  const byLevel = wishes.minority && minority!.plan(wishes.minority)
  return (loaded, samples, y) => [
    ...(byClass ? [byClass(loaded.classes!.loaded, samples, y)] : []),
    ...(byLevel ? [byLevel(loaded.minority!.loaded, samples, y)] : []),
  ]
}

/** Room for the values of every sample. */
function roomFor(number: number, each: number): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(number * each)
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
