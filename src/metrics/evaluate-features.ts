import { evenlySpaced, imageBatch, subset, type ImageSet } from '../data/index.ts'
import type { FeatureNet } from '../nn/feature-net.ts'
import { hostRandomNormal, splitSeed, type Device } from '../tensor/index.ts'
import { purposes } from '../tensor/purposes.ts'
import { featureBatch, featuresOf, type FeaturesOptions } from './features.ts'
import { nearest, type Points } from './nearest.ts'
import { quantiles } from './quantiles.ts'

/**
 * What a feature net has learned, in two questions. As a feature space: are the nearest training images of a held-out
 * one of its class? As a distance: how far do a little noise, a little of another colour, another picture of the class
 * and a picture of another class lie from a held-out one?
 */
export interface FeatureEvaluation {
  /** Held-out images. */
  readonly images: number
  /**
   * Part of each class that the majority of the 5 nearest training images gets right (null: none held out);
   * absent without classes.
   */
  readonly recalls?: readonly (number | null)[]
  /** Their mean: accuracy with all classes counting equally. */
  readonly balancedAccuracy?: number
  /**
   * Median distance to another picture of the class (of the set, where there are no classes); null
   * where no class has two.
   */
  readonly anotherPicture: number | null
  /** Median distances to a picture's distortions, as parts of `anotherPicture`; null where that is none, or 0. */
  readonly relative: Readonly<Record<string, number | null>>
}

/** Of the first pictures of the set, so many. */
const compared = 512
const neighbours = 5
/** Most pictures whose neighbours are looked for, and among which: every pair is looked at, half a minute of work. */
const [mostQueries, mostReferences] = [5000, 50_000]

/**
 * Asks what `net` has learned: see {@link FeatureEvaluation}. The two sets have the same classes, or none; of very
 * large ones evenly spaced pictures are taken.
 */
export async function evaluateFeatures(
  device: Device,
  net: FeatureNet,
  allTrain: ImageSet,
  allHeldOut: ImageSet,
  { size, signal }: FeaturesOptions,
): Promise<FeatureEvaluation> {
  const [train, heldOut] = [evenly(allTrain, mostReferences), evenly(allHeldOut, mostQueries)]
  const distances = await gradedDistances(device, net, allHeldOut, size, signal)
  const features = (set: ImageSet): Promise<Points> =>
    featuresOf(
      device,
      net,
      set.length,
      async (first, count) =>
        (await imageBatch(set, range(first, first + count), { size, channels: net.config.inChannels }, signal)).images,
      { size, signal },
    )
  if (!train.labels || !heldOut.labels || !train.classes || train.length < neighbours)
    return { images: heldOut.length, ...distances }
  const { labels } = train
  const { indices } = await nearest(await features(heldOut), await features(train), neighbours, { signal })
  const counts = train.classes.map(() => ({ all: 0, right: 0 }))
  heldOut.labels.forEach((label, i) => {
    const votes = train.classes!.map(() => 0)
    for (const j of indices.subarray(i * neighbours, (i + 1) * neighbours)) votes[labels[j]]++
    counts[label].all++
    if (votes.indexOf(Math.max(...votes)) === label) counts[label].right++
  })
  const recalls = counts.map(({ all, right }) => (all === 0 ? null : right / all))
  const there = recalls.filter((recall) => recall !== null)
  return {
    images: heldOut.length,
    recalls,
    balancedAccuracy: there.reduce((a, b) => a + b, 0) / there.length,
    ...distances,
  }
}

/** The set, or `most` of its pictures. */
const evenly = (set: ImageSet, most: number): ImageSet =>
  set.length <= most ? set : subset(set, evenlySpaced(set.length, most))

/** What is done to a picture, [C, plane] in [-1, 1], with its own normal deviates. */
const distortions: Readonly<Record<string, (x: Float32Array, plane: number, noise: Float32Array) => Float32Array>> = {
  'noise 0.05': (x, _, noise) => x.map((value, i) => value + 0.05 * noise[i]),
  'noise 0.2': (x, _, noise) => x.map((value, i) => value + 0.2 * noise[i]),
  'brightness +0.2': (x) => x.map((value) => value + 0.2),
  'first channel +0.2': (x, plane) => x.map((value, i) => (i < plane ? value + 0.2 : value)),
  'last channel -0.3': (x, plane) => x.map((value, i) => (i >= x.length - plane ? value - 0.3 : value)),
}

async function gradedDistances(
  device: Device,
  net: FeatureNet,
  set: ImageSet,
  size: number,
  signal?: AbortSignal,
): Promise<Pick<FeatureEvaluation, 'anotherPicture' | 'relative'>> {
  const channels = net.config.inChannels
  const chosen = evenlySpaced(set.length, compared)
  const n = chosen.length
  const dimension = channels * size * size
  const images = (indices: readonly number[]): Promise<Float32Array> =>
    imageBatch(set, indices, { size, channels }, signal).then((made) => made.images)
  const pictures = await images(chosen)
  const normal = hostRandomNormal({ seed: splitSeed(0), draw: 0, purpose: purposes.distortion }, chosen, dimension)
  const median = async (others: Float32Array, which = chosen.map((_, i) => i)): Promise<number | null> => {
    const distances: number[] = []
    for (let first = 0; first < n; first += featureBatch) {
      const part = (values: Float32Array): Float32Array =>
        values.subarray(first * dimension, (first + featureBatch) * dimension)
      const shape = [Math.min(featureBatch, n - first), channels, size, size]
      using a = device.tensor(part(pictures), shape)
      using b = device.tensor(part(others), shape)
      using d = net.distance(a, b)
      distances.push(...(await d.read()))
      signal?.throwIfAborted()
    }
    return which.length === 0
      ? null
      : quantiles(
          which.map((i) => distances[i]),
          [0.5],
        )[0]
  }
  const distorted = (f: (typeof distortions)[string]): Float32Array => {
    const out = new Float32Array(pictures.length)
    for (let at = 0; at < out.length; at += dimension) {
      const made = f(pictures.subarray(at, at + dimension), size * size, normal.subarray(at, at + dimension))
      out.set(
        made.map((value) => Math.min(1, Math.max(-1, value))),
        at,
      )
    }
    return out
  }
  // The next picture after it of the same class, or of another; itself where there is none, which is then left out.
  const partner = (same: boolean) =>
    chosen.map((k) => {
      for (let step = 1; step < set.length; step++) {
        const other = (k + step) % set.length
        if (((set.labels?.[k] ?? 0) === (set.labels?.[other] ?? 0)) === same) return other
      }
      return k
    })
  const toPartners = async (same: boolean): Promise<number | null> => {
    const partners = partner(same)
    return median(
      await images(partners),
      partners.flatMap((other, i) => (other === chosen[i] ? [] : [i])),
    )
  }
  const anotherPicture = await toPartners(true)
  const inThat = (distance: number | null): number | null =>
    distance === null || !anotherPicture ? null : distance / anotherPicture
  const relative: Record<string, number | null> = {}
  for (const [name, f] of Object.entries(distortions)) relative[name] = inThat(await median(distorted(f)))
  if (set.labels && new Set(set.labels).size > 1) relative['another class'] = inThat(await toPartners(false))
  return { anotherPicture, relative }
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
