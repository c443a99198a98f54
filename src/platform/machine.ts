/** What a browser says of the machine. */

/** Bytes of memory that are free on this machine; a browser does not tell. */
export function freeMemory(): number | null {
  return null
}

/** Threads that can run at once. */
export const cores = (): number => globalThis.navigator?.hardwareConcurrency ?? 1

/**
 * Bytes that one model of a page may take. Phones and tablets have no swap: they end a page that takes too much,
 * whatever its GPU's limits say. iOS does so at about 1.5 GB on phones of the last years; Android says no figure, and
 * its pages live on a share of the machine's memory. What a page needs for itself is left to it. A worker of an iPad
 * that calls itself a Macintosh cannot be told from one.
 */
export function memoryBudget(): number {
  const { userAgent = '', maxTouchPoints = 0, deviceMemory = 8 } = (globalThis.navigator ?? {}) as Partial<Machine>
  const apple = /iPhone|iPad|iPod/.test(userAgent) || (userAgent.includes('Macintosh') && maxTouchPoints > 1)
  if (!apple && !userAgent.includes('Android')) return Infinity
  return Math.min(1, deviceMemory / 4) * 2 ** 30
}

/** What browsers tell; `deviceMemory`, in GiB and of Chromium only, is not known to TypeScript. */
interface Machine extends Navigator {
  readonly deviceMemory: number
}
