import { clipped } from '../printable.ts'
import { fileDTypes, type FileDType } from './dtype.ts'
import { MalformedPickle } from './pickle.ts'
import type { PickleGlobals } from './pickle.ts'

/** `torch.FloatStorage` and its like: the class, of which a pickle names the elements of a storage. */
export class StorageType {
  /** Of the elements; null for those that are not read (complex, quantized), and where the tensor says it. */
  readonly dtype: FileDType | null
  /** Of an element. */
  readonly bytes: number

  constructor(dtype: FileDType | null, bytes: number = dtype === null ? 1 : fileDTypes[dtype].bytes) {
    this.dtype = dtype
    this.bytes = bytes
  }
}

/** A storage: `count` elements of the file, under a key. */
export class TorchStorage {
  /** Of the elements. */
  readonly type: StorageType
  /** Its record in the file. */
  readonly key: string
  /** Number of elements. */
  readonly count: number

  constructor(type: StorageType, key: string, count: number) {
    this.type = type
    this.key = key
    this.count = count
  }
}

/** A tensor of a kind that is not read; a file may hold it beside those that are. */
export class OtherTensor {
  /** "sparse", "of complex numbers". */
  readonly what: string

  constructor(what: string) {
    this.what = what
  }
}

const noTensor = 'expected a tensor of storage, offset, shape and as many strides, found other arguments'

/** Elements of a tensor that repeats those of its storage (`expand`): a small file must not ask for any memory. */
const mostRepeated = 2 ** 20

/** A tensor that a pickle describes, a view of a storage: nothing is read. */
export class TorchTensor {
  /** Where its elements lie. */
  readonly storage: TorchStorage
  /** Of its elements. */
  readonly dtype: FileDType
  /** Of its first element in the storage, in elements. */
  readonly offset: number
  /** Its sizes. */
  readonly shape: readonly number[]
  /** From one place to the next of each axis, in elements. */
  readonly stride: readonly number[]
  /** Number of elements. */
  readonly count: number

  constructor(storage: TorchStorage, dtype: FileDType, offset: unknown, shape: unknown, stride: unknown) {
    if (!isSize(offset) || !isSizes(shape) || !isSizes(stride) || shape.length !== stride.length) {
      throw new MalformedPickle(noTensor)
    }
    this.storage = storage
    this.dtype = dtype
    this.offset = offset
    // Copies: the pickle may go on to append to its lists.
    this.shape = [...shape]
    this.stride = [...stride]
    this.count = shape.reduce((a, b) => a * b, 1)
    const held = Math.floor((storage.count * storage.type.bytes) / fileDTypes[dtype].bytes)
    const last = this.count === 0 ? offset - 1 : shape.reduce((sum, n, d) => sum + (n - 1) * stride[d], offset)
    const what = (): string =>
      `a tensor ${sizes(shape)} with strides ${sizes(stride)} at ${offset}: expected it within the ${held} elements ` +
      `of storage ${clipped(storage.key)}`
    if (last >= held || !Number.isSafeInteger(this.count)) throw new MalformedPickle(what())
    if (this.count > held && this.count > mostRepeated)
      throw new MalformedPickle(`${what()}, which it repeats: it was expanded; save it with .contiguous()`)
  }
}

/** `collections.OrderedDict()`, or of a list of pairs as Python 2 wrote it. */
function orderedDict(pairs: unknown = []): Map<unknown, unknown> {
  const isPairs = Array.isArray(pairs) && pairs.every((pair) => Array.isArray(pair) && pair.length === 2)
  if (!isPairs) throw new MalformedPickle('expected an OrderedDict of pairs, found another argument')
  return new Map(pairs as [unknown, unknown][])
}

/** torch.nn.Parameter: the tensor in it. */
function rebuildParameter(data: unknown): TorchTensor | OtherTensor {
  if (!(data instanceof TorchTensor) && !(data instanceof OtherTensor))
    throw new MalformedPickle('expected a parameter that holds a tensor')
  return data
}

function rebuildTensor(storage: unknown, offset: unknown, shape: unknown, stride: unknown): TorchTensor | OtherTensor {
  if (!(storage instanceof TorchStorage)) throw new MalformedPickle(noTensor)
  const { dtype } = storage.type
  return dtype === null
    ? new OtherTensor('of complex or quantized numbers')
    : tensorOf(storage, dtype, offset, shape, stride)
}

const tensorOf = (storage: TorchStorage, dtype: FileDType, offset: unknown, shape: unknown, stride: unknown) =>
  new TorchTensor(storage, dtype, offset, shape, stride)

/** Of the types that have no storage class of their own: the storage is one of bytes, and the tensor says its type. */
function rebuildTensorV3(storage: unknown, offset: unknown, shape: unknown, stride: unknown, ...rest: unknown[]) {
  if (!(storage instanceof TorchStorage)) throw new MalformedPickle(noTensor)
  const dtype = typeof rest[2] === 'string' ? dtypes.get(rest[2]) : undefined
  return dtype ? tensorOf(storage, dtype, offset, shape, stride) : new OtherTensor(`of ${told(rest[2])}`)
}

/** A tensor with attributes or of a subclass: what the function makes of the arguments, without the attributes. */
function rebuildFromType(call: unknown, _: unknown, args: unknown): unknown {
  if (!rebuilders.includes(call) || !Array.isArray(args) || args.length > 16)
    throw new MalformedPickle('expected a tensor with attributes, found other arguments')
  return (call as (...args: readonly unknown[]) => unknown)(...args)
}

const rebuilders: readonly unknown[] = [rebuildTensor, rebuildTensorV3, rebuildParameter]

/** Python's bytes in protocol 2: a text whose characters are the bytes. */
function encode(text: unknown): Uint8Array {
  if (typeof text !== 'string') throw new MalformedPickle('expected a text of bytes')
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}

function setOf(items: unknown = []): Set<unknown> {
  if (!Array.isArray(items)) throw new MalformedPickle('expected a set of a list')
  return new Set(items)
}

const counterOf = (counts: unknown): Map<unknown, unknown> => new Map(counts instanceof Map ? counts : [])

/** What is told of tensors, and that we have no use for: kept as text. */
const told = (...words: readonly unknown[]): string =>
  words
    .map((word) => (typeof word === 'string' || typeof word === 'number' ? clipped(String(word), 40) : '…'))
    .join(':')

const dtypes: ReadonlyMap<string, FileDType> = new Map([
  ['torch.float64', 'F64'],
  ['torch.float32', 'F32'],
  ['torch.float16', 'F16'],
  ['torch.bfloat16', 'BF16'],
  ['torch.int64', 'I64'],
  ['torch.int32', 'I32'],
  ['torch.int16', 'I16'],
  ['torch.int8', 'I8'],
  ['torch.uint32', 'U32'],
  ['torch.uint16', 'U16'],
  ['torch.uint8', 'U8'],
  ['torch.bool', 'BOOL'],
])

/** Names that stand for nothing but themselves. */
const words: readonly string[] = [
  ...dtypes.keys(),
  ...['uint64', 'complex32', 'complex64', 'complex128', 'qint8', 'quint8', 'qint32', 'quint4x2', 'quint2x4'].map(
    (name) => `torch.${name}`,
  ),
  ...['float8_e4m3fn', 'float8_e5m2', 'float8_e4m3fnuz', 'float8_e5m2fnuz'].map((name) => `torch.${name}`),
  ...['per_tensor_affine', 'per_channel_affine', 'per_channel_symmetric', 'per_tensor_symmetric'].map(
    (name) => `torch.${name}`,
  ),
  'torch.per_channel_affine_float_qparams',
  'torch.Tensor',
]

const storageTypes: Readonly<Record<string, StorageType>> = {
  Double: new StorageType('F64'),
  Float: new StorageType('F32'),
  Half: new StorageType('F16'),
  BFloat16: new StorageType('BF16'),
  Long: new StorageType('I64'),
  Int: new StorageType('I32'),
  Short: new StorageType('I16'),
  Char: new StorageType('I8'),
  Byte: new StorageType('U8'),
  Bool: new StorageType('BOOL'),
  ComplexFloat: new StorageType(null, 8),
  ComplexDouble: new StorageType(null, 16),
  QInt8: new StorageType(null, 1),
  QUInt8: new StorageType(null, 1),
  QInt32: new StorageType(null, 4),
  QUInt4x2: new StorageType(null, 1),
  QUInt2x4: new StorageType(null, 1),
  Untyped: new StorageType(null, 1),
}

const other = (what: string) => (): OtherTensor => new OtherTensor(what)

/**
 * Everything that a pickle may name: what torch's `weights_only` takes (torch 2.9, `_weights_only_unpickler.py`). What
 * is no tensor we have no use for, but weights often stand beside it.
 */
export const torchGlobals: PickleGlobals = new Map<string, unknown>([
  ['collections.OrderedDict', orderedDict],
  ['collections.Counter', counterOf],
  ['torch._utils._rebuild_tensor', rebuildTensor],
  ['torch._utils._rebuild_tensor_v2', rebuildTensor],
  ['torch._utils._rebuild_tensor_v3', rebuildTensorV3],
  ['torch._utils._rebuild_parameter', rebuildParameter],
  ['torch._utils._rebuild_parameter_with_state', rebuildParameter],
  ['torch.nn.parameter.Parameter', rebuildParameter],
  ['torch._tensor._rebuild_from_type_v2', rebuildFromType],
  ['torch._utils._rebuild_sparse_tensor', other('sparse')],
  ['torch._utils._rebuild_qtensor', other('quantized')],
  ['torch._utils._rebuild_meta_tensor_no_storage', other('without elements')],
  ['torch._utils._rebuild_nested_tensor', other('nested')],
  ['torch.Size', (sizes: unknown) => sizes],
  ['torch.device', told],
  ['torch.serialization._get_layout', told],
  ['_codecs.encode', encode],
  ...['builtins', '__builtin__'].flatMap((module): [string, unknown][] => [
    [`${module}.set`, setOf],
    [`${module}.frozenset`, setOf],
    [`${module}.bytearray`, (bytes: unknown) => bytes ?? new Uint8Array()],
    [`${module}.complex`, (real: unknown, imaginary: unknown) => [real, imaginary]],
  ]),
  ...Object.entries(storageTypes).map(([name, type]): [string, unknown] => [`torch.${name}Storage`, type]),
  ['torch.storage.UntypedStorage', storageTypes.Untyped],
  ...words.map((word): [string, unknown] => [word, word]),
])

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const isSizes = (value: unknown): value is number[] => Array.isArray(value) && value.every(isSize)

const sizes = (shape: readonly number[]): string => `[${shape.slice(0, 8).join(', ')}${shape.length > 8 ? ', …' : ''}]`
