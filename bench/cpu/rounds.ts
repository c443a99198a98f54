/**
 * Interleaved rounds: in each, every contender gets one slot of time in turn, and all others stand still; the next round
 * begins with another, so that none always follows the same neighbour. What is compared are medians over the rounds.
 */
import { cpus } from 'node:os'
import { Contender, nameOf, type Choice } from './contender.ts'
import { median } from './protocol.ts'
import type { Job } from './tasks.ts'

export interface Result {
  readonly name: string
  readonly choice: Choice
  /** Median milliseconds of every slot, and the cores used in it. */
  readonly times: number[]
  readonly cores: number[]
  readonly difference: number
  readonly note: string
}

export interface Competition {
  readonly job: Job
  readonly results: readonly Result[]
  readonly failed: readonly { readonly name: string; readonly error: string }[]
  /** Cores that others used while contenders ran. */
  readonly foreign: number
}

/** Milliseconds that the machine's cores have been busy. */
const busy = (): number => cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0)

export interface RoundOptions {
  readonly rounds: number
  /** Milliseconds a slot takes at least; a computation that has begun is finished. */
  readonly slot: number
}

export async function compete(job: Job, choices: readonly Choice[], { rounds, slot }: RoundOptions): Promise<Competition> {
  const entered: { contender: Contender; result: Result }[] = []
  const failed: { name: string; error: string }[] = []
  for (const choice of choices) {
    const contender = new Contender(choice)
    try {
      await contender.prepare(job.task)
      const difference = job.check(contender.name)
      // Compilers of wasm and JavaScript tier up while this runs.
      await contender.round(2 * slot)
      entered.push({ contender, result: { name: contender.name, choice, times: [], cores: [], difference, note: contender.note } })
    } catch (error) {
      failed.push({ name: nameOf(choice), error: (error as Error).message })
      contender.stop()
    }
  }
  let [wall, used, ours] = [0, 0, 0]
  try {
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < entered.length; i++) {
        const { contender, result } = entered[(i + round) % entered.length] as (typeof entered)[number]
        const [start, before] = [performance.now(), busy()]
        const { ms, cores } = await contender.round(slot)
        const took = performance.now() - start
        result.times.push(ms)
        result.cores.push(cores)
        wall += took
        used += busy() - before
        ours += cores * took
      }
    }
  } finally {
    for (const { contender } of entered) contender.stop()
  }
  return { job, results: entered.map(({ result }) => result), failed, foreign: wall === 0 ? 0 : Math.max(0, (used - ours) / wall) }
}

export const medianOf = ({ results }: Competition, name: string): number | undefined => {
  const found = results.find((r) => r.name === name)
  return found && median(found.times)
}
