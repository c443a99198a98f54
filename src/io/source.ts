import { messageOf, TweedieError, unexpected } from '../errors.ts'

/**
 * Random access to immutable bytes, which a checkpoint is read from by ranges and never as a whole: a checkpoint of
 * many gigabytes costs the memory of its largest tensor, and a header is read over the network without most of what
 * lies behind it. Write your own for storage that {@link bytesSource}, {@link blobSource}, {@link urlSource} and Node's
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

/** Who is told of bytes that arrived: how many there are, and of how many, null where the server does not say. */
export type BytesProgress = (done: number, total: number | null) => void

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

/**
 * Memory for `length` bytes of what `name` says. Throws 'out-of-memory' where a host holds no array of that size:
 * Node 20 up to 4 GiB, browsers 2 GiB or less.
 */
export function roomFor(name: string, length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length)
  } catch (cause) {
    throw new TweedieError(
      'out-of-memory',
      `${name}: ${(length / 2 ** 30).toFixed(1)} GiB of it are needed at once, for which there is no room in ` +
        'memory: use smaller pieces.',
      { cause },
    )
  }
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

/**
 * A Blob, or the File a person picked in a browser. Its bytes stay on disk until they are read. A read rejects with
 * code 'format' for a file that was changed or removed since.
 */
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
        .catch((cause: unknown) => {
          const why = messageOf(cause)
          throw new TweedieError('format', `${name}: reading failed (${why}): was it changed or removed?`, { cause })
        })
      signal?.throwIfAborted()
      return new Uint8Array(buffer)
    },
  }
}
