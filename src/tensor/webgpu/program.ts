import { TweedieError } from '../../errors.ts'
import type { BackendStats, Recording } from '../backend.ts'
import { now } from '../live.ts'
import { BindGroups } from './bind-groups.ts'
import { bytesGiven, workOf } from './budget.ts'
import type { GPUStorage } from './buffers.ts'
import type { Failures } from './failures.ts'
import { bufferUsage } from './flags.ts'
import type { Encoder } from './launch.ts'
import { slotBytes, type Command, type CommandQueue } from './queue.ts'
import { changed, type LiveLaunch, type Noted, type NotedDispatch, type Recorder } from './record.ts'

/** What of the backend a program runs with. */
export interface ProgramHost {
  readonly gpuDevice: GPUDevice
  readonly stats: BackendStats
  readonly queue: CommandQueue
  readonly failures: Failures
  readonly capabilities: Encoder['capabilities']
  readonly choose: Encoder['choose']
  layout(reads: number, writes: number): GPUBindGroupLayout
  /** The program is gone: what it had pinned may go back to the pool. */
  letGo(pinned: Iterable<GPUStorage>): void
}

const places = (bytes: number): number => Math.ceil(bytes / slotBytes) * slotBytes

/**
 * Commands that are run again as they are: pipelines, bind groups and grids are frozen, and one buffer of the program's
 * own holds every uniform at the dynamic offset of its dispatch, and what the host wrote, which is copied from there.
 * What changes from replay to replay stands at the beginning of it and travels in one write; the launches that asked
 * for something live are run again for it, which are some ten of the hundreds of a network.
 */
export class Program implements Recording {
  readonly #host: ProgramHost
  readonly #commands: readonly Command[]
  readonly #launches: readonly LiveLaunch[]
  /** What each replay writes, and where. */
  readonly #writes: { readonly data: () => ArrayBufferView; readonly offset: number; readonly bytes: number }[] = []
  readonly #pinned: ReadonlySet<GPUStorage>
  readonly #written: readonly GPUStorage[]
  readonly #data: GPUBuffer
  /** The part that each replay writes. */
  readonly #live: Uint8Array<ArrayBuffer>
  readonly #offsets = new Map<NotedDispatch, number>()
  readonly #cost = { dispatches: 0, flops: 0, bytes: 0, work: 0 }
  #disposed = false

  constructor(host: ProgramHost, { noted, launches, pinned, written }: Recorder) {
    this.#host = host
    this.#launches = launches
    this.#pinned = pinned
    this.#written = [...written]
    const { size, live, offsetOf } = layOut(noted)
    const all = new Uint8Array(size)
    this.#live = all.subarray(0, live)
    const { data, commands } = host.failures.guard(
      () => {
        const data = host.gpuDevice.createBuffer({
          label: 'program',
          size: Math.max(size, slotBytes),
          usage: bufferUsage.uniform | bufferUsage.copySource | bufferUsage.copyTarget,
        })
        host.stats.objectsCreated++
        const create = (made: GPUBindGroupDescriptor): GPUBindGroup => host.gpuDevice.createBindGroup(made)
        const groups = new BindGroups(data, host.stats, host.layout, create)
        return {
          data,
          commands: noted.map((command) => this.#freeze(command, offsetOf.get(command) ?? 0, all, data, groups)),
        }
      },
      (error, filter) =>
        new TweedieError(
          filter === 'out-of-memory' ? 'out-of-memory' : 'device-error',
          `record: the device refused a program of ${noted.length} commands: ${error.message}`,
        ),
    )
    this.#data = data
    this.#commands = commands
    host.queue.write({ buffer: data, offset: 0 }, all)
  }

  /** The command for the queue; its numbers go to their place in `all`. */
  #freeze(command: Noted, offset: number, all: Uint8Array<ArrayBuffer>, data: GPUBuffer, groups: BindGroups): Command {
    switch (command.kind) {
      case 'clear':
        return { kind: 'clear', target: command.target }
      case 'copy': {
        const { source, target, bytes } = command
        return { kind: 'copy', source, target, bytes }
      }
      case 'write': {
        const { data: values, target, bytes } = command
        if (typeof values === 'function') this.#writes.push({ data: values, offset, bytes })
        else all.set(values as Uint8Array, offset)
        return { kind: 'copy', source: { buffer: data, offset }, target, bytes }
      }
      case 'dispatch': {
        const { dispatch, pipeline, user } = command
        const { uniforms, grid, flops = 0 } = dispatch
        if (command.live) this.#offsets.set(command, offset)
        new Uint32Array(all.buffer, offset).set(uniforms)
        this.#cost.dispatches++
        this.#cost.flops += flops
        this.#cost.bytes += bytesGiven(dispatch)
        this.#cost.work += workOf(dispatch)
        return {
          kind: 'dispatch',
          pipeline,
          bindGroup: groups.get(dispatch),
          offsets: [offset],
          grid,
          work: workOf(dispatch),
          user,
        }
      }
    }
  }

  replay(): void {
    const { queue, stats, failures } = this.#host
    if (this.#disposed) throw new TweedieError('disposed', 'replay: the program was disposed.')
    failures.check()
    for (const storage of this.#pinned)
      if (storage.moved)
        throw new TweedieError(
          'unsupported',
          'replay: values that the program reads were moved since it was recorded, as an AdamW moves the parameters ' +
            'it is made for: record it again.',
        )
    if (this.#live.byteLength > 0) {
      this.#update()
      queue.write({ buffer: this.#data, offset: 0 }, this.#live)
    }
    queue.replay(this.#commands, this.#cost.work)
    stats.dispatches += this.#cost.dispatches
    stats.flops += this.#cost.flops
    stats.bytes += this.#cost.bytes
    for (const storage of this.#written) storage.version++
  }

  /** Asks for everything that is live. */
  #update(): void {
    for (const { data, offset, bytes } of this.#writes) {
      const values = now(data)
      if (values.byteLength !== bytes) throw changed(`${values.byteLength} bytes were given in place of ${bytes}`)
      this.#live.set(new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, bytes), offset)
    }
    const words = new Uint32Array(this.#live.buffer)
    const { capabilities, choose } = this.#host
    for (const { run, dispatches } of this.#launches) {
      let next = 0
      run({
        capabilities,
        choose,
        now,
        clear: () => {},
        temporary: (bytes) => ({ storage: { bytes, version: 0 } }),
        dispatch: ({ key, grid, uniforms }) => {
          const noted = dispatches[next++]
          if (noted?.dispatch.key !== key || noted.dispatch.grid.some((n, i) => n !== grid[i]))
            throw changed(`${noted?.user() ?? 'an op'} asks for kernel ${key} now, in ${grid.join(' x ')} workgroups`)
          words.set(uniforms, (this.#offsets.get(noted) as number) / 4)
        },
      })
    }
  }

  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#host.queue.enqueue({ kind: 'destroy', buffer: this.#data })
    this.#host.letGo(this.#pinned)
  }
}

/** Where each uniform and each written value stands: first what is live, then the rest. */
function layOut(noted: readonly Noted[]): { size: number; live: number; offsetOf: ReadonlyMap<Noted, number> } {
  const offsetOf = new Map<Noted, number>()
  let size = 0
  const put = (wanted: boolean): void => {
    for (const command of noted) {
      if (command.kind !== 'dispatch' && command.kind !== 'write') continue
      const live = command.kind === 'dispatch' ? command.live : typeof command.data === 'function'
      if (live !== wanted) continue
      offsetOf.set(command, size)
      size += command.kind === 'dispatch' ? slotBytes : places(command.bytes)
    }
  }
  put(true)
  const live = size
  put(false)
  return { size, live, offsetOf }
}
