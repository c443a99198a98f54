/**
 * Getting a CPU backend: which SIMD the engine has, how much memory it may address, how many threads there can be.
 */
import { cores, freeMemory } from '#platform'
import { TweedieError } from '../../errors.ts'
import type { AdapterDescription, DeviceNeed } from '../backend.ts'
import { CPUBackend, initialPages } from './backend.ts'
import { plain, relaxed } from './generated/kernels.ts'
import { control as controlWords } from './protocol.ts'

export interface CPURequest {
  /**
   * Threads of the CPU backend, 1 to 64. Default: as many as the machine has cores. Without SharedArrayBuffer (in a page
   * that is not cross-origin isolated) it is one, whatever is asked for; results do not depend on it.
   */
  readonly threads?: number
  /**
   * Relaxed SIMD has a fused multiply-add: faster by up to a half, and the same to the bit only on CPUs of the same kind.
   * Default `'auto'`: relaxed where the engine has it (Node 22, Chrome 114).
   */
  readonly simd?: 'auto' | 'plain' | 'relaxed'
  /** Refuses with `limit-exceeded` or `out-of-memory` what cannot be held. */
  readonly need?: DeviceNeed
  readonly signal?: AbortSignal
}

const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))

/** The kernels' module, importing memory that is shared or not. */
function kernelModule(base64: string, shared: boolean): Uint8Array<ArrayBuffer> {
  const bytes = bytesOf(base64)
  if (shared) return bytes
  // The import reads: 6 "memory" 2 (a memory) and its limits' flags, 3 for shared with a maximum, 1 for a maximum only.
  const name = [6, ...'memory'].map((c) => (typeof c === 'number' ? c : c.charCodeAt(0)))
  const at = bytes.findIndex((_, i) => name.every((byte, j) => bytes[i + j] === byte) && bytes[i + 7] === 2)
  bytes[at + 8] = 1
  return bytes
}

/** A memory that threads share, as large as the system lets it become; null without SharedArrayBuffer. */
function sharedMemory(): { memory: WebAssembly.Memory; maximumPages: number } | null {
  if (typeof SharedArrayBuffer === 'undefined' || globalThis.crossOriginIsolated === false) return null
  // 4 GiB is all that WebAssembly addresses. It is only reserved, but some systems refuse even that.
  for (const maximumPages of [65536, 32768, 16384]) {
    try {
      return { memory: new WebAssembly.Memory({ initial: initialPages, maximum: maximumPages, shared: true }), maximumPages }
    } catch {
      // The next one is smaller.
    }
  }
  return null
}

export async function requestCPU({ threads, simd = 'auto', need, signal }: CPURequest): Promise<{ backend: CPUBackend; adapter: AdapterDescription }> {
  signal?.throwIfAborted()
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= 64)) {
    throw new TweedieError('option', `threads: expected a whole number from 1 to 64, found ${threads}.`)
  }
  const has = (base64: string): boolean => typeof WebAssembly === 'object' && WebAssembly.validate(bytesOf(base64))
  const isRelaxed = simd !== 'plain' && has(relaxed)
  if (!isRelaxed && simd === 'relaxed') throw new TweedieError('cpu-unavailable', "simd: 'relaxed' needs an engine with WebAssembly relaxed SIMD (Node 22, Chrome 114, or newer); use 'auto'.")
  if (!isRelaxed && !has(plain)) throw new TweedieError('cpu-unavailable', 'The CPU backend needs WebAssembly with SIMD and bulk memory: use Node 20 or newer, or a browser of 2023 or newer.')
  const common = sharedMemory()
  const maximumPages = common?.maximumPages ?? 65536
  const most = maximumPages * 65536
  if (need && need.bytes > most) throw new TweedieError('limit-exceeded', `The work needs ${mebibytes(need.bytes)}, but the CPU backend addresses ${mebibytes(most)}: use a smaller batch, or a GPU.`)
  const free = freeMemory()
  if (need && free !== null && need.bytes > free) throw new TweedieError('out-of-memory', `The work needs ${mebibytes(need.bytes)}, but ${mebibytes(free)} of memory are free on this machine: use a smaller batch or a smaller model.`)
  const count = common ? Math.min(threads ?? cores(), 64) : 1
  const backend = await CPUBackend.start({
    module: kernelModule(isRelaxed ? relaxed : plain, common !== null),
    threads: count,
    relaxed: isRelaxed,
    shared: common && { memory: common.memory, control: new Int32Array(new SharedArrayBuffer(controlWords.length * 4)) },
    maximumPages,
  })
  if (signal?.aborted) {
    backend.dispose()
    signal.throwIfAborted()
  }
  const name = `CPU, ${count} ${count === 1 ? 'thread' : 'threads'}, ${isRelaxed ? 'relaxed ' : ''}SIMD`
  const architecture = isRelaxed ? 'wasm-relaxed-simd' : 'wasm-simd'
  return { backend, adapter: { vendor: 'cpu', architecture, name, software: true, maxBufferBytes: most, maxBindingBytes: most } }
}
