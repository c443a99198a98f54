import { messageOf, TweedieError } from '../../errors.ts'
import type { BackendStats } from '../backend.ts'
import { computeStage } from './flags.ts'

export interface PipelineEntry {
  readonly key: string
  pipeline: GPUComputePipeline | null
  error: TweedieError | null
  readonly ready: Promise<void>
}

/**
 * Pipelines, compiled asynchronously and all at once: the first pass through a network asks for every kernel it needs
 * without waiting, and the driver compiles them in parallel while commands queue up. Shapes live in uniforms, so there
 * are few.
 */
export class Pipelines {
  readonly #device: GPUDevice
  readonly #stats: BackendStats
  readonly #entries = new Map<string, PipelineEntry>()
  readonly #layouts = new Map<string, { bindGroup: GPUBindGroupLayout; pipeline: GPUPipelineLayout }>()
  readonly #onError: (error: TweedieError) => void

  constructor(device: GPUDevice, stats: BackendStats, onError: (error: TweedieError) => void) {
    this.#device = device
    this.#stats = stats
    this.#onError = onError
  }

  /** Bind group layout of kernels with one uniform, `reads` read-only inputs and `writes` outputs. */
  layout(reads: number, writes: number): { bindGroup: GPUBindGroupLayout; pipeline: GPUPipelineLayout } {
    const key = `${reads},${writes}`
    const known = this.#layouts.get(key)
    if (known) return known
    const entry = (binding: number, buffer: GPUBufferBindingLayout): GPUBindGroupLayoutEntry => ({
      binding,
      visibility: computeStage,
      buffer,
    })
    const entries = [entry(0, { type: 'uniform', hasDynamicOffset: true })]
    for (let i = 1; i <= reads + writes; i++)
      entries.push(entry(i, { type: i <= reads ? 'read-only-storage' : 'storage' }))
    const bindGroup = this.#device.createBindGroupLayout({ label: key, entries })
    const made = {
      bindGroup,
      pipeline: this.#device.createPipelineLayout({ label: key, bindGroupLayouts: [bindGroup] }),
    }
    this.#stats.objectsCreated += 2
    this.#layouts.set(key, made)
    return made
  }

  /** Begins to compile what is not known yet; throws for a kernel of which it is known that it does not compile. */
  get(key: string, code: () => string, reads: number, writes: number, user: () => string): PipelineEntry {
    const entry = this.#entries.get(key) ?? this.#compile(key, code(), reads, writes, user)
    if (entry.error) throw entry.error
    return entry
  }

  #compile(key: string, code: string, reads: number, writes: number, user: () => string): PipelineEntry {
    // Errors of the module come with the pipeline; the scope keeps them from being reported a second time, to nobody.
    this.#device.pushErrorScope('validation')
    const module = this.#device.createShaderModule({ label: key, code })
    this.#device.popErrorScope().catch(() => null)
    this.#stats.objectsCreated += 2
    const descriptor = {
      label: key,
      layout: this.layout(reads, writes).pipeline,
      compute: { module, entryPoint: 'main' },
    }
    const name = user()
    const entry: PipelineEntry = {
      key,
      pipeline: null,
      error: null,
      ready: this.#device.createComputePipelineAsync(descriptor).then(
        (pipeline) => void (entry.pipeline = pipeline),
        async (cause: unknown) => {
          entry.error = new TweedieError(
            'shader-compile',
            `${name}: kernel ${key} does not compile on this device. ${await explain(module, code, cause)}`,
            { cause },
          )
          this.#onError(entry.error)
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
  if (!message) return messageOf(cause)
  return `Line ${message.lineNum}: ${message.message}\n  ${code.split('\n')[message.lineNum - 1] ?? ''}`
}
