/**
 * Direct convolution, forward and by the data: y = weights [cout, k] · windows [k, pixels] with k = (channel, tap). A
 * chunk takes blocks of pixels. It copies the rows of x that a block sees into scratch, zeros around them,
 * columns split into `stride` phases so that neighbouring pixels' inputs are neighbours; then row k of the
 * windows is a shifted piece of a plane and the gathered tile reads it in place. Sums collect in scratch and go
 * to y once, with bias and residual.
 *
 * The data gradient of stride 1 is the same with other weights; that of stride s is s² such passes with stride 1, one
 * for each phase of dX's pixels, each with the taps that reach that phase, written `outCol` = s floats apart.
 */
import { gathered4x8, gathered6x8 } from './gathered-tile'

@unmanaged
class Conv2dParams {
  /** [n, cin, h, w] */
  x: usize
  /** Panels of 6 and of 4 rows, [panel][k][row], from packPanels. */
  weight: usize
  /** 0 where there is none. */
  bias: usize
  residual: usize
  y: usize
  cin: i32
  h: i32
  w: i32
  cout: i32
  sixes: i32
  fours: i32
  /** Pixels of this pass. Pixel (oy, ox) sees rows oy·stride + top and so on. */
  ho: i32
  wo: i32
  stride: i32
  tapRows: i32
  tapCols: i32
  top: i32
  left: i32
  /** Pixels of a block; columns a multiple of 4. */
  blockRows: i32
  blockCols: i32
  rowBlocks: i32
  colBlocks: i32
  channelBlocks: i32
  /** Panels of weights in a block of channels. */
  blockPanels: i32
  /** Input channels that are in scratch at a time. */
  cinBlock: i32
  /** Where in y, in floats: pixel (0, 0), a row's and a column's step, a plane's size. */
  outStart: i32
  outRow: i32
  outCol: i32
  outPlane: i32
  /** Blocks in all and in a chunk. */
  items: i32
  each: i32
}

export function conv2d(p: Conv2dParams, chunk: i32, scratch: usize): void {
  const phaseCols = p.blockCols - 1 + (p.tapCols + p.stride - 1) / p.stride
  const planeRow = phaseCols * p.stride
  const plane = planeRow * ((p.blockRows - 1) * p.stride + p.tapRows)
  // Scratch: offsets of the taps of the channels in scratch, their planes, the sums.
  const taps = p.tapRows * p.tapCols
  let at = scratch
  for (let ty = 0; ty < p.tapRows; ty++) {
    let phase = 0
    let index = 0
    for (let tx = 0; tx < p.tapCols; tx++) {
      store<i32>(at, (ty * planeRow + phase * phaseCols + index) << 2)
      at += 4
      if (++phase == p.stride) {
        phase = 0
        index++
      }
    }
  }
  for (let i = taps; i < p.cinBlock * taps; i++) {
    store<i32>(at, load<i32>(at - (<usize>taps << 2)) + (plane << 2))
    at += 4
  }
  const planes = (at + 63) & ~63
  const sums = (planes + (<usize>(p.cinBlock * plane) << 2) + 63) & ~63
  const end = min(p.items, (chunk + 1) * p.each)
  for (let item = chunk * p.each; item < end; item++) block(p, item, scratch, planes, sums, phaseCols, plane)
}

/** One block of pixels, one block of channels. */
function block(
  p: Conv2dParams, item: i32, offsets: usize, planes: usize, sums: usize, phaseCols: i32, plane: i32
): void {
  const firstPanel = (item % p.channelBlocks) * p.blockPanels
  item /= p.channelBlocks
  const firstCol = (item % p.colBlocks) * p.blockCols
  item /= p.colBlocks
  const firstRow = (item % p.rowBlocks) * p.blockRows
  const n = item / p.rowBlocks
  const rows = min(p.blockRows, p.ho - firstRow)
  const cols = min(p.blockCols, p.wo - firstCol)
  // Half panels, 4 pixels each; the last of a row may hang over, and is cut when it is stored.
  const rowHalves = (cols + 3) >> 2
  const halves = rows * rowHalves
  const ldc = <usize>((halves + 1) >> 1) << 5
  const planeRow = phaseCols * p.stride
  const taps = p.tapRows * p.tapCols
  const k = p.cin * taps
  const endPanel = min(p.sixes + p.fours, firstPanel + p.blockPanels)
  for (let c0 = 0; c0 < p.cin; c0 += p.cinBlock) {
    const channels = min(p.cinBlock, p.cin - c0)
    const x = p.x + (<usize>((n * p.cin + c0) * p.h * p.w) << 2)
    fillPlanes(
      p, planes, x, channels, firstRow * p.stride + p.top, firstCol * p.stride + p.left,
      (rows - 1) * p.stride + p.tapRows, phaseCols, plane
    )
    let c = sums
    for (let panel = firstPanel; panel < endPanel; panel++) {
      const six = panel < p.sixes
      const a = p.weight + (
        <usize>(six ? (panel * k + c0 * taps) * 6 : p.sixes * k * 6 + ((panel - p.sixes) * k + c0 * taps) * 4) << 2
      )
      let left = planes
      let inRow = 0
      for (let half = 0; half < halves; half += 2) {
        const b0 = left
        left += 16
        if (++inRow == rowHalves) {
          inRow = 0
          left += <usize>(planeRow * p.stride - rowHalves * 4) << 2
        }
        // An odd half at the end is paired with itself.
        const b1 = half + 1 < halves ? left : b0
        left += 16
        if (++inRow == rowHalves) {
          inRow = 0
          left += <usize>(planeRow * p.stride - rowHalves * 4) << 2
        }
        const target = c + (<usize>half << 4)
        if (six) gathered6x8(a, offsets, b0, b1, channels * taps, target, ldc, c0 > 0)
        else gathered4x8(a, offsets, b0, b1, channels * taps, target, ldc, c0 > 0)
      }
      c += ldc * (six ? 6 : 4)
    }
  }
  const firstChannel = firstPanel < p.sixes ? firstPanel * 6 : p.sixes * 6 + (firstPanel - p.sixes) * 4
  const endChannel = min(p.cout, endPanel <= p.sixes ? endPanel * 6 : p.sixes * 6 + (endPanel - p.sixes) * 4)
  for (let co = firstChannel; co < endChannel; co++) {
    const bias: f32 = p.bias ? load<f32>(p.bias + (<usize>co << 2)) : 0
    let source = sums + ldc * <usize>(co - firstChannel)
    let offset = <usize>((n * p.cout + co) * p.outPlane + p.outStart + firstRow * p.outRow + firstCol * p.outCol) << 2
    for (let row = 0; row < rows; row++) {
      storeRow(source, p.y + offset, p.residual ? p.residual + offset : 0, bias, cols, <usize>p.outCol << 2)
      source += <usize>rowHalves << 4
      offset += <usize>p.outRow << 2
    }
  }
}

function storeRow(source: usize, target: usize, residual: usize, bias: f32, count: i32, step: usize): void {
  let i = 0
  if (step == 4) {
    const bias4 = f32x4.splat(bias)
    for (; i + 4 <= count; i += 4) {
      let value = f32x4.add(v128.load(source), bias4)
      if (residual) {
        value = f32x4.add(value, v128.load(residual))
        residual += 16
      }
      v128.store(target, value)
      source += 16
      target += 16
    }
  }
  for (; i < count; i++) {
    let value = load<f32>(source) + bias
    if (residual) {
      value += load<f32>(residual)
      residual += step
    }
    store<f32>(target, value)
    source += 4
    target += step
  }
}

/** Of every channel `rows` rows from row `top`, column `left` on, zeros outside the image, columns by phase. */
function fillPlanes(
  p: Conv2dParams, planes: usize, x: usize, channels: i32, top: i32, left: i32, rows: i32, phaseCols: i32, plane: i32
): void {
  const stride = p.stride
  const firstInside = max(0, -top)
  const endInside = min(rows, p.h - top)
  for (let phase = 0; phase < stride; phase++) {
    // Column left + phase + i·stride lies in the image for from <= i < to.
    const first = left + phase
    const from = min(phaseCols, first >= 0 ? 0 : (stride - 1 - first) / stride)
    const to = min(phaseCols, max(from, (p.w - first + stride - 1) / stride))
    for (let c = 0; c < channels; c++) {
      let target = planes + (<usize>(c * plane + phase * phaseCols) << 2)
      let source = x + (<usize>(c * p.h * p.w + (top + firstInside) * p.w + first + from * stride) << 2)
      for (let row = 0; row < rows; row++) {
        if (row < firstInside || row >= endInside) {
          clear(target, 0, phaseCols)
        } else {
          clear(target, 0, from)
          if (stride == 1) copyRow(target + (<usize>from << 2), source, to - from)
          else copyPhase(target + (<usize>from << 2), source, to - from, stride)
          clear(target, to, phaseCols)
          source += <usize>p.w << 2
        }
        target += <usize>(stride * phaseCols) << 2
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function clear(target: usize, from: i32, to: i32): void {
  for (let i = from; i < to; i++) store<f32>(target + (<usize>i << 2), 0)
}

// @ts-ignore: decorator
@inline
function copyRow(target: usize, source: usize, count: i32): void {
  const end = target + (<usize>count << 2)
  while (target + 16 <= end) {
    v128.store(target, v128.load(source))
    target += 16
    source += 16
  }
  while (target < end) {
    store<f32>(target, load<f32>(source))
    target += 4
    source += 4
  }
}

/** Every `stride`-th float. */
// @ts-ignore: decorator
@inline
function copyPhase(target: usize, source: usize, count: i32, stride: i32): void {
  let i = 0
  if (stride == 2) {
    // Reads nothing behind the last one used, which may be the tensor's last.
    for (; i + 4 <= count; i += 4) {
      v128.store(target, v128.shuffle<f32>(v128.load(source), v128.load(source, 12), 0, 2, 5, 7))
      target += 16
      source += 32
    }
  }
  for (; i < count; i++) {
    store<f32>(target, load<f32>(source))
    target += 4
    source += <usize>stride << 2
  }
}
