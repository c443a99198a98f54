import type { ByteSource } from '../io/index.ts'
import { isPlace, type Files, type Where } from './files.ts'

/** What {@link downloads} takes. */
export interface DownloadOptions {
  /** Keeps what comes in the browser's store. */
  readonly cache: boolean
  /** The SHA-256 of a file, where it is known. */
  readonly hashOf: (where: string | URL) => string | undefined
  /**
   * Called with the bytes of all files that are there, and in all, once for each change; not while the size of one is
   * unknown.
   */
  readonly onProgress?: (done: number, total: number) => void
  readonly signal?: AbortSignal
}

/**
 * The files of a host under one count of their bytes. Those of the web may be begun before they are opened, and come
 * once, however often they are.
 */
export interface Downloads extends Files {
  /** Begins to open the places of the web among these, side by side: so their sizes are known early. */
  begin(places: readonly Where[]): void
  /** Counts a file that was opened, of `size` bytes, as far as it is read, from 0 to 1, or has arrived before. */
  count(where: Where, size: number): (part: number) => void
  /** Ends what is still on its way, and closes the files of the web, of which others may have opened the same. */
  end(): void
}

/** Bytes of a file that are there, and all of them, null while they are not known. */
interface Count {
  done: number
  size: number | null
}

/** Opens `files` so. */
export function downloads(files: Files, { cache, hashOf, onProgress, signal }: DownloadOptions): Downloads {
  const sources = new Map<string, Promise<ByteSource>>()
  const counts = new Map<unknown, Count>()
  const countOf = (where: Where): Count => {
    const key = isPlace(where) ? String(where) : where
    const count = counts.get(key) ?? { done: 0, size: null }
    counts.set(key, count)
    return count
  }
  let told = ''
  const tell = (): void => {
    let [done, total] = [0, 0]
    for (const count of counts.values()) {
      if (count.size === null) return
      done += count.done
      total += count.size
    }
    // Tensors of a file that came whole are read, and add nothing to its bytes.
    if (told === (told = `${done} of ${total}`)) return
    onProgress?.(done, total)
  }
  const stop = new AbortController()
  const follow = (): void => stop.abort(signal?.reason)
  if (signal?.aborted) follow()
  signal?.addEventListener('abort', follow, { once: true })
  const start = (where: string | URL): Promise<ByteSource> => {
    const count = countOf(where)
    const sha256 = hashOf(where)
    const opening = files
      .open(where, {
        signal: stop.signal,
        onProgress(done, total) {
          Object.assign(count, { done, size: total })
          tell()
        },
        ...(cache && { cache: sha256 === undefined ? {} : { sha256 } }),
      })
      .then((source) => {
        // Of what is compressed on its way the size is known by now.
        count.size = source.size
        tell()
        return source
      })
    // Who opens it is told; one that is begun for nothing ends in silence.
    opening.catch(() => {})
    sources.set(String(where), opening)
    return opening
  }
  return {
    ...files,
    begin(places) {
      const begun = places.filter((where) => where !== '' && isPlace(where) && files.isWeb(where)) as (string | URL)[]
      for (const where of begun) countOf(where)
      for (const where of begun) if (!sources.has(String(where))) void start(where)
    },
    async open(where) {
      if (!files.isWeb(where)) return files.open(where)
      const { name, size, read } = await (sources.get(String(where)) ?? start(where))
      return { name, size, read }
    },
    count(where, size) {
      const count = countOf(where)
      count.size ??= size
      return (part) => {
        count.done = Math.max(count.done, Math.round(count.size! * part))
        tell()
      }
    },
    end() {
      signal?.removeEventListener('abort', follow)
      stop.abort()
      for (const source of sources.values())
        source.then(
          ({ close }) => close?.(),
          () => {},
        )
    },
  }
}
