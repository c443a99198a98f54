/**
 * Files in Node. Reading is by range; writing is beside the target and then renamed over it, so that a run that is
 * aborted, killed or out of disk never leaves half a file under the name a person asked for.
 */
import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { TweedieError } from '../errors.ts'
import { checkRange } from './source.ts'
import type { ByteSource } from './source.ts'

/** Node reads at most 2^31 - 1 bytes at once; shorter pieces also bound how long an abort has to wait. */
const piece = 2 ** 24

/**
 * Opens a file for reading by range. Close it, or the {@link Checkpoint} made from it.
 * Rejects with code 'option' when there is no such file or it may not be read.
 *
 * @example
 * const checkpoint = await openCheckpoint(await openFile('bccd32-adm.safetensors'))
 */
export async function openFile(path: string): Promise<ByteSource & { close(): Promise<void> }> {
  const handle = await open(path, 'r').catch((cause: unknown) => refuse('read', path, cause))
  const stat = await handle.stat()
  if (!stat.isFile()) {
    await handle.close()
    throw new TweedieError('option', `cannot read ${path}: expected a file, found a folder or a device`)
  }
  const { size } = stat
  let closed: Promise<void> | undefined
  return {
    name: path,
    size,
    async read(offset, length, signal) {
      signal?.throwIfAborted()
      if (closed) throw new TweedieError('disposed', `${path}: read after close`)
      checkRange({ name: path, size }, offset, length)
      const bytes = new Uint8Array(length)
      for (let done = 0; done < length;) {
        const { bytesRead } = await handle.read(bytes, done, Math.min(piece, length - done), offset + done)
          .catch((cause: unknown) => refuse('read', path, cause))
        signal?.throwIfAborted()
        if (bytesRead === 0) {
          throw new TweedieError('format', `${path}: expected ${length} bytes at offset ${offset}, found ${done}: ` +
            'the file became shorter while it was read')
        }
        done += bytesRead
      }
      return bytes
    },
    close: () => closed ??= handle.close(),
  }
}

/**
 * Writes chunks to `path` whole or not at all: into a new `.tmp` file beside it, synced to the disk and renamed over
 * `path`. When writing fails, `chunks` throws or `signal` aborts, the `.tmp` file is removed, what `path` was before is
 * untouched, and the reason is rethrown. Rejects with code 'option' when the folder is missing or not writable.
 *
 * @example
 * await writeFileAtomic('out.safetensors', encodeSafetensors([['sample', { shape: [8, 3, 32, 32], data }]]))
 */
export async function writeFileAtomic(
  path: string,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  { signal }: { signal?: AbortSignal } = {},
): Promise<void> {
  signal?.throwIfAborted()
  const temporary = `${path}.${randomBytes(4).toString('hex')}.tmp`
  const handle = await open(temporary, 'wx').catch((cause: unknown) => refuse('write', path, cause))
  try {
    try {
      for await (const chunk of chunks) {
        signal?.throwIfAborted()
        await handle.writeFile(chunk).catch((cause: unknown) => refuse('write', path, cause))
      }
      await handle.sync()
    } finally {
      await handle.close()
    }
    signal?.throwIfAborted()
    await rename(temporary, path).catch((cause: unknown) => refuse('write', path, cause))
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

function refuse(what: string, path: string, cause: unknown): never {
  const message = cause instanceof Error ? cause.message : String(cause)
  throw new TweedieError('option', `cannot ${what} ${path}: ${message}`, { cause })
}
