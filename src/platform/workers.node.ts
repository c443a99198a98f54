/** Node's worker threads. */
import { Worker } from 'node:worker_threads'
import type { WorkerHandle } from './workers.ts'

/** Whether workers can be started: always. */
export const hasWorkers = (_asked: boolean): boolean => true

/**
 * Starts a worker whose whole program is `source`; `died` hears of it if it ends without having been stopped. Node
 * needs no file for it: a page's `url` is not looked at.
 */
export function startWorker(
  source: string,
  _url: string | URL | undefined,
  index: number,
  died: (reason: string) => void,
): WorkerHandle {
  const worker = new Worker(source, { eval: true, name: `tweedie-${index}`, execArgv: [] })
  let stopped = false
  worker.on('error', (error) => stopped || died(`failed (${error.message})`))
  worker.on('exit', (code) => stopped || died(`ended (exit code ${code})`))
  return {
    post: (message, transfer = []) => worker.postMessage(message, transfer),
    receive: (listener) => void worker.on('message', listener),
    hold: (alive) => (alive ? worker.ref() : worker.unref()),
    stop() {
      stopped = true
      void worker.terminate()
    },
  }
}
