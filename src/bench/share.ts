/**
 * A report in a link: JSON, deflated, as base64url. Who opens a link trusts nobody, so that how much it holds is
 * bounded before and while it is inflated, and what comes out is checked by the description of every report.
 */
import { TweedieError } from '../errors.ts'
import { checkReport, onSoftwareAdapter, type BenchReport } from './report.ts'

/** Characters of a link that all browsers and most chats carry. */
const maxCharacters = 32_000
/** Bytes that they may inflate to. */
const maxBytes = 500_000

/**
 * The report as text of the characters A to Z, a to z, 0 to 9, - and _.
 * @throws TweedieError 'unsupported' for figures of a software adapter, 'limit-exceeded' for too many rows
 */
export async function encodeReport(report: BenchReport): Promise<string> {
  if (onSoftwareAdapter(report))
    throw new TweedieError(
      'unsupported',
      `${report.adapter} is a software adapter: its figures are no GPU's, and are not shared as such.`,
    )
  // A message may tell of the visitor's machine; limits and features are of no use to a reader.
  const rows = report.rows.filter(({ kind }) => kind !== 'failed')
  const text = JSON.stringify({ ...report, rows, features: [], limits: {}, winners: {} })
  const bytes = await readAll(through(new TextEncoder().encode(text), new CompressionStream('deflate-raw')), Infinity)
  const encoded = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/=+$/, '')
  if (encoded.length > maxCharacters)
    throw new TweedieError(
      'limit-exceeded',
      `A link holds ${maxCharacters} characters, and ${rows.length} rows take ${encoded.length}: measure fewer at once.`,
    )
  return encoded
}

/**
 * What {@link encodeReport} made.
 * @throws TweedieError 'format' for anything else, 'unsupported' for figures of a software adapter
 */
export async function decodeReport(text: string): Promise<BenchReport> {
  const broken = (cause?: unknown): TweedieError =>
    new TweedieError('format', 'The link holds no report of tweedie bench, or was cut short.', { cause })
  if (text.length > maxCharacters || !/^[\w-]+$/.test(text)) throw broken()
  let value: unknown
  try {
    const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'))
    const bytes = Uint8Array.from(binary, (c) => c.charCodeAt(0))
    const inflated = await readAll(through(bytes, new DecompressionStream('deflate-raw')), maxBytes)
    value = JSON.parse(new TextDecoder().decode(inflated))
  } catch (cause) {
    throw broken(cause)
  }
  const report = checkReport(value, 'the link')
  if (onSoftwareAdapter(report))
    throw new TweedieError('unsupported', `The link has figures of ${report.adapter}, a software adapter: no GPU's.`)
  return report
}

function through(bytes: Uint8Array<ArrayBuffer>, stream: CompressionStream | DecompressionStream): ReadableStream {
  return new Blob([bytes]).stream().pipeThrough(stream)
}

/** Stops as soon as there is more than `most`. */
async function readAll(stream: ReadableStream, most: number): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array<ArrayBuffer>[] = []
  let size = 0
  // Safari's streams are not to be iterated.
  const reader = (stream as ReadableStream<Uint8Array<ArrayBuffer>>).getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    size += value.length
    if (size > most) {
      await reader.cancel()
      throw new RangeError(`more than ${most} bytes`)
    }
    parts.push(value)
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer())
}
