import { TweedieError } from '../errors.ts'
import { openCheckpoint, type Checkpoint } from '../io/index.ts'
import { checkStateDict, describeModel, planOf, readFlags, stateDictOf, type ModelDescription } from '../nn/index.ts'
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
  readonly signal?: AbortSignal | undefined
}

/**
 * Opens a checkpoint and tells what network it holds: from its own metadata, the preset, the flags, or the `.json`
 * beside it. That its tensors are the network's is known here, before a device is asked for.
 */
export async function openModelFile(
  files: Files,
  where: Where,
  { preset, flags, signal }: ModelFileOptions = {},
): Promise<ModelFile> {
  const checkpoint = await openCheckpoint(
    await openWhere(files, where, signal ? { signal } : {}),
    signal ? { signal } : {},
  )
  const { name } = checkpoint
  try {
    const other = otherFile(checkpoint)
    if (other !== undefined) throw new TweedieError('option', `${name}: ${other}.`)
    const json =
      preset === undefined && flags === undefined && isPlace(where) ? await files.jsonBeside(where) : undefined
    const description = describeModel(checkpoint, {
      ...(preset === undefined ? {} : { preset }),
      ...(flags === undefined ? {} : { flags: readFlags(flags) }),
      ...(json === undefined ? {} : { json }),
    })
    checkStateDict(stateDictOf(planOf(description.config)), shapesOf(checkpoint), name)
    return { name, checkpoint, description }
  } catch (error) {
    await checkpoint.close()
    throw error
  }
}
