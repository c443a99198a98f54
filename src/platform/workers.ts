/** A browser's workers. */

/** A worker, whatever host it runs in. */
export interface WorkerHandle {
  post(message: unknown, transfer?: ArrayBuffer[]): void
  receive(listener: (message: unknown) => void): void
  /** Whether this worker keeps Node's process alive; a page lives on its own. */
  hold(alive: boolean): void
  stop(): void
}

/** Another scope, which starts workers in place of this one. */
export interface WorkerStarter {
  /** Starts `id` from a script, whose first message brings it `port`, to speak over; resolves if it fails, with why. */
  start(id: number, url: string, name: string, port: MessagePort): Promise<string>
  stop(id: number): unknown
}

let starter: WorkerStarter | null = null
let started = 0

/**
 * From here on `other` starts the workers of this scope. Where that is a worker, its page should: Firefox now and then
 * stops a worker for ever in `new Worker` (docs/limits.md).
 */
export const startWorkersBy = (other: WorkerStarter): void => void (starter = other)

/**
 * Whether this scope may start workers: a service worker, where extensions compute, may not. A worker of Firefox may,
 * at the risk of stopping for ever: it does if workers were `asked` for.
 */
export const hasWorkers = (asked: boolean): boolean =>
  starter !== null || (typeof Worker === 'function' && (asked || !mayStop()))

/** Chromium's and Safari's user agents say "like Gecko", without a version. */
const mayStop = (): boolean =>
  'WorkerGlobalScope' in globalThis && /Gecko\/\d/.test(globalThis.navigator?.userAgent ?? '')

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
  const { end, stop } = (starter ? elsewhere(starter) : here)(String(url ?? blob), `tweedie-${index}`, died)
  return {
    post: (message, transfer = []) => end.postMessage(message, transfer),
    receive(listener) {
      end.onmessage = ({ data }) => {
        URL.revokeObjectURL(blob)
        listener(data)
      }
    },
    hold: () => {},
    stop,
  }
}

type Start = (url: string, name: string, died: (reason: string) => void) => { end: Worker | MessagePort; stop(): void }

const here: Start = (url, name, died) => {
  const worker = workerOf(url, name, died)
  return { end: worker, stop: () => worker.terminate() }
}

const elsewhere =
  (starter: WorkerStarter): Start =>
  (url, name, died) => {
    const { port1: end, port2 } = new MessageChannel()
    const id = ++started
    let stopped = false
    const failed = (reason: unknown): void => {
      if (!stopped) died(typeof reason === 'string' ? reason : `failed (${reason})`)
    }
    starter.start(id, url, name, port2).then(failed, failed)
    return {
      end,
      stop() {
        stopped = true
        end.close()
        starter.stop(id)
      },
    }
  }

/** A worker of this scope; `died` hears of it if it fails. */
export function workerOf(url: string, name: string, died: (reason: string) => void): Worker {
  const worker = new Worker(url, { name })
  worker.onerror = (event) => {
    event.preventDefault()
    // A content security policy that forbids the worker, or a file that is not there, says nothing here.
    died(`failed (${event.message ?? 'it was not allowed to start, or its file was not found'})`)
  }
  return worker
}
