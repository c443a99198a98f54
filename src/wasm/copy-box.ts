/**
 * A box of words from one strided place to another: permute, slice, pad, concatenate. The launch has picked two axes
 * for the inner loops: along `columns` the target is walked in the smallest steps, and `rows` is where the source is,
 * if that is another axis. So there are three ways to copy a tile of rows and columns: runs, where both sides are dense
 * along the columns; 4x4 transposes in registers, where the source is dense along the rows; word by word otherwise.
 * Transposed tiles are 64 rows of 128 words: both sides come in runs of some lines, and the tile stays in the cache.
 * What does not divide by four is done by going back and copying some words a second time.
 */
import { Words } from './words'

@unmanaged
class CopyBoxParams {
  target: usize
  source: usize
  /** Bytes to the box's first word. */
  targetOffset: u32
  sourceOffset: u32
  /** Tiles in all, and tiles a chunk. */
  tiles: i32
  each: i32
  rows: i32
  columns: i32
  /** Rows and columns of a tile. */
  tileRows: i32
  tileColumns: i32
  /** Bytes from row to row and from column to column. */
  targetRow: u32
  targetColumn: u32
  sourceRow: u32
  sourceColumn: u32
  /** Of the other axes. */
  rank: i32
  /** For each of them its extent, and bytes a step in the target and in the source. */
  axes: Words
}

export function copyBox(p: CopyBoxParams, chunk: i32, scratch: usize): void {
  const columnTiles = (p.columns + p.tileColumns - 1) / p.tileColumns
  const rowTiles = (p.rows + p.tileRows - 1) / p.tileRows
  const end = min(p.tiles, (chunk + 1) * p.each)
  for (let tile = chunk * p.each; tile < end; tile++) {
    let rest = <u32>tile / <u32>columnTiles
    const column = (tile - rest * columnTiles) * p.tileColumns
    let next = rest / <u32>rowTiles
    const row = (rest - next * rowTiles) * p.tileRows
    rest = next
    let target = p.target + p.targetOffset + <usize>row * p.targetRow + <usize>column * p.targetColumn
    let source = p.source + p.sourceOffset + <usize>row * p.sourceRow + <usize>column * p.sourceColumn
    let axis = changetype<usize>(p) + offsetof<CopyBoxParams>('axes') + <usize>p.rank * 12
    for (let a = 0; a < p.rank; a++) {
      axis -= 12
      const extent = load<u32>(axis)
      next = rest / extent
      const index = rest - next * extent
      target += <usize>index * load<usize>(axis, 4)
      source += <usize>index * load<usize>(axis, 8)
      rest = next
    }
    const rows = min(p.tileRows, p.rows - row)
    const columns = min(p.tileColumns, p.columns - column)
    if (p.targetColumn === 4 && p.sourceColumn === 4) {
      runs(target, source, rows, columns, p.targetRow, p.sourceRow)
    } else if (p.targetColumn === 4 && p.sourceRow === 4 && rows >= 4 && columns >= 4) {
      transpose(target, source, rows, columns, p.targetRow, p.sourceColumn)
    } else {
      words(target, source, rows, columns, p.targetRow, p.targetColumn, p.sourceRow, p.sourceColumn)
    }
  }
}

/**
 * Words from which on a call of memory.copy (15 ns) is faster than a loop: at 66 a third slower, at 128 level, at
 * 256 a quarter faster.
 */
const longRun = 128

function runs(target: usize, source: usize, rows: i32, columns: i32, targetRow: usize, sourceRow: usize): void {
  const last = (<usize>columns << 2) - 16
  for (let r = 0; r < rows; r++) {
    if (columns > longRun) {
      memory.copy(target, source, <usize>columns << 2)
    } else if (columns >= 4) {
      for (let at: usize = 0; at < last; at += 16) v128.store(target + at, v128.load(source + at))
      v128.store(target + last, v128.load(source + last))
    } else {
      for (let c: usize = 0; c < <usize>columns; c++) store<u32>(target + (c << 2), load<u32>(source + (c << 2)))
    }
    target += targetRow
    source += sourceRow
  }
}

function transpose(target: usize, source: usize, rows: i32, columns: i32, targetRow: usize, sourceColumn: usize): void {
  for (let row = 0; row < rows; row += 4) {
    const r = <usize>min(row, rows - 4)
    for (let column = 0; column < columns; column += 4) {
      const c = <usize>min(column, columns - 4)
      let from = source + (r << 2) + c * sourceColumn
      const c0 = v128.load(from)
      from += sourceColumn
      const c1 = v128.load(from)
      from += sourceColumn
      const c2 = v128.load(from)
      from += sourceColumn
      const c3 = v128.load(from)
      const a = v128.shuffle<f32>(c0, c1, 0, 4, 1, 5)
      const b = v128.shuffle<f32>(c2, c3, 0, 4, 1, 5)
      const d = v128.shuffle<f32>(c0, c1, 2, 6, 3, 7)
      const e = v128.shuffle<f32>(c2, c3, 2, 6, 3, 7)
      let to = target + (c << 2) + r * targetRow
      v128.store(to, v128.shuffle<f32>(a, b, 0, 1, 4, 5))
      to += targetRow
      v128.store(to, v128.shuffle<f32>(a, b, 2, 3, 6, 7))
      to += targetRow
      v128.store(to, v128.shuffle<f32>(d, e, 0, 1, 4, 5))
      to += targetRow
      v128.store(to, v128.shuffle<f32>(d, e, 2, 3, 6, 7))
    }
  }
}

function words(
  target: usize, source: usize, rows: i32, columns: i32, targetRow: usize, targetColumn: usize, sourceRow: usize,
  sourceColumn: usize
): void {
  for (let r = 0; r < rows; r++) {
    let to = target
    let from = source
    for (let c = 0; c < columns; c++) {
      store<u32>(to, load<u32>(from))
      to += targetColumn
      from += sourceColumn
    }
    target += targetRow
    source += sourceRow
  }
}
