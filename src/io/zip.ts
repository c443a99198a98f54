import { TweedieError } from '../errors.ts'
import { clipped } from '../printable.ts'
import { readData } from './source.ts'
import type { ByteSource } from './source.ts'

/** A record of an archive, for {@link readEntry}. */
export interface ZipEntry {
  /** With the folders it is in. */
  readonly name: string
  /** Bytes in the file. */
  readonly size: number
  /** Where its local header stands in the file. */
  readonly header: number
  /** What `size` bytes become when they are inflated; the same for a stored record. */
  readonly length: number
  /** Compressed by deflate; otherwise stored. */
  readonly deflated: boolean
  /** Of the `length` bytes. */
  readonly crc32: number
}

/** A directory entry takes about 100 bytes; the largest published checkpoints have some thousand. */
const maxDirectory = 2 ** 24
/**
 * A deflated record of more than 64 MiB may be 200 times as long as it lies in the file: numbers of pictures and
 * features are 1 to 20 times, and deflate's most is 1032, with which a file of a megabyte fills the memory.
 */
const [mostInflation, smallRecord] = [200, 2 ** 26]

/**
 * All records of a zip archive by name; its directory alone is read, by range (PKWARE APPNOTE 6.3.10, sections 4.3 and
 * 4.5.3). PyTorch stores its records uncompressed, so a record is a slice of the file and a tensor is read without the
 * others; NumPy's archives may be deflated, and are read record by record. Zip64 is understood (archives past 4 GiB,
 * and PyTorch writes its records always), encryption and volumes are not. Throws 'format' for a broken or encrypted
 * archive, for records that overlap or inflate beyond measure, and for a compressed one unless `deflate` allows it.
 */
export async function openZip(
  source: ByteSource,
  signal?: AbortSignal,
  { deflate = false } = {},
): Promise<Map<string, ZipEntry>> {
  const broken = (message: string) => new TweedieError('format', `${source.name}: broken zip: ${message}`)
  const { offset, size, count } = await findDirectory(source, broken, signal)
  const view = await readData(source, offset, size, signal)
  const bytes = new Uint8Array(view.buffer, view.byteOffset, size)

  const entries = new Map<string, ZipEntry>()
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 46 > size || view.getUint32(at, true) !== 0x02014b50) {
      throw broken(`expected ${count} directory entries, found ${i}`)
    }
    const nameLength = view.getUint16(at + 28, true),
      extraLength = view.getUint16(at + 30, true)
    const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true)
    if (next > size) throw broken(`directory entry ${i} reaches past the directory`)
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength))
    const wrong = (message: string) => broken(`record "${clipped(name)}": ${message}`)

    const method = view.getUint16(at + 10, true)
    if (view.getUint16(at + 8, true) & 1) throw wrong('expected no encryption')
    const deflated = deflate && method === 8
    if (method !== 0 && !deflated) {
      throw wrong(
        `expected a stored ${deflate ? 'or deflated record' : 'record, as torch.save writes'}, found ` +
          `compression method ${method}`,
      )
    }

    const extra = new DataView(view.buffer, view.byteOffset + at + 46 + nameLength, extraLength)
    const [length, stored, start] = wideFields(
      extra,
      [view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)],
      wrong,
    )
    if (stored !== length && !deflated)
      throw wrong(`expected as many stored bytes as its length of ${length}, found ${stored}`)
    if (length > smallRecord && length > mostInflation * stored)
      throw wrong(`expected at most ${mostInflation} times its ${stored} stored bytes, found ${length}`)
    if (start + 30 + stored > offset) throw wrong(`expected it before the directory at ${offset}, found it at ${start}`)
    if (entries.has(name)) throw wrong('found twice')
    entries.set(name, {
      name,
      size: stored,
      header: start,
      length: length,
      deflated,
      crc32: view.getUint32(at + 16, true),
    })
    at = next
  }
  let end = 0
  for (const { name, header, size } of [...entries.values()].sort((a, b) => a.header - b.header)) {
    if (header < end) throw broken(`record "${clipped(name)}": it overlaps the one before it`)
    end = header + 30 + size
  }
  return entries
}

/** Where the bytes of a record start: its local header repeats the name and has extra fields (padding) of its own. */
export async function dataOffset(source: ByteSource, entry: ZipEntry, signal?: AbortSignal): Promise<number> {
  const local = await readData(source, entry.header, 30, signal)
  const start = entry.header + 30 + local.getUint16(26, true) + local.getUint16(28, true)
  if (local.getUint32(0, true) !== 0x04034b50 || start + entry.size > source.size) {
    throw new TweedieError(
      'format',
      `${source.name}: broken zip: record "${clipped(entry.name)}": expected its header at ${entry.header}`,
    )
  }
  return start
}

/**
 * The bytes of a record, inflated and checked. Throws 'format' for damaged ones, and for more than 2 GiB: a record is
 * held in memory as a whole.
 */
export async function readEntry(source: ByteSource, entry: ZipEntry, signal?: AbortSignal): Promise<Uint8Array> {
  const wrong = (message: string, cause?: unknown) =>
    new TweedieError('format', `${source.name}: broken zip: record "${clipped(entry.name)}": ${message}`, { cause })
  if (entry.length >= 2 ** 31) throw wrong(`expected less than 2 GiB, found ${entry.length} bytes`)
  const stored = await source.read(await dataOffset(source, entry, signal), entry.size, signal)
  const bytes = entry.deflated
    ? await inflate(stored, entry.length).catch((cause: unknown) => {
        throw wrong('its compressed bytes are damaged', cause)
      })
    : stored
  if (bytes.length !== entry.length || (await crc32Of(bytes, signal)) !== entry.crc32)
    throw wrong('its bytes are damaged. Get the file again')
  return bytes
}

/** Stops behind `length` bytes: what claims to be small stays small. */
async function inflate(bytes: Uint8Array<ArrayBuffer>, length: number): Promise<Uint8Array> {
  const out = new Uint8Array(length)
  let filled = 0
  for await (const chunk of new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'))) {
    if (filled + chunk.length > length) throw new RangeError(`more than ${length} bytes`)
    out.set(chunk, filled)
    filled += chunk.length
  }
  return out.subarray(0, filled)
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1
  return n
})

/** The same of many bytes, between whose pieces of 16 MiB (40 ms) others get their turn. */
async function crc32Of(bytes: Uint8Array, signal?: AbortSignal): Promise<number> {
  let crc = 0
  for (let at = 0; at < bytes.length; at += 2 ** 24) {
    signal?.throwIfAborted()
    crc = crc32(bytes.subarray(at, at + 2 ** 24), crc)
    await new Promise((resolve) => setTimeout(resolve))
  }
  return crc
}

/** The checksum of ZIP and PNG. `before`: that of the bytes before these. */
export function crc32(bytes: Uint8Array, before = 0): number {
  let crc = ~before
  for (let i = 0; i < bytes.length; i++) crc = crcTable[(crc ^ bytes[i]) & 255] ^ (crc >>> 8)
  return ~crc >>> 0
}

type Broken = (message: string) => TweedieError

async function findDirectory(
  source: ByteSource,
  broken: Broken,
  signal?: AbortSignal,
): Promise<{ offset: number; size: number; count: number }> {
  // The end record (22 bytes) may be followed by a comment of up to 65535 bytes and is found from behind.
  const length = Math.min(source.size, 22 + 65535)
  const start = source.size - length
  const tail = await readData(source, start, length, signal)
  const isEnd = (at: number) =>
    tail.getUint32(at, true) === 0x06054b50 && at + 22 + tail.getUint16(at + 20, true) === length
  let end = length - 22
  while (end >= 0 && !isEnd(end)) end--
  if (end < 0) throw broken('expected an end record, found none: the file is cut short')

  let found = {
    offset: tail.getUint32(end + 16, true),
    size: tail.getUint32(end + 12, true),
    count: tail.getUint16(end + 10, true),
  }
  let limit = start + end
  if (limit >= 20) {
    const locator = await readData(source, limit - 20, 20, signal)
    if (locator.getUint32(0, true) === 0x07064b50) {
      limit = safe(locator.getBigUint64(8, true))
      if (limit + 56 > source.size) throw broken(`expected a zip64 end record at ${limit}, found the end of the file`)
      const wide = await readData(source, limit, 56, signal)
      if (wide.getUint32(0, true) !== 0x06064b50) throw broken(`expected a zip64 end record at ${limit}, found none`)
      const [count, size, offset] = [32, 40, 48].map((at) => safe(wide.getBigUint64(at, true))) as [
        number,
        number,
        number,
      ]
      found = { offset, size, count }
    }
  }
  if (found.offset + found.size > limit)
    throw broken(
      `expected a directory before the end record at ${limit}, found it ` +
        `at ${found.offset} with ${found.size} bytes`,
    )
  if (found.size > maxDirectory)
    throw broken(`expected a directory of at most ${maxDirectory} bytes, found ${found.size}`)
  return found
}

/** Replaces fields of 0xffffffff (in this order: length, stored, header) by those of the zip64 extra field. */
function wideFields(extra: DataView, fields: number[], wrong: Broken): number[] {
  if (!fields.includes(0xffffffff)) return fields
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const length = extra.getUint16(at + 2, true)
    if (extra.getUint16(at, true) === 1) {
      let from = at + 4
      const end = Math.min(from + length, extra.byteLength)
      return fields.map((field) => {
        if (field !== 0xffffffff) return field
        if (from + 8 > end) throw wrong('expected its zip64 fields, found fewer')
        from += 8
        return safe(extra.getBigUint64(from - 8, true))
      })
    }
    at += 4 + length
  }
  throw wrong('expected a zip64 extra field, found none')
}

/** Past 2^53 a number is inexact, but also past the end of any file. */
const safe = (n: bigint): number => Number(n)
