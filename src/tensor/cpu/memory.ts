const alignment = 64

interface Gap {
  start: number
  end: number
}

/**
 * The heap: who has which bytes of the linear memory. First fit, lowest address first, so the same sequence of requests
 * gets the same addresses and a repeated step never needs more. Commands run in order, so what is freed may be given
 * away at once: whoever gets it is written later than the last reader has read.
 */
export class Heap {
  /** By address, never adjacent, all before the end. */
  readonly #gaps: Gap[] = []
  /** Where the last piece in use ends. */
  #end: number

  constructor(start: number) {
    this.#end = start
  }

  get end(): number {
    return this.#end
  }

  static roundUp(bytes: number): number {
    return Math.max(1, Math.ceil(bytes / alignment)) * alignment
  }

  /** The address of `bytes` bytes, rounded up; null if that would reach beyond `limit`. */
  take(bytes: number, limit: number): number | null {
    const size = Heap.roundUp(bytes)
    const index = this.#gaps.findIndex(({ start, end }) => end - start >= size)
    if (index >= 0) {
      const gap = this.#gaps[index]
      const { start } = gap
      gap.start += size
      if (gap.start === gap.end) this.#gaps.splice(index, 1)
      return start
    }
    const start = this.#end
    if (start + size > limit) return null
    this.#end = start + size
    return start
  }

  give(start: number, bytes: number): void {
    const end = start + Heap.roundUp(bytes)
    let low = 0
    let high = this.#gaps.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#gaps[middle].start < start) low = middle + 1
      else high = middle
    }
    const before = this.#gaps[low - 1]
    const after = this.#gaps[low]
    const joinsBefore = before !== undefined && before.end === start
    if (end === this.#end) {
      this.#end = joinsBefore ? before.start : start
      if (joinsBefore) this.#gaps.pop()
      return
    }
    const joinsAfter = after !== undefined && after.start === end
    if (joinsBefore && joinsAfter) {
      before.end = after.end
      this.#gaps.splice(low, 1)
    } else if (joinsBefore) before.end = end
    else if (joinsAfter) after.start = start
    else this.#gaps.splice(low, 0, { start, end })
  }
}
