import type { Points } from './nearest.ts'

/** The points at `rows`, in this order. */
export function rowsOf({ data, dimension }: Points, rows: ArrayLike<number>): Points {
  const out = new Float32Array(rows.length * dimension)
  for (let i = 0; i < rows.length; i++) {
    out.set(data.subarray(rows[i] * dimension, (rows[i] + 1) * dimension), i * dimension)
  }
  return { data: out, dimension }
}
