import { zipSync } from 'fflate'
import { TweedieError } from '../errors.ts'
import type { ByteSource } from '../io/source.ts'
import { openZip, readEntry } from '../io/zip.ts'
import { checkBytes, imageArrays, type ImageSet } from './image-set.ts'
import { encodeNpy, parseNpy, type NpyArray, type NpyValues } from './npy.ts'
import { sha256OfBytes } from '../io/sha256.ts'

/**
 * NumPy's .npz as a set of images: `images` (or guided-diffusion's `arr_0`) of bytes, [N, H, W], [N, H, W, 1] or
 * [N, H, W, 3], or one image [H, W, 1] or [H, W, 3]; `labels` (`arr_1`) and `classes`, the names of the classes, if it
 * has them. Every other array with one number an image is a column, and what is neither is named in the notes. All of
 * it is read: images stay in memory as bytes.
 *
 * @throws TweedieError 'format', naming the file, for what is broken or has no images
 */
export async function openNpz(source: ByteSource, signal?: AbortSignal): Promise<ImageSet> {
  const { name } = source
  const wrong = (message: string): never => {
    throw new TweedieError('format', `${name}: ${message}`)
  }
  checkBytes(name, source.size)
  const entries = await openZip(source, signal, { deflate: true })
  const arrays = new Map<string, NpyArray>()
  const notes: string[] = []
  for (const [path, entry] of entries) {
    const key = path.replace(/\.npy$/, '')
    checkBytes(`${name}: array "${key}"`, entry.length)
    const bytes = await readEntry(source, entry, signal)
    try {
      arrays.set(key, parseNpy(bytes, `${name}: array "${key}"`))
    } catch (error) {
      // Only the arrays that are needed must be readable.
      if (['images', 'arr_0', 'labels', 'arr_1', 'classes'].includes(key) || !(error instanceof TweedieError))
        throw error
      notes.push(`${error.message.slice(name.length + 2)} Ignored.`)
    }
  }
  const keyOf = (...keys: string[]): string | undefined => keys.find((key) => arrays.has(key))
  const [imagesKey, labelsKey] = [keyOf('images', 'arr_0'), keyOf('labels', 'arr_1')]
  const images =
    arrays.get(imagesKey ?? '') ??
    wrong(`expected an array "images" (or "arr_0"), found ${[...arrays.keys()].join(', ') || 'none'}.`)
  const { shape, dtype, data } = images
  // Nobody has grey images of 1 or 3 columns: that is one image.
  const [length, height, width, channels = 1] = shape.length === 3 && [1, 3].includes(shape[2]) ? [1, ...shape] : shape
  if (shape.length < 3 || shape.length > 4 || ![1, 3].includes(channels)) {
    wrong(
      'expected images of shape [N, height, width], [N, height, width, 1] or [N, height, width, 3], or one image ' +
        `[height, width, 3], found [${shape.join(', ')}].`,
    )
  }
  if (!(data instanceof Uint8Array))
    return wrong(`expected images of bytes (uint8, 0 to 255), found ${dtype}. Convert them before saving.`)
  const columns = new Map<string, ArrayLike<number>>()
  for (const [key, { shape, dtype, data }] of arrays) {
    if (key === imagesKey || key === labelsKey || key === 'classes') continue
    if (shape.length === 1 && shape[0] === length && typeof data[0] === 'number')
      columns.set(key, data as ArrayLike<number>)
    else notes.push(`array "${key}" (${dtype}, [${shape.join(', ')}]) is not used.`)
  }
  const labels = arrays.get(labelsKey ?? '')
  if (labels && (labels.shape.length !== 1 || typeof labels.data[0] === 'string'))
    wrong(`expected labels of shape [${length}] that are numbers, found ${labels.dtype} [${labels.shape.join(', ')}].`)
  const classes = arrays.get('classes')
  return imageArrays({
    name,
    data,
    width,
    height,
    channels: channels as 1 | 3,
    columns,
    notes,
    fingerprint: await sha256OfBytes(await source.read(0, source.size, signal)),
    ...(labels && { labels: labels.data as ArrayLike<number> }),
    ...(labels && classes && { classes: Array.from<number | string, string>(classes.data, String) }),
  })
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
