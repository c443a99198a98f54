import { chunk } from '../../chunk.ts'
import { TweedieError } from '../../errors.ts'
import type { WaitFor } from '#platform'
import type {
  AdapterDescription,
  Backend,
  BackendStats,
  GPUSharing,
  Recording,
  Storage,
  TuneOptions,
  View,
} from '../backend.ts'
import { now, type Live } from '../live.ts'
import { mebibytes, memoryAdvice } from '../need.ts'
import type { OpName } from '../ops/index.ts'
import { formatCall } from '../shape.ts'
import { BindGroups } from './bind-groups.ts'
import { Budget, bytesGiven } from './budget.ts'
import { Failures } from './failures.ts'
import { bufferUsage, mapRead } from './flags.ts'
import type { Capabilities, Choice, Dispatch, Encoder, Launch } from './launch.ts'
import { launches } from './launches/index.ts'
import { kernel } from './launches/kernel.ts'
import { Pipelines } from './pipelines.ts'
import { BufferPool, type GPUStorage } from './buffers.ts'
import { Program } from './program.ts'
import { CommandQueue } from './queue.ts'
import { Arena, Recorder, viewOf } from './record.ts'
import { hashText, type Winner, type Winners } from '../remembered.ts'

/** Bytes of a buffer for reading that is worth keeping. */
const maxStaged = 2 ** 16

/**
 * The WebGPU backend: memory, and ops turned into commands. How commands travel is in `queue.ts`, how the device's late
 * objections come back in `failures.ts`. Bind groups depend only on buffers and are found in a cache from the second
 * step on.
 */
export class WebGPUBackend implements Backend, GPUSharing {
  readonly kind = 'webgpu'
  readonly gpu = this
  readonly gpuDevice: GPUDevice
  readonly stats: BackendStats = {
    dispatches: 0,
    submits: 0,
    reads: 0,
    objectsCreated: 0,
    liveBuffers: 0,
    liveBytes: 0,
    peakBytes: 0,
    flops: 0,
    bytes: 0,
  }
  readonly capabilities: Capabilities
  /** Kernel variants by shape that measurement found fastest; see `tuner.ts`. */
  readonly choices = new Map<string, string>()
  /** What measurement found, to be remembered and told; `choices` may say otherwise. */
  readonly winners = new Map<string, Winner>()
  /** Of these, what was not used yet. */
  readonly #recalled = new Map<string, Winner>()
  readonly #texts = new Map<string, string>()
  /** Under which name measurements are remembered. */
  readonly identity: string
  /** Told of every choice that is asked for; the tuner listens. */
  onChoice: ((choice: Choice) => void) | null = null

  readonly #owned: boolean
  /** Storage buffers of a kernel at most; asking the device costs as much as a dispatch. */
  readonly #bindings: number
  readonly waitFor: WaitFor
  readonly #adapter: AdapterDescription
  readonly #pool: BufferPool
  readonly #pipelines: Pipelines
  readonly #bindGroups: BindGroups
  /** Small buffers for reading that wait for the next read of their size, as a training step's losses are. */
  readonly #staged: GPUBuffer[] = []
  readonly #arena = new Arena()
  readonly #programs = new Set<Program>()
  /** What notes, while a program is recorded. */
  #recorder: Recorder | null = null
  readonly #failures: Failures
  readonly #budget: Budget
  readonly #queue: CommandQueue
  readonly #nudge = (): void => this.gpuDevice.queue.submit([])
  #disposed = false

  constructor(
    gpuDevice: GPUDevice,
    adapter: AdapterDescription,
    capabilities: Capabilities,
    owned: boolean,
    waitFor: WaitFor,
    identity = '',
  ) {
    this.identity = identity
    this.gpuDevice = gpuDevice
    this.#adapter = adapter
    this.capabilities = capabilities
    this.#owned = owned
    this.#bindings = gpuDevice.limits.maxStorageBuffersPerShaderStage
    this.waitFor = waitFor
    this.#pool = new BufferPool(this.stats)
    this.#failures = new Failures(gpuDevice, waitFor, () => this.#queue.drop())
    this.#budget = new Budget(adapter.software)
    this.#queue = new CommandQueue(gpuDevice, this.stats, waitFor, this.#failures, this.#budget)
    this.#pipelines = new Pipelines(gpuDevice, this.stats, (error) => this.#failures.fail(error))
    this.#bindGroups = new BindGroups(this.#queue.uniformBuffer, this.stats, this.#layout, (descriptor) =>
      this.#failures.guard(
        () => gpuDevice.createBindGroup(descriptor),
        (error) => new TweedieError('device-error', `The device refused a bind group: ${error.message}`),
      ),
    )
  }

  readonly #layout = (reads: number, writes: number): GPUBindGroupLayout =>
    this.#pipelines.layout(reads, writes).bindGroup

  allocate(bytes: number, reason: () => string): GPUStorage {
    this.#failures.check()
    const size = BufferPool.roundUp(bytes)
    const limit = Math.min(this.#adapter.maxBufferBytes, this.#adapter.maxBindingBytes)
    if (size > limit) {
      throw new TweedieError(
        'limit-exceeded',
        `${reason()} needs a buffer of ${size} bytes, but one buffer of ${this.#adapter.name} holds ${limit}: ` +
          'use a smaller batch, or request the device with the memory the model needs.',
      )
    }
    const recorder = this.#recorder
    const reused = recorder?.take(size) ?? this.#pool.take(size)
    if (reused) return recorder?.own(reused) ?? reused
    this.#destroy(this.#pool.excess())
    const { liveBuffers, liveBytes } = this.stats
    const storage = this.#pool.add(
      size,
      this.#failures.guard(
        () =>
          this.gpuDevice.createBuffer({
            size,
            usage: bufferUsage.storage | bufferUsage.copySource | bufferUsage.copyTarget,
          }),
        (error) => {
          // Never to be handed out again; and whoever tries with less will want all there is.
          storage.broken = true
          this.#destroy(this.#pool.trim())
          return new TweedieError(
            'out-of-memory',
            `${reason()}: the device could not allocate ${mebibytes(size)} more. ` +
              `${memoryAdvice({ liveBuffers, liveBytes })}. (${error.message})`,
          )
        },
      ),
    )
    this.stats.objectsCreated++
    return recorder?.own(storage) ?? storage
  }

  free(storage: Storage): void {
    if (this.#disposed) return
    const freed = storage as GPUStorage
    if (this.#recorder?.free(freed)) return
    if (freed.pins > 0) freed.released = true
    else this.#release(freed)
  }

  #release(storage: GPUStorage): void {
    if (storage.adopted) this.#bindGroups.forget([storage])
    else this.#pool.give(storage)
  }

  async submit(): Promise<void> {
    this.#failures.check()
    await this.#queue.drain(this.#failures.count)
  }

  bufferOf(storage: Storage): GPUBuffer {
    return (storage as GPUStorage).buffer
  }

  adopt(buffer: GPUBuffer, bytes: number): GPUStorage {
    const limit = this.#adapter.maxBindingBytes
    if (buffer.size > limit)
      throw new TweedieError(
        'limit-exceeded',
        `fromGPUBuffer: the buffer has ${buffer.size} bytes, but a kernel of ${this.#adapter.name} sees ${limit} of ` +
          'one: request the device with `need`, or use a smaller buffer.',
      )
    return this.#pool.adopt(buffer, bytes)
  }

  part(storage: Storage, offset: number, bytes: number): GPUStorage {
    return this.#pool.part(storage as GPUStorage, offset, bytes)
  }

  /** Destroys buffers of the pool once the commands that use them are submitted. */
  #destroy(storages: readonly GPUStorage[]): void {
    if (storages.length === 0) return
    this.#bindGroups.forget(storages)
    for (const { buffer } of storages) this.#queue.enqueue({ kind: 'destroy', buffer })
  }

  write(storage: Storage, data: Live<ArrayBufferView>): void {
    this.#failures.check()
    const values = now(data)
    this.#queue.write(storage as GPUStorage, values)
    this.#recorder?.write(storage as GPUStorage, data, values)
  }

  copy(source: Storage, target: Storage, bytes: number): void {
    this.#failures.check()
    const [from, to] = [source as GPUStorage, target as GPUStorage]
    if (from.buffer === to.buffer) {
      // WebGPU does not copy within a buffer.
      const between = this.allocate(bytes, () => 'a copy within a buffer')
      this.copy(from, between, bytes)
      this.copy(between, to, bytes)
      return this.free(between)
    }
    this.#recorder?.copy(from, to, bytes)
    this.#queue.enqueue({ kind: 'copy', source: from, target: to, bytes })
  }

  async read(storage: Storage, bytes: number): Promise<ArrayBuffer> {
    this.#failures.check()
    this.#refuseInRecord('read')
    const since = this.#failures.count
    this.stats.reads++
    const size = Math.ceil(bytes / 4) * 4
    const staging = this.#stage(size)
    let whole = false
    // The copy has its place among the commands: the tensor may be overwritten or freed as soon as this call returns.
    this.#queue.enqueue({
      kind: 'copy',
      source: storage as GPUStorage,
      target: { buffer: staging, offset: 0 },
      bytes: size,
    })
    try {
      const compiling = this.#queue.drain(since)
      if (compiling) await compiling
      const waited = this.#budget.wait()
      const unmapped = await this.waitFor(staging.mapAsync(mapRead), this.#nudge).catch((cause: unknown) => ({
        cause,
      }))
      waited()
      await this.#failures.judge(since)
      if (unmapped) {
        this.#failures.fail(
          new TweedieError('device-lost', 'The GPU device went away while a result was read.', unmapped),
        )
        this.#failures.check()
      }
      const found = staging.getMappedRange().slice(0, bytes)
      whole = true
      return found
    } finally {
      if (whole && size <= maxStaged && this.#staged.length < 4 && !this.#disposed) {
        staging.unmap()
        this.#staged.push(staging)
      } else staging.destroy()
    }
  }

  /** A buffer that the host can read, of that size. */
  #stage(size: number): GPUBuffer {
    const kept = this.#staged.findIndex((staging) => staging.size === size)
    if (kept >= 0) return this.#staged.splice(kept, 1)[0]
    // What nobody asked for makes room for what was.
    if (this.#staged.length === 4) this.#staged.shift()?.destroy()
    this.stats.objectsCreated++
    return this.#failures.guard(
      () => this.gpuDevice.createBuffer({ size, usage: bufferUsage.mapRead | bufferUsage.copyTarget }),
      (error) =>
        new TweedieError(
          'out-of-memory',
          `read: the device could not allocate ${mebibytes(size)} more. ` +
            `${memoryAdvice(this.stats)}. (${error.message})`,
        ),
    )
  }

  run(op: string, params: unknown, inputs: readonly View[], outputs: readonly View[], user: string = op): void {
    this.#failures.check()
    const name = (): string => formatCall(user, inputs, outputs)
    const temporaries: GPUStorage[] = []
    const recorder = this.#recorder
    const since = recorder?.noted.length ?? 0
    let live = false
    const encoder: Encoder = {
      capabilities: this.capabilities,
      dispatch: (dispatch) => this.#dispatch(dispatch, name),
      clear: ({ storage }) => {
        const target = storage as GPUStorage
        this.#queue.enqueue({ kind: 'clear', target })
        recorder?.clear(target)
      },
      temporary: (bytes) => {
        const storage = this.allocate(bytes, () => `a temporary of ${name()}`)
        temporaries.push(storage)
        return { storage }
      },
      choose: (key, candidates, fallback, kernelOf) => {
        const again: Choice['again'] = (from, to) => this.run(op, params, from, to, user)
        const text = (): string => this.#textOf(candidates, kernelOf)
        this.onChoice?.({ key, candidates, fallback, text, inputs, outputs, again })
        return this.#choose(key, candidates, fallback, kernelOf)
      },
      now: (value) => {
        live ||= typeof value === 'function'
        return now(value)
      },
    }
    // The op table's keys are the ops' names (a test holds them together), and a launch takes its op's parameters.
    const launch: Launch<never> = op === 'kernel' ? kernel : launches[op as OpName]
    try {
      launch(encoder, params as never, inputs, outputs)
      if (recorder && live) {
        const [from, to] = [inputs.map(viewOf), outputs.map(viewOf)]
        recorder.live(since, (other) => launch(other, params as never, from, to))
      }
    } finally {
      for (const storage of temporaries) this.free(storage)
    }
  }

  readonly #choose: Encoder['choose'] = (key, candidates, fallback, kernelOf) => {
    const chosen = this.choices.get(key)
    if (chosen === undefined || !candidates.includes(chosen)) return fallback
    const told = this.#recalled.get(key)
    if (told === undefined) return chosen
    // What an earlier run measured is looked at when it is first used.
    this.#recalled.delete(key)
    if (told.variant !== chosen || told.text === this.#textOf(candidates, kernelOf)) return chosen
    this.choices.delete(key)
    this.winners.delete(key)
    return fallback
  }

  /** A hash of the WGSL of candidates; many choices have the same ones, and a kernel's key stands for its text. */
  #textOf(candidates: readonly string[], kernelOf: (variant: string) => Pick<Dispatch, 'key' | 'code'>): string {
    return hashText(
      candidates.map((name) => {
        const { key, code } = kernelOf(name)
        const known = this.#texts.get(key) ?? hashText([code()])
        this.#texts.set(key, known)
        return `${name} ${known}`
      }),
    )
  }

  /** Takes what was measured before, here or by others; each holds while the text of its candidates is the same. */
  recall(winners: Winners): void {
    for (const [key, winner] of Object.entries(winners)) {
      this.choices.set(key, winner.variant)
      this.winners.set(key, winner)
      this.#recalled.set(key, winner)
    }
  }

  #dispatch(dispatch: Dispatch, name: () => string): void {
    const { key, code, read, write, grid } = dispatch
    const bindings = this.#bindings
    if (read.length + write.length > bindings) {
      throw new TweedieError(
        'limit-exceeded',
        `${name()}: kernel ${key} needs ${read.length + write.length} buffers at once, the device allows ` +
          `${bindings}: split the operation.`,
      )
    }
    const { maxGrid } = this.capabilities
    if (grid[0] > maxGrid || grid[1] > maxGrid || grid[2] > maxGrid) {
      throw new TweedieError(
        'limit-exceeded',
        `${name()}: kernel ${key} needs ${grid.join(' x ')} workgroups, the device allows ` +
          `${maxGrid} a dimension: use a smaller batch.`,
      )
    }
    const pipeline = this.#pipelines.get(key, code, read.length, write.length, name)
    this.stats.bytes += bytesGiven(dispatch)
    this.#queue.dispatch(pipeline, this.#bindGroups.get(dispatch), dispatch, name)
    this.#recorder?.dispatch(dispatch, pipeline, name)
  }

  /** Asked at every compute pass that is encoded how it is to be timed. */
  get onPass(): (() => GPUComputePassDescriptor | undefined) | null {
    return this.#queue.onPass
  }

  set onPass(ask: (() => GPUComputePassDescriptor | undefined) | null) {
    this.#queue.onPass = ask
  }

  /** Enqueues a kernel that does nothing: what a dispatch costs, and submitting and waiting with it. */
  idle(): void {
    this.#failures.check()
    const code = (): string => '@compute @workgroup_size(1) fn main() {}\n'
    this.#dispatch({ key: 'idle', code, uniforms: [], read: [], write: [], grid: [1, 1, 1] }, () => 'an idle kernel')
  }

  async tune(work: () => void, options: TuneOptions): Promise<void> {
    const { tuneKernels } = await chunk('webgpu-unavailable', 'that measures kernels', import('./tuner.ts'))
    return tuneKernels(this, this.identity, work, options)
  }

  record(f: () => void): Recording {
    this.#failures.check()
    this.#refuseInRecord('record')
    const recorder = new Recorder(this.#arena)
    this.#arena.enter()
    this.#recorder = recorder
    try {
      try {
        f()
      } finally {
        this.#recorder = null
        recorder.end()
      }
      return this.#program(recorder)
    } catch (error) {
      this.#letGo(recorder.pinned)
      throw error
    }
  }

  #program(recorder: Recorder): Program {
    const { gpuDevice, stats, capabilities } = this
    const program: Program = new Program(
      {
        gpuDevice,
        stats,
        capabilities,
        queue: this.#queue,
        failures: this.#failures,
        choose: this.#choose,
        layout: this.#layout,
        letGo: (pinned) => {
          this.#programs.delete(program)
          this.#letGo(pinned)
        },
      },
      recorder,
    )
    this.#programs.add(program)
    return program
  }

  #letGo(pinned: Iterable<GPUStorage>): void {
    if (this.#disposed) return
    for (const storage of pinned) {
      if (--storage.pins > 0 || !storage.released) continue
      storage.released = false
      this.#release(storage)
    }
    for (const storage of this.#arena.leave()) this.#pool.give(storage)
  }

  #refuseInRecord(user: string): void {
    if (this.#recorder)
      throw new TweedieError(
        'unsupported',
        `${user}: a program is being recorded, whose function may only enqueue: take this out of it.`,
      )
  }

  async flush(): Promise<void> {
    this.#failures.check()
    this.#refuseInRecord('flush')
    const since = this.#failures.count
    // At once where that can be: what the caller enqueues next is not waited for.
    const compiling = this.#queue.drain(since)
    if (compiling) await compiling
    const waited = this.#budget.wait()
    // It rejects where the device was lost, of which `lost` tells more.
    await this.waitFor(this.gpuDevice.queue.onSubmittedWorkDone(), this.#nudge).catch(() => {})
    waited()
    await this.#failures.judge(since)
  }

  dispose(): void {
    if (this.#disposed) return
    for (const program of this.#programs) program.dispose()
    this.#disposed = true
    this.#failures.dispose()
    this.#queue.dispose()
    this.#pool.dispose()
    this.#bindGroups.clear()
    for (const staging of this.#staged.splice(0)) staging.destroy()
    this.stats.liveBuffers = 0
    this.stats.liveBytes = 0
    if (this.#owned) this.gpuDevice.destroy()
  }
}
