/** What is computed: inputs in a directory that every contender reads, and the check of what each makes of them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hostRandomNormal } from '../../src/tensor/index.ts'
import type { Task } from './clock.ts'

export interface Job {
  readonly title: string
  readonly task: Task
  /** GFLOP of one computation, or images. */
  readonly work: { readonly amount: number; readonly unit: 'GFLOP' | 'images' }
  /**
   * Throws if the files that `contender` wrote are wrong; the largest difference relative to the
   * largest value otherwise.
   */
  check(contender: string): number
  dispose(): void
}

export const random = (n: number, draw: number, scale = 1): Float32Array =>
  hostRandomNormal({ seed: [3, 0], draw, purpose: 0 }, [0], n).map((v) => v * scale)

export function directory(): { dir: string; dispose(): void } {
  const dir = mkdtempSync(join(tmpdir(), 'tweedie-cpu-'))
  return { dir, dispose: () => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }) }
}

/** The largest difference, in units of the largest expected value. */
export function difference(found: Float32Array, expected: ArrayLike<number>, floor = 0): number {
  if (found.length !== expected.length) throw new Error(`expected ${expected.length} values, found ${found.length}`)
  let [worst, largest] = [0, floor]
  for (let i = 0; i < expected.length; i++) {
    const [f, e] = [found[i], expected[i]]
    if (!Number.isFinite(f)) throw new Error(`value ${i} is ${f}`)
    worst = Math.max(worst, Math.abs(f - e))
    largest = Math.max(largest, Math.abs(e))
  }
  return worst / largest
}

export function within(tolerance: number, found: number): number {
  if (!(found <= tolerance))
    throw new Error(
      `its result is wrong: it differs by ${found.toExponential(1)} of the largest value, allowed is ${tolerance}`,
    )
  return found
}
