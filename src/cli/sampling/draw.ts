/**
 * Drawing a run: batch after batch, each on disk before the next begins. A device that is lost, or Ctrl-C, costs the
 * batch in hand; the same command goes on from there, and its pictures are the same.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { encodePng, imageOf } from '../../data/index.ts'
import { lastGuided, respace } from '../../diffusion/index.ts'
import { TweedieError } from '../../errors.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import { checkFinite, drawing } from '../../tweedie/drawing.ts'
import { cycled, labelsOf } from '../../tweedie/labels.ts'
import {
  adapterIn,
  baseFile,
  sampleFile,
  type BatchTiming,
  type FinishedSample,
  type Kernels,
  type RunRecord,
} from '../../tweedie/run-record.ts'
import { scorer, type Scorer } from '../../tweedie/score-samples.ts'
import { departures, sayDepartures } from './departures.ts'
import { sha256Of } from '../files.ts'
import { joinParts, savePart, type BatchNumbers } from './numbers.ts'
import { toOptions, type SampleSettings } from '../options/sample.ts'
import { progress } from '../progress.ts'
import { recordSaver, resumed } from './run-record.ts'
import type { Session } from '../session.ts'
import type { Setup } from './setup.ts'
import { measureKernels, useKernels } from './tune.ts'
import { upsample } from './upsample.ts'
import { tell } from '../print.ts'

interface Drawn {
  readonly sample: Float32Array
  /** Of two stages, the small pictures. */
  readonly base: Float32Array | null
  readonly first: Float32Array | null
  readonly middle: Float32Array | null
  readonly scores: Float32Array
  /** Of self-guidance's last guided step. */
  readonly metric: Float32Array | null
  /** Of each sample, by guidance. */
  readonly targets: readonly Readonly<Record<string, number | string>>[]
  readonly timing: BatchTiming
}

export interface DrawOptions {
  /** What progress calls it; default the method. */
  readonly what?: string
  /** Those of the run that this one repeats. */
  readonly kernels?: Kernels
}

/**
 * Draws what is not drawn yet of `settings.number` samples into `settings.out`. The record stays 'unfinished' until the
 * caller has added the report; that of a run that was finished already is 'done'.
 */
export async function draw(
  setup: Setup,
  settings: SampleSettings,
  version: string,
  { signal }: Session,
  { what = settings.method, kernels }: DrawOptions = {},
): Promise<RunRecord> {
  const { device, distance, shape, upsampler, sha256, leftOut, seconds } = setup
  const large = upsampler?.shape ?? shape
  const { out, number, batch, save } = settings
  await mkdir(out, { recursive: true })
  const differs = departures(settings, distance.name)
  sayDepartures(differs)
  const metric = metricStep(settings)
  let record = await resumed(
    out,
    {
      program: 'tweedie',
      version,
      status: 'unfinished',
      started: new Date().toISOString(),
      options: toOptions(settings),
      ...(differs.length > 0 && { differs }),
      ...(metric && { metric }),
      sha256,
      ...(Object.keys(leftOut).length > 0 && { leftOut }),
      adapter: adapterIn(device),
      kernels: {},
      samples: [],
      seconds: { load: seconds, batches: [] },
    },
    signal,
  )
  if (record.status === 'done') {
    tell(`${out}: the run is finished, ${number === 1 ? 'its sample is' : `all ${number} samples are`} there.`)
    return record
  }
  if (record.samples.length > 0) tell(`${out}: ${record.samples.length} of ${number} samples are there already.`)
  if (kernels || record.samples.length > 0) useKernels(setup, kernels ?? record.kernels)
  else await measureKernels(setup, settings, signal)
  record = { ...record, kernels: Object.fromEntries(device.kernels) }
  await using saver = recordSaver(out)
  await saver.save(record)

  const score = scorer(settings, { seed: settings.seed, distance: distance.distance })
  for (let begin = record.samples.length; begin < number; begin += batch) {
    const samples = Array.from({ length: Math.min(batch, number - begin) }, (_, i) => begin + i)
    const range = samples.length === 1 ? `sample ${begin + 1}` : `samples ${begin + 1} to ${begin + samples.length}`
    const drawn = await drawBatch(
      setup,
      settings,
      samples,
      { score, metricAt: metric?.t },
      `${what}, ${range} of ${number}`,
      signal,
    ).catch((error: unknown): never => {
      if (!(error instanceof TweedieError) || error.code !== 'non-finite' || begin === 0) throw error
      throw new TweedieError(
        'non-finite',
        `${error.message} The ${begin} before ${begin === 1 ? 'is' : 'are'} kept in ${out}; other ` +
          'settings need another --out.',
        { cause: error },
      )
    })
    const finished: FinishedSample[] = []
    for (const [i, k] of samples.entries()) {
      const picture = async (
        file: string,
        values: Float32Array,
        of: readonly number[],
      ): Promise<{ file: string; sha256: string }> => {
        const png = encodePng(imageOf(values, [samples.length, ...of], i))
        await writeFileAtomic(join(out, file), [png], { signal })
        return { file, sha256: sha256Of(png) }
      }
      const base = drawn.base && (await picture(baseFile(k, number), drawn.base, shape))
      finished.push({
        ...(await picture(sampleFile(k, number), drawn.sample, large)),
        ...(base && { base }),
        score: drawn.scores[i],
        ...(drawn.metric && { metric: drawn.metric[i] }),
        ...(settings.labels.length > 0 && { label: cycled(settings.labels, k) }),
        ...(Object.keys(drawn.targets[i]).length > 0 && { targets: drawn.targets[i] }),
      })
    }
    if (save !== null) await savePart(out, begin, numbersOf(drawn, samples.length, { small: shape, large }), signal)
    record = {
      ...record,
      samples: [...record.samples, ...finished],
      seconds: { ...record.seconds, batches: [...record.seconds.batches, drawn.timing] },
    }
    await saver.save(record)
  }
  await saver.flush()
  if (save !== null) await joinParts(out, beginsOf(settings), save, signal)
  return record
}

/** Where the metric of a self-guided run is read. */
function metricStep(settings: SampleSettings): RunRecord['metric'] {
  if (!settings.guide) return undefined
  const { steps, timestepMap } = respace({ ...settings.process, respacing: settings.respacing })
  const t = lastGuided(settings.guide, steps - settings.skip - 1, steps)
  return t === null ? undefined : { t, timestep: timestepMap[t] }
}

/** Where the batches of a run begin. */
export const beginsOf = ({ number, batch }: Pick<SampleSettings, 'number' | 'batch'>): number[] =>
  Array.from({ length: Math.ceil(number / batch) }, (_, i) => i * batch)

/** What --save keeps. `shapes`: [C, H, W] of what the model draws, and of the samples. */
function numbersOf(
  { sample, base, first, middle }: Drawn,
  count: number,
  { small, large }: { readonly small: readonly number[]; readonly large: readonly number[] },
): BatchNumbers {
  const named = [
    ['sample', sample, large],
    ['base', base, small],
    ['first_step', first, small],
    ['middle_step', middle, small],
  ] as const
  return new Map(
    named.flatMap(([name, data, shape]) => (data ? [[name, { shape: [count, ...shape], data }] as const] : [])),
  )
}

interface Measures {
  readonly score: Scorer
  /** The step at which self-guidance's metric is read. */
  readonly metricAt: number | undefined
}

async function drawBatch(
  setup: Setup,
  settings: SampleSettings,
  samples: readonly number[],
  { score, metricAt }: Measures,
  label: string,
  signal: AbortSignal,
): Promise<Drawn> {
  const { model, shape, upsampler } = setup
  const y = labelsOf(settings.labels, samples)
  const leads = setup.guidances.map(({ name, lead }) => ({ name, ...lead(samples, y) }))
  const tools = { device: setup.device, model, distance: setup.distance.distance, shape }
  const { total, toEnd } = drawing(tools, settings, samples, {
    guidances: leads.map(({ guidance }) => guidance),
    given: setup.noise,
    marginal: setup.marginal,
    signal,
  })
  const start = performance.now()
  const elapsed = (): number => (performance.now() - start) / 1000
  const bar = progress(label, total, 'steps')
  const seen: { first: Float32Array | null; middle: Float32Array | null; metric: Float32Array | null } = {
    first: null,
    middle: null,
    metric: null,
  }
  let [firstStep, sampling] = [0, 0]
  let [last, scores]: Float32Array[] = []
  try {
    using x = await toEnd(async ({ x, t, done, metric }) => {
      bar.update(done)
      if (done === 1) firstStep = elapsed()
      if (metric && t === metricAt) seen.metric = await metric.read()
      // The goldens' marks: the state after the first step and after N/2 + 1 of N.
      if (setup.noise && done === 1) seen.first = await x.read()
      if (setup.noise && done === Math.min(total, Math.floor(total / 2) + 1)) seen.middle = await x.read()
    })
    last = await x.read()
    sampling = elapsed()
    scores = await score(model, x, samples, y)
  } finally {
    bar.stop()
  }
  checkFinite('The samples hold', last, samples, tooStrong(settings))
  checkFinite('The minority scores are', scores, samples, tooStrong(settings))
  if (seen.metric) checkFinite("Self-guidance's metrics are", seen.metric, samples, tooStrong(settings))
  const scored = elapsed()
  const sample = upsampler
    ? await upsample(upsampler, last, [samples.length, ...shape], {
        samples,
        y,
        seed: settings.seed,
        clipDenoised: settings.clipDenoised,
        label,
        signal,
      })
    : last
  if (upsampler)
    checkFinite(
      'The second stage makes',
      sample,
      samples,
      "The upsampler's weights are damaged, or of another network.",
    )
  const targets = samples.map((_, i) =>
    Object.fromEntries(leads.flatMap(({ name, targets }) => (targets ? [[name, targets[i]]] : []))),
  )
  const timing = {
    samples: samples.length,
    seconds: sampling,
    firstStep,
    scoring: scored - sampling,
    ...(upsampler && { upsampling: elapsed() - scored }),
  }
  return { sample, base: upsampler && last, ...seen, scores, targets, timing }
}

/** What may be wrong, and the options that mend it. */
function tooStrong({ guide, classifier, minority, sehwag, attributes, boost }: SampleSettings): string {
  const strengths = Object.entries({
    '--guide-weight': guide,
    '--classifier-scale': classifier,
    '--minority-scale': minority,
    '--sehwag-alpha': sehwag,
    '--attributes-scale': attributes,
    '--boost': boost !== 1,
  }).flatMap(([name, used]) => (used ? [name] : []))
  return strengths.length > 0
    ? `Take a smaller ${strengths.join(' or ')}.`
    : 'The weights are damaged, or of another network, schedule or preset.'
}
