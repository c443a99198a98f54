/**
 * What the bench and its contenders say to each other. Every contender is a process of its own, so that each loads its
 * library with its own number of threads and none shares a heap or a thread pool with another. It reads one command a
 * line from stdin and answers each with one line on stdout; tensors pass through files of raw little-endian float32 in
 * the task's directory.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** Convolution 3x3, `channels` to as many, padding 1, no bias: x [batch, channels, size, size], w [channels, channels, 3, 3], y. */
export interface ConvTask { readonly kind: 'conv'; readonly dir: string; readonly batch: number; readonly channels: number; readonly size: number }
/** a [size, size] times b [size, size], of which b is constant, gives y. */
export interface GemmTask { readonly kind: 'gemm'; readonly dir: string; readonly size: number }
/** The shipped U-Net: x [batch, 3, 32, 32], t [batch] gives y; for 'training' also cotangent, and gradients. */
export interface NetworkTask { readonly kind: 'unet' | 'training'; readonly dir: string; readonly weights: string; readonly batch: number }
export type Task = ConvTask | GemmTask | NetworkTask

export type Command =
  /** Compute the task once, write y.NAME (and gradients.NAME, all parameters behind each other in the file's order). */
  | { readonly prepare: Task }
  /** Compute it again and again for at least this many milliseconds, and answer with the median. */
  | { readonly round: number }

export interface Reply {
  readonly error?: string
  /** Median milliseconds of one computation, and the cores the process used meanwhile (its CPU time over wall time). */
  readonly ms?: number
  readonly cores?: number
  /** What the reader of the table should know of this contender: version, instruction set. */
  readonly note?: string
}

/** Computes the task once more; whatever it returns is awaited. */
export type Run = () => unknown

export interface Prepared {
  readonly y: Float32Array
  readonly gradients?: Float32Array
  readonly run: Run
  readonly note?: string
}

export type Prepare = (task: Task) => Promise<Prepared>

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] as number : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

export function readTensor(dir: string, name: string): Float32Array {
  const bytes = readFileSync(join(dir, name))
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
}

export function writeTensor(dir: string, name: string, values: Float32Array): void {
  writeFileSync(join(dir, name), new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
}

export async function timed(run: Run, atLeast: number): Promise<number> {
  const times: number[] = []
  const end = performance.now() + atLeast
  do {
    const start = performance.now()
    await run()
    times.push(performance.now() - start)
  } while (performance.now() < end)
  return median(times)
}

/** Answers the bench until it closes stdin. `name` tells this contender's files from the others'. */
export async function serve(name: string, prepare: Prepare): Promise<void> {
  let run: Run = () => {}
  const answer = async (command: Command): Promise<Reply> => {
    if ('prepare' in command) {
      const prepared = await prepare(command.prepare)
      run = prepared.run
      writeTensor(command.prepare.dir, `y.${name}`, prepared.y)
      if (prepared.gradients) writeTensor(command.prepare.dir, `gradients.${name}`, prepared.gradients)
      return { note: prepared.note }
    }
    const [cpu, start] = [process.cpuUsage(), performance.now()]
    const ms = await timed(run, command.round)
    const { user, system } = process.cpuUsage(cpu)
    return { ms, cores: (user + system) / 1000 / (performance.now() - start) }
  }
  for await (const line of createInterface({ input: process.stdin })) {
    const reply = await answer(JSON.parse(line) as Command).catch((error: unknown): Reply => ({ error: String((error as Error).stack ?? error) }))
    // A library may print on stdout too: the mark tells answers from that.
    process.stdout.write(`\n@${JSON.stringify(reply)}\n`)
  }
}
