import { chunk } from '../chunk.ts'
import { TweedieError, unexpected } from '../errors.ts'
import type { Checkpoint } from './checkpoint.ts'
import { openSafetensors } from './safetensors.ts'
import { isJson, openShards, readIndex } from './shards.ts'
import type { ByteSource } from './source.ts'

/** Options of {@link openCheckpoint}. */
export interface CheckpointOptions {
  /** Ends opening. */
  readonly signal?: AbortSignal
  /** Which state dict is meant, for a PyTorch file that holds several: `ema`. Default: the only one, or the average. */
  readonly stateDict?: string
  /** Opens a file beside this one, by its name: shards, of which this one is the index. Without it they are refused. */
  readonly beside?: (name: string) => Promise<ByteSource>
}

/**
 * Opens a checkpoint of any known format, told from its first bytes: a zip is a PyTorch file, 0x80 starts a legacy
 * PyTorch pickle, an index of shards is JSON, everything else must be safetensors. Takes the source over: it is closed
 * with the checkpoint, or at once when opening fails.
 *
 * Rejects with a TweedieError 'format' that names file, tensor, what was expected and what was found; with
 * `signal.reason` when aborted.
 *
 * @example
 * const checkpoint = await openCheckpoint(await openFile('model.pt'))
 * for (const [name, tensor] of checkpoint.tensors) console.log(name, tensor.shape, await tensor.read())
 * await checkpoint.close()
 */
export async function openCheckpoint(source: ByteSource, options: CheckpointOptions = {}): Promise<Checkpoint> {
  const { signal, stateDict } = options
  if (typeof source?.read !== 'function')
    throw unexpected(
      'openCheckpoint',
      'a source of bytes',
      source,
      'openFile(path), urlSource(url), blobSource(blob) and bytesSource(bytes) make one.',
    )
  try {
    // A number, or null, must not come as far as the names it is compared with.
    if (stateDict !== undefined && typeof stateDict !== 'string')
      throw unexpected('openCheckpoint: stateDict', 'the name of a state dict', stateDict)
    const head = await source.read(0, Math.min(9, source.size), signal)
    const shards = isJson(head) ? await readIndex(source, signal) : undefined
    if (shards) return await openSharded(source, shards, options)
    return await (isTorch(head) ? openTorch : openSafetensors)(source, options)
  } catch (error) {
    await source.close?.()
    throw error
  }
}

function openSharded(
  source: ByteSource,
  shards: ReadonlyMap<string, string>,
  { beside, ...options }: CheckpointOptions,
): Promise<Checkpoint> {
  if (!beside)
    throw new TweedieError(
      'format',
      `${source.name}: expected weights, found an index of shards, which lie beside it: give its path or URL, or in ` +
        'the library what opens them ({ beside })',
    )
  return openShards(source, shards, async (file) => openCheckpoint(await beside(file), options))
}

/** A safetensors header of, say, 640 bytes also starts with 0x80, but then 4 zero bytes and '{' follow. */
function isTorch(head: Uint8Array): boolean {
  if (head[0] === 0x50 && head[1] === 0x4b) return true
  const safetensors = head[4] === 0 && head[5] === 0 && head[6] === 0 && head[7] === 0 && head[8] === 0x7b
  return head[0] === 0x80 && !safetensors
}

/**
 * Opens a PyTorch file that holds a state dict: a dictionary of tensors at the top, or one in it under a name such as
 * `state_dict`, `model` or `ema`; of several the average, or the one that `stateDict` names. No code of the file is
 * run, and no global resolved but those that torch's own `weights_only` takes. Rejects with 'format', or 'option' where
 * it is open which of several is meant.
 */
export async function openTorch(source: ByteSource, options: CheckpointOptions = {}): Promise<Checkpoint> {
  // What reads pickles is a fifth of this room; a page whose weights are safetensors does not load it.
  const { openStateDict } = await chunk('unsupported', 'that reads PyTorch files', import('./torch.ts'))
  return openStateDict(source, options)
}
