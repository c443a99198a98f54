/**
 * Weights and inputs made by a formula, so that a whole network is known without a file. Two formulas: the sines of
 * spec K (docs/glossary.md), whose sums and first elements stand in the tests, and the hash of the full-size goldens
 * (their `__metadata__` states it), which keeps activations near one through 50 layers.
 */
import { expect } from 'vitest'
import { hash, hashWeights } from '../src/bench/formula.ts'
import { checkConfig, type ModelConfig } from '../src/nn/config.ts'
import { loadParameters, planOf, stateDictOf, type WeightEntry, type WeightSource } from '../src/nn/index.ts'
import type { Device, Shape, Tensor } from '../src/tensor/index.ts'
import { size } from './op.ts'

export type StateDict = ReadonlyMap<string, Shape>

type Fill = (key: string, shape: Shape, j: number) => Float32Array

/** The fill rule for entry `j` of a state dict. */
export const sines: Fill = (key, shape, j) => {
  const scale = shape.length >= 2 ? 0.15 : 0.1
  const offset = shape.length === 1 && key.endsWith('weight') ? 1 : 0
  return Float32Array.from({ length: size(shape) }, (_, i) => offset + scale * Math.sin(0.37 * i + 1.3 * j + 0.5))
}

/** The fill of the full-size goldens: variance 1 / fan_in for what multiplies, 0.1 around 1 or 0 for the rest. */
export const hashes =
  (seed: number): Fill =>
  (key, shape, j) =>
    hashWeights(key, shape, j, seed)

/** Input `j` (1000 and up) of the full-size goldens: variance 1. */
export const hashInput = (shape: Shape, j: number, seed: number): Float32Array =>
  hash(size(shape), j, seed, Math.sqrt(3))

/** A checkpoint of such weights: every tensor is made when it is read, so the host never holds two. */
export function formulaWeights(stateDict: StateDict, fill: Fill): WeightSource {
  const tensors = new Map<string, WeightEntry>()
  for (const [key, shape] of stateDict) {
    const j = tensors.size
    tensors.set(key, { shape, byteLength: 4 * size(shape), read: async () => fill(key, shape, j) })
  }
  return { name: 'formula weights', tensors }
}

export const formulaParameters = (
  device: Device,
  stateDict: StateDict,
  fill: Fill = sines,
): Promise<Map<string, Tensor>> => loadParameters(device, formulaWeights(stateDict, fill), stateDict)

/** The parameters of a whole network. */
export function networkParameters(
  device: Device,
  config: ModelConfig,
  fill: Fill = sines,
): Promise<Map<string, Tensor>> {
  checkConfig(config)
  return formulaParameters(device, stateDictOf(planOf(config)), fill)
}

/** sin(frequency n + phase) over the flat index n; with `wave` Math.cos, the cosine. */
export const waves = (
  shape: Shape,
  frequency: number,
  phase = 0,
  wave: (x: number) => number = Math.sin,
): Float32Array => Float32Array.from({ length: size(shape) }, (_, n) => wave(frequency * n + phase))

export interface SpecValues {
  readonly sum?: number
  readonly absSum?: number
  /** The first elements. */
  readonly first?: readonly number[]
}

/** Sums within 1e-5 of the absolute sum, elements within 2e-4 of the tensor's largest element. */
export function expectSpec(found: ArrayLike<number>, { sum, absSum, first = [] }: SpecValues, what: string): void {
  const values = Array.from(found)
  const absolute = values.reduce((a, v) => a + Math.abs(v), 0)
  const total = values.reduce((a, v) => a + v, 0)
  const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
  const scale = absSum ?? absolute
  if (sum !== undefined)
    expect(Math.abs(total - sum), `${what}: sum ${total}, expected ${sum}`).toBeLessThanOrEqual(1e-5 * scale)
  if (absSum !== undefined)
    expect(Math.abs(absolute - absSum), `${what}: absolute sum ${absolute}, expected ${absSum}`).toBeLessThanOrEqual(
      1e-5 * scale,
    )
  first.forEach((v, i) => {
    expect(Math.abs(values[i] - v), `${what}: element ${i} is ${values[i]}, expected ${v}`).toBeLessThanOrEqual(
      2e-4 * largest,
    )
  })
}
