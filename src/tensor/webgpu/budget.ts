import { submissionMs } from '#platform'
import type { Dispatch } from './launch.ts'

/** Commands in one submission: submitting costs 0.3 ms on lavapipe, a dispatch 0.03. */
export const maxCommands = 256
/** In the first after a pause: the GPU should not wait until the host has gone through all of {@link maxCommands}. */
const firstCommands = 64
/** Work a second before anything was measured: a small GPU by our kernels, and a software adapter on two cores. */
const assumed = { hardware: 1e12, software: 5e10 }
/** Work of one large kernel. Smaller submissions would only cost. */
const minWork = 1e9
/** Arithmetic that takes as long as a byte of memory does, with our kernels on an H100 (7) and on an M2 (10). */
const workOfByte = 10
/** Shorter waits say more of the host than of the device. */
const minMs = 2
/** A twentieth of what Windows gives a submission: a GPU may be so much slower than was assumed. */
const unmeasuredMs = 100

/** Bytes of the buffers that a kernel is given. */
export function bytesGiven({ read, write }: Dispatch): number {
  let bytes = 0
  for (const { storage } of read) bytes += storage.bytes
  for (const { storage } of write) bytes += storage.bytes
  return bytes
}

/** What a dispatch costs, in floating-point operations. */
export const workOf = (dispatch: Dispatch): number => (dispatch.flops ?? 0) + workOfByte * bytesGiven(dispatch)

/**
 * How much goes into one submission. Where the GPU draws the page, too, nothing is drawn while a submission runs, and
 * Windows resets a GPU that runs one for 2 s: hence a limit of time, which becomes one of work by the device's rate. It
 * is measured at the waits that happen anyway, from the first submission after a pause to the end of the wait. Where
 * the host is slower than the GPU that is the host's time, and a submission what the host enqueues in that time: just
 * as well. Results do not depend on any of it.
 *
 * A recorded step is one list, cut by this, or into 3 where it is less than this allows and the GPU waits for it: in
 * Node into at most 4 where it takes a second or less.
 */
export class Budget {
  readonly #targetMs: number
  readonly #software: boolean
  readonly #now: () => number
  /** Work a second. */
  #rate: number
  #measured = false
  /** Work since the device was made: submitted, and known to be done. */
  #submitted = 0
  #done = 0
  /** Since when the GPU works at what is between the two; null while there is nothing. */
  #since: number | null = null
  /** Whether it stood still in between, so that the time says nothing. */
  #stalled = false

  constructor(software: boolean, targetMs: number = submissionMs(), now: () => number = () => performance.now()) {
    this.#targetMs = targetMs
    this.#software = software
    this.#now = now
    this.#rate = software ? assumed.software : assumed.hardware
  }

  /** Whether a batch of so many commands and so much work is to be submitted. */
  full(commands: number, work: number): boolean {
    return commands >= (this.#since === null ? firstCommands : maxCommands) || work >= this.limit
  }

  /** Work in one submission. */
  get limit(): number {
    // Software adapters draw nothing and are not watched, but with more in one submission they only start later.
    const most = this.#measured && !this.#software ? Infinity : unmeasuredMs
    return Math.max(minWork, (this.#rate * Math.min(this.#targetMs, most)) / 1000)
  }

  /** Whether a GPU has nothing to do. A software adapter does its work where the host does. */
  get idle(): boolean {
    return !this.#software && this.#since === null
  }

  submit(work: number): void {
    this.#since ??= this.#now()
    this.#submitted += work
  }

  /** The GPU had to wait, for a kernel that was being compiled. */
  stall(): void {
    this.#stalled = true
  }

  /** To be called when a wait begins for everything submitted so far; what it returns, when the wait has ended. */
  wait(): () => void {
    const submitted = this.#submitted
    return () => {
      if (this.#since === null || submitted < this.#done) return
      const now = this.#now()
      const ms = now - this.#since
      const work = submitted - this.#done
      if (ms >= minMs && work >= minWork && !this.#stalled) {
        const rate = (work * 1000) / ms
        // Half of the way, in octaves: one odd wait should not make submissions of another size.
        this.#rate = this.#measured ? Math.sqrt(this.#rate * rate) : rate
        this.#measured = true
      }
      this.#done = submitted
      this.#since = this.#submitted > submitted ? now : null
      this.#stalled = false
    }
  }
}
