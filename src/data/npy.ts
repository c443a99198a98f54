/**
 * The .npy format of NumPy, versions 1 to 3: a header that is a Python dict literal, and the elements, which are given
 * in C order whatever their order in the file.
 * Format: numpy.lib.format's documentation.
 */
import { TweedieError } from '../errors.ts'
import { clipped } from '../printable.ts'

/** Numbers, or the strings of a `U` or `S` array. 64-bit integers are doubles; past 2^53 they are refused. */
export interface NpyArray {
  readonly shape: readonly number[]
  /** NumPy's name, `|u1` say. */
  readonly dtype: string
  readonly data: Uint8Array | Float64Array | string[]
}

/** As doubles 256 MiB; a covariance of 2048 features has 4 million. */
const mostNumbers = 2 ** 25

/** What NumPy's own reader takes (`max_header_size`): a longer one makes regular expressions slow. */
const maxHeader = 10_000

/** Throws 'format', naming `name`, for what is broken, or of a type without numbers or text. */
export function parseNpy(bytes: Uint8Array, name: string): NpyArray {
  const wrong = (message: string): never => {
    throw new TweedieError('format', `${name}: ${message}`)
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 12 || String.fromCharCode(...bytes.subarray(1, 6)) !== 'NUMPY' || bytes[0] !== 0x93)
    wrong('not a NumPy array.')
  const version = bytes[6]
  if (version < 1 || version > 3) wrong(`expected version 1 to 3 of the format, found ${version}.`)
  const start = version === 1 ? 10 : 12
  const end = start + (version === 1 ? view.getUint16(8, true) : view.getUint32(8, true))
  if (end > bytes.length) wrong('a damaged array: its header is cut short.')
  if (end - start > maxHeader)
    wrong(`expected a header of at most ${maxHeader} bytes, as NumPy reads, found ${end - start}.`)
  const header = new TextDecoder(version === 3 ? 'utf-8' : 'latin1').decode(bytes.subarray(start, end))
  const dtype =
    /'descr'\s*:\s*'([^']*)'/.exec(header)?.[1] ??
    wrong('expected an array of numbers or text, found a structured one.')
  const dimensions = /'shape'\s*:\s*\(([^)]*)\)/.exec(header)?.[1] ?? wrong('a damaged array: its header has no shape.')
  // Python 2 wrote whole numbers as 3L.
  const shape = dimensions
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => (/^\d+L?$/.test(part) ? parseInt(part, 10) : NaN))
  const count = shape.reduce((a, b) => a * b, 1)
  if (!shape.every(Number.isSafeInteger) || !Number.isSafeInteger(count))
    wrong(`a damaged array: expected a shape of whole numbers, found (${clipped(dimensions, 60)}).`)
  const fortran = /'fortran_order'\s*:\s*True/.test(header) && shape.filter((n) => n > 1).length > 1
  const [, order, kind, digits] =
    /^([<>|=])?([a-zA-Z])(\d*)$/.exec(dtype) ?? wrong(`arrays of type ${clipped(dtype, 40)} are not read.`)
  const size = Number(digits) * (kind === 'U' ? 4 : 1)
  const little = order !== '>'
  const read = readers(view, little)[`${kind}${digits}`]
  const text = kind === 'U' || kind === 'S'
  if (!read && !(text && size > 0))
    wrong(
      `arrays of type ${clipped(dtype, 40)} are not read, only numbers and ` +
        `text${kind === 'O' ? ' (not Python objects: save text with array.astype(str))' : ''}.`,
    )
  if (bytes.length < end + count * size)
    wrong(`a damaged array: expected ${count * size} bytes of elements, found ${bytes.length - end}.`)
  if (text) {
    const characters = (at: number): number => (kind === 'U' ? view.getUint32(at, little) : view.getUint8(at))
    const step = kind === 'U' ? 4 : 1
    const data = Array.from({ length: count }, (_, i) => {
      let string = ''
      for (let k = 0; k < size; k += step)
        string += String.fromCodePoint(Math.min(characters(end + i * size + k), 0x10ffff))
      return string.replace(/\0+$/, '')
    })
    return { shape, dtype, data: fortran ? inCOrder(data, shape, new Array<string>(count)) : data }
  }
  if (kind === 'u' && size === 1) {
    const data = bytes.subarray(end, end + count)
    return { shape, dtype, data: fortran ? inCOrder(data, shape, new Uint8Array(count)) : data }
  }
  if (count > mostNumbers) wrong(`expected at most ${mostNumbers} numbers of type ${dtype}, found ${count}.`)
  const data = Float64Array.from({ length: count }, (_, i) => read(end + i * size))
  if (size === 8 && kind !== 'f' && data.some((value) => Math.abs(value) > Number.MAX_SAFE_INTEGER))
    wrong('integers of 2^53 or more are not read.')
  return { shape, dtype, data: fortran ? inCOrder(data, shape, new Float64Array(count)) : data }
}

/** Elements of which the first index runs fastest, into `out` with the last one running fastest. */
function inCOrder<T extends { readonly length: number; [i: number]: unknown }>(
  data: T,
  shape: readonly number[],
  out: T,
): T {
  const strides = shape.map((_, d) => shape.slice(d + 1).reduce((a, b) => a * b, 1))
  const index = shape.map(() => 0)
  for (let i = 0, to = 0; i < data.length; i++) {
    out[to] = data[i]
    for (let d = 0; d < shape.length; d++) {
      to += strides[d]
      if (++index[d] < shape[d]) break
      to -= strides[d] * shape[d]
      index[d] = 0
    }
  }
  return out
}

const readers = (view: DataView, little: boolean): Record<string, (at: number) => number> => ({
  b1: (at) => view.getUint8(at),
  u1: (at) => view.getUint8(at),
  i1: (at) => view.getInt8(at),
  u2: (at) => view.getUint16(at, little),
  i2: (at) => view.getInt16(at, little),
  u4: (at) => view.getUint32(at, little),
  i4: (at) => view.getInt32(at, little),
  u8: (at) => Number(view.getBigUint64(at, little)),
  i8: (at) => Number(view.getBigInt64(at, little)),
  f4: (at) => view.getFloat32(at, little),
  f8: (at) => view.getFloat64(at, little),
})

/** What stands before the elements of a .npy file, version 1, in C order. `dtype`: NumPy's name, `|u1` say. */
export function npyHeader(dtype: string, shape: readonly number[]): Uint8Array<ArrayBuffer> {
  const tuple = `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`
  const header = `{'descr': '${dtype}', 'fortran_order': False, 'shape': ${tuple}, }`
  // The elements begin at a multiple of 64 bytes, behind a line feed.
  const begin = Math.ceil((10 + header.length + 1) / 64) * 64
  const bytes = new Uint8Array(begin).fill(0x20)
  bytes.set([0x93, ...new TextEncoder().encode('NUMPY'), 1, 0])
  new DataView(bytes.buffer).setUint16(8, begin - 10, true)
  bytes.set(new TextEncoder().encode(header), 10)
  bytes[begin - 1] = 0x0a
  return bytes
}

/** What `encodeNpy` writes: numbers in C order, or text. */
export interface NpyValues {
  readonly shape: readonly number[]
  readonly data: Float32Array | Float64Array | readonly string[]
}

/** The bytes of a .npy file, version 1: `<f4`, `<f8` or `<U`. Throws 'shape' where shape and data do not fit. */
export function encodeNpy({ shape, data }: NpyValues): Uint8Array<ArrayBuffer> {
  const count = shape.reduce((a, b) => a * b, 1)
  if (count !== data.length)
    throw new TweedieError(
      'shape',
      `encodeNpy: expected ${count} elements for a shape of [${shape.join(', ')}], found ${data.length}.`,
    )
  const numbers = ArrayBuffer.isView(data)
  const texts = numbers ? [] : data.map((text) => Array.from(text, (character) => character.codePointAt(0)!))
  const longest = texts.reduce((most, { length }) => Math.max(most, length), 1)
  const [dtype, size] = numbers
    ? [`<f${data.BYTES_PER_ELEMENT}`, data.BYTES_PER_ELEMENT]
    : [`<U${longest}`, 4 * longest]
  const head = npyHeader(dtype, shape)
  const begin = head.length
  const bytes = new Uint8Array(begin + count * size)
  bytes.set(head)
  const view = new DataView(bytes.buffer)
  if (numbers)
    data.forEach((value, i) =>
      size === 4 ? view.setFloat32(begin + i * 4, value, true) : view.setFloat64(begin + i * 8, value, true),
    )
  else texts.forEach((points, i) => points.forEach((point, k) => view.setUint32(begin + i * size + 4 * k, point, true)))
  return bytes
}
