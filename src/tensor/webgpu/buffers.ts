import { partOf, type BackendStats, type Storage } from '../backend.ts'

export interface GPUStorage extends Storage {
  readonly id: number
  readonly buffer: GPUBuffer
  /** Where it begins in the buffer: 0 but for a part. */
  readonly offset: number
  /** The device could not allocate it after all. */
  broken: boolean
  /** What it is a part of. */
  readonly whole?: GPUStorage
  /** The caller's: never destroyed, never handed to another tensor. */
  readonly adopted?: true
  /** When it was given back, in calls of {@link BufferPool.give}. */
  freed: number
  /** Recorded programs that work with it; meanwhile it stays, though its tensors be gone. */
  pins: number
  /** Its tensors are gone: it goes back to the pool with the last pin. */
  released: boolean
}

// 256 bytes is the coarsest alignment WebGPU asks for; rounding lets nearly equal sizes share buffers.
const granularity = 256

/**
 * Memory that is reused. Buffers are kept by exact size; of the free ones the oldest is always taken first, so which
 * buffer a request gets depends only on what is alive at that moment: the same step gets the same buffers, its bind
 * groups are found in the cache, and from the second step on nothing is created.
 *
 * What is free is bounded, so that a model that is gone, or a batch of another size, does not hold its memory for ever.
 * Only a request that needs a new buffer ever makes room, hence a steady step is left alone; and whatever had to be
 * created a second time raises the bound by its size, hence every loop becomes steady.
 */
export class BufferPool {
  readonly #stats: BackendStats
  /** Bytes that may lie free however little was ever alive. */
  readonly #floor: number
  /** By size, ids ascending. */
  readonly #free = new Map<number, GPUStorage[]>()
  readonly #live = new Set<GPUStorage>()
  /** Sizes of the buffers that were removed last. */
  readonly #removed: number[] = []
  #freeBytes = 0
  /** Bytes that were removed and needed again. */
  #missed = 0
  #lastId = 0
  #gives = 0

  constructor(stats: BackendStats, floor = 2 ** 28) {
    this.#stats = stats
    this.#floor = floor
  }

  static roundUp(bytes: number): number {
    return Math.max(1, Math.ceil(bytes / granularity)) * granularity
  }

  /** A free buffer of this size, if there is one. */
  take(size: number): GPUStorage | null {
    const storage = this.#free.get(size)?.shift()
    if (!storage) return null
    this.#freeBytes -= size
    return storage.broken ? this.take(size) : this.#use(storage)
  }

  /** Takes up a new buffer. */
  add(size: number, buffer: GPUBuffer): GPUStorage {
    const removed = this.#removed.indexOf(size)
    if (removed >= 0) {
      this.#removed.splice(removed, 1)
      this.#missed += size
    }
    return this.#use(this.#storage(buffer, size))
  }

  #storage(buffer: GPUBuffer, bytes: number): GPUStorage {
    const id = ++this.#lastId
    return { id, bytes, version: 0, buffer, offset: 0, broken: false, freed: 0, pins: 0, released: false }
  }

  /** A piece of a buffer in use. */
  part(whole: GPUStorage, offset: number, bytes: number): GPUStorage {
    const size = BufferPool.roundUp(bytes)
    const own = { id: ++this.#lastId, bytes: size, version: 0, pins: 0, released: false }
    return partOf(whole, { ...whole, ...own, offset: whole.offset + offset, whole })
  }

  /** A buffer of the caller's, which is not in the pool's books but has an id of its own. */
  adopt(buffer: GPUBuffer, bytes: number): GPUStorage {
    return { ...this.#storage(buffer, bytes), adopted: true }
  }

  #use(storage: GPUStorage): GPUStorage {
    this.#live.add(storage)
    this.#stats.liveBuffers++
    this.#stats.liveBytes += storage.bytes
    this.#stats.peakBytes = Math.max(this.#stats.peakBytes, this.#stats.liveBytes)
    return storage
  }

  give(storage: GPUStorage): void {
    if (!this.#live.delete(storage)) return
    this.#stats.liveBuffers--
    this.#stats.liveBytes -= storage.bytes
    // Whoever noted the version of the old contents must not take the next owner's for them.
    storage.version++
    storage.moved = false
    if (storage.broken) return
    storage.freed = ++this.#gives
    this.#freeBytes += storage.bytes
    const free = this.#free.get(storage.bytes) ?? []
    const at = free.findIndex((other) => other.id > storage.id)
    free.splice(at < 0 ? free.length : at, 0, storage)
    this.#free.set(storage.bytes, free)
  }

  /** Removes what is free beyond half of what was ever alive, longest free first; the caller destroys it. */
  excess(): GPUStorage[] {
    return this.#remove(Math.max(this.#floor, this.#stats.peakBytes / 2) + this.#missed)
  }

  /** Removes all that is free; the caller destroys it. */
  trim(): GPUStorage[] {
    return this.#remove(0)
  }

  #remove(bound: number): GPUStorage[] {
    if (this.#freeBytes <= bound) return []
    const removed: GPUStorage[] = []
    for (const storage of [...this.#free.values()].flat().sort((a, b) => a.freed - b.freed)) {
      if (this.#freeBytes <= bound) break
      const list = this.#free.get(storage.bytes) as GPUStorage[]
      list.splice(list.indexOf(storage), 1)
      this.#freeBytes -= storage.bytes
      this.#removed.push(storage.bytes)
      if (this.#removed.length > 4096) this.#removed.shift()
      removed.push(storage)
    }
    return removed
  }

  dispose(): void {
    for (const { buffer } of [...this.trim(), ...this.#live]) buffer.destroy()
    this.#live.clear()
  }
}
