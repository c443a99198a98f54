import { crc32 } from './zip.ts'

/** A record of an archive that is written. */
export interface ZipRecord {
  readonly name: string
  /** Bytes that `chunks` give in all. */
  readonly size: number
  readonly chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>
}

/**
 * The bytes of a zip archive of stored records, as they come (PKWARE APPNOTE 6.3.10): checksums stand behind their
 * records, and every size is of zip64, so that nothing is held and nothing is too large. Readers that begin with the
 * directory take it, as NumPy and Python's zipfile do. Equal records give equal bytes. `comment`: for whoever looks
 * into the file, in ASCII.
 */
export async function* encodeZip(records: readonly ZipRecord[], comment = ''): AsyncGenerator<Uint8Array> {
  const directory: Uint8Array[] = []
  let at = 0
  for (const { name, size, chunks } of records) {
    const path = ascii(name)
    const start = at
    const wide = fields([2, 1], [2, 16], [8, size], [8, size])
    const local = joined(
      fields([4, 0x04034b50], ...common, [4, 0], [4, 0xffffffff], [4, 0xffffffff], [2, path.length], [2, wide.length]),
      path,
      wide,
    )
    yield local
    let [crc, length] = [0, 0]
    for await (const chunk of chunks) {
      crc = crc32(chunk, crc)
      length += chunk.length
      yield chunk
    }
    if (length !== size) throw new RangeError(`zip: expected ${size} bytes of ${name}, found ${length}.`)
    const behind = fields([4, 0x08074b50], [4, crc], [8, size], [8, size])
    yield behind
    at += local.length + size + behind.length
    const extra = fields([2, 1], [2, 24], [8, size], [8, size], [8, start])
    directory.push(
      fields([4, 0x02014b50], [2, version], ...common, [4, crc], [4, 0xffffffff], [4, 0xffffffff], [2, path.length]),
      fields([2, extra.length], [2, 0], [2, 0], [2, 0], [4, 0], [4, 0xffffffff]),
      path,
      extra,
    )
  }
  const entries = joined(...directory)
  const count = records.length
  yield entries
  // The end record of zip64, where it is, and the old one, which points nowhere but has the comment.
  yield fields([4, 0x06064b50], [8, 44], [2, version], [2, version], [4, 0], [4, 0], [8, count], [8, count])
  yield fields([8, entries.length], [8, at])
  yield fields([4, 0x07064b50], [4, 0], [8, at + entries.length], [4, 1])
  yield fields([4, 0x06054b50], [2, 0], [2, 0], [2, 0xffff], [2, 0xffff], [4, 0xffffffff], [4, 0xffffffff])
  yield joined(fields([2, comment.length]), ascii(comment))
}

/** 4.5, which zip64 asks for. */
const version = 45
/** What a local header and its directory entry share: checksum behind, stored, written on 1 January 1980. */
const common: readonly Field[] = [
  [2, version],
  [2, 8],
  [2, 0],
  [2, 0],
  [2, 0x21],
]

type Field = readonly [bytes: 2 | 4 | 8, value: number]

function fields(...values: readonly Field[]): Uint8Array {
  const out = new Uint8Array(values.reduce((sum, [bytes]) => sum + bytes, 0))
  const view = new DataView(out.buffer)
  let at = 0
  for (const [bytes, value] of values) {
    if (bytes === 2) view.setUint16(at, value, true)
    else if (bytes === 4) view.setUint32(at, value, true)
    else view.setBigUint64(at, BigInt(value), true)
    at += bytes
  }
  return out
}

const ascii = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}
