/**
 * WebGPU in Node: the host's own, or Dawn's bindings, the optional peer `webgpu`.
 *
 * Two habits of Dawn 0.6 are dealt with here, both found by experiment.
 * - Its devices crash the process when the object that `create()` returned is collected before them, even after
 *   `device.destroy()`. So there is one such object a process and it is never let go. It does not keep Node from
 *   exiting: only pending promises (a map, a compilation, a submission someone waits for) do.
 * - While such a promise is pending it polls with `setImmediate`, so the JavaScript thread burns a whole core, which a
 *   software adapter needs itself. {@link waitFor} sleeps between the polls.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { messageOf, TweedieError } from '../errors.ts'
import { nearestName } from '../suggest.ts'
import { gpuHost as hostName, listAdapters as hostAdapters, submissionMs as hostMs } from './gpu.ts'

interface Dawn {
  create(options: string[]): GPU
  globals: object
}

/** The host's own WebGPU, as Deno and Electron have one. It is taken first: npm's `webgpu` beside it can end Deno. */
const hostGPU = (): GPU | undefined => (globalThis.navigator as Navigator | undefined)?.gpu

// On globalThis and not in this module, which a test runner may load twice or unload while a device lives.
const registry = globalThis as { [key: symbol]: Map<string, GPU> | undefined }
const registryKey = Symbol.for('tweedie.dawn')

/**
 * Whether asking for a GPU can be worth it. On Linux a GPU has a device file; without one Dawn is not loaded, which
 * would cost 100 ms and 60 MB to find lavapipe, and print warnings that nobody can turn off.
 */
export function mayHaveGPU(): boolean {
  if (hostGPU()) return true
  if (process.platform !== 'linux') return true
  const names = (folder: string): string[] => {
    try {
      return readdirSync(folder)
    } catch {
      return []
    }
  }
  // Mesa's drivers, NVIDIA's, WSL's, Arm's and Qualcomm's.
  return [...names('/dev'), ...names('/dev/dri')].some((name) => /^(renderD|nvidia\d|dxg$|mali|kgsl)/.test(name))
}

/**
 * The entry point of WebGPU: the host's own, else Dawn's with the best adapter of the machine: hardware, then
 * lavapipe, then SwiftShader.
 */
export async function requestGPU(): Promise<GPU> {
  const own = hostGPU()
  if (own) return own
  const dawn = await loadDawn()
  const options = dawnOptions()
  const gpu = instance(dawn)
  let adapter: GPUAdapter | null
  try {
    adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  } catch (cause) {
    // A backend or an adapter that is not there.
    if (options.length === 0) throw cause
    throw new TweedieError('option', `DAWN_OPTIONS='${options.join(' ')}': ${messageOf(cause)}`, { cause })
  }
  if (options.some((option) => option.startsWith('adapter='))) return gpu
  if (adapter?.info.architecture !== 'swiftshader') return gpu
  // Dawn puts hardware first, but SwiftShader ahead of lavapipe, which is 3 to 5 times as fast.
  const lavapipe = (await adapterNames(dawn)).find((name) => name.startsWith('llvmpipe'))
  return lavapipe === undefined ? gpu : instance(dawn, lavapipe)
}

/** What to do when {@link requestGPU} succeeded and its `requestAdapter` finds nothing. */
export const noAdapterHint: string =
  process.platform === 'linux'
    ? "Install a Vulkan driver: the GPU's own, or, to try the WGSL kernels without a GPU, lavapipe (Debian, " +
      'Ubuntu: apt install mesa-vulkan-drivers, 25 or newer; VK_DRIVER_FILES, if set, must name its file).'
    : "Update the graphics driver: on this system tweedie uses the system's own GPU driver."

/** Every adapter that the host names, or that Dawn finds. */
export async function listAdapters(): Promise<GPUAdapter[]> {
  if (hostGPU()) return hostAdapters()
  const dawn = await loadDawn()
  const adapters = await Promise.all((await adapterNames(dawn)).map((name) => instance(dawn, name).requestAdapter()))
  return adapters.filter((adapter) => adapter !== null)
}

// 0.3 ms is shorter than reading a result back (0.5 ms and more) and leaves the thread idle 95 % of the time.
const nap = 0.3
const neverNotified = new Int32Array(new SharedArrayBuffer(4))
let waiting = 0
let napping = false

/**
 * Awaits something the GPU will do, without spinning: all who wait share one loop that sleeps between Dawn's polls. A
 * host's own WebGPU needs no such help, and the thread of a window may not sleep.
 */
export async function waitFor<T>(promise: Promise<T>): Promise<T> {
  if (hostGPU() && !registry[registryKey]) return promise
  waiting++
  if (!napping) {
    napping = true
    setImmediate(sleep).unref()
  }
  try {
    return await promise
  } finally {
    waiting--
  }
}

/**
 * How long a submission should take, in milliseconds, as far as that can be told. Nobody looks at what Dawn's devices
 * draw, but Windows resets a GPU after 2 s: an eighth. A host's own WebGPU may have a window.
 */
export const submissionMs = (): number => (hostGPU() ? hostMs() : 250)

function sleep(): void {
  napping = waiting > 0
  if (!napping) return
  Atomics.wait(neverNotified, 0, 0, nap)
  setImmediate(sleep).unref()
}

/** Dawn's instance that sees every adapter, or only the one whose name contains `adapter`. */
function instance(dawn: Dawn, adapter = ''): GPU {
  const instances = (registry[registryKey] ??= new Map())
  const known = instances.get(adapter)
  if (known) return known
  // Of two options of one name Dawn takes the last.
  const gpu = dawn.create([...dawnOptions(), ...(adapter ? [`adapter=${adapter}`] : [])])
  instances.set(adapter, gpu)
  return gpu
}

/** What Dawn's bindings document. Others they pass over in silence, as they do toggles that do not exist. */
const dawnKeys = ['enable-dawn-features', 'disable-dawn-features', 'backend', 'adapter']

/** Dawn's options, from the environment: DAWN_OPTIONS='enable-dawn-features=allow_unsafe_apis backend=vulkan'. */
function dawnOptions(): string[] {
  const options = (process.env.DAWN_OPTIONS ?? '').split(/\s+/).filter(Boolean)
  for (const option of options) {
    const [key, value] = option.split('=')
    if (value && dawnKeys.includes(key)) continue
    const near = nearestName(key, dawnKeys)
    throw new TweedieError(
      'option',
      `DAWN_OPTIONS: expected words such as ${dawnKeys.map((name) => `${name}=…`).join(', ')}, apart by spaces; ` +
        `found '${option}'${near && near !== key ? `: did you mean ${near}?` : '.'}`,
    )
  }
  return options
}

/**
 * Dawn lists the adapters only in the error about an adapter that does not exist:
 * ` * backend: 'vulkan', name: 'llvmpipe'`.
 */
async function adapterNames(dawn: Dawn): Promise<string[]> {
  try {
    await instance(dawn, 'list the adapters').requestAdapter()
    return []
  } catch (error) {
    return [...new Set([...String(error).matchAll(/name: '(.*)'$/gm)].map((match) => match[1]))]
  }
}

async function loadDawn(): Promise<Dawn> {
  let dawn: Dawn
  try {
    dawn = await import('webgpu')
  } catch (cause) {
    const missing = (cause as { code?: string }).code === 'ERR_MODULE_NOT_FOUND'
    throw new TweedieError(
      'webgpu-unavailable',
      missing
        ? "WebGPU in Node comes from the package 'webgpu', which is not installed: run npm install webgpu."
        : `The package 'webgpu' does not load on this system (${process.platform} ${process.arch}): ` +
            `${(cause as Error).message}`,
      { cause },
    )
  }
  // GPUBufferUsage, GPUOutOfMemoryError and their like are globals in a browser; what the host has already stays.
  for (const [name, value] of Object.entries(dawn.globals)) {
    if (!(name in globalThis)) Object.defineProperty(globalThis, name, { value, writable: true, configurable: true })
  }
  return dawn
}

/** Which program gives WebGPU here, and its options: the host's own, or the package `webgpu` by its version. */
export function gpuHost(): string {
  if (hostGPU() && !registry[registryKey]) return hostName()
  let version = ''
  try {
    version = (
      JSON.parse(readFileSync(new URL('package.json', import.meta.resolve('webgpu')), 'utf8')) as { version: string }
    ).version
  } catch {
    // Bundled, or under another name.
  }
  return ['webgpu', version, ...dawnOptions().sort()].join(' ')
}
