import { TweedieError } from '../errors.ts'
import {
  available,
  piece,
  readEntry,
  readPiece,
  refuseRoom,
  remove,
  storeEntry,
  storePiece,
  type Entry,
} from './cache-store.ts'
import { ask, checkSize, chunksOf, discard, lengthOf, rangeOf, validatorOf } from './http.ts'
import { refuseStandIn } from './other-format.ts'
import { Sha256, sha256OfBytes } from './sha256.ts'
import type { BytesProgress } from './source.ts'

/** Options of {@link cachedSource}. */
export interface CacheOptions {
  /** The file's SHA-256, 64 hex digits. Without it nothing is compared, and each visit asks whether it has changed. */
  readonly sha256?: string
  /** Ends waiting and downloading. What has come stays, and the next call goes on with it. */
  readonly signal?: AbortSignal
  /** Bytes that are there, and all of them, null where the server does not say. Called as they arrive. */
  readonly onProgress?: BytesProgress
}

/** Makes a file whole that this tab has locked. */
export async function complete(id: string, url: string, options: CacheOptions): Promise<Entry> {
  const known = await readEntry(id)
  // In a private window of WebKit a reload takes what a cache holds, but leaves the cache, which then finds nothing.
  if (!known) await remove(id)
  if (!known?.complete) return download(id, url, options, known)
  if (options.sha256 !== undefined) return known
  const response = await ask(url, request(options)).catch((error: unknown) => {
    if (error instanceof TweedieError && error.code === 'format') return null
    throw error
  })
  if (!response) return known
  if (known.validator !== null && validatorOf(response) === known.validator) {
    await discard(response)
    return known
  }
  await remove(id)
  return download(id, url, options, null, response)
}

/** What is stored here, the browser need not store a second time in its HTTP cache. */
const request = ({ signal }: CacheOptions): RequestInit => ({ cache: 'no-store', ...(signal && { signal }) })

/** Milliseconds before a broken transfer is taken up again. */
const pause = 500

/** Downloads a file, from the end of what `known` has of it. `response`: an answer that is there already. */
async function download(
  id: string,
  url: string,
  options: CacheOptions,
  known: Entry | null,
  response: Response | null = null,
): Promise<Entry> {
  const { sha256, signal, onProgress } = options
  const fresh = { url, sha256: sha256 ?? null, validator: null, size: null, pieces: [], complete: false }
  let entry: Entry = known ?? fresh
  let hash = new Sha256()
  for (let i = 0; i < entry.pieces.length; i++) {
    const bytes = await readPiece(id, entry, i)
    if (!bytes) return remove(id).then(() => download(id, url, options, null))
    hash.update(bytes)
  }
  let done = entry.pieces.length * piece
  const resumed = done > 0
  const part = new Uint8Array(piece)
  let filled = 0
  const flush = async (more: Partial<Entry> = {}): Promise<void> => {
    if (filled > 0) {
      const bytes = part.slice(0, filled)
      await storePiece(id, entry, bytes)
      entry = { ...entry, pieces: [...entry.pieces, await sha256OfBytes(bytes)] }
      filled = 0
    }
    entry = { ...entry, ...more }
    await storeEntry(id, entry)
  }
  const take = async (chunk: Uint8Array): Promise<void> => {
    for (let at = 0; at < chunk.length; ) {
      const bytes = chunk.subarray(at, at + piece - filled)
      part.set(bytes, filled)
      filled += bytes.length
      at += bytes.length
      if (filled === piece) await flush()
    }
    hash.update(chunk)
    done += chunk.length
  }
  for (;;) {
    const before = done
    try {
      response ??= await ask(url, { ...request(options), ...(done > 0 && { range: `bytes=${done}-` }) })
      if (done > 0 && !goesOn(response, entry, done)) {
        // Another file by now, or a server that sends no ranges: from the start.
        await remove(id)
        entry = fresh
        hash = new Sha256()
        done = filled = 0
        if (response.status !== 200) {
          await discard(response)
          response = await ask(url, request(options))
        }
      }
      checkSize(url, done > 0 ? 0 : (lengthOf(response) ?? 0))
      if (done === 0) entry = { ...fresh, validator: validatorOf(response), size: lengthOf(response) }
      const free = entry.size === null ? null : await available()
      if (free !== null && entry.size! - done > free) {
        await discard(response)
        await refuseRoom(id, entry, free)
      }
      onProgress?.(done, entry.size)
      for await (const chunk of chunksOf(response, url, signal)) {
        if (done === 0) refuseStandIn(url, chunk)
        checkSize(url, done + chunk.length)
        await take(chunk)
        // Of another origin, a server may compress and hide it: then more arrives than was announced.
        if (entry.size !== null && done > entry.size) entry = { ...entry, size: null }
        onProgress?.(done, entry.size)
      }
      if (entry.size === null || done === entry.size) break
      throw new TweedieError('format', `${url}: the transfer broke: ${done} of ${entry.size} bytes arrived. Try again`)
    } catch (error) {
      // A transfer that breaks is taken up again for as long as each attempt brings something.
      if (!(error instanceof TweedieError) || error.code !== 'format' || done <= before) throw error
      await new Promise((resolve) => setTimeout(resolve, pause))
      signal?.throwIfAborted()
      response = null
    }
  }
  const found = hash.digest()
  if (sha256 !== undefined && found !== sha256) {
    await remove(id)
    // What was stored long ago may be at fault.
    if (resumed) return download(id, url, options, null)
    throw new TweedieError(
      'format',
      `${url}: expected a file with sha256 ${sha256}, found ${found}. Nothing of it was stored: the server has ` +
        'another version of it, or something between it and here changes files',
    )
  }
  await flush({ size: done, complete: true })
  return entry
}

/**
 * Whether an answer is the rest of the file. By comparing what `If-Range` would compare: a page may send that header to
 * another origin only with its permission, where `Range` needs none.
 */
function goesOn(response: Response, { validator, size, sha256 }: Entry, done: number): boolean {
  const range = response.status === 206 ? rangeOf(response) : null
  const same = validator === null ? sha256 !== null : validatorOf(response) === validator
  return same && size !== null && range?.start === done && range.total === size
}
