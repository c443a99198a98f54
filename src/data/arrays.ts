/**
 * Arrays by name as a set of images, whichever file they come from: an .npz of ours or of guided-diffusion, MedMNIST's
 * and Keras's, a bare .npy, CIFAR's batches.
 */
import { TweedieError } from '../errors.ts'
import { imageArrays, type ImageSet } from './image-set.ts'
import type { NpyArray } from './npy.ts'

/** Where images and their labels lie: ours, guided-diffusion's, MedMNIST's, Keras's, downsampled ImageNet's. */
const layouts = [
  ['images', 'labels'],
  ['arr_0', 'arr_1'],
  ['train_images', 'train_labels'],
  ['x_train', 'y_train'],
  ['data', 'labels'],
] as const

/** Keys without which there are no images, labels or classes: an array under one of these must be readable. */
export const neededKeys: readonly string[] = [...layouts.flat(), 'classes']

/**
 * The images of a file of arrays, [N, H, W], [N, H, W, 1] or [N, H, W, 3], or one image [H, W, 1] or [H, W, 3], or
 * downsampled ImageNet's rows of planes [N, 3 H W]; their labels, [N] or [N, 1]; and `classes`, the names of these.
 * Every other array with one number an image is a column, and what is neither is named in the notes.
 *
 * @throws TweedieError 'format', naming the file, where there are no images or they are of another kind
 */
export function arraysSet(
  name: string,
  arrays: ReadonlyMap<string, NpyArray>,
  fingerprint: string,
  found: readonly string[] = [],
): ImageSet {
  const wrong = (message: string): never => {
    throw new TweedieError('format', `${name}: ${message}`)
  }
  const [imagesKey, labelsKey] = layouts.find(([key]) => arrays.has(key)) ?? ['images', 'labels']
  const images =
    arrays.get(imagesKey) ??
    wrong(
      `expected an array "images" (or "arr_0", MedMNIST's "train_images", Keras's "x_train"), found ` +
        `${few([...arrays.keys()]) || 'none'}.`,
    )
  const notes = [...found]
  const { dtype } = images
  const { shape, data } = imagesKey === 'data' ? fromPlanes(images) : images
  // Nobody has grey images of 1 or 3 columns: that is one image.
  const [length, height, width, channels = 1] = shape.length === 3 && [1, 3].includes(shape[2]) ? [1, ...shape] : shape
  const batch = imagesKey === 'images' ? 'images' : imagesKey
  if (shape.length === 4 && channels > 3 && [1, 3].includes(height))
    wrong(
      `expected images with channels last, [N, height, width, 3], found [${shape.join(', ')}]. ` +
        `Save ${batch}.transpose(0, 2, 3, 1).`,
    )
  if (shape.length < 3 || shape.length > 4 || ![1, 3].includes(channels)) {
    wrong(
      'expected images of shape [N, height, width], [N, height, width, 1] or [N, height, width, 3], or one image ' +
        `[height, width, 3], found [${shape.join(', ')}]${channels === 4 ? `. Save ${batch}[..., :3]` : ''}.`,
    )
  }
  if (!(data instanceof Uint8Array) || dtype === '|b1')
    return wrong(
      `expected images of bytes (uint8, 0 to 255), found ${dtype}. Save ${batch}.astype('uint8'), times 255 first ` +
        'where they are from 0 to 1.',
    )
  const labels = arrays.get(labelsKey)
  if (labels && (labels.shape.slice(1).some((n) => n !== 1) || typeof labels.data[0] === 'string'))
    wrong(
      `expected labels of shape [${length}] that are numbers, found ${labels.dtype} [${labels.shape.join(', ')}]` +
        `${labels.shape.length === 2 && typeof labels.data[0] === 'number' ? ': save labels.argmax(1)' : ''}.`,
    )
  const columns = new Map<string, ArrayLike<number>>()
  for (const [key, { shape, dtype, data }] of arrays) {
    if (key === imagesKey || key === labelsKey || key === 'classes') continue
    if (shape[0] === length && shape.slice(1).every((n) => n === 1) && typeof data[0] === 'number')
      columns.set(key, data as ArrayLike<number>)
    else notes.push(`array "${key}" (${dtype}, [${shape.join(', ')}]) is not used.`)
  }
  const classes = arrays.get('classes')
  return imageArrays({
    name,
    data,
    width,
    height,
    channels: channels as 1 | 3,
    columns,
    notes,
    fingerprint,
    ...(labels && { labels: labels.data as ArrayLike<number> }),
    ...(labels && classes && { classes: Array.from<number | string, string>(classes.data, String) }),
  })
}

const few = (names: readonly string[]): string =>
  `${names.slice(0, 10).join(', ')}${names.length > 10 ? ` and ${names.length - 10} more` : ''}`

/** Rows of three planes of square images, as pixels; anything else as it is. */
function fromPlanes(array: NpyArray): Pick<NpyArray, 'shape' | 'data'> {
  const { shape, data } = array
  const side = Math.sqrt((shape[1] ?? 0) / 3)
  if (shape.length !== 2 || !Number.isInteger(side) || side < 1 || !(data instanceof Uint8Array)) return array
  return { shape: [shape[0], side, side, 3], data: pixelsOf(data, side * side) }
}

/** Images that lie as planes of red, green and blue of `area` pixels each, with the colours of each pixel together. */
export function pixelsOf(planes: Uint8Array, area: number): Uint8Array {
  const out = new Uint8Array(planes.length)
  for (let image = 0; image < planes.length; image += 3 * area)
    for (let c = 0; c < 3; c++) for (let i = 0; i < area; i++) out[image + 3 * i + c] = planes[image + c * area + i]
  return out
}
