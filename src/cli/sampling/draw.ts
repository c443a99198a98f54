/**
 * Drawing a run: batch after batch, each on disk before the next begins. A device that is lost, or Ctrl-C, costs the
 * batch in hand; the same command goes on from there, and its pictures are the same.
 */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { encodePng, imageOf, type Image } from '../../data/index.ts'
import { TweedieError } from '../../errors.ts'
import { writeFileAtomic } from '../../io/index.node.ts'
import type { Device } from '../../tensor/index.ts'
import { cycled } from '../../tweedie/labels.ts'
import {
  adapterIn,
  baseFile,
  sampleFile,
  type BatchTiming,
  type FinishedSample,
  type Kernels,
  type Picture,
  type RunRecord,
} from '../../tweedie/run-record.ts'
import { version } from '../../version.ts'
import { sha256Of } from '../files.ts'
import type { RunSettings } from '../options/sample.ts'
import type { Session } from '../session.ts'
import { sayDepartures } from './departures.ts'
import { joinParts, savePart, type BatchNumbers } from './numbers.ts'
import { recordSaver, resumed } from './run-record.ts'
import { useKernels } from './tune.ts'
import { tell } from '../print.ts'

/** A batch on the host, samples [N, C, H, W]. */
export interface Drawn {
  readonly sample: Float32Array
  /** Of two stages, the small pictures as numbers, */
  readonly base: Float32Array | null
  /** and as pictures. */
  readonly baseImages: readonly Image[] | null
  readonly first: Float32Array | null
  readonly middle: Float32Array | null
  /** Null: of no model that scores. */
  readonly scores: Float32Array | null
  /** Of self-guidance's last guided step. */
  readonly metric: Float32Array | null
  /** Of each sample, by guidance. */
  readonly targets: readonly Readonly<Record<string, number | string>>[]
  readonly timing: BatchTiming
}

/** What draws a run's batches: a model, by itself or with a second stage, or a second stage alone. */
export interface Drawer extends Pick<RunRecord, 'options' | 'metric' | 'sha256' | 'leftOut'> {
  readonly device: Device
  /** Seconds from the request of the device until all was loaded. */
  readonly seconds: number
  /** What is not as it was published. */
  readonly differs: readonly string[]
  /** [C, H, W] of the samples. */
  readonly shape: readonly number[]
  /** [C, h, w] of the small pictures, the same where there are none. */
  readonly small: readonly number[]
  /** Classes of the samples in order, starting over; empty where there are none. */
  readonly labels: readonly number[]
  /** What progress calls it. */
  readonly what: string
  /** Measures the kernels that were not measured yet on this GPU. */
  tune(signal: AbortSignal): Promise<void>
  /** The samples with these numbers. */
  batch(samples: readonly number[], label: string, signal: AbortSignal): Promise<Drawn>
}

/**
 * Draws what is not drawn yet of `settings.number` samples into `settings.out`. The record stays 'unfinished' until the
 * caller has added the report; that of a run that was finished already is 'done'. `kernels`: those of the run that this
 * one repeats.
 */
export async function draw(
  drawer: Drawer,
  settings: RunSettings,
  { signal }: Session,
  kernels?: Kernels,
): Promise<RunRecord> {
  const { device, options, differs, metric, sha256, leftOut = {}, seconds, shape, small, labels, what } = drawer
  const { out, number, batch, save } = settings
  await mkdir(out, { recursive: true })
  sayDepartures(differs)
  let record = await resumed(
    out,
    {
      program: 'tweedie',
      version,
      status: 'unfinished',
      started: new Date().toISOString(),
      options,
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
  if (kernels || record.samples.length > 0) useKernels(device, kernels ?? record.kernels)
  else await drawer.tune(signal)
  record = { ...record, kernels: Object.fromEntries(device.kernels) }
  await using saver = recordSaver(out)
  await saver.save(record)

  for (let begin = record.samples.length; begin < number; begin += batch) {
    const samples = Array.from({ length: Math.min(batch, number - begin) }, (_, i) => begin + i)
    const range = samples.length === 1 ? `sample ${begin + 1}` : `samples ${begin + 1} to ${begin + samples.length}`
    const drawn = await drawer
      .batch(samples, `${what}, ${range} of ${number}`, signal)
      .catch((error: unknown): never => {
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
      const picture = async (file: string, image: Image): Promise<Picture> => {
        const png = encodePng(image)
        await writeFileAtomic(join(out, file), [png], { signal })
        return { file, sha256: sha256Of(png) }
      }
      const base = drawn.baseImages && (await picture(baseFile(k, number), drawn.baseImages[i]))
      finished.push({
        ...(await picture(sampleFile(k, number), imageOf(drawn.sample, [samples.length, ...shape], i))),
        ...(base && { base }),
        ...(drawn.scores && { score: drawn.scores[i] }),
        ...(drawn.metric && { metric: drawn.metric[i] }),
        ...(labels.length > 0 && { label: cycled(labels, k) }),
        ...(Object.keys(drawn.targets[i]).length > 0 && { targets: drawn.targets[i] }),
      })
    }
    if (save !== null) await savePart(out, begin, numbersOf(drawn, samples.length, { small, large: shape }), signal)
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

/** Where the batches of a run begin. */
export const beginsOf = ({ number, batch }: Pick<RunSettings, 'number' | 'batch'>): number[] =>
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
