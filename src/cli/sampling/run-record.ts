/**
 * The run.json of a folder: written before the first step and after every batch, so that an interrupted run can go on.
 * What it holds: tweedie/run-record.ts.
 */
import { readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { exists, writeText } from '../../io/file.node.ts'
import { jsonText, parseJson } from '../../io/json.ts'
import {
  baseFile,
  isRecord,
  sampleFile,
  type FinishedSample,
  type Picture,
  type RunRecord,
} from '../../tweedie/run-record.ts'
import { fail } from '../arguments.ts'
import { sha256Of } from '../files.ts'
import { hasPart } from './numbers.ts'
import type { Option } from '../option.ts'
import { withUpsamplerSteps } from '../options/upsampler.ts'
import { sampleOptions } from '../options/sample.ts'
import { slowProgress } from '../progress.ts'

const recordFile = 'run.json'

/** Every name that a run writes in its folder. */
export const runNames =
  /^(run\.json|contact-sheet\.png|report(-\d+)?\.html|(sample|base)-\d+\.png|numbers-\d+\.safetensors)$/

const picturesOf = (sample: FinishedSample): Picture[] => [sample, ...(sample.base ? [sample.base] : [])]

export const saveRecord = (folder: string, record: RunRecord): Promise<void> =>
  writeText(join(folder, recordFile), `${jsonText(record, join(folder, recordFile), 2)}\n`)

/** Options that a record from before they existed lacks, with what was done then; the order is that of the record. */
const newerOptions = (options: RunRecord['options']): RunRecord['options'] => ({
  // A second stage alone is newer than they are.
  ...(options.model !== undefined && { predict: 'epsilon', 'no-clip-denoised': false }),
  ...(options['guide-weight'] !== undefined && { 'guide-through': 'first' }),
})

/** Largest part of the time that a run spends on writing its record. */
const share = 0.05

/**
 * Saves a run's record after each batch, but where that would take over a twentieth of the time: of 50,000 samples it
 * is 9 MB and takes 0.2 s, so a kill may cost the batches of the last 4 s. What was passed over is saved by `flush`,
 * and on an error by disposal, as far as that is possible: the error is what counts.
 */
export function recordSaver(
  folder: string,
): { save(record: RunRecord): Promise<void>; flush(): Promise<void> } & AsyncDisposable {
  let waiting: RunRecord | null = null
  let next = 0
  let written = 0
  const write = async (record: RunRecord): Promise<void> => {
    const start = performance.now()
    await saveRecord(folder, record)
    waiting = null
    written = record.samples.length
    next = performance.now() + (performance.now() - start) / share
  }
  return {
    async save(record) {
      waiting = record
      // The first batch is always told of: a record without samples says that no more than that one was begun.
      if (written === 0 || performance.now() >= next) await write(record)
    },
    async flush() {
      if (waiting) await write(waiting)
    },
    async [Symbol.asyncDispose]() {
      if (waiting) await write(waiting).catch(() => {})
    },
  }
}

/** The record of a run, or null where there is none. Throws 'format' for a file that is no such record. */
export async function readRecord(path: string): Promise<RunRecord | null> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) =>
    error.code === 'ENOENT' ? null : Promise.reject(error),
  )
  if (text === null) return null
  const record = parseJson<RunRecord>(text, path, 'a run.json of tweedie', isRecord)
  return {
    ...record,
    options: withUpsamplerSteps({ ...record.options, ...newerOptions(record.options), ...record.options }),
  }
}

/**
 * What of `fresh` is finished in its folder already: all of a finished run, the whole batches of an unfinished one, and
 * those of a run of fewer samples. A run with other options is refused, for it may have cost hours.
 */
export async function resumed(folder: string, fresh: RunRecord, signal: AbortSignal): Promise<RunRecord> {
  const old = await readRecord(join(folder, recordFile))
  const { save, npz } = fresh.options
  const saved = save !== undefined && (await isThere(String(save)))
  if (saved && old?.options.save !== save)
    return fail(`--save ${String(save)} holds the numbers of another run: choose another name, or delete it.`)
  if (npz !== undefined && (await isThere(String(npz))) && old?.options.npz !== npz)
    return fail(`--npz ${String(npz)} holds the samples of another run: choose another name, or delete it.`)
  if (old === null) return fresh
  const [before, now] = [Number(old.options.number), Number(fresh.options.number)]
  // Sample k is the same in any batch, and no batch is larger than its run.
  const same =
    describe(old) ===
    describe(
      before < now
        ? {
            ...fresh,
            options: { ...fresh.options, number: before, ...('batch' in old.options && { batch: old.options.batch }) },
          }
        : fresh,
    )
  if (!same) {
    if (old.status === 'unfinished' && old.samples.length === 0) return begun(folder, old, fresh)
    const changed = [...new Set([...Object.keys(fresh.options), ...Object.keys(old.options)])].filter(
      (key) => old.options[key] !== fresh.options[key] && !places.includes(key) && !(key in fresh.sha256),
    )
    const what =
      changed.length > 0
        ? `other options (${changed.map((key) => `--${key}`).join(', ')})`
        : 'another version or other weights'
    return fail(
      `${folder} holds ${old.status === 'done' ? 'a finished' : 'an unfinished'} run with ${what}: choose ` +
        `another --out (${await freeBeside(folder)} is free), or delete it.`,
    )
  }
  const whole = await wholeSamples(folder, old, signal)
  if (old.status === 'done' && whole === now && (save === undefined || saved))
    return npz === undefined ? old : { ...old, options: { ...old.options, npz } }
  const batch = Number(fresh.options.batch ?? now)
  // More samples begin where the finished run ended, in whichever batch.
  let kept = old.status === 'done' && whole === before && save === undefined ? whole : 0
  for (let end = Math.min(batch, now); kept < now && end <= whole; end = Math.min(end + batch, now)) {
    // A run of --save needs the numbers of its samples too, which are gone when it is finished.
    if (save !== undefined && !(await hasPart(folder, kept, end - kept))) break
    kept = Math.max(kept, end)
  }
  let counted = 0
  const batches = old.seconds.batches.filter(({ samples }) => (counted += samples) <= kept)
  return {
    ...fresh,
    started: old.started,
    kernels: old.kernels,
    samples: old.samples.slice(0, kept),
    seconds: { ...fresh.seconds, batches },
  }
}

/**
 * How many samples from the first are whole. Batches end where they ended before: what follows a missing
 * picture is drawn again.
 */
async function wholeSamples(folder: string, { status, samples }: RunRecord, signal: AbortSignal): Promise<number> {
  const bar = slowProgress('Looking at the samples', 'samples')
  try {
    for (const [i, sample] of samples.entries()) {
      for (const { file, sha256 } of picturesOf(sample)) {
        signal.throwIfAborted()
        const bytes = await readFile(join(folder, file)).catch(() => null)
        if (bytes !== null && sha256Of(bytes) === sha256) continue
        if (bytes !== null && status === 'done')
          return fail(
            `${join(folder, file)} is not the picture that the run made any more: move it away, and it is drawn again.`,
          )
        return i
      }
      bar.update(i + 1, samples.length)
    }
    return samples.length
  } finally {
    bar.stop()
  }
}

/** The folder's name with the first number that nothing has yet. */
async function freeBeside(folder: string): Promise<string> {
  for (let n = 2; ; n++) if (!(await exists(`${folder}-${n}`))) return `${folder}-${n}`
}

/** A run of which no batch was finished leaves its place to another; files of that batch may be there. */
async function begun(folder: string, { options }: RunRecord, fresh: RunRecord): Promise<RunRecord> {
  const number = Number(options.number)
  const first = Array.from({ length: Math.min(number, Number(options.batch ?? number)) }, (_, k) => [
    sampleFile(k, number),
    baseFile(k, number),
  ])
  for (const name of [...first.flat(), 'numbers-0.safetensors']) await rm(join(folder, name), { force: true })
  return fresh
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    (found) => found.isFile() && found.size > 0,
    () => false,
  )

/** Options that say where results go, not what they are. */
const places = Object.entries<Option>(sampleOptions).flatMap(([name, { path }]) => (path === 'output' ? [name] : []))

const describe = ({ version, options, sha256 }: RunRecord): string => {
  // A file is what it holds, wherever it lies.
  const kept = Object.entries(options)
    .filter(([key]) => !places.includes(key) && !(key in sha256))
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([version, kept, Object.entries(sha256).sort(([a], [b]) => (a < b ? -1 : 1))])
}
