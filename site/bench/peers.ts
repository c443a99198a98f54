/**
 * Other libraries at the same op and the same numbers. Each is loaded from a CDN when it is asked for, and no other
 * time; none is part of Tweedie. Its result is held against the same sums in double precision as ours before anything
 * is timed. All are timed by the wall clock, ours beside them too: so many calls in a row, and a wait for the last.
 */
import {
  errorAt,
  places,
  timeRuns,
  type FailedRow,
  type KernelCase,
  type KernelRow,
  type Timing,
} from '../../dist/bench/index.js'
import type { Device, Tensor } from 'tweedie/tensor'
import { peers, type PeerName } from './state.ts'

/** An op of a peer, ready to be run. */
export interface Prepared {
  /** Enqueues it, or does it. */
  run(): unknown
  /** Until all that was enqueued is done. */
  wait(): Promise<unknown>
  /** The result of a run, as [n, c, h, w] or as our op has it. */
  read(): Promise<Float32Array>
  dispose(): void
}

/** A peer that was loaded. Null: it has no such op, or not at this shape. */
export type Prepare = (one: KernelCase) => Promise<Prepared | null>

export interface Peer {
  /** With its version, as rows call it. */
  readonly name: string
  load(backend: 'webgpu' | 'cpu'): Promise<Prepare>
}

const cdn = 'https://cdn.jsdelivr.net/npm/'
const sources: Readonly<Record<PeerName, () => Promise<{ readonly peer: (cdn: string) => Peer }>>> = {
  ort: () => import('./peers/ort.ts'),
  tfjs: () => import('./peers/tfjs.ts'),
  litert: () => import('./peers/litert.ts'),
  jax: () => import('./peers/jax.ts'),
}

/** By peer and backend, once a worker: what failed to load is not asked for again. */
const loaded = new Map<string, Promise<{ readonly name: string; readonly prepare: Prepare | Error }>>()

function load(
  which: PeerName,
  backend: 'webgpu' | 'cpu',
): Promise<{ readonly name: string; readonly prepare: Prepare | Error }> {
  const key = `${which} ${backend}`
  const before = loaded.get(key)
  if (before) return before
  const coming = sources[which]().then(
    async ({ peer }) => {
      const { name, load } = peer(cdn)
      return { name, prepare: await load(backend).catch(asError) }
    },
    // What it is written with here is loaded on demand, too.
    (error: unknown) => ({ name: peers[which], prepare: asError(error) }),
  )
  loaded.set(key, coming)
  return coming
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(String(error)))

interface Options {
  readonly budgetMs: number
  readonly samples: number
  readonly signal: AbortSignal
}

/** A row for each of `which`, and one for ours: measured, or why not. */
export async function measurePeers(
  device: Device,
  group: string,
  one: KernelCase,
  which: readonly PeerName[],
  options: Options,
): Promise<(KernelRow | FailedRow)[]> {
  const { op, shape, exact, tolerance, inputs, output } = one
  const failed: FailedRow[] = []
  const ready: { readonly variant: string; readonly error: number; readonly prepared: Prepared }[] = []
  const add = async (name: string, prepare: Prepare | Error): Promise<void> => {
    const variant = `${name}, wall clock`
    const refuse = (message: string): void => void failed.push({ kind: 'failed', group, op, shape, variant, message })
    if (prepare instanceof Error) return refuse(`did not load: ${prepare.message}`)
    let prepared: Prepared | null = null
    try {
      options.signal.throwIfAborted()
      prepared = await prepare(one)
      if (!prepared) return refuse('has no such op, or not at this shape')
      const result = await prepared.read()
      const error = result.length === size(output) ? errorAt(result, places(result.length), exact) : Infinity
      // Others may sum in another order; what is a hundred times further off computes something else.
      if (!(error <= 100 * tolerance)) {
        prepared.dispose()
        return refuse(`its result is ${error.toExponential(0)} off: not timed`)
      }
      ready.push({ variant, error, prepared })
    } catch (error) {
      prepared?.dispose()
      options.signal.throwIfAborted()
      refuse(asError(error).message)
    }
  }
  try {
    await add('Tweedie', ours(device))
    for (const name of which) {
      const { name: called, prepare } = await load(name, device.backend.kind)
      await add(called, prepare)
    }
    const runs = ready.map(
      ({ prepared }): (() => void) =>
        () =>
          void prepared.run(),
    )
    const clock = async (run: () => void, times: number): Promise<number> => {
      const { prepared } = ready[runs.indexOf(run)]
      const start = performance.now()
      for (let i = 0; i < times; i++) {
        const running = prepared.run()
        // Some have to be awaited each time, by their own API.
        if (running instanceof Promise) await running
      }
      await prepared.wait()
      return Math.max(1e-3, performance.now() - start)
    }
    const times: readonly Timing[] = await timeRuns(runs, clock, options)
    const bytes = 4 * (inputs.reduce((sum, { data }) => sum + data.length, 0) + size(output))
    const rows = ready.map(({ variant, error }, i): KernelRow => {
      const work = { flops: flopsOf(one), bytes, dispatches: 0, hostMs: 0, error, right: true }
      const plain = { choice: null, isDefault: false, isTuned: false, isBest: false, recorded: false }
      return { kind: 'kernel', group, op, shape, variant, ...plain, ...work, ...times[i] }
    })
    return [...rows, ...failed]
  } finally {
    for (const { prepared } of ready) prepared.dispose()
  }
}

const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

/** Multiply-adds counted as two, as our launches count them; 0 where an op is not about them. */
function flopsOf({ as, sizes: { n, cin, cout, h, w, m, k, heads, d, t } }: KernelCase): number {
  const side = Number(/^conv2d-(\d)/.exec(as)?.[1])
  if (side) return 2 * n * cin * cout * h * w * side * side
  if (as === 'matmul') return 2 * m * n * k
  return as === 'attention' ? 4 * n * heads * d * t * t : 0
}

const ours =
  (device: Device): Prepare =>
  async ({ inputs, run }) => {
    const tensors = inputs.map(({ data, shape }) => device.tensor(data, shape))
    const compute = (): Tensor => device.scope(() => run(tensors))
    return {
      run: () => compute().dispose(),
      wait: () => device.flush(),
      async read() {
        using out = compute()
        return await out.read()
      },
      dispose: () => tensors.forEach((one) => one.dispose()),
    }
  }
