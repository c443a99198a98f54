/**
 * Checkpoints made by hand, and what the tests of the reader ask of them: PyTorch's two containers around a small
 * pickle writer of protocol 2, laid out as torch.save does. The archives are fflate's, so writer and reader share no
 * code.
 */
import { zipSync } from 'fflate'
import { expect } from 'vitest'
import { TweedieError } from '../src/errors.ts'
import { bytesSource, openCheckpoint } from '../src/io/index.ts'
import type { ByteSource } from '../src/io/index.ts'

export const concat = (...parts: (Uint8Array | readonly number[])[]): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(parts.flatMap((part) => [...part]))

export const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)

/** A little-endian integer of `bytes` bytes. */
export const le = (value: number | bigint, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => Number(BigInt.asUintN(8, BigInt(value) >> BigInt(8 * i))))

export const pickle = {
  int: (n: number) => concat([0x4a], le(n, 4)),
  str: (text: string) => concat([0x58], le(ascii(text).length, 4), ascii(text)),
  none: Uint8Array.of(0x4e),
  false: Uint8Array.of(0x89),
  true: Uint8Array.of(0x88),
  tuple: (...items: Uint8Array[]) => concat([0x28], ...items, [0x74]),
  list: (...items: Uint8Array[]) => concat([0x5d, 0x28], ...items, [0x65]),
  dict: (...pairs: (readonly [Uint8Array, Uint8Array])[]) => concat([0x7d, 0x28], ...pairs.flat(), [0x75]),
  global: (module: string, name: string) => ascii(`c${module}\n${name}\n`),
  call: (callable: Uint8Array, ...args: Uint8Array[]) => concat(callable, pickle.tuple(...args), [0x52]),
  /** A whole stream: protocol 2, the value, STOP. */
  stream: (value: Uint8Array) => concat([0x80, 2], value, [0x2e]),
}

export interface FixtureTensor {
  readonly name: string
  /** `Float` of `torch.FloatStorage`. */
  readonly type: string
  readonly shape: readonly number[]
  /** Elements; C order if absent. */
  readonly stride?: readonly number[]
  readonly offset?: number
  /** Elements of the storage, little-endian. */
  readonly data:
    | Float32Array
    | Float64Array
    | BigInt64Array
    | Int32Array
    | Int16Array
    | Int8Array
    | Uint16Array
    | Uint8Array
}

const cOrder = (shape: readonly number[]): number[] =>
  shape.map((_, d) => shape.slice(d + 1).reduce((a, b) => a * b, 1))

/** One tensor, a view of the storage `key`. */
export function tensorPickle(tensor: FixtureTensor, key: string, legacy = false): Uint8Array {
  const { type, shape, stride = cOrder(shape), offset = 0, data } = tensor
  const { tuple, str, int, global, call } = pickle
  const id = [str('storage'), global('torch', `${type}Storage`), str(key), str('cpu'), int(data.length)]
  const storage = concat(tuple(...id, ...(legacy ? [pickle.none] : [])), [0x51])
  const hooks = concat(global('collections', 'OrderedDict'), [0x29, 0x52])
  return call(
    global('torch._utils', '_rebuild_tensor_v2'),
    storage,
    int(offset),
    tuple(...shape.map(int)),
    tuple(...stride.map(int)),
    pickle.false,
    hooks,
  )
}

/** The pickle of an OrderedDict of tensors with storage keys "0", "1", …, and its `_metadata`. */
export function stateDictPickle(tensors: readonly FixtureTensor[], legacy = false): Uint8Array {
  const items = tensors.flatMap((tensor, i) => [pickle.str(tensor.name), tensorPickle(tensor, String(i), legacy)])
  const state = pickle.dict([pickle.str('_metadata'), pickle.dict()])
  return concat(pickle.global('collections', 'OrderedDict'), [0x29, 0x52, 0x28], ...items, [0x75], state, [0x62])
}

const raw = ({ data }: FixtureTensor): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** `root`: what data.pkl holds, the state dict by default. `level`: 0 stores, as torch.save does. */
export function torchZip(
  tensors: readonly FixtureTensor[],
  root = stateDictPickle(tensors),
  level: 0 | 6 = 0,
): Uint8Array {
  const records = tensors.map((tensor, i) => [`archive/data/${i}`, raw(tensor)] as const)
  return zipSync(
    {
      'archive/data.pkl': pickle.stream(root),
      ...Object.fromEntries(records),
      'archive/version': ascii('3\n'),
    },
    { level },
  )
}

export function torchLegacy(tensors: readonly FixtureTensor[], root = stateDictPickle(tensors, true)): Uint8Array {
  const { stream, int, dict, str, list } = pickle
  return concat(
    stream(concat([0x8a, 10], le(0x1950a86a20f9469cfc6cn, 10))),
    stream(int(1001)),
    stream(dict([str('protocol_version'), int(1001)], [str('little_endian'), pickle.true])),
    stream(root),
    stream(list(...tensors.map((_, i) => str(String(i))))),
    ...tensors.flatMap((tensor) => [le(tensor.data.length, 8), raw(tensor)]),
  )
}

/** A safetensors file of any header text, valid or not. */
export function safetensors(
  header: string,
  data: Uint8Array | readonly number[] = [],
  length = ascii(header).length,
): Uint8Array {
  return concat(le(length, 8), ascii(header), data)
}

/** Rejects with a TweedieError of this code whose message matches every pattern. */
export async function refuses(
  promise: Promise<unknown>,
  code: string,
  ...patterns: (RegExp | string)[]
): Promise<void> {
  const error: unknown = await promise.then(
    () => undefined,
    (e: unknown) => e,
  )
  expect(error).toBeInstanceOf(TweedieError)
  expect((error as TweedieError).code).toBe(code)
  for (const pattern of patterns) expect((error as TweedieError).message).toMatch(pattern)
}

/** Opens and reads everything; true if it went well, false for a format error; anything else is a defect. */
export async function survives(bytes: Uint8Array): Promise<boolean> {
  try {
    const checkpoint = await openCheckpoint(bytesSource(bytes))
    for (const tensor of checkpoint.tensors.values()) await tensor.read()
    return true
  } catch (error) {
    if (!(error instanceof TweedieError) || error.code !== 'format') throw error
    return false
  }
}

/** A source that notes the length of each read. */
export function recording(bytes: Uint8Array): { source: ByteSource; reads: number[] } {
  const source = bytesSource(bytes)
  const reads: number[] = []
  const read: ByteSource['read'] = (offset, length, signal) => {
    reads.push(length)
    return source.read(offset, length, signal)
  }
  return { source: { ...source, read }, reads }
}
