import { checkAwaited, TweedieError } from '../errors.ts'
import type { Image } from './image.ts'
import { sha256 } from '../io/sha256.ts'

/** A file of a folder, as it was found when the folder was opened. */
export interface ImageFile {
  /** As {@link ImageSet.imageName} has it. */
  readonly name: string
  /** Of its contents. */
  readonly sha256: string
  readonly width: number
  readonly height: number
  readonly channels: 1 | 3
  /** Size, times and number in the file system: while it is the same, so are the contents. */
  readonly stamp: string
  /** Set when the image was decoded: it is not damaged. */
  whole: boolean
}

/**
 * A set of images, whichever file they come from: read one by one by index, with their classes and whatever other
 * numbers the file has for each. A subset ({@link subset}) is a set like any other and knows what it was taken from.
 */
export interface ImageSet {
  /** The path it was opened from, for messages and records. */
  readonly name: string
  /** How many images there are. */
  readonly length: number
  /** 1 where every image is grey, otherwise 3; {@link ImageSet.read} gives each as it is stored. */
  readonly channels: 1 | 3
  /** The class of each image, an index into {@link ImageSet.classes}. */
  readonly labels?: Int32Array
  /** Names of the classes. A subset keeps all of them, so that a label means the same class in every part. */
  readonly classes?: readonly string[]
  /** Other arrays with one number an image. */
  readonly columns: ReadonlyMap<string, ArrayLike<number>>
  /** What was found and not used, a sentence each: other arrays, files of other types. */
  readonly notes: readonly string[]
  /** Of a folder opened with `skipBad`: names of its files that cannot be read, if there are any. */
  readonly leftOut?: readonly string[]
  /** SHA-256 that identifies the data, of all its contents: a score or a label of other data is refused by it. */
  readonly fingerprint: string
  /** What the first version took for the fingerprint, where that was less: what was made then is known by it. */
  readonly formerFingerprint?: string
  /** Of a folder: the file of each image. */
  readonly files?: readonly ImageFile[]
  /** What a subset was taken from, and the index there of each of its images. */
  readonly origin?: { readonly set: ImageSet; readonly indices: readonly number[] }
  /** What an image is called: of a folder, the file's path in it. */
  imageName(index: number): string
  /** Width and height of an image, without decoding it. */
  sizeOf(index: number): { width: number; height: number }
  /** As stored: any size. Throws 'format', naming the file, where it is damaged. */
  read(index: number, signal?: AbortSignal): Promise<Image>
}

/**
 * The images at `indices`, in this order. The fingerprint covers set and indices, so another choice is other data; a
 * subset of a subset is one of the first set.
 *
 * @throws TweedieError 'option' for no index, or one outside the set
 */
export function subset(set: ImageSet, indices: readonly number[]): ImageSet {
  checkAwaited('subset', { set })
  if (indices.length === 0)
    throw new TweedieError(
      'option',
      `${set.name}: expected one image or more of its ${set.length}, found an empty choice.`,
    )
  const outside = indices.find((index) => !Number.isInteger(index) || index < 0 || index >= set.length)
  if (outside !== undefined)
    throw new TweedieError('option', `${set.name}: expected indices below its ${set.length} images, found ${outside}.`)
  const from = set.origin
  if (from)
    return subset(
      from.set,
      indices.map((index) => from.indices[index]),
    )
  const { labels } = set
  return {
    name: set.name,
    length: indices.length,
    channels: set.channels,
    ...(labels && { labels: Int32Array.from(indices, (index) => labels[index]) }),
    ...(set.classes && { classes: set.classes }),
    columns: new Map(Array.from(set.columns, ([key, column]) => [key, indices.map((index) => column[index])])),
    notes: set.notes,
    ...(set.leftOut && { leftOut: set.leftOut }),
    fingerprint: sha256(set.fingerprint, `:${indices.join()}`),
    ...(set.formerFingerprint !== undefined && {
      formerFingerprint: sha256(set.formerFingerprint, `:${indices.join()}`),
    }),
    ...(set.files && { files: indices.map((index) => set.files![index]) }),
    origin: { set, indices: [...indices] },
    imageName: (index) => set.imageName(indices[index]),
    sizeOf: (index) => set.sizeOf(indices[index]),
    read: (index, signal) => set.read(indices[index], signal),
  }
}

/** The side of every image, if all are squares of one size. */
export function commonSize(set: ImageSet): number | null {
  const { width, height } = set.sizeOf(0)
  if (width !== height) return null
  for (let i = 1; i < set.length; i++) {
    const other = set.sizeOf(i)
    if (other.width !== width || other.height !== height) return null
  }
  return width
}

/** Indices from end to end of a set, which may be sorted: all of its `length` images, or `most` of them. */
export const evenlySpaced = (length: number, most: number): number[] => {
  const count = Math.min(length, most)
  return Array.from({ length: count }, (_, i) => Math.floor((i * length) / count))
}

/** ImageNet has 21,841. */
const maxClasses = 2 ** 16

/**
 * What a file of images and an array in it hold less than: they are held in memory, and SHA-256 of the
 * platform takes no more.
 */
const mostBytes = 2 ** 31

/** Throws 'option' for a file or array that is too large to be held in memory. */
export function checkBytes(name: string, bytes: number): void {
  if (bytes < mostBytes) return
  throw new TweedieError(
    'option',
    `${name} has ${(bytes / 2 ** 30).toFixed(1)} GiB, and files of images are held in memory, where less than 2 ` +
      'GiB are taken: write the images as PNGs into a folder, of which only those of a batch are.',
  )
}

/** Images in memory, one after another, as a reader of arrays found them: what {@link imageArrays} makes a set of. */
export interface ImageArrays {
  readonly name: string
  readonly fingerprint: string
  /** All images, [N, height, width, channels]. */
  readonly data: Uint8Array
  readonly width: number
  readonly height: number
  readonly channels: 1 | 3
  /** Class of each image; checked here. */
  readonly labels?: ArrayLike<number>
  /** Default: the labels' own numbers. */
  readonly classes?: readonly string[]
  readonly columns?: ReadonlyMap<string, ArrayLike<number>>
  readonly notes?: readonly string[]
}

/**
 * A set of equally large images in memory. Throws 'format' for no image at all, and for labels that are of another
 * number than the images, no whole numbers, or without a name.
 */
export function imageArrays({
  name,
  fingerprint,
  data,
  width,
  height,
  channels,
  labels,
  classes,
  columns = new Map(),
  notes = [],
}: ImageArrays): ImageSet {
  const bytes = width * height * channels
  const length = bytes === 0 ? 0 : data.length / bytes
  const wrong = (message: string): never => {
    throw new TweedieError('format', `${name}: ${message}`)
  }
  if (length === 0) wrong('holds no image.')
  if (!Number.isInteger(length))
    wrong(`expected a whole number of images of ${bytes} bytes, found ${data.length} bytes.`)
  if (labels && labels.length !== length)
    wrong(`expected one label for each of its ${length} images, found ${labels.length} labels.`)
  let last = -1
  for (let i = 0; labels && i < length; i++) {
    if (!Number.isInteger(labels[i]) || labels[i] < 0 || labels[i] >= 2 ** 31)
      wrong(`expected whole numbers from 0 as labels, found ${labels[i]} for image ${i}.`)
    last = Math.max(last, labels[i])
  }
  if (labels && classes && last >= classes.length) wrong(`names ${classes.length} classes, and has a label ${last}.`)
  // Without names each number up to the last is a class.
  if (last >= maxClasses && !classes)
    wrong(`found a label ${last}, expected classes numbered from 0 to at most ${maxClasses - 1}.`)
  const digits = String(length - 1).length
  return {
    name,
    length,
    channels,
    columns,
    notes,
    fingerprint,
    ...(labels && {
      labels: Int32Array.from(labels),
      classes: classes ?? Array.from({ length: last + 1 }, (_, c) => String(c)),
    }),
    imageName: (index) => String(index).padStart(digits, '0'),
    sizeOf: () => ({ width, height }),
    async read(index, signal) {
      signal?.throwIfAborted()
      if (!(index >= 0 && index < length))
        throw new TweedieError('option', `${name}: expected an index below ${length}, found ${index}.`)
      return { width, height, channels, data: data.subarray(index * bytes, (index + 1) * bytes) }
    },
  }
}
