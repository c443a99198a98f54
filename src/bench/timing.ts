/**
 * How long a piece of work takes. Pieces take turns within each round, so that a neighbour's load, or a clock that
 * rises, meets all of them; a figure is the median of its samples with the quartiles beside it, and is marked where
 * they lie far apart.
 */
import type { Device } from '../tensor/index.ts'
import { GPUTimer, type Timed } from '../tensor/webgpu/timer.ts'

/** Milliseconds that `times` runs, one after another, take. */
export type Stopwatch = (run: () => void, times: number) => Promise<number>

/** Of one run. */
export interface Timing {
  /** Median, and the first and third quartile, in milliseconds. */
  readonly ms: number
  readonly low: number
  readonly high: number
  readonly samples: number
  /** Runs in each sample, one behind another. */
  readonly chained: number
  /** The quartiles lie more than a tenth of the median apart: others used the machine, or its clock moved. */
  readonly unsteady: boolean
}

export interface TimingOptions {
  /** Default 21. */
  readonly samples?: number
  /** A sample repeats the work until it takes this long. Default 5 ms. */
  readonly sampleMs?: number
  /** What a piece may take in all, warm-up apart; then there are fewer samples, but at least 3. Default 2,000 ms. */
  readonly budgetMs?: number
  readonly signal?: AbortSignal
  /** Called after each round: rounds that are done, and how many there will be. */
  readonly onProgress?: (done: number, total: number) => void
}

const maxChained = 512
/** Warm is what three samples in a row agree on within this share. */
const agreement = 0.02
const warmUps = 12

/** Times each of `runs`, which enqueue their work and free what they make, by `stopwatch`. */
export async function timeRuns(
  runs: readonly (() => void)[],
  stopwatch: Stopwatch,
  { samples = 21, sampleMs = 5, budgetMs = 2000, signal, onProgress }: TimingOptions = {},
): Promise<Timing[]> {
  const pieces: { run: () => void; chained: number; samples: number; times: number[] }[] = []
  for (const run of runs) {
    signal?.throwIfAborted()
    // The first run compiles.
    await stopwatch(run, 1)
    let [chained, took] = [1, await stopwatch(run, 1)]
    while (took < sampleMs && chained < maxChained) {
      signal?.throwIfAborted()
      const factor = Math.min(8, Math.max(2, Math.ceil((1.2 * sampleMs) / Math.max(took, 1e-3))))
      chained = Math.min(maxChained, chained * factor)
      took = await stopwatch(run, chained)
    }
    const warming = [took]
    const started = Math.max(took, 1e-6)
    while (!agree(warming) && warming.length < warmUps && warming.length * started < budgetMs / 2) {
      signal?.throwIfAborted()
      warming.push(await stopwatch(run, chained))
    }
    const wanted = Math.max(3, Math.min(samples, Math.floor(budgetMs / Math.max(warming.at(-1) as number, 1e-6))))
    pieces.push({ run, chained, samples: wanted, times: [] })
  }
  const rounds = Math.max(0, ...pieces.map((piece) => piece.samples))
  for (let round = 0; round < rounds; round++) {
    for (const piece of pieces) {
      signal?.throwIfAborted()
      if (piece.times.length < piece.samples)
        piece.times.push((await stopwatch(piece.run, piece.chained)) / piece.chained)
    }
    onProgress?.(round + 1, rounds)
  }
  return pieces.map(({ times, chained }) => ({ ...spreadOf(times), chained }))
}

function agree(times: readonly number[]): boolean {
  const last = times.slice(-3)
  return last.length === 3 && Math.max(...last) <= Math.min(...last) * (1 + agreement)
}

/** Median and quartiles, between neighbours where they fall between. */
export function spreadOf(times: readonly number[]): Omit<Timing, 'chained'> {
  const sorted = [...times].sort((a, b) => a - b)
  const at = (share: number): number => {
    const place = share * (sorted.length - 1)
    const below = Math.floor(place)
    return sorted[below] + (place - below) * (sorted[Math.ceil(place)] - sorted[below])
  }
  const [low, ms, high] = [at(0.25), at(0.5), at(0.75)]
  return { ms, low, high, samples: times.length, unsteady: high - low > 0.1 * ms }
}

/** The wall clock, less what an empty wait takes: what a caller waits for, the host's share included. */
export async function wallClockOf(device: Device): Promise<Stopwatch> {
  const wall: Stopwatch = async (run, times) => {
    const start = performance.now()
    for (let i = 0; i < times; i++) run()
    await device.flush()
    return performance.now() - start
  }
  const waits: number[] = []
  for (let i = 0; i < 9; i++) waits.push(await wall(() => {}, 0))
  // The shortest: beside other work the median may be longer than what is timed, of which too much would be taken off.
  const empty = Math.min(...waits)
  return async (run, times) => Math.max(1e-6, (await wall(run, times)) - empty)
}

/** The GPU's own clock where it has one, see `tensor/webgpu/timer.ts`; the wall clock on the CPU backend. */
export async function stopwatchOf(device: Device): Promise<Stopwatch> {
  if (device.backend.kind === 'cpu') return wallClockOf(device)
  const timer = new GPUTimer(device.backend as unknown as Timed)
  return async (run, times) => Math.max(1e-6, (await timer.sample(run, times)).ms * times)
}
