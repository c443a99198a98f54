/**
 * Puts a matrix into the order in which tiles read it: panels of rows, within a panel k after k, [panel][k][row]. The
 * matrix is any that strides describe; its k may be three loops, which is what a convolution's weights need: channel,
 * tap's row, tap's column. Rows beyond the last are zeros, so that a tile never multiplies what is not there.
 */
import { packRows } from './pack-rows'

@unmanaged
class PackPanelsParams {
  source: usize
  target: usize
  rows: i32
  /** `first` panels of `firstHeight` rows, then panels of `height` rows. */
  first: i32
  firstHeight: i32
  height: i32
  panels: i32
  /** Floats from row to row, and extents and steps of k's loops, outermost first. */
  rowStep: i32
  outer: i32
  outerStep: i32
  middle: i32
  middleStep: i32
  inner: i32
  innerStep: i32
  /** Matrices, and floats from one to the next in source and target. */
  sourceBatch: i32
  targetBatch: i32
  /** Panels of all matrices, and of a chunk. */
  items: i32
  each: i32
  /** Floats before the first element. */
  start: i32
}

export function packPanels(p: PackPanelsParams, chunk: i32, scratch: usize): void {
  const k = p.outer * p.middle * p.inner
  const endItem = min(p.items, (chunk + 1) * p.each)
  for (let item = chunk * p.each; item < endItem; item++) {
    const matrix = item / p.panels
    const panel = item % p.panels
    const end = min(p.panels, panel + endItem - item)
    const isFirst = panel < p.first
    const height = isFirst ? p.firstHeight : p.height
    const row = isFirst ? panel * p.firstHeight : p.first * p.firstHeight + (panel - p.first) * p.height
    const source = p.source + (<usize>(p.start + matrix * p.sourceBatch + row * p.rowStep) << 2)
    const target = p.target + (<usize>(matrix * p.targetBatch + row * k) << 2)
    const rows = min(height, p.rows - row)
    if (rows < height) memory.fill(target, 0, <usize>(height * k) << 2)
    if (p.rowStep == 1 && rows == height) {
      // Full panels of this height, side by side in the source.
      const wide = min((isFirst ? min(end, p.first) : end) - panel, (p.rows - row) / height)
      packColumns(p, source, target, height, wide, <usize>(height * k) << 2)
      item += wide - 1
    } else if (p.middle * p.inner == 1 && p.outerStep == 1)
      packRows(source, target, rows, height, k, <usize>p.rowStep << 2)
    else packAny(p, source, target, rows, height)
  }
}

function packAny(p: PackPanelsParams, source: usize, target: usize, rows: i32, height: i32): void {
  const step = <usize>height << 2
  for (let r = 0; r < rows; r++) {
    let to = target + (<usize>r << 2)
    for (let o = 0; o < p.outer; o++) {
      for (let m = 0; m < p.middle; m++) {
        let at = source + (<usize>(r * p.rowStep + o * p.outerStep + m * p.middleStep) << 2)
        for (let i = 0; i < p.inner; i++) {
          store<f32>(to, load<f32>(at))
          to += step
          at += <usize>p.innerStep << 2
        }
      }
    }
  }
}

/** Rows are next to each other in the source: k after k, 4, 6 or 8 floats of each of `wide` panels. */
function packColumns(
  p: PackPanelsParams, source: usize, target: usize, height: i32, wide: i32, panelBytes: usize
): void {
  const step = <usize>height << 2
  const back = panelBytes * wide - step
  for (let o = 0; o < p.outer; o++) {
    for (let m = 0; m < p.middle; m++) {
      let row = source + (<usize>(o * p.outerStep + m * p.middleStep) << 2)
      for (let i = 0; i < p.inner; i++) {
        let at = row
        for (let panel = 0; panel < wide; panel++) {
          v128.store(target, v128.load(at))
          if (height == 8) v128.store(target, v128.load(at, 16), 16)
          else if (height == 6) store<u64>(target, load<u64>(at, 16), 16)
          at += step
          target += panelBytes
        }
        target -= back
        row += <usize>p.innerStep << 2
      }
    }
  }
}
