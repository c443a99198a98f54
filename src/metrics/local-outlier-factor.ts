import type { Device } from '../tensor/index.ts'
import { checkFeatures } from './check.ts'
import { kNearest } from './distances.ts'
import { countOf, type Neighbours, type NearestOptions, type Points } from './nearest.ts'

/** Options of {@link localOutlierFactor}. */
export interface LofOptions extends NearestOptions {
  /** Neighbours. Default 20, PyOD's. */
  readonly k?: number
}

/**
 * LOF, the local outlier factor of each query (Breunig et al., SIGMOD 2000; scikit-learn's `LocalOutlierFactor` with
 * `novelty`, sign turned as in PyOD), [N]: how many times less dense it lies than its `k` nearest references. 1 is
 * usual, higher more outlying. With `leaveOneOut` the references, given twice, score each other. What lies near more
 * than `k` references that are copies of one another has a factor of 10^8 or so.
 *
 * @throws TweedieError 'shape', 'option' or 'non-finite' for features that it can say nothing about
 */
export async function localOutlierFactor(
  device: Device,
  queries: Points,
  references: Points,
  { k = 20, leaveOneOut = false, signal, onProgress }: LofOptions = {},
): Promise<Float64Array> {
  checkFeatures('localOutlierFactor', 'references', references, k + 1)
  const part = countOf(references) / (countOf(references) + (leaveOneOut ? 0 : countOf(queries)))
  const own = await kNearest(device, references, references, k, {
    leaveOneOut: true,
    signal,
    onProgress: (done) => onProgress?.(done * part),
  })
  if (leaveOneOut) return lofFrom(own, own)
  const near = await kNearest(device, queries, references, k, {
    signal,
    onProgress: (done) => onProgress?.(part + done * (1 - part)),
  })
  return lofFrom(own, near)
}

/**
 * {@link localOutlierFactor} of neighbours that are known: of the references among each other, and of the queries.
 *
 * @internal
 */
export function lofFrom(own: Neighbours, near: Neighbours): Float64Array {
  const { k, distances } = own
  const kth = Float64Array.from({ length: distances.length / k }, (_, i) => distances[i * k + k - 1])
  const density = densities(own, kth)
  return factors(near, near === own ? density : densities(near, kth), density)
}

/**
 * How many references have `k` or more exact copies among the others: their density has no bound, and a mean of LOF
 * near them says nothing, though a median may.
 *
 * @internal
 */
export function crowded({ data, dimension }: Points, k: number): number {
  const bits = new Uint32Array(data.buffer, data.byteOffset, data.length)
  const equal = (a: number, b: number): boolean => {
    for (let d = 0; d < dimension; d++) if (data[a * dimension + d] !== data[b * dimension + d]) return false
    return true
  }
  const groups = new Map<number, { first: number; count: number }[]>()
  for (let row = 0; row < data.length / dimension; row++) {
    let hash = 0
    // -0 is 0: its sign is left out.
    for (let at = row * dimension; at < (row + 1) * dimension; at++) {
      hash = Math.imul(hash ^ (bits[at] & 0x7fffffff), 0x01000193)
      hash ^= hash >>> 15
    }
    const same = groups.get(hash) ?? []
    const group = same.find(({ first }) => equal(first, row))
    if (group) group.count++
    else groups.set(hash, [...same, { first: row, count: 1 }])
  }
  return [...groups.values()].flat().reduce((sum, { count }) => sum + (count > k ? count : 0), 0)
}

/** Inverse of the mean reachability distance: to a neighbour no less than to that neighbour's own k-th. */
function densities({ k, indices, distances }: Neighbours, kth: Float64Array): Float64Array {
  return Float64Array.from({ length: indices.length / k }, (_, i) => {
    let sum = 0
    for (let at = i * k; at < (i + 1) * k; at++) sum += Math.max(kth[indices[at]], distances[at])
    // scikit-learn's guard against k copies of a point.
    return 1 / (sum / k + 1e-10)
  })
}

/** Mean density of the neighbours by the point's own. */
function factors({ k, indices }: Neighbours, own: Float64Array, density: Float64Array): Float64Array {
  return own.map((value, i) => {
    let sum = 0
    for (let at = i * k; at < (i + 1) * k; at++) sum += density[indices[at]]
    return sum / k / value
  })
}
