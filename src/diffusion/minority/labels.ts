import { TweedieError } from '../../errors.ts'
import { quantile } from '../../metrics/quantiles.ts'

/**
 * Minority labels (Um et al., ICLR 2024, section 3.2): images sorted by minority score and cut at quantiles into
 * `levels` classes of equal size, 0 the most common and levels - 1 the rarest. Label 0 where score <= q_0, else the j
 * with q_{j-1} < score <= q_j, for the thresholds q_j = quantile((j + 1) / levels), j = 0 ... levels - 1, linear
 * between order statistics; the last is the largest score. Distinct scores give levels whose sizes differ by one at
 * most.
 *
 * `classes` [scores.length], indices from 0, cuts each class for itself, so that a rare cat is rare among cats, and
 * `thresholds` has a row a class; the row of a class without images is empty. `levels` may then be a number for each
 * class (the paper has one for all). `names` are for messages.
 *
 * @throws TweedieError 'non-finite' for a score that is no number, 'option' for fewer than 2 levels, for more levels
 *   than images (in a class), and where equal scores leave a level without images
 * @example quantileLabels([0.1, 0.4, 0.2, 0.9, 0.7, 0.3, 0.8, 0.5], 4).thresholds // 0.275, 0.45, 0.725, 0.9
 */
export function quantileLabels(scores: ArrayLike<number>, levels: number): ScoreLabels<number>
export function quantileLabels(
  scores: ArrayLike<number>,
  levels: number | readonly number[],
  classes: ArrayLike<number>,
  names?: readonly string[],
): ScoreLabels<number[]>
export function quantileLabels(
  scores: ArrayLike<number>,
  levels: number | readonly number[],
  classes?: ArrayLike<number>,
  names?: readonly string[],
): ScoreLabels<number> | ScoreLabels<number[]> {
  const fewer = classes
    ? 'at most as many levels as the smallest class has images, a number of levels for each class, leave that ' +
      'class out, or label over the whole set'
    : 'fewer levels or more images'
  return cut(scores, levels, classes, names, {
    thresholds: (sorted, count, where) => {
      if (sorted.length < count) {
        throw new TweedieError(
          'option',
          `${where}: ${sorted.length} image${sorted.length === 1 ? '' : 's'} cannot be cut into ` +
            `${count} levels: take ${fewer}.`,
        )
      }
      return Array.from({ length: count }, (_, j) => quantile(sorted, j + 1, count))
    },
    empty: (where, level, count, threshold) => {
      throw new TweedieError(
        'option',
        `${where}: level ${level} of ${count} is empty, because so many images have the same score as ` +
          `its threshold ${threshold}: ` +
          'take fewer levels, or score with more draws or another distance, and look for images that ' +
          'are in the set many times.',
      )
    },
  })
}

/**
 * As {@link quantileLabels}, with thresholds at equal distances: q_j = least + (largest - least) (j + 1) / levels.
 * Levels may be without images.
 *
 * @throws TweedieError 'non-finite' for a score that is no number, 'option' for fewer than 2 levels and where all
 *   scores (of a class) are the same
 * @example equalWidthLabels([0, 0.1, 0.2, 1], 4).labels // 0, 0, 0, 3
 */
export function equalWidthLabels(scores: ArrayLike<number>, levels: number): ScoreLabels<number>
export function equalWidthLabels(
  scores: ArrayLike<number>,
  levels: number | readonly number[],
  classes: ArrayLike<number>,
  names?: readonly string[],
): ScoreLabels<number[]>
export function equalWidthLabels(
  scores: ArrayLike<number>,
  levels: number | readonly number[],
  classes?: ArrayLike<number>,
  names?: readonly string[],
): ScoreLabels<number> | ScoreLabels<number[]> {
  return cut(scores, levels, classes, names, {
    thresholds: (sorted, count, where) => {
      const [least, largest] = [sorted[0] ?? NaN, sorted.at(-1) ?? NaN]
      if (!(least < largest))
        throw new TweedieError(
          'option',
          `${where}: ${sorted.length === 0 ? 'no image' : `all scores are ${least}`}: there is no width to cut.`,
        )
      return Array.from({ length: count }, (_, j) =>
        j === count - 1 ? largest : least + ((largest - least) * (j + 1)) / count,
      )
    },
    empty: () => {},
  })
}

/** Labels of scores, one each, and the upper threshold of every level; labelled within classes, a row a class. */
export interface ScoreLabels<T> {
  readonly labels: Int32Array<ArrayBuffer>
  readonly thresholds: T[]
}

interface Rule {
  /** The upper thresholds of `count` levels, ascending. */
  thresholds(sorted: Float64Array, count: number, where: string): number[]
  /** Called for a level without images. */
  empty(where: string, level: number, count: number, threshold: number): void
}

function cut(
  scores: ArrayLike<number>,
  levels: number | readonly number[],
  classes: ArrayLike<number> | undefined,
  names: readonly string[] | undefined,
  rule: Rule,
): ScoreLabels<number> | ScoreLabels<number[]> {
  const wrong = (typeof levels === 'number' ? [levels] : levels).find((count) => !Number.isInteger(count) || count < 2)
  if (wrong !== undefined) throw new TweedieError('option', `Labels need 2 levels or more, found ${wrong}.`)
  const broken = Array.from(scores).findIndex((score) => !Number.isFinite(score))
  if (broken >= 0)
    throw new TweedieError(
      'non-finite',
      `Score ${broken} is ${scores[broken]}: score that image again before labelling.`,
    )
  const labels = new Int32Array(scores.length)
  const within = (members: readonly number[], count: number, where: string): number[] => {
    const thresholds = rule.thresholds(Float64Array.from(members, (i) => scores[i]).sort(), count, where)
    const counts = new Array<number>(count).fill(0)
    for (const i of members) counts[(labels[i] = thresholds.findIndex((threshold) => scores[i] <= threshold))]++
    const empty = counts.indexOf(0)
    if (empty >= 0) rule.empty(where, empty, count, thresholds[empty])
    return thresholds
  }
  if (!classes) {
    if (typeof levels !== 'number')
      throw new TweedieError('option', 'A number of levels for each class needs the class of each image.')
    return { thresholds: within(Array.from(labels.keys()), levels, 'all images'), labels }
  }
  if (classes.length !== scores.length)
    throw new TweedieError('option', `${scores.length} scores need as many classes, found ${classes.length}.`)
  const members: number[][] = []
  for (let i = 0; i < classes.length; i++) {
    const c = classes[i]
    if (!Number.isInteger(c) || c < 0)
      throw new TweedieError('option', `A class is an index from 0, found ${c} for image ${i}.`)
    while (members.length <= c) members.push([])
    members[c].push(i)
  }
  const known = Math.max(names?.length ?? 0, members.length)
  if (typeof levels !== 'number' && levels.length !== known)
    throw new TweedieError(
      'option',
      `There are ${known} classes, found numbers of levels for ${levels.length}: give one for each, or one for all.`,
    )
  const countOf = (c: number): number => (typeof levels === 'number' ? levels : levels[c])
  return {
    thresholds: members.map((some, c) =>
      some.length === 0
        ? []
        : within(some, countOf(c), names?.[c] === undefined ? `class ${c}` : `class ${c} (${names[c]})`),
    ),
    labels,
  }
}
