/**
 * What the bench and its contenders say to each other. Every contender is a process of its own, so that each loads its
 * library with its own number of threads and none shares a heap or a thread pool with another. It reads one command a
 * line from stdin and answers each with one line on stdout; tensors pass through files of raw little-endian float32 in
 * the task's directory.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { timed, type Run, type Task, type Times } from './clock.ts'

export type Command =
  /**
   * Compute the task once, write y.NAME (and gradients.NAME, those of all parameters behind each other, by name in
   * alphabetical order).
   */
  | { readonly prepare: Task }
  /** Compute it again and again for at least this many milliseconds, and answer with a Slot. */
  | { readonly round: number }

/** What a round measured; `cores` is the process's CPU time over wall time. */
export interface Slot extends Times {
  readonly cores: number
}

export interface Reply extends Partial<Slot> {
  readonly error?: string
  /** What the reader of the table should know of this contender: version, instruction set. */
  readonly note?: string
}

export type Prepared = {
  readonly y: Float32Array
  readonly gradients?: Float32Array
  readonly note?: string
} & (
  | { readonly run: Run }
  | {
      /** Instead of `run` where the computing is done elsewhere: a whole round of it. */
      readonly round: (atLeast: number) => Promise<Slot>
    }
)

export type Prepare = (task: Task) => Promise<Prepared>

export function readTensor(dir: string, name: string): Float32Array {
  const bytes = readFileSync(join(dir, name))
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
}

export function writeTensor(dir: string, name: string, values: Float32Array): void {
  writeFileSync(join(dir, name), new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
}

/** Answers the bench until it closes stdin. `name` tells this contender's files from the others'. */
export async function serve(name: string, prepare: Prepare): Promise<void> {
  let prepared: Prepared | undefined
  const answer = async (command: Command): Promise<Reply> => {
    if ('prepare' in command) {
      prepared = await prepare(command.prepare)
      writeTensor(command.prepare.dir, `y.${name}`, prepared.y)
      if (prepared.gradients) writeTensor(command.prepare.dir, `gradients.${name}`, prepared.gradients)
      return { note: prepared.note }
    }
    if (!prepared) throw new Error('a round before the task')
    if ('round' in prepared) return prepared.round(command.round)
    const [cpu, start] = [process.cpuUsage(), performance.now()]
    const times = await timed(prepared.run, command.round)
    const { user, system } = process.cpuUsage(cpu)
    return { ...times, cores: (user + system) / 1000 / (performance.now() - start) }
  }
  for await (const line of createInterface({ input: process.stdin })) {
    const reply = await answer(JSON.parse(line) as Command).catch(
      (error: unknown): Reply => ({ error: String((error as Error).stack ?? error) }),
    )
    // A library may print on stdout too: the mark tells answers from that.
    process.stdout.write(`\n@${JSON.stringify(reply)}\n`)
  }
}
