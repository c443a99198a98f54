/** A browser's workers. */

/** A worker, whatever host it runs in. */
export interface WorkerHandle {
  post(message: unknown, transfer?: ArrayBuffer[]): void
  receive(listener: (message: unknown) => void): void
  /** Whether this worker keeps Node's process alive; a page lives on its own. */
  hold(alive: boolean): void
  stop(): void
}

/** Starts a worker whose whole program is `source`; `died` hears of it if it fails. */
export function startWorker(source: string, index: number, died: (reason: string) => void): WorkerHandle {
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }))
  const worker = new Worker(url, { name: `tweedie-${index}` })
  worker.onerror = (event) => {
    event.preventDefault()
    // A content security policy that forbids the worker says nothing here.
    died(`failed (${event.message ?? 'it was not allowed to start'})`)
  }
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    receive(listener) {
      worker.onmessage = (event) => {
        URL.revokeObjectURL(url)
        listener(event.data)
      }
    },
    hold: () => {},
    stop: () => worker.terminate(),
  }
}
