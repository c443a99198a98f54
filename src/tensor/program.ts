import { TweedieError } from '../errors.ts'

/**
 * A function whose kernels were noted and are run again without it, made by {@link Device.record}. Replaying costs the
 * host a fifth of what the ops cost it and creates nothing. The program owns its memory until it is disposed.
 */
export class Program<T> {
  /** What its function returned; its tensors hold the values of the last replay, at first those of the recording. */
  result: T
  readonly #enqueue: (step: number) => T
  readonly #free: () => void
  #disposed = false

  /** Made by {@link Device}, not by users. */
  constructor(enqueue: (step: number) => T, free: () => void, result: T) {
    this.result = result
    this.#enqueue = enqueue
    this.#free = free
  }

  /**
   * Enqueues the program for `step`, and returns what its function returned, whose tensors hold the values of this
   * replay until the next.
   *
   * @throws TweedieError 'disposed' after {@link Program.dispose}; 'unsupported' if an op of the program would take
   *   another kernel for what a live function gave, or if parameters that it reads were moved since, as an `AdamW`
   *   moves those it is made for
   */
  replay(step: number): T {
    if (this.#disposed) throw new TweedieError('disposed', 'replay: the program was disposed.')
    return (this.result = this.#enqueue(step))
  }

  /** Frees what it owns, its results with it. Disposing twice does nothing. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    this.#free()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }
}
