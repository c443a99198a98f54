import { TweedieError } from '../errors.ts'
import type { Checkpoint, TensorEntry } from './checkpoint.ts'
import { decode, fileDTypes } from './dtype.ts'
import { MalformedPickle, unpickle } from './pickle.ts'
import { readData } from './source.ts'
import type { ByteSource } from './source.ts'
import { clipped } from '../printable.ts'
import { selectStateDict } from './state-dicts.ts'
import { StorageType, torchGlobals, TorchStorage } from './torch-objects.ts'
import type { TorchTensor } from './torch-objects.ts'
import { dataOffset, openZip } from './zip.ts'

/** The pickle of ADM-512 has 250 kB. */
const maxPickle = 2 ** 24

const legacyMagic = 0x1950a86a20f9469cfc6cn
const legacyProtocol = 1001

/**
 * What `openTorch` loads. Both containers: a zip (since PyTorch 1.6) holds a pickle `X/data.pkl` that describes the
 * tensors, and each storage as a record `X/data/KEY`. The legacy file is five pickles (magic number, protocol, system,
 * object, storage keys) and then, storage by storage, a count and the elements. Tensors are views of storages (offset
 * and strides): reading fetches the view's span and gathers it to C order.
 */
export async function openStateDict(
  source: ByteSource,
  { signal, stateDict: wanted }: { signal?: AbortSignal; stateDict?: string },
): Promise<Checkpoint> {
  const head = await source.read(0, Math.min(2, source.size), signal)
  const { root, locate } = await (head[0] === 0x50 ? openTorchZip : openTorchLegacy)(source, signal)
  const tensors = new Map<string, TensorEntry>()
  const found = selectStateDict(root, source.name, wanted)
  for (const [name, tensor] of found.tensors) {
    const { dtype } = tensor
    tensors.set(name, {
      name,
      dtype,
      shape: tensor.shape,
      byteLength: tensor.count * fileDTypes[dtype].bytes,
      async read(signal) {
        signal?.throwIfAborted()
        const start = await locate(tensor.storage, signal)
        return decode(dtype, await readView(source, start, tensor, signal), `${source.name}: tensor "${name}"`)
      },
    })
  }
  return {
    name: source.name,
    metadata: {},
    tensors,
    stateDict: found.name,
    notes: found.notes,
    close: async () => source.close?.(),
  }
}

interface Container {
  readonly root: unknown
  /** Offset in the file of a storage's first element. */
  locate(storage: TorchStorage, signal?: AbortSignal): number | Promise<number>
}

async function openTorchZip(source: ByteSource, signal?: AbortSignal): Promise<Container> {
  const broken = (message: string) => new TweedieError('format', `${source.name}: ${message}`)
  const entries = await openZip(source, signal, { deflate: true })
  const pickles = [...entries.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name))
  const pickle = pickles[0]
  if (pickle === undefined && entries.size > 0 && [...entries.keys()].every((name) => name.endsWith('.npy')))
    throw broken(
      `expected weights, found arrays of NumPy (${[...entries.keys()].slice(0, 3).join(', ')}), as in statistics of ` +
        'images (tweedie evaluate --real FILE)',
    )
  const inside = [...entries.keys()].find((name) => /\.(pt|pth|ckpt|bin|pkl|safetensors)$/.test(name))
  if (pickle === undefined && inside !== undefined && !/(^|\/)(data|constants)\.pkl$/.test(inside))
    throw broken(`expected weights, found a zip archive with ${clipped(inside)} in it: unpack it`)
  if (pickle !== undefined && entries.has(pickle.name.replace('data.pkl', 'constants.pkl')))
    throw broken(
      'expected a state dict, found a program (TorchScript): load it with torch.jit.load and save its state_dict()',
    )
  if (pickle === undefined || pickles.length > 1) {
    throw broken(
      `expected a zip of torch.save with one record X/data.pkl, found ${pickles.length} among ` +
        `${entries.size} records`,
    )
  }
  const folder = pickle.name.slice(0, -'data.pkl'.length)
  const packed = [...entries.values()].find(({ name, deflated }) => deflated && name.startsWith(folder))
  if (packed)
    throw broken(
      `record "${clipped(packed.name)}": expected a stored record, as torch.save writes, found a compressed one: ` +
        'somebody packed the file again. Unpack it and save it with torch.save',
    )
  if (pickle.size > maxPickle) throw broken(`expected a pickle of at most ${maxPickle} bytes, found ${pickle.size}`)
  const order = entries.get(`${folder}byteorder`)
  if (order !== undefined && order.size < 16) {
    const text = new TextDecoder().decode(
      await source.read(await dataOffset(source, order, signal), order.size, signal),
    )
    if (text !== 'little') throw broken(`expected little-endian tensors, found byte order "${text}"`)
  }

  const bytes = await source.read(await dataOffset(source, pickle, signal), pickle.size, signal)
  const storages = new Map<string, TorchStorage>()
  const { value } = unpickle(bytes, 0, source.name, torchGlobals, storageTable(storages))
  const records = new Map(
    [...storages.values()].map((storage) => {
      const { key, type, count } = storage
      const entry = entries.get(`${folder}data/${key}`)
      const expected = count * type.bytes
      if (entry?.size !== expected) {
        throw broken(
          `storage ${clipped(key)}: expected a record of ${expected} bytes for ${count} of ${type.dtype ?? 'them'}, ` +
            `found ${entry?.size ?? 'none'}`,
        )
      }
      return [key, entry]
    }),
  )
  return { root: value, locate: ({ key }, signal) => dataOffset(source, records.get(key)!, signal) }
}

async function openTorchLegacy(source: ByteSource, signal?: AbortSignal): Promise<Container> {
  const broken = (message: string) => new TweedieError('format', `${source.name}: ${message}`)
  const bytes = await source.read(0, Math.min(source.size, maxPickle), signal)
  const storages = new Map<string, TorchStorage>()
  let at = 0
  const next = () => {
    const { value, end } = unpickle(bytes, at, source.name, torchGlobals, storageTable(storages))
    at = end
    return value
  }
  if (next() !== legacyMagic) throw broken('expected the magic number of a PyTorch file, found another pickle')
  const protocol = next()
  if (protocol !== legacyProtocol)
    throw broken(`expected protocol ${legacyProtocol} of torch.save, found ${show(protocol)}`)
  const system = next()
  if (!(system instanceof Map) || system.get('little_endian') !== true) throw broken('expected little-endian tensors')
  const root = next()
  const keys = next()
  if (!Array.isArray(keys)) throw broken('expected a list of storage keys')

  const starts = new Map<string, number>()
  for (const key of keys as unknown[]) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined
    if (storage === undefined || starts.has(storage.key))
      throw broken(`expected each storage once, found key ${show(key)}`)
    const count = (await readData(source, at, 8, signal)).getBigInt64(0, true)
    if (count !== BigInt(storage.count)) {
      throw broken(`storage ${clipped(storage.key)}: expected ${storage.count} elements, found ${count}`)
    }
    starts.set(storage.key, at + 8)
    at += 8 + storage.count * storage.type.bytes
    if (at > source.size) {
      throw broken(
        `storage ${clipped(storage.key)}: expected data up to ${at}, found the end of the file at ${source.size}`,
      )
    }
  }
  for (const key of storages.keys())
    if (!starts.has(key)) throw broken(`storage ${clipped(key)}: expected data, found none`)
  return { root, locate: ({ key }) => starts.get(key)! }
}

/**
 * Persistent ids are `('storage', type, key, device, count)`, and legacy files add None (or a view, of PyTorch 0.1).
 */
const storageTable =
  (storages: Map<string, TorchStorage>) =>
  (id: unknown): TorchStorage => {
    const [kind, type, key, , count, view] = Array.isArray(id) ? (id as unknown[]) : []
    const valid =
      kind === 'storage' && type instanceof StorageType && typeof key === 'string' && (view ?? null) === null
    if (!valid || typeof count !== 'number' || !Number.isSafeInteger(count) || count < 0) {
      throw new MalformedPickle("expected a persistent id ('storage', type, key, device, count), found another")
    }
    const known = storages.get(key)
    if (known !== undefined && (known.type !== type || known.count !== count)) {
      throw new MalformedPickle(
        `storage ${clipped(key)}: expected one type and size, found ${known.count} ${known.type.dtype} and ` +
          `${count} ${type.dtype}`,
      )
    }
    const storage = known ?? new TorchStorage(type, key, count)
    storages.set(key, storage)
    return storage
  }

/** The view's elements in C order. Reads from its first element to its last and no further. */
async function readView(
  source: ByteSource,
  start: number,
  { dtype, offset, shape, stride, count }: TorchTensor,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const size = fileDTypes[dtype].bytes
  if (count === 0) return new Uint8Array(0)
  const last = shape.reduce((sum, n, d) => sum + (n - 1) * stride[d], 0)
  const span = await source.read(start + offset * size, (last + 1) * size, signal)
  if (last + 1 === count && isContiguous(shape, stride)) return span

  const out = new Uint8Array(count * size)
  const index = shape.map(() => 0)
  let from = 0
  for (let to = 0; to < out.length; to += size) {
    for (let b = 0; b < size; b++) out[to + b] = span[from + b]
    // Counts up like an odometer, last dimension first.
    for (let d = shape.length - 1; d >= 0; d--) {
      from += stride[d] * size
      if (++index[d] < shape[d]) break
      from -= shape[d] * stride[d] * size
      index[d] = 0
    }
  }
  return out
}

/** Never spells out a list: a pickle may nest them a million deep. */
const show = (value: unknown): string =>
  typeof value === 'string' || typeof value === 'number' ? clipped(String(value)) : typeof value

/** Dimensions of size 1 may have any stride. */
function isContiguous(shape: readonly number[], stride: readonly number[]): boolean {
  let step = 1
  for (let d = shape.length - 1; d >= 0; d--) {
    if (shape[d] !== 1 && stride[d] !== step) return false
    step *= shape[d]
  }
  return true
}
