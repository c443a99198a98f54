import { memoryBudget } from '#platform'
import { absolute } from '../tweedie/absolute.ts'
import type { MinorityClassifierFile, Where } from '../tweedie/index.ts'
import type { SentLoadOptions } from './messages.ts'

/** The options with every URL as the page means it: in the worker it would be relative to the worker's script. */
export function placed(options: SentLoadOptions): SentLoadOptions {
  const { weights, workerUrl, cache, classifier, minorityClassifier, distance } = options
  return {
    // A worker cannot tell an iPad from a Macintosh.
    memoryBudget: memoryBudget(),
    ...options,
    ...(weights && { weights: placedWhere(weights) as string }),
    ...(workerUrl && { workerUrl: placedWhere(workerUrl) as string }),
    ...(cache &&
      typeof cache === 'object' && {
        cache: Object.fromEntries(Object.entries(cache).map(([url, sha256]) => [absolute(url), sha256])),
      }),
    ...(classifier && { classifier: placedFile(classifier) }),
    ...(minorityClassifier && { minorityClassifier: placedFile(minorityClassifier) }),
    ...(distance &&
      typeof distance === 'object' && {
        distance:
          'lpips' in distance
            ? { ...distance, lpips: placedWhere(distance.lpips) }
            : { ...distance, features: placedWhere(distance.features) },
      }),
  }
}

/** A place as an absolute URL; bytes as they are. */
export const placedWhere = (where: Where): Where =>
  typeof where === 'string' || where instanceof URL ? absolute(where) : where

function placedFile(given: Where | MinorityClassifierFile): Where | MinorityClassifierFile {
  if (typeof given !== 'object' || given === null || !('file' in given)) return placedWhere(given)
  const { file, extractor, ...rest } = given
  return {
    ...rest,
    file: placedWhere(file),
    ...(extractor !== undefined && { extractor: placedFile(extractor) as typeof extractor }),
  }
}
