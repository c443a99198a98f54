import { TweedieError } from '../errors.ts'
import { meanOf, type Measured } from './bootstrap.ts'
import { checkPoints, countOf, type Points } from './nearest.ts'

/**
 * The part of samples that a classifier takes for the class they were made as. Of equally large logits the first
 * counts.
 *
 * @param logits `[N, classes]`
 * @param labels the class of each sample
 * @throws TweedieError 'shape' for another number of labels, 'option' for a label that is no class, 'non-finite'
 */
export function accuracy(logits: Points, labels: ArrayLike<number>): Measured {
  checkPoints('accuracy', 'logits', logits)
  const { data, dimension } = logits
  const n = countOf(logits)
  if (labels.length !== n)
    throw new TweedieError('shape', `accuracy: expected ${n} labels, one a sample, found ${labels.length}.`)
  return meanOf(
    Float64Array.from({ length: n }, (_, i) => {
      const label = labels[i]
      if (!Number.isInteger(label) || label < 0 || label >= dimension) {
        throw new TweedieError('option', `accuracy: expected labels from 0 to ${dimension - 1}, found ${label}.`)
      }
      const row = data.subarray(i * dimension, (i + 1) * dimension)
      return row.indexOf(row.reduce((a, b) => Math.max(a, b))) === label ? 1 : 0
    }),
  )
}
