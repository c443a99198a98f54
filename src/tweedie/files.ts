/**
 * Where the files of a model are, and how they are opened. What Node adds (paths, a configuration beside a file, the
 * shipped set) is in files.node.ts.
 */
import { chunk } from '../chunk.ts'
import { unexpected } from '../errors.ts'
import { blobSource, bytesSource, urlSource, type ByteSource, type UrlOptions } from '../io/index.ts'
import { fail } from './fail.ts'

/**
 * A file: a path or a URL, a `Blob` (the `File` a person picked), its bytes, or a source of them, which stays the
 * caller's to close. A string is a path in Node unless it begins with `http://`, `https://` or `file://`; in a page it
 * is a URL, relative to the page's own.
 */
export type Where = string | URL | Blob | ArrayBuffer | Uint8Array | ByteSource

/** How a file is opened. */
export interface OpenOptions extends UrlOptions {
  /** Keeps a file of the web in the browser's store; its SHA-256 where it is known. */
  readonly cache?: { readonly sha256?: string } | undefined
}

/** What a host knows of files. */
export interface Files {
  /** Opens a file by its place. */
  open(where: string | URL, options?: OpenOptions): Promise<ByteSource>
  /** The text of the `.json` of the same name beside a file, where there is one. */
  jsonBeside(where: string | URL): Promise<string | undefined>
  /** Whether a place is on the web. */
  isWeb(where: string | URL): boolean
  /** What a record calls a file: its place on this machine's disk, or of the web the last part of its address. */
  recorded(where: string | URL): string
  /** The folder of the shipped files; null where a host does not know it. */
  readonly shipped: URL | null
}

/** Files of a page: all are URLs. */
export const web: Files = {
  async open(where, { cache, ...options } = {}) {
    // Without a page there is nothing that a path could be relative to.
    if (!('location' in globalThis) && !/^(https?|blob|data):/i.test(String(where)))
      fail(
        `${String(where)} is no URL, and this entry of the package knows no paths: import Tweedie from ` +
          "'tweedie' or 'tweedie/node'.",
      )
    if (!cache || /^(blob|data):/i.test(String(where))) return urlSource(where, options)
    // Most programs keep nothing, and need not load what does.
    const { cachedSource } = await chunk('storage', 'that keeps files', import('../io/cache.ts'))
    return cachedSource(where, { ...options, ...cache })
  },
  jsonBeside: async () => undefined,
  isWeb: () => true,
  recorded: lastPart,
  shipped: null,
}

/** `cells.pt` of `https://host/weights/cells.pt?version=2`; empty where the address is the content or a number. */
export function lastPart(where: string | URL): string {
  const path = String(where).replace(/^(data|blob):.*|[?#].*$/i, '')
  return path.slice(path.lastIndexOf('/') + 1)
}

/** Whether it is a place, and not the bytes themselves. Of another frame or a test's DOM a URL is of another class. */
export const isPlace = (where: Where): where is string | URL => typeof where === 'string' || tag(where) === 'URL'

/** Whether it is the bytes, in memory. */
export const isBytes = (where: Where): boolean => ArrayBuffer.isView(where) || tag(where) === 'ArrayBuffer'

const tag = (value: unknown): string => Object.prototype.toString.call(value).slice('[object '.length, -1)

/**
 * Opens what {@link Where} says.
 * @throws TweedieError 'option' for anything else, and for what is not there
 */
export async function openWhere(files: Files, where: Where, options: OpenOptions = {}): Promise<ByteSource> {
  if (where !== '' && isPlace(where)) return files.open(where, options)
  if (ArrayBuffer.isView(where)) return bytesSource(new Uint8Array(where.buffer, where.byteOffset, where.byteLength))
  if (tag(where) === 'ArrayBuffer') return bytesSource(new Uint8Array(where as ArrayBuffer))
  if (['Blob', 'File'].includes(tag(where))) return blobSource(where as Blob)
  const { name, size, read } = (where as ByteSource | null | undefined) ?? {}
  if (name !== undefined && size !== undefined && typeof read === 'function')
    return { name, size, read: read.bind(where) }
  throw unexpected('Tweedie.load', 'a path, a URL, a Blob or the bytes of a file', where)
}
