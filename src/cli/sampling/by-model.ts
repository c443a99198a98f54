/** A run that a model draws: what leads it, its batches, their scores, and a second stage where there is one. */
import { imagesOf } from '../../data/index.ts'
import { lastGuided, lowResolution, respace } from '../../diffusion/index.ts'
import { checkFinite, drawing } from '../../tweedie/drawing.ts'
import { labelsOf } from '../../tweedie/labels.ts'
import type { RunRecord } from '../../tweedie/run-record.ts'
import { scorer, type Scorer } from '../../tweedie/score-samples.ts'
import { toOptions, type SampleSettings } from '../options/sample.ts'
import { progress } from '../progress.ts'
import { departures } from './departures.ts'
import type { Drawer, Drawn } from './draw.ts'
import type { Setup } from './setup.ts'
import { measureKernels } from './tune.ts'
import { upsample } from './upsample.ts'

/** What draws the run; `what`: what progress calls it. */
export function modelDrawer(setup: Setup, settings: SampleSettings, what: string = settings.method): Drawer {
  const { device, distance, shape, upsampler, sha256, leftOut, seconds } = setup
  const metric = metricStep(settings)
  const score = scorer(settings, { seed: settings.seed, distance: distance.distance })
  return {
    device,
    options: toOptions(settings),
    differs: departures(settings, distance.name),
    ...(metric && { metric }),
    sha256,
    leftOut,
    seconds,
    shape: upsampler?.shape ?? shape,
    small: shape,
    labels: settings.labels,
    what,
    tune: (signal) => measureKernels(setup, settings, signal),
    batch: (samples, label, signal) =>
      drawBatch(setup, settings, samples, { score, metricAt: metric?.t }, label, signal),
  }
}

/** Where the metric of a self-guided run is read. */
function metricStep(settings: SampleSettings): RunRecord['metric'] {
  if (!settings.guide) return undefined
  const { steps, timestepMap } = respace({ ...settings.process, respacing: settings.respacing })
  const t = lastGuided(settings.guide, steps - settings.skip - 1, steps)
  return t === null ? undefined : { t, timestep: timestepMap[t] }
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
    ? await upsample(upsampler, lowResolution(last), [samples.length, ...shape], {
        samples,
        y,
        seed: settings.seed,
        clipDenoised: settings.clipDenoised,
        label,
        signal,
      })
    : last
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
  const base = upsampler && last
  const baseImages = base && imagesOf(base, [samples.length, ...shape])
  return { sample, base, baseImages, ...seen, scores, targets, timing }
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
