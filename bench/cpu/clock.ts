/** What every contender shares, in Node and in a page: the tasks, and how a run is timed. */

/**
 * Convolution 3x3, `channels` to as many, padding 1, no bias: x [batch, channels, size, size], w
 * [channels, channels, 3, 3], y.
 */
export interface ConvTask {
  readonly kind: 'conv'
  readonly dir: string
  readonly batch: number
  readonly channels: number
  readonly size: number
}
/** x [size, size] times w [size, size], of which w is constant, gives y. */
export interface GemmTask {
  readonly kind: 'gemm'
  readonly dir: string
  readonly size: number
}
/**
 * The small U-Net: x [batch, 3, 32, 32], t [batch] gives y; for 'training' also cotangent, and gradients.
 * 'step' is a whole step of training: loss, gradients, AdamW and one moving average; of it only y, before the
 * first step, is compared.
 */
export interface NetworkTask {
  readonly kind: 'unet' | 'training' | 'step'
  readonly dir: string
  readonly weights: string
  readonly batch: number
}
/**
 * The `k` nearest of `count` references w for each of `count` queries x, rows of `dimension` numbers: y [count, k] are
 * the distances, ascending. `own`: the references are the queries, and none is its own neighbour.
 */
export interface NeighboursTask {
  readonly kind: 'neighbours'
  readonly dir: string
  readonly count: number
  readonly dimension: number
  readonly k: number
  readonly own: boolean
}
export type Task = ConvTask | GemmTask | NetworkTask | NeighboursTask

/** Computes the task once more; whatever it returns is awaited. */
export type Run = () => unknown

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Milliseconds of a run, over runs that take at least `atLeast` together: their median, and the best of them. */
export interface Times {
  readonly ms: number
  readonly best: number
}

export async function timed(run: Run, atLeast: number): Promise<Times> {
  const times: number[] = []
  const end = performance.now() + atLeast
  do {
    const start = performance.now()
    await run()
    times.push(performance.now() - start)
  } while (performance.now() < end)
  return { ms: median(times), best: Math.min(...times) }
}
