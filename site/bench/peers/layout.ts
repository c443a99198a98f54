/** Between our layout, channels before positions, and that of peers which have them last. */

/** [n, c, p] to [n, p, c]; with c and p exchanged it goes back. */
export function channelsLast(x: Float32Array, n: number, c: number): Float32Array<ArrayBuffer> {
  const p = x.length / n / c
  const out = new Float32Array(x.length)
  for (let b = 0; b < n; b++)
    for (let k = 0; k < c; k++) for (let i = 0; i < p; i++) out[(b * p + i) * c + k] = x[(b * c + k) * p + i]
  return out
}

/** Side of the forward convolution that a case is; null for others. */
export const sideOf = (as: string): number | null => {
  const side = /^conv2d-(\d)x\d$/.exec(as)?.[1]
  return side === undefined ? null : Number(side)
}

/** Queries, keys or values of qkv [n, 3 heads d, t], the part 0, 1 or 2, as [n, t, heads d]. */
export function tokensFirst(qkv: Float32Array, part: number, n: number, t: number): Float32Array<ArrayBuffer> {
  const width = qkv.length / n / t / 3
  const own = new Float32Array(n * width * t)
  for (let b = 0; b < n; b++) {
    const from = (3 * b + part) * width * t
    own.set(qkv.subarray(from, from + width * t), b * width * t)
  }
  return channelsLast(own, n, width)
}
