import { bootstrap, bootstrapInterval, type Measured } from './bootstrap.ts'
import { measures, type Estimate, type EvaluationSettings, type MeasureName, type Measurement } from './evaluation.ts'
import type { SearchOptions } from './nearest.ts'

/** Settings of intervals. */
export type IntervalSettings = Pick<EvaluationSettings, 'resamples' | 'confidence' | 'seed'> &
  Pick<SearchOptions, 'signal'>

/** The rows of one space's table while they are measured. */
export class Table {
  readonly #space: string | null
  readonly #methods: number
  readonly #settings: IntervalSettings
  readonly #values = new Map<MeasureName, (Estimate | null)[]>()
  readonly #real = new Map<MeasureName, Estimate>()

  constructor(space: string | null, methods: number, settings: IntervalSettings) {
    this.#space = space
    this.#methods = methods
    this.#settings = settings
  }

  /** What was measured of a method, doubtful where there is a warning of it; null where nothing could be. */
  async set(
    measure: MeasureName,
    method: number,
    measured: (Measured & { readonly warnings?: readonly string[] }) | null,
  ): Promise<void> {
    const estimate = measured && (await estimateOf(measured, this.#settings))
    const doubtful = (measured?.warnings ?? []).length > 0
    this.put(measure, method, estimate && doubtful ? { ...estimate, doubtful } : estimate)
  }

  /** The same, with its interval or without. */
  put(measure: MeasureName, method: number, estimate: Estimate | null): void {
    const row = this.#values.get(measure) ?? Array<Estimate | null>(this.#methods).fill(null)
    row[method] = estimate
    this.#values.set(measure, row)
  }

  /** What was measured of the real images. */
  async real(measure: MeasureName, measured: Measured | null): Promise<void> {
    if (measured) this.#real.set(measure, await estimateOf(measured, this.#settings))
  }

  /** The same, with its interval or without. */
  putReal(measure: MeasureName, estimate: Estimate | null): void {
    if (estimate) this.#real.set(measure, estimate)
  }

  /** In the order of {@link measures}; those of which there is nothing are left out. */
  rows(): Measurement[] {
    return (Object.keys(measures) as MeasureName[]).flatMap((measure) => {
      const values = this.#values.get(measure)
      const real = this.#real.get(measure) ?? null
      if (!values?.some((value) => value !== null) && real === null) return []
      return [{ measure, space: this.#space, values: values ?? Array<null>(this.#methods).fill(null), real }]
    })
  }
}

/** With an interval where it can be resampled and is wanted. */
async function estimateOf(
  measured: Measured,
  { resamples, confidence, seed, signal }: IntervalSettings,
): Promise<Estimate> {
  const { value } = measured
  if (resamples === 0) return { value, low: null, high: null }
  return { value, ...(await bootstrapInterval(measured, { resamples, confidence, seed, signal })) }
}

/**
 * The median with its interval: of a resample it is found by counting, not by sorting. Null where it is infinite, of a
 * bound too.
 */
export async function medianOf(
  items: Float64Array,
  { resamples, confidence, seed, signal }: IntervalSettings,
): Promise<Estimate | null> {
  const n = items.length
  const sorted = Float64Array.from(items).sort()
  const counts = new Uint32Array(n)
  const statistic = ([rows]: readonly Uint32Array[]): number => {
    counts.fill(0)
    for (const row of rows) counts[row]++
    const at = (place: number): number => {
      let [seen, i] = [0, -1]
      while (seen <= place) seen += counts[++i]
      return sorted[i]
    }
    return (at((n - 1) >> 1) + at(n >> 1)) / 2
  }
  const value = statistic([Uint32Array.from(items.keys())])
  if (!Number.isFinite(value)) return null
  if (resamples === 0) return { value, low: null, high: null }
  const { low, high } = await bootstrap([n], statistic, { resamples, confidence, seed, signal })
  return { value, low: finite(low), high: finite(high) }
}

const finite = (value: number | null): number | null => (Number.isFinite(value) ? value : null)
