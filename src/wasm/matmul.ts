/**
 * C = A·B for batches of matrices. A comes in panels of 6 and 4 rows, B in panels of 8 columns or, where few rows use
 * it and it is row-major, as it lies: the gathered tile reads it through a table of its rows' offsets. Tiles that stick
 * out of C, and all tiles where C is written transposed, go through scratch.
 */
import { gathered4x8, gathered6x8 } from './gathered-tile'
import { tile4x8, tile6x8 } from './gemm-tile'

@unmanaged
class MatmulParams {
  /** [panel][k][6 or 4] */
  a: usize
  /** [panel][k][8], or [k][rowStep] where `direct`. */
  b: usize
  c: usize
  m: i32
  n: i32
  k: i32
  sixes: i32
  fours: i32
  direct: i32
  /** Floats between C's rows and columns. */
  rowStep: i32
  colStep: i32
  /** Matrices: `inner` of them in a row, and floats from one to the next, inside and outside. */
  inner: i32
  aOuter: i32
  aInner: i32
  bOuter: i32
  bInner: i32
  /** Where the first matrices begin, in floats. */
  aStart: i32
  bStart: i32
  cStart: i32
  rowBlocks: i32
  rowPanels: i32
  colBlocks: i32
  colPanels: i32
  /** Steps of k of a tile at a time. */
  round: i32
  /** Blocks of all matrices, and of a chunk. */
  items: i32
  each: i32
}

export function matmul(p: MatmulParams, chunk: i32, scratch: usize): void {
  // Scratch: a tile, then offsets of B's rows.
  if (p.direct) {
    for (let i = 0; i < p.round; i++) store<i32>(scratch + 192 + (<usize>i << 2), (i * p.n) << 2)
  }
  const end = min(p.items, (chunk + 1) * p.each)
  for (let item = chunk * p.each; item < end; item++) block(p, item, scratch, scratch + 192)
}

function block(p: MatmulParams, item: i32, scratch: usize, offsets: usize): void {
  const firstCol = (item % p.colBlocks) * p.colPanels
  item /= p.colBlocks
  const firstPanel = (item % p.rowBlocks) * p.rowPanels
  const matrix = item / p.rowBlocks
  const outer = matrix / p.inner
  const inner = matrix % p.inner
  const a = p.a + (<usize>(p.aStart + outer * p.aOuter + inner * p.aInner) << 2)
  const b = p.b + (<usize>(p.bStart + outer * p.bOuter + inner * p.bInner) << 2)
  const c = p.c + (<usize>(p.cStart + matrix * p.m * p.n) << 2)
  const endPanel = min(p.sixes + p.fours, firstPanel + p.rowPanels)
  const endCol = min((p.n + 7) >> 3, firstCol + p.colPanels)
  for (let k0 = 0; k0 < p.k; k0 += p.round) {
    const k = min(p.round, p.k - k0)
    for (let panel = firstPanel; panel < endPanel; panel++) {
      const six = panel < p.sixes
      const row = six ? panel * 6 : p.sixes * 2 + panel * 4
      const panelA = a + (<usize>(row * p.k + k0 * (six ? 6 : 4)) << 2)
      const rows = min(six ? 6 : 4, p.m - row)
      for (let col = firstCol; col < endCol; col++) {
        const panelB = p.direct ? b + (<usize>(k0 * p.n + col * 8) << 2) : b + (<usize>(col * p.k + k0) << 5)
        const cols = min(8, p.n - col * 8)
        const corner = c + (<usize>(row * p.rowStep + col * 8 * p.colStep) << 2)
        const whole = cols == 8 && rows == (six ? 6 : 4) && p.colStep == 1
        const target = whole ? corner : scratch
        const ldc: usize = whole ? <usize>p.rowStep << 2 : 32
        if (!whole && k0 > 0) moveTile(p, scratch, corner, rows, cols, false)
        if (p.direct) {
          if (six) gathered6x8(panelA, offsets, panelB, panelB + 16, k, target, ldc, k0 > 0)
          else gathered4x8(panelA, offsets, panelB, panelB + 16, k, target, ldc, k0 > 0)
        } else {
          if (six) tile6x8(panelA, panelB, k, target, ldc, k0 > 0)
          else tile4x8(panelA, panelB, k, target, ldc, k0 > 0)
        }
        if (!whole) moveTile(p, scratch, corner, rows, cols, true)
      }
    }
  }
}

/** Between a tile in scratch and its place in C. */
function moveTile(p: MatmulParams, tile: usize, corner: usize, rows: i32, cols: i32, out: bool): void {
  for (let r = 0; r < rows; r++) {
    let at = corner + (<usize>(r * p.rowStep) << 2)
    for (let i = 0; i < cols; i++) {
      const lane = tile + (<usize>(r * 8 + i) << 2)
      if (out) store<f32>(at, load<f32>(lane))
      else store<f32>(lane, load<f32>(at))
      at += <usize>p.colStep << 2
    }
  }
}
