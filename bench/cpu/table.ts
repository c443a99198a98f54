/** What is printed: a row a contender, and below it what must hold, with the ratio beside it. */
import { nameOf, type Choice } from './contender.ts'
import { median } from './clock.ts'
import { bestMs, medianMs, quiet, type Competition } from './rounds.ts'

/** `fast` must be at least this many times as fast as `slow`; without a number the ratio is printed for information. */
export interface Requirement {
  readonly fast: Choice
  readonly slow: Choice
  readonly atLeast?: number
}

export interface Verdict {
  readonly what: string
  /** Of the medians; `best`: of the best runs, which says more on a machine that is not quiet. */
  readonly ratio: number | null
  readonly best: number | null
  readonly atLeast: number | null
  readonly holds: boolean | null
  /** Cores of foreign work in these rounds; null where it belonged to the task. */
  readonly foreign: number | null
}

const quantile = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.round(q * (values.length - 1))]

const row = (columns: readonly string[]): string =>
  columns.map((column, i) => column.padStart([11, 17, 11, 11, 8, 8][i])).join('')

export function printTable(competition: Competition): void {
  const {
    job: { title, work },
    results,
    failed,
    foreign,
    run,
  } = competition
  const rate = work.unit === 'GFLOP' ? 'GFLOP/s' : 'images/s'
  const counted = results[0]?.slots.length ?? 0
  console.log(
    `\n${title}; ${run} rounds, the quietest ${counted} count: foreign processes used ` +
      `${foreign.toFixed(2)} cores meanwhile`,
  )
  console.log(`  ${'contender'.padEnd(24)}${row(['ms', 'IQR', 'best', rate, 'cores', 'error'])}`)
  for (const result of results) {
    const { name, slots, difference, note } = result
    const ms = medianMs(result)
    const times = slots.map((slot) => slot.ms)
    const spread = `${quantile(times, 0.25).toFixed(1)}-${quantile(times, 0.75).toFixed(1)}`
    const columns = [
      ms.toFixed(2),
      spread,
      bestMs(result).toFixed(2),
      ((work.amount / ms) * 1000).toFixed(1),
      median(slots.map(({ cores }) => cores)).toFixed(2),
      difference.toExponential(0),
    ]
    console.log(`  ${name.padEnd(24)}${row(columns)}  ${note}`)
  }
  for (const { name, error } of failed) console.log(`  ${name.padEnd(24)} NOT RUN: ${error.split('\n')[0]}`)
}

export function judge(competition: Competition, requirements: readonly Requirement[]): Verdict[] {
  return requirements.map(({ fast, slow, atLeast = null }) => {
    const [ours, theirs] = [fast, slow].map((choice) => competition.results.find(({ name }) => name === nameOf(choice)))
    const [ratio, best] =
      ours && theirs ? ([medianMs, bestMs].map((of) => of(theirs) / of(ours)) as [number, number]) : [null, null]
    const holds = ratio === null || atLeast === null ? null : ratio >= atLeast
    return {
      what: `${competition.job.title}: ${nameOf(fast)} / ${nameOf(slow)}`,
      ratio,
      best,
      atLeast,
      holds,
      foreign: competition.beside ? null : competition.foreign,
    }
  })
}

export function printVerdicts(verdicts: readonly Verdict[]): void {
  console.log('\nratios of medians, what is required, and ratios of the best runs')
  for (const { what, ratio, best, atLeast, holds, foreign } of verdicts) {
    const measured = ratio === null ? 'not measured' : ratio.toFixed(2)
    const ofBest = best === null ? '' : `best ${best.toFixed(2)}`
    const verdict = holds === null ? '' : holds ? 'holds' : 'FAILS'
    const doubt =
      foreign !== null && foreign >= quiet ? `  not quiet: beside ${foreign.toFixed(2)} cores of foreign work` : ''
    console.log(
      `  ${what.padEnd(100)}${measured.padStart(13)}` +
        `${(atLeast === null ? '' : `>= ${atLeast.toFixed(2)}`).padStart(9)}` +
        `${ofBest.padStart(13)}  ${verdict}${doubt}`,
    )
  }
}
