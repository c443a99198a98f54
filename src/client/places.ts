import type { MinorityClassifierFile, Where } from '../tweedie/index.ts'
import type { SentLoadOptions } from './messages.ts'

/** The options with every URL as the page means it: in the worker it would be relative to the worker's script. */
export function placed(options: SentLoadOptions): SentLoadOptions {
  const { weights, workerUrl, classifier, minorityClassifier, distance } = options
  return {
    ...options,
    ...(weights !== undefined && { weights: absolute(weights) as string }),
    ...(workerUrl !== undefined && { workerUrl: absolute(workerUrl) as string }),
    ...(classifier && { classifier: placedFile(classifier) }),
    ...(minorityClassifier && { minorityClassifier: placedFile(minorityClassifier) }),
    ...(typeof distance === 'object' && {
      distance:
        'lpips' in distance
          ? { ...distance, lpips: absolute(distance.lpips) }
          : { ...distance, features: absolute(distance.features) },
    }),
  }
}

/** A place as an absolute URL; bytes as they are. */
export function absolute(where: Where): Where {
  const { document, location } = globalThis as { document?: { baseURI: string }; location?: { href: string } }
  return typeof where === 'string' || where instanceof URL
    ? new URL(where, document?.baseURI ?? location?.href).href
    : where
}

function placedFile(given: Where | MinorityClassifierFile): Where | MinorityClassifierFile {
  if (typeof given !== 'object' || !('file' in given)) return absolute(given)
  const { file, extractor, ...rest } = given
  return {
    ...rest,
    file: absolute(file),
    ...(extractor !== undefined && { extractor: placedFile(extractor) as typeof extractor }),
  }
}
