/**
 * Drawing a run: batch after batch, each on disk before the next begins. A device that is lost, or Ctrl-C, costs the
 * batch in hand; the same command goes on from there, and its pictures are the same.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { classifierGuidance, GaussianDiffusion, GeneratedNoise, GivenNoise, sampleLoop, selfGuidance, type Denoiser, type Guidance, type SampleOptions } from '../diffusion/index.ts'
import { TweedieError } from '../errors.ts'
import { encodeSafetensors, writeFileAtomic } from '../io/index.node.ts'
import { encodePng, imageOf } from './image.ts'
import { sha256Of } from './files.ts'
import { cycled, toOptions, type SampleSettings } from './options.ts'
import { progress } from './progress.ts'
import { resumed, sampleFile, saveRecord, type BatchTiming, type FinishedSample, type RunRecord } from './run-record.ts'
import { scorer, varianceTypeOf, type Scorer } from './scoring.ts'
import type { Session } from './session.ts'
import type { Setup } from './setup.ts'
import { measureKernels, useKernels, type Kernels } from './tune.ts'

interface Drawn {
  readonly sample: Float32Array
  readonly first: Float32Array | null
  readonly middle: Float32Array | null
  readonly scores: Float32Array
  readonly timing: BatchTiming
}

export interface DrawOptions {
  /** What progress calls it; default the method. */
  readonly what?: string
  /** Those of the run that this one repeats. */
  readonly kernels?: Kernels
}

/** Draws what is not drawn yet of `settings.number` samples into `settings.out`. The record stays 'unfinished': the caller adds the report. */
export async function draw(setup: Setup, settings: SampleSettings, version: string, { signal }: Session, { what = settings.method, kernels }: DrawOptions = {}): Promise<RunRecord> {
  const { device, distance, shape, sha256, seconds } = setup
  const { out, number, batch, save } = settings
  await mkdir(out, { recursive: true })
  const { name, vendor, architecture, software } = device.adapter
  let record = await resumed(out, {
    program: 'tweedie', version, status: 'unfinished', started: new Date().toISOString(), options: toOptions(settings), sha256,
    adapter: { backend: device.backend.kind, name, vendor, architecture, software }, kernels: {}, samples: [], seconds: { load: seconds, batches: [] },
  })
  if (record.samples.length > 0) console.error(`${out}: ${record.samples.length} of ${number} samples are there already.`)
  if (kernels || record.samples.length > 0) useKernels(setup, kernels ?? record.kernels)
  else await measureKernels(setup, settings, signal)
  record = { ...record, kernels: Object.fromEntries(device.kernels) }
  await saveRecord(out, record)

  const score = scorer(settings, varianceTypeOf(setup.model.config), { seed: settings.seed, distance: distance.score })
  const parts: Drawn[] = []
  for (let begin = record.samples.length; begin < number; begin += batch) {
    const samples = Array.from({ length: Math.min(batch, number - begin) }, (_, i) => begin + i)
    const range = samples.length === 1 ? `sample ${begin + 1}` : `samples ${begin + 1} to ${begin + samples.length}`
    const drawn = await drawBatch(setup, settings, samples, score, `${what}, ${range} of ${number}`, signal)
    const finished: FinishedSample[] = []
    for (const [i, k] of samples.entries()) {
      const png = encodePng(imageOf(drawn.sample, [samples.length, ...shape], i))
      await writeFileAtomic(join(out, sampleFile(k)), [png], { signal })
      const label = settings.labels.length > 0 ? { label: cycled(settings.labels, k) } : {}
      finished.push({ file: sampleFile(k), sha256: sha256Of(png), score: drawn.scores[i] as number, ...label })
    }
    record = { ...record, samples: [...record.samples, ...finished], seconds: { ...record.seconds, batches: [...record.seconds.batches, drawn.timing] } }
    await saveRecord(out, record)
    if (save !== null) parts.push(drawn)
  }
  if (save !== null) await saveNumbers(save, parts, [number, ...shape], signal)
  return record
}

async function drawBatch(setup: Setup, settings: SampleSettings, samples: readonly number[], score: Scorer, label: string, signal: AbortSignal): Promise<Drawn> {
  const { device, model, shape } = setup
  const y = settings.labels.length > 0 ? samples.map((k) => cycled(settings.labels, k)) : undefined
  const denoiser: Denoiser = (x, timesteps) => model.forward(x, timesteps, y ? { y } : {})
  const diffusion = new GaussianDiffusion({ ...settings, varianceType: varianceTypeOf(model.config) })
  const noise = setup.noise ? new GivenNoise(setup.noise.xT, setup.noise.noise) : new GeneratedNoise(device, { seed: settings.seed, samples, shape })
  const options: SampleOptions = {
    noise, signal, eta: settings.eta, boost: settings.boost, skip: settings.skip,
    method: settings.method === 'ddim' ? 'ddim' : 'ancestral',
    guidances: classifierGuidances(setup, settings, samples, y),
    ...(settings.guide ? { selfGuidance: selfGuidance({ ...settings.guide, distance: setup.distance.distance }) } : {}),
  }
  const start = performance.now()
  const elapsed = (): number => (performance.now() - start) / 1000
  const bar = progress(label, diffusion.steps - settings.skip, 'steps')
  let [first, middle, last]: (Float32Array | null)[] = [null, null, null]
  let [firstStep, sampling] = [0, 0]
  let scores = new Float32Array()
  try {
    for await (const { x, done, total } of sampleLoop(diffusion, denoiser, options)) {
      bar.update(done)
      if (done === 1) firstStep = elapsed()
      // The goldens' marks: the state after the first step and after N/2 + 1 of N.
      if (setup.noise && done === 1) first = await x.read()
      if (setup.noise && done === Math.min(total, Math.floor(total / 2) + 1)) middle = await x.read()
      if (done < total) continue
      last = await x.read()
      sampling = elapsed()
      scores = await score(denoiser, x, samples) as Float32Array<ArrayBuffer>
    }
  } finally {
    bar.stop()
    if (noise instanceof GeneratedNoise) noise.dispose()
  }
  if (!last) throw new Error('the sampler yielded no step')
  const broken = last.findIndex((value) => !Number.isFinite(value))
  if (broken >= 0) throw new TweedieError('non-finite', `Sample ${samples[Math.floor(broken / (last.length / samples.length))]} holds ${last[broken]}: the weights are damaged, or the guidance is too strong.`)
  return { sample: last, first, middle, scores, timing: { samples: samples.length, seconds: sampling, firstStep, scoring: elapsed() - sampling } }
}

function classifierGuidances({ classifier }: Setup, settings: SampleSettings, samples: readonly number[], y: readonly number[] | undefined): Guidance[] {
  if (!classifier || !settings.classifier) return []
  const { target, scale } = settings.classifier
  const inputs = classifier.config.numClasses !== null && y ? { y } : {}
  return [classifierGuidance((x, timesteps) => classifier.forward(x, timesteps, inputs), { target: samples.map((k) => cycled(target, k)), scale })]
}

async function saveNumbers(path: string, parts: readonly Drawn[], shape: readonly number[], signal: AbortSignal): Promise<void> {
  const joined = (pick: (part: Drawn) => Float32Array | null): Float32Array | null => {
    const arrays = parts.map(pick)
    if (arrays.includes(null)) return null
    const out = new Float32Array(shape.reduce((a, b) => a * b, 1))
    let at = 0
    for (const array of arrays as Float32Array[]) {
      out.set(array, at)
      at += array.length
    }
    return out
  }
  const named = { sample: joined((part) => part.sample), first_step: joined((part) => part.first), middle_step: joined((part) => part.middle) }
  const tensors = Object.entries(named).flatMap(([key, data]) => data ? [[key, { shape, data }] as const] : [])
  await writeFileAtomic(path, encodeSafetensors(tensors), { signal })
}
