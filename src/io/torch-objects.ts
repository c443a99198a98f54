import { TweedieError } from '../errors.ts'
import type { FileDType } from './dtype.ts'
import { MalformedPickle } from './pickle.ts'
import type { PickleGlobals } from './pickle.ts'

/** `torch.FloatStorage` and its like: the class, of which a pickle names the elements of a storage. */
export class StorageType {
  /** Of the elements. */
  readonly dtype: FileDType

  constructor(dtype: FileDType) {
    this.dtype = dtype
  }
}

/** A storage: `count` elements of the file, under a key. */
export class TorchStorage {
  /** Of the elements. */
  readonly dtype: FileDType
  /** Its record in the file. */
  readonly key: string
  /** Number of elements. */
  readonly count: number

  constructor(dtype: FileDType, key: string, count: number) {
    this.dtype = dtype
    this.key = key
    this.count = count
  }
}

/** A tensor that a pickle describes, a view of a storage: nothing is read. */
export class TorchTensor {
  /** Where its elements lie. */
  readonly storage: TorchStorage
  /** Of its first element in the storage, in elements. */
  readonly offset: number
  /** Its sizes. */
  readonly shape: readonly number[]
  /** From one place to the next of each axis, in elements. */
  readonly stride: readonly number[]
  /** Number of elements. */
  readonly count: number

  constructor(storage: unknown, offset: unknown, shape: unknown, stride: unknown) {
    const sizes = isSize(offset) && isSizes(shape) && isSizes(stride) && shape.length === stride.length
    if (!(storage instanceof TorchStorage) || !sizes) {
      throw new MalformedPickle(
        'expected a tensor of storage, offset, shape and as many strides, found other arguments',
      )
    }
    this.storage = storage
    this.offset = offset
    // Copies: the pickle may go on to append to its lists.
    this.shape = [...shape]
    this.stride = [...stride]
    this.count = shape.reduce((a, b) => a * b, 1)
    const last = this.count === 0 ? offset - 1 : shape.reduce((sum, n, d) => sum + (n - 1) * stride[d], offset)
    // The last bound refuses a stride of 0, by which a small file could ask for any amount of memory.
    if (last >= storage.count || !Number.isSafeInteger(this.count) || this.count > storage.count) {
      throw new MalformedPickle(
        `a tensor [${shape.join(', ')}] with strides [${stride.join(', ')}] at ${offset}: ` +
          `expected it within the ${storage.count} elements of storage ${storage.key}`,
      )
    }
  }
}

/** `collections.OrderedDict()`, or of a list of pairs as Python 2 wrote it. */
function orderedDict(pairs: unknown = []): Map<unknown, unknown> {
  const isPairs = Array.isArray(pairs) && pairs.every((pair) => Array.isArray(pair) && pair.length === 2)
  if (!isPairs) throw new MalformedPickle('expected an OrderedDict of pairs, found another argument')
  return new Map(pairs as [unknown, unknown][])
}

/** torch.nn.Parameter: the tensor in it. */
function rebuildParameter(data: unknown): TorchTensor {
  if (!(data instanceof TorchTensor)) throw new MalformedPickle('expected a parameter that holds a tensor')
  return data
}

/** Everything that a pickle may name. */
export const torchGlobals: PickleGlobals = new Map<string, unknown>([
  ['collections.OrderedDict', orderedDict],
  [
    'torch._utils._rebuild_tensor_v2',
    (storage: unknown, offset: unknown, shape: unknown, stride: unknown) =>
      new TorchTensor(storage, offset, shape, stride),
  ],
  ['torch._utils._rebuild_parameter', rebuildParameter],
  ['torch.Size', (sizes: unknown) => sizes],
  ['torch.DoubleStorage', new StorageType('F64')],
  ['torch.FloatStorage', new StorageType('F32')],
  ['torch.HalfStorage', new StorageType('F16')],
  ['torch.BFloat16Storage', new StorageType('BF16')],
  ['torch.LongStorage', new StorageType('I64')],
  ['torch.IntStorage', new StorageType('I32')],
  ['torch.ShortStorage', new StorageType('I16')],
  ['torch.CharStorage', new StorageType('I8')],
  ['torch.ByteStorage', new StorageType('U8')],
  ['torch.BoolStorage', new StorageType('BOOL')],
])

/** Where training scripts put the state dict beside their optimizer, epoch and the like. */
const nestings = ['state_dict', 'model_state_dict', 'ema', 'model']

/** The dictionary of tensors of a file: `root` itself, or the only one under one of the usual names. */
export function selectStateDict(root: unknown, file: string): Map<string, TorchTensor> {
  if (isStateDict(root)) return root
  const nested = root instanceof Map ? nestings.filter((key) => isStateDict(root.get(key))) : []
  if (nested.length === 1) return (root as Map<unknown, unknown>).get(nested[0]) as Map<string, TorchTensor>
  const found = !(root instanceof Map)
    ? 'no dictionary'
    : nested.length > 1
      ? `several: ${nested.join(', ')}`
      : `the keys ${
          [...root.keys()]
            .slice(0, 20)
            .map((key) => (typeof key === 'string' ? key : typeof key))
            .join(', ') || '(none)'
        }`
  throw new TweedieError(
    'format',
    `${file}: expected a dictionary of tensors, or one under ${nestings.join(', ')}, found ` +
      `${found}. Save the weights alone: torch.save(model.state_dict(), path)`,
  )
}

function isStateDict(value: unknown): value is Map<string, TorchTensor> {
  return (
    value instanceof Map &&
    value.size > 0 &&
    [...value].every(([key, tensor]) => typeof key === 'string' && tensor instanceof TorchTensor)
  )
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const isSizes = (value: unknown): value is number[] => Array.isArray(value) && value.every(isSize)
