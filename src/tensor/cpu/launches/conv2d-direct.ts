/**
 * Direct convolutions. Forward and data gradient are passes of one kernel that differ in their taps and in where their
 * pixels lie in the output; see `src/wasm/conv2d.ts`.
 */
import type { View } from '../../backend.ts'
import type { Encoder } from '../launch.ts'
import type { Buffer } from '../params.ts'
import type { ConvShape } from '../../../shaders/conv2d-shape.ts'
import { packPanels, rowPanels, type PanelSource } from './panels.ts'

/**
 * The taps of a pass along one axis: pixel i sees i·stride + start .. + count − 1, with kernel elements
 * first, first + step, …
 */
interface Taps {
  readonly start: number
  readonly count: number
  readonly first: number
  readonly step: number
}

interface Pass {
  /** Of the image that is read; of the output of this pass. */
  readonly from: { readonly channels: number; readonly h: number; readonly w: number }
  readonly to: { readonly channels: number; readonly h: number; readonly w: number }
  readonly stride: number
  readonly rows: Taps
  readonly cols: Taps
  /** Where the output's pixels lie in its tensor, in floats. */
  readonly out: { readonly start: number; readonly row: number; readonly col: number; readonly plane: number }
  /** Floats from one of the weights' elements to the next, by output channel and by input channel. */
  readonly weightOut: number
  readonly weightIn: number
  readonly kernelWidth: number
}

/**
 * Products of one tile's row, beyond which the input's channels are taken in several rounds: planes and weights stay in
 * L1.
 */
const roundLength = 384
/** Pixels of a block: enough to use a panel of weights often, few enough that planes and sums stay near. */
const blockPixels = 64
/** Multiply-adds, counted as two, of a chunk: about 100 µs. */
const chunkFlops = 3e6

function convolve(
  encoder: Encoder,
  n: number,
  pass: Pass,
  x: View,
  weight: View,
  key: string,
  y: View,
  bias?: View,
  residual?: View,
): void {
  const { from, rows, cols, stride, out } = pass
  let { to } = pass
  let source = from
  const taps = rows.count * cols.count
  const k = from.channels * taps
  const { sixes, fours, padded } = rowPanels(to.channels)
  const weights: PanelSource = {
    buffer: weight,
    start: rows.first * pass.kernelWidth + cols.first,
    rowStep: pass.weightOut,
    k: [
      [from.channels, pass.weightIn],
      [rows.count, rows.step * pass.kernelWidth],
      [cols.count, cols.step],
    ],
  }
  const pack = (target: Buffer): void => packPanels(encoder, weights, pass.to.channels, target)
  // A phase that no tap reaches is zeros.
  const packed =
    k === 0
      ? weight
      : (encoder.packed(weight, `${key} [${weight.shape.join()}]`, padded * k * 4, pack) ??
        made(encoder, padded * k * 4, pack))
  // What sees one pixel each is one long row.
  if (
    taps === 1 &&
    stride === 1 &&
    rows.start === 0 &&
    cols.start === 0 &&
    out.col === 1 &&
    out.row === to.w &&
    from.w === to.w &&
    from.h === to.h
  ) {
    source = { ...from, h: 1, w: from.h * from.w }
    to = { ...to, h: 1, w: to.h * to.w }
  }
  const fit = Math.ceil(Math.min(to.w, blockPixels) / 4) * 4
  const colBlocks = Math.ceil(to.w / fit)
  // Blocks of a row are equally wide.
  const blockCols = Math.ceil(to.w / colBlocks / 4) * 4
  const rowBlocks = Math.ceil(to.h / Math.max(1, Math.floor(blockPixels / blockCols)))
  const blockRows = Math.ceil(to.h / rowBlocks)
  const pixelBlocks = n * rowBlocks * colBlocks
  const flops = 2 * n * to.channels * to.h * to.w * k
  // Few blocks of pixels with much work each are shared by cutting the channels too; each part copies its input anew.
  const panels = sixes + fours
  const parts = Math.min(
    Math.ceil(panels / 4),
    Math.max(1, Math.floor(flops / pixelBlocks / chunkFlops)),
    Math.ceil(32 / pixelBlocks),
  )
  const blockPanels = Math.ceil(panels / parts)
  const channelBlocks = Math.ceil(panels / blockPanels)
  const rounds = Math.max(1, Math.ceil(k / roundLength))
  const cinBlock = Math.ceil(from.channels / rounds)
  const items = pixelBlocks * channelBlocks
  const each = Math.max(1, Math.min(items, Math.floor((chunkFlops * items) / (flops + 1))), Math.ceil(items / 4000))
  const plane = ((blockRows - 1) * stride + rows.count) * stride * (blockCols - 1 + Math.ceil(cols.count / stride))
  const sums = Math.min(padded, blockPanels * 6) * (blockRows * blockCols + 4)
  encoder.run({
    kernel: 'conv2d',
    chunks: Math.ceil(items / each),
    params: {
      x,
      weight: packed,
      bias: bias ?? 0,
      residual: residual ?? 0,
      y,
      cin: from.channels,
      h: source.h,
      w: source.w,
      cout: to.channels,
      sixes,
      fours,
      ho: to.h,
      wo: to.w,
      stride,
      tapRows: rows.count,
      tapCols: cols.count,
      top: rows.start,
      left: cols.start,
      blockRows,
      blockCols,
      rowBlocks,
      colBlocks,
      channelBlocks,
      blockPanels,
      cinBlock,
      outStart: out.start,
      outRow: out.row,
      outCol: out.col,
      outPlane: out.plane,
      items,
      each,
    },
    scratch: (cinBlock * (taps + plane) + sums) * 4 + 256,
    flops,
  })
}

function made(encoder: Encoder, bytes: number, make: (target: Buffer) => void): Buffer {
  const target = encoder.temporary(bytes)
  make(target)
  return target
}

export function directForward(
  encoder: Encoder,
  s: ConvShape,
  x: View,
  weight: View,
  y: View,
  bias?: View,
  residual?: View,
): void {
  const taps = s.kh * s.kw
  const pass: Pass = {
    from: { channels: s.cin, h: s.h, w: s.w },
    to: { channels: s.cout, h: s.ho, w: s.wo },
    stride: s.stride,
    rows: { start: -s.pad, count: s.kh, first: 0, step: 1 },
    cols: { start: -s.pad, count: s.kw, first: 0, step: 1 },
    out: { start: 0, row: s.wo, col: 1, plane: s.ho * s.wo },
    weightOut: s.cin * taps,
    weightIn: taps,
    kernelWidth: s.kw,
  }
  convolve(encoder, s.n, pass, x, weight, 'conv2d', y, bias, residual)
}

/**
 * dX[i] = Σ dY[o] w[k] over o·stride + k = i + padding. Of the pixels i = q·stride + phase, only every `stride`-th k
 * takes part, and o runs backwards as k grows; taps are put in the order of o.
 */
function phaseTaps(kernel: number, stride: number, padding: number, phase: number): Taps {
  const smallest = (phase + padding) % stride
  const count = Math.max(0, Math.ceil((kernel - smallest) / stride))
  const largest = smallest + (count - 1) * stride
  return { start: (phase + padding - largest) / stride, count, first: count > 0 ? largest : 0, step: -stride }
}

export function directDataGrad(encoder: Encoder, s: ConvShape, dy: View, weight: View, dx: View): void {
  const { stride, pad: padding, h, w } = s
  const taps = s.kh * s.kw
  for (let row = 0; row < Math.min(stride, h); row++) {
    for (let col = 0; col < Math.min(stride, w); col++) {
      const pass: Pass = {
        from: { channels: s.cout, h: s.ho, w: s.wo },
        to: { channels: s.cin, h: Math.ceil((h - row) / stride), w: Math.ceil((w - col) / stride) },
        stride: 1,
        rows: phaseTaps(s.kh, stride, padding, row),
        cols: phaseTaps(s.kw, stride, padding, col),
        out: { start: row * w + col, row: stride * w, col: stride, plane: h * w },
        weightOut: taps,
        weightIn: s.cin * taps,
        kernelWidth: s.kw,
      }
      convolve(encoder, s.n, pass, dy, weight, `conv2dDataGrad ${stride} ${padding} ${row} ${col}`, dx)
    }
  }
}
