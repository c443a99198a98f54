/** A browser's workers. */

/** A worker, whatever host it runs in. */
export interface WorkerHandle {
  post(message: unknown, transfer?: ArrayBuffer[]): void
  receive(listener: (message: unknown) => void): void
  /** Whether this worker keeps Node's process alive; a page lives on its own. */
  hold(alive: boolean): void
  stop(): void
}

/** Whether this scope may start workers: a service worker, where extensions compute, may not. */
export const hasWorkers = (): boolean => typeof Worker === 'function'

/**
 * Starts a worker whose whole program is `source`, or the file `url` that holds the same; `died` hears of it if it
 * fails.
 */
export function startWorker(
  source: string,
  url: string | URL | undefined,
  index: number,
  died: (reason: string) => void,
): WorkerHandle {
  const blob = url === undefined ? URL.createObjectURL(new Blob([source], { type: 'text/javascript' })) : ''
  const worker = new Worker(url ?? blob, { name: `tweedie-${index}` })
  worker.onerror = (event) => {
    event.preventDefault()
    // A content security policy that forbids the worker, or a file that is not there, says nothing here.
    died(`failed (${event.message ?? 'it was not allowed to start, or its file was not found'})`)
  }
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    receive(listener) {
      worker.onmessage = (event) => {
        URL.revokeObjectURL(blob)
        listener(event.data)
      }
    },
    hold: () => {},
    stop: () => worker.terminate(),
  }
}
