/**
 * Where the files of a model are, and how they are opened. What Node adds (paths, a configuration beside a file, the
 * shipped set) is in files.node.ts.
 */
import { TweedieError } from '../errors.ts'
import { blobSource, bytesSource, urlSource, type ByteSource } from '../io/index.ts'

/**
 * A file: a path or a URL, a `Blob` (the `File` a person picked), or its bytes. A string is a path in Node unless it begins
 * with `http://` or `https://`; in a page it is a URL, relative to the page's own.
 */
export type Where = string | URL | Blob | ArrayBuffer | Uint8Array

/** What a host knows of files. */
export interface Files {
  open(where: string | URL, signal?: AbortSignal): Promise<ByteSource>
  /** The text of the `.json` of the same name beside a file, where there is one. */
  jsonBeside(where: string | URL): Promise<string | undefined>
  /** The folder of the shipped files; null where a host does not know it. */
  readonly shipped: URL | null
}

/** Files of a page: all are URLs. */
export const web: Files = {
  open: (where, signal) => fromWeb(where, signal),
  jsonBeside: async () => undefined,
  shipped: null,
}

/** Up to here a file comes in one request: by ranges it would be one for each of hundreds of tensors. */
const inOneRequest = 64 * 2 ** 20

/** A file of a web server. */
export async function fromWeb(url: string | URL, signal?: AbortSignal): Promise<ByteSource> {
  const source = await urlSource(url, signal ? { signal } : {})
  return source.size <= inOneRequest ? bytesSource(await source.read(0, source.size, signal), source.name) : source
}

/** Opens what {@link Where} says. */
export async function openWhere(files: Files, where: Where, signal?: AbortSignal): Promise<ByteSource> {
  if (typeof where === 'string' || where instanceof URL) return files.open(where, signal)
  if (where instanceof Blob) return blobSource(where)
  if (where instanceof ArrayBuffer) return bytesSource(new Uint8Array(where))
  if (where instanceof Uint8Array) return bytesSource(where)
  throw new TweedieError('option', `Expected a file as a path, a URL, a Blob or its bytes, found ${where === null ? 'null' : typeof where}.`)
}
