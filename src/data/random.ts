/**
 * The random choices about data, on the engine's counter-based generator: a function of the seed and of what is chosen,
 * with no state.
 */
import { hostRandomUniform, splitSeed } from '../tensor/philox.ts'
import { purposes } from '../tensor/purposes.ts'

type DataPurpose = 'shuffle' | 'augment' | 'select'

/** `count` numbers in [0, 1) for element `index` (below 2^53): the same for the same arguments. */
export function uniformsAt(seed: number, purpose: DataPurpose, index: number, count: number): number[] {
  const stream = { seed: splitSeed(seed), draw: Math.floor(index / 2 ** 32), purpose: purposes[purpose] }
  return hostRandomUniform(stream, [index % 2 ** 32], count)
}

/** 0 to n - 1 in the `index`-th random order of a seed (Fisher and Yates' shuffle). */
export function permutation(n: number, seed: number, purpose: DataPurpose, index: number): Uint32Array {
  const random = uniformsAt(seed, purpose, index, n)
  const order = Uint32Array.from({ length: n }, (_, i) => i)
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random[i] * (i + 1))
    const other = order[j]
    order[j] = order[i]
    order[i] = other
  }
  return order
}
