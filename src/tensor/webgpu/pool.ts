/**
 * Memory that is reused. Buffers are kept by exact size; of the free ones the oldest is always taken first, so which
 * buffer a request gets depends only on what is alive at that moment: the same step gets the same buffers, its bind
 * groups are found in the cache, and from the second step on nothing is created.
 */
import type { BackendStats, Storage } from '../backend.ts'

export interface GPUStorage extends Storage {
  readonly id: number
  readonly buffer: GPUBuffer
}

// 256 bytes is the coarsest alignment WebGPU asks for; rounding lets nearly equal sizes share buffers.
const granularity = 256

export class BufferPool {
  readonly #stats: BackendStats
  /** By size, ids ascending. */
  readonly #free = new Map<number, GPUStorage[]>()
  readonly #live = new Set<GPUStorage>()
  #lastId = 0

  constructor(stats: BackendStats) {
    this.#stats = stats
  }

  static roundUp(bytes: number): number {
    return Math.max(1, Math.ceil(bytes / granularity)) * granularity
  }

  /** `create` makes the buffer if none is free; it is told the size. */
  take(bytes: number, create: (size: number) => GPUBuffer): GPUStorage {
    const size = BufferPool.roundUp(bytes)
    const storage = this.#free.get(size)?.shift() ?? { id: ++this.#lastId, bytes: size, version: 0, buffer: create(size) }
    this.#live.add(storage)
    this.#stats.liveBuffers++
    this.#stats.liveBytes += size
    this.#stats.peakBytes = Math.max(this.#stats.peakBytes, this.#stats.liveBytes)
    return storage
  }

  give(storage: GPUStorage): void {
    if (!this.#live.delete(storage)) return
    this.#stats.liveBuffers--
    this.#stats.liveBytes -= storage.bytes
    // What was derived from the old contents (packed weights) must not be taken for the next owner's.
    storage.version++
    const free = this.#free.get(storage.bytes) ?? []
    const at = free.findIndex((other) => other.id > storage.id)
    free.splice(at < 0 ? free.length : at, 0, storage)
    this.#free.set(storage.bytes, free)
  }

  /** Destroys the free buffers and returns their ids. */
  trim(): number[] {
    const freed = [...this.#free.values()].flat()
    this.#free.clear()
    for (const { buffer } of freed) buffer.destroy()
    return freed.map(({ id }) => id)
  }

  dispose(): void {
    this.trim()
    for (const storage of this.#live) storage.buffer.destroy()
    this.#live.clear()
  }
}
