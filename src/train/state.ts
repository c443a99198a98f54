/**
 * A training run as a file: one safetensors checkpoint with weights, averages, moments and counters, from which the run
 * goes on bit for bit; and its weights or an average by themselves, as a model that every command loads.
 */
import { TweedieError } from '../errors.ts'
import { encodeSafetensors, type Checkpoint } from '../io/index.ts'
import { aCount, aNumber, fieldsOf, jsonText, listOf, oneOf, anyOf, parseJson, valuesOf } from '../io/json.ts'
import { levelRates } from '../nn/index.ts'
import type { Tensor } from '../tensor/index.ts'
import type { AnyTrainer, TrainCounters } from './trainer.ts'

/**
 * The file of a run's state in chunks, for `writeFileAtomic`. `run` says what is trained, and on what: {@link restoreState}
 * refuses a file that says otherwise.
 */
export async function encodeState(trainer: AnyTrainer, run: Readonly<Record<string, unknown>>): Promise<Uint8Array[]> {
  const { tensors, counters } = trainer.state()
  return encodeSafetensors(await onHost(tensors), { kind: 'tweedie-training', run: jsonText(run, 'a training state'), counters: jsonText(counters, 'a training state') })
}

/** What {@link encodeState} was told, from an opened state file. */
export function runOfState({ metadata, name }: Checkpoint): Record<string, unknown> {
  if (metadata.kind !== 'tweedie-training') throw new TweedieError('format', `${name} is no training state: it is the file state.safetensors in a run's folder.`)
  const run = parseJson<Record<string, unknown>>(metadata.run ?? '{}', name, 'what the run trains', fieldsOf({}))
  return { ...run, ...typeof run.config === 'string' && { config: withoutIdleRates(run.config) } }
}

const rowFields = fieldsOf({
  step: aCount, images: aCount, steps: aCount, counts: listOf(aCount), gradientNorm: aNumber, lr: aNumber,
  values: valuesOf(fieldsOf({ all: aNumber, byGroup: listOf(anyOf(oneOf(null), aNumber)) })),
})

/** How far the run of an opened state file is, with its log. Throws 'format' where that is damaged. */
export const countersOf = ({ metadata, name }: Checkpoint): TrainCounters =>
  parseJson(metadata.counters ?? '', name, 'the counters of a training state', fieldsOf({ step: aCount, open: rowFields, rows: listOf(rowFields), evaluations: listOf(fieldsOf({})) }))

/** Until November 2026 a configuration could name rates of attention that no level has, which meant nothing. */
function withoutIdleRates(json: string): string {
  const config = JSON.parse(json) as { attention_resolutions?: number[]; channel_mult?: number[] }
  const { attention_resolutions: attention, channel_mult: mult } = config
  if (!attention || !mult) return json
  const rates = levelRates({ channelMult: mult })
  return JSON.stringify({ ...config, attention_resolutions: attention.filter((rate) => rates.includes(rate)) })
}

/**
 * Goes on where the run of `checkpoint` was saved.
 * @throws TweedieError 'option' if it was a run of other settings, listing what differs; 'format' if it is no such file
 */
export async function restoreState(trainer: AnyTrainer, checkpoint: Checkpoint, run: Readonly<Record<string, unknown>>, signal?: AbortSignal): Promise<void> {
  const saved = runOfState(checkpoint)
  const differ = differencesOf(saved, run)
  if (differ.length > 0) {
    throw new TweedieError('option', `${checkpoint.name} is of a run with other settings: ${differ.join('; ')}. Give the same ones, or train into another folder.`)
  }
  await trainer.restore(countersOf(checkpoint), async (name) => {
    const entry = checkpoint.tensors.get(name)
    if (!entry) throw new TweedieError('format', `${checkpoint.name} lacks the tensor ${name}.`)
    return await entry.read(signal) as Float32Array
  })
}

/** "lr 1, now 2" for each setting that is not the same, inside of settings that are JSON themselves. */
function differencesOf(old: Readonly<Record<string, unknown>>, now: Readonly<Record<string, unknown>>): string[] {
  const text = (value: unknown): string => JSON.stringify(value) ?? 'nothing'
  const show = (value: unknown): string => (text(value).length > 80 ? `${text(value).slice(0, 80)}…` : text(value))
  return [...new Set([...Object.keys(old), ...Object.keys(now)])].filter((key) => text(old[key]) !== text(now[key])).flatMap((key) => {
    const [before, after] = [settingsIn(old[key]), settingsIn(now[key])]
    return before && after ? differencesOf(before, after) : [`${key} ${show(old[key])}, now ${show(now[key])}`]
  })
}

function settingsIn(value: unknown): Record<string, unknown> | null {
  try {
    const read: unknown = typeof value === 'string' ? JSON.parse(value) : null
    return typeof read === 'object' && read !== null && !Array.isArray(read) ? read as Record<string, unknown> : null
  } catch {
    return null
  }
}

/** A model file in chunks: `parameters` under their own names, with `metadata` (see `configMetadata`). */
export async function encodeModel(parameters: ReadonlyMap<string, Tensor>, metadata: Readonly<Record<string, string>>): Promise<Uint8Array[]> {
  return encodeSafetensors(await onHost(parameters), metadata)
}

type HostTensor = readonly [name: string, tensor: { readonly shape: readonly number[]; readonly data: Float32Array }]

async function onHost(tensors: ReadonlyMap<string, Tensor>): Promise<HostTensor[]> {
  const out: HostTensor[] = []
  for (const [name, tensor] of tensors) out.push([name, { shape: tensor.shape, data: await tensor.read() }])
  return out
}
