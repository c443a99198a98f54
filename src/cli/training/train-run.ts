/**
 * A run's folder, and the loop that fills it. The state is written first and whole; log, report and model
 * files are made from it afterwards, so that a run killed at any moment goes on from its last checkpoint and
 * leaves no broken file.
 */
import { join } from 'node:path'
import { changedFiles, readImageFiles } from '../../data/image-files.node.ts'
import type { ImageSet } from '../../data/index.ts'
import { TweedieError } from '../../errors.ts'
import { exists, writeText } from '../../io/file.node.ts'
import { openCheckpoint, openFile, writeFileAtomic, type Checkpoint } from '../../io/index.node.ts'
import { jsonText, listOf, type Check } from '../../io/json.ts'
import {
  checkSettings,
  classNames,
  countersOf,
  encodeClassNames,
  encodeModel,
  encodeState,
  logCsv,
  restoreState,
  runOfState,
  trainingMetadata,
  type AnyTrainer,
} from '../../train/index.ts'
import { fail } from '../arguments.ts'
import { claimOutputs, type Outputs } from '../outputs.ts'
import { progress } from '../progress.ts'
import { imagesFile, writeImages } from './train-images.ts'
import type { RunSettings } from '../options/training.ts'
import { tell } from '../print.ts'

export const stateFile = 'state.safetensors'

/** Everything that decides what a run computes, in JSON: a run goes on only with the same. */
export type RunDescription = Readonly<Record<string, unknown>>

export interface TrainRun {
  readonly trainer: AnyTrainer
  readonly settings: RunSettings
  readonly run: RunDescription
  /** All images of the data set. */
  readonly images: ImageSet
  /** What the first version wrote in `run` instead, where that was something else. */
  readonly formerRun?: RunDescription
  /** What the labels of the images are called, in their order, where the run is told them. */
  readonly classNames: readonly string[] | null
  /** Metadata of the model files. */
  readonly metadata: Readonly<Record<string, string>>
  /**
   * Called after `saveEvery` steps, before the checkpoint, and at the end: evaluates, draws samples. What it finds is
   * kept with the run. A review that was stopped, by whatever, is made up for when the run goes on.
   */
  readonly review?: (step: number) => Promise<object | undefined>
  /** What a review leaves in the trainer's evaluations, when it comes from a file. */
  readonly isReview: Check
  /** The run's page; called after every checkpoint. */
  readonly page: () => Promise<string>
}

/** Every name that a training writes in its folder. */
const names =
  /^(state|model|ema-[\d.e-]+|features|marginal)\.safetensors$|^(log\.csv|report\.html|images\.jsonl|samples-\d+\.png)$/

/**
 * Takes the folder of a run; its state accounts for all but what is written before it: the images, the marginal and the
 * first review's samples.
 */
export const claimRun = (command: string, { out }: RunSettings, inputs: Outputs['inputs']): Promise<AsyncDisposable> =>
  claimOutputs({
    command,
    inputs,
    folders: [{ option: '--out', path: out, names, record: stateFile, early: /^(samples-|marginal|images)/ }],
  })

/** Files of a finished checkpoint: the weights, and every average. */
export const modelFiles = (emaRates: readonly number[]): string[] => [
  'model.safetensors',
  ...emaRates.map((rate) => `ema-${rate}.safetensors`),
]

/** What a run's description says of its data: fingerprints, and what follows from the data. */
const fingerprints = ['data', 'trainedOn', 'labels']
const ofTheData = [...fingerprints, 'classCounts', 'thresholds']

/** Goes on with the run in the folder, or sees that there is none. */
export async function resumeRun(task: TrainRun, signal: AbortSignal): Promise<void> {
  const {
    trainer,
    settings: { out, resume },
    run,
    images,
    isReview,
    formerRun = {},
  } = task
  const path = join(out, stateFile)
  const there = await exists(path)
  if (there && !resume)
    return fail(`${out} holds a run already: --resume goes on with it; another --out begins a new one.`)
  if (there) {
    const checkpoint = await openCheckpoint(await openFile(path), { signal })
    try {
      const wrong = listOf(isReview)(countersOf(checkpoint).evaluations, 'evaluations')
      if (wrong !== undefined) throw new TweedieError('format', `${path}: ${wrong}. The file is damaged.`)
      const changes = await changesOfData(task, checkpoint)
      const mayDiffer = changes === null ? Object.keys(formerRun) : ofTheData
      const { steps } = runOfState(checkpoint)
      await restoreState(trainer, checkpoint, run, { signal, mayDiffer })
      if (steps !== run.steps)
        tell(
          `note: the run is to have ${trainer.options.steps} steps now, instead of ${String(steps)}` +
            `${trainer.options.anneal > 0 ? '; the learning rate is that of the new length from here on' : ''}.`,
        )
      if (changes !== null) {
        trainer.history.push({ step: trainer.step, what: changes })
        await saveRun(task)
      }
    } finally {
      await checkpoint.close()
    }
    tell(`${path}: going on after step ${trainer.step} of ${trainer.options.steps}.`)
  } else if (images.leftOut) trainer.history.push({ step: 0, what: leftOutText(images.leftOut) })
  await writeImages(out, images)
}

/** What the record of a run says of the files that were no images. */
const leftOutText = (names: readonly string[]): string =>
  `${names.length} files that cannot be read as images were left out: ${names.slice(0, 50).join(', ')}` +
  `${names.length > 50 ? ` and ${names.length - 50} more` : ''}`

/** What became of the data since the run was saved; null if nothing. Refuses what was not asked for. */
async function changesOfData(task: TrainRun, checkpoint: Checkpoint): Promise<string | null> {
  const {
    settings: { out, dataChanged },
    run,
    images,
    formerRun = {},
  } = task
  const saved = runOfState(checkpoint)
  const changed = fingerprints.filter(
    (key) => saved[key] !== run[key] && (formerRun[key] === undefined || saved[key] !== formerRun[key]),
  )
  const whatChanged = async (): Promise<string> => {
    const files = changedFiles(await readImageFiles(imagesFile(out)), images.files)
    if (files) return `its images changed: ${files}`
    return changed.every((key) => key === 'labels')
      ? 'its labels changed'
      : 'its images, or the choice among them, changed'
  }
  const what = changed.length === 0 ? await changeOfClasses(task) : await whatChanged()
  if (what === null) return null
  // Of another run altogether, these are the smaller part.
  checkSettings(checkpoint, run, ofTheData)
  if (!dataChanged)
    return fail(
      `${checkpoint.name} is of a run on other data: ${what}. --data-changed goes on with them as they are now.`,
    )
  tell(`note: ${what}.`)
  return what
}

/**
 * Whether the same images of a folder had their classes in another order when the run was saved; null if not. Until
 * models kept the names of classes, those that are numbers were sorted as texts: 1, 10, 2.
 */
async function changeOfClasses({ settings: { out }, classNames: now, images }: TrainRun): Promise<string | null> {
  const path = join(out, modelFiles([])[0])
  if (now === null || !images.files || !(await exists(path))) return null
  const model = await openCheckpoint(await openFile(path))
  await model.close()
  const before = classNames(model.metadata, path) ?? [...now].sort()
  const wrong = now.findIndex((name, label) => before[label] !== name)
  return wrong < 0
    ? null
    : `its classes are in another order: label ${wrong} was ${before[wrong] ?? 'none'} and is ${now[wrong]}, ` +
        'since folders named by numbers are sorted as numbers'
}

/** Trains to the end, or until `signal` aborts or something fails; what was computed until then is saved. */
export async function trainToEnd(task: TrainRun, signal: AbortSignal): Promise<void> {
  const {
    trainer,
    settings: { out, saveEvery },
  } = task
  const { steps, batch } = trainer.options
  const bar = progress('Training', steps, 'steps', trainer.step)
  const speed = meter(batch)
  let saved = trainer.step
  const save = async (): Promise<void> => {
    await saveRun(task)
    saved = trainer.step
  }
  let reviewing = false
  const review = async (): Promise<void> => {
    reviewing = true
    if (task.review) trainer.release()
    const found = await task.review?.(trainer.step)
    if (found) {
      // What could not be saved is not kept.
      jsonText(found, `the review after step ${trainer.step}`)
      trainer.evaluations.push(found)
    }
    reviewing = false
    trainer.reviewed = trainer.step
    await save()
  }
  const due = (): boolean =>
    trainer.step > trainer.reviewed && (trainer.step % saveEvery === 0 || trainer.step === steps)
  try {
    if (due()) await review()
    // Killed after its last state was written, and before what is made from it.
    else if (trainer.done) await save()
    for await (const { step, loss, terms } of trainer.run(signal)) {
      const shown = Object.entries({ loss, ...terms }).map(([name, value]) => `${name} ${value.toPrecision(4)}`)
      bar.update(step, `${shown.join(', ')}, ${speed()} images/s`)
      if (due()) await review()
    }
  } catch (error) {
    // Weights of which a step is not finite are worth no checkpoint; a review may still be made up for
    // with other settings.
    if (!reviewing && error instanceof TweedieError && error.code === 'non-finite') {
      const last =
        saved > 0 ? `The last checkpoint is of step ${saved}: ${join(out, stateFile)}.` : 'There was no checkpoint yet.'
      throw new TweedieError('non-finite', `${error.message} ${last}`, { cause: error })
    }
    if (trainer.step > saved)
      await save().then(
        () => tell(`Saved after step ${trainer.step}; the same command with --resume goes on.`),
        (second: Error) => tell(`The steps after step ${saved} could not be saved: ${second.message}`),
      )
    throw error
  } finally {
    bar.stop()
  }
}

async function saveRun({
  trainer,
  settings: { out },
  run,
  classNames: names,
  metadata,
  page,
}: TrainRun): Promise<void> {
  await writeFileAtomic(join(out, stateFile), await encodeState(trainer, run))
  const {
    emas,
    options: { emaRates },
    parameters,
  } = trainer.optimizer
  const sets = [parameters, ...emas]
  for (const [i, file] of modelFiles(emaRates).entries()) {
    await writeFileAtomic(
      join(out, file),
      await encodeModel(sets[i], {
        ...metadata,
        ...(names && encodeClassNames(names)),
        ...trainingMetadata(trainer, run, file),
      }),
    )
  }
  await writeText(join(out, 'log.csv'), logCsv(trainer.rowsSoFar, trainer.task.groups))
  await writeText(join(out, 'report.html'), await page())
}

/** Images a second over the last 30 seconds or so. */
function meter(batch: number): () => string {
  const marks: number[] = [performance.now()]
  return () => {
    const now = performance.now()
    marks.push(now)
    while (marks.length > 2 && now - marks[0] > 30_000) marks.shift()
    // Two marks of one microsecond are no speed.
    return ((((marks.length - 1) * batch) / Math.max(now - marks[0], 1e-3)) * 1000).toFixed(1)
  }
}
