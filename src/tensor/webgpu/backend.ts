/**
 * The WebGPU backend. Ops enqueue commands; commands are encoded and submitted when enough have gathered (or enough
 * arithmetic: Windows kills a submission that runs for 2 s) and every pipeline they use has been compiled. All scalars of
 * a submission travel in one write to one uniform buffer, from which each dispatch reads at its own dynamic offset, so
 * bind groups depend only on buffers and are found in a cache from the second step on.
 */
import { TweedieError } from '../../errors.ts'
import type { Backend, BackendStats, Storage, View } from '../backend.ts'
import type { OpName, ParamsOf } from '../ops/index.ts'
import { formatShape } from '../shape.ts'
import type { Buffer, Capabilities, Dispatch, Encoder, Launch } from './launch.ts'
import { launches } from './launches/index.ts'
import { Pipelines, type PipelineEntry } from './pipelines.ts'
import { BufferPool, type GPUStorage } from './pool.ts'
import type { AdapterDescription } from './request.ts'

type Command =
  | { readonly kind: 'dispatch'; readonly pipeline: PipelineEntry; readonly bindGroup: GPUBindGroup; readonly slot: number; readonly grid: Dispatch['grid'] }
  | { readonly kind: 'clear'; readonly buffer: GPUBuffer }
  | { readonly kind: 'copy'; readonly source: GPUBuffer; readonly buffer: GPUBuffer; readonly bytes: number }
  | { readonly kind: 'write'; readonly buffer: GPUBuffer; readonly data: ArrayBufferView }

/** minUniformBufferOffsetAlignment by default, and room for 64 scalars. */
const slotBytes = 256
/** Commands in one submission: submitting costs 0.3 ms on lavapipe, a dispatch 0.03. */
const maxCommands = 128
/** Floating-point operations in one submission: 20 ms at 1 TFLOP/s. */
const maxFlops = 20e9

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
  onChoice: ((key: string, candidates: readonly string[]) => void) | null = null

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
  /** Error scopes whose verdict is still out. */
  #verdicts: Promise<void>[] = []
  #failure: TweedieError | null = null
  #disposed = false

  constructor(gpuDevice: GPUDevice, adapter: AdapterDescription, owned: boolean, waitFor: <T>(promise: Promise<T>) => Promise<T>) {
    this.gpuDevice = gpuDevice
    this.#adapter = adapter
    this.#owned = owned
    this.#waitFor = waitFor
    this.#pool = new BufferPool(this.stats)
    this.#pipelines = new Pipelines(gpuDevice, this.stats)
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
    const limit = Math.min(this.#adapter.maxBufferBytes, this.#adapter.maxBindingBytes)
    if (bytes > limit) {
      throw new TweedieError('limit-exceeded', `${reason()} needs a buffer of ${bytes} bytes, but one buffer of ${this.#adapter.name} holds ${limit}: use a smaller batch, or request the device with the memory the model needs.`)
    }
    return this.#pool.take(bytes, (size) => {
      this.stats.objectsCreated++
      this.gpuDevice.pushErrorScope('out-of-memory')
      const buffer = this.gpuDevice.createBuffer({ size, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST })
      const live = this.stats.liveBytes
      this.#expect((error) => new TweedieError('out-of-memory', `${reason()}: the device could not allocate ${size} bytes on top of ${live}: use a smaller batch. (${error.message})`))
      return buffer
    })
  }

  free(storage: Storage): void {
    if (this.#disposed) return
    const freed = storage as GPUStorage
    this.#dropDerived(freed)
    this.#pool.give(freed)
  }

  write(storage: Storage, data: ArrayBufferView): void {
    this.#check()
    const { buffer } = storage as GPUStorage
    if (this.#open.length === 0 && this.#queue.length === 0) this.#writeNow(buffer, data)
    else this.#enqueue({ kind: 'write', buffer, data: data instanceof DataView ? data : copyOf(data) })
  }

  copy(source: Storage, target: Storage, bytes: number): void {
    this.#check()
    this.#enqueue({ kind: 'copy', source: (source as GPUStorage).buffer, buffer: (target as GPUStorage).buffer, bytes })
  }

  #writeNow(buffer: GPUBuffer, data: ArrayBufferView): void {
    this.gpuDevice.queue.writeBuffer(buffer, 0, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength)
  }

  async read(storage: Storage, bytes: number): Promise<ArrayBuffer> {
    this.#check()
    this.stats.reads++
    const size = BufferPool.roundUp(bytes)
    // The copy is ordered behind what was enqueued before this call; what is enqueued while pipelines compile comes later.
    const source = (storage as GPUStorage).buffer
    await this.#drain()
    this.#check()
    const staging = this.gpuDevice.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST })
    this.stats.objectsCreated++
    try {
      const encoder = this.gpuDevice.createCommandEncoder()
      encoder.copyBufferToBuffer(source, 0, staging, 0, size)
      this.gpuDevice.queue.submit([encoder.finish()])
      await this.#waitFor(staging.mapAsync(GPUMapMode.READ)).catch((cause: unknown) => {
        this.#check()
        throw new TweedieError('device-lost', 'The GPU device went away while a result was read.', { cause })
      })
      await this.#judge()
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
        this.onChoice?.(key, candidates)
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
    this.#derived.set(storage, all.set(key, { target, version: storage.version }))
    fill({ storage: target })
    return { storage: target }
  }

  #dropDerived(storage: GPUStorage): void {
    for (const { target } of this.#derived.get(storage)?.values() ?? []) this.#pool.give(target)
    this.#derived.delete(storage)
  }

  #dispatch({ key, code, uniforms, read, write, grid, flops = 0 }: Dispatch, name: () => string): void {
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
    this.#enqueue({ kind: 'dispatch', pipeline, bindGroup, slot: this.#slots++, grid })
  }

  #bindGroup(read: readonly Buffer[], write: readonly Buffer[]): GPUBindGroup {
    const storages = [...read, ...write].map((b) => b.storage as GPUStorage)
    const key = `${read.length}:${storages.map((s) => s.id).join()}`
    const known = this.#bindGroups.get(key)
    if (known) return known
    const entries: GPUBindGroupEntry[] = [{ binding: 0, resource: { buffer: this.#uniformBuffer, size: slotBytes } }]
    storages.forEach(({ buffer }, i) => entries.push({ binding: i + 1, resource: { buffer } }))
    const made = this.gpuDevice.createBindGroup({ layout: this.#pipelines.layout(read.length, write.length).bindGroup, entries })
    this.stats.objectsCreated++
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

  /** Submits everything enqueued before this call. */
  async #drain(): Promise<void> {
    this.#close()
    const last = this.#queue.at(-1)
    this.#submitReady()
    while (last && this.#queue.includes(last)) {
      const waiting = unready(this.#queue[0])
      await this.#waitFor(Promise.all(waiting.map((p) => p.ready)))
      const broken = waiting.find((p) => p.error)
      if (broken?.error) {
        this.#queue.length = 0
        this.#fail(broken.error)
      }
      this.#check()
      this.#submitReady()
    }
  }

  #submit({ commands, uniforms }: Batch): void {
    const device = this.gpuDevice
    device.pushErrorScope('validation')
    device.queue.writeBuffer(this.#uniformBuffer, 0, uniforms)
    let encoder = device.createCommandEncoder()
    let pass: GPUComputePassEncoder | null = null
    const endPass = (): void => {
      pass?.end()
      pass = null
    }
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
      } else {
        endPass()
        if (command.kind === 'clear') encoder.clearBuffer(command.buffer)
        else if (command.kind === 'copy') encoder.copyBufferToBuffer(command.source, 0, command.buffer, 0, command.bytes)
        else {
          // A write happens at its place in the queue: what was encoded before must be submitted before.
          device.queue.submit([encoder.finish()])
          encoder = device.createCommandEncoder()
          this.#writeNow(command.buffer, command.data)
        }
      }
    }
    endPass()
    device.queue.submit([encoder.finish()])
    this.stats.submits++
    const names = (): string => [...new Set(commands.flatMap((c) => (c.kind === 'dispatch' ? [c.pipeline.key] : [])))].join(', ')
    this.#expect((error) => new TweedieError('device-error', `The device refused a submission of kernels ${names()}: ${error.message}`))
  }

  /** Closes the innermost error scope; if it caught something, the next wait rejects with `explain` of it. */
  #expect(explain: (error: GPUError) => TweedieError): void {
    const verdict = this.gpuDevice.popErrorScope().then((error) => {
      if (error) this.#fail(explain(error))
    }, () => {})
    this.#verdicts.push(verdict)
  }

  async #judge(): Promise<void> {
    const verdicts = this.#verdicts
    this.#verdicts = []
    await this.#waitFor(Promise.all(verdicts))
    this.#check()
  }

  async flush(): Promise<void> {
    this.#check()
    await this.#drain()
    await this.#waitFor(this.gpuDevice.queue.onSubmittedWorkDone())
    await this.#judge()
  }

  #fail(error: TweedieError): void {
    this.#failure ??= error
  }

  #check(): void {
    if (this.#disposed) throw new TweedieError('disposed', 'The device was disposed.')
    const failure = this.#failure
    if (!failure) return
    // Only a lost device stays lost; after any other failure the caller may free memory and go on.
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
