import type { WaitFor } from '#platform'
import { TweedieError } from '../../errors.ts'
import type { BackendStats } from '../backend.ts'
import { maxCommands, workOf, type Budget } from './budget.ts'
import type { Failures } from './failures.ts'
import { bufferUsage } from './flags.ts'
import type { Dispatch } from './launch.ts'
import type { PipelineEntry } from './pipelines.ts'

/** Where in a buffer something begins. */
export interface Place {
  readonly buffer: GPUBuffer
  readonly offset: number
}

/** What is gathered in a batch. */
export type Command =
  | {
      readonly kind: 'dispatch'
      readonly pipeline: PipelineEntry
      readonly bindGroup: GPUBindGroup
      /** Of its uniform, in the buffer at binding 0 of the bind group; a list, as WebGPU takes it at each replay. */
      readonly offsets: readonly [number]
      readonly grid: Dispatch['grid']
      /** By `workOf`. */
      readonly work: number
      readonly user: () => string
    }
  | { readonly kind: 'clear'; readonly target: Place & { readonly bytes: number } }
  | { readonly kind: 'copy'; readonly source: Place; readonly target: Place; readonly bytes: number }
  /** Only at the beginning of a batch: queue.writeBuffer happens between submissions. */
  | { readonly kind: 'write'; readonly target: Place; readonly data: ArrayBufferView }
  /** After the submission: commands before it still use the buffer. */
  | { readonly kind: 'destroy'; readonly buffer: GPUBuffer }

/**
 * Where a replay is cut for a GPU that waits, pieces of 4, 6 and 9: each is encoded while the one before runs, if that
 * takes two thirds of the time. On an H100 it took 0.4 to 0.9 of it, as fast as the host was that day.
 */
const parts = [4 / 19, 10 / 19]
/** Shorter programs are encoded in less than a submission costs. */
const leastCut = 48

/** minUniformBufferOffsetAlignment by default, and room for 64 scalars. */
export const slotBytes = 256

interface Batch {
  readonly commands: readonly Command[]
  readonly uniforms: Uint8Array<ArrayBuffer>
  readonly work: number
}

const isUnready = (command: Command): boolean => command.kind === 'dispatch' && !command.pipeline.pipeline
const unready = ({ commands }: Batch): PipelineEntry[] =>
  commands.filter(isUnready).flatMap((c) => (c.kind === 'dispatch' ? [c.pipeline] : []))

/**
 * Commands on their way to the GPU. They gather in an open batch, which closes when `budget.ts` calls it full; closed
 * batches are submitted in order as soon as every pipeline they use has been compiled. All scalars of a batch travel in
 * one write to one uniform buffer, from which each dispatch reads at its own dynamic offset. The write waits for the
 * batch before, a few microseconds; a ring of buffers would cost more (bench/REJECTED.md).
 */
export class CommandQueue {
  /** Bound at binding 0 of every bind group, `slotBytes` of it. */
  readonly uniformBuffer: GPUBuffer
  /** Asked at every compute pass how it is to be timed; see `timer.ts`. */
  onPass: (() => GPUComputePassDescriptor | undefined) | null = null
  readonly #device: GPUDevice
  readonly #stats: BackendStats
  readonly #waitFor: WaitFor
  readonly #failures: Failures
  readonly #budget: Budget
  readonly #uniforms = new ArrayBuffer(slotBytes * maxCommands)
  readonly #uniformWords = new Uint32Array(this.#uniforms)
  #open: Command[] = []
  #slots = 0
  #openWork = 0
  readonly #closed: Batch[] = []

  constructor(device: GPUDevice, stats: BackendStats, waitFor: WaitFor, failures: Failures, budget: Budget) {
    this.#device = device
    this.#stats = stats
    this.#waitFor = waitFor
    this.#failures = failures
    this.#budget = budget
    this.uniformBuffer = device.createBuffer({
      label: 'uniforms',
      size: this.#uniforms.byteLength,
      usage: bufferUsage.uniform | bufferUsage.copyTarget,
    })
    stats.objectsCreated++
  }

  dispatch(pipeline: PipelineEntry, bindGroup: GPUBindGroup, dispatch: Dispatch, user: () => string): void {
    const { key, uniforms, grid, flops = 0 } = dispatch
    if (uniforms.length > slotBytes / 4)
      throw new TweedieError(
        'unsupported',
        `${user()}: kernel ${key} has ${uniforms.length} scalars, at most ${slotBytes / 4} fit.`,
      )
    this.#uniformWords.set(uniforms, (this.#slots * slotBytes) / 4)
    this.#stats.dispatches++
    this.#stats.flops += flops
    const offset = this.#slots++ * slotBytes
    this.enqueue({ kind: 'dispatch', pipeline, bindGroup, offsets: [offset], grid, work: workOf(dispatch), user })
  }

  write(target: Place, data: ArrayBufferView): void {
    if (this.#open.at(-1)?.kind !== 'write') this.#close()
    this.#submitReady()
    // Behind commands whose pipelines are still being compiled it has to wait, and the caller may change the array.
    if (this.#open.length === 0 && this.#closed.length === 0) this.#writeNow(target, data)
    else this.enqueue({ kind: 'write', target, data: copyOf(data) })
  }

  #writeNow({ buffer, offset }: Place, data: ArrayBufferView): void {
    this.#device.queue.writeBuffer(buffer, offset, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength)
  }

  enqueue(command: Command): void {
    this.#add(command)
    if (this.#budget.full(this.#open.length, this.#openWork)) this.#send()
  }

  /**
   * Enqueues commands that bring their uniforms along, `work` in all. They are encoded faster than a GPU runs them, so
   * that their work alone limits how many share a submission, unless the GPU waits for so little: then it is given a
   * part at once, and the others while it is busy. In one piece a training step of ADM-64 at batch 1 took 76 ms where
   * an H100 worked for 55.
   */
  replay(commands: readonly Command[], work: number): void {
    const { limit, idle } = this.#budget
    const isCut = idle && work < limit && commands.length >= leastCut
    const cuts = isCut ? parts.map((part) => Math.ceil(part * commands.length)) : []
    for (const [i, command] of commands.entries()) {
      this.#add(command)
      if (cuts.includes(i + 1) || this.#openWork >= limit) this.#send()
    }
  }

  #add(command: Command): void {
    this.#open.push(command)
    if (command.kind === 'dispatch') this.#openWork += command.work
  }

  #send(): void {
    this.#close()
    this.#submitReady()
  }

  /** Ends the open batch, so that no later command joins it. */
  #close(): void {
    if (this.#open.length === 0) return
    this.#closed.push({
      commands: this.#open,
      uniforms: new Uint8Array(this.#uniforms.slice(0, this.#slots * slotBytes)),
      work: this.#openWork,
    })
    this.#open = []
    this.#slots = 0
    this.#openWork = 0
  }

  /** Submits closed batches in order, up to the first whose pipelines are still being compiled. */
  #submitReady(): void {
    while (this.#closed.length > 0 && !this.#closed[0].commands.some(isUnready))
      this.#submit(this.#closed.shift() as Batch)
    if (this.#closed.length > 0) this.#budget.stall()
  }

  /**
   * Submits everything enqueued before this call: at once, or, where kernels are still being compiled, when the promise
   * resolves that it returns then.
   */
  drain(since: number): Promise<void> | null {
    this.#close()
    const last = this.#closed.at(-1)
    this.#submitReady()
    if (last && this.#closed.includes(last)) return this.#drainTo(last, since)
    this.#failures.check(since)
    return null
  }

  async #drainTo(last: Batch, since: number): Promise<void> {
    while (this.#closed.includes(last)) {
      await this.#waitFor(Promise.all(unready(this.#closed[0]).map((p) => p.ready)))
      this.#failures.check(since)
      this.#submitReady()
    }
    this.#failures.check(since)
  }

  #submit({ commands, uniforms, work }: Batch): void {
    this.#failures.guard(
      () => {
        const { queue } = this.#device
        for (const command of commands) if (command.kind === 'write') this.#writeNow(command.target, command.data)
        if (uniforms.byteLength > 0) queue.writeBuffer(this.uniformBuffer, 0, uniforms)
        queue.submit([this.#encode(commands)])
        for (const command of commands) if (command.kind === 'destroy') command.buffer.destroy()
      },
      (error, filter) => {
        const users = [...new Set(commands.flatMap((c) => (c.kind === 'dispatch' ? [c.user()] : [])))]
        const shown = `${users.slice(0, 8).join(', ')}${users.length > 8 ? ` and ${users.length - 8} more` : ''}`
        return new TweedieError(
          filter === 'out-of-memory' ? 'out-of-memory' : 'device-error',
          `The device refused a submission of ${shown}: ${error.message}`,
        )
      },
    )
    this.#stats.submits++
    this.#budget.submit(work)
  }

  #encode(commands: readonly Command[]): GPUCommandBuffer {
    const encoder = this.#device.createCommandEncoder()
    let pass: GPUComputePassEncoder | null = null
    let current: GPUComputePipeline | null = null
    for (const command of commands) {
      if (command.kind === 'dispatch') {
        if (!pass) {
          pass = encoder.beginComputePass(this.onPass?.())
          current = null
        }
        const { pipeline } = command.pipeline
        if (pipeline !== current) pass.setPipeline((current = pipeline) as GPUComputePipeline)
        pass.setBindGroup(0, command.bindGroup, command.offsets)
        const { grid } = command
        pass.dispatchWorkgroups(grid[0], grid[1], grid[2])
      } else if (command.kind === 'clear' || command.kind === 'copy') {
        pass?.end()
        pass = null
        if (command.kind === 'clear') {
          const { buffer, offset, bytes } = command.target
          encoder.clearBuffer(buffer, offset, bytes)
        } else {
          const { source, target, bytes } = command
          encoder.copyBufferToBuffer(source.buffer, source.offset, target.buffer, target.offset, bytes)
        }
      }
    }
    pass?.end()
    return encoder.finish()
  }

  /** Drops what was not submitted, but for what the host wrote and the buffers that are to go. */
  drop(): void {
    this.#close()
    for (const command of this.#closed.splice(0).flatMap((batch) => batch.commands)) {
      if (command.kind === 'write') this.#writeNow(command.target, command.data)
      else if (command.kind === 'destroy') command.buffer.destroy()
    }
  }

  dispose(): void {
    this.drop()
    this.uniformBuffer.destroy()
  }
}

/** A copy of the bytes of `data`. */
export const copyOf = (data: ArrayBufferView): Uint8Array<ArrayBuffer> =>
  new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength).slice()
