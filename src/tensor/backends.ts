/**
 * The backends that this program has. The code of each is loaded when a device of it is requested, not before: bundlers
 * make a chunk of it. Which there are is what the package's entry says, by importing `with-webgpu.ts` or `with-cpu.ts`:
 * `tweedie` and `tweedie/tensor` have both, `tweedie/webgpu` and `tweedie/cpu` one, and a bundle of theirs holds no kernel
 * of the other.
 */
import { TweedieError } from '../errors.ts'
import type { AdapterDescription, Backend } from './backend.ts'
import type { CPURequest } from './cpu/request.ts'
import type { GPURequest } from './webgpu/request.ts'

export interface Acquired {
  readonly backend: Backend
  readonly adapter: AdapterDescription
}

export const backends: {
  cpu?: { request(options: CPURequest): Promise<Acquired> }
  webgpu?: {
    /** The best hardware adapter, null where there is none. Asking for it loads no kernels. */
    hardwareAdapter(): Promise<GPUAdapter | null>
    /** `found`: an adapter that was asked for already. */
    request(options: GPURequest, found?: GPUAdapter): Promise<Acquired>
  }
} = {}

/** The code of a backend, once it is there. What a page finds no longer on its server, say after an update, is a typed error. */
export const code = <T>(name: 'cpu' | 'webgpu', loading: Promise<T>): Promise<T> => loading.catch((cause: unknown) => {
  throw new TweedieError(`${name}-unavailable`, `The code of the backend ${name} does not load (${cause instanceof Error ? cause.message : String(cause)}): load the page again.`, { cause })
})
