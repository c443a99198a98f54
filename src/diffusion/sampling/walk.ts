/**
 * The loop of all samplers. Where every part of a step may be replayed (`Replayable`), a step of each kind is recorded
 * once, and the next one is enqueued before this one is awaited: the host is never what a GPU waits for. Elsewhere the
 * step's functions are called every time, and see of each step what the one before came to.
 */
import { orAborted } from '../../abort.ts'
import { cast, type Device, type Live, type Program, type Tensor } from '../../tensor/index.ts'
import type { SampleStep } from './sample-options.ts'

/** What a step makes, enqueued: the next state, and what is shown of it. */
export type Made = Omit<SampleStep, 't' | 'done' | 'total' | 'x'> & { readonly next: Tensor }

/** What is walked. */
export interface Walk {
  readonly device: Device
  /** Overwritten by every step, and in the end freed. */
  readonly state: Tensor
  /** Respaced, in the order of the walk. */
  readonly indices: readonly number[]
  /** Enqueues the step from `state` at `t`: a function only where it is replayable. */
  readonly step: (t: Live<number>, guided: boolean) => Made
  /** Whether the step at `t` is one with self-guidance, whose ops are others. */
  readonly guided: (t: number) => boolean
  readonly replayable: boolean
  readonly signal: AbortSignal | undefined
}

/** A step on its way. */
interface Enqueued {
  readonly t: number
  readonly shown: Omit<SampleStep, 't' | 'done' | 'total'>
  /** The tensors of it that are the step's own. */
  readonly own: readonly Tensor[]
  readonly computed: Promise<void>
}

/** Steps that are enqueued at most where they are replayed: the one that is awaited, and the next. */
const depth = 2

/** Takes one step after another. What is shown of a step lives until the loop goes on. */
export async function* walk(w: Walk): AsyncGenerator<SampleStep, void, void> {
  const { device, state, indices, signal } = w
  const replays = w.replayable && device.replays
  const programs = new Map<boolean, Program<Made>>()
  const enqueue = (t: number): Enqueued => {
    const { x = state, ...rest } = device.scope(() => (replays ? replayed(w, programs, t) : called(w, t)))
    const own = Object.values({ ...rest, ...(replays && { x }) })
    for (const tensor of own) device.keep(tensor)
    const computed = device.flush()
    // It may never be awaited: after an abort, or when an earlier step fails.
    computed.catch(() => {})
    return { t, shown: { x, ...rest }, own, computed }
  }
  const free = ({ own }: Enqueued): void => own.forEach((tensor) => tensor.dispose())
  let ahead: Enqueued[] = []
  try {
    for (let done = 1; done <= indices.length; done++) {
      while (ahead.length < (replays ? depth : 1) && done + ahead.length <= indices.length)
        ahead.push(enqueue(indices[done - 1 + ahead.length]))
      const step = ahead.shift() as Enqueued
      const { t, shown, computed } = step
      const { storage } = shown.x
      const { version } = storage
      try {
        // A step, or the compilation before the first, can take minutes on a software adapter.
        await orAborted(computed, signal)
        yield { t, done, total: indices.length, ...shown }
        if (storage.version !== version && shown.x !== state && !shown.x.disposed) {
          // Whoever overwrote x means to go on from there: not from where the next steps did.
          state.assign(shown.x)
          ahead.forEach(free)
          ahead = []
        }
      } finally {
        free(step)
      }
      signal?.throwIfAborted()
    }
  } finally {
    ahead.forEach(free)
    for (const program of programs.values()) program.dispose()
    state.dispose()
  }
}

/** A step by its functions; `x` is the state itself. */
function called({ state, step, guided }: Walk, t: number): Omit<Made, 'next'> & { readonly x?: Tensor } {
  const { next, ...rest } = step(t, guided(t))
  // Copied into the state's own memory, so that every step finds the pool as the one before it did.
  state.assign(next)
  return rest
}

/** A step by the program of its kind; copies of what it made, which the next replay overwrites. */
function replayed(
  { device, state, step, guided }: Walk,
  programs: Map<boolean, Program<Made>>,
  t: number,
): Omit<Made, 'next'> & { readonly x?: Tensor } {
  const kind = guided(t)
  const known = programs.get(kind)
  const program =
    known ??
    device.record((at) => {
      const made = step(at, kind)
      state.assign(made.next)
      return made
    }, t)
  if (!known) programs.set(kind, program)
  const { next, predXStart, metric, push } = known ? program.replay(t) : program.result
  const copy = (tensor: Tensor): Tensor => cast(tensor, 'f32')
  return {
    x: copy(next),
    predXStart: copy(predXStart),
    ...(metric && { metric: copy(metric) }),
    ...(push && { push: copy(push) }),
  }
}
