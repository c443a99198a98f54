/** Seconds of work, without those in which a caller looks at what was made of it. It runs from the beginning. */
export class Stopwatch {
  #before = 0
  #since: number | null = performance.now()

  /** So far. */
  get seconds(): number {
    return this.#before + (this.#since === null ? 0 : (performance.now() - this.#since) / 1000)
  }

  stop(): void {
    this.#before = this.seconds
    this.#since = null
  }

  start(): void {
    this.#since = performance.now()
  }
}
