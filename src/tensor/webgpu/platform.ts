/**
 * What a browser gives: WebGPU (`navigator.gpu`), workers, and a place for what was measured. `platform.node.ts` has the
 * same exports for Node; the package's `#platform` import chooses between them by the `node` condition.
 */
import { TweedieError } from '../../errors.ts'

/** Whether asking for a GPU can be worth it; that there is none may show only then. */
export const mayHaveGPU = (): boolean => (globalThis.navigator as Navigator | undefined)?.gpu !== undefined

/** The entry point of WebGPU. */
export async function requestGPU(): Promise<GPU> {
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu
  if (gpu) return gpu
  throw new TweedieError('webgpu-unavailable', globalThis.isSecureContext === false
    ? 'WebGPU needs a secure context, and this page is not one: serve it over https or from localhost.'
    : 'WebGPU is not available in this browser: use a current Chrome, Edge, Firefox or Safari, or enable WebGPU and hardware acceleration in its settings.')
}

/** What to do when {@link requestGPU} succeeded and its `requestAdapter` finds nothing. */
export const noAdapterHint: string = 'Enable hardware acceleration in the browser, or update the graphics driver.'

/** Every adapter the browser is willing to name; the same one may be there twice. */
export async function listAdapters(): Promise<GPUAdapter[]> {
  const gpu = await requestGPU()
  const requests: GPURequestAdapterOptions[] = [{ powerPreference: 'high-performance' }, { powerPreference: 'low-power' }, { forceFallbackAdapter: true }]
  const found: GPUAdapter[] = []
  for (const request of requests) {
    const adapter = await gpu.requestAdapter(request)
    if (adapter) found.push(adapter)
  }
  return found
}

/** Bytes of memory that are free on this machine; a browser does not tell. */
export function freeMemory(): number | null {
  return null
}

/** Awaits something the GPU will do. A browser waits without help; Node does not. */
export function waitFor<T>(promise: Promise<T>): Promise<T> {
  return promise
}

/** What {@link writeCache} left under `name`, null if nothing. A cache that cannot be read is an empty one. */
export async function readCache(name: string): Promise<string | null> {
  try {
    return globalThis.localStorage?.getItem(`tweedie/${name}`) ?? null
  } catch {
    return null
  }
}

/** Keeps `text` for later runs where the browser allows it. */
export async function writeCache(name: string, text: string): Promise<void> {
  try {
    globalThis.localStorage?.setItem(`tweedie/${name}`, text)
  } catch {
    // Private windows and full quotas refuse: the next run measures again.
  }
}

export interface WorkerHandle {
  post(message: unknown, transfer?: ArrayBuffer[]): void
  receive(listener: (message: unknown) => void): void
  /** Whether this worker keeps the process alive; a page lives on its own. */
  hold(alive: boolean): void
  stop(): void
}

/** Threads that can run at once. */
export const cores = (): number => globalThis.navigator?.hardwareConcurrency ?? 1

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
