import type { SampleStep } from '../diffusion/index.ts'
import type { Drawing, FinishedStep } from './drawing.ts'
import type { Life } from './life.ts'
import type { Loaded } from './load.ts'

/** A step, all that is wanted of it on the host. */
export interface SteadyStep<T> extends FinishedStep {
  /** Steps in all. */
  readonly total: number
  /** What was looked at. */
  readonly seen: T
  /** How often the device was lost since the step before. */
  readonly lost: number
}

/** How a batch is drawn. */
export interface Steady<T> {
  /** Begins on what is loaded, after a step if one was finished. */
  readonly begin: (loaded: Loaded, from: FinishedStep | null) => Drawing
  /** Reads what is wanted of a step beside its x. */
  readonly look: (loaded: Loaded, step: SampleStep, x: Float32Array<ArrayBuffer>) => Promise<T>
  readonly signal: AbortSignal | undefined
}

/**
 * The steps of one batch, which goes on after its last finished step where the device is lost in it. A step is finished
 * when its x is on the host: 0.4 MB for 8 pictures of 64 x 64, read in the wait that there is anyway. Noise is drawn by
 * counters, and so the pictures are those of an undisturbed run, to the bit.
 */
export async function* steadySteps<T>(
  life: Life,
  { begin, look, signal }: Steady<T>,
): AsyncGenerator<SteadyStep<T>, void, void> {
  let from: FinishedStep | null = null
  for (let losses = 0; ; ) {
    const loaded: Loaded = await life.current('sample', signal)
    try {
      const { total, steps } = begin(loaded, from)
      for await (const step of steps) {
        const { done } = step
        const x = await step.x.read()
        const seen = await look(loaded, step, x)
        from = { done, x }
        const lost = losses
        losses = 0
        yield { done, x, total, seen, lost }
        life.check('sample')
      }
      return
    } catch (error) {
      await life.afterFailure(loaded, error, ++losses)
    }
  }
}
