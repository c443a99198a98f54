import { TweedieError } from '../../errors.ts'
import { partOf, type Backend, type BackendStats, type Storage, type View } from '../backend.ts'
import { now, type Live } from '../live.ts'
import { mebibytes, memoryAdvice } from '../need.ts'
import type { OpName } from '../ops/index.ts'
import { formatCall } from '../shape.ts'
import { kernelNames } from './generated/kernels.ts'
import { layouts } from './generated/params.ts'
import {
  cut,
  type CompiledKernel,
  type Encoder,
  type Job,
  type Kernel,
  type Launch,
  type MemoryType,
} from './launch.ts'
import { launches } from './launches/index.ts'
import { Heap } from './memory.ts'
import { fieldsOf, putParams, wordsOf, type Buffer, type Fields, type Layout } from './params.ts'
import {
  commandWords,
  growCommand,
  heapBase,
  job as word,
  maxChunks,
  writeCommand,
  type StartMessage,
  type WorkerReply,
} from './protocol.ts'
import { Workers, type Place } from './workers.ts'

export interface CPUStorage extends Storage {
  readonly address: number
  freed: boolean
  /** Whether it is a piece of another, whose memory it is. */
  readonly isPart: boolean
  /** Whether its values came from outside, as weights do, and not from an op. */
  written: boolean
  /** Copies in kernels' own orders, by key. */
  packed: Map<string, { readonly storage: CPUStorage; version: number }> | null
}

export interface CPUSetup {
  readonly module: Uint8Array<ArrayBuffer>
  /** 0: on the calling thread. */
  readonly threads: number
  readonly workerUrl: string | URL | undefined
  readonly relaxed: boolean
  /** Null where there is no SharedArrayBuffer. */
  readonly shared: { readonly memory: WebAssembly.Memory; readonly control: Int32Array } | null
  readonly maximumPages: number
}

/** The kernels of `src/wasm`, which are called by their numbers. */
const named = new Map<string, CompiledKernel>(
  kernelNames.map((name, number) => [name, { address: number, fields: fieldsOf(layouts[name]) }]),
)
/** Enough to hide the message's 50 µs behind work, few enough that the workers begin early. */
const jobsPerBatch = 32
/** Names of jobs are kept for error messages; older ones are done. */
const namesKept = 20_000
const pageBytes = 65536

/**
 * The CPU backend: WebAssembly SIMD kernels on worker threads. It is memory and the writing of jobs; `protocol.ts`
 * says what travels, `worker.ts` runs it. The host only enqueues, so a page's main thread is never blocked, and the
 * same messages serve one thread with memory of its own where SharedArrayBuffer is missing.
 */
export class CPUBackend implements Backend {
  readonly kind = 'cpu'
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
  /** Null where the leader has memory of its own. */
  #memory: WebAssembly.Memory | null
  readonly #threads: number
  /** Bytes that can be addressed. */
  readonly #limit: number
  readonly #workers: Workers
  readonly #heap = new Heap(heapBase)
  readonly #compiled = new Map<string, CompiledKernel>()
  readonly #memoryType: MemoryType
  readonly #words = new Int32Array(commandWords)
  readonly #floats = new Float32Array(this.#words.buffer)
  #length = 0
  #jobs = 0
  #data: Uint8Array<ArrayBuffer>[] = []
  #pages: number
  #scratch: { address: number; stride: number } = { address: 0, stride: 0 }
  #packedBytes = 0
  /** Who has packed copies, and which copies the op that is being enqueued reads. */
  readonly #packed = new Set<CPUStorage>()
  readonly #needed = new Set<CPUStorage>()
  /** Names of the jobs that were posted, the first being number `#named`. */
  #names: (() => string)[] = []
  #named = 0
  #disposed = false

  static async start(setup: CPUSetup): Promise<CPUBackend> {
    let backend: CPUBackend | null = null
    const workers = await Workers.start(startsOf(setup), placeOf(setup), (reply) =>
      (backend as CPUBackend).#explain(reply),
    )
    return (backend = new CPUBackend(setup, workers))
  }

  private constructor(setup: CPUSetup, workers: Workers) {
    this.#memory = setup.shared?.memory ?? null
    this.#threads = Math.max(1, setup.threads)
    this.#limit = setup.maximumPages * pageBytes
    this.#workers = workers
    this.#pages = this.#memory ? this.#memory.buffer.byteLength / pageBytes : initialPages
    this.#memoryType = { shared: setup.shared !== null, initial: 1, maximum: 65536, relaxed: setup.relaxed }
  }

  allocate(bytes: number, reason: () => string): CPUStorage {
    this.#workers.check()
    const storage: CPUStorage = {
      bytes: Heap.roundUp(bytes),
      version: 0,
      address: this.#take(bytes, reason),
      freed: false,
      isPart: false,
      written: false,
      packed: null,
    }
    this.stats.liveBuffers++
    this.stats.liveBytes += storage.bytes
    this.stats.peakBytes = Math.max(this.stats.peakBytes, this.stats.liveBytes)
    return storage
  }

  /** Memory that is nobody's tensor. */
  #take(bytes: number, reason: () => string): number {
    // The last 64 bytes stay free: the end of a tensor that ends at 2^32 is 0 to a kernel, and its loops would not run.
    const limit = this.#limit - 64
    let address = this.#heap.take(bytes, limit)
    if (address === null) {
      // Packed copies can be made again.
      for (const source of this.#packed) this.#dropPacked(source)
      address = this.#heap.take(bytes, limit)
    }
    if (address === null) {
      throw new TweedieError(
        'limit-exceeded',
        `${reason()} needs ${mebibytes(bytes)} more, but the CPU backend addresses ${mebibytes(this.#limit)} in ` +
          `all. ${memoryAdvice(this.stats)}, or a GPU.`,
      )
    }
    const needed = Math.ceil(this.#heap.end / pageBytes)
    if (needed > this.#pages) {
      try {
        this.#grow(needed)
      } catch (cause) {
        this.#heap.give(address, bytes)
        throw new TweedieError(
          'out-of-memory',
          `${reason()}: the system did not give ${mebibytes(needed * pageBytes)} in all. ` +
            `${memoryAdvice(this.stats)}, or close what else needs memory.`,
          { cause },
        )
      }
    }
    return address
  }

  #grow(needed: number): void {
    // A quarter more, so that growing is rare.
    let pages = Math.min(this.#limit / pageBytes, Math.max(needed, Math.ceil(this.#pages * 1.25)))
    // Memory of the leader's own is grown by the leader; should it be refused, the error comes with the next wait.
    if (this.#memory) {
      try {
        this.#memory.grow(pages - this.#pages)
      } catch {
        pages = needed
        this.#memory.grow(pages - this.#pages)
      }
    } else this.#command(growCommand, [pages], () => `more memory (${pages * pageBytes} bytes)`)
    this.#pages = pages
    this.stats.objectsCreated++
  }

  free(storage: Storage): void {
    const freed = storage as CPUStorage
    if (this.#disposed || freed.freed) return
    freed.freed = true
    if (!freed.isPart) {
      this.stats.liveBuffers--
      this.stats.liveBytes -= freed.bytes
      this.#heap.give(freed.address, freed.bytes)
    }
    this.#dropPacked(freed)
  }

  part(storage: Storage, offset: number, bytes: number): CPUStorage {
    const address = (storage as CPUStorage).address + offset
    return partOf(storage, { bytes, version: 0, address, freed: false, isPart: true, written: false, packed: null })
  }

  /** Frees what there is of `source` in kernels' own orders, but for what the op at hand reads. */
  #dropPacked(source: CPUStorage): void {
    for (const [key, { storage: copy }] of source.packed ?? []) {
      if (this.#needed.has(copy)) continue
      this.#packedBytes -= copy.bytes
      this.#heap.give(copy.address, copy.bytes)
      source.packed?.delete(key)
    }
    if (!source.packed?.size) this.#packed.delete(source)
  }

  write(storage: Storage, live: Live<ArrayBufferView>): void {
    this.#workers.check()
    const data = now(live)
    const target = storage as CPUStorage
    target.written = true
    const bytes = new Uint8Array(data.byteLength)
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    this.#writeBytes(target.address, bytes)
  }

  #writeBytes(address: number, bytes: Uint8Array<ArrayBuffer>): void {
    // Room first: posting the batch takes its data along.
    this.#room(word.params + 2)
    this.#data.push(bytes)
    this.#command(writeCommand, [address, this.#data.length - 1], () => `a write of ${bytes.byteLength} bytes`)
    // Large data is handed over at once, so that a whole checkpoint is not held twice.
    if (bytes.byteLength > 2 ** 20) this.#submit()
  }

  copy(source: Storage, target: Storage, bytes: number): void {
    this.#workers.check()
    ;(target as CPUStorage).written = true
    const words = Math.ceil(bytes / 4)
    const { chunks, each } = cut(words, 2 ** 16)
    this.#encode(
      {
        kernel: 'copyWords',
        chunks,
        params: { target: { storage: target }, source: { storage: source }, words, each },
      },
      () => 'a copy',
    )
  }

  async read(storage: Storage, bytes: number): Promise<ArrayBuffer> {
    this.stats.reads++
    return this.#wait((storage as CPUStorage).address, bytes)
  }

  async flush(): Promise<void> {
    await this.#wait(0, 0)
  }

  async #wait(address: number, bytes: number): Promise<ArrayBuffer> {
    this.#workers.check()
    this.#submit()
    const last = this.#named + this.#names.length
    const result = await this.#workers.read(address, bytes)
    if (last > this.#named) {
      this.#names.splice(0, last - this.#named)
      this.#named = last
    }
    return result
  }

  run(op: string, params: unknown, inputs: readonly View[], outputs: readonly View[], user: string = op): void {
    this.#workers.check()
    const name = (): string => formatCall(user, inputs, outputs)
    const temporaries: CPUStorage[] = []
    const encoder: Encoder = {
      run: (job) => this.#encode(job, name),
      clear: (target) => this.#clear(target, name),
      temporary: (bytes) => {
        const storage = this.allocate(bytes, () => `a temporary of ${name()}`)
        temporaries.push(storage)
        return { storage }
      },
      packed: (source, key, bytes, pack) => this.#pack(source.storage as CPUStorage, key, bytes, pack, name),
      compile: (key, fields, code) => this.#compile(key, fields, code, name),
    }
    // The op table's keys are the ops' names (a test holds them together), and a launch takes its op's parameters.
    const launch: Launch<never> = launches[op as OpName]
    try {
      launch(encoder, params as never, inputs, outputs)
    } finally {
      this.#needed.clear()
      for (const storage of temporaries) this.free(storage)
    }
  }

  #clear(target: Buffer, name: () => string): void {
    const words = target.storage.bytes / 4
    const { chunks, each } = cut(words, 2 ** 16)
    this.#encode({ kernel: 'fill', chunks, params: { target, words, value: 0, each } }, name)
  }

  #pack(
    source: CPUStorage,
    key: string,
    bytes: number,
    pack: (target: Buffer) => void,
    name: () => string,
  ): Buffer | null {
    if (!source.written) return null
    source.packed ??= new Map()
    let copy = source.packed.get(key)
    if (!copy) {
      const size = Heap.roundUp(bytes)
      // A quarter of what can be addressed: packed copies of the largest models must not crowd out their activations.
      if (this.#packedBytes + size > this.#limit / 4) return null
      const address = this.#take(bytes, () => `packed weights of ${name()}`)
      this.#packedBytes += size
      const storage = { bytes: size, version: 0, address, freed: false, isPart: false, written: false, packed: null }
      copy = { storage, version: -1 }
      source.packed.set(key, copy)
      this.#packed.add(source)
    }
    this.#needed.add(copy.storage)
    if (copy.version !== source.version) {
      pack(copy)
      copy.version = source.version
    }
    return copy
  }

  #compile<L extends Layout>(
    key: string,
    fields: Fields<L>,
    code: (memory: MemoryType) => Uint8Array,
    name: () => string,
  ): CompiledKernel<L> {
    const known = this.#compiled.get(key)
    if (known) return known as CompiledKernel<L>
    const module = code(this.#memoryType)
    const bytes = new Uint8Array(4 + module.byteLength)
    new DataView(bytes.buffer).setInt32(0, module.byteLength, true)
    bytes.set(module, 4)
    const address = this.#take(bytes.byteLength, () => `the kernel of ${name()}`)
    this.#writeBytes(address, bytes)
    const made = { address, fields }
    this.#compiled.set(key, made)
    this.stats.objectsCreated++
    return made
  }

  #encode<K extends Kernel>({ kernel, chunks, params, scratch = 0, flops = 0 }: Job<K>, name: () => string): void {
    if (!(chunks >= 1))
      throw new TweedieError('device-error', `${name()}: a job of ${chunks} chunks, which is a defect of this library.`)
    const { address, fields } = typeof kernel === 'string' ? (named.get(kernel) as CompiledKernel) : kernel
    this.stats.dispatches++
    this.stats.flops += flops
    if (scratch > this.#scratch.stride) this.#growScratch(scratch, name)
    const length = wordsOf(fields, params)
    for (let first = 0; first < chunks; first += maxChunks) {
      const at = this.#begin(address, length)
      this.#words[at + word.chunks] = Math.min(chunks - first, maxChunks)
      this.#words[at + word.first] = first
      this.#words[at + word.scratch] = scratch > 0 ? this.#scratch.address : 0
      this.#words[at + word.stride] = scratch > 0 ? this.#scratch.stride : 0
      putParams(fields, params, this.#words, this.#floats, at + word.params, ({ storage }) => {
        if (first === 0) this.stats.bytes += storage.bytes
        return (storage as CPUStorage).address
      })
      this.#end(name)
    }
  }

  #growScratch(bytes: number, name: () => string): void {
    // Jobs run in order, so the old scratch may be someone else's from now on.
    if (this.#scratch.stride > 0) this.#heap.give(this.#scratch.address, this.#scratch.stride * this.#threads)
    // The odd 64 bytes keep threads from meeting in the same cache sets.
    const stride = Heap.roundUp(bytes) + 64
    this.#scratch = { stride: 0, address: 0 }
    this.#scratch = { address: this.#take(stride * this.#threads, () => `scratch memory of ${name()}`), stride }
    this.stats.objectsCreated++
  }

  #room(words: number): void {
    if (this.#length + words > commandWords) this.#submit()
  }

  /** Something that the leader does itself. */
  #command(kernel: number, params: readonly number[], name: () => string): void {
    const at = this.#begin(kernel, params.length)
    this.#words[at + word.chunks] = 1
    this.#words.fill(0, at + word.first, at + word.length)
    this.#words.set(params, at + word.params)
    this.#end(name)
  }

  /** Where a job's words go, `length` of them its parameters. */
  #begin(kernel: number, length: number): number {
    this.#room(word.params + length)
    const at = this.#length
    this.#length += word.params + length
    this.#words[at + word.kernel] = kernel
    this.#words[at + word.length] = word.params + length
    return at
  }

  /** The job's words are there. */
  #end(name: () => string): void {
    this.#names.push(name)
    if (this.#names.length > 2 * namesKept) {
      this.#names.splice(0, namesKept)
      this.#named += namesKept
    }
    if (++this.#jobs >= jobsPerBatch) this.#submit()
  }

  #submit(): void {
    if (this.#length === 0) return
    const words = this.#words.slice(0, this.#length)
    this.#workers.post({ kind: 'batch', words, data: this.#data }, [
      words.buffer,
      ...this.#data.map(({ buffer }) => buffer),
    ])
    this.#length = 0
    this.#jobs = 0
    this.#data = []
    this.stats.submits++
  }

  #explain({ job, message, memory }: Extract<WorkerReply, { kind: 'failure' }>): TweedieError {
    const name = this.#names[job - this.#named]?.() ?? 'an operation'
    return memory
      ? new TweedieError(
          'out-of-memory',
          `${name}: the system did not give the memory (${message}). ${memoryAdvice(this.stats)}, or ` +
            'close what else needs memory.',
        )
      : new TweedieError(
          'device-error',
          `${name} failed on the CPU backend (${message}). Request a new device; if it happens again it is ` +
            'a defect of this library.',
        )
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#workers.stop(new TweedieError('disposed', 'The device was disposed.'))
    this.#memory = null
    this.stats.liveBuffers = 0
    this.stats.liveBytes = 0
  }
}

/** 16 MiB: the kernels' module, the batch and a small model. */
export const initialPages = 256

/** What each worker is told. (Not in `start`: the closure there would keep the memory of a disposed device alive.) */
function startsOf({ module, threads, shared, maximumPages }: CPUSetup): Omit<StartMessage, 'kind' | 'thread'>[] {
  const memory = shared?.memory ?? { pages: initialPages, maximum: maximumPages }
  return Array.from({ length: Math.max(1, threads) }, () => ({ module, memory, control: shared?.control ?? null }))
}

const placeOf = ({ threads, workerUrl }: CPUSetup): Place => ({ here: threads === 0, url: workerUrl })
