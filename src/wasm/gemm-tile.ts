/**
 * The inner loops that everything heavy comes down to: a panel of 6 or 4 rows times a panel of 8 columns, accumulators
 * in registers. Panels are packed: of A `[k][rows]`, of B `[k][8]`, so that each step of k reads what lies next to each
 * other. K is not unrolled: V8 would hoist the loads of the whole block above the arithmetic and spill.
 *
 * These are functions to be called, not inlined: in one body with the loops around it V8 (Node 20) spills the tile's
 * accumulators (6 rows, relaxed SIMD, GFLOP/s on one core of a Sapphire Rapids of peak 37: 37 called, 24 inlined; the
 * call itself is lost beside the tile). Called, 6 rows reach 37 and 4 rows 33, plain SIMD 27 either way; so matrices
 * are cut into panels of 6 rows, the rest into panels of 4. Every element is summed over k in order whatever the cut.
 */
import { madd } from './simd'

/**
 * C[6, 8] = A panel · B panel, or += where `accumulate`. `a` [k][6], `b` [k][8], `c` with `ldc` bytes from row to row.
 */
export function tile6x8(a: usize, b: usize, k: i32, c: usize, ldc: usize, accumulate: bool): void {
  let c0a = f32x4.splat(0), c0b = f32x4.splat(0)
  let c1a = f32x4.splat(0), c1b = f32x4.splat(0)
  let c2a = f32x4.splat(0), c2b = f32x4.splat(0)
  let c3a = f32x4.splat(0), c3b = f32x4.splat(0)
  let c4a = f32x4.splat(0), c4b = f32x4.splat(0)
  let c5a = f32x4.splat(0), c5b = f32x4.splat(0)
  if (accumulate) {
    let row = c
    c0a = v128.load(row)
    c0b = v128.load(row, 16)
    row += ldc
    c1a = v128.load(row)
    c1b = v128.load(row, 16)
    row += ldc
    c2a = v128.load(row)
    c2b = v128.load(row, 16)
    row += ldc
    c3a = v128.load(row)
    c3b = v128.load(row, 16)
    row += ldc
    c4a = v128.load(row)
    c4b = v128.load(row, 16)
    row += ldc
    c5a = v128.load(row)
    c5b = v128.load(row, 16)
  }
  const end = a + <usize>k * 24
  while (a < end) {
    const b0 = v128.load(b)
    const b1 = v128.load(b, 16)
    let s = v128.load32_splat(a)
    c0a = madd(s, b0, c0a)
    c0b = madd(s, b1, c0b)
    s = v128.load32_splat(a, 4)
    c1a = madd(s, b0, c1a)
    c1b = madd(s, b1, c1b)
    s = v128.load32_splat(a, 8)
    c2a = madd(s, b0, c2a)
    c2b = madd(s, b1, c2b)
    s = v128.load32_splat(a, 12)
    c3a = madd(s, b0, c3a)
    c3b = madd(s, b1, c3b)
    s = v128.load32_splat(a, 16)
    c4a = madd(s, b0, c4a)
    c4b = madd(s, b1, c4b)
    s = v128.load32_splat(a, 20)
    c5a = madd(s, b0, c5a)
    c5b = madd(s, b1, c5b)
    a += 24
    b += 32
  }
  v128.store(c, c0a)
  v128.store(c, c0b, 16)
  c += ldc
  v128.store(c, c1a)
  v128.store(c, c1b, 16)
  c += ldc
  v128.store(c, c2a)
  v128.store(c, c2b, 16)
  c += ldc
  v128.store(c, c3a)
  v128.store(c, c3b, 16)
  c += ldc
  v128.store(c, c4a)
  v128.store(c, c4b, 16)
  c += ldc
  v128.store(c, c5a)
  v128.store(c, c5b, 16)
}

/**
 * C[4, 8] = A panel · B panel, or += where `accumulate`. `a` [k][4], `b` [k][8], `c` with `ldc` bytes from row to row.
 */
export function tile4x8(a: usize, b: usize, k: i32, c: usize, ldc: usize, accumulate: bool): void {
  let c0a = f32x4.splat(0), c0b = f32x4.splat(0)
  let c1a = f32x4.splat(0), c1b = f32x4.splat(0)
  let c2a = f32x4.splat(0), c2b = f32x4.splat(0)
  let c3a = f32x4.splat(0), c3b = f32x4.splat(0)
  if (accumulate) {
    let row = c
    c0a = v128.load(row)
    c0b = v128.load(row, 16)
    row += ldc
    c1a = v128.load(row)
    c1b = v128.load(row, 16)
    row += ldc
    c2a = v128.load(row)
    c2b = v128.load(row, 16)
    row += ldc
    c3a = v128.load(row)
    c3b = v128.load(row, 16)
  }
  const end = a + <usize>k * 16
  while (a < end) {
    const b0 = v128.load(b)
    const b1 = v128.load(b, 16)
    let s = v128.load32_splat(a)
    c0a = madd(s, b0, c0a)
    c0b = madd(s, b1, c0b)
    s = v128.load32_splat(a, 4)
    c1a = madd(s, b0, c1a)
    c1b = madd(s, b1, c1b)
    s = v128.load32_splat(a, 8)
    c2a = madd(s, b0, c2a)
    c2b = madd(s, b1, c2b)
    s = v128.load32_splat(a, 12)
    c3a = madd(s, b0, c3a)
    c3b = madd(s, b1, c3b)
    a += 16
    b += 32
  }
  v128.store(c, c0a)
  v128.store(c, c0b, 16)
  c += ldc
  v128.store(c, c1a)
  v128.store(c, c1b, 16)
  c += ldc
  v128.store(c, c2a)
  v128.store(c, c2b, 16)
  c += ldc
  v128.store(c, c3a)
  v128.store(c, c3b, 16)
}
