/**
 * The WebGPU backend. Ops enqueue commands; commands are encoded and submitted when enough have gathered (or enough
 * arithmetic: Windows kills a submission that runs for 2 s) and every pipeline they use has been compiled. All scalars of
 * a submission travel in one write to one uniform buffer, from which each dispatch reads at its own dynamic offset, so
 * bind groups depend only on buffers and are found in a cache from the second step on.
 *
 * Failures come late: the device says of a submission or an allocation only afterwards that it refused it. A failure
 * makes void whatever was computed since the last successful wait: commands that were not submitted yet are dropped,
 * every read and flush begun before rejects with it, and if there is none, the next call throws it. What was written
 * from the host stays. So after `out-of-memory` the caller may free memory and go on with a smaller batch; only a lost
 * device stays lost.
 */
import { TweedieError } from '../../errors.ts'
import type { Backend, BackendStats, Storage, TuneOptions, View } from '../backend.ts'
import type { OpName, ParamsOf } from '../ops/index.ts'
import { formatShape } from '../shape.ts'
import type { Buffer, Capabilities, Dispatch, Encoder, Launch } from './launch.ts'
import { launches } from './launches/index.ts'
import { Pipelines, type PipelineEntry } from './pipelines.ts'
import { BufferPool, type GPUStorage } from './pool.ts'
import type { AdapterDescription } from './request.ts'
import { tuneKernels } from './tuner.ts'

type Command =
  | { readonly kind: 'dispatch'; readonly pipeline: PipelineEntry; readonly bindGroup: GPUBindGroup; readonly slot: number; readonly grid: Dispatch['grid']; readonly user: () => string }
  | { readonly kind: 'clear'; readonly buffer: GPUBuffer }
  | { readonly kind: 'copy'; readonly source: GPUBuffer; readonly target: GPUBuffer; readonly bytes: number }
  /** Only at the beginning of a batch: queue.writeBuffer happens between submissions. */
  | { readonly kind: 'write'; readonly buffer: GPUBuffer; readonly data: ArrayBufferView }
  /** After the submission: commands before it still use the buffer. */
  | { readonly kind: 'destroy'; readonly buffer: GPUBuffer }

/** minUniformBufferOffsetAlignment by default, and room for 64 scalars. */
const slotBytes = 256
/** Commands in one submission: submitting costs 0.3 ms on lavapipe, a dispatch 0.03. */
const maxCommands = 128
/** Floating-point operations in one submission: 20 ms at 1 TFLOP/s. */
const maxFlops = 20e9
/** A guided step of ADM has some 5000; forgetting them all costs one slow step and bounds what odd shapes leave behind. */
const maxBindGroups = 20_000

/** A choice between kernel variants that an op came upon, and how to run that op on other tensors of the same shapes. */
export interface Choice {
  readonly key: string
  readonly candidates: readonly string[]
  readonly inputs: readonly View[]
  readonly outputs: readonly View[]
  readonly again: (inputs: readonly View[], outputs: readonly View[]) => void
}

interface Batch {
  readonly commands: readonly Command[]
  readonly uniforms: Uint8Array<ArrayBuffer>
}

const unready = ({ commands }: Batch): PipelineEntry[] => commands.flatMap((c) => (c.kind === 'dispatch' && !c.pipeline.pipeline ? [c.pipeline] : []))

interface Derived {
  readonly target: GPUStorage
  readonly version: number
}

export class WebGPUBackend implements Backend {
  readonly kind = 'webgpu'
  readonly gpuDevice: GPUDevice
  readonly stats: BackendStats = { dispatches: 0, submits: 0, reads: 0, objectsCreated: 0, liveBuffers: 0, liveBytes: 0, peakBytes: 0, flops: 0 }
  readonly capabilities: Capabilities
  /** Kernel variants by shape that measurement found fastest; see `tuner.ts`. */
  readonly choices = new Map<string, string>()
  /** Told of every choice that is asked for; the tuner listens. */
  onChoice: ((choice: Choice) => void) | null = null

  readonly #owned: boolean
  readonly #waitFor: <T>(promise: Promise<T>) => Promise<T>
  readonly #adapter: AdapterDescription
  readonly #pool: BufferPool
  readonly #pipelines: Pipelines
  readonly #bindGroups = new Map<string, GPUBindGroup>()
  readonly #derived = new Map<GPUStorage, Map<string, Derived>>()
  readonly #uniformBuffer: GPUBuffer
  readonly #uniforms = new ArrayBuffer(slotBytes * maxCommands)
  readonly #uniformInts = new Int32Array(this.#uniforms)
  readonly #uniformFloats = new Float32Array(this.#uniforms)
  #open: Command[] = []
  #slots = 0
  #openFlops = 0
  readonly #queue: Batch[] = []
  /** Settles when the device has judged everything it was given so far; never rejects. */
  #verdicts: Promise<void> = Promise.resolve()
  /** A failure nobody has been told of yet; a lost device stays here. */
  #failure: TweedieError | null = null
  #lastFailure: TweedieError | null = null
  /** How many failures there were: who waits compares it with what it was at the beginning. */
  #failures = 0
  #disposed = false

  constructor(gpuDevice: GPUDevice, adapter: AdapterDescription, owned: boolean, waitFor: <T>(promise: Promise<T>) => Promise<T>) {
    this.gpuDevice = gpuDevice
    this.#adapter = adapter
    this.#owned = owned
    this.#waitFor = waitFor
    this.#pool = new BufferPool(this.stats)
    this.#pipelines = new Pipelines(gpuDevice, this.stats, (error) => this.#fail(error))
    const { subgroupMinSize, subgroupMaxSize } = gpuDevice.adapterInfo as { subgroupMinSize?: number; subgroupMaxSize?: number }
    const fixed = gpuDevice.features.has('subgroups') && subgroupMinSize === subgroupMaxSize
    this.capabilities = {
      subgroupSize: fixed ? (subgroupMinSize ?? 0) : 0,
      software: adapter.software,
      maxGrid: gpuDevice.limits.maxComputeWorkgroupsPerDimension,
    }
    this.#uniformBuffer = gpuDevice.createBuffer({ label: 'uniforms', size: this.#uniforms.byteLength, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST })
    this.stats.objectsCreated++
    void gpuDevice.lost.then((info) => {
      if (!this.#disposed) this.#fail(new TweedieError('device-lost', `The GPU device was lost (${info.reason}): ${info.message || 'no reason given'}. Request a new device and go on from the last finished batch.`))
    })
  }

  allocate(bytes: number, reason: () => string): GPUStorage {
    this.#check()
    const size = BufferPool.roundUp(bytes)
    const limit = Math.min(this.#adapter.maxBufferBytes, this.#adapter.maxBindingBytes)
    if (size > limit) {
      throw new TweedieError('limit-exceeded', `${reason()} needs a buffer of ${size} bytes, but one buffer of ${this.#adapter.name} holds ${limit}: use a smaller batch, or request the device with the memory the model needs.`)
    }
    const reused = this.#pool.take(size)
    if (reused) return reused
    this.#destroy(this.#pool.excess())
    const live = this.stats.liveBytes
    const storage = this.#pool.add(size, this.#guard(
      () => this.gpuDevice.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST }),
      (error) => {
        // Never to be handed out again; and whoever tries with less will want all there is.
        storage.broken = true
        this.#destroy(this.#pool.trim())
        return new TweedieError('out-of-memory', `${reason()}: the device could not allocate ${size} bytes on top of ${live}: use a smaller batch. (${error.message})`)
      },
    ))
    this.stats.objectsCreated++
    return storage
  }

  free(storage: Storage): void {
    if (this.#disposed) return
    const freed = storage as GPUStorage
    for (const { target } of this.#derived.get(freed)?.values() ?? []) this.#pool.give(target)
    this.#derived.delete(freed)
    this.#pool.give(freed)
  }

  /** Destroys buffers of the pool once the commands that use them are submitted. */
  #destroy(storages: readonly GPUStorage[]): void {
    if (storages.length === 0) return
    const gone = new Set(storages.map(({ id }) => `${id}`))
    for (const key of this.#bindGroups.keys()) if (key.split(/[:,]/).slice(1).some((id) => gone.has(id))) this.#bindGroups.delete(key)
    for (const { buffer } of storages) this.#enqueue({ kind: 'destroy', buffer })
  }

  write(storage: Storage, data: ArrayBufferView): void {
    this.#check()
    const { buffer } = storage as GPUStorage
    if (this.#open.at(-1)?.kind !== 'write') this.#close()
    this.#submitReady()
    // Behind commands whose pipelines are still being compiled it has to wait, and the caller may change the array.
    if (this.#open.length === 0 && this.#queue.length === 0) this.#writeNow(buffer, data)
    else this.#enqueue({ kind: 'write', buffer, data: copyOf(data) })
  }

  copy(source: Storage, target: Storage, bytes: number): void {
    this.#check()
    this.#enqueue({ kind: 'copy', source: (source as GPUStorage).buffer, target: (target as GPUStorage).buffer, bytes })
  }

  #writeNow(buffer: GPUBuffer, data: ArrayBufferView): void {
    this.gpuDevice.queue.writeBuffer(buffer, 0, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength)
  }

  async read(storage: Storage, bytes: number): Promise<ArrayBuffer> {
    this.#check()
    const since = this.#failures
    this.stats.reads++
    this.stats.objectsCreated++
    const size = Math.ceil(bytes / 4) * 4
    const staging = this.#guard(
      () => this.gpuDevice.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST }),
      (error) => new TweedieError('out-of-memory', `The device could not allocate ${size} bytes to read a result back: use a smaller batch. (${error.message})`),
    )
    // The copy has its place among the commands: the tensor may be overwritten or freed as soon as this call returns.
    this.#enqueue({ kind: 'copy', source: (storage as GPUStorage).buffer, target: staging, bytes: size })
    try {
      await this.#drain(since)
      const unmapped = await this.#waitFor(staging.mapAsync(GPUMapMode.READ)).catch((cause: unknown) => ({ cause }))
      await this.#judge(since)
      if (unmapped) {
        this.#fail(new TweedieError('device-lost', 'The GPU device went away while a result was read.', unmapped))
        this.#check()
      }
      return staging.getMappedRange().slice(0, bytes)
    } finally {
      staging.destroy()
    }
  }

  run<K extends OpName>(op: K, params: ParamsOf<K>, inputs: readonly View[], outputs: readonly View[]): void {
    this.#check()
    const name = (): string => `${op}(${inputs.map((t) => formatShape(t.shape)).join(', ')} → ${outputs.map((t) => formatShape(t.shape)).join(', ')})`
    const temporaries: GPUStorage[] = []
    const encoder: Encoder = {
      capabilities: this.capabilities,
      dispatch: (dispatch) => this.#dispatch(dispatch, name),
      clear: ({ storage }) => this.#enqueue({ kind: 'clear', buffer: (storage as GPUStorage).buffer }),
      temporary: (bytes) => {
        const storage = this.allocate(bytes, () => `a temporary of ${name()}`)
        temporaries.push(storage)
        return { storage }
      },
      derived: (source, key, bytes, fill) => this.#derive(source, key, bytes, fill, name),
      choose: (key, candidates, fallback) => {
        this.onChoice?.({ key, candidates, inputs, outputs, again: (from, to) => this.run(op, params, from, to) })
        const chosen = this.choices.get(key)
        return chosen !== undefined && candidates.includes(chosen) ? chosen : fallback
      },
    }
    const launch = launches[op] as Launch<ParamsOf<K>>
    try {
      launch(encoder, params, inputs, outputs)
    } finally {
      for (const storage of temporaries) this.free(storage)
    }
  }

  #derive(source: View, key: string, bytes: number, fill: (target: Buffer) => void, name: () => string): Buffer {
    const storage = source.storage as GPUStorage
    const known = this.#derived.get(storage)?.get(key)
    if (known && known.version === storage.version) return { storage: known.target }
    const target = known?.target ?? this.allocate(bytes, () => `packed weights of ${name()}`)
    const all = this.#derived.get(storage) ?? new Map<string, Derived>()
    // Until it is filled it is of no version, so a fill that throws is repeated.
    this.#derived.set(storage, all.set(key, { target, version: -1 }))
    fill({ storage: target })
    all.set(key, { target, version: storage.version })
    return { storage: target }
  }

  #dispatch({ key, code, uniforms, read, write, grid, flops = 0 }: Dispatch, name: () => string): void {
    const { maxStorageBuffersPerShaderStage: bindings } = this.gpuDevice.limits
    if (read.length + write.length > bindings) {
      throw new TweedieError('limit-exceeded', `${name()}: kernel ${key} needs ${read.length + write.length} buffers at once, the device allows ${bindings}: split the operation.`)
    }
    const pipeline = this.#pipelines.get(key, code, read.length, write.length, name)
    const bindGroup = this.#bindGroup(read, write)
    if (grid.some((n) => n > this.capabilities.maxGrid)) {
      throw new TweedieError('limit-exceeded', `${name()}: kernel ${key} needs ${grid.join(' x ')} workgroups, the device allows ${this.capabilities.maxGrid} a dimension: use a smaller batch.`)
    }
    const at = (this.#slots * slotBytes) / 4
    if (uniforms.length > slotBytes / 4) throw new TweedieError('unsupported', `${name()}: kernel ${key} has ${uniforms.length} scalars, at most ${slotBytes / 4} fit.`)
    for (let i = 0; i < uniforms.length; i++) {
      const value = uniforms[i]
      if (typeof value === 'number') this.#uniformInts[at + i] = value
      else this.#uniformFloats[at + i] = value.f32
    }
    this.stats.dispatches++
    this.stats.flops += flops
    this.#openFlops += flops
    this.#enqueue({ kind: 'dispatch', pipeline, bindGroup, slot: this.#slots++, grid, user: name })
  }

  #bindGroup(read: readonly Buffer[], write: readonly Buffer[]): GPUBindGroup {
    const storages = [...read, ...write].map((b) => b.storage as GPUStorage)
    const key = `${read.length}:${storages.map((s) => s.id).join()}`
    const known = this.#bindGroups.get(key)
    if (known) return known
    const entries: GPUBindGroupEntry[] = [{ binding: 0, resource: { buffer: this.#uniformBuffer, size: slotBytes } }]
    storages.forEach(({ buffer }, i) => entries.push({ binding: i + 1, resource: { buffer } }))
    const { bindGroup: layout } = this.#pipelines.layout(read.length, write.length)
    const made = this.#guard(
      () => this.gpuDevice.createBindGroup({ layout, entries }),
      (error) => new TweedieError('device-error', `The device refused a bind group: ${error.message}`),
    )
    this.stats.objectsCreated++
    if (this.#bindGroups.size >= maxBindGroups) this.#bindGroups.clear()
    this.#bindGroups.set(key, made)
    return made
  }

  #enqueue(command: Command): void {
    this.#open.push(command)
    if (this.#open.length >= maxCommands || this.#openFlops >= maxFlops) {
      this.#close()
      this.#submitReady()
    }
  }

  /** Ends the open batch, so that no later command joins it. */
  #close(): void {
    if (this.#open.length === 0) return
    this.#queue.push({ commands: this.#open, uniforms: new Uint8Array(this.#uniforms.slice(0, this.#slots * slotBytes)) })
    this.#open = []
    this.#slots = 0
    this.#openFlops = 0
  }

  /** Submits closed batches in order, up to the first whose pipelines are still being compiled. */
  #submitReady(): void {
    while (this.#queue.length > 0 && unready(this.#queue[0]).length === 0) this.#submit(this.#queue.shift() as Batch)
  }

  /** Submits everything enqueued before this call, waiting for pipelines if need be. */
  async #drain(since: number): Promise<void> {
    this.#close()
    const last = this.#queue.at(-1)
    this.#submitReady()
    while (last && this.#queue.includes(last)) {
      await this.#waitFor(Promise.all(unready(this.#queue[0]).map((p) => p.ready)))
      this.#check(since)
      this.#submitReady()
    }
    this.#check(since)
  }

  #submit({ commands, uniforms }: Batch): void {
    this.#guard(() => {
      const { queue } = this.gpuDevice
      for (const command of commands) if (command.kind === 'write') this.#writeNow(command.buffer, command.data)
      if (uniforms.byteLength > 0) queue.writeBuffer(this.#uniformBuffer, 0, uniforms)
      queue.submit([this.#encode(commands)])
      for (const command of commands) if (command.kind === 'destroy') command.buffer.destroy()
    }, (error) => {
      const users = [...new Set(commands.flatMap((c) => (c.kind === 'dispatch' ? [c.user()] : [])))]
      const shown = `${users.slice(0, 8).join(', ')}${users.length > 8 ? ` and ${users.length - 8} more` : ''}`
      const code = error instanceof GPUOutOfMemoryError ? 'out-of-memory' : 'device-error'
      return new TweedieError(code, `The device refused a submission of ${shown}: ${error.message}`)
    })
    this.stats.submits++
  }

  #encode(commands: readonly Command[]): GPUCommandBuffer {
    const encoder = this.gpuDevice.createCommandEncoder()
    let pass: GPUComputePassEncoder | null = null
    let current: GPUComputePipeline | null = null
    for (const command of commands) {
      if (command.kind === 'dispatch') {
        if (!pass) {
          pass = encoder.beginComputePass()
          current = null
        }
        const { pipeline } = command.pipeline
        if (pipeline !== current) pass.setPipeline((current = pipeline) as GPUComputePipeline)
        pass.setBindGroup(0, command.bindGroup, [command.slot * slotBytes])
        pass.dispatchWorkgroups(...command.grid)
      } else if (command.kind === 'clear' || command.kind === 'copy') {
        pass?.end()
        pass = null
        if (command.kind === 'clear') encoder.clearBuffer(command.buffer)
        else encoder.copyBufferToBuffer(command.source, 0, command.target, 0, command.bytes)
      }
    }
    pass?.end()
    return encoder.finish()
  }

  /** Does something the device may object to, asynchronously; if it does, that is the failure `explain` makes of it. */
  #guard<T>(act: () => T, explain: (error: GPUError) => TweedieError): T {
    const since = this.#failures
    const filters = ['validation', 'internal', 'out-of-memory'] as const
    for (const filter of filters) this.gpuDevice.pushErrorScope(filter)
    try {
      return act()
    } finally {
      const verdict = Promise.all(filters.map(() => this.gpuDevice.popErrorScope().catch(() => null)))
      // In order, so that the cause is seen before its consequences, which count for nothing.
      this.#verdicts = this.#verdicts.then(() => verdict).then((errors) => {
        const error = errors.find((e) => e !== null)
        if (error && since === this.#failures && !this.#disposed) this.#fail(explain(error))
      })
    }
  }

  async #judge(since: number): Promise<void> {
    await this.#waitFor(this.#verdicts)
    this.#check(since)
  }

  tune(work: () => void, options: TuneOptions): Promise<void> {
    return tuneKernels(this, this.#adapter, work, options)
  }

  async flush(): Promise<void> {
    this.#check()
    const since = this.#failures
    await this.#drain(since)
    // It rejects where the device was lost, of which `lost` tells more.
    await this.#waitFor(this.gpuDevice.queue.onSubmittedWorkDone()).catch(() => {})
    await this.#judge(since)
  }

  #fail(error: TweedieError): void {
    if (this.#disposed || this.#failure?.code === 'device-lost') return
    this.#failure = this.#lastFailure = error
    this.#failures++
    this.#close()
    for (const command of this.#queue.splice(0).flatMap((batch) => batch.commands)) {
      if (command.kind === 'write') this.#writeNow(command.buffer, command.data)
      else if (command.kind === 'destroy') command.buffer.destroy()
    }
    for (const derived of this.#derived.values()) for (const { target } of derived.values()) this.#pool.give(target)
    this.#derived.clear()
  }

  /** Throws a failure that nobody has been told of, or that happened since there were `since`. */
  #check(since: number = this.#failures): void {
    if (this.#disposed) throw new TweedieError('disposed', 'The device was disposed.')
    const failure = this.#failure ?? (since < this.#failures ? this.#lastFailure : null)
    if (!failure) return
    if (failure.code !== 'device-lost') this.#failure = null
    throw failure
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#open = []
    this.#queue.length = 0
    this.#pool.dispose()
    this.#uniformBuffer.destroy()
    this.#bindGroups.clear()
    this.#derived.clear()
    this.stats.liveBuffers = 0
    this.stats.liveBytes = 0
    if (this.#owned) this.gpuDevice.destroy()
  }
}

const copyOf = (data: ArrayBufferView): Uint8Array<ArrayBuffer> => new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength).slice()
