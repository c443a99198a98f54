import { readCache, writeCache } from '#platform'
import type { AdapterDescription, Backend, TuneOptions, View } from '../backend.ts'
import { bytesOf } from '../op.ts'
import type { Choice } from './launch.ts'

/** Goes up when a kernel changes, so that what was measured with the old one is forgotten. */
const cacheName = 'kernels-1.json'

/** A backend with choices between kernels. */
interface Tunable extends Pick<Backend, 'allocate' | 'free' | 'flush'> {
  readonly choices: Map<string, string>
  /** Told of every choice that is asked for. */
  onChoice: ((choice: Choice) => void) | null
}

type Remembered = { [adapter: string]: { [key: string]: string } }

const nameOf = ({ vendor, architecture, name }: AdapterDescription): string => [vendor, architecture, name].join(' | ')

async function remembered(): Promise<Remembered> {
  try {
    const parsed: unknown = JSON.parse((await readCache(cacheName)) ?? '{}')
    return parsed !== null && typeof parsed === 'object' ? (parsed as Remembered) : {}
  } catch {
    return {}
  }
}

/** Puts what earlier runs found on this adapter into `choices`. */
export async function recallChoices(choices: Map<string, string>, adapter: AdapterDescription): Promise<void> {
  for (const [key, variant] of Object.entries((await remembered())[nameOf(adapter)] ?? {}))
    if (typeof variant === 'string') choices.set(key, variant)
}

/** Rounds of measurement; the candidates take turns within each, so that a neighbour's load meets all of them. */
const rounds = 5
/** One measurement repeats the op until it takes about this long: WebGPU's own wait is 0.1 to 1 ms. */
const targetMs = 4
const maxRepeats = 32
/** A candidate this many times slower than the fastest in the first round is out. */
const hopeless = 3

/**
 * Which of several kernels is fastest depends on the adapter and the shape in ways nobody predicts (llama.cpp found one
 * fixed tiling 20 % off on average and 2x off at worst), so it is measured: the ops of a piece of work are run with
 * every candidate in turn, on scratch tensors of the same shapes, and the fastest is remembered for the adapter.
 */
export async function tuneKernels(
  backend: Tunable,
  adapter: AdapterDescription,
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
  let done = 0
  onProgress?.(done, open.size)
  try {
    for (const choice of open.values()) {
      backend.choices.set(choice.key, await fastest(backend, choice, signal))
      onProgress?.(++done, open.size)
    }
  } finally {
    if (done > 0) {
      const all = await remembered()
      all[nameOf(adapter)] = { ...all[nameOf(adapter)], ...Object.fromEntries(backend.choices) }
      await writeCache(cacheName, JSON.stringify(all))
    }
  }
}

async function fastest(
  backend: Tunable,
  { key, candidates, inputs, outputs, again }: Choice,
  signal?: AbortSignal,
): Promise<string> {
  const scratch = (view: View): View => ({
    shape: view.shape,
    dtype: view.dtype,
    storage: backend.allocate(bytesOf(view), () => `a scratch tensor for measuring ${key}`),
  })
  const from = inputs.map(scratch)
  const to = outputs.map(scratch)
  const times = new Map<string, number[]>(candidates.map((name) => [name, []]))
  const measure = async (name: string, repeats: number): Promise<number> => {
    signal?.throwIfAborted()
    backend.choices.set(key, name)
    const start = performance.now()
    for (let i = 0; i < repeats; i++) again(from, to)
    await backend.flush()
    return (performance.now() - start) / repeats
  }
  try {
    let running = [...candidates]
    // Once to compile, once to see how long it takes.
    const first = new Map<string, number>()
    for (const name of running) {
      await measure(name, 1)
      first.set(name, await measure(name, 1))
    }
    const best = Math.min(...first.values())
    running = running.filter((name) => (first.get(name) as number) <= hopeless * best)
    const repeats = Math.max(1, Math.min(maxRepeats, Math.round(targetMs / best)))
    for (let round = 0; round < rounds && running.length > 1; round++) {
      for (const name of running) times.get(name)?.push(await measure(name, repeats))
    }
    const median = (name: string): number => (times.get(name) as number[]).sort((a, b) => a - b)[Math.floor(rounds / 2)]
    return running.length === 1 ? running[0] : running.reduce((a, b) => (median(b) < median(a) ? b : a))
  } catch (error) {
    backend.choices.delete(key)
    throw error
  } finally {
    for (const { storage } of [...from, ...to]) backend.free(storage)
  }
}
