import { normalized, type Image, type ImageSet } from '../data/index.ts'
import { sha256, sha256OfBytes } from '../io/sha256.ts'
import type { DescribedSource, WeightSource } from '../nn/index.ts'
import { concat, type Device, type Tensor } from '../tensor/index.ts'
import type { Points } from './nearest.ts'

/** How {@link FeatureSpace.features} is run, watched and stopped. */
export interface SpaceRunOptions {
  /**
   * Pictures that go through the network together; the numbers do not depend on it beyond rounding.
   * Default: the space's own.
   */
  readonly batch?: number
  /** Stops between batches: rejects with its reason. */
  readonly signal?: AbortSignal
  /** Called with the number of pictures done. */
  readonly onProgress?: (done: number) => void
}

/**
 * A network, or another function of a picture, with how pictures are prepared for it: what measures of rarity and
 * realism compare pictures in. Numbers of two spaces compare only where `name`, `preprocessing` and `weights` are the
 * same, so every table names all three. `openSpace` opens one; it owns its weights.
 */
export interface FeatureSpace extends Disposable {
  /** One of `spaceNames`. */
  readonly name: string
  /** Length of a feature vector. */
  readonly dimension: number
  /** What is done to a picture ahead of the network, in words. */
  readonly preprocessing: string
  /**
   * What the network computes with: `tensors sha256 …`, of its tensors whatever file they came in, so that it is not
   * the file's; `seed 0`
   * of a random network; of pixels what the components were fitted to.
   */
  readonly weights: string
  /** One row a picture, in the set's order. */
  features(images: ImageSet, options?: SpaceRunOptions): Promise<Points>
  /**
   * For the spatial form of the Fréchet distance: rows that keep where in the picture something is. Inception has them.
   */
  spatial?(images: ImageSet, options?: SpaceRunOptions): Promise<Points>
  /** For the Inception Score: a row of logits a picture. Inception has them. */
  logits?(images: ImageSet, options?: SpaceRunOptions): Promise<Points>
  /** All three by one pass, where a space has more than features: a third of the time of one after another. */
  all?(images: ImageSet, options?: SpaceRunOptions): Promise<InceptionPoints>
  /** Frees the weights. */
  dispose(): void
}

/** What Inception gives of a set, a row a picture: features, the map of sFID, and logits of the Inception Score. */
export interface InceptionPoints {
  readonly features: Points
  readonly spatial: Points
  readonly logits: Points
}

/** What a space is opened with, beside its name; which of it a space needs `openSpace` says. */
export interface SpaceOptions {
  /** The network's checkpoint. It stays open. */
  readonly weights?: DescribedSource
  /** Of a network that was never trained; default 0. */
  readonly seed?: number
  /** Of the pixels' principal components: the pictures they are fitted to, the real ones. */
  readonly fit?: ImageSet
  /** How many principal components; default 64, or as many as `fit` allows. */
  readonly components?: number
  /**
   * Side to which pictures are cut and scaled, for spaces without one of their own; default what the
   * weights say, of pixels 32.
   */
  readonly size?: number
  /** Stops the opening. */
  readonly signal?: AbortSignal
  /** Called with the bytes of weights read so far, and all of them. */
  readonly onProgress?: (done: number, total: number) => void
}

/** Pictures of a set, by index, as a batch on a device for its network; the caller owns it. */
export type ReadBatch = (images: ImageSet, indices: readonly number[], signal?: AbortSignal) => Promise<Tensor>

/** How a set goes through a network, batch by batch. */
export interface Rows {
  readonly dimension: number
  /** Pictures at a time. */
  readonly batch: number
  readonly read: ReadBatch
  /** `[N, ...]` to `[N, dimension]`. */
  readonly run: (batch: Tensor) => Tensor
}

/** The rows of a set's pictures, one batch after another. */
export async function rowsOf(
  images: ImageSet,
  rows: Rows,
  { batch = rows.batch, signal, onProgress }: SpaceRunOptions = {},
): Promise<Points> {
  const { dimension, read, run } = rows
  const data = new Float32Array(images.length * dimension)
  for (let first = 0; first < images.length; first += batch) {
    signal?.throwIfAborted()
    const indices = Array.from({ length: Math.min(batch, images.length - first) }, (_, i) => first + i)
    using x = await read(images, indices, signal)
    using y = x.device.scope(() => run(x))
    data.set(await y.read(), first * dimension)
    onProgress?.(first + indices.length)
  }
  signal?.throwIfAborted()
  return { data, dimension }
}

/** Of red, green and blue over ImageNet, of values in [0, 1]: torchvision's, which all networks trained on it take. */
const [mean, deviation] = [
  [0.485, 0.456, 0.406],
  [0.229, 0.224, 0.225],
]
const imageNetValues = (image: Image): Float32Array => normalized(image, mean, deviation)

/**
 * Reads pictures for a network trained on ImageNet: `prepare` gives each its size (and all of a batch the same), then
 * come its mean and deviation.
 */
export const imageNetBatch =
  (device: Device, prepare: (image: Image) => Image): ReadBatch =>
  async (images, indices, signal) => {
    const ready = await Promise.all(indices.map(async (index) => prepare(await images.read(index, signal))))
    const [{ width, height }] = ready
    const each = 3 * width * height
    const values = new Float32Array(ready.length * each)
    ready.forEach((image, i) => values.set(imageNetValues(image), i * each))
    return device.tensor(values, [ready.length, 3, height, width])
  }

/** Reads pictures of any size, each normalised as {@link imageNetBatch} does, and gives it its size on the device. */
export const resizedBatch =
  (device: Device, resize: (picture: Tensor) => Tensor): ReadBatch =>
  async (images, indices, signal) => {
    const read = await Promise.all(indices.map((index) => images.read(index, signal)))
    return device.scope(() =>
      concat(
        read.map((image) => resize(device.tensor(imageNetValues(image), [1, 3, image.height, image.width]))),
        0,
      ),
    )
  }

/**
 * The same weights, whose tensors are hashed as they are read; `weights` then says what was read, whatever file it was
 * in: SHA-256 of names, shapes and float32 values.
 */
export function hashing(source: WeightSource): { source: WeightSource; weights(): string } {
  const hashes = new Map<string, string>()
  const tensors = new Map(
    [...source.tensors].map(([key, entry]) => [
      key,
      {
        ...entry,
        async read(signal?: AbortSignal) {
          const values = await entry.read(signal)
          const bytes = new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength)
          hashes.set(key, `${key} [${entry.shape.join()}] ${await sha256OfBytes(bytes)}\n`)
          return values
        },
      },
    ]),
  )
  return {
    source: { ...source, tensors },
    weights: () =>
      `tensors sha256 ${sha256(
        [...hashes.keys()]
          .sort()
          .map((key) => hashes.get(key))
          .join(''),
      )}`,
  }
}
