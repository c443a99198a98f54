/** Checkpoints in several files, and the index that says which tensor is in which. */
import { TweedieError } from '../errors.ts'
import { clipped } from '../printable.ts'
import type { Checkpoint, TensorEntry } from './checkpoint.ts'
import { aText, fieldsOf, parseJson, valuesOf } from './json.ts'
import { sha256 } from './sha256.ts'
import type { ByteSource } from './source.ts'

/** Of 100,000 tensors with long names. */
const maxIndex = 2 ** 24
/** The largest published models have some hundred. */
const maxShards = 1000

/**
 * The shard of each tensor, if this is such an index: `model.safetensors.index.json` and `pytorch_model.bin.index.json`
 * of Hugging Face. Undefined for any other file.
 * @throws TweedieError 'format' for a damaged one, and for shards that are not in its own folder
 */
export async function readIndex(source: ByteSource, signal?: AbortSignal): Promise<Map<string, string> | undefined> {
  if (source.size > maxIndex) return undefined
  const text = new TextDecoder().decode(await source.read(0, source.size, signal))
  if (!/^\s*\{/.test(text) || !text.includes('"weight_map"')) return undefined
  const index = parseJson<{ weight_map: Record<string, string> }>(
    text,
    source.name,
    'an index of shards',
    fieldsOf({ weight_map: valuesOf(aText) }),
  )
  const shards = new Map(Object.entries(index.weight_map))
  const files = new Set(shards.values())
  const outside = [...files].find((file) => !/^[\w-][\w.-]*$/.test(file))
  const wrong = (message: string) => new TweedieError('format', `${source.name}: ${message}`)
  if (outside !== undefined)
    throw wrong(`expected names of shards beside the index, found ${JSON.stringify(clipped(outside))}`)
  if (files.size === 0 || files.size > maxShards) throw wrong(`expected 1 to ${maxShards} shards, found ${files.size}`)
  return shards
}

/** Whether a file may be JSON, by its first bytes; a header of safetensors begins with its length. */
export const isJson = (head: Uint8Array): boolean => /^\s*\{/.test(String.fromCharCode(...head)) && head[8] !== 0x7b

/** The shards of a file that was opened for it, in the index's order; none of a file that is no index. Closes it. */
export async function shardsIn(source: ByteSource, signal?: AbortSignal): Promise<string[]> {
  try {
    const head = await source.read(0, Math.min(9, source.size), signal)
    return [...new Set(isJson(head) ? (await readIndex(source, signal))?.values() : [])]
  } finally {
    await source.close?.()
  }
}

/**
 * The SHA-256 of weights by those of their files: of one file its own, of an index and its shards, in the index's
 * order, what `sha256sum INDEX SHARD… | cut -c-64 | sha256sum` prints.
 */
export const sha256OfSums = (sums: readonly [string, ...string[]]): string =>
  sums.length === 1 ? sums[0] : sha256(...sums.map((sum) => `${sum}\n`))

/** One checkpoint of all shards, which are opened side by side and closed with it. */
export async function openShards(
  source: ByteSource,
  shards: ReadonlyMap<string, string>,
  open: (file: string) => Promise<Checkpoint>,
): Promise<Checkpoint> {
  const opened = new Map<string, Checkpoint>()
  const close = async (): Promise<void> => {
    for (const shard of opened.values()) await shard.close()
    await source.close?.()
  }
  try {
    for (const file of new Set(shards.values())) opened.set(file, await open(file))
    const tensors = new Map<string, TensorEntry>()
    for (const [name, file] of shards) {
      const entry = opened.get(file)!.tensors.get(name)
      if (!entry)
        throw new TweedieError(
          'format',
          `${source.name}: expected the tensor "${clipped(name)}" in ${file}, and it is not there`,
        )
      tensors.set(name, entry)
    }
    const [first] = opened.values()
    return { name: source.name, metadata: first.metadata, tensors, notes: first.notes ?? [], close }
  } catch (error) {
    await close()
    throw error
  }
}
