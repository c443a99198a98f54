import type { SearchOptions } from './nearest.ts'

/** Milliseconds of work on the host between two looks at the signal. */
const between = 30

/**
 * For loops on the host: a function to be called often with how much is done, 0 to 1. Some 30 times a second it
 * reports, lets other events run, and throws the signal's reason once it is aborted. It gives undefined where there is
 * nothing to wait for, so that `const wait = pace(done); if (wait) await wait` costs next to nothing.
 */
export function pacer({ signal, onProgress }: SearchOptions): (done: number) => Promise<void> | undefined {
  signal?.throwIfAborted()
  let next = performance.now() + between
  return (done) => {
    if (performance.now() < next) return undefined
    onProgress?.(done)
    return new Promise((resolve) => setTimeout(resolve)).then(() => {
      signal?.throwIfAborted()
      next = performance.now() + between
    })
  }
}
