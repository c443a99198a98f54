import { addProduct, mirror, type Pace } from './double.ts'
import { checkFeatures } from './check.ts'
import { countOf, type Points, type SearchOptions } from './nearest.ts'
import { pacer } from './pace.ts'

/** Mean and covariance of features: all that a Fréchet distance sees of a set. */
export interface FeatureStatistics {
  /** `[d]`. */
  readonly mean: Float64Array
  /** `[d, d]`, by N - 1 as in `np.cov`. */
  readonly covariance: Float64Array
  /** Of how many images; absent where a file does not say it. */
  readonly count?: number
}

/**
 * Mean and covariance in double precision. 50,000 images in 2,048 dimensions are 10^11 multiplications,
 * some 40 s on one core.
 *
 * @throws TweedieError 'shape', 'option' or 'non-finite' for fewer than 2 images, all equal, or broken features
 */
export async function featureStatistics(
  points: Points,
  { signal, onProgress }: SearchOptions = {},
): Promise<FeatureStatistics> {
  checkFeatures('featureStatistics', 'images', points, 2)
  const moments = new Moments(points)
  const pace = pacer({ signal, onProgress })
  await moments.add(
    Array.from({ length: countOf(points) }, (_, i) => i),
    pace,
  )
  onProgress?.(1)
  return moments.statistics()
}

/** Rows at a time: in double, transposed, those of 2,048 dimensions are 8 MB. */
const rowsAtOnce = 512

/** Sums over some rows of `points`, to which more can be added. */
export class Moments {
  readonly #points: Points
  /** Near the mean of all: sums of squares around it lose nothing. */
  readonly #shift: Float64Array
  readonly #sum: Float64Array
  readonly #squares: Float64Array
  #count = 0

  constructor(points: Points) {
    const { data, dimension } = points
    this.#points = points
    this.#shift = new Float64Array(dimension)
    this.#sum = new Float64Array(dimension)
    this.#squares = new Float64Array(dimension * dimension)
    const n = countOf(points)
    for (let i = 0; i < n; i++) for (let d = 0; d < dimension; d++) this.#shift[d] += data[i * dimension + d] / n
  }

  async add(rows: ArrayLike<number>, pace: Pace): Promise<void> {
    const { data, dimension: d } = this.#points
    for (let first = 0; first < rows.length; first += rowsAtOnce) {
      const m = Math.min(rowsAtOnce, rows.length - first)
      const columns = new Float64Array(d * m)
      for (let r = 0; r < m; r++) {
        const at = rows[first + r] * d
        for (let c = 0; c < d; c++) {
          const value = data[at + c] - this.#shift[c]
          columns[c * m + r] = value
          this.#sum[c] += value
        }
      }
      await addProduct(
        this.#squares,
        columns,
        columns,
        [d, d, m],
        (done) => pace((first + done * m) / rows.length),
        true,
      )
    }
    this.#count += rows.length
  }

  statistics(): FeatureStatistics {
    const d = this.#points.dimension
    const n = this.#count
    const off = this.#sum.map((value) => value / n)
    const covariance = this.#squares.slice()
    for (let i = 0; i < d; i++) {
      for (let j = 0; j <= i; j++) covariance[i * d + j] = (covariance[i * d + j] - n * off[i] * off[j]) / (n - 1)
    }
    mirror(covariance, d)
    return { mean: off.map((value, i) => value + this.#shift[i]), covariance, count: n }
  }
}
