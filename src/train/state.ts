/**
 * A training run as a file: one safetensors checkpoint with weights, averages, moments and counters, from which the run
 * goes on bit for bit; and its weights or an average by themselves, as a model that every command loads.
 *
 * Versions of the file, in its metadata as `version`:
 *
 * - 1 (the word is missing): `run`, `counters`. A folder's fingerprint was that of the names and sizes of its files.
 * - 2: the file is sealed (io/sealed.ts); the counters hold `reviewed`, the step of the last review, and `history`; a
 *   folder's fingerprint is that of the contents of its files.
 *
 * A state of version 1 goes on, and is one of version 2 when it is next saved.
 */
import { TweedieError } from '../errors.ts'
import { encodeSafetensors, encodeSealed, openSealed, type Checkpoint } from '../io/index.ts'
import {
  aCount,
  aNumber,
  aText,
  fieldsOf,
  jsonText,
  listOf,
  oneOf,
  optional,
  anyOf,
  parseJson,
  valuesOf,
} from '../io/json.ts'
import { levelRates } from '../nn/index.ts'
import type { Tensor } from '../tensor/index.ts'
import type { AnyTrainer, TrainCounters } from './trainer.ts'

const version = 2
const stateKind = 'tweedie-training'

/**
 * The file of a run's state in chunks, for `writeFileAtomic`. `run` says what is trained, and on what:
 * {@link restoreState} refuses a file that says otherwise.
 */
export async function encodeState(
  trainer: AnyTrainer,
  run: Readonly<Record<string, unknown>>,
): Promise<Uint8Array<ArrayBuffer>[]> {
  const { tensors, counters } = trainer.state()
  return encodeSealed(await onHost(tensors), {
    kind: stateKind,
    version: String(version),
    run: jsonText(run, 'a training state'),
    counters: jsonText(counters, 'a training state'),
  })
}

/** What {@link encodeState} was told, from an opened state file. */
export function runOfState({ metadata, name }: Checkpoint): Record<string, unknown> {
  if (metadata.kind !== stateKind)
    throw new TweedieError(
      'format',
      `${name} is no training state: it is the file state.safetensors in a run's folder.`,
    )
  const run = parseJson<Record<string, unknown>>(metadata.run ?? '{}', name, 'what the run trains', fieldsOf({}))
  return { ...run, ...(typeof run.config === 'string' && { config: withoutIdleRates(run.config, name) }) }
}

const rowFields = fieldsOf({
  step: aCount,
  images: aCount,
  steps: aCount,
  counts: listOf(aCount),
  gradientNorm: aNumber,
  lr: aNumber,
  values: valuesOf(fieldsOf({ all: aNumber, byGroup: listOf(anyOf(oneOf(null), aNumber)) })),
})

/** How far the run of an opened state file is, with its log. Throws 'format' where that is damaged. */
export const countersOf = ({ metadata, name }: Checkpoint): TrainCounters =>
  parseJson(
    metadata.counters ?? '',
    name,
    'the counters of a training state',
    fieldsOf({
      step: aCount,
      open: rowFields,
      rows: listOf(rowFields),
      evaluations: listOf(fieldsOf({})),
      reviewed: optional(aCount),
      history: optional(listOf(fieldsOf({ step: aCount, what: aText }))),
    }),
  )

/** Until November 2026 a configuration could name rates of attention that no level has, which meant nothing. */
function withoutIdleRates(json: string, name: string): string {
  const config = parseJson<{ attention_resolutions?: number[]; channel_mult?: number[] }>(
    json,
    name,
    'the configuration of what is trained',
    fieldsOf({ attention_resolutions: optional(listOf(aNumber)), channel_mult: optional(listOf(aNumber)) }),
  )
  const { attention_resolutions: attention, channel_mult: mult } = config
  if (!attention || !mult) return json
  const rates = levelRates({ channelMult: mult })
  return JSON.stringify({ ...config, attention_resolutions: attention.filter((rate) => rates.includes(rate)) })
}

/** Options of {@link restoreState}. */
export interface RestoreOptions {
  readonly signal?: AbortSignal
  /**
   * Settings that may be others than the state's, by name: those that follow from the data. Whatever it holds, `steps`
   * may be another number, but none below the steps that are made.
   */
  readonly mayDiffer?: readonly string[]
}

/**
 * Goes on where the run of `checkpoint` was saved. Where the length of the run is another than it was, the learning
 * rate is that of the new length from here on (`Trainer.lrAt`), so that a run without `anneal` is to the bit what it
 * would have been at that length from the start; with `anneal` the change is noted in its history.
 *
 * @throws TweedieError 'option' if it was a run of other settings, listing what differs; 'format' if it is no such
 *   file, or damaged: the trainer is then of no use any more
 */
export async function restoreState(
  trainer: AnyTrainer,
  checkpoint: Checkpoint,
  run: Readonly<Record<string, unknown>>,
  { signal, mayDiffer = [] }: RestoreOptions = {},
): Promise<void> {
  const { name, metadata } = checkpoint
  // A seal with the version's digit gone is a seal.
  const sealed = metadata.version !== undefined || metadata.sha256 !== undefined || metadata.hashes !== undefined
  const state = sealed ? await openSealed(checkpoint) : checkpoint
  const saved = runOfState(state)
  if (Number(metadata.version ?? 1) > version)
    throw new TweedieError(
      'format',
      `${name} is a state of version ${metadata.version}, made by a newer tweedie; this one reads up to ${version}.`,
    )
  checkSettings(state, run, mayDiffer)
  const counters = countersOf(state)
  const {
    options: { steps, batch, anneal },
  } = trainer
  if (counters.step > steps) {
    throw new TweedieError(
      'option',
      `${name}: the run has made ${counters.step} steps (${counters.step * batch} images), more than the ` +
        `${steps} (${steps * batch}) that it is to have: make it that long or longer.`,
    )
  }
  await trainer.restore(counters, async (key) => {
    const entry = state.tensors.get(key)
    if (!entry) throw new TweedieError('format', `${name} lacks the tensor ${key}.`)
    return (await entry.read(signal)) as Float32Array
  })
  if (anneal > 0 && saved.steps !== run.steps)
    trainer.history.push({ step: counters.step, what: `${String(run.steps)} steps instead of ${String(saved.steps)}` })
}

/**
 * What {@link restoreState} says of other settings, without restoring.
 * @throws TweedieError 'option', listing what differs
 */
export function checkSettings(
  checkpoint: Checkpoint,
  run: Readonly<Record<string, unknown>>,
  mayDiffer: readonly string[] = [],
): void {
  const differ = differencesOf(runOfState(checkpoint), run, ['steps', ...mayDiffer])
  if (differ.length === 0) return
  throw new TweedieError(
    'option',
    `${checkpoint.name} is of a run with other settings: ${differ.join('; ')}. Give the same ones, or ` +
      'train into another folder.',
  )
}

/**
 * "lr 1, now 2" for each setting that is not the same and may not differ, inside of settings that are JSON themselves.
 */
export function differencesOf(
  old: Readonly<Record<string, unknown>>,
  now: Readonly<Record<string, unknown>>,
  mayDiffer: readonly string[],
): string[] {
  const text = (value: unknown): string => JSON.stringify(value) ?? 'nothing'
  const show = (value: unknown): string => (text(value).length > 80 ? `${text(value).slice(0, 80)}…` : text(value))
  return [...new Set([...Object.keys(old), ...Object.keys(now)])]
    .filter((key) => text(old[key]) !== text(now[key]) && !mayDiffer.includes(key))
    .flatMap((key) => {
      const [before, after] = [settingsIn(old[key]), settingsIn(now[key])]
      return before && after
        ? differencesOf(before, after, mayDiffer)
        : [`${key} ${show(old[key])}, now ${show(now[key])}`]
    })
}

function settingsIn(value: unknown): Record<string, unknown> | null {
  try {
    const read: unknown = typeof value === 'string' ? JSON.parse(value) : null
    return typeof read === 'object' && read !== null && !Array.isArray(read) ? (read as Record<string, unknown>) : null
  } catch {
    return null
  }
}

/**
 * The network of a run's state as a checkpoint of its own, which `describeModel` and the loaders take: the weights that
 * are trained, with what the run says of them. Null for a file that is no state.
 */
export function modelOfState(checkpoint: Checkpoint): Checkpoint | null {
  if (checkpoint.metadata.kind !== stateKind) return null
  const { kind, config, diffusion, minority, classifier } = runOfState(checkpoint)
  const tensors = [...checkpoint.tensors].flatMap(([key, entry]) =>
    key.startsWith('model.') ? [[key.slice('model.'.length), entry] as const] : [],
  )
  const metadata = Object.entries({ kind, config, diffusion, minority, classifier }).filter(
    (entry): entry is [string, string] => typeof entry[1] === 'string',
  )
  return {
    name: checkpoint.name,
    tensors: new Map(tensors),
    metadata: Object.fromEntries(metadata),
    close: () => checkpoint.close(),
  }
}

/**
 * How a model was trained, for its metadata: steps and images so far, the settings `run`, what changed on the way, and
 * whatever `more` is known. `name` is what messages call the file.
 * @throws TweedieError 'non-finite' for a setting that is no number
 */
export function trainingMetadata(
  trainer: AnyTrainer,
  run: Readonly<Record<string, unknown>>,
  name = 'a model file',
  more: object = {},
): { training: string } {
  const {
    step,
    history,
    options: { batch },
  } = trainer
  return {
    training: jsonText({ step, images: step * batch, ...run, ...(history.length > 0 && { history }), ...more }, name),
  }
}

/**
 * What {@link trainingMetadata} wrote; empty where a file says nothing, or another program keeps something else there.
 */
export function trainingOf({ training = '{}' }: Readonly<Record<string, string>>): Readonly<Record<string, unknown>> {
  try {
    return (JSON.parse(training) ?? {}) as Record<string, unknown>
  } catch {
    return {}
  }
}

/** A model file in chunks: `parameters` under their own names, with `metadata` (see `configMetadata`). */
export async function encodeModel(
  parameters: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>>,
): Promise<Uint8Array<ArrayBuffer>[]> {
  return encodeSafetensors(await onHost(parameters), metadata)
}

type HostTensor = readonly [name: string, tensor: { readonly shape: readonly number[]; readonly data: Float32Array }]

async function onHost(tensors: ReadonlyMap<string, Tensor>): Promise<HostTensor[]> {
  const out: HostTensor[] = []
  for (const [name, tensor] of tensors) out.push([name, { shape: tensor.shape, data: await tensor.read() }])
  return out
}
