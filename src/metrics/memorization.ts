import type { FeatureNet } from '../nn/feature-net.ts'
import type { Device } from '../tensor/index.ts'
import { featuresOf } from './features.ts'
import { Search } from './nearest.ts'
import { quantiles } from './quantiles.ts'
import { nearestPictures, turned, type Pictures } from './symmetries.ts'

/** The nearest training image of each picture: all [N]. */
export interface NearestTraining {
  readonly distances: Float64Array<ArrayBuffer>
  /** Which training image. */
  readonly indices: Int32Array<ArrayBuffer>
  /** Turned by which symmetry; see `turned`. */
  readonly symmetries: Uint8Array<ArrayBuffer>
}

/** How the search is watched and stopped. */
export interface NearestTrainingOptions {
  readonly signal?: AbortSignal
  /** How much of the work is done, 0 to 1. */
  readonly onProgress?: (done: number) => void
}

/**
 * Has a generative model learned its training images by heart? For each picture, the nearest training image over the
 * eight symmetries of the square, in pixels: root mean squared differences of values, in the pictures' own scale. The
 * number alone says little: the same distances of images that were held out of the training say what is usual. Errors
 * are those of `nearestPictures`.
 */
export async function nearestInPixels(
  pictures: Pictures,
  training: Pictures,
  options: NearestTrainingOptions = {},
): Promise<NearestTraining> {
  const { rms: distances, indices, symmetries } = await nearestPictures(pictures, training, options)
  return { distances, indices, symmetries }
}

/**
 * The question of {@link nearestInPixels} in the features of `net`, whose vectors have length 1: Euclidean distances of
 * pictures in [-1, 1].
 */
export async function nearestInFeatures(
  device: Device,
  net: FeatureNet,
  pictures: Pictures,
  training: Pictures,
  { signal, onProgress }: NearestTrainingOptions = {},
): Promise<NearestTraining> {
  const { channels, size } = training
  const dimension = channels * size * size
  // Turned as they are needed: a second copy of all images might not fit.
  const features = (
    { data }: Pictures,
    symmetry: number,
    done: (part: number) => void = () => {},
  ): ReturnType<typeof featuresOf> => {
    const count = data.length / dimension
    const load = async (first: number, n: number): Promise<Float32Array> =>
      turned({ data: data.subarray(first * dimension, (first + n) * dimension), size }, symmetry)
    return featuresOf(device, net, count, load, { size, signal, onProgress: (k) => done(k / count) })
  }
  const queries = await features(pictures, 0)
  const search = new Search(pictures.data.length / dimension, 1)
  for (let s = 0; s < 8; s++) {
    // The net does not see a turned picture as the same: unlike pixels', these distances need the
    // training images turned.
    await search.pass(queries, await features(training, s, (part) => onProgress?.((s + part) / 8)), { signal })
  }
  return { distances: search.result().distances, indices: search.indices, symmetries: search.passes }
}

/** What {@link MemorizationFigures} has quantiles at: least, 1 %, 5 %, quartiles, 95 %, largest. */
export const memorizationLevels: readonly number[] = [0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 1]

/** Distances to the nearest training image, of samples beside images that were held out of the training. */
export interface MemorizationFigures {
  /** Quantiles at {@link memorizationLevels}. */
  readonly samples: readonly number[]
  readonly heldOut: readonly number[]
  /**
   * Part of the samples that is nearer to a training image than the 1 % quantile of the held-out images: 0.01 is usual.
   */
  readonly nearer: number
}

/**
 * Quantiles of the distances of samples and of held-out images, and how many more samples than usual lie near a
 * training image.
 *
 * @throws TweedieError 'option' where either has no distances
 */
export function memorizationFigures(samples: ArrayLike<number>, heldOut: ArrayLike<number>): MemorizationFigures {
  const [threshold] = quantiles(heldOut, [0.01]) as [number]
  return {
    samples: quantiles(samples, memorizationLevels),
    heldOut: quantiles(heldOut, memorizationLevels),
    nearer: Array.from(samples).filter((distance) => distance < threshold).length / samples.length,
  }
}
