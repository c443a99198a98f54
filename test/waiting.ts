/** Locks among tests, which wait for each other. */
import { setTimeout as wait } from 'node:timers/promises'
import { LockedError, takeLock, type Lock } from '../src/io/lock.node.ts'

/** The lock, when it is free. */
export async function waitForLock(path: string): Promise<Lock> {
  for (;;) {
    try {
      return await takeLock(path, 'a test')
    } catch (error) {
      if (!(error instanceof LockedError)) throw error
      await wait(100)
    }
  }
}
