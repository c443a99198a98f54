import { chunk } from '../chunk.ts'
import { unexpected } from '../errors.ts'
import type { Checkpoint } from './checkpoint.ts'
import { openSafetensors } from './safetensors.ts'
import type { ByteSource } from './source.ts'

/**
 * Opens a checkpoint of any known format, told from its first bytes: a zip is a PyTorch file, 0x80 starts a legacy
 * PyTorch pickle, everything else must be safetensors. Takes the source over: it is closed with the checkpoint, or at
 * once when opening fails.
 *
 * Rejects with a TweedieError 'format' that names file, tensor, what was expected and what was found; with
 * `signal.reason` when aborted.
 *
 * @example
 * const checkpoint = await openCheckpoint(await openFile('model.pt'))
 * for (const [name, tensor] of checkpoint.tensors) console.log(name, tensor.shape, await tensor.read())
 * await checkpoint.close()
 */
export async function openCheckpoint(
  source: ByteSource,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Checkpoint> {
  if (typeof source?.read !== 'function')
    throw unexpected(
      'openCheckpoint',
      'a source of bytes',
      source,
      'openFile(path), urlSource(url), blobSource(blob) and bytesSource(bytes) make one.',
    )
  try {
    const head = await source.read(0, Math.min(9, source.size), signal)
    return await (isTorch(head) ? openTorch : openSafetensors)(source, { signal })
  } catch (error) {
    await source.close?.()
    throw error
  }
}

/** A safetensors header of, say, 640 bytes also starts with 0x80, but then 4 zero bytes and '{' follow. */
function isTorch(head: Uint8Array): boolean {
  if (head[0] === 0x50 && head[1] === 0x4b) return true
  const safetensors = head[4] === 0 && head[5] === 0 && head[6] === 0 && head[7] === 0 && head[8] === 0x7b
  return head[0] === 0x80 && !safetensors
}

/**
 * Opens a PyTorch file that holds a state dict: a dictionary of tensors at the top, or the only one under `state_dict`,
 * `model_state_dict`, `ema` or `model`. No code of the file is run and no other global resolved. Rejects with 'format'.
 */
export async function openTorch(source: ByteSource, options: { signal?: AbortSignal } = {}): Promise<Checkpoint> {
  // What reads pickles is a fifth of this room; a page whose weights are safetensors does not load it.
  const { openStateDict } = await chunk('unsupported', 'that reads PyTorch files', import('./torch.ts'))
  return openStateDict(source, options)
}
