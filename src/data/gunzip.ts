import { TweedieError } from '../errors.ts'

/**
 * The first `most` bytes of what a gzip file holds, all where it holds fewer. It is inflated piece by piece, so that a
 * small file does not fill the memory, and stops when `signal` aborts.
 *
 * @throws TweedieError 'format', naming the file, for what is damaged
 */
export async function gunzip(
  file: Uint8Array<ArrayBufferLike>,
  name: string,
  most: number,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = []
  let size = 0
  try {
    const stream = new Blob([file as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream('gzip'))
    for (const reader = stream.getReader(); size < most; ) {
      signal?.throwIfAborted()
      const { done, value } = await reader.read()
      if (done) break
      parts.push(value)
      size += value.length
      if (size >= most) await reader.cancel()
    }
  } catch (cause) {
    signal?.throwIfAborted()
    throw new TweedieError('format', `${name}: a damaged gzip file. Get it again.`, { cause })
  }
  const out = new Uint8Array(Math.min(size, most))
  let at = 0
  for (const part of parts) {
    out.set(part.subarray(0, out.length - at), at)
    at += Math.min(part.length, out.length - at)
  }
  return out
}
