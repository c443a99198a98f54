/** Requests for files: what a server says of one, and errors that say what to do. The same in pages and in Node. */
import { messageOf, TweedieError } from '../errors.ts'

/** The host's `fetch`, or what stands for it. */
export type Fetch = (url: string, init?: RequestInit) => Promise<Response>

/**
 * Bytes of a file at most, of which the largest published ones have a third: a server that sends without end, or says
 * so, is not to fill a disk.
 */
export const mostBytes = 2 ** 33

/**
 * Refuses more.
 * @throws TweedieError 'format'
 */
export function checkSize(url: string, bytes: number): void {
  if (bytes <= mostBytes) return
  throw new TweedieError(
    'format',
    `${url}: expected a file of at most ${mostBytes / 2 ** 30} GiB, found ${(bytes / 2 ** 30).toFixed(1)} GiB or ` +
      'more. If it is as large, download it by other means',
  )
}

/**
 * The answer to a request for a file, or for the part of it that `Range` names.
 * @throws TweedieError 'option' when the server refuses (416 is left to who asked for a range), 'format' when there is
 *   no answer; `signal.reason` when aborted
 */
export async function ask(
  url: string,
  { range, fetch: request = fetch, ...init }: RequestInit & { range?: string; fetch?: Fetch } = {},
): Promise<Response> {
  const headers = range === undefined ? {} : { headers: { Range: range } }
  const response = await request(url, { ...init, ...headers }).catch((cause: unknown) =>
    failed(url, init.signal, cause),
  )
  if (response.ok || (range !== undefined && response.status === 416)) return response
  await discard(response)
  throw new TweedieError(
    'option',
    `${url}: the server answered ${response.status} ${response.statusText}. ${remedyOf(response)}`,
  )
}

/** What helps against a refusal. */
export function remedyOf({ status }: Response): string {
  if (status >= 500 || status === 429) return 'Try again later'
  return status === 401 || status === 403
    ? 'The server does not give this file to everybody: it may want a login, or the address may have run out'
    : 'Check the URL: the file is not at this address (any more)'
}

/** Ends a transfer whose bytes nobody wants. */
export const discard = async ({ body }: Response): Promise<void> => body?.cancel().catch(() => {})

/** The bytes of an answer as they arrive. Who stops reading ends the transfer; errors are those of {@link ask}. */
export async function* chunksOf(
  response: Response,
  url: string,
  signal?: AbortSignal | null,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const reader = response.body?.getReader()
  if (!reader) return
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => failed(url, signal, cause))
      signal?.throwIfAborted()
      if (done) return
      yield value
    }
  } finally {
    await reader.cancel().catch(() => {})
  }
}

/** Bytes of the body; null where it is not said, or is that of a compressed body. */
export function lengthOf({ headers }: Response): number | null {
  const length = headers.get('content-length')
  const encoding = headers.get('content-encoding') ?? 'identity'
  return length === null || !/^\d+$/.test(length) || encoding !== 'identity' ? null : Number(length)
}

/** What tells whether a file is still the same: its ETag, or its date. A weak ETag does not speak of bytes. */
export function validatorOf({ headers }: Response): string | null {
  const etag = headers.get('etag')
  return etag !== null && !etag.startsWith('W/') ? etag : headers.get('last-modified')
}

/** `Content-Range: bytes 500-999/1000` is the part from 500 of a file of 1000 bytes; null where it says neither. */
export function rangeOf({ headers }: Response): { readonly start: number; readonly total: number | null } | null {
  const [, start, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get('content-range') ?? '') ?? []
  return start === undefined ? null : { start: Number(start), total: total === '*' ? null : Number(total) }
}

function failed(url: string, signal: AbortSignal | null | undefined, cause: unknown): never {
  signal?.throwIfAborted()
  // fetch says "fetch failed", and why in its cause: ECONNREFUSED, ENOTFOUND.
  const { code: why, message } = (cause as { cause?: { code?: unknown; message?: string } } | undefined)?.cause ?? {}
  throw new TweedieError(
    'format',
    `${url}: reading failed (${messageOf(cause)}` +
      `${typeof why === 'string' ? `, ${why}` : message ? `, ${message}` : ''}): ` +
      'is the server there, and does a page of another origin have its permission (CORS)?',
    { cause },
  )
}
