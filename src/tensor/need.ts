/** Whether there is memory for a job, said the same way by both backends. */
import { freeMemory } from '#platform'
import { TweedieError } from '../errors.ts'

export const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

/** Throws `out-of-memory` if this machine tells how much memory is free and it is less than `bytes`. */
export function checkFreeMemory(bytes: number): void {
  const free = freeMemory()
  if (free !== null && bytes > free) {
    throw new TweedieError('out-of-memory', `The work needs ${mebibytes(bytes)}, but ${mebibytes(free)} of memory are free on this machine: use a smaller batch or a smaller model.`)
  }
}
