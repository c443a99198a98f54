/**
 * Weights in Winograd's domain: G g Gᵀ of every 3×3 filter, packed as the A panels of one small GEMM per frequency. A
 * chunk is one panel of 6 or 4 rows, `[36 frequencies][channel][row]`; rows are output channels (input channels for the
 * data gradient, which reads the filters turned by 180°). Four rows are transformed at a time.
 */
import { storeWeight } from './winograd-transform'

@unmanaged
class WinogradWeightsParams {
  weight: usize
  target: usize
  rows: i32
  channels: i32
  /** Elements from one row's filter to the next's, and from one channel's to the next's. */
  rowStride: i32
  channelStride: i32
  /** Where the filter begins, 0 or 8, and whether it is read forwards (1) or backwards (-1). */
  start: i32
  step: i32
  /** Panels of 6 rows, which come first. */
  sixes: i32
}

/** The value at four filters `stride` bytes apart; rows from `count` on read 0. */
// @ts-ignore: decorator
@inline
function gather(from: usize, stride: usize, count: i32): v128 {
  let x = v128.load32_zero(from)
  if (count > 1) x = v128.load32_lane(from + stride, x, 1)
  if (count > 2) x = v128.load32_lane(from + 2 * stride, x, 2)
  if (count > 3) x = v128.load32_lane(from + 3 * stride, x, 3)
  return x
}

export function winogradWeights(p: WinogradWeightsParams, chunk: i32, scratch: usize): void {
  const channels = p.channels
  const height = chunk < p.sixes ? 6 : 4
  const first = chunk < p.sixes ? chunk * 6 : p.sixes * 6 + (chunk - p.sixes) * 4
  const target = p.target + (<usize>first * 36 * channels << 2)
  const rowStride = <usize>p.rowStride << 2
  const step = p.step << 2
  // From one frequency to the next in the panel.
  const plane = <usize>channels * height << 2
  for (let channel = 0; channel < channels; channel++) {
    for (let row = 0; row < height; row += 4) {
      const count = min(4, p.rows - first - row)
      const filter =
        p.weight + (<usize>(<u32>(first + row) * p.rowStride + <u32>channel * p.channelStride + p.start) << 2)
      for (let x = 0; x < 3; x++) {
        let g0 = f32x4.splat(0), g1 = g0, g2 = g0
        if (count > 0) {
          const tap = filter + x * step
          g0 = gather(tap, rowStride, count)
          g1 = gather(tap + 3 * step, rowStride, count)
          g2 = gather(tap + 6 * step, rowStride, count)
        }
        storeWeight(g0, g1, g2, scratch + x * 16, 48)
      }
      let to = target + (<usize>(channel * height + row) << 2)
      for (let y = 0; y < 6; y++) {
        const columns = scratch + y * 48
        storeWeight(v128.load(columns), v128.load(columns, 16), v128.load(columns, 32), scratch + 288, 16)
        for (let x = 0; x < 6; x++) {
          const u = v128.load(scratch + 288 + x * 16)
          if (height - row >= 4) v128.store(to, u)
          else v128.store64_lane(to, u, 0)
          to += plane
        }
      }
    }
  }
}
