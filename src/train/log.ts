/**
 * The log of a training run: a row every so many steps, with means over what was trained on since the row before, of the
 * loss and its terms, by group too (the quartiles of the timestep, as guided-diffusion logs them).
 */

/** Sums while a row is open; means once it is closed. */
export interface Row {
  /** Steps and images of the run at the row's end; 0 while it is open. */
  readonly step: number
  readonly images: number
  readonly steps: number
  /** Samples by group. */
  readonly counts: readonly number[]
  /** `loss` first, then its terms. */
  readonly values: Readonly<Record<string, Figure>>
  readonly gradientNorm: number
  /** Of the last step. */
  readonly lr: number
}

export interface Figure {
  readonly all: number
  /** null where nothing fell into the group. */
  readonly byGroup: readonly (number | null)[]
}

/** What one micro-batch found: values of each sample, by name, and the samples' groups. */
export interface LogEntry {
  readonly values: Readonly<Record<string, Float32Array>>
  readonly groups: readonly number[]
}

export class Log {
  readonly #groups: number
  #open: Row
  #rows: Row[] = []

  constructor(groups: readonly string[]) {
    this.#groups = groups.length
    this.#open = this.#empty()
  }

  get open(): Row {
    return this.#open
  }

  get rows(): readonly Row[] {
    return this.#rows
  }

  #empty(): Row {
    return { step: 0, images: 0, steps: 0, counts: new Array<number>(this.#groups).fill(0), values: {}, gradientNorm: 0, lr: 0 }
  }

  /** What one step found, by micro-batch. */
  add(parts: readonly LogEntry[], { gradientNorm, lr }: { readonly gradientNorm: number; readonly lr: number }): void {
    const counts = [...this.#open.counts]
    const sums = new Map(Object.entries(this.#open.values).map(([name, { all, byGroup }]) => [name, { all, byGroup: [...byGroup] as number[] }]))
    for (const { values, groups } of parts) {
      for (const group of groups) counts[group]! += 1
      for (const [name, list] of Object.entries(values)) {
        const sum = sums.get(name) ?? { all: 0, byGroup: counts.map(() => 0) }
        list.forEach((value, i) => {
          sum.all += value
          sum.byGroup[groups[i]!]! += value
        })
        sums.set(name, sum)
      }
    }
    const { steps, gradientNorm: norms } = this.#open
    this.#open = { ...this.#open, counts, values: Object.fromEntries(sums), steps: steps + 1, gradientNorm: norms + gradientNorm, lr }
  }

  /** Closes the open row. */
  close(step: number, images: number): Row {
    const { counts, values, steps, gradientNorm } = this.#open
    const count = counts.reduce((a, b) => a + b, 0)
    const means = Object.entries(values).map(([name, { all, byGroup }]): [string, Figure] =>
      [name, { all: all / count, byGroup: byGroup.map((sum, g) => (counts[g] ? sum! / counts[g] : null)) }])
    const row: Row = { ...this.#open, step, images, values: Object.fromEntries(means), gradientNorm: gradientNorm / steps }
    this.#rows.push(row)
    this.#open = this.#empty()
    return row
  }

  restore(open: Row, rows: readonly Row[]): void {
    this.#open = open
    this.#rows = [...rows]
  }
}
