/** Numbers by a formula that any language can repeat to the bit, so that two programs compute with the same weights. */
import type { Shape } from '../tensor/index.ts'

/** Uniform in [-1, 1): a 32-bit mix of i and j, times `scale`, plus `offset`, in float64 before it is stored. */
export function hash(count: number, j: number, seed: number, scale: number, offset = 0): Float32Array<ArrayBuffer> {
  const out = new Float32Array(count)
  const start = j * 40503 + seed * 69069
  for (let i = 0; i < count; i++) {
    let h = (Math.imul(i, 0x9e3779b1) + start) | 0
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
    h = (h ^ (h >>> 16)) >>> 0
    out[i] = offset + (h / 2 ** 31 - 1) * scale
  }
  return out
}

/** Entry `j` of a state dict: variance 1 / fan_in for what multiplies, 0.1 around 1 or 0 for the rest. */
export function hashWeights(key: string, shape: Shape, j: number, seed: number): Float32Array<ArrayBuffer> {
  const size = (of: Shape): number => of.reduce((a, b) => a * b, 1)
  if (shape.length >= 2) return hash(size(shape), j, seed, Math.sqrt(3 / size(shape.slice(1))))
  return hash(size(shape), j, seed, 0.1, key.endsWith('weight') ? 1 : 0)
}
