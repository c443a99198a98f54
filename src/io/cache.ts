/** Files of the web that a browser keeps, so that the second visit downloads nothing and works offline. */
import { TweedieError } from '../errors.ts'
import { complete, type CacheOptions } from './cache-download.ts'
import {
  available,
  entries,
  noStore,
  piece,
  readPiece,
  remove,
  storedIds,
  withLock,
  type Entry,
} from './cache-store.ts'
import { inPieces } from './pieces.ts'
import { sha256 as sha256Of } from './sha256.ts'
import type { ByteSource } from './source.ts'
import { urlSource } from './url.ts'

/** What {@link cachedSource} gives. */
export interface CachedSource extends ByteSource {
  /** Null for a kept file; else why it is not, as in `this page is not secure (https, or localhost)`. */
  readonly note: string | null
}

/** A file in the store, for {@link cachedFiles}. */
export interface CachedFile {
  /** Where it came from. */
  readonly url: string
  /** What it was checked against; null where nobody said. */
  readonly sha256: string | null
  /** In bytes; of an unfinished download null where the server did not say. */
  readonly size: number | null
  /** How many of them are there. */
  readonly bytes: number
}

/** Pieces in memory while a source is read, in the order of the file or nearly so. */
const kept = 4

/**
 * A file on a web server that the browser keeps: from the second call on it is read from the browser's store, also
 * offline. With `sha256` no request is made then, and every byte that is read is one that was checked: the file when it
 * was downloaded, each piece of 4 MiB when it is read; a damaged one is fetched again. Without it, the server is asked
 * whether the file is still the same (by ETag or date; a server that cannot be reached means yes), and what it sent at
 * first is trusted.
 *
 * A download that was interrupted goes on where it ended. Where there is no store (no secure context, Node, a private
 * window that refuses it) the file is read by {@link urlSource}, neither kept nor checked, and `note` says why.
 *
 * @throws TweedieError what {@link urlSource} throws; 'format' for a file with another hash, of which nothing is kept;
 *   'storage' where the browser has no room, with the bytes needed and free, of which nothing is kept either;
 *   `signal.reason` when aborted
 * @example
 * const source = await cachedSource('/weights/faces.safetensors', { sha256: '2c26b46b…', onProgress })
 * const model = await Tweedie.load(source)
 */
export async function cachedSource(url: string | URL, options: CacheOptions = {}): Promise<CachedSource> {
  const { sha256, signal, onProgress } = options
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/.test(sha256))
    throw new TweedieError('option', `cachedSource: sha256: expected 64 hex digits in lower case, found "${sha256}".`)
  signal?.throwIfAborted()
  const note = await noStore()
  if (note !== null) {
    const { size, name, read, close } = await urlSource(url, options)
    return { name, size, read, close: async () => close?.(), note }
  }
  const name = absolute(url)
  const id = sha256 ?? `url-${sha256Of(name)}`
  let entry = await withLock(id, signal, () => complete(id, name, options))
  onProgress?.(entry.size!, entry.size)
  /** Damaged or deleted: by now another tab may have it again. */
  const again = (index: number, signal?: AbortSignal): Promise<Uint8Array> =>
    withLock(id, signal, async () => {
      const bytes = await readPiece(id, entry, index)
      if (bytes) return bytes
      await remove(id)
      const { size } = entry
      entry = await complete(id, name, { ...options, ...(signal && { signal }) })
      const fetched = entry.size === size ? await readPiece(id, entry, index) : null
      if (fetched) return fetched
      throw new TweedieError(
        'storage',
        `${name}: expected what the browser stored of it, found other bytes, also after it was fetched again. Open ` +
          'it again, or by urlSource, which stores nothing',
      )
    })
  const source = inPieces({
    name,
    size: entry.size!,
    piece,
    kept,
    read: async (index, signal) => (await readPiece(id, entry, index)) ?? again(index, signal),
  })
  return { ...source, note: null }
}

/** Whether a file is in the store, all of it: by its URL or its SHA-256. */
export async function isCached(file: string | URL): Promise<boolean> {
  return (await entries()).some(({ id, entry }) => entry.complete && isOf(file, id, entry))
}

/** The files in the store, and what there is of unfinished downloads. */
export async function cachedFiles(): Promise<CachedFile[]> {
  return (await entries()).map(({ entry: { url, sha256, size, pieces, complete } }) => ({
    url,
    sha256,
    size,
    bytes: complete ? size! : pieces.length * piece,
  }))
}

/**
 * Removes a file from the store, by its URL or its SHA-256; without either all of them. A download that another tab is
 * in the middle of is waited for.
 */
export async function deleteCached(file?: string | URL): Promise<void> {
  if ((await noStore()) !== null) return
  const ids =
    file === undefined ? await storedIds() : (await entries()).flatMap((e) => (isOf(file, e.id, e.entry) ? e.id : []))
  for (const id of ids) await withLock(id, undefined, () => remove(id))
}

/** Bytes of the files in the store, and how many more the browser has room for, null where it does not say. */
export async function cacheSize(): Promise<{ readonly bytes: number; readonly available: number | null }> {
  const bytes = (await cachedFiles()).reduce((sum, { bytes }) => sum + bytes, 0)
  return { bytes, available: await available() }
}

/**
 * Asks the browser not to remove the page's storage when the disk fills up, and says whether it promised. It may ask
 * the person (Firefox) or decide by itself. A worker cannot ask everywhere: ask in the page.
 */
export async function persistCache(): Promise<boolean> {
  const storage = globalThis.navigator?.storage
  return (await storage?.persisted?.()) || ((await storage?.persist?.()) ?? false)
}

/** As fetch resolves it: a page and a worker have bases of their own. */
const absolute = (url: string | URL): string => new Request(url).url

const isOf = (file: string | URL, id: string, { url }: Entry): boolean =>
  id === String(file) || (!/^[0-9a-f]{64}$/.test(String(file)) && url === absolute(file))
