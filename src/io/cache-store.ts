/**
 * Where a browser keeps files of the web: in Cache Storage, a cache for each, in pieces. A piece is there whole or not
 * at all, so a tab may be closed at any moment, and a download goes on behind the last. Web Locks see to it that of two
 * tabs one downloads, and the other waits.
 *
 * Not in the origin private file system: pages cannot write there in Safari before 26 (no createWritable; the handles
 * of workers are theirs alone, one at a time), and of what a closed tab had written through createWritable nothing is
 * left. Cache Storage is there for pages and workers alike (Chrome 43, Firefox 44, Safari 11.1; the locks since Chrome
 * 69, Firefox 96, Safari 15.4), in secure contexts.
 */
import { messageOf, TweedieError } from '../errors.ts'
import { sha256OfBytes } from './sha256.ts'

/** What the store knows of a file. */
export interface Entry {
  readonly url: string
  readonly sha256: string | null
  /** What the server's answers are held against when the download goes on, or when nobody said a hash. */
  readonly validator: string | null
  readonly size: number | null
  /** SHA-256 of each piece that is there. */
  readonly pieces: readonly string[]
  readonly complete: boolean
}

/** So much a closed tab loses at most, and is read and checked at once. */
export const piece = 4 * 2 ** 20
/** A number with the layout: caches of another are left alone, and looked at by nobody. */
const prefix = 'tweedie-files-1-'
/** Keys of a cache are URLs; nothing is ever asked for at these. */
const entryKey = 'https://tweedie.invalid/entry'
const pieceKey = (index: number): string => `https://tweedie.invalid/${index}`

/** Why this host stores nothing; null where it does. */
export async function noStore(): Promise<string | null> {
  if (globalThis.isSecureContext === false) return 'this page is not secure (https, or localhost)'
  if (!globalThis.caches || !globalThis.navigator?.locks || !globalThis.crypto?.subtle)
    return 'this host has no Cache Storage, Web Locks or Web Cryptography'
  try {
    await caches.keys()
    return null
  } catch (cause) {
    // Frames without an origin, and browsers that are told to store nothing.
    return `the browser refuses its store (${messageOf(cause)})`
  }
}

/** One tab at a time does something to a file. */
export const withLock = <T>(id: string, signal: AbortSignal | undefined, use: () => Promise<T>): Promise<T> =>
  navigator.locks.request(prefix + id, signal ? { signal } : {}, use) as Promise<T>

/** All files, also those of which an interrupted download left nothing to go on with. */
export async function storedIds(): Promise<string[]> {
  return (await caches.keys()).flatMap((name) => (name.startsWith(prefix) ? name.slice(prefix.length) : []))
}

/** What is known of each file. */
export async function entries(): Promise<{ readonly id: string; readonly entry: Entry }[]> {
  if ((await noStore()) !== null) return []
  const found = await Promise.all((await storedIds()).map(async (id) => ({ id, entry: await readEntry(id) })))
  return found.flatMap(({ id, entry }) => (entry ? { id, entry } : []))
}

/** What is known of a file; null for one that is not there. */
export async function readEntry(id: string): Promise<Entry | null> {
  const response = await caches.match(entryKey, { cacheName: prefix + id })
  return (await response?.json().catch(() => null)) ?? null
}

/** A piece that is what was stored; null for one that is not. */
export async function readPiece(id: string, { pieces }: Entry, index: number): Promise<Uint8Array<ArrayBuffer> | null> {
  const response = await caches.match(pieceKey(index), { cacheName: prefix + id })
  const bytes = await response?.arrayBuffer().then(
    (buffer) => new Uint8Array(buffer),
    () => null,
  )
  return bytes && (await sha256OfBytes(bytes)) === pieces[index] ? bytes : null
}

/** Removes a file, all of it at once. */
export const remove = (id: string): Promise<boolean> => caches.delete(prefix + id)

/** Bytes that the browser has room for; null where it does not say. */
export async function available(): Promise<number | null> {
  const { quota, usage } = (await globalThis.navigator?.storage?.estimate?.().catch(() => undefined)) ?? {}
  return quota === undefined ? null : Math.max(0, quota - (usage ?? 0))
}

/**
 * Nothing of a file stays for which there is no room. `free`: bytes, as the browser says, or as many as it took, since
 * Chromium says 10 GiB whatever it allows.
 */
export async function refuseRoom(id: string, { url, size }: Entry, free: number, cause?: unknown): Promise<never> {
  await remove(id)
  throw new TweedieError(
    'storage',
    `${url}: expected room for ${size ?? 'an unknown number of'} bytes in the browser's store, found it for ${free}. ` +
      'Make some by deleteCached(), or read it without storing it, by urlSource',
    { cause },
  )
}

/** Stores the next piece of a file: it is known to be there when {@link storeEntry} says so. */
export const storePiece = (id: string, entry: Entry, bytes: Uint8Array<ArrayBuffer>): Promise<void> =>
  store(id, entry, pieceKey(entry.pieces.length), bytes)

/** Stores what is known of a file. */
export const storeEntry = (id: string, entry: Entry): Promise<void> => store(id, entry, entryKey, JSON.stringify(entry))

async function store(id: string, entry: Entry, key: string, body: BodyInit): Promise<void> {
  const storing = caches.open(prefix + id).then((cache) => cache.put(key, new Response(body)))
  await storing.catch(async (cause: unknown) => {
    if ((cause as { name?: unknown } | undefined)?.name === 'QuotaExceededError')
      await refuseRoom(id, entry, entry.pieces.length * piece, cause)
    await remove(id)
    throw new TweedieError('storage', `${entry.url}: the browser's store failed (${messageOf(cause)})`, { cause })
  })
}
