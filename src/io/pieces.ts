import { checkRange, roomFor, type ByteSource } from './source.ts'

/** What {@link inPieces} reads from. */
export interface Pieces {
  /** What messages call it. */
  readonly name: string
  /** In bytes, of all pieces. */
  readonly size: number
  /** Bytes of each piece but the last. */
  readonly piece: number
  /** How many are kept in memory: those that were used last. */
  readonly kept: number
  /** The first, where it is there already. */
  readonly head?: Uint8Array
  /** The bytes of one. */
  read(index: number, signal?: AbortSignal): Promise<Uint8Array>
}

/**
 * A source whose reads come from pieces of equal size, so that those of neighbouring tensors share one. Two reads that
 * need the same piece wait for the same transfer.
 */
export function inPieces({ name, size, piece, kept, head, read }: Pieces): ByteSource {
  // The first is the one that was not used for longest.
  const pieces = new Map<number, Promise<Uint8Array>>()
  const use = (index: number, bytes: Promise<Uint8Array>): Promise<Uint8Array> => {
    pieces.delete(index)
    pieces.set(index, bytes)
    for (const oldest of pieces.keys()) {
      if (pieces.size <= kept) break
      pieces.delete(oldest)
    }
    return bytes
  }
  const start = (index: number, signal?: AbortSignal): Promise<Uint8Array> => {
    const reading = read(index, signal)
    reading.catch(() => pieces.get(index) === reading && pieces.delete(index))
    return use(index, reading)
  }
  const pieceAt = async (index: number, signal?: AbortSignal): Promise<Uint8Array> => {
    const known = pieces.get(index)
    if (!known) return start(index, signal)
    // Another read's transfer may end by that one's signal: then this one begins its own.
    return use(index, known).catch(() => {
      signal?.throwIfAborted()
      return pieces.get(index) ?? start(index, signal)
    })
  }
  if (head) use(0, Promise.resolve(head))
  return {
    name,
    size,
    async read(offset, length, signal) {
      signal?.throwIfAborted()
      checkRange({ name, size }, offset, length)
      const out = roomFor(name, length)
      for (let at = offset; at < offset + length; ) {
        const index = Math.floor(at / piece)
        const bytes = (await pieceAt(index, signal)).subarray(at - index * piece, offset + length - index * piece)
        signal?.throwIfAborted()
        out.set(bytes, at - offset)
        at += bytes.length
      }
      return out
    },
    async close() {
      pieces.clear()
    },
  }
}
