/**
 * What runs in a worker. The leader takes batches from its messages and runs them job by job; helpers wait for jobs in
 * shared memory and never return to their event loop. Chunks are claimed by ticket, so a thread that is slow, or has
 * not started, takes fewer, and nobody waits for one that has claimed nothing.
 *
 * The ticket holds the job's generation beside the next chunk. Whoever has claimed a chunk with a
 * compare-and-swap knows that the job it looked at was still the current one: the leader closes the ticket before
 * it touches the job's words.
 *
 * This file is bundled to a string by `scripts/kernels.js`, and runs on the calling thread where there is no worker
 * (`here.ts`); it may import types and constants only.
 */
import {
  closed,
  commandBase,
  control as words,
  firstCodeAddress,
  growCommand,
  job as word,
  writeCommand,
  type LeaderMessage,
  type StartMessage,
  type WorkerReply,
} from './protocol.ts'

type Kernel = (params: number, chunk: number, scratch: number) => void

export interface Port {
  post(message: WorkerReply, transfer?: ArrayBuffer[]): void
  receive(listener: (message: StartMessage | LeaderMessage) => void): void
}

/** About 20 µs: two jobs of a forward pass are less apart, and waking a thread takes 50 µs. */
const spins = 2000

/** `program` is told to whom the messages come from. */
export function work(port: Port, program: string): void {
  let started: ((message: LeaderMessage) => void) | null = null
  port.receive((message) => {
    if (message.kind !== 'start') return started?.(message)
    try {
      const thread = new Thread(message)
      port.post({ kind: 'ready', program })
      if (message.thread > 0) thread.help()
      else started = lead(thread, port)
    } catch (error) {
      port.post({ kind: 'refused', message: String(error), memory: error instanceof RangeError })
    }
  })
}

class Thread {
  readonly memory: WebAssembly.Memory
  readonly control: Int32Array | null
  readonly index: number
  readonly #kernels: Kernel[]
  readonly #made = new Map<number, Kernel>()
  #view: Int32Array

  constructor({ module: bytes, memory, control, thread }: StartMessage) {
    this.memory =
      memory instanceof WebAssembly.Memory
        ? memory
        : new WebAssembly.Memory({ initial: memory.pages, maximum: memory.maximum })
    this.control = control
    this.index = thread
    const module = new WebAssembly.Module(bytes)
    const { exports } = new WebAssembly.Instance(module, { env: { memory: this.memory } })
    this.#kernels = WebAssembly.Module.exports(module).map(({ name }) => exports[name] as Kernel)
    this.#view = new Int32Array(this.memory.buffer)
  }

  /** Memory as words; made anew after the memory grew. */
  get view(): Int32Array {
    if (this.#view.byteLength === 0 || this.#view.buffer !== this.memory.buffer)
      this.#view = new Int32Array(this.memory.buffer)
    return this.#view
  }

  kernel(number: number): Kernel {
    const address = number >>> 0
    return address < firstCodeAddress ? this.#kernels[address] : (this.#made.get(address) ?? this.#make(address))
  }

  /**
   * Compiles a module that the host put into memory: its length in bytes, then its bytes; its one export is the kernel.
   */
  #make(address: number): Kernel {
    const length = this.view[address >>> 2]
    const bytes = new Uint8Array(this.memory.buffer, address + 4, length).slice()
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory: this.memory } })
    const made = Object.values(exports)[0] as Kernel
    this.#made.set(address, made)
    return made
  }

  /** Claims and runs chunks of the current job until there are none left; returns the ticket last seen. */
  claim(control: Int32Array): number {
    for (;;) {
      const ticket = Atomics.load(control, words.ticket)
      const chunk = ticket & closed
      if (chunk === closed) return ticket
      const job = Atomics.load(control, words.job)
      const at = job >>> 2
      const { view } = this
      const [number, chunks, first, scratch, stride] = [
        view[at + word.kernel],
        view[at + word.chunks],
        view[at + word.first],
        view[at + word.scratch],
        view[at + word.stride],
      ]
      if (chunk >= chunks) return ticket
      if (Atomics.compareExchange(control, words.ticket, ticket, ticket + 1) !== ticket) continue
      try {
        this.kernel(number)(job + word.params * 4, first + chunk, scratch + this.index * stride)
      } catch (error) {
        // The leader knows which job it is, and says so.
        Atomics.store(control, words.trapped, 1)
        if (this.index === 0) throw error
      } finally {
        if (Atomics.sub(control, words.left, 1) === 1) Atomics.notify(control, words.left)
      }
    }
  }

  help(): never {
    const control = this.control as Int32Array
    for (;;) {
      const seen = this.claim(control)
      let spin = spins
      while (spin > 0 && Atomics.load(control, words.ticket) === seen) spin--
      if (spin === 0) Atomics.wait(control, words.ticket, seen)
    }
  }
}

function lead(thread: Thread, port: Port): (message: LeaderMessage) => void {
  const { control, memory } = thread
  let generation = 0
  let jobs = 0
  let failed = false

  const run = (address: number): void => {
    const at = address >>> 2
    const { view } = thread
    const chunks = view[at + word.chunks]
    if (!control || chunks === 1) {
      const kernel = thread.kernel(view[at + word.kernel])
      const [first, scratch] = [view[at + word.first], view[at + word.scratch]]
      for (let chunk = 0; chunk < chunks; chunk++) kernel(address + word.params * 4, first + chunk, scratch)
      return
    }
    generation = (generation + 1) & 0xfffff
    Atomics.store(control, words.job, address)
    Atomics.store(control, words.left, chunks)
    Atomics.store(control, words.ticket, generation << 12)
    Atomics.notify(control, words.ticket)
    thread.claim(control)
    let spin = spins
    for (let left = Atomics.load(control, words.left); left > 0; left = Atomics.load(control, words.left)) {
      if (--spin <= 0) Atomics.wait(control, words.left, left)
    }
    Atomics.store(control, words.ticket, (generation << 12) | closed)
    if (Atomics.load(control, words.trapped) !== 0) throw new Error('a kernel trapped on a helper thread')
  }

  const batch = (source: Int32Array, data: readonly Uint8Array[]): void => {
    thread.view.set(source, commandBase >>> 2)
    for (let at = 0; at < source.length; at += source[at + word.length]) {
      const kernel = source[at + word.kernel]
      jobs++
      if (kernel === writeCommand) {
        new Uint8Array(memory.buffer).set(data[source[at + word.params + 1]], source[at + word.params] >>> 0)
      } else if (kernel === growCommand) {
        const missing = source[at + word.params] - memory.buffer.byteLength / 65536
        if (missing > 0) memory.grow(missing)
      } else {
        run(commandBase + at * 4)
      }
    }
  }

  return (message) => {
    if (message.kind === 'read') {
      const from = message.address >>> 0
      const bytes = new Uint8Array(message.bytes)
      if (!failed) bytes.set(new Uint8Array(memory.buffer, from, message.bytes))
      return port.post({ kind: 'data', id: message.id, bytes: bytes.buffer }, [bytes.buffer])
    }
    // After a failure nothing runs: what follows would compute with values that are not there.
    if (failed) return
    try {
      batch(message.words, message.data)
    } catch (error) {
      failed = true
      port.post({ kind: 'failure', job: jobs - 1, message: String(error), memory: error instanceof RangeError })
    }
  }
}
