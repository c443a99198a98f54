import type { WaitFor } from '#platform'
import { TweedieError } from '../../errors.ts'

const filters = ['validation', 'internal', 'out-of-memory'] as const

/**
 * Failures come late: the device says of a submission or an allocation only afterwards that it refused it. A failure
 * makes void whatever was computed since the last successful wait: every read and flush begun before rejects with it,
 * and if there is none, the next call throws it. After `out-of-memory` the caller may free memory and go on with a
 * smaller batch; only a lost device stays lost.
 */
export class Failures {
  readonly #device: GPUDevice
  readonly #waitFor: WaitFor
  /** What becomes void with a failure is dropped here. */
  readonly #onFailure: () => void
  /** Settles when the device has judged everything it was given so far; never rejects. */
  #verdicts: Promise<void> = Promise.resolve()
  /** A failure nobody has been told of yet; a lost device stays here. */
  #untold: TweedieError | null = null
  #last: TweedieError | null = null
  #count = 0
  #disposed = false

  constructor(device: GPUDevice, waitFor: WaitFor, onFailure: () => void) {
    this.#device = device
    this.#waitFor = waitFor
    this.#onFailure = onFailure
    void device.lost.then((info) => {
      this.fail(
        new TweedieError(
          'device-lost',
          `The GPU device was lost (${info.reason}): ${info.message || 'no reason given'}. Request a new device ` +
            'and go on from the last finished batch.',
        ),
      )
    })
  }

  /** How many failures there were: who waits compares it with what it was at the beginning. */
  get count(): number {
    return this.#count
  }

  fail(error: TweedieError): void {
    if (this.#disposed || this.#untold?.code === 'device-lost') return
    this.#untold = this.#last = error
    this.#count++
    this.#onFailure()
  }

  /** Throws a failure that nobody has been told of, or that happened since there were `since`. */
  check(since: number = this.#count): void {
    if (this.#disposed) throw new TweedieError('disposed', 'The device was disposed.')
    const failure = this.#untold ?? (since < this.#count ? this.#last : null)
    if (!failure) return
    if (failure.code !== 'device-lost') this.#untold = null
    throw failure
  }

  /** Does something the device may object to, asynchronously; if it does, that is the failure `explain` makes of it. */
  guard<T>(act: () => T, explain: (error: GPUError, filter: GPUErrorFilter) => TweedieError): T {
    const since = this.#count
    for (const filter of filters) this.#device.pushErrorScope(filter)
    try {
      return act()
    } finally {
      // The last one pushed is the first one popped.
      const verdict = Promise.all(filters.map(() => this.#device.popErrorScope().catch(() => null))).then((errors) =>
        errors.reverse(),
      )
      // In order, so that the cause is seen before its consequences, which count for nothing.
      this.#verdicts = this.#verdicts
        .then(() => verdict)
        .then((errors) => {
          const found = errors.findIndex((e) => e !== null)
          if (found >= 0 && since === this.#count && !this.#disposed)
            this.fail(explain(errors[found] as GPUError, filters[found]))
        })
    }
  }

  /** Waits for the device's verdict on everything so far, and throws what failed since there were `since` failures. */
  async judge(since: number): Promise<void> {
    await this.#waitFor(this.#verdicts)
    this.check(since)
  }

  dispose(): void {
    this.#disposed = true
  }
}
