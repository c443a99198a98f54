import { TweedieError } from '../errors.ts'
import { pacer } from './pace.ts'

/** Points as rows: [N, dimension]. */
export interface Points {
  readonly data: Float32Array
  readonly dimension: number
}

/** The `k` nearest references of each of N queries, as {@link nearest} finds them. */
export interface Neighbours {
  /** How many there are for each query. */
  readonly k: number
  /** `[N, k]`: rows of the references, nearest first; of equally near ones the lower row. */
  readonly indices: Int32Array<ArrayBuffer>
  /** `[N, k]`: Euclidean distances, ascending. */
  readonly distances: Float64Array<ArrayBuffer>
}

/**
 * The `k` nearest of the more that were found.
 *
 * @internal
 */
export function firstOf({ k: found, indices, distances }: Neighbours, k: number): Neighbours {
  const kept = (_: number, at: number): boolean => at % found < k
  return { k, indices: indices.filter(kept), distances: distances.filter(kept) }
}

/** How a long search is watched and stopped. */
export interface SearchOptions {
  /** Stops the search, which rejects with its reason, within some 30 ms. */
  readonly signal?: AbortSignal
  /** Called with how much of the work is done, 0 to 1, many times a second. */
  readonly onProgress?: (done: number) => void
}

/** Options of {@link nearest}. */
export interface NearestOptions extends SearchOptions {
  /** The queries are the references, and a point is no neighbour of its own. Default false. */
  readonly leaveOneOut?: boolean
}

/** Number of points. */
export const countOf = ({ data, dimension }: Points): number => data.length / dimension

/**
 * The `k` nearest references of each query by Euclidean distance, exact. Every pair is looked at, block by block so
 * that a block stays in the cache; but a sum of squares that has passed the farthest neighbour kept so far is not
 * finished, which leaves a small part of the arithmetic where neighbours are much nearer than strangers. Sums are in
 * double precision.
 *
 * @throws TweedieError 'shape' for points of different dimensions or broken rows, 'option' for fewer references than k,
 *   'non-finite' for a query or reference that is no number
 */
export async function nearest(
  queries: Points,
  references: Points,
  k: number,
  { leaveOneOut = false, signal, onProgress }: NearestOptions = {},
): Promise<Neighbours> {
  checkSearch(queries, references, k, leaveOneOut)
  const search = new Search(countOf(queries), k)
  await search.pass(queries, references, { leaveOneOut, signal, onProgress })
  return search.result()
}

/** What is known of each query so far; several passes share it, each with queries turned another way, say. */
export class Search {
  readonly k: number
  readonly indices: Int32Array<ArrayBuffer>
  /** Which pass found it. */
  readonly passes: Uint8Array<ArrayBuffer>
  readonly #squared: Float64Array
  #pass = 0

  constructor(count: number, k: number) {
    this.k = k
    this.indices = new Int32Array(count * k).fill(-1)
    this.passes = new Uint8Array(count * k)
    this.#squared = new Float64Array(count * k).fill(Infinity)
  }

  result(): Neighbours {
    return { k: this.k, indices: this.indices, distances: this.#squared.map(Math.sqrt) }
  }

  async pass(
    queries: Points,
    references: Points,
    { leaveOneOut = false, signal, onProgress }: NearestOptions = {},
  ): Promise<void> {
    const { dimension } = references
    const [n, m] = [countOf(queries), countOf(references)]
    // 256 KiB of references, which the second-level cache holds beside a query.
    const block = Math.max(1, Math.floor(65536 / dimension))
    const pace = pacer({ signal, onProgress })
    for (let begin = 0; begin < m; begin += block) {
      const end = Math.min(m, begin + block)
      for (let i = 0; i < n; i++) {
        this.#compare(queries.data, references.data, dimension, i, begin, end, leaveOneOut)
        const wait = i % 64 === 63 ? pace((begin + ((i + 1) / n) * (end - begin)) / m) : undefined
        if (wait) await wait
      }
      onProgress?.(end / m)
      signal?.throwIfAborted()
    }
    this.#pass++
  }

  #compare(
    a: Float32Array,
    b: Float32Array,
    dimension: number,
    i: number,
    begin: number,
    end: number,
    leaveOneOut: boolean,
  ): void {
    const { k } = this
    const last = i * k + k - 1
    for (let j = begin; j < end; j++) {
      if (leaveOneOut && i === j) continue
      this.offer(i, j, squaredDistance(a, i * dimension, b, j * dimension, dimension, this.#squared[last]))
    }
  }

  /** The squared distance of query `i` to its farthest neighbour so far; infinite before there are k. */
  farthest(i: number): number {
    return this.#squared[(i + 1) * this.k - 1]
  }

  /** Keeps reference `j` as a neighbour of query `i` if it is nearer than the farthest so far. */
  offer(i: number, j: number, squared: number): void {
    let at = (i + 1) * this.k - 1
    if (squared >= this.#squared[at]) return
    for (; at > i * this.k && squared < this.#squared[at - 1]; at--) {
      this.#squared[at] = this.#squared[at - 1]
      this.indices[at] = this.indices[at - 1]
      this.passes[at] = this.passes[at - 1]
    }
    this.#squared[at] = squared
    this.indices[at] = j
    this.passes[at] = this.#pass
  }
}

/** Σ (a - b)² of two rows, which begin at `p` and `q`; where it passes `enough`, some number of at least that. */
export function squaredDistance(
  a: Float32Array,
  p: number,
  b: Float32Array,
  q: number,
  length: number,
  enough: number,
): number {
  let sum = 0
  let i = 0
  for (; i + 16 <= length; i += 16) {
    let [even, odd] = [0, 0]
    for (let j = i; j < i + 16; j += 2) {
      const d = a[p + j] - b[q + j]
      const e = a[p + j + 1] - b[q + j + 1]
      even += d * d
      odd += e * e
    }
    sum += even + odd
    if (sum >= enough) return sum
  }
  for (; i < length; i++) sum += (a[p + i] - b[q + i]) ** 2
  return sum
}

/**
 * Refuses points that are not whole rows of finite numbers.
 *
 * @throws TweedieError 'shape' or 'non-finite', whose message begins with `user` and names the points as `name`
 */
export function checkPoints(user: string, name: string, { data, dimension }: Points): void {
  if (!Number.isInteger(dimension) || dimension < 1 || data.length % dimension !== 0) {
    throw new TweedieError(
      'shape',
      `${user}: expected ${name} [N, dimension], found ${data.length} numbers for a dimension of ${dimension}.`,
    )
  }
  // Nothing is nearer than NaN, so it would silently have no neighbours.
  let bad = 0
  while (bad < data.length && Number.isFinite(data[bad])) bad++
  if (bad < data.length)
    throw new TweedieError(
      'non-finite',
      `${user}: expected finite ${name}, found ${data[bad]} in row ${Math.floor(bad / dimension)}.`,
    )
}

/**
 * Refuses what {@link nearest} cannot answer, with its errors.
 * @internal
 */
export function checkSearch(queries: Points, references: Points, k: number, leaveOneOut: boolean): void {
  checkPoints('nearest', 'queries', queries)
  if (references.data !== queries.data || references.dimension !== queries.dimension)
    checkPoints('nearest', 'references', references)
  if (queries.dimension !== references.dimension)
    throw new TweedieError(
      'shape',
      `nearest: expected points of one dimension, found ${queries.dimension} and ${references.dimension}.`,
    )
  if (leaveOneOut && countOf(queries) !== countOf(references))
    throw new TweedieError('option', 'nearest: leaveOneOut is for queries that are the references.')
  const most = countOf(references) - (leaveOneOut ? 1 : 0)
  if (!Number.isInteger(k) || k < 1 || k > most)
    throw new TweedieError(
      'option',
      `nearest: expected k from 1 to the ${most} reference points there are, found ${k}.`,
    )
}
