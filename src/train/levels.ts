import { permutation } from '../data/random.ts'
import type { MinorityLabels } from '../diffusion/index.ts'
import { TweedieError } from '../errors.ts'

/** Which labelled images a classifier is trained on, and which it is tested on. */
export interface LevelSplit {
  /** Numbers of images in the data set, ascending. */
  readonly train: readonly number[]
  /** Empty: none are held back. */
  readonly validate: readonly number[]
  /** Images of each level in `train`. */
  readonly counts: readonly number[]
}

/** Options of {@link splitLevels}. */
export interface SplitLevelsOptions {
  /** Images that may be trained on, by number in the data set. */
  readonly images: readonly number[]
  /** Images that may not. Default none. */
  readonly heldOut?: readonly number[]
  /**
   * Part of every level of `images` to hold back, from 0 to below 1. Default: 0.05 where no image of `heldOut`
   * has a label, else 0.
   */
  readonly fraction?: number
  readonly seed: number
}

/**
 * Splits labelled images into those a classifier is trained on and those it is tested on: the images that were held
 * out, if they have labels, else a part of every level (minority-guidance splits its labelled set so, stratified, 5 %).
 * Levels of equal width may be without any image; there the classifier learns that none is like that.
 *
 * @throws TweedieError 'option' where another level is left without training images
 */
export function splitLevels(
  file: Pick<MinorityLabels, 'data' | 'levels' | 'indices' | 'labels' | 'by'>,
  options: SplitLevelsOptions,
): LevelSplit {
  const split = splitLabelled(file, options)
  const there = new Set(
    file.by === 'equal-width' ? file.labels : Array.from({ length: file.levels }, (_, level) => level),
  )
  const empty = split.counts.findIndex((count, level) => count === 0 && there.has(level))
  if (empty < 0) return split
  throw new TweedieError(
    'option',
    `${file.data}: level ${empty} of ${file.levels} has no image to train on, the levels have ` +
      `${split.counts.join(', ')}: ` +
      'score and label the images that are trained on, or take fewer levels.',
  )
}

/** Labels of some images of a data set, such as their minority levels. */
export interface Labels {
  /** How many: labels are 0 to levels - 1. */
  readonly levels: number
  /** Images that have a label, by number in the data set. */
  readonly indices: readonly number[]
  readonly labels: ArrayLike<number>
}

/** The split of {@link splitLevels} for labels of any kind, some of which no image may have. */
export function splitLabelled(
  { levels, indices, labels }: Labels,
  { images, heldOut = [], fraction, seed }: SplitLevelsOptions,
): LevelSplit {
  if (fraction !== undefined && !(fraction >= 0 && fraction < 1))
    throw new TweedieError(
      'option',
      `The part held back for validation is a number from 0 to below 1, found ${fraction}.`,
    )
  const levelOf = new Map(indices.map((index, i) => [index, labels[i]]))
  const kept = heldOut.filter((index) => levelOf.has(index))
  const members: number[][] = Array.from({ length: levels }, () => [])
  for (const index of images) members[levelOf.get(index) ?? -1]?.push(index)
  const part = fraction ?? (kept.length > 0 ? 0 : 0.05)
  const train: number[] = []
  const validate = fraction === undefined ? [...kept] : []
  const counts: number[] = []
  let seen = 0
  members.forEach((some, level) => {
    // Of all levels together as many as the fraction says, and of each as many, to within one.
    const before = Math.round(part * seen)
    seen += some.length
    const back = Math.min(Math.round(part * seen) - before, some.length - 1)
    const order = permutation(some.length, seed, 'select', 2 + level)
    order.forEach((place, k) => (k < back ? validate : train).push(some[place]))
    counts.push(some.length - Math.max(0, back))
  })
  const ascending = (a: number, b: number): number => a - b
  return { train: train.sort(ascending), validate: validate.sort(ascending), counts }
}
