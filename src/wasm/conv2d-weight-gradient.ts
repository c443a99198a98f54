/**
 * The weights' gradient, a product over pixels: dW[cout, (cin, tap)] = dY [cout, pixels] · windows [pixels, (cin,
 * tap)]. A chunk is a block of output channels, a block of input channels and a run of pixel blocks. For each pixel
 * block it transposes dY into panels [pixel][6 or 4 channels] and x into planes [row][column][4 channels] with zeros
 * around them. Then the columns of a tap are that plane read from another start, with a pixel's offset from a table:
 * the gathered tile takes two such half panels at a time. Sums collect in scratch, [cout][4 channels][tap][channel],
 * and leave once, as part `split` of the gradient; sumSplits adds the parts and puts them into the weights' order.
 */
import { gathered4x8, gathered6x8 } from './gathered-tile'
import { packRows } from './pack-rows'

@unmanaged
class Conv2dWeightGradParams {
  x: usize
  dy: usize
  /** [splits][cout][groups of 4 channels][kh · kw][4] */
  parts: usize
  cin: i32
  h: i32
  w: i32
  cout: i32
  /** Panels of output channels. */
  sixes: i32
  fours: i32
  ho: i32
  wo: i32
  kh: i32
  kw: i32
  stride: i32
  padding: i32
  blockRows: i32
  blockCols: i32
  rowBlocks: i32
  colBlocks: i32
  /** Blocks of pixels in all, and in a split. */
  items: i32
  itemsPerSplit: i32
  coutBlocks: i32
  /** Panels of output channels in a block. */
  coutPanels: i32
  cinBlocks: i32
  /** Groups of 4 input channels in a block, and in all. */
  blockGroups: i32
  allGroups: i32
}

export function conv2dWeightGrad(p: Conv2dWeightGradParams, chunk: i32, scratch: usize): void {
  const firstGroup = (chunk % p.cinBlocks) * p.blockGroups
  chunk /= p.cinBlocks
  const firstPanel = (chunk % p.coutBlocks) * p.coutPanels
  const split = chunk / p.coutBlocks
  const endPanel = min(p.sixes + p.fours, firstPanel + p.coutPanels)
  const firstRow = rowOf(p, firstPanel)
  const paddedRows = rowOf(p, endPanel) - firstRow
  const groups = min(p.allGroups - firstGroup, p.blockGroups)
  const planeCols = (p.blockCols - 1) * p.stride + p.kw
  const planeBytes = <usize>(((p.blockRows - 1) * p.stride + p.kh) * planeCols) << 4
  const taps = p.kh * p.kw
  // Scratch: offsets of pixels, dY's panels, x's planes, the sums.
  const a = (scratch + (<usize>(p.blockRows * p.blockCols) << 2) + 63) & ~63
  const planes = (a + (<usize>(paddedRows * p.blockRows * p.blockCols) << 2) + 63) & ~63
  const sums = planes + planeBytes * groups
  const halves = groups * taps
  const ldc = <usize>((halves + 1) >> 1) << 5
  const endItem = min(p.items, (split + 1) * p.itemsPerSplit)
  for (let item = split * p.itemsPerSplit; item < endItem; item++) {
    const accumulate = item > split * p.itemsPerSplit
    const left = (item % p.colBlocks) * p.blockCols
    const top = ((item / p.colBlocks) % p.rowBlocks) * p.blockRows
    const n = item / p.colBlocks / p.rowBlocks
    const rows = min(p.blockRows, p.ho - top)
    const cols = min(p.blockCols, p.wo - left)
    const k = rows * cols
    let at = scratch
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < cols; x++) {
        store<i32>(at, ((y * planeCols + x) * p.stride) << 4)
        at += 4
      }
    }
    for (let panel = firstPanel; panel < endPanel; panel++)
      packGradient(p, a + (<usize>((rowOf(p, panel) - firstRow) * k) << 2), panel, n, top, left, rows, cols)
    for (let group = 0; group < groups; group++) {
      fillPlane(
        p, planes + planeBytes * group, n, (firstGroup + group) * 4, top * p.stride - p.padding,
        left * p.stride - p.padding, (rows - 1) * p.stride + p.kh, planeCols
      )
    }
    for (let panel = firstPanel; panel < endPanel; panel++) {
      const row = rowOf(p, panel) - firstRow
      const panelA = a + (<usize>(row * k) << 2)
      let c = sums + <usize>row * ldc
      // The first half of the pair, waiting for its second; an odd one at the end is paired with itself.
      let waiting: usize = 0
      for (let group = 0; group < groups; group++) {
        for (let ky = 0; ky < p.kh; ky++) {
          let b = planes + planeBytes * group + (<usize>(ky * planeCols) << 4)
          for (let kx = 0; kx < p.kw; kx++) {
            const isLast = group + 1 == groups && ky + 1 == p.kh && kx + 1 == p.kw
            if (waiting || isLast) {
              const first = waiting ? waiting : b
              if (panel < p.sixes) gathered6x8(panelA, scratch, first, b, k, c, ldc, accumulate)
              else gathered4x8(panelA, scratch, first, b, k, c, ldc, accumulate)
              c += 32
              waiting = 0
            } else {
              waiting = b
            }
            b += 16
          }
        }
      }
    }
  }
  const rowBytes = <usize>(p.allGroups * taps) << 4
  let target = p.parts + <usize>(split * p.cout + firstRow) * rowBytes + (<usize>(firstGroup * taps) << 4)
  for (let r = 0; r < min(paddedRows, p.cout - firstRow); r++) {
    const from = sums + <usize>r * ldc
    for (let half = 0; half < halves; half++)
      v128.store(target + (<usize>half << 4), v128.load(from + (<usize>half << 4)))
    target += rowBytes
  }
}

/** The first row of a panel. */
// @ts-ignore: decorator
@inline
function rowOf(p: Conv2dWeightGradParams, panel: i32): i32 {
  return panel <= p.sixes ? panel * 6 : p.sixes * 2 + panel * 4
}

function packGradient(
  p: Conv2dWeightGradParams, target: usize, panel: i32, n: i32, top: i32, left: i32, rows: i32, cols: i32
): void {
  const height = panel < p.sixes ? 6 : 4
  const first = rowOf(p, panel)
  const channels = min(height, p.cout - first)
  const channelBytes = <usize>(p.ho * p.wo) << 2
  if (channels < height) memory.fill(target, 0, <usize>(rows * cols * height) << 2)
  let source = p.dy + (<usize>(n * p.cout + first)) * channelBytes + (<usize>(top * p.wo + left) << 2)
  if (cols == p.wo) {
    cols *= rows
    rows = 1
  }
  for (let y = 0; y < rows; y++) {
    packRows(source, target, channels, height, cols, channelBytes)
    source += <usize>p.wo << 2
    target += <usize>(cols * height) << 2
  }
}

/**
 * Four channels of x from row `top` and column `left` on, zeros outside the image and for channels that are not there.
 */
function fillPlane(
  p: Conv2dWeightGradParams, target: usize, n: i32, firstChannel: i32, top: i32, left: i32, rows: i32, cols: i32
): void {
  const channels = min(4, p.cin - firstChannel)
  const channelBytes = <usize>(p.h * p.w) << 2
  const from = min(cols, max(0, -left))
  const to = max(from, min(cols, p.w - left))
  if (channels < 4) memory.fill(target, 0, <usize>(rows * cols) << 4)
  const source = p.x + <usize>(n * p.cin + firstChannel) * channelBytes
  for (let row = top; row < top + rows; row++) {
    if (row < 0 || row >= p.h) {
      clear(target, cols)
    } else {
      clear(target, from)
      packRows(
        source + (<usize>(row * p.w + left + from) << 2), target + (<usize>from << 4), channels, 4, to - from,
        channelBytes
      )
      clear(target + (<usize>to << 4), cols - to)
    }
    target += <usize>cols << 4
  }
}

// @ts-ignore: decorator
@inline
function clear(target: usize, pixels: i32): void {
  for (let i = 0; i < pixels; i++) v128.store(target + (<usize>i << 4), f32x4.splat(0))
}
