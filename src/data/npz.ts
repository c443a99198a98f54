import { zipSync } from 'fflate'
import { TweedieError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { openZip, readEntry } from '../io/zip.ts'
import { arraysSet, neededKeys } from './arrays.ts'
import { checkBytes, type ImageSet } from './image-set.ts'
import { encodeNpy, parseNpy, type NpyArray, type NpyValues } from './npy.ts'
import { sha256OfBytes } from '../io/sha256.ts'

/**
 * NumPy's .npz as a set of images: `images` or `arr_0`, MedMNIST's `train_images`, Keras's `x_train`, downsampled
 * ImageNet's `data`, with their labels; see docs/formats.md. All of it is read: images stay in memory as bytes.
 *
 * @throws TweedieError 'format', naming the file, for what is broken or has no images
 */
export async function openNpz(source: ByteSource, signal?: AbortSignal): Promise<ImageSet> {
  const { name } = source
  checkBytes(name, source.size)
  const entries = await openZip(source, signal, { deflate: true })
  const arrays = new Map<string, NpyArray>()
  const notes: string[] = []
  for (const [path, entry] of entries) {
    // What macOS's archiver adds.
    if (path.startsWith('__MACOSX/')) continue
    const key = path.replace(/\.npy$/, '')
    checkBytes(`${name}: array "${key}"`, entry.length)
    const bytes = await readEntry(source, entry, signal)
    try {
      arrays.set(key, parseNpy(bytes, `${name}: array "${key}"`))
    } catch (error) {
      // Only the arrays that are needed must be readable.
      if (neededKeys.includes(key) || !(error instanceof TweedieError)) throw error
      notes.push(`${error.message.slice(name.length + 2)} Ignored.`)
    }
  }
  return arraysSet(name, arrays, await sha256OfBytes(await source.read(0, source.size, signal)), notes)
}

/**
 * A single array of NumPy, `.npy`, as a set of images without labels.
 *
 * @throws TweedieError 'format', naming the file, for what is broken or holds no images
 */
export async function openNpy(source: ByteSource, signal?: AbortSignal): Promise<ImageSet> {
  const { name } = source
  checkBytes(name, source.size)
  const bytes = await source.read(0, source.size, signal)
  return arraysSet(name, new Map([['images', parseNpy(bytes, name)]]), await sha256OfBytes(bytes))
}

/** The names of the arrays in an .npz. Throws 'format' for what is none. */
export async function npzNames(source: ByteSource, signal?: AbortSignal): Promise<string[]> {
  return [...(await openZip(source, signal, { deflate: true })).keys()].map((path) => path.replace(/\.npy$/, ''))
}

/** Those of `names` that an .npz has; no other array is read. Throws 'format' for what is broken. */
export async function readNpz(
  source: ByteSource,
  names: readonly string[],
  signal?: AbortSignal,
): Promise<Map<string, NpyArray>> {
  const arrays = new Map<string, NpyArray>()
  for (const [path, entry] of await openZip(source, signal, { deflate: true })) {
    const key = path.replace(/\.npy$/, '')
    if (names.includes(key))
      arrays.set(key, parseNpy(await readEntry(source, entry, signal), `${source.name}: array "${key}"`))
  }
  return arrays
}

/** The bytes of an .npz of these arrays, as `numpy.savez` writes it: uncompressed; equal for equal arrays. */
export const encodeNpz = (arrays: Readonly<Record<string, NpyValues>>): Uint8Array<ArrayBuffer> =>
  zipSync(Object.fromEntries(Object.entries(arrays).map(([name, values]) => [`${name}.npy`, encodeNpy(values)])), {
    level: 0,
    mtime: new Date(1980, 0, 1),
  })
