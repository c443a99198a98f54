import type { Device } from '../tensor/index.ts'
import { kNearest } from './distances.ts'
import { countOf, nearest, type NearestOptions, type Points } from './nearest.ts'

/** Options of {@link avgKnn}. */
export interface AvgKnnOptions extends NearestOptions {
  /** Neighbours. Default 5, PyOD's. */
  readonly k?: number
  /** Where distances are computed; default on the host, which takes minutes for some 10,000 points. */
  readonly device?: Device
}

/**
 * AvgkNN, the papers' measure of how unique a picture is (PyOD `KNN(method='mean')`): the mean distance of each
 * query to its `k` nearest references, [N]; higher is more unique. With `leaveOneOut` the references score each other.
 * Errors are those of `nearest`.
 */
export async function avgKnn(
  queries: Points,
  references: Points,
  { k = 5, device, ...options }: AvgKnnOptions = {},
): Promise<Float64Array<ArrayBuffer>> {
  const { distances } = device
    ? await kNearest(device, queries, references, k, options)
    : await nearest(queries, references, k, options)
  return Float64Array.from({ length: countOf(queries) }, (_, i) => {
    return distances.subarray(i * k, (i + 1) * k).reduce((a, b) => a + b) / k
  })
}
