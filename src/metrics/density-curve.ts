import { quantiles } from './quantiles.ts'

/** Densities of several samples of numbers, on one grid. */
export interface DensityCurves {
  /** Ascending, evenly spaced. */
  readonly grid: readonly number[]
  /** In the order of the samples; null for one with fewer than two different numbers. */
  readonly curves: readonly (readonly number[] | null)[]
}

/** Points of the grid: a curve as wide as a page has no corners. */
const points = 200

/**
 * Density estimates with Gaussian kernels of Silverman's width, 0.9 min(σ, IQR / 1.34) n^(-1/5) (Density Estimation
 * for Statistics and Data Analysis, 1986, 3.31). The grid leaves out a thousandth at each end of each sample, where
 * measures such as LOF have a few numbers that are far away from all others, and what is further from the quartiles
 * than 30 times their distance. Where no number is negative, none can be: the grid starts at 0 or above, and what a
 * kernel has below 0 is folded back (Silverman, 2.10).
 */
export function densityCurves(samples: readonly ArrayLike<number>[]): DensityCurves {
  const widths = samples.map(width)
  const ends = samples.flatMap((values, s) => {
    const h = widths[s]
    if (h === null) return []
    const [low, first, third, high] = quantiles(values, [0.001, 0.25, 0.75, 0.999])
    const far = third > first ? 30 * (third - first) : Infinity
    return [[Math.max(low, first - far) - 2 * h, Math.min(high, third + far) + 2 * h]]
  })
  if (ends.length === 0) return { grid: [], curves: samples.map(() => null) }
  const folded = samples.every((values) => Array.from(values).every((value) => value >= 0))
  const low = Math.max(folded ? 0 : -Infinity, Math.min(...ends.map(([end]) => end)))
  const high = Math.max(...ends.map(([, end]) => end))
  const grid = Array.from({ length: points }, (_, i) => low + ((high - low) * i) / (points - 1))
  return { grid, curves: samples.map((values, s) => curve(values, widths[s], grid, folded)) }
}

function width(values: ArrayLike<number>): number | null {
  const n = values.length
  if (n < 2) return null
  const all = Array.from(values)
  const mean = all.reduce((a, b) => a + b) / n
  const deviation = Math.sqrt(all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1))
  const [first, third] = quantiles(all, [0.25, 0.75])
  const spread = third > first ? Math.min(deviation, (third - first) / 1.34) : deviation
  return spread > 0 && Number.isFinite(spread) ? 0.9 * spread * n ** -0.2 : null
}

function curve(values: ArrayLike<number>, h: number | null, grid: readonly number[], folded: boolean): number[] | null {
  if (h === null) return null
  const sorted = Float64Array.from(values).sort()
  const scale = 1 / (sorted.length * h * Math.sqrt(2 * Math.PI))
  // A kernel is nothing beyond 8 widths: a window moves along the sorted values.
  let [begin, end] = [0, 0]
  return grid.map((at) => {
    while (begin < sorted.length && sorted[begin] < at - 8 * h) begin++
    while (end < sorted.length && sorted[end] <= at + 8 * h) end++
    let sum = 0
    for (let i = begin; i < end; i++) sum += Math.exp(-0.5 * ((sorted[i] - at) / h) ** 2)
    if (folded) for (let i = 0; sorted[i] + at < 8 * h; i++) sum += Math.exp(-0.5 * ((sorted[i] + at) / h) ** 2)
    return sum * scale
  })
}
