/**
 * Convolution 3×3 at stride 1 by Winograd's F(4×4, 3×3): 36 multiplications a tile of 4×4 outputs and pair of channels
 * where the direct sum takes 144. A chunk is a block of tiles (of any images, in order) and all output channels, or
 * where tiles are few a part of them. All its input channels are transformed into scratch, as B panels
 * `[8 tiles][36][channel][8]`; then, for every panel of output channels, small GEMMs of 6 rows by 8 tiles, one a
 * frequency, go into a block that stays in L1, which is transformed back and stored. Transforms work on four tiles at a
 * time. The data gradient is the same with turned weights.
 */
import { tile4x8, tile6x8 } from './gemm-tile'
import { columnBytes, layRuns, runBytes, transformColumns, transformRows } from './winograd-columns'
import { output0, output1, output2, output3 } from './winograd-transform'

@unmanaged
class WinogradParams {
  x: usize
  /** Packed by `winogradWeights`. */
  weight: usize
  /** Addresses or 0. */
  bias: usize
  residual: usize
  y: usize
  channels: i32
  height: i32
  width: i32
  outChannels: i32
  outHeight: i32
  outWidth: i32
  padding: i32
  /** Rows and columns of tiles in an image, and tiles in all. */
  tileRows: i32
  tileColumns: i32
  tiles: i32
  /** Tiles a chunk, a multiple of 8. */
  each: i32
  /** Panels of 6 and of 4 output channels, and how many of them a chunk takes. */
  sixes: i32
  fours: i32
  panels: i32
}

/** Bytes from one frequency to the next in a panel of V; the odd cache line keeps the 36 out of one cache set. */
// @ts-ignore: decorator
@inline
function planeBytes(channels: i32): usize {
  return (<usize>channels << 5) + 64
}

/**
 * What a chunk keeps of each tile, 32-bit integers: where its transformed columns lie; where its outputs go, in bytes
 * from the channel's first; how many rows and columns of it the image has.
 */
const recordBytes = 16

export function winogradForward(p: WinogradParams, chunk: i32, scratch: usize): void {
  const channels = p.channels
  const each = p.each
  const strips = p.sixes + p.fours
  const parts = (strips + p.panels - 1) / p.panels
  const first = (chunk / parts) * each
  const count = min(each, p.tiles - first)
  const panels = (count + 7) >> 3
  const plane = planeBytes(channels)
  const panelBytes = plane * 36

  const v = scratch
  const records = v + <usize>(each >> 3) * panelBytes
  const runs = records + each * recordBytes
  const zeros = runs + each * runBytes
  const zeroBytes = <usize>((p.width + 3) & ~3) << 2
  const columns = zeros + zeroBytes
  const m = columns
  const back = m + <usize>panels * 36 * 192
  memory.fill(zeros, 0, zeroBytes)

  const runCount = layRuns(first, count, p.tileRows, p.tileColumns, runs)
  layRecords(p, runs, runCount, records)
  const channelBytes = <usize>(p.height * p.width) << 2
  for (let c = 0; c < channels; c++) {
    transformColumns(
      p.x + c * channelBytes, channels * channelBytes, p.height, p.width, p.padding, runs, runCount, zeros, columns
    )
    for (let quad = 0; quad < panels * 2; quad++) {
      const four = records + quad * 4 * recordBytes
      const t0 = columns + load<i32>(four)
      const t1 = columns + load<i32>(four + recordBytes)
      const t2 = columns + load<i32>(four + 2 * recordBytes)
      const t3 = columns + load<i32>(four + 3 * recordBytes)
      transformRows(t0, t1, t2, t3, v + <usize>(quad >> 1) * panelBytes + ((quad & 1) << 4) + (<usize>c << 5), plane)
    }
  }

  const strip0 = (chunk % parts) * p.panels
  const strip1 = min(strips, strip0 + p.panels)
  let channel = strip0 * 6 - max(0, strip0 - p.sixes) * 2
  let weight = p.weight + <usize>(channel * channels) * 144
  for (let strip = strip0; strip < strip1; strip++) {
    const six = strip < p.sixes
    const step = <usize>channels * (six ? 24 : 16)
    // A frequency's weights serve all tiles while they are near.
    let u = weight
    for (let i = 0; i < 36; i++) {
      let from = v + i * plane
      let to = m + i * 192
      for (let panel = 0; panel < panels; panel++) {
        if (six) tile6x8(u, from, channels, to, 32, false)
        else tile4x8(u, from, channels, to, 32, false)
        from += panelBytes
        to += 36 * 192
      }
      u += step
    }
    for (let panel = 0; panel < panels; panel++) {
      const rows = min(six ? 6 : 4, p.outChannels - channel)
      for (let row = 0; row < rows; row++) {
        for (let half = 0; half < 2; half++) {
          transformBack(
            p, channel + row, m + panel * 36 * 192 + row * 32 + half * 16,
            records + (panel * 8 + half * 4) * recordBytes, back
          )
        }
      }
    }
    weight += step * 36
    channel += six ? 6 : 4
  }
}

/** Writes the records of the chunk's tiles. Those that fill up the last panel have no rows. */
function layRecords(p: WinogradParams, runs: usize, runCount: i32, record: usize): void {
  let offset = 0
  let count = 0
  for (let run = 0; run < runCount; run++) {
    const y = load<i32>(runs, 4)
    const length = load<i32>(runs, 12)
    let x = load<i32>(runs, 8)
    const at = load<i32>(runs) * p.outChannels * p.outHeight * p.outWidth + y * p.outWidth
    for (let i = 0; i < length; i++) {
      store<i32>(record, offset)
      store<i32>(record, (at + x) << 2, 4)
      store<i32>(record, min(4, p.outHeight - y), 8)
      store<i32>(record, min(4, p.outWidth - x), 12)
      record += recordBytes
      offset += columnBytes
      x += 4
    }
    offset += columnBytes
    count += length
    runs += runBytes
  }
  for (; (count & 7) !== 0; count++) {
    store<i32>(record, 0)
    store<i32>(record, 0, 4)
    store<i32>(record, 0, 8)
    record += recordBytes
  }
}

/** Aᵀ m A of four tiles of one output channel, with bias and residual, stored to the image as far as it reaches. */
// @ts-ignore: decorator
@inline
function transformBack(p: WinogradParams, channel: i32, m: usize, record: usize, columns: usize): void {
  for (let x: usize = 0; x < 96; x += 16) {
    const at = m + x * 12
    const m1 = v128.load(at, 1152)
    const m2 = v128.load(at, 2 * 1152)
    const m3 = v128.load(at, 3 * 1152)
    const m4 = v128.load(at, 4 * 1152)
    const sumA = f32x4.add(m1, m2)
    const sumB = f32x4.add(m3, m4)
    const differenceA = f32x4.sub(m1, m2)
    const differenceB = f32x4.sub(m3, m4)
    v128.store(columns + x, output0(v128.load(at), sumA, sumB))
    v128.store(columns + x, output1(differenceA, differenceB), 96)
    v128.store(columns + x, output2(sumA, sumB), 192)
    v128.store(columns + x, output3(differenceA, differenceB, v128.load(at, 5 * 1152)), 288)
  }
  const image = <usize>(channel * p.outHeight * p.outWidth) << 2
  const rowBytes = <usize>p.outWidth << 2
  const bias = p.bias ? v128.load32_splat(p.bias + (<usize>channel << 2)) : f32x4.splat(0)
  const record1 = record + recordBytes
  const record2 = record1 + recordBytes
  const record3 = record2 + recordBytes
  const at0 = <usize>load<u32>(record, 4)
  const at1 = <usize>load<u32>(record1, 4)
  const at2 = <usize>load<u32>(record2, 4)
  const at3 = <usize>load<u32>(record3, 4)
  // Rows and columns are at most 4: their bits meet only where all four tiles are whole.
  const rows = load<i32>(record, 8) & load<i32>(record1, 8) & load<i32>(record2, 8) & load<i32>(record3, 8)
  const full =
    (rows & load<i32>(record, 12) & load<i32>(record1, 12) & load<i32>(record2, 12) & load<i32>(record3, 12)) === 4
  for (let y = 0; y < 4; y++) {
    const m1 = v128.load(columns, 16)
    const m2 = v128.load(columns, 32)
    const m3 = v128.load(columns, 48)
    const m4 = v128.load(columns, 64)
    const sumA = f32x4.add(m1, m2)
    const sumB = f32x4.add(m3, m4)
    const differenceA = f32x4.sub(m1, m2)
    const differenceB = f32x4.sub(m3, m4)
    const y0 = f32x4.add(bias, output0(v128.load(columns), sumA, sumB))
    const y1 = f32x4.add(bias, output1(differenceA, differenceB))
    const y2 = f32x4.add(bias, output2(sumA, sumB))
    const y3 = f32x4.add(bias, output3(differenceA, differenceB, v128.load(columns, 80)))
    const low01 = v128.shuffle<f32>(y0, y1, 0, 4, 1, 5)
    const high01 = v128.shuffle<f32>(y0, y1, 2, 6, 3, 7)
    const low23 = v128.shuffle<f32>(y2, y3, 0, 4, 1, 5)
    const high23 = v128.shuffle<f32>(y2, y3, 2, 6, 3, 7)
    const offset = image + <usize>y * rowBytes
    const s0 = v128.shuffle<f32>(low01, low23, 0, 1, 4, 5)
    const s1 = v128.shuffle<f32>(low01, low23, 2, 3, 6, 7)
    const s2 = v128.shuffle<f32>(high01, high23, 0, 1, 4, 5)
    const s3 = v128.shuffle<f32>(high01, high23, 2, 3, 6, 7)
    if (full) {
      storeFour(p, offset + at0, s0)
      storeFour(p, offset + at1, s1)
      storeFour(p, offset + at2, s2)
      storeFour(p, offset + at3, s3)
    } else {
      storePart(p, record, y, offset + at0, s0)
      storePart(p, record1, y, offset + at1, s1)
      storePart(p, record2, y, offset + at2, s2)
      storePart(p, record3, y, offset + at3, s3)
    }
    columns += 96
  }
}

// @ts-ignore: decorator
@inline
function storeFour(p: WinogradParams, at: usize, value: v128): void {
  v128.store(p.y + at, p.residual ? f32x4.add(value, v128.load(p.residual + at)) : value)
}

/** Row `y` of a tile, as far as the image reaches. */
function storePart(p: WinogradParams, record: usize, y: i32, at: usize, value: v128): void {
  if (y >= load<i32>(record, 8)) return
  for (let i = load<i32>(record, 12); i > 0; i--) {
    const x = f32x4.extract_lane(value, 0)
    store<f32>(p.y + at, p.residual ? x + load<f32>(p.residual + at) : x)
    value = v128.shuffle<f32>(value, value, 1, 2, 3, 3)
    at += 4
  }
}
