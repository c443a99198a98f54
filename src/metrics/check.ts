import { TweedieError } from '../errors.ts'
import { checkPoints, countOf, type Points } from './nearest.ts'

/**
 * Refuses features that a measure can say nothing about: fewer rows than it needs, all of them equal, or with numbers
 * that are not finite.
 *
 * @throws TweedieError 'shape', 'option' or 'non-finite', whose message begins with `user` and names the set as `name`
 */
export function checkFeatures(user: string, name: string, points: Points, least: number): void {
  checkPoints(user, name, points)
  const count = countOf(points)
  if (count < least) {
    throw new TweedieError('option', `${user}: expected ${least} ${name} or more, found ${count}.`)
  }
  if (count > 1 && isCollapsed(points)) {
    throw new TweedieError(
      'option',
      `${user}: all ${count} ${name} have the same features: are the images copies of one, or constant?`,
    )
  }
}

/**
 * Refuses samples and real images that cannot be compared: see {@link checkFeatures}, and features of two spaces.
 *
 * @throws TweedieError 'shape', 'option' or 'non-finite'
 */
export function checkBoth(user: string, samples: Points, real: Points, leastSamples: number, leastReal: number): void {
  checkFeatures(user, 'samples', samples, leastSamples)
  checkFeatures(user, 'real images', real, leastReal)
  if (samples.dimension !== real.dimension) {
    throw new TweedieError(
      'shape',
      `${user}: expected features of one space, found ${samples.dimension} numbers for each sample and ` +
        `${real.dimension} for each real image.`,
    )
  }
}

/** Whether all rows are equal: of copies of one image, or of constant ones. */
export const isCollapsed = ({ data, dimension }: Points): boolean =>
  data.every((value, i) => value === data[i % dimension])
