/** What a browser says of the machine. */

/** Bytes of memory that are free on this machine; a browser does not tell. */
export function freeMemory(): number | null {
  return null
}

/** Threads that can run at once. */
export const cores = (): number => globalThis.navigator?.hardwareConcurrency ?? 1
