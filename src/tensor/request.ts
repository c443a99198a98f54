/**
 * From a request to a backend. Here is what may be asked for, and which backend is taken for it; how a device is got,
 * and what it grants, is in `cpu/request.ts` and `webgpu/request.ts`.
 *
 * The code of a backend is loaded when a device of it is requested, not before: bundlers make a chunk of it. Which
 * backends a program has is what the package's entry says, by importing `with-webgpu.ts` or `with-cpu.ts`:
 * `tweedie` and `tweedie/tensor` have both, `tweedie/webgpu` and `tweedie/cpu` one, and a bundle of theirs holds no
 * kernel of the other.
 */
import { TweedieError } from '../errors.ts'
import type { AdapterDescription, Backend, DeviceNeed } from './backend.ts'
import type { Capabilities } from './webgpu/launch.ts'
import { maybeCPU, predict, reachOf } from './reach.ts'
import { refuseOther, refuseUnknown } from '../refuse.ts'

/** What may be asked of the CPU backend. */
export interface CPURequest {
  /**
   * Threads of the CPU backend, 0 to 64. Default: as many as the machine has cores. Without SharedArrayBuffer (in a
   * page that is not cross-origin isolated) it is one, whatever is asked for; results do not depend on it. 0 computes
   * on the calling thread, without a worker: a page freezes for every batch of kernels (some 50 ms to seconds), so that
   * this is for scopes of their own, and all there is where workers do not exist, as in an extension's service worker.
   * In a worker of Firefox it is the default, for a worker that starts others may stop there for ever (docs/limits.md).
   */
  readonly threads?: number
  /**
   * In a page: the address of the package's file `tweedie/cpu-worker`, from which threads start. Default: a `blob:`
   * URL, which some content security policies forbid (docs/csp.md). It must be of the page's origin. In a bundler:
   * `new URL('tweedie/cpu-worker', import.meta.url)`.
   */
  readonly workerUrl?: string | URL
  /**
   * Relaxed SIMD has a fused multiply-add: faster by up to a half, and the same to the bit only on CPUs of the same
   * kind. Default `'auto'`: relaxed where the engine has it (Node 22, Chrome 114).
   */
  readonly simd?: 'auto' | 'plain' | 'relaxed'
  /** Refuses with `limit-exceeded` or `out-of-memory` what cannot be held. */
  readonly need?: DeviceNeed
  readonly signal?: AbortSignal
}

/** What may be asked of the WebGPU backend. */
export interface GPURequest {
  /** Refuses with `limit-exceeded` or `out-of-memory` a device that cannot hold this. */
  readonly need?: DeviceNeed
  /** A device of the caller's: it is used, and never destroyed. */
  readonly gpuDevice?: GPUDevice
  /**
   * What kernels may use, where that shall be less than the device has: to test or to measure the branches that other
   * devices take. `software` may be said either way, for it only chooses. Default: all there is.
   */
  readonly capabilities?: Partial<Capabilities>
  readonly signal?: AbortSignal
}

const choices = ['webgpu', 'cpu', 'auto'] as const

/** What `Device.request` may be asked for. */
export interface DeviceRequest extends GPURequest, CPURequest {
  /**
   * Which backend computes. Default `'auto'`: a hardware GPU that can hold what is needed, where there is one, else the
   * CPU; where `need.work` says how much is computed, the one that is predicted to be faster, from what each reached
   * with two convolutions, which are timed once for an adapter (half a second) and remembered. A software adapter
   * (lavapipe, SwiftShader) is taken only for `'webgpu'`; it is slower than the CPU backend.
   */
  readonly backend?: (typeof choices)[number]
}

/** What a request gives. */
export interface Acquired {
  readonly backend: Backend
  readonly adapter: AdapterDescription
}

/** The backends that this program has. */
export const backends: {
  cpu?: { request(options: CPURequest): Promise<Acquired> }
  webgpu?: {
    /** The best hardware adapter, null where there is none. Asking for it loads no kernels. */
    hardwareAdapter(): Promise<GPUAdapter | null>
    /** `found`: an adapter that was asked for already. */
    request(options: GPURequest, found?: GPUAdapter): Promise<Acquired>
  }
} = {}

const requestOptions = {
  backend: true,
  need: true,
  gpuDevice: true,
  capabilities: true,
  signal: true,
  threads: true,
  workerUrl: true,
  simd: true,
} as const

/** What `Device.request` is made of; its errors are listed there. */
export async function requestBackend(options: DeviceRequest): Promise<Acquired> {
  refuseUnknown('Device.request', options, requestOptions)
  const { backend = options.gpuDevice ? 'webgpu' : 'auto', gpuDevice, signal } = options
  if (!choices.includes(backend))
    throw new TweedieError('option', `backend: expected ${choices.join(', ')}, found ${String(backend)}.`)
  if (options.simd !== undefined) refuseOther('simd', options.simd, ['auto', 'plain', 'relaxed'])
  if (gpuDevice && backend === 'cpu')
    throw new TweedieError('option', "backend: 'cpu' computes on no gpuDevice: give one of them.")
  if (options.capabilities && backend === 'cpu')
    throw new TweedieError('option', "backend: 'cpu' has no capabilities to choose from: they are WebGPU's.")
  const { cpu, webgpu } = backends
  if (gpuDevice || backend === 'webgpu') return existing(webgpu, 'webgpu').request(options)
  if (backend === 'cpu') return existing(cpu, 'cpu').request(options)
  signal?.throwIfAborted()
  if (!cpu) return existing(webgpu, 'webgpu').request(options)
  const gpu = await webgpu?.hardwareAdapter()
  if (!webgpu || !gpu) return cpu.request(options)
  let acquired: Acquired
  try {
    acquired = await webgpu.request(options, gpu)
  } catch (error) {
    signal?.throwIfAborted()
    // Too small, or it gives no device. What the CPU cannot do either is told of the GPU.
    return cpu.request(options).catch(() => Promise.reject(error))
  }
  return fasterOf(acquired, cpu, options)
}

/** The GPU that was acquired, or the CPU where that is predicted to do the work sooner. */
async function fasterOf(
  gpu: Acquired,
  cpu: NonNullable<typeof backends.cpu>,
  options: DeviceRequest,
): Promise<Acquired> {
  const work = options.need?.work
  if (!work) return gpu
  let other: Acquired | undefined
  let taken: Acquired | undefined
  try {
    // A GPU that cannot even be measured computes nothing.
    const reached = await reachOf(gpu.backend, gpu.backend.identity ?? gpu.adapter.name).catch(() => undefined)
    if (reached && !maybeCPU(work, reached, options.threads)) return (taken = gpu)
    // What does not fit into its memory, or has no workers here, is the GPU's.
    other = await cpu.request(options).catch(() => undefined)
    options.signal?.throwIfAborted()
    if (!other) return (taken = gpu)
    if (!reached) return (taken = other)
    const sooner = predict(work, await reachOf(other.backend, other.adapter.name)) < predict(work, reached)
    return (taken = sooner ? other : gpu)
  } finally {
    for (const { backend } of [gpu, ...(other ? [other] : [])]) if (backend !== taken?.backend) backend.dispose()
  }
}

function existing<T>(backend: T | undefined, name: 'webgpu' | 'cpu'): T {
  if (backend) return backend
  throw new TweedieError(
    `${name}-unavailable`,
    `This program was made without the backend ${name}: import tweedie, which has both, or tweedie/${name}.`,
  )
}
