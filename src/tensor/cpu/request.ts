import { cores, hasWorkers } from '#platform'
import { chunk } from '../../chunk.ts'
import { TweedieError } from '../../errors.ts'
import type { AdapterDescription } from '../backend.ts'
import { checkFreeMemory, mebibytes } from '../need.ts'
import type { CPURequest } from '../request.ts'
import { CPUBackend, initialPages } from './backend.ts'
import { kernelsModule } from './module.ts'
import { closed, control as controlWords } from './protocol.ts'

/** The kernels' module for this engine, importing memory that is shared or not. */
async function chooseModule(
  simd: 'auto' | 'plain' | 'relaxed',
  shared: boolean,
): Promise<{ module: Uint8Array<ArrayBuffer>; isRelaxed: boolean }> {
  if (typeof WebAssembly !== 'object' || typeof DecompressionStream !== 'function') throw tooOld()
  const relaxed = await kernelsModule()
  if (!shared) {
    // The import reads: 6 "memory" 2 (a memory) and its limits' flags, 3 for shared with a maximum, 1 for a maximum
    // only.
    const name = [6, ...'memory'].map((c) => (typeof c === 'number' ? c : c.charCodeAt(0)))
    const at = relaxed.findIndex((_, i) => name.every((byte, j) => relaxed[i + j] === byte) && relaxed[i + 7] === 2)
    relaxed[at + 8] = 1
  }
  const has = (module: Uint8Array<ArrayBuffer>): boolean => WebAssembly.validate(module)
  if (simd !== 'plain' && has(relaxed)) return { module: relaxed, isRelaxed: true }
  if (simd === 'relaxed')
    throw new TweedieError(
      'cpu-unavailable',
      "simd: 'relaxed' needs an engine with WebAssembly relaxed SIMD (Node 22, Chrome 114, or newer); use 'auto'.",
    )
  const { toPlainSimd } = await chunk('cpu-unavailable', 'for engines without relaxed SIMD', import('./plain-simd.ts'))
  const plain = toPlainSimd(relaxed)
  if (has(plain)) return { module: plain, isRelaxed: false }
  throw tooOld()
}

const tooOld = (): TweedieError =>
  new TweedieError(
    'cpu-unavailable',
    'The CPU backend needs WebAssembly with SIMD and bulk memory: use Node 20 or newer, or a browser of 2023 or newer.',
  )

/** What threads share, a memory as large as the system lets it become among it; null without SharedArrayBuffer. */
function sharedMemory(): { memory: WebAssembly.Memory; control: Int32Array; maximumPages: number } | null {
  if (typeof SharedArrayBuffer === 'undefined' || globalThis.crossOriginIsolated === false) return null
  const control = new Int32Array(new SharedArrayBuffer(controlWords.length * 4))
  // A helper may be ready before there is a job.
  control[controlWords.ticket] = closed
  // 4 GiB is all that WebAssembly addresses. It is only reserved, but some systems refuse even that.
  for (const maximumPages of [65536, 32768, 16384]) {
    try {
      return {
        memory: new WebAssembly.Memory({ initial: initialPages, maximum: maximumPages, shared: true }),
        control,
        maximumPages,
      }
    } catch {
      // The next one is smaller.
    }
  }
  return null
}

function checkNeed(bytes: number, most: number): void {
  if (bytes > most) {
    throw new TweedieError(
      'limit-exceeded',
      `The work needs ${mebibytes(bytes)}, but the CPU backend addresses ${mebibytes(most)}: use ` +
        'a smaller batch, or a GPU.',
    )
  }
  checkFreeMemory(bytes)
}

/**
 * Getting a CPU backend: which SIMD the engine has, how much memory it may address, how many threads there can be.
 */
export async function requestCPU({
  threads,
  workerUrl,
  simd = 'auto',
  need,
  signal,
}: CPURequest): Promise<{ backend: CPUBackend; adapter: AdapterDescription }> {
  signal?.throwIfAborted()
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 0 && threads <= 64)) {
    throw new TweedieError('option', `threads: expected a whole number from 0 to 64, found ${threads}.`)
  }
  const here = threads === 0 || !hasWorkers(threads !== undefined)
  const common = here ? null : sharedMemory()
  const { module, isRelaxed } = await chooseModule(simd, common !== null)
  const maximumPages = common?.maximumPages ?? 65536
  const most = maximumPages * 65536
  if (need) checkNeed(need.bytes, most)
  const count = here ? 0 : common ? Math.min(threads ?? cores(), 64) : 1
  const backend = await CPUBackend.start({
    module,
    threads: count,
    workerUrl,
    relaxed: isRelaxed,
    shared: common,
    maximumPages,
  })
  if (signal?.aborted) {
    backend.dispose()
    signal.throwIfAborted()
  }
  const threadsName = count === 1 ? '1 thread' : `${count || 'no'} threads`
  const name = `CPU, ${threadsName}, ${isRelaxed ? 'relaxed ' : ''}SIMD`
  const architecture = isRelaxed ? 'wasm-relaxed-simd' : 'wasm-simd'
  return {
    backend,
    adapter: { vendor: 'cpu', architecture, name, software: true, maxBufferBytes: most, maxBindingBytes: most },
  }
}
