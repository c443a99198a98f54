/** What Node says of the machine. */
import { availableParallelism } from 'node:os'

/** Bytes of memory that are free on this machine, or to this container. */
export function freeMemory(): number | null {
  return process.availableMemory()
}

/** Threads that can run at once. */
export const cores = (): number => availableParallelism()

/** Bytes that one model may take: what the machine has is asked when a device is requested. */
export const memoryBudget = (): number => Infinity
