/** WebGPU in a browser: `navigator.gpu`. */
import { TweedieError } from '../errors.ts'

/** Whether asking for a GPU can be worth it; that there is none may show only then. */
export const mayHaveGPU = (): boolean => (globalThis.navigator as Navigator | undefined)?.gpu !== undefined

/** The entry point of WebGPU. */
export async function requestGPU(): Promise<GPU> {
  const gpu = (globalThis.navigator as Navigator | undefined)?.gpu
  if (gpu) return gpu
  throw new TweedieError(
    'webgpu-unavailable',
    globalThis.isSecureContext === false
      ? 'WebGPU needs a secure context, and this page is not one: serve it over https or from localhost.'
      : 'WebGPU is not available in this browser: use a current Chrome, Edge, Firefox or Safari, or enable ' +
          'WebGPU and hardware acceleration in its settings.',
  )
}

/** What to do when {@link requestGPU} succeeded and its `requestAdapter` finds nothing. */
export const noAdapterHint: string = 'Enable hardware acceleration in the browser, or update the graphics driver.'

/** Every adapter the browser is willing to name; the same one may be there twice. */
export async function listAdapters(): Promise<GPUAdapter[]> {
  const gpu = await requestGPU()
  const requests: GPURequestAdapterOptions[] = [
    { powerPreference: 'high-performance' },
    { powerPreference: 'low-power' },
    { forceFallbackAdapter: true },
  ]
  const found: GPUAdapter[] = []
  for (const request of requests) {
    const adapter = await gpu.requestAdapter(request)
    if (adapter) found.push(adapter)
  }
  return found
}

/**
 * Awaits something the GPU will do; Node waits otherwise. Firefox looks every 100 ms whether commands have finished
 * (bugzilla 1870699), and whenever some are submitted: there `nudge`, which submits none, is called every 4 ms, the
 * least that timers do.
 */
export async function waitFor<T>(promise: Promise<T>, nudge?: () => void): Promise<T> {
  if (!nudge || !/\bFirefox\//.test(globalThis.navigator?.userAgent ?? '')) return promise
  const timer = setInterval(nudge, 4)
  try {
    return await promise
  } finally {
    clearInterval(timer)
  }
}

/**
 * How long a submission should take, in milliseconds, as far as that can be told. Here the GPU draws the page as well,
 * and draws nothing meanwhile: as long as a frame.
 */
export const submissionMs = (): number => 12

/** How the backend waits. */
export type WaitFor = typeof waitFor

/** Which program gives WebGPU here, to what of its version changes how fast kernels are: `Chrome/150`. */
export const gpuHost = (): string => {
  const { userAgent = '' } = (globalThis.navigator as Navigator | undefined) ?? {}
  return /\b(Edg|Chrome|Firefox|Version|Deno|Electron)\/\d+/.exec(userAgent)?.[0] ?? userAgent
}
