/**
 * Waits for `work`, but no longer than until `signal` aborts: rejects with its reason at once. What is on its way then
 * runs out, and nobody is told how it ended.
 */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  let stop = (): void => {}
  const aborted = new Promise<never>((_, reject) => (stop = () => reject(signal.reason as Error)))
  signal.addEventListener('abort', stop, { once: true })
  if (signal.aborted) stop()
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
    // If the work fails after an abort, the abort has been told of already.
    work.catch(() => {})
  }
}
