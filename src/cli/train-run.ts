/**
 * A run's folder, and the loop that fills it. The state is written first and whole; log, report and model files are made
 * from it afterwards, so that a run killed at any moment goes on from its last checkpoint and leaves no broken file.
 */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { TweedieError } from '../errors.ts'
import { openCheckpoint, openFile, writeFileAtomic } from '../io/index.node.ts'
import { jsonText, listOf, type Check } from '../io/json.ts'
import { countersOf, encodeModel, encodeState, restoreState, type AnyTrainer, type Row } from '../train/index.ts'
import { fail } from './arguments.ts'
import { claimOutputs, type Outputs } from './outputs.ts'
import { progress } from './progress.ts'
import type { RunSettings } from './train-options.ts'

export const stateFile = 'state.safetensors'

/** Everything that decides what a run computes, in JSON: a run goes on only with the same. */
export type RunDescription = Readonly<Record<string, unknown>>

export interface TrainRun {
  readonly trainer: AnyTrainer
  readonly settings: RunSettings
  readonly run: RunDescription
  /** Metadata of the model files. */
  readonly metadata: Readonly<Record<string, string>>
  /** Called after `saveEvery` steps, before the checkpoint, and at the end: evaluates, draws samples. */
  readonly review?: (step: number) => Promise<void>
  /** What a review leaves in the trainer's evaluations, when it comes from a file. */
  readonly isReview: Check
  /** The run's page; called after every checkpoint. */
  readonly page: () => string
}

/** Every name that a training writes in its folder. */
const names = /^(state|model|ema-[\d.e-]+|features|marginal)\.safetensors$|^(log\.csv|report\.html|samples-\d+\.png)$/

/** Takes the folder of a run; its state accounts for all but what is written before it: the marginal and the first review's samples. */
export const claimRun = (command: string, { out }: RunSettings, inputs: Outputs['inputs']): Promise<AsyncDisposable> =>
  claimOutputs({ command, inputs, folders: [{ option: '--out', path: out, names, record: stateFile, early: /^(samples-|marginal)/ }] })

const exists = (path: string): Promise<boolean> => stat(path).then(() => true, () => false)

/** Files of a finished checkpoint: the weights, and every average. */
export const modelFiles = (emaRates: readonly number[]): string[] => ['model.safetensors', ...emaRates.map((rate) => `ema-${rate}.safetensors`)]

/** Goes on with the run in the folder, or sees that there is none. Resolves to whether it went on. */
export async function resumeRun({ trainer, settings: { out, resume }, run, isReview }: Pick<TrainRun, 'trainer' | 'settings' | 'run' | 'isReview'>, signal: AbortSignal): Promise<boolean> {
  const path = join(out, stateFile)
  const there = await exists(path)
  if (there && !resume) return fail(`${out} holds a run already: --resume goes on with it; another --out begins a new one.`)
  if (!there) return false
  const checkpoint = await openCheckpoint(await openFile(path), { signal })
  try {
    const wrong = listOf(isReview)(countersOf(checkpoint).evaluations, 'evaluations')
    if (wrong !== undefined) throw new TweedieError('format', `${path}: ${wrong}. The file is damaged.`)
    await restoreState(trainer, checkpoint, run, signal)
  } finally {
    await checkpoint.close()
  }
  console.error(`${path}: going on after step ${trainer.step} of ${trainer.options.steps}.`)
  return true
}

/** Trains to the end, or until `signal` aborts; what was computed until then is saved. */
export async function trainToEnd(task: TrainRun, signal: AbortSignal): Promise<void> {
  const { trainer, settings: { out, saveEvery }, review } = task
  const { steps, batch } = trainer.options
  const bar = progress('Training', steps, 'steps', trainer.step)
  const speed = meter(batch)
  let saved = trainer.step
  // Killed after its last state was written, and before what is made from it.
  if (trainer.done) await saveRun(task)
  const save = async (): Promise<void> => {
    await saveRun(task)
    saved = trainer.step
  }
  try {
    for await (const { step, loss, terms } of trainer.run(signal)) {
      const shown = Object.entries({ loss, ...terms }).map(([name, value]) => `${name} ${value.toFixed(4)}`)
      bar.update(step, `${shown.join(', ')}, ${speed()} images/s`)
      if (step % saveEvery !== 0 && step !== steps) continue
      await review?.(step)
      await save()
    }
  } catch (error) {
    if (signal.aborted && trainer.step > saved) {
      await save()
      console.error(`Saved after step ${trainer.step}; the same command with --resume goes on.`)
    }
    if (error instanceof TweedieError && error.code === 'non-finite') {
      const last = saved > 0 ? `The last checkpoint is of step ${saved}: ${join(out, stateFile)}.` : 'There was no checkpoint yet.'
      throw new TweedieError('non-finite', `${error.message} ${last}`, { cause: error })
    }
    throw error
  } finally {
    bar.stop()
  }
}

async function saveRun({ trainer, settings: { out }, run, metadata, page }: TrainRun): Promise<void> {
  await writeFileAtomic(join(out, stateFile), await encodeState(trainer, run))
  const { emas, options: { emaRates }, parameters } = trainer.optimizer
  const sets = [parameters, ...emas]
  for (const [i, file] of modelFiles(emaRates).entries()) {
    const trained = jsonText({ step: trainer.step, images: trainer.step * trainer.options.batch, ...run }, file)
    await writeFileAtomic(join(out, file), await encodeModel(sets[i]!, { ...metadata, training: trained }))
  }
  const text = (content: string): Uint8Array[] => [new TextEncoder().encode(content)]
  await writeFileAtomic(join(out, 'log.csv'), text(csvOf(trainer)))
  await writeFileAtomic(join(out, 'report.html'), text(page()))
}

/** guided-diffusion's names: loss, mse, vb, each also by quartile, as in mse_q0. */
function csvOf({ rows, task: { groups } }: AnyTrainer): string {
  const names = Object.keys(rows[0]?.values ?? {})
  const figures = (row: Row): (number | null)[] => names.flatMap((name) => [row.values[name]!.all, ...groups.length > 1 ? row.values[name]!.byGroup : []])
  const head = ['step', 'images', ...names.flatMap((name) => [name, ...groups.length > 1 ? groups.map((group) => `${name}_${group}`) : []]), 'gradient_norm', 'lr']
  const lines = rows.map((row) => [row.step, row.images, ...figures(row), row.gradientNorm, row.lr].join(','))
  return `${[head.join(','), ...lines].join('\n')}\n`
}

/** Images a second over the last 30 seconds or so. */
function meter(batch: number): () => string {
  const marks: number[] = [performance.now()]
  return () => {
    const now = performance.now()
    marks.push(now)
    while (marks.length > 2 && now - marks[0]! > 30_000) marks.shift()
    return ((marks.length - 1) * batch / (now - marks[0]!) * 1000).toFixed(1)
  }
}
