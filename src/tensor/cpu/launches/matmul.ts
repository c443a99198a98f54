import type { View } from '../../backend.ts'
import type { MatmulParams } from '../../ops/matmul.ts'
import { broadcastStrides, collapse, sizeOf } from '../../shape.ts'
import { cut, type Encoder, type Launch } from '../launch.ts'
import type { Buffer } from '../params.ts'
import { packPanels, rowPanels } from './panels.ts'

/** A matrix, or a batch of them, `matrices` in all; element (row, k) lies at row · rowStep + k · kStep. */
interface Side {
  readonly view: View
  readonly rows: number
  readonly rowStep: number
  readonly kStep: number
  readonly matrices: number
  /** Floats from one matrix to the next, for each of the result's batch loops. */
  readonly batch: readonly number[]
}

/** Multiply-adds, counted as two, of a chunk: about 100 µs, 60 rows by 60 columns of 512 steps. */
const chunkFlops = 4e6
/** What a chunk has where there is little work in all: about 15 µs. */
const leastFlops = 5e5
/** Steps of k of a tile at a time: a panel of A and one of B, 28 KB, stay in L1. */
const longestRound = 512

/**
 * Matrix products: both sides are put into panels (a weight's once, as long as nobody writes it), then tiles run over
 * them. Whatever the shape, an element is the sum over k in order, so a sample is the same to the bit in any batch.
 */
export const matmul: Launch<MatmulParams> = (encoder, { transposeA, transposeB }, [a, b], [c]) => {
  const [m, n] = c.shape.slice(-2)
  const k = a.shape[a.shape.length - (transposeA ? 2 : 1)]
  const batchShape = c.shape.slice(0, -2)
  // In matrices, not in floats.
  const { dims, strides } = collapse(batchShape, [
    broadcastStrides(a.shape.slice(0, -2), batchShape),
    broadcastStrides(b.shape.slice(0, -2), batchShape),
  ])
  const count = (view: View): number => sizeOf(view.shape.slice(0, -2))
  const left: Side = {
    view: a,
    rows: m,
    rowStep: transposeA ? 1 : k,
    kStep: transposeA ? m : 1,
    matrices: count(a),
    batch: strides[0],
  }
  const right: Side = {
    view: b,
    rows: n,
    rowStep: transposeB ? k : 1,
    kStep: transposeB ? 1 : n,
    matrices: count(b),
    batch: strides[1],
  }
  // A thin B is the better A: its few columns need not fill a panel of 8.
  if (n <= 4 && m > n) multiply(encoder, right, left, k, dims, c, { rowStep: 1, colStep: n })
  else multiply(encoder, left, right, k, dims, c, { rowStep: n, colStep: 1 })
}

function multiply(
  encoder: Encoder,
  a: Side,
  b: Side,
  k: number,
  dims: readonly number[],
  c: View,
  steps: { rowStep: number; colStep: number },
): void {
  const [m, n] = [a.rows, b.rows]
  const { sixes, fours, padded } = rowPanels(m)
  const packedA = pack(encoder, a, k, null)
  // Reading B where it lies costs the cache more, packing it costs a pass over it: the latter pays from 5 panels of A
  // on.
  const isDirect = b.rowStep === 1 && n % 8 === 0 && sixes + fours <= 4
  const packedB = isDirect ? b.view : pack(encoder, b, k, 8)
  const bSize = isDirect ? n * k : Math.ceil(n / 8) * 8 * k
  const aSize = padded * k
  const inner = dims[dims.length - 1]
  const second = dims[dims.length - 2] ?? 1
  const matrices = inner * second
  const {
    rowBlocks,
    rowPanels: blockPanels,
    colBlocks,
    colPanels,
  } = blocks(sixes + fours, Math.ceil(n / 8), k, matrices)
  const stride = (side: Side, fromEnd: number): number => side.batch[side.batch.length - fromEnd] ?? 0
  const round = Math.ceil(k / Math.ceil(k / longestRound))
  const items = matrices * rowBlocks * colBlocks
  const { chunks, each } = cut(items, (leastFlops * items) / (2 * padded * n * k * matrices))
  // The kernel has two loops over matrices; further ones are here.
  const rest = dims.slice(0, -2)
  for (let run = 0; run < sizeOf(rest); run++) {
    const start = (side: Side): number => offsetOf(run, rest, side.batch)
    encoder.run({
      kernel: 'matmul',
      chunks,
      params: {
        a: packedA,
        b: packedB,
        c,
        m,
        n,
        k,
        sixes,
        fours,
        direct: isDirect ? 1 : 0,
        rowStep: steps.rowStep,
        colStep: steps.colStep,
        inner,
        aOuter: stride(a, 2) * aSize,
        aInner: stride(a, 1) * aSize,
        bOuter: stride(b, 2) * bSize,
        bInner: stride(b, 1) * bSize,
        aStart: start(a) * aSize,
        bStart: start(b) * bSize,
        cStart: run * matrices * m * n,
        rowBlocks,
        rowPanels: blockPanels,
        colBlocks,
        colPanels,
        round,
        items,
        each,
      },
      scratch: 192 + round * 4,
      flops: 2 * m * n * k * matrices,
    })
  }
}

/** Where loop number `flat` of `dims` begins. */
function offsetOf(flat: number, dims: readonly number[], strides: readonly number[]): number {
  let offset = 0
  for (let i = dims.length - 1; i >= 0; i--) {
    offset += (flat % dims[i]) * strides[i]
    flat = Math.floor(flat / dims[i])
  }
  return offset
}

function blocks(
  panels: number,
  columns: number,
  k: number,
  matrices: number,
): { rowBlocks: number; rowPanels: number; colBlocks: number; colPanels: number } {
  const flops = panels * columns * 96 * k
  const wanted = Math.max(Math.floor(flops / chunkFlops), Math.min(flops / leastFlops, 8 / matrices))
  let [rowBlocks, colBlocks] = [1, 1]
  // Halve the longer side: a square block reads the least.
  while (
    rowBlocks * colBlocks < wanted &&
    rowBlocks * colBlocks * matrices < 2000 &&
    rowBlocks * colBlocks < panels * columns
  ) {
    const [rows, cols] = [(panels / rowBlocks) * 6, (columns / colBlocks) * 8]
    if (rows >= cols ? rowBlocks < panels : colBlocks >= columns) rowBlocks = Math.min(panels, rowBlocks * 2)
    else colBlocks = Math.min(columns, colBlocks * 2)
  }
  const [rowPanels, colPanels] = [Math.ceil(panels / rowBlocks), Math.ceil(columns / colBlocks)]
  return { rowBlocks: Math.ceil(panels / rowPanels), rowPanels, colBlocks: Math.ceil(columns / colPanels), colPanels }
}

/** Panels of `side`'s rows: 6 and 4 high, or 8 for the right side. */
function pack(encoder: Encoder, side: Side, k: number, heights: 8 | null): Buffer {
  const { view, rows, rowStep, kStep, matrices } = side
  const bytes = matrices * k * 4 * (heights ? Math.ceil(rows / 8) * 8 : rowPanels(rows).padded)
  const run = (target: Buffer): void =>
    packPanels(encoder, { buffer: view, rowStep, k: [[k, kStep]] }, rows, target, { heights, matrices, step: rows * k })
  const isWeight = heights === 8 && view.shape.length === 2
  const kept = isWeight ? encoder.packed(view, `matmul ${rows} ${k} ${rowStep}`, bytes, run) : null
  if (kept) return kept
  const target = encoder.temporary(bytes)
  run(target)
  return target
}
