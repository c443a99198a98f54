/**
 * Pipelines, compiled asynchronously and all at once: the first pass through a network asks for every kernel it needs
 * without waiting, and the driver compiles them in parallel while commands queue up. Shapes live in uniforms, so there
 * are few.
 */
import { TweedieError } from '../../errors.ts'
import type { BackendStats } from '../backend.ts'

export interface PipelineEntry {
  readonly key: string
  pipeline: GPUComputePipeline | null
  error: TweedieError | null
  readonly ready: Promise<void>
}

export class Pipelines {
  readonly #device: GPUDevice
  readonly #stats: BackendStats
  readonly #entries = new Map<string, PipelineEntry>()
  readonly #layouts = new Map<string, { bindGroup: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>()

  constructor(device: GPUDevice, stats: BackendStats) {
    this.#device = device
    this.#stats = stats
  }

  /** Bind group layout of kernels with one uniform, `reads` read-only inputs and `writes` outputs. */
  layout(reads: number, writes: number): { bindGroup: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    const key = `${reads},${writes}`
    const known = this.#layouts.get(key)
    if (known) return known
    const entry = (binding: number, buffer: GPUBufferBindingLayout): GPUBindGroupLayoutEntry => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer })
    const entries = [entry(0, { type: 'uniform', hasDynamicOffset: true })]
    for (let i = 1; i <= reads + writes; i++) entries.push(entry(i, { type: i <= reads ? 'read-only-storage' : 'storage' }))
    const bindGroup = this.#device.createBindGroupLayout({ label: key, entries })
    const made = { bindGroup, pipeline: this.#device.createPipelineLayout({ label: key, bindGroupLayouts: [bindGroup] }) }
    this.#stats.objectsCreated += 2
    this.#layouts.set(key, made)
    return made
  }

  get(key: string, code: () => string, reads: number, writes: number, user: () => string): PipelineEntry {
    return this.#entries.get(key) ?? this.#compile(key, code(), reads, writes, user)
  }

  #compile(key: string, code: string, reads: number, writes: number, user: () => string): PipelineEntry {
    const module = this.#device.createShaderModule({ label: key, code })
    this.#stats.objectsCreated += 2
    const descriptor = { label: key, layout: this.layout(reads, writes).pipeline, compute: { module, entryPoint: 'main' } }
    const name = user()
    const entry: PipelineEntry = {
      key,
      pipeline: null,
      error: null,
      ready: this.#device.createComputePipelineAsync(descriptor).then(
        (pipeline) => void (entry.pipeline = pipeline),
        async (cause: unknown) => {
          entry.error = new TweedieError('shader-compile', `${name}: kernel ${key} does not compile on this device. ${await explain(module, code, cause)}`, { cause })
        },
      ),
    }
    this.#entries.set(key, entry)
    return entry
  }
}

/** The first message of the compiler with the line it is about. */
async function explain(module: GPUShaderModule, code: string, cause: unknown): Promise<string> {
  const info = await module.getCompilationInfo().catch(() => null)
  const message = info?.messages.find((m) => m.type === 'error')
  if (!message) return cause instanceof Error ? cause.message : String(cause)
  return `Line ${message.lineNum}: ${message.message}\n  ${code.split('\n')[message.lineNum - 1] ?? ''}`
}
