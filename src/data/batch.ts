/** Batches for a model, [N, C, size, size] in [-1, 1]. */
import { checkAwaited, TweedieError } from '../errors.ts'
import { refuseOther, refuseUnknown } from '../refuse.ts'
import { checkArray } from '../tensor/shape.ts'
import { centerCrop, randomCrop } from './crop.ts'
import { checkImage, withChannels, type Image } from './image.ts'
import type { ImageSet } from './image-set.ts'
import { permutation, uniformsAt } from './random.ts'
import { placeValues } from './values.ts'

/** How images of a set become a batch for a model: their size, channels, crop and symmetry. */
export interface BatchOptions {
  /** Width and height of the model's images. */
  readonly size: number
  /** Grey images become three equal channels, colour becomes luma. */
  readonly channels: 1 | 3
  /**
   * 'center': the middle square, scaled so that the short side fits, a smaller image enlarged; 'random': somewhere
   * between the whole and four fifths of the short side. Absent: every image has the size already.
   */
  readonly crop?: 'center' | 'random'
  /** 'flip': left and right exchanged, half of the time; 'symmetries': any of the square's eight. Default 'none'. */
  readonly augment?: 'none' | 'flip' | 'symmetries'
  /** Of the order, the crops and the symmetries. */
  readonly seed: number
}

const known = { size: true, channels: true, crop: true, augment: true, seed: true } as const

/** Images as a model takes them, with where each is from. Host arrays; nothing is on a device. */
export interface Batch {
  /** `[N, C, size, size]`: u8 / 127.5 - 1. */
  readonly images: Float32Array<ArrayBuffer>
  /** In the set. */
  readonly indices: number[]
  /** Classes, where the set has any. */
  readonly labels?: Int32Array<ArrayBuffer>
}

/**
 * Training images number `first` to `first + count - 1` of an endless stream: each epoch goes through the set in an
 * order of its own, and image k of the stream, its crop and its symmetry are a function of the seed and of k. So a run
 * that goes on reads what the killed one would have read, at any batch size, and the loader has no state to save.
 *
 * @throws TweedieError 'option' for an image of another size where no crop is asked for; for an option that is none of
 *   these
 */
export async function trainingBatch(
  set: ImageSet,
  first: number,
  count: number,
  options: BatchOptions,
  signal?: AbortSignal,
): Promise<Batch> {
  checkAwaited('trainingBatch', { set })
  refuseUnknown('trainingBatch', options, known)
  checkTarget('trainingBatch', options)
  const { size, channels, crop, augment = 'none', seed } = options
  if (crop !== undefined) refuseOther('trainingBatch: crop', crop, ['center', 'random'])
  refuseOther('trainingBatch: augment', augment, ['none', 'flip', 'symmetries'])
  const numbers = Array.from({ length: count }, (_, i) => first + i)
  const indices = numbers.map((k) => orderOf(set, seed, Math.floor(k / set.length))[k % set.length])
  return assemble(set, indices, options, signal, (image, i) => {
    const [choice, ...cropping] = uniformsAt(seed, 'augment', numbers[i], 4)
    const square = crop === 'random' ? randomCrop(image, size, () => cropping.pop() as number) : centerCrop(image, size)
    const symmetry = augment === 'flip' ? Math.floor(choice * 2) : augment === 'symmetries' ? Math.floor(choice * 8) : 0
    return { square, symmetry, channels }
  })
}

/**
 * Images of a set by index, centre-cropped and not augmented: for scores and validation.
 */
export async function imageBatch(
  set: ImageSet,
  indices: readonly number[],
  options: Pick<BatchOptions, 'size' | 'channels'>,
  signal?: AbortSignal,
): Promise<Batch> {
  checkAwaited('imageBatch', { set })
  checkTarget('imageBatch', options)
  const { size, channels } = options
  return assemble(set, indices, { size, channels, crop: 'center' }, signal, (image) => ({
    square: centerCrop(image, size),
    symmetry: 0,
    channels,
  }))
}

/**
 * Images in memory as a batch for a model: values [N, channels, size, size] in [-1, 1], each image cut to its middle
 * square and scaled as guided-diffusion does.
 *
 * ```ts
 * const image = decodeImage(await file.arrayBuffer(), file.name)
 * const x = device.tensor(batchOf([image], { size: 64, channels: 3 }), [1, 3, 64, 64])
 * ```
 *
 * @throws TweedieError 'option' for no image, and for what is none
 */
export function batchOf(
  images: readonly Image[],
  options: Pick<BatchOptions, 'size' | 'channels'>,
): Float32Array<ArrayBuffer> {
  checkArray('batchOf', 'images', images)
  refuseUnknown('batchOf', options, { size: true, channels: true })
  const { size, channels } = options
  checkTarget('batchOf', { size, channels })
  if (images.length === 0) throw new TweedieError('option', 'batchOf: expected one image or more, found none.')
  const batch = new Float32Array(images.length * channels * size * size)
  images.forEach((image, i) => {
    checkImage('batchOf', image)
    placeValues(batch, i * channels * size * size, centerCrop(withChannels(image, channels), size))
  })
  return batch
}

/**
 * Looks at every image's size before a long job meets the one that does not fit.
 *
 * @returns how many have a side below `size`, and are enlarged by a crop
 * @throws TweedieError 'option' where there are fewer images than `fewest` (default 1), or one has another size and no
 *   crop is asked for
 */
export function checkImages(set: ImageSet, options: Pick<BatchOptions, 'size' | 'crop'>, fewest = 1): number {
  checkAwaited('checkImages', { set })
  if (set.length < fewest) {
    throw new TweedieError(
      'option',
      `${set.name}: expected at least ${fewest} images, found ${set.length === 1 ? 'one' : set.length}. Add more.`,
    )
  }
  let smaller = 0
  for (let index = 0; index < set.length; index++) {
    const { width, height } = set.sizeOf(index)
    checkSize(set.name, set.imageName(index), { width, height }, options)
    if (Math.min(width, height) < options.size) smaller++
  }
  return smaller
}

function checkTarget(user: string, { size, channels }: Pick<BatchOptions, 'size' | 'channels'>): void {
  if (!Number.isInteger(size) || size < 1 || (channels !== 1 && channels !== 3)) {
    throw new TweedieError(
      'option',
      `${user}: expected a size in pixels, and 1 or 3 channels, found size ${size} and channels ${channels}.`,
    )
  }
}

function checkSize(
  name: string,
  image: string | number,
  { width, height }: { width: number; height: number },
  { size, crop }: Pick<BatchOptions, 'size' | 'crop'>,
): void {
  if (width === size && height === size) return
  const wrong = (what: string): never => {
    throw new TweedieError('option', `${name}: image ${image} has ${width} x ${height} pixels: ${what}`)
  }
  if (crop === undefined)
    wrong(`expected ${size} x ${size}, as no crop was asked for. Ask for a centre or a random crop.`)
}

async function assemble(
  set: ImageSet,
  indices: readonly number[],
  options: Pick<BatchOptions, 'size' | 'channels' | 'crop'>,
  signal: AbortSignal | undefined,
  prepare: (image: Image, i: number) => { square: Image; symmetry: number },
): Promise<Batch> {
  const { size, channels } = options
  const images = new Float32Array(indices.length * channels * size * size)
  await Promise.all(
    indices.map(async (index, i) => {
      const image = await set.read(index, signal)
      checkSize(set.name, set.imageName(index), image, options)
      const { square, symmetry } = prepare(withChannels(image, channels), i)
      placeValues(images, i * channels * size * size, square, symmetry)
    }),
  )
  const { labels } = set
  return {
    images,
    indices: [...indices],
    ...(labels && { labels: Int32Array.from(indices, (index) => labels[index]) }),
  }
}

/** Orders of the last two epochs of a set: batches that cross from one to the next need both. */
const orders = new WeakMap<ImageSet, { seed: number; epoch: number; order: Uint32Array }[]>()

function orderOf(set: ImageSet, seed: number, epoch: number): Uint32Array {
  const known = orders.get(set) ?? []
  const found = known.find((entry) => entry.seed === seed && entry.epoch === epoch)
  if (found) return found.order
  const order = permutation(set.length, seed, 'shuffle', epoch)
  orders.set(set, [...known.slice(-1), { seed, epoch, order }])
  return order
}
