/**
 * The log of a training run: a row every so many steps, with means over what was trained on since the row before, of
 * the loss and its terms, by group too (the quartiles of the timestep, as guided-diffusion logs them).
 */

/** A row of the log: sums while it is open; means once it is closed. */
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

/** A mean over what a row of the log was trained on, and by group. */
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

/**
 * Most rows of a log, which then has half as many, of twice the steps: they stand in the header of the state file, in
 * 56 of its at most 100 MB.
 */
const mostRows = 100_000

/** Half as many rows, each the mean of two neighbours over all that they were trained on. */
export const halved = (rows: readonly Row[]): Row[] =>
  Array.from({ length: Math.ceil(rows.length / 2) }, (_, i) =>
    rows[2 * i + 1] ? joined(rows[2 * i], rows[2 * i + 1]) : rows[2 * i],
  )

function joined(a: Row, b: Row): Row {
  const mean = (x: number, m: number, y: number, n: number): number => (x * m + y * n) / (m + n)
  const total = ({ counts }: Row): number => counts.reduce((sum, count) => sum + count, 0)
  const figure = (x: Figure, y: Figure): Figure => ({
    all: mean(x.all, total(a), y.all, total(b)),
    byGroup: x.byGroup.map((value, g) => {
      const other = y.byGroup[g]
      return value === null || other === null ? (value ?? other) : mean(value, a.counts[g], other, b.counts[g])
    }),
  })
  return {
    step: b.step,
    images: b.images,
    steps: a.steps + b.steps,
    lr: b.lr,
    counts: a.counts.map((count, g) => count + b.counts[g]),
    values: Object.fromEntries(Object.entries(a.values).map(([name, value]) => [name, figure(value, b.values[name])])),
    gradientNorm: mean(a.gradientNorm, a.steps, b.gradientNorm, b.steps),
  }
}

/**
 * The rows as CSV, in guided-diffusion's names: step, images, loss and its terms, each also by group, as in mse_q0,
 * then gradient_norm and lr. Where nothing fell into a group the field is empty.
 */
export function logCsv(rows: readonly Row[], groups: readonly string[]): string {
  const names = Object.keys(rows[0]?.values ?? {})
  const grouped = groups.length > 1 ? groups : []
  const figures = (row: Row): (number | null)[] =>
    names.flatMap((name) => {
      const { all, byGroup } = row.values[name]
      return [all, ...grouped.map((_, g) => byGroup[g])]
    })
  const head = [
    'step',
    'images',
    ...names.flatMap((name) => [name, ...grouped.map((group) => `${name}_${group}`)]),
    'gradient_norm',
    'lr',
  ]
  const lines = rows.map((row) => [row.step, row.images, ...figures(row), row.gradientNorm, row.lr].join(','))
  return `${[head.join(','), ...lines].join('\n')}\n`
}

/** The log of a run while it runs: sums of the row that is open, and the rows closed so far. */
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
    return {
      step: 0,
      images: 0,
      steps: 0,
      counts: new Array<number>(this.#groups).fill(0),
      values: {},
      gradientNorm: 0,
      lr: 0,
    }
  }

  /** The closed rows; before the first, the open one as it would be closed now, where anything was trained on. */
  rowsSoFar(step: number, images: number): readonly Row[] {
    return this.#rows.length > 0 || this.#open.steps === 0 ? this.#rows : [this.#closed(step, images)]
  }

  /** What one step found, by micro-batch. */
  add(parts: readonly LogEntry[], { gradientNorm, lr }: { readonly gradientNorm: number; readonly lr: number }): void {
    const counts = [...this.#open.counts]
    const sums = new Map(
      Object.entries(this.#open.values).map(([name, { all, byGroup }]) => [
        name,
        { all, byGroup: [...byGroup] as number[] },
      ]),
    )
    for (const { values, groups } of parts) {
      for (const group of groups) counts[group] += 1
      for (const [name, list] of Object.entries(values)) {
        const sum = sums.get(name) ?? { all: 0, byGroup: counts.map(() => 0) }
        list.forEach((value, i) => {
          sum.all += value
          sum.byGroup[groups[i]] += value
        })
        sums.set(name, sum)
      }
    }
    const { steps, gradientNorm: norms } = this.#open
    this.#open = {
      ...this.#open,
      counts,
      values: Object.fromEntries(sums),
      steps: steps + 1,
      gradientNorm: norms + gradientNorm,
      lr,
    }
  }

  /** The means of the open row. */
  #closed(step: number, images: number): Row {
    const { counts, values, steps, gradientNorm } = this.#open
    const count = counts.reduce((a, b) => a + b, 0)
    const means = Object.entries(values).map(([name, { all, byGroup }]): [string, Figure] => [
      name,
      { all: all / count, byGroup: byGroup.map((sum, g) => (counts[g] ? sum! / counts[g] : null)) },
    ])
    return {
      ...this.#open,
      step,
      images,
      values: Object.fromEntries(means),
      gradientNorm: gradientNorm / steps,
    }
  }

  /** Closes the open row. */
  close(step: number, images: number): Row {
    const row = this.#closed(step, images)
    this.#rows.push(row)
    if (this.#rows.length === mostRows) this.#rows = halved(this.#rows)
    this.#open = this.#empty()
    return row
  }

  restore(open: Row, rows: readonly Row[]): void {
    this.#open = open
    this.#rows = [...rows]
  }
}
