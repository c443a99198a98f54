import { TweedieError } from '../../errors.ts'
import type { View } from '../backend.ts'
import type { Live } from '../live.ts'
import type { GPUStorage } from './buffers.ts'
import type { Buffer, Dispatch, Encoder } from './launch.ts'
import type { PipelineEntry } from './pipelines.ts'
import { copyOf } from './queue.ts'

/** A dispatch as it was enqueued; `live` is the place of its uniform among those that each replay makes anew. */
export interface NotedDispatch {
  readonly kind: 'dispatch'
  readonly dispatch: Dispatch
  readonly pipeline: PipelineEntry
  readonly user: () => string
  live: boolean
}

/** What was enqueued while a program was recorded, in order. */
export type Noted =
  | NotedDispatch
  | { readonly kind: 'clear'; readonly target: GPUStorage }
  | { readonly kind: 'copy'; readonly source: GPUStorage; readonly target: GPUStorage; readonly bytes: number }
  /** Values of the host: a copy of those of the recording, or the function that gives them at each replay. */
  | {
      readonly kind: 'write'
      readonly target: GPUStorage
      readonly data: Live<ArrayBufferView>
      readonly bytes: number
    }

/** A launch that asked for a live value, and the dispatches it made. */
export interface LiveLaunch {
  readonly run: (encoder: Encoder) => void
  readonly dispatches: readonly NotedDispatch[]
}

/**
 * Buffers that programs share for what lives within one replay: no content of theirs outlasts it, so two programs that
 * never run at once, as nothing in one queue does, may have the same. They go back to the pool with the last program.
 */
export class Arena {
  readonly #free = new Map<number, GPUStorage[]>()
  #programs = 0

  take(size: number): GPUStorage | undefined {
    return this.#free.get(size)?.pop()
  }

  give(storage: GPUStorage): void {
    const free = this.#free.get(storage.bytes)
    if (free) free.push(storage)
    else this.#free.set(storage.bytes, [storage])
  }

  enter(): void {
    this.#programs++
  }

  /** What nobody needs any more. */
  leave(): GPUStorage[] {
    if (--this.#programs > 0) return []
    const all = [...this.#free.values()].flat()
    this.#free.clear()
    return all
  }
}

/**
 * Notes what the backend enqueues while a function runs, and gives it memory that stays the program's: what is freed on
 * the way serves what comes after, so a replay needs what the first run needed at its peak, by sizes.
 */
export class Recorder {
  readonly noted: Noted[] = []
  readonly launches: LiveLaunch[] = []
  /** Memory from outside, and what outlives the recording: nobody else may get it while the program lives. */
  readonly pinned = new Set<GPUStorage>()
  /** What is written and was there before, or stays: its version grows with every replay. */
  readonly written = new Set<GPUStorage>()
  readonly #arena: Arena
  readonly #own = new Set<GPUStorage>()

  constructor(arena: Arena) {
    this.#arena = arena
  }

  take(size: number): GPUStorage | undefined {
    const storage = this.#arena.take(size)
    if (storage) this.#own.add(storage)
    return storage
  }

  own(storage: GPUStorage): GPUStorage {
    this.#own.add(storage)
    return storage
  }

  /** Takes back memory that was made in the recording; false for any other. */
  free(storage: GPUStorage): boolean {
    if (!this.#own.delete(storage)) return false
    storage.version++
    this.#arena.give(storage)
    return true
  }

  #use(storage: GPUStorage, writes: boolean): void {
    if (this.#own.has(storage.whole ?? storage)) return
    this.#pin(storage)
    if (writes) this.written.add(storage)
  }

  #pin(storage: GPUStorage): void {
    if (this.pinned.has(storage)) return
    if (storage.whole) this.#pin(storage.whole)
    this.pinned.add(storage)
    storage.pins++
  }

  dispatch(dispatch: Dispatch, pipeline: PipelineEntry, user: () => string): void {
    for (const { storage } of dispatch.read) this.#use(storage as GPUStorage, false)
    for (const { storage } of dispatch.write) this.#use(storage as GPUStorage, true)
    const read = dispatch.read.map(bare)
    const write = dispatch.write.map(bare)
    this.noted.push({ kind: 'dispatch', dispatch: { ...dispatch, read, write }, pipeline, user, live: false })
  }

  clear(target: GPUStorage): void {
    this.#use(target, true)
    this.noted.push({ kind: 'clear', target })
  }

  copy(source: GPUStorage, target: GPUStorage, bytes: number): void {
    this.#use(source, false)
    this.#use(target, true)
    this.noted.push({ kind: 'copy', source, target, bytes })
  }

  write(target: GPUStorage, data: Live<ArrayBufferView>, current: ArrayBufferView): void {
    this.#use(target, true)
    const bytes = current.byteLength
    const kept = typeof data === 'function' ? data : copyOf(current)
    this.noted.push({ kind: 'write', target, data: kept, bytes })
  }

  /** To be told how many commands were noted before a launch that asked for something live. */
  live(since: number, run: (encoder: Encoder) => void): void {
    const dispatches = this.noted.slice(since).filter((noted) => noted.kind === 'dispatch')
    for (const noted of dispatches) noted.live = true
    this.launches.push({ run, dispatches })
  }

  /** The function has returned: what it left alive stays the program's. */
  end(): void {
    for (const storage of this.#own) {
      this.#pin(storage)
      this.written.add(storage)
    }
    this.#own.clear()
  }
}

const bare = ({ storage }: Buffer): Buffer => ({ storage })

/** A view that outlives its tensor's handle. */
export const viewOf = ({ storage, shape, dtype }: View): View => ({ storage, shape, dtype })

export const changed = (what: string): TweedieError =>
  new TweedieError(
    'unsupported',
    `A recorded program was replayed, and ${what}: a step that runs other kernels, or takes other shapes, needs a ` +
      'program of its own.',
  )
