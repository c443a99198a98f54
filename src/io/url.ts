import { TweedieError } from '../errors.ts'
import { ask, checkSize, chunksOf, discard, lengthOf, rangeOf, validatorOf, type Fetch } from './http.ts'
import { refuseStandIn } from './other-format.ts'
import { inPieces } from './pieces.ts'
import { roomFor, type BytesProgress, type ByteSource } from './source.ts'

/** Options of {@link urlSource}. */
export interface UrlOptions {
  /** Ends opening, and of a small file its download; of a large one each later read takes its own. */
  readonly signal?: AbortSignal
  /**
   * Bytes that have arrived, and those of the file, null where the server does not say (it compresses the transfer).
   * Called with every piece of the transfer: of a small file while it is opened, of a large one while it is read.
   */
  readonly onProgress?: BytesProgress
  /** What asks for it in the host's place, of the same arguments and answers. Default: `fetch`. */
  readonly fetch?: (url: string, init?: never) => Promise<unknown>
}

/** A file up to this size comes whole: one request, and memory that any page has. */
const whole = 64 * 2 ** 20
/**
 * Of a larger file so much is asked for at once: a gigabyte is 64 requests, and each takes longer (0.1 s at a gigabit)
 * than its way there and back. Four are kept, as much memory as for a file that comes whole: tensors are read in the
 * order of the file or nearly so, and a zip of PyTorch is read at its end first.
 */
const piece = 16 * 2 ** 20
const kept = whole / piece

/**
 * A file on a web server. Up to 64 MiB it comes in one request and is held in memory. A larger one is read by ranges of
 * 16 MiB, of which the last four are held; from a server that ignores `Range`, or one of another origin that does not
 * expose `Content-Range`, it comes whole.
 *
 * @throws TweedieError 'option' when the server refuses (the URL is wrong); 'format' when the transfer fails, when what
 *   comes is a page of HTML or a pointer of Git LFS, and when a file changes between two reads; 'out-of-memory' for a
 *   file that has to come whole and does not fit; `signal.reason` when aborted
 * @example
 * const source = await urlSource('/weights/bccd32-adm.safetensors', { onProgress: (done) => (bar.value = done) })
 */
export async function urlSource(url: string | URL, options: UrlOptions = {}): Promise<ByteSource> {
  const name = String(url)
  const small = await bodyOf(await ask(name, request(options)), name, { ...options, limit: whole })
  return small ? inOne(name, small, options) : byRanges(name, options)
}

/** All bytes of a file. Closing lets go of them, whoever still knows the source; a later read fetches them again. */
function inOne(name: string, bytes: Uint8Array, { fetch }: UrlOptions): ByteSource {
  const size = bytes.length
  const read = async (_: number, signal?: AbortSignal): Promise<Uint8Array> => {
    const options = { ...(signal && { signal }), ...(fetch && { fetch: fetch as Fetch }) }
    const again = await bodyOf(await ask(name, options), name, options)
    if (again?.length === size) return again
    throw changed(name)
  }
  return inPieces({ name, size, piece: Math.max(size, 1), kept: 1, head: bytes, read })
}

const changed = (name: string): TweedieError =>
  new TweedieError('format', `${name}: the file changed on the server while it was read. Open it again`)

const request = ({ signal, fetch }: UrlOptions): { signal?: AbortSignal; fetch?: Fetch } => ({
  ...(signal && { signal }),
  ...(fetch && { fetch: fetch as Fetch }),
})

async function byRanges(name: string, options: UrlOptions): Promise<ByteSource> {
  const rangeAt = (index: number): string => `bytes=${index * piece}-${(index + 1) * piece - 1}`
  const first = await ask(name, { ...request(options), range: rangeAt(0) })
  const size = first.status === 206 ? rangeOf(first)?.total : null
  if (!size) {
    if (first.status !== 200) await discard(first)
    const all = first.status === 200 ? first : await ask(name, request(options))
    return inOne(name, (await bodyOf(all, name, options))!, options)
  }
  const validator = validatorOf(first)
  checkSize(name, size)
  const { onProgress, fetch } = options
  const arrived = new Map<number, number>()
  let told = -1
  /** The bytes of a piece, of which those that come a second time are not counted. */
  const take = async (index: number, response: Response, signal?: AbortSignal): Promise<Uint8Array> => {
    const range = rangeOf(response)
    const same = validatorOf(response) === validator && range?.total === size && range.start === index * piece
    if (response.status !== 206 || !same) {
      await discard(response)
      throw changed(name)
    }
    const bytes = await bodyOf(response, name, {
      ...(signal && { signal }),
      onProgress(done) {
        arrived.set(index, Math.max(done, arrived.get(index) ?? 0))
        const all = [...arrived.values()].reduce((sum, bytes) => sum + bytes, 0)
        if (all === told) return
        told = all
        onProgress?.(all, size)
      },
    })
    const expected = Math.min(piece, size - index * piece)
    if (bytes?.length === expected) return bytes
    throw new TweedieError(
      'format',
      `${name}: expected ${expected} bytes at offset ${index * piece} of ${size}, found ${bytes?.length}. ` +
        'The transfer broke, or the server answers ranges wrongly',
    )
  }
  return inPieces({
    name,
    size,
    piece,
    kept,
    head: await take(0, first, options.signal),
    read: async (index, signal) =>
      take(
        index,
        await ask(name, {
          ...request({ ...(signal && { signal }), ...(fetch && { fetch: fetch as Fetch }) }),
          range: rangeAt(index),
        }),
        signal,
      ),
  })
}

/**
 * All bytes of an answer, or null, and the end of its transfer, where there are more than `limit`. What is refused
 * instead of weights is refused at its first bytes.
 */
async function bodyOf(
  response: Response,
  name: string,
  { signal, onProgress, limit = Infinity }: UrlOptions & { limit?: number },
): Promise<Uint8Array<ArrayBuffer> | null> {
  const total = lengthOf(response)
  if (limit === Infinity && total !== null) checkSize(name, total)
  if (total !== null && total > limit) return discard(response).then(() => null)
  let bytes = roomFor(name, total ?? 2 ** 20)
  let done = 0
  onProgress?.(0, total)
  for await (const chunk of chunksOf(response, name, signal)) {
    if (done === 0 && !rangeOf(response)?.start) refuseStandIn(name, chunk)
    if (done + chunk.length > limit) return null
    checkSize(name, done + chunk.length)
    if (done + chunk.length > bytes.length) {
      const wider = roomFor(name, Math.max(2 * bytes.length, done + chunk.length))
      wider.set(bytes.subarray(0, done))
      bytes = wider
    }
    bytes.set(chunk, done)
    done += chunk.length
    // Of another origin, a server may compress and hide it: then more arrives than was announced.
    onProgress?.(done, total !== null && done <= total ? total : null)
  }
  if (total !== null && done < total)
    throw new TweedieError('format', `${name}: the transfer broke: ${done} of ${total} bytes arrived. Try again`)
  return done === bytes.length ? bytes : bytes.slice(0, done)
}
