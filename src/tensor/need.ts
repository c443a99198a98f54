/** Whether there is memory for a job, said the same way by both backends. */
import { freeMemory } from '#platform'
import { TweedieError } from '../errors.ts'
import type { BackendStats } from './backend.ts'

export const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

/** What an error of memory that ran out says: what is alive, which may be more than anybody meant, and what to do. */
export const memoryAdvice = ({ liveBuffers, liveBytes }: Pick<BackendStats, 'liveBuffers' | 'liveBytes'>): string =>
  `${liveBuffers} tensor${liveBuffers === 1 ? '' : 's'} of ${mebibytes(liveBytes)} in all ` +
  `${liveBuffers === 1 ? 'is' : 'are'} alive. What is made in device.scope(() => …) is freed at its end, ` +
  'anything else by dispose(); if all of it is needed, use a smaller batch'

/** Throws `out-of-memory` if this machine tells how much memory is free and it is less than `bytes`. */
export function checkFreeMemory(bytes: number): void {
  const free = freeMemory()
  if (free !== null && bytes > free) {
    throw new TweedieError(
      'out-of-memory',
      `The work needs ${mebibytes(bytes)}, but ${mebibytes(free)} of memory are free on this machine: use a ` +
        'smaller batch or a smaller model.',
    )
  }
}
