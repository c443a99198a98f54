/** The log of a training run: a row every so many steps, with means over what was trained on since the row before. */

/** Sums while a row is open; means once it is closed. */
export interface Interval {
  /** Steps and images of the run at the row's end; 0 while it is open. */
  readonly step: number
  readonly images: number
  /** Samples in it, all and by group. */
  readonly count: number
  readonly counts: readonly number[]
  readonly loss: number
  /** By group (timestep quartile); null where nothing fell into it. */
  readonly byGroup: readonly (number | null)[]
  readonly terms: Readonly<Record<string, number>>
  readonly gradientNorm: number
  readonly steps: number
  readonly lr: number
}

export interface LogEntry {
  readonly losses: Float32Array
  readonly terms: Readonly<Record<string, Float32Array>>
  readonly groups: readonly number[]
}

const emptyInterval = (groups: number): Interval => ({
  step: 0, images: 0, count: 0, counts: new Array<number>(groups).fill(0), loss: 0, byGroup: new Array<number>(groups).fill(0),
  terms: {}, gradientNorm: 0, steps: 0, lr: 0,
})

const total = (values: ArrayLike<number>): number => Array.prototype.reduce.call(values, (a, b) => (a as number) + (b as number), 0) as number

export class Log {
  readonly #groups: number
  #open: Interval
  #rows: Interval[] = []

  constructor(groups: readonly string[]) {
    this.#groups = groups.length
    this.#open = emptyInterval(groups.length)
  }

  get open(): Interval {
    return this.#open
  }

  get rows(): readonly Interval[] {
    return this.#rows
  }

  /** What one step found, by micro-batch. */
  add(parts: readonly LogEntry[], { gradientNorm, lr }: { readonly gradientNorm: number; readonly lr: number }): void {
    const o = this.#open
    const counts = [...o.counts]
    const byGroup = [...o.byGroup] as number[]
    const terms: Record<string, number> = { ...o.terms }
    let [loss, count] = [o.loss, o.count]
    for (const { losses, groups, terms: more } of parts) {
      losses.forEach((value, i) => {
        counts[groups[i]!]! += 1
        byGroup[groups[i]!]! += value
      })
      for (const [name, values] of Object.entries(more)) terms[name] = (terms[name] ?? 0) + total(values)
      loss += total(losses)
      count += losses.length
    }
    this.#open = { ...o, count, counts, byGroup, loss, terms, gradientNorm: o.gradientNorm + gradientNorm, steps: o.steps + 1, lr }
  }

  /** Closes the open row. */
  close(step: number, images: number): Interval {
    const o = this.#open
    const row: Interval = {
      ...o, step, images, loss: o.loss / o.count,
      byGroup: o.byGroup.map((loss, g) => (o.counts[g] ? loss! / o.counts[g] : null)),
      terms: Object.fromEntries(Object.entries(o.terms).map(([name, value]) => [name, value / o.count])),
      gradientNorm: o.gradientNorm / o.steps,
    }
    this.#rows.push(row)
    this.#open = emptyInterval(this.#groups)
    return row
  }

  restore(open: Interval, rows: readonly Interval[]): void {
    this.#open = open
    this.#rows = [...rows]
  }
}
