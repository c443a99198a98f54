import { TweedieError } from '../errors.ts'
import { openCheckpoint, ownNames, type ByteSource, type Checkpoint } from '../io/index.ts'
import { sha256OfSource } from '../io/sha256.ts'
import { sha256OfSums, shardsIn } from '../io/shards.ts'
import {
  checkStateDict,
  describeModel,
  planOf,
  readFlags,
  stateDictOf,
  type FlagsReader,
  type ModelDescription,
} from '../nn/index.ts'
import { flagsInFile } from '../nn/flags-file.ts'
import { shapesOf } from '../nn/state-dict.ts'
import { isPlace, openWhere, type Files, type Where } from './files.ts'
import { otherFile } from './other-file.ts'

/** A model file as it is opened to draw or to guide. */
export interface ModelFile {
  /** What messages call it: a path, a URL. */
  readonly name: string
  /** Open: whoever opened the file closes it. */
  readonly checkpoint: Checkpoint
  /** What network it holds, and of which process. */
  readonly description: ModelDescription
}

/** Options of {@link openModelFile}. */
export interface ModelFileOptions {
  /** The published model it is, for a file that does not say so itself. */
  readonly preset?: string | undefined
  /** The flags of the script that trained it, for one that does not say so itself; see `configOfFlags`. */
  readonly flags?: string | readonly string[] | undefined
  /** Which state dict is meant, for a file that holds several. Default: the only one, or the average. */
  readonly stateDict?: string | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * Opens a checkpoint and tells what network it holds: from its own metadata, the preset, the flags, or the `.json`
 * beside it. That its tensors are the network's is known here, before a device is asked for.
 */
export async function openModelFile(
  files: Files,
  where: Where,
  { preset, flags, stateDict, signal }: ModelFileOptions = {},
): Promise<ModelFile> {
  const opened = await openNamed(files, where, { stateDict, signal })
  const { name } = opened
  try {
    const checkpoint = ownNames(opened, stateDict)
    const other = otherFile(checkpoint)
    if (other !== undefined) throw new TweedieError('option', `${name}: ${other}.`)
    const json =
      preset === undefined && flags === undefined && isPlace(where) ? await files.jsonBeside(where) : undefined
    const description = describeModel(checkpoint, {
      ...(preset === undefined ? {} : { preset }),
      ...(flags === undefined ? {} : { flags: readFlags(flags) }),
      ...(json === undefined ? {} : toldByFile(json)),
    })
    checkStateDict(stateDictOf(planOf(description.config)), shapesOf(checkpoint), name)
    return { name, checkpoint, description }
  } catch (error) {
    await opened.close()
    throw error
  }
}

/** Opens a checkpoint; of an index of shards the files beside it. */
export async function openNamed(
  files: Files,
  where: Where,
  { stateDict, signal }: Pick<ModelFileOptions, 'stateDict' | 'signal'>,
): Promise<Checkpoint> {
  return openCheckpoint(await openWhere(files, where, signal ? { signal } : {}), {
    ...(signal && { signal }),
    ...(stateDict !== undefined && { stateDict }),
    ...(isPlace(where) && {
      beside: (name: string) => openWhere(files, besideOf(where, name), signal ? { signal } : {}),
    }),
  })
}

/**
 * The SHA-256 of a file of weights, and of an index that of all its shards: see {@link sha256OfSums}. `open`: opens one
 * of its files again.
 */
export async function sha256OfWeights(
  open: (where: Where) => Promise<ByteSource>,
  where: Where,
  signal?: AbortSignal,
): Promise<string> {
  const sums: [string, ...string[]] = [await sha256OfSource(await open(where), signal)]
  if (!isPlace(where)) return sums[0]
  for (const shard of await shardsIn(await open(where), signal))
    sums.push(await sha256OfSource(await open(besideOf(where, shard)), signal))
  return sha256OfSums(sums)
}

/** `a/b.pt` and `c` are `a/c`; of an address without what follows its path. */
const besideOf = (where: string | URL, name: string): string | URL =>
  typeof where === 'string' && !/^\w+:\/\//.test(where) ? where.replace(/[^/\\]*$/, name) : new URL(name, where)

/** What the `.json` beside a checkpoint says: arguments of the constructors, or the flags of the scripts. */
export function toldByFile(text: string): { readonly json: string } | { readonly flags: FlagsReader } {
  const flags = flagsInFile(text)
  return flags ? { flags: readFlags(flags) } : { json: text }
}
