/**
 * How long the GPU works on something. Where it has a clock, every compute pass notes its two ends (timestamp queries),
 * and their differences are added: neither the host nor what lies between two passes counts. Elsewhere it is the wall
 * clock over so many runs that submitting and waiting do not matter, less an empty kernel's. There a kernel shorter
 * than the host takes to enqueue it looks like the host: replaying a recorded program (`Device.record`) costs it least.
 */
import type { WaitFor } from '#platform'
import { TweedieError } from '../../errors.ts'
import { bufferUsage, mapRead } from './flags.ts'
import type { Capabilities } from './launch.ts'

/** Of a backend, what can be timed. */
export interface Timed {
  readonly gpuDevice: GPUDevice
  readonly capabilities: Pick<Capabilities, 'timestamps'>
  readonly waitFor: WaitFor
  /** Asked at every compute pass that is encoded. */
  onPass: (() => GPUComputePassDescriptor | undefined) | null
  flush(): Promise<void>
  /** Enqueues a kernel that does nothing. */
  idle(): void
}

/** A set holds 4096 queries at most, by the specification: two a pass. */
const maxPasses = 2048
const maxRepeats = 4096
/** A sample is this many steps of the clock: 5 %, before several samples are compared. */
const steps = 20
/** At most this long by the GPU's clock, and at least by the wall's, which a wait of 0.3 ms makes coarse. */
const [enoughOnGPU, enoughOnWall] = [5, 20]

export interface Sample {
  /** Milliseconds a run. */
  readonly ms: number
  /** Whether that is long enough to be read off the clock; take more repeats if not. */
  readonly enough: boolean
}

interface Queries {
  readonly set: GPUQuerySet
  readonly resolved: GPUBuffer
  readonly read: GPUBuffer
}

/** Times work on one backend; nothing else may be enqueued while a sample is taken. */
export class GPUTimer {
  readonly #backend: Timed
  /** Null where the wall clock is all there is. */
  #queries: Queries | null = null
  /** An empty kernel's time on the wall clock. */
  #idleMs = Number.NaN

  constructor(backend: Timed) {
    this.#backend = backend
    if (!backend.capabilities.timestamps) return
    const { gpuDevice } = backend
    const size = maxPasses * 16
    this.#queries = {
      set: gpuDevice.createQuerySet({ type: 'timestamp', count: 2 * maxPasses }),
      resolved: gpuDevice.createBuffer({ size, usage: bufferUsage.queryResolve | bufferUsage.copySource }),
      read: gpuDevice.createBuffer({ size, usage: bufferUsage.mapRead | bufferUsage.copyTarget }),
    }
  }

  /** Which clock is read: the GPU's, or the wall's. */
  get clock(): 'gpu' | 'wall' {
    return this.#queries ? 'gpu' : 'wall'
  }

  /** Runs `enqueue(0)`, `enqueue(1)` … as often as told. New kernels are compiled in the first sample. */
  async sample(enqueue: (run: number) => void, repeats: number): Promise<Sample> {
    await this.#backend.flush()
    const run = (): void => {
      for (let i = 0; i < repeats; i++) enqueue(i)
    }
    if (this.#queries) {
      const stamps = await this.#stamped(run, this.#queries)
      const found = readStamps(stamps)
      if (found) return { ms: found.ms / repeats, enough: found.enough }
      // The driver has no clock that runs, whatever it said.
      this.#dropQueries()
    }
    if (Number.isNaN(this.#idleMs)) {
      const idle: number[] = []
      for (let i = 0; i < 6; i++) idle.push(await this.#wall(() => this.#backend.idle()))
      this.#idleMs = idle.slice(1).sort((a, b) => a - b)[2]
    }
    const ms = (await this.#wall(run)) - this.#idleMs
    return { ms: Math.max(ms, 0) / repeats, enough: ms >= enoughOnWall }
  }

  /** How often `enqueue` has to run for a sample to be long enough; compiles what is not compiled yet. */
  async repeatsFor(enqueue: (run: number) => void): Promise<number> {
    await this.sample(enqueue, 1)
    let repeats = 1
    while (repeats < maxRepeats && !(await this.sample(enqueue, repeats)).enough) repeats *= 2
    return repeats
  }

  async #wall(run: () => void): Promise<number> {
    const start = performance.now()
    run()
    await this.#backend.flush()
    return performance.now() - start
  }

  async #stamped(run: () => void, { set, resolved, read }: Queries): Promise<BigUint64Array> {
    const { gpuDevice, waitFor } = this.#backend
    let passes = 0
    this.#backend.onPass = () => {
      if (++passes > maxPasses) return
      const [beginningOfPassWriteIndex, endOfPassWriteIndex] = [2 * passes - 2, 2 * passes - 1]
      return { timestampWrites: { querySet: set, beginningOfPassWriteIndex, endOfPassWriteIndex } }
    }
    try {
      run()
      await this.#backend.flush()
    } finally {
      this.#backend.onPass = null
    }
    if (passes > maxPasses)
      throw new TweedieError(
        'limit-exceeded',
        `A sample of ${passes} compute passes was to be timed, at most ${maxPasses} are: repeat it less often.`,
      )
    const bytes = passes * 16
    const encoder = gpuDevice.createCommandEncoder()
    encoder.resolveQuerySet(set, 0, 2 * passes, resolved, 0)
    encoder.copyBufferToBuffer(resolved, 0, read, 0, bytes)
    gpuDevice.queue.submit([encoder.finish()])
    await waitFor(read.mapAsync(mapRead, 0, bytes))
    const stamps = new BigUint64Array(read.getMappedRange(0, bytes).slice(0))
    read.unmap()
    return stamps
  }

  #dropQueries(): void {
    if (!this.#queries) return
    const { set, resolved, read } = this.#queries
    set.destroy()
    resolved.destroy()
    read.destroy()
    this.#queries = null
  }

  dispose(): void {
    this.#dropQueries()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}

/**
 * What pairs of stamps, in nanoseconds, say; null where the clock stood still or ran backwards. Browsers and Dawn
 * coarsen stamps against spying, to 65.536 or 100 microseconds: the two ends of a pass err by a step at most, either
 * way, so that p passes err by the root of p.
 */
export function readStamps(stamps: BigUint64Array): { ms: number; enough: boolean } | null {
  let sum = 0n
  for (let i = 0; i < stamps.length; i += 2) {
    if (stamps[i + 1] < stamps[i]) return null
    sum += stamps[i + 1] - stamps[i]
  }
  if (stamps.every((stamp) => stamp === 0n)) return null
  const step = [100_000n, 65_536n].find((ns) => stamps.every((stamp) => stamp % ns === 0n)) ?? 1000n
  const ms = Number(sum) / 1e6
  const wanted = (steps * Number(step) * Math.sqrt(stamps.length / 2)) / 1e6
  return { ms, enough: ms >= Math.min(wanted, enoughOnGPU) }
}
