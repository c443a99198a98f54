import { chunk } from '../chunk.ts'
import { TweedieError } from '../errors.ts'
import { sha256OfBytes } from '../io/sha256.ts'
import { version } from '../version.ts'
import { checkFinite } from './drawing.ts'
import { fail } from './fail.ts'
import { cycled, labelsOf } from './labels.ts'
import type { Loaded } from './load.ts'
import { runOptions } from './run-options.ts'
import { adapterIn, sampleFile, type BatchTiming, type FinishedSample, type RunRecord } from './run-record.ts'
import type { SampleSettings, TweedieSampleOptions } from './sample-settings.ts'
import type { TweedieStep } from './sample.ts'
import { scorer } from './score-samples.ts'

/** What is kept of a run beside its last step. */
export interface FinishedRun {
  readonly settings: SampleSettings
  readonly options: TweedieSampleOptions
  /** When, as ISO 8601. */
  readonly started: string
  readonly batches: readonly BatchTiming[]
  /** The minority level of each sample; empty where none is led to one. */
  readonly targets: readonly (number | string)[]
}

/** The record of a run, from its last step. */
export async function recordOf(
  loaded: Loaded,
  { images, values, scores: known }: TweedieStep,
  run: FinishedRun,
  signal?: AbortSignal,
): Promise<RunRecord> {
  const { settings, started, targets } = run
  const { number, labels } = settings
  refuseUntold(loaded, run)
  const { origin, device } = loaded
  const options = runOptions(origin.options, settings)
  const sha256: Record<string, string> = {}
  for (const option of Object.keys(options))
    if (origin.reads(option)) sha256[option] = await origin.sha256(option, signal)
  const { scores, batches } = known
    ? { scores: known, batches: run.batches }
    : await scored(loaded, values!, run, signal)
  // The encoder is 8 KB gzipped, a tenth of what a page of `Tweedie` fetches, and most keep no records.
  const { pngOf } = await chunk('unsupported', 'that writes PNG files', import('../data/png-writer.ts'))
  const samples: FinishedSample[] = []
  for (const [k, image] of images.entries()) {
    signal?.throwIfAborted()
    samples.push({
      file: sampleFile(k, number),
      sha256: await sha256OfBytes(pngOf(image)),
      score: scores[k],
      ...(labels.length > 0 && { label: cycled(labels, k) }),
      ...(targets.length > 0 && { targets: { minority: targets[k] } }),
    })
  }
  return {
    program: 'tweedie',
    version,
    status: 'done',
    started,
    options,
    sha256,
    adapter: adapterIn(device),
    kernels: Object.fromEntries(device.kernels),
    samples,
    seconds: { load: origin.seconds, batches },
  }
}

/** What the command line has no word for cannot be replayed. */
function refuseUntold({ origin }: Loaded, { options: { guidances, selfGuidance } }: FinishedRun): void {
  const untold =
    origin.untold ??
    (guidances ? 'guidances of your own' : selfGuidance?.distance ? 'a distance that is a function' : null)
  if (untold !== null)
    fail(`record: the run has ${untold}, for which run.json has no words, so that nothing could replay it.`)
}

/** Scores of a run that was drawn without. */
async function scored(
  { device, model, distance, description: { config } }: Loaded,
  values: Float32Array,
  { settings, batches }: FinishedRun,
  signal?: AbortSignal,
): Promise<{ scores: number[]; batches: BatchTiming[] }> {
  const score = scorer(settings, { seed: settings.seed, distance })
  const shape = [config.inChannels, config.imageSize, config.imageSize]
  const area = shape.reduce((a, b) => a * b, 1)
  const scores: number[] = []
  const timed: BatchTiming[] = []
  for (const batch of batches) {
    signal?.throwIfAborted()
    const begin = scores.length
    const samples = Array.from({ length: batch.samples }, (_, i) => begin + i)
    const start = performance.now()
    using x = device.tensor(values.subarray(begin * area, (begin + batch.samples) * area), [batch.samples, ...shape])
    const found = await score(model, x, samples, labelsOf(settings.labels, samples))
    checkFinite('The minority scores are', found, samples, 'Take a smaller weight, scale or boost.')
    scores.push(...found)
    timed.push({ ...batch, scoring: (performance.now() - start) / 1000 })
  }
  return { scores, batches: timed }
}

/** Of a step that is not the last of a run of this model. */
export const noRun = (): TweedieError =>
  new TweedieError(
    'option',
    'record: expected the last step of a run of this model (done === total), as its loop gave it.',
  )
