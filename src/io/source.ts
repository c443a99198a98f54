import { TweedieError, unexpected } from '../errors.ts'

/**
 * Random access to immutable bytes, which a checkpoint is read from by ranges and never as a whole: a checkpoint of
 * many gigabytes costs the memory of its largest tensor, and a header is read over the network without the weights
 * behind it. Write your own for storage that {@link bytesSource}, {@link blobSource}, {@link urlSource} and Node's
 * `openFile` do not read.
 */
export interface ByteSource {
  /** What messages call it: a path, a URL. */
  readonly name: string
  /** In bytes. */
  readonly size: number
  /**
   * Exactly `length` bytes from `offset`, in a buffer of their own that the caller may keep and change. Rejects with
   * code 'format' for a range outside the source, and with `signal.reason` when aborted.
   */
  read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>
  /** Gives back what the source holds (a file handle); calling it again does nothing. */
  close?(): Promise<void>
}

/** Throws 'format' unless `offset … offset + length` lies inside the source. */
export function checkRange(source: { name: string; size: number }, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0
  if (valid && offset + length <= source.size) return
  throw new TweedieError(
    'format',
    `${source.name}: expected ${length} bytes at offset ${offset}, found the end of the ` +
      `file at ${source.size}. It is cut short or damaged: get it again`,
  )
}

/** The same bytes for reading numbers out of them. */
export async function readData(
  source: ByteSource,
  offset: number,
  length: number,
  signal?: AbortSignal,
): Promise<DataView> {
  const bytes = await source.read(offset, length, signal)
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * The bytes of a file in memory, as `fetch` and Blob give them or as Node does. Throws 'option', naming `user`,
 * for what is neither.
 */
export function bytesOf(user: string, file: Uint8Array | ArrayBuffer): Uint8Array {
  if (file instanceof ArrayBuffer) return new Uint8Array(file)
  if (ArrayBuffer.isView(file)) return file
  throw unexpected(user, 'the bytes of a file, a Uint8Array or an ArrayBuffer', file)
}

/** Bytes in memory. They are not copied; reads are. */
export function bytesSource(file: Uint8Array | ArrayBuffer, name = 'bytes'): ByteSource {
  const bytes = bytesOf('bytesSource', file)
  const size = bytes.byteLength
  return {
    name,
    size,
    async read(offset, length, signal) {
      signal?.throwIfAborted()
      checkRange({ name, size }, offset, length)
      const copy = new Uint8Array(length)
      copy.set(bytes.subarray(offset, offset + length))
      return copy
    },
  }
}

/** A Blob, or the File a person picked in a browser. Its bytes stay on disk until they are read. */
export function blobSource(blob: Blob): ByteSource {
  if (typeof blob?.slice !== 'function' || typeof blob.size !== 'number')
    throw unexpected('blobSource', 'a Blob or a File', blob)
  const name = 'name' in blob && typeof blob.name === 'string' ? blob.name : 'blob'
  return {
    name,
    size: blob.size,
    async read(offset, length, signal) {
      signal?.throwIfAborted()
      checkRange({ name, size: blob.size }, offset, length)
      const buffer = await blob
        .slice(offset, offset + length)
        .arrayBuffer()
        .catch((cause: unknown) => failed(name, signal, cause))
      signal?.throwIfAborted()
      return new Uint8Array(buffer)
    },
  }
}

/**
 * A file on a web server, read by ranges. A server that ignores `Range`, or one of another origin that does not expose
 * `Content-Range`, gets one request for the whole file instead.
 *
 * `signal` aborts opening; each later read takes its own. Rejects with code 'option' when the server refuses (the URL
 * is wrong), 'format' when the transfer fails.
 */
export async function urlSource(url: string | URL, { signal }: { signal?: AbortSignal } = {}): Promise<ByteSource> {
  const name = String(url)
  const first = await get(name, signal, 'bytes=0-0')
  const size = totalOf(first)
  if (first.status !== 206 || size === undefined) {
    // 416 is what a server with ranges says of an empty file.
    const whole = first.status === 200 ? first : await get(name, signal)
    return bytesSource(await bodyOf(whole, name, signal), name)
  }
  await bodyOf(first, name, signal)
  return {
    name,
    size,
    async read(offset, length, signal) {
      signal?.throwIfAborted()
      checkRange({ name, size }, offset, length)
      if (length === 0) return new Uint8Array(0)
      const response = await get(name, signal, `bytes=${offset}-${offset + length - 1}`)
      const bytes = await bodyOf(response, name, signal)
      if (response.status !== 206 || bytes.byteLength !== length || (totalOf(response) ?? size) !== size) {
        throw new TweedieError(
          'format',
          `${name}: expected ${length} bytes at offset ${offset} of ${size}, found status ` +
            `${response.status} with ${bytes.byteLength} bytes of ${totalOf(response)}. The file ` +
            'changed while it was read?',
        )
      }
      return bytes
    },
  }
}

/** `Content-Range: bytes 0-0/1234` → 1234. */
function totalOf(response: Response): number | undefined {
  const total = /^bytes [^/]*\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1]
  return total === undefined ? undefined : Number(total)
}

async function get(url: string, signal: AbortSignal | undefined, range?: string): Promise<Response> {
  const headers = range === undefined ? undefined : { Range: range }
  const response = await fetch(url, { headers, signal }).catch((cause: unknown) => failed(url, signal, cause))
  if (response.ok || (range !== undefined && response.status === 416)) return response
  await response.body?.cancel()
  throw new TweedieError(
    'option',
    `${url}: the server answered ${response.status} ${response.statusText}. Check the URL`,
  )
}

async function bodyOf(
  response: Response,
  url: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array<ArrayBuffer>> {
  const buffer = await response.arrayBuffer().catch((cause: unknown) => failed(url, signal, cause))
  signal?.throwIfAborted()
  return new Uint8Array(buffer)
}

function failed(url: string, signal: AbortSignal | undefined, cause: unknown): never {
  signal?.throwIfAborted()
  // fetch says "fetch failed", and why in its cause: ECONNREFUSED, ENOTFOUND.
  const why = (cause as { cause?: { code?: unknown } } | undefined)?.cause?.code
  throw new TweedieError(
    'format',
    `${url}: reading failed (${cause instanceof Error ? cause.message : String(cause)}` +
      `${typeof why === 'string' ? `, ${why}` : ''}): ` +
      'is the server there, and does a page of another origin have its permission (CORS)?',
    { cause },
  )
}
