/**
 * Weights and inputs of the goldens of feature networks and other third-party networks: every number follows from the
 * key of its tensor and its place there, whatever the order of the file. The rule stands in the goldens' metadata.
 */
import type { WeightEntry, WeightSource } from '../src/nn/index.ts'
import type { Shape } from '../src/tensor/index.ts'
import { size } from './op.ts'

/** FNV-1a of a key's bytes. */
const seedOf = (key: string): number =>
  new TextEncoder().encode(key).reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193) >>> 0, 0x811c9dc5)

/** 32 mixed bits for element i of a tensor. */
function mixed(i: number, seed: number): number {
  let h = (Math.imul(i, 0x9e3779b1) + seed) | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** offset + scale u, u uniform in [-1, 1). */
export function keyedValues(key: string, count: number, scale = 1, offset = 0): Float32Array {
  const seed = seedOf(key)
  const values = new Float32Array(count)
  for (let i = 0; i < count; i++) values[i] = offset + scale * (mixed(i, seed) / 2 ** 31 - 1)
  return values
}

/** The top 8 bits: the pixels of an image. */
export function keyedBytes(key: string, count: number): Uint8Array {
  const seed = seedOf(key)
  return Uint8Array.from({ length: count }, (_, i) => mixed(i, seed) >>> 24)
}

/** Rules of one golden that go before the others: the key ends like this, so that is its offset and its scale. */
export type SpecialRules = Readonly<Record<string, { readonly offset: number; readonly scale: number }>>

/** The weights of a network by the rule, made when they are read. `gain`: the golden's g, 6 with ReLU, else 3. */
export function keyedWeights(
  stateDict: ReadonlyMap<string, Shape>,
  gain: number,
  special: SpecialRules = {},
): WeightSource {
  const valuesOf = (key: string, shape: Shape): Float32Array => {
    const own = Object.entries(special).find(([suffix]) => key.endsWith(suffix))?.[1]
    if (own) return keyedValues(key, size(shape), own.scale, own.offset)
    if (key.endsWith('_var')) return keyedValues(key, size(shape), 0.5, 1)
    if (shape.length >= 2) return keyedValues(key, size(shape), Math.sqrt(gain / size(shape.slice(1))))
    return keyedValues(key, size(shape), 0.1, /(weight|gain)$/.test(key) ? 1 : 0)
  }
  const tensors = [...stateDict].map(([key, shape]): [string, WeightEntry] => [
    key,
    { shape, byteLength: 4 * size(shape), read: async () => valuesOf(key, shape) },
  ])
  return { name: 'weights by key', tensors: new Map(tensors) }
}
