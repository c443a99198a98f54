/**
 * The weight gradient of a 3×3 convolution at stride 1 in Winograd's domain, F(4×4, 3×3) transposed:
 * dU = Σ over tiles of (A dY Aᵀ)(Bᵀ x B)ᵀ at each of the 36 frequencies, then dW = Gᵀ dU G, a quarter of the direct
 * sum's multiplications. Tiles are the GEMMs' inner dimension, so both sides are packed tile by tile: four channels of
 * one tile are transformed together.
 *
 * A chunk is one split of the tiles and a block of output and of input channels. It goes through its tiles a block at a
 * time, small enough that a frequency's panels and products stay in L1, sums dU in its thread's own memory and
 * transforms it back; `winogradWeightSum` then adds the splits in order. Long sums are so cut into short ones.
 */
import { tile4x8, tile6x8 } from './gemm-tile'
import {
  columnBytes, expandColumns, expandRows, layRuns, runBytes, transformColumns, transformRows
} from './winograd-columns'
import { storeTaps } from './winograd-transform'

@unmanaged
class WinogradWeightGradientParams {
  x: usize
  dy: usize
  /** [splits][9][6 sixes + 4 fours][columns]. */
  partial: usize
  channels: i32
  height: i32
  width: i32
  outChannels: i32
  outHeight: i32
  outWidth: i32
  padding: i32
  tileRows: i32
  tileColumns: i32
  tiles: i32
  /** Tiles a split, and tiles a block of it. */
  each: i32
  block: i32
  /** Panels of 6 and of 4 output channels, and how many of them a chunk takes. */
  sixes: i32
  fours: i32
  rowPanels: i32
  /** Input channels rounded up to 8, and how many of them a chunk takes, a multiple of 8. */
  columns: i32
  blockColumns: i32
}

/** The first row of a panel. */
// @ts-ignore: decorator
@inline
function firstRow(panel: i32, sixes: i32): i32 {
  return panel * 6 - max(0, panel - sixes) * 2
}

export function winogradWeightGradient(p: WinogradWeightGradientParams, chunk: i32, scratch: usize): void {
  const channels = p.channels
  const columns = p.columns
  const block = p.block
  const sixes = p.sixes
  const panels = sixes + p.fours
  const rows = firstRow(panels, sixes)
  const columnBlocks = (columns + p.blockColumns - 1) / p.blockColumns
  const rowBlocks = (panels + p.rowPanels - 1) / p.rowPanels
  const split = chunk / (columnBlocks * rowBlocks)
  const rowBlock = (chunk / columnBlocks) % rowBlocks
  const column0 = (chunk % columnBlocks) * p.blockColumns
  const column1 = min(columns, column0 + p.blockColumns)
  const panel0 = rowBlock * p.rowPanels
  const panel1 = min(panels, panel0 + p.rowPanels)
  const row0 = firstRow(panel0, sixes)
  const row1 = firstRow(panel1, sixes)

  // A line more than a frequency takes keeps the 36 out of one cache set.
  const aPlane = (<usize>(firstRow(p.rowPanels, sixes) * block) << 2) + 64
  const bPlane = (<usize>(p.blockColumns * block) << 2) + 64
  const a = scratch
  const b = a + 36 * aPlane
  const ldc = <usize>p.blockColumns << 2
  const cPlane = <usize>firstRow(p.rowPanels, sixes) * ldc + 64
  const c = b + 36 * bPlane
  const runs = c + 36 * cPlane
  const zeros = runs + block * runBytes
  const zeroBytes = <usize>((max(p.width, p.outWidth) + 3) & ~3) << 2
  const laneBytes = <usize>(block * 2 * columnBytes)
  const lanes = zeros + zeroBytes
  memory.fill(zeros, 0, zeroBytes)

  const xBytes = <usize>(p.height * p.width) << 2
  const dyBytes = <usize>(p.outHeight * p.outWidth) << 2
  const from = split * p.each
  const to = min(p.tiles, from + p.each)
  for (let first = from; first < to; first += block) {
    const count = min(block, to - first)
    const runCount = layRuns(first, count, p.tileRows, p.tileColumns, runs)

    for (let row = row0; row < row1; row += 4) {
      for (let lane = 0; lane < 4; lane++) {
        const channel = min(row + lane, p.outChannels - 1)
        expandColumns(
          p.dy + <usize>channel * dyBytes, <usize>p.outChannels * dyBytes, p.outHeight, p.outWidth, runs, runCount,
          zeros, lanes + <usize>lane * laneBytes
        )
      }
      // Rows go in pairs, which never straddle two panels. A last pair alone lies over what the lanes beyond it leave.
      const lowHeight = row < sixes * 6 ? 6 : 4
      const lowRow = lowHeight === 6 ? row - row % 6 : row - (row - sixes * 6) % 4
      const next = row + 2 < row1 ? row + 2 : row
      const highHeight = next < sixes * 6 ? 6 : 4
      const highRow = highHeight === 6 ? next - next % 6 : next - (next - sixes * 6) % 4
      let low = a + (<usize>((lowRow - row0) * block + row - lowRow) << 2)
      let high = a + (<usize>((highRow - row0) * block + next - highRow) << 2)
      let at = lanes
      for (let tile = 0; tile < count; tile++) {
        expandRows(at, at + laneBytes, at + 2 * laneBytes, at + 3 * laneBytes, low, high, aPlane)
        at += columnBytes
        low += lowHeight * 4
        high += highHeight * 4
      }
    }

    for (let column = column0; column < column1; column += 4) {
      for (let lane = 0; lane < 4; lane++) {
        const channel = min(column + lane, channels - 1)
        transformColumns(
          p.x + <usize>channel * xBytes, <usize>channels * xBytes, p.height, p.width, p.padding, runs, runCount, zeros,
          lanes + <usize>lane * laneBytes
        )
      }
      const inBlock = column - column0
      let packed = b + (<usize>((inBlock & ~7) * block + (inBlock & 4)) << 2)
      let at = lanes
      for (let run = 0; run < runCount; run++) {
        const length = load<i32>(runs + run * runBytes, 12)
        for (let i = 0; i < length; i++) {
          transformRows(at, at + laneBytes, at + 2 * laneBytes, at + 3 * laneBytes, packed, bPlane)
          at += columnBytes
          packed += 32
        }
        at += columnBytes
      }
    }

    for (let i = 0; i < 36; i++) {
      let left = a + i * aPlane
      let to = c + i * cPlane
      for (let panel = panel0; panel < panel1; panel++) {
        const height = panel < sixes ? 6 : 4
        let right = b + i * bPlane
        for (let at = to; at < to + (<usize>(column1 - column0) << 2); at += 32) {
          if (height === 6) tile6x8(left, right, count, at, ldc, first > from)
          else tile4x8(left, right, count, at, ldc, first > from)
          right += <usize>block << 5
        }
        left += <usize>(height * block) << 2
        to += <usize>height * ldc
      }
    }
  }

  const plane = <usize>(rows * columns) << 2
  for (let row = row0; row < row1; row++) {
    let from = c + <usize>(row - row0) * ldc
    let to = p.partial + <usize>split * 9 * plane + (<usize>(row * columns + column0) << 2)
    for (let column = column0; column < column1; column += 4) {
      for (let x: usize = 0; x < 6; x++) storeTaps(from + x * cPlane, 6 * cPlane, lanes + x * 16, 96)
      for (let y: usize = 0; y < 3; y++) storeTaps(lanes + y * 96, 16, to + y * 3 * plane, plane)
      from += 16
      to += 16
    }
  }
}

@unmanaged
class WinogradWeightSumParams {
  partial: usize
  dw: usize
  splits: i32
  rows: i32
  columns: i32
  outChannels: i32
  channels: i32
  /** Output channels a chunk. */
  each: i32
}

export function winogradWeightSum(p: WinogradWeightSumParams, chunk: i32, scratch: usize): void {
  const plane = <usize>(p.rows * p.columns) << 2
  const end = min(p.outChannels, (chunk + 1) * p.each)
  for (let row = chunk * p.each; row < end; row++) {
    for (let column = 0; column < p.channels; column += 4) {
      const count = min(4, p.channels - column)
      let from = p.partial + (<usize>(row * p.columns + column) << 2)
      const to = p.dw + <usize>(row * p.channels + column) * 36
      for (let tap = 0; tap < 9; tap++) {
        let sum = v128.load(from)
        for (let split = 1; split < p.splits; split++) sum = f32x4.add(sum, v128.load(from + <usize>split * 9 * plane))
        const at = to + (tap << 2)
        v128.store32_lane(at, sum, 0)
        if (count > 1) v128.store32_lane(at, sum, 1, 36)
        if (count > 2) v128.store32_lane(at, sum, 2, 72)
        if (count > 3) v128.store32_lane(at, sum, 3, 108)
        from += plane
      }
    }
  }
}
