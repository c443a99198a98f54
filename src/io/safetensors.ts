/**
 * A reader of our own, because npm's package `safetensors` (0.0.1) is a cache for browsers and no reader of the format,
 * and others read the whole file or check nothing. Format: https://huggingface.co/docs/safetensors
 */
import { messageOf, TweedieError } from '../errors.ts'
import type { Checkpoint, TensorEntry } from './checkpoint.ts'
import { decode, fileDTypes, isFileDType } from './dtype.ts'
import type { FileDType } from './dtype.ts'
import { otherFormat } from './other-format.ts'
import { clipped, preview } from '../printable.ts'
import { readData } from './source.ts'
import type { ByteSource } from './source.ts'

/**
 * What the format admits. The largest header of a published diffusion model is below 1 MB; the state of a long
 * training holds its log.
 */
const maxHeader = 100_000_000

interface Slot {
  readonly name: string
  readonly dtype: FileDType
  readonly shape: readonly number[]
  /** First and past-the-last byte, from the start of the data. */
  readonly begin: number
  readonly end: number
}

/**
 * Opens a safetensors file (8 bytes of header length, a JSON header, then the tensors' bytes without gaps): reads and
 * checks its header, in at most two reads. Whatever the format forbids rejects with code 'format', naming file, tensor,
 * what was expected and what was found, and nothing larger than the file is allocated.
 */
export async function openSafetensors(
  source: ByteSource,
  { signal }: { signal?: AbortSignal } = {},
): Promise<Checkpoint> {
  const broken = (message: string) => new TweedieError('format', `${source.name}: ${message}`)
  if (source.size === 0) throw broken('expected weights, found an empty file: the download or the copy went wrong')
  if (source.size < 8) throw broken(`expected a safetensors file of at least 8 bytes, found ${source.size}`)

  const headerLength = (await readData(source, 0, 8, signal)).getBigUint64(0, true)
  const room = Math.min(maxHeader, source.size - 8)
  if (headerLength > BigInt(room)) {
    const other = otherFormat(await source.read(0, Math.min(512, source.size), signal))
    throw broken(
      other
        ? `expected weights, as safetensors or of PyTorch, found ${other}`
        : `expected a safetensors header of at most ${room} bytes, found a length of ${headerLength}: the file is ` +
            'cut short, or neither safetensors nor PyTorch',
    )
  }
  const start = 8 + Number(headerLength)
  const bytes = await source.read(0, start, signal)
  const header = parseHeader(bytes.subarray(8), broken)
  const metadata = parseMetadata(header.get('__metadata__'), broken)
  header.delete('__metadata__')

  const slots = [...header].map(([name, info]) => parseSlot(name, info, source.size - start, broken))
  // The order of the bytes is the order of the writer; JSON.parse moves names like "0" to the front.
  slots.sort((a, b) => a.begin - b.begin || a.end - b.end)
  checkCover(slots, source.size - start, broken)

  const tensors = new Map<string, TensorEntry>()
  for (const { name, dtype, shape, begin, end } of slots) {
    tensors.set(name, {
      name,
      shape,
      dtype,
      byteLength: end - begin,
      async read(signal) {
        return decode(dtype, await source.read(start + begin, end - begin, signal), `${source.name}: tensor "${name}"`)
      },
    })
  }
  return { name: source.name, metadata, tensors, header: bytes, close: async () => source.close?.() }
}

type Broken = (message: string) => TweedieError

function parseHeader(bytes: Uint8Array, broken: Broken): Map<string, unknown> {
  if (bytes[0] !== 0x7b) throw broken(`expected a header that starts with "{", found byte ${bytes[0] ?? 'none'}`)
  let header: unknown, text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    header = JSON.parse(text)
  } catch (cause) {
    throw broken(`expected a header of UTF-8 JSON, found ${clipped(messageOf(cause))}`)
  }
  const twice = duplicateKey(text)
  if (twice !== undefined)
    throw broken(`expected each key once in the header, found "${clipped(twice)}" twice in one object`)
  return new Map(Object.entries(header as object))
}

/** The first key that an object of this valid JSON text holds twice: JSON.parse silently keeps the last. */
function duplicateKey(json: string): string | undefined {
  const open: Set<string>[] = []
  for (let i = 0; i < json.length; i++) {
    const c = json[i]
    if (c === '{') open.push(new Set())
    else if (c === '}') open.pop()
    else if (c === '"') {
      const start = i++
      while (json[i] !== '"') i += json[i] === '\\' ? 2 : 1
      let next = i + 1
      while (/\s/.test(json[next] ?? '')) next++
      if (json[next] !== ':') continue
      const key = JSON.parse(json.slice(start, i + 1)) as string
      const keys = open.at(-1)!
      if (keys.has(key)) return key
      keys.add(key)
    }
  }
  return undefined
}

function parseMetadata(value: unknown, broken: Broken): Record<string, string> {
  if (value === undefined) return {}
  if (!isObject(value)) throw broken(`expected __metadata__ to be an object, found ${show(value)}`)
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string')
      throw broken(`expected __metadata__ of strings, found "${clipped(key)}": ${show(text)}`)
  }
  return value as Record<string, string>
}

function parseSlot(name: string, info: unknown, size: number, broken: Broken): Slot {
  const wrong = (expected: string, found: unknown) =>
    broken(`tensor "${clipped(name)}": expected ${expected}, found ${show(found)}`)
  if (!isObject(info)) throw wrong('an object of dtype, shape and data_offsets', info)
  const { dtype, shape, data_offsets: offsets } = info
  if (!isFileDType(dtype)) throw wrong(`a dtype of ${Object.keys(fileDTypes).join(', ')}`, dtype)
  if (!isSizes(shape)) throw wrong('a shape of non-negative integers', shape)
  if (!isSizes(offsets) || offsets.length !== 2) throw wrong('two data_offsets', offsets)
  const [begin, end] = offsets as [number, number]
  if (begin > end || end > size) throw wrong(`data_offsets in order and within the ${size} bytes of data`, offsets)
  // A product past 2^53 is inexact, but then also far from any length.
  const length = shape.reduce((a, b) => a * b, 1) * fileDTypes[dtype].bytes
  if (length !== end - begin) throw wrong(`${length} bytes for ${dtype} ${sizes(shape)}`, end - begin)
  return { name, dtype, shape, begin, end }
}

/** The tensors must tile the data: no byte twice, none left out. `slots` are in order of `begin`. */
function checkCover(slots: readonly Slot[], size: number, broken: Broken): void {
  let end = 0
  for (const slot of slots) {
    if (slot.begin !== end) {
      const what =
        slot.begin < end ? 'which overlaps the one before it' : `which leaves a hole of ${slot.begin - end} bytes`
      throw broken(`tensor "${clipped(slot.name)}": expected its data at offset ${end}, found ${slot.begin}, ${what}`)
    }
    end = slot.end
  }
  if (end !== size) throw broken(`expected ${end} bytes of data, as the header says, found ${size}`)
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0)

const show = (value: unknown): string => (value === undefined ? 'nothing' : preview(value))

const sizes = (shape: readonly number[]): string => `[${shape.slice(0, 8).join(', ')}${shape.length > 8 ? ', …' : ''}]`

/** What {@link encodeSafetensors} writes and under which dtype. */
export type WritableData =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint32Array
  | Uint16Array
  | Uint8Array

function dtypeOf(data: WritableData): FileDType {
  if (data instanceof Float32Array) return 'F32'
  if (data instanceof Float64Array) return 'F64'
  if (data instanceof BigInt64Array) return 'I64'
  if (data instanceof Int32Array) return 'I32'
  if (data instanceof Int16Array) return 'I16'
  if (data instanceof Int8Array) return 'I8'
  if (data instanceof Uint32Array) return 'U32'
  if (data instanceof Uint16Array) return 'U16'
  return 'U8'
}

/**
 * A safetensors file in chunks, header first, tensors in the order given. The chunks are views of the tensors' memory:
 * write them before you change it.
 *
 * `tensors`: pairs of name and `{ shape, data }`, so a Map or `Object.entries(record)`; `metadata` becomes
 * `__metadata__`. Throws 'shape' where shape and length disagree, 'option' for a name given twice.
 *
 * @example
 * await writeFileAtomic('out.safetensors', encodeSafetensors([['sample', { shape: [8, 3, 32, 32], data }]]))
 */
export function encodeSafetensors(
  tensors: Iterable<
    readonly [name: string, tensor: { readonly shape: readonly number[]; readonly data: WritableData }]
  >,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer>[] {
  const list = [...tensors]
  const infos = list.map(([name, { shape, data }]) => {
    const count = shape.reduce((a, b) => a * b, 1)
    if (!isSizes(shape) || count !== data.length) {
      throw new TweedieError(
        'shape',
        `tensor "${name}": expected ${count} elements for [${shape.join(', ')}], ` + `found ${data.length}`,
      )
    }
    return { name, shape, dtype: dtypeOf(data) }
  })
  return [
    encodeHeader(infos, metadata),
    ...list.map(
      ([
        ,
        {
          data: { buffer, byteOffset, byteLength },
        },
      ]) =>
        // What threads share no Blob takes, and may change before it is written.
        buffer instanceof ArrayBuffer
          ? new Uint8Array(buffer, byteOffset, byteLength)
          : new Uint8Array(buffer, byteOffset, byteLength).slice(),
    ),
  ]
}

/** Length and header of a file whose tensors follow in this order. The data starts at a multiple of 8. */
export function encodeHeader(
  tensors: Iterable<{ readonly name: string; readonly dtype: FileDType; readonly shape: readonly number[] }>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const members = new Map<string, string>()
  if (Object.keys(metadata).length > 0) members.set('__metadata__', JSON.stringify(metadata))
  let offset = 0
  for (const { name, dtype, shape } of tensors) {
    if (name === '__metadata__' || members.has(name)) {
      throw new TweedieError('option', `tensor "${name}": expected each name once and none called __metadata__`)
    }
    const begin = offset
    offset += shape.reduce((a, b) => a * b, 1) * fileDTypes[dtype].bytes
    members.set(name, JSON.stringify({ dtype, shape, data_offsets: [begin, offset] }))
  }
  // Member by member: an object would move names like "0" to the front.
  const json = `{${[...members].map(([name, info]) => `${JSON.stringify(name)}:${info}`).join(',')}}`
  const text = new TextEncoder().encode(json)
  const length = Math.ceil(text.byteLength / 8) * 8
  if (length > maxHeader) {
    throw new TweedieError('option', `expected a header of at most ${maxHeader} bytes, found ${length}`)
  }
  const bytes = new Uint8Array(8 + length).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true)
  bytes.set(text, 8)
  return bytes
}
