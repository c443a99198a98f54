/**
 * Interleaved rounds: in each, every contender gets one slot of time in turn, and all others stand still; the
 * next round begins with another, so that none always follows the same neighbour. What is compared are medians
 * over the rounds. A round in which foreign processes computed beside us is run again, up to twice as many in
 * all, and the quietest count.
 */
import { cpus } from 'node:os'
import { median } from './clock.ts'
import { Contender, nameOf, type Choice } from './contender.ts'
import type { Slot } from './protocol.ts'
import type { Job } from './job.ts'

export interface Result {
  readonly name: string
  readonly choice: Choice
  readonly slots: readonly Slot[]
  readonly difference: number
  readonly note: string
}

export interface Competition {
  readonly job: Job
  readonly results: readonly Result[]
  readonly failed: readonly { readonly name: string; readonly error: string }[]
  /**
   * Cores that foreign processes used while contenders ran, in the median of the rounds that count, and how
   * many rounds were run.
   */
  readonly foreign: number
  readonly run: number
  /** Foreign processes were part of the task. */
  readonly beside: boolean
}

/** Milliseconds that the machine's cores have been busy. */
const busy = (): number => cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0)

/** Cores of foreign work at which a round is no longer a quiet one. */
export const quiet = 0.15

export interface RoundOptions {
  readonly rounds: number
  /** Milliseconds a slot takes at least; a computation that has begun is finished. */
  readonly slot: number
  /** Foreign processes are part of the task: no round is run again for them. */
  readonly beside?: boolean
}

interface Round {
  readonly foreign: number
  readonly slots: ReadonlyMap<string, Slot>
}

async function play(contenders: readonly Contender[], first: number, slot: number): Promise<Round> {
  let [wall, used, ours] = [0, 0, 0]
  const slots = new Map<string, Slot>()
  for (let i = 0; i < contenders.length; i++) {
    const contender = contenders[(i + first) % contenders.length]
    const [start, before] = [performance.now(), busy()]
    const measured = await contender.round(slot)
    const took = performance.now() - start
    slots.set(contender.name, measured)
    wall += took
    used += busy() - before
    ours += measured.cores * took
  }
  return { foreign: Math.max(0, (used - ours) / wall), slots }
}

export async function compete(
  job: Job,
  choices: readonly Choice[],
  { rounds, slot, beside = false }: RoundOptions,
): Promise<Competition> {
  const contenders: Contender[] = []
  const differences = new Map<string, number>()
  const failed: { name: string; error: string }[] = []
  try {
    for (const choice of choices) {
      const contender = new Contender(choice)
      try {
        await contender.prepare(job.task)
        differences.set(contender.name, job.check(contender.name))
        // Compilers of wasm and JavaScript tier up while this runs.
        await contender.round(500)
        contenders.push(contender)
      } catch (error) {
        failed.push({ name: nameOf(choice), error: (error as Error).message })
        contender.stop()
      }
    }
    const run: Round[] = []
    const isEnough = (): boolean =>
      contenders.length === 0 ||
      run.length === 2 * rounds ||
      run.filter(({ foreign }) => beside || foreign < quiet).length === rounds
    while (!isEnough()) run.push(await play(contenders, run.length, slot))
    const counted = beside ? run : [...run].sort((a, b) => a.foreign - b.foreign).slice(0, rounds)
    const results = contenders.map(({ name, choice, note }): Result => {
      const slots = counted.map((round) => round.slots.get(name) as Slot)
      return { name, choice, note, difference: differences.get(name) as number, slots }
    })
    return {
      job,
      results,
      failed,
      foreign: counted.length === 0 ? 0 : median(counted.map(({ foreign }) => foreign)),
      run: run.length,
      beside,
    }
  } finally {
    for (const contender of contenders) contender.stop()
  }
}

export const medianMs = ({ slots }: Result): number => median(slots.map(({ ms }) => ms))
export const bestMs = ({ slots }: Result): number => Math.min(...slots.map(({ best }) => best))
