/**
 * Which of several kernels is fastest depends on the adapter and the shape in ways nobody predicts (llama.cpp found one
 * fixed tiling 20 % off on average and 2x off at worst), so it is measured: the ops of a piece of work are run with
 * every candidate in turn, by the GPU's clock where there is one. Their inputs are random (zeros draw less power, and
 * clocks rise), and weights come from memory, as in a network, for they rotate over more than a cache holds.
 */
import type { Backend, BackendStats, Recording, TuneOptions, View } from '../backend.ts'
import { bytesOf } from '../op.ts'
import type { RandomParams } from '../ops/random.ts'
import { purposes } from '../purposes.ts'
import { sizeOf } from '../shape.ts'
import type { Choice } from './launch.ts'
import { remember, type Winner } from '../remembered.ts'
import { GPUTimer, type Timed } from './timer.ts'

/** A backend with choices between kernels. */
export interface Tunable extends Timed, Pick<Backend, 'allocate' | 'free' | 'write' | 'run'> {
  record(f: () => void): Recording
  readonly choices: Map<string, string>
  readonly winners: Map<string, Winner>
  readonly stats: Readonly<BackendStats>
  /** Told of every choice that is asked for. */
  onChoice: ((choice: Choice) => void) | null
}

/** Samples of every candidate, then of the best third. */
const [firstRounds, lastRounds] = [3, 9]
/**
 * Whose first sample takes so many times as long as the fastest is measured no more. On an H100 half of the candidates
 * are such, and of the time of a round they take most.
 */
const hopeless = 2
/** A winner is this much faster than the usual kernel, or noise. */
const margin = 0.97
/** Weights rotate over more than the largest last-level caches of GPUs hold (50 MB on an H100). */
const rotated = 64 * 2 ** 20
/** At most so many copies: small weights stay in a cache in a network, too. */
const maxCopies = 64

/** Measures what `work` chooses between and has not been measured, and remembers it under `identity`. */
export async function tuneKernels(
  backend: Tunable,
  identity: string,
  work: () => void,
  { signal, onProgress }: TuneOptions,
): Promise<void> {
  signal?.throwIfAborted()
  const open = new Map<string, Choice>()
  backend.onChoice = (choice) => {
    if (choice.candidates.length > 1 && !backend.choices.has(choice.key)) open.set(choice.key, choice)
  }
  try {
    work()
  } finally {
    backend.onChoice = null
  }
  await backend.flush()
  const found: Record<string, Winner> = {}
  let done = 0
  onProgress?.(done, open.size)
  try {
    using timer = new GPUTimer(backend)
    for (const choice of open.values()) {
      const winner = { variant: await fastest(backend, timer, choice, signal), text: choice.text() }
      found[choice.key] = winner
      backend.choices.set(choice.key, winner.variant)
      backend.winners.set(choice.key, winner)
      done++
      onProgress?.(done, open.size)
    }
  } finally {
    if (done > 0) await remember(identity, { winners: found })
  }
}

async function fastest(backend: Tunable, timer: GPUTimer, choice: Choice, signal?: AbortSignal): Promise<string> {
  const { key, candidates, fallback, inputs, outputs, again } = choice
  const made: View[] = []
  const programs: Recording[] = []
  const scratch = (view: View): View => {
    const reason = (): string => `a scratch tensor for measuring ${key}`
    made.push({ shape: view.shape, dtype: view.dtype, storage: backend.allocate(bytesOf(view), reason) })
    return made[made.length - 1]
  }
  try {
    // The second input of whatever has a choice is its weights; attention has one input.
    const weights = inputs.at(1)
    const copies = weights ? Math.min(maxCopies, 1 + Math.ceil(rotated / bytesOf(weights))) : 1
    const given = inputs.map(scratch)
    const from = Array.from({ length: copies }, (_, i) =>
      weights && i > 0 ? given.map((view, k) => (k === 1 ? scratch(weights) : view)) : given,
    )
    fill(backend, made)
    const to = outputs.map(scratch)
    const run = (variant: string) => (i: number) => {
      backend.choices.set(key, variant)
      again(from[i % copies], to)
    }
    // All are compiled at once.
    for (const variant of candidates) run(variant)(0)
    await backend.flush()
    let repeats = await timer.repeatsFor(run(fallback))
    const replays = new Map<string, () => void>()
    if (timer.clock === 'wall') {
      // What the host takes to enqueue an op would hide short kernels: a run on all copies is recorded and replayed.
      for (const variant of candidates) {
        const program = backend.record(() => from.forEach((_, i) => run(variant)(i)))
        programs.push(program)
        replays.set(variant, () => program.replay())
      }
      repeats = await timer.repeatsFor(replays.get(fallback) as () => void)
    }
    return await race(candidates, fallback, async (variant) => {
      signal?.throwIfAborted()
      return (await timer.sample(replays.get(variant) ?? run(variant), repeats)).ms
    })
  } finally {
    for (const program of programs) program.dispose()
    backend.choices.delete(key)
    for (const { storage } of made) backend.free(storage)
  }
}

/** Random numbers, made where they are used. */
function fill(backend: Tunable, views: readonly View[]): void {
  const storage = backend.allocate(4, () => 'a scratch tensor for measuring kernels')
  backend.write(storage, new Uint32Array(1))
  for (const [draw, view] of views.entries()) {
    const shape = [sizeOf(view.shape)]
    const params: RandomParams = { seed: [1, 2], draw, purpose: purposes.trial, shape }
    const op = view.dtype === 'f32' ? 'randomNormal' : 'randomBits'
    backend.run(op, params, [{ storage, shape: [1], dtype: 'u32' }], [{ ...view, shape: [1, ...shape] }])
  }
  backend.free(storage)
}

/**
 * Successive halving: all candidates take turns in the first rounds, so that a neighbour's load meets all of them, but
 * for those that the first leaves far behind; the best third and the usual one in the last; who is first then, by the
 * median, must beat the usual by a margin.
 */
export async function race(
  candidates: readonly string[],
  usual: string,
  sample: (candidate: string) => Promise<number>,
): Promise<string> {
  const medians = async (running: readonly string[], rounds: number): Promise<[string, number][]> => {
    const times = running.map(() => [] as number[])
    let most = Infinity
    for (let round = 0; round < rounds; round++) {
      for (const [i, name] of running.entries()) if (!(times[i][0] > most)) times[i].push(await sample(name))
      if (round === 0) most = hopeless * Math.min(...times.map(([first]) => first))
    }
    const middle = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]
    return running.map((name, i): [string, number] => [name, middle(times[i])]).sort(([, a], [, b]) => a - b)
  }
  const first = (await medians(candidates, firstRounds)).map(([name]) => name)
  const best = first.slice(0, Math.ceil(candidates.length / 3))
  if (best.length === 1 && best[0] === usual) return usual
  const last = new Map(await medians([...new Set([usual, ...best])], lastRounds))
  const [[fastest, ms]] = last
  return ms < margin * (last.get(usual) as number) ? fastest : usual
}
