/**
 * The weights' gradient, cut three ways: by output channels, by input channels, and, where that gives too few chunks,
 * by pixels into parts that are added in order afterwards. See `src/wasm/conv2d-weight-gradient.ts`.
 */
import type { View } from '../../backend.ts'
import { cut, type Encoder } from '../launch.ts'
import type { ConvShape } from '../../../shaders/conv2d-shape.ts'
import { convFlops } from '../../conv-shape.ts'
import { rowPanels } from './panels.ts'

/** Pixels of a block: long enough that a tile's sums are read and written seldom. */
const blockPixels = 256
/** Chunks wanted, and the least work of one: its sums must pay for their way out. */
const wantedChunks = 32
const chunkFlops = 1e7

export function directWeightGrad(encoder: Encoder, shape: ConvShape, x: View, dy: View, dw: View): void {
  const isPointwise = shape.kh * shape.kw === 1 && shape.stride === 1 && shape.pad === 0
  // What sees one pixel each is one long row.
  const s: ConvShape = isPointwise ? { ...shape, h: 1, w: shape.h * shape.w, ho: 1, wo: shape.ho * shape.wo } : shape
  const taps = s.kh * s.kw
  const { sixes, fours } = rowPanels(s.cout)
  // A block's sums stay within 150 KB, dY's and x's pieces within 64 to 128 KB each; every channel is packed once per
  // block of the others.
  const blockChannels = taps < 4 ? 128 : 64
  const coutPanels = Math.ceil((sixes + fours) / Math.ceil(s.cout / blockChannels))
  const coutBlocks = Math.ceil((sixes + fours) / coutPanels)
  const allGroups = Math.ceil(s.cin / 4)
  const blockGroups = Math.ceil(
    allGroups / Math.ceil(allGroups / Math.max(1, Math.min(blockChannels / 4, Math.floor(144 / taps)))),
  )
  const cinBlocks = Math.ceil(allGroups / blockGroups)
  const colBlocks = Math.ceil(s.wo / blockPixels)
  const blockCols = Math.ceil(s.wo / colBlocks)
  const rowBlocks = Math.ceil(s.ho / Math.max(1, Math.floor(blockPixels / blockCols)))
  const blockRows = Math.ceil(s.ho / rowBlocks)
  const items = s.n * rowBlocks * colBlocks
  const blocks = coutBlocks * cinBlocks
  const flops = convFlops(s)
  const wantedSplits = Math.max(
    1,
    Math.min(items, Math.ceil(wantedChunks / blocks), Math.floor(flops / blocks / chunkFlops)),
  )
  const itemsPerSplit = Math.ceil(items / wantedSplits)
  const splits = Math.ceil(items / itemsPerSplit)
  const parts = encoder.temporary(splits * s.cout * allGroups * taps * 16)
  const pixels = blockRows * blockCols
  const plane = ((blockRows - 1) * s.stride + s.kh) * ((blockCols - 1) * s.stride + s.kw) * 4
  encoder.run({
    kernel: 'conv2dWeightGrad',
    chunks: splits * blocks,
    params: {
      x,
      dy,
      parts,
      cin: s.cin,
      h: s.h,
      w: s.w,
      cout: s.cout,
      sixes,
      fours,
      ho: s.ho,
      wo: s.wo,
      kh: s.kh,
      kw: s.kw,
      stride: s.stride,
      padding: s.pad,
      blockRows,
      blockCols,
      rowBlocks,
      colBlocks,
      items,
      itemsPerSplit,
      coutBlocks,
      coutPanels,
      cinBlocks,
      blockGroups,
      allGroups,
    },
    scratch:
      (pixels + coutPanels * 6 * pixels + blockGroups * plane + coutPanels * 6 * (taps * blockGroups * 4 + 4)) * 4 +
      256,
    flops,
  })
  const { chunks, each } = cut(s.cout, 2 ** 17 / (splits * allGroups * taps * 4))
  encoder.run({
    kernel: 'sumSplits',
    chunks,
    params: { target: dw, parts, splits, cout: s.cout, cin: s.cin, taps, each },
  })
}
