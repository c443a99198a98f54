import type { BackendStats } from '../backend.ts'
import type { GPUStorage } from './buffers.ts'
import type { Dispatch } from './launch.ts'
import { slotBytes } from './queue.ts'

/**
 * A guided step of ADM has some 5000; forgetting them all costs one slow step and bounds what odd shapes leave behind.
 */
const maxBindGroups = 20_000

/** Bind groups with one buffer of uniforms: they depend on the buffers of a dispatch alone, and each is made once. */
export class BindGroups {
  readonly #uniforms: GPUBuffer
  readonly #stats: BackendStats
  readonly #layout: (reads: number, writes: number) => GPUBindGroupLayout
  readonly #create: (descriptor: GPUBindGroupDescriptor) => GPUBindGroup
  readonly #made = new Map<string, GPUBindGroup>()

  constructor(
    uniforms: GPUBuffer,
    stats: BackendStats,
    layout: (reads: number, writes: number) => GPUBindGroupLayout,
    create: (descriptor: GPUBindGroupDescriptor) => GPUBindGroup,
  ) {
    this.#uniforms = uniforms
    this.#stats = stats
    this.#layout = layout
    this.#create = create
  }

  get({ read, write }: Pick<Dispatch, 'read' | 'write'>): GPUBindGroup {
    let key = `${read.length}`
    for (const { storage } of read) key += `,${(storage as GPUStorage).id}`
    for (const { storage } of write) key += `,${(storage as GPUStorage).id}`
    const known = this.#made.get(key)
    if (known) return known
    const storages = [...read, ...write].map(({ storage }) => storage as GPUStorage)
    const entries: GPUBindGroupEntry[] = [{ binding: 0, resource: { buffer: this.#uniforms, size: slotBytes } }]
    storages.forEach(({ buffer, offset, bytes: size }, i) =>
      entries.push({ binding: i + 1, resource: { buffer, offset, size } }),
    )
    const made = this.#create({ layout: this.#layout(read.length, write.length), entries })
    this.#stats.objectsCreated++
    if (this.#made.size >= maxBindGroups) this.#made.clear()
    this.#made.set(key, made)
    return made
  }

  /** Drops those of storages that are gone. */
  forget(storages: readonly GPUStorage[]): void {
    const gone = new Set(storages.map(({ id }) => `${id}`))
    for (const key of this.#made.keys())
      if (
        key
          .split(',')
          .slice(1)
          .some((id) => gone.has(id))
      )
        this.#made.delete(key)
  }

  clear(): void {
    this.#made.clear()
  }
}
