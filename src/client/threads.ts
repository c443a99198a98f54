import { workerOf, type WorkerStarter } from '../platform/workers.ts'

/** The page's side of the CPU backend's threads: it starts and ends them, and hears nothing of what they compute. */
export class PageThreads implements WorkerStarter {
  readonly #threads = new Map<number, { readonly worker: Worker; ended(why: string): void }>()
  #closed = false

  start(id: number, url: string, name: string, port: MessagePort): Promise<string> {
    return new Promise((ended) => {
      // The worker asked for it, and ended.
      if (this.#closed) return
      const worker = workerOf(url, name, ended)
      this.#threads.set(id, { worker, ended })
      // The threads' own program says everything over the port.
      worker.onmessage = () => ended("is another program than this version's")
      worker.postMessage(null, [port])
    })
  }

  stop(id: number): void {
    const thread = this.#threads.get(id)
    this.#threads.delete(id)
    thread?.worker.terminate()
    thread?.ended('was stopped')
  }

  /** Ends all threads; there will be no others. */
  close(): void {
    this.#closed = true
    for (const id of this.#threads.keys()) this.stop(id)
  }
}
