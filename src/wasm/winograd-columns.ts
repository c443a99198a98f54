/**
 * Winograd's input transform Bᵀ d B. Columns come first, on whole rows of pixels, four adjacent ones at a time, so that
 * loads are contiguous and what overlaps between neighbouring tiles is done once; then rows, of four tiles together by
 * 4×4 transposes: four tiles of one channel for the forward pass, one tile of four channels for the weight gradient. A
 * chunk's tiles are cut into runs, neighbours in one row of tiles.
 */
import { storeExpanded, storeInput } from './winograd-transform'

/** A run: image, first output row, first output column, tiles; 32-bit integers. */
export const runBytes = 16
/** What the transform leaves of four columns of pixels: six vectors, one a row. */
export const columnBytes = 96

/** Writes the runs of `count` tiles from `first` on; returns how many runs. */
export function layRuns(first: i32, count: i32, tileRows: i32, tileColumns: i32, runs: usize): i32 {
  let runCount = 0
  for (let tile = first; tile < first + count; runCount++) {
    const row = tile / tileColumns
    const column = tile - row * tileColumns
    const image = row / tileRows
    const length = min(tileColumns - column, first + count - tile)
    store<i32>(runs, image)
    store<i32>(runs, (row - image * tileRows) << 2, 4)
    store<i32>(runs, column << 2, 8)
    store<i32>(runs, length, 12)
    runs += runBytes
    tile += length
  }
  return runCount
}

/** Byte selectors for `i8x16.swizzle`: a load at 32 + 4 s shifts lanes down by s, -8 to 8, zeros coming in. */
const shifts = memory.data<u8>([
  255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
  255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
  255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
  255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
])

/** Four pixels of a row from column `x` on, which may lie outside; the load itself is at `inside`. */
// @ts-ignore: decorator
@inline
function selector(x: i32, inside: i32): v128 {
  return v128.load(shifts + 32 + (max(-8, min(x - inside, 8)) << 2))
}

/**
 * Bᵀ d of one channel's runs, the first pixel of image 0's channel being at `plane`: `columnBytes` for each tile and
 * once more at the end of each run. `zeros` is a row of zeros.
 */
export function transformColumns(
  plane: usize, imageBytes: usize, height: i32, width: i32, padding: i32, runs: usize, runCount: i32, zeros: usize,
  columns: usize
): void {
  const rowBytes = <usize>width << 2
  for (let i = 0; i < runCount; i++) {
    const image = plane + <usize>load<u32>(runs) * imageBytes
    const y = load<i32>(runs, 4) - padding
    let x = load<i32>(runs, 8) - padding
    const end = x + (load<i32>(runs, 12) << 2)
    const r0 = <u32>y < <u32>height ? image + <usize>y * rowBytes : zeros
    const r1 = <u32>(y + 1) < <u32>height ? image + <usize>(y + 1) * rowBytes : zeros
    const r2 = <u32>(y + 2) < <u32>height ? image + <usize>(y + 2) * rowBytes : zeros
    const r3 = <u32>(y + 3) < <u32>height ? image + <usize>(y + 3) * rowBytes : zeros
    const r4 = <u32>(y + 4) < <u32>height ? image + <usize>(y + 4) * rowBytes : zeros
    const r5 = <u32>(y + 5) < <u32>height ? image + <usize>(y + 5) * rowBytes : zeros
    for (; x <= end; x += 4) {
      const inside = max(0, min(x, width - 4))
      const at = <usize>inside << 2
      let d0 = v128.load(r0 + at)
      let d1 = v128.load(r1 + at)
      let d2 = v128.load(r2 + at)
      let d3 = v128.load(r3 + at)
      let d4 = v128.load(r4 + at)
      let d5 = v128.load(r5 + at)
      if (inside !== x) {
        const shift = selector(x, inside)
        d0 = i8x16.swizzle(d0, shift)
        d1 = i8x16.swizzle(d1, shift)
        d2 = i8x16.swizzle(d2, shift)
        d3 = i8x16.swizzle(d3, shift)
        d4 = i8x16.swizzle(d4, shift)
        d5 = i8x16.swizzle(d5, shift)
      }
      storeInput(d0, d1, d2, d3, d4, d5, columns, 16)
      columns += columnBytes
    }
    runs += runBytes
  }
}

/** Bᵀ d along the rows of four tiles, whose columns lie at `t0` to `t3`: 36 vectors to `to`, `plane` bytes apart. */
// @ts-ignore: decorator
@inline
export function transformRows(t0: usize, t1: usize, t2: usize, t3: usize, to: usize, plane: usize): void {
  for (let y = 0; y < 6; y++) {
    const s0 = v128.load(t0)
    const s1 = v128.load(t1)
    const s2 = v128.load(t2)
    const s3 = v128.load(t3)
    const low01 = v128.shuffle<f32>(s0, s1, 0, 4, 1, 5)
    const high01 = v128.shuffle<f32>(s0, s1, 2, 6, 3, 7)
    const low23 = v128.shuffle<f32>(s2, s3, 0, 4, 1, 5)
    const high23 = v128.shuffle<f32>(s2, s3, 2, 6, 3, 7)
    // The last two columns are the neighbour's first two.
    const next01 = v128.load64_lane(t1, v128.load64_zero(t0, columnBytes), 1, columnBytes)
    const next23 = v128.load64_lane(t3, v128.load64_zero(t2, columnBytes), 1, columnBytes)
    storeInput(
      v128.shuffle<f32>(low01, low23, 0, 1, 4, 5),
      v128.shuffle<f32>(low01, low23, 2, 3, 6, 7),
      v128.shuffle<f32>(high01, high23, 0, 1, 4, 5),
      v128.shuffle<f32>(high01, high23, 2, 3, 6, 7),
      v128.shuffle<f32>(next01, next23, 0, 2, 4, 6),
      v128.shuffle<f32>(next01, next23, 1, 3, 5, 7),
      to, plane)
    to += plane * 6
    t0 += 16
    t1 += 16
    t2 += 16
    t3 += 16
  }
}

/** A d of one channel of outputs' cotangents, `columnBytes` for each tile. */
export function expandColumns(
  plane: usize, imageBytes: usize, height: i32, width: i32, runs: usize, runCount: i32, zeros: usize, columns: usize
): void {
  const rowBytes = <usize>width << 2
  for (let i = 0; i < runCount; i++) {
    const y = load<i32>(runs, 4)
    let x = load<i32>(runs, 8)
    const end = x + (load<i32>(runs, 12) << 2)
    const r0 = plane + <usize>load<u32>(runs) * imageBytes + <usize>y * rowBytes
    const r1 = y + 1 < height ? r0 + rowBytes : zeros
    const r2 = y + 2 < height ? r0 + 2 * rowBytes : zeros
    const r3 = y + 3 < height ? r0 + 3 * rowBytes : zeros
    for (; x < end; x += 4) {
      const inside = min(x, width - 4)
      const at = <usize>inside << 2
      let d0 = v128.load(r0 + at)
      let d1 = v128.load(r1 + at)
      let d2 = v128.load(r2 + at)
      let d3 = v128.load(r3 + at)
      if (inside !== x) {
        const shift = selector(x, inside)
        d0 = i8x16.swizzle(d0, shift)
        d1 = i8x16.swizzle(d1, shift)
        d2 = i8x16.swizzle(d2, shift)
        d3 = i8x16.swizzle(d3, shift)
      }
      storeExpanded(d0, d1, d2, d3, columns, 0, 16, false)
      columns += columnBytes
    }
    runs += runBytes
  }
}

/**
 * A d Aᵀ along the rows of four tiles, whose columns lie at `t0` to `t3`: 36 vectors `plane` bytes apart, the first two
 * tiles' lanes to `to`, the others' to `high`.
 */
// @ts-ignore: decorator
@inline
export function expandRows(t0: usize, t1: usize, t2: usize, t3: usize, to: usize, high: usize, plane: usize): void {
  for (let y = 0; y < 6; y++) {
    const s0 = v128.load(t0)
    const s1 = v128.load(t1)
    const s2 = v128.load(t2)
    const s3 = v128.load(t3)
    const low01 = v128.shuffle<f32>(s0, s1, 0, 4, 1, 5)
    const high01 = v128.shuffle<f32>(s0, s1, 2, 6, 3, 7)
    const low23 = v128.shuffle<f32>(s2, s3, 0, 4, 1, 5)
    const high23 = v128.shuffle<f32>(s2, s3, 2, 6, 3, 7)
    storeExpanded(
      v128.shuffle<f32>(low01, low23, 0, 1, 4, 5),
      v128.shuffle<f32>(low01, low23, 2, 3, 6, 7),
      v128.shuffle<f32>(high01, high23, 0, 1, 4, 5),
      v128.shuffle<f32>(high01, high23, 2, 3, 6, 7),
      to, high, plane, true)
    to += plane * 6
    high += plane * 6
    t0 += 16
    t1 += 16
    t2 += 16
    t3 += 16
  }
}
