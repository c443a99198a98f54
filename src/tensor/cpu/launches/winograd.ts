/**
 * Convolution 3×3 at stride 1 by Winograd's F(4×4, 3×3) where it beats the direct kernels; see `src/wasm/winograd.ts`.
 * Each launch returns false where it does not apply or does not pay, and has enqueued nothing then.
 */
import type { View } from '../../backend.ts'
import type { Encoder } from '../launch.ts'
import type { Buffer } from '../params.ts'
import type { ConvForwardParams, ConvGradParams } from '../../ops/conv2d.ts'
import { rowPanels } from './panels.ts'

interface Geometry {
  readonly x: readonly number[]
  readonly y: readonly number[]
  readonly padding: number
}

/**
 * Four pixels are loaded at a time. The data gradient of a convolution with a padding above 2 would have one below 0.
 */
const applies = ({ x: [, , , width], padding }: Geometry): boolean => width >= 4 && padding >= 0

/**
 * Where it beats the direct kernel, in ratios measured on one core. From 3 channels to 32 at 32×32: 1.1, from 6: 1.4,
 * from 8: 1.5, from 16: 2, from 64: 2.8. By tiles: an 8×8 image (4 tiles) of 64 channels 1.3, of 128 1.1, but of 256
 * 0.5; two such images 1.5, 1.7 and 1.3, but the choice must not depend on the batch, or a sample would; a 16×16
 * image 1.7, of 768 channels 1.4. Where an image fills its tiles badly, 5×5 in 8×8: 1.4. Images of one tile gain from
 * a batch of 4 on only.
 */
function pays({ x: [, channels], y: [, outChannels, height, width] }: Geometry): boolean {
  const tiles = Math.ceil(height / 4) * Math.ceil(width / 4)
  return (
    channels >= 6 &&
    outChannels >= 3 &&
    height * width >= 6 * tiles &&
    (tiles >= 16 || (tiles >= 4 && channels * outChannels <= 2 ** 14))
  )
}

/**
 * Weights [Cout, Cin, 3, 3] transformed and packed; turned and with the roles of the channels changed
 * for the data gradient.
 */
function weights(encoder: Encoder, weight: View, turned: boolean): Buffer {
  const [cout, cin] = weight.shape
  const [rows, channels] = turned ? [cin, cout] : [cout, cin]
  const { sixes, fours } = rowPanels(rows)
  const bytes = (sixes * 6 + fours * 4) * channels * 36 * 4
  const pack = (target: Buffer): void =>
    encoder.run({
      kernel: 'winogradWeights',
      chunks: sixes + fours,
      params: {
        weight,
        target,
        rows,
        channels,
        rowStride: turned ? 9 : cin * 9,
        channelStride: turned ? cin * 9 : 9,
        start: turned ? 8 : 0,
        step: turned ? -1 : 1,
        sixes,
      },
      scratch: 288 + 96,
    })
  const kept = encoder.packed(weight, `winograd${turned ? ' turned' : ''} [${weight.shape.join()}]`, bytes, pack)
  if (kept) return kept
  const made = encoder.temporary(bytes)
  pack(made)
  return made
}

function convolve(
  encoder: Encoder,
  { x, y, padding }: Geometry,
  input: View,
  weight: View,
  output: View,
  turned: boolean,
  bias?: View,
  residual?: View,
): void {
  const [images, channels, height, width] = x
  const [, outChannels, outHeight, outWidth] = y
  const { sixes, fours } = rowPanels(outChannels)
  const [tileRows, tileColumns] = [Math.ceil(outHeight / 4), Math.ceil(outWidth / 4)]
  const tiles = images * tileRows * tileColumns
  const panel = (channels * 32 + 64) * 36
  // 16 tiles a chunk are within 3 % of the best of 8 to 64, and leave room in a cache of 512 KB; 8 are 3 to 15 %
  // slower, but keep many channels in 1.2 MB. Where that gives few chunks, several share the output channels;
  // their inputs are transformed once for each, which costs 10 % with 64 channels, so that fewer channels are
  // shared out by tiles of 8.
  const blocks = Math.ceil(tiles / 16)
  const parts = Math.max(1, Math.min(Math.floor(outChannels / 64), Math.ceil(8 / blocks)))
  const panels = Math.ceil((sixes + fours) / parts)
  const each =
    8 * Math.max((parts === 1 && blocks <= 4) || panel > 600_000 ? 1 : 2, Math.ceil((tiles / 8 / 4000) * parts))
  const scratch = (each / 8) * panel + each * 32 + 4 * (width + 4) + Math.max(each * 192, (each / 8) * 36 * 192 + 384)
  encoder.run({
    kernel: 'winogradForward',
    chunks: Math.ceil(tiles / each) * Math.ceil((sixes + fours) / panels),
    params: {
      x: input,
      weight: weights(encoder, weight, turned),
      bias: bias ?? 0,
      residual: residual ?? 0,
      y: output,
      channels,
      height,
      width,
      outChannels,
      outHeight,
      outWidth,
      padding,
      tileRows,
      tileColumns,
      tiles,
      each,
      sixes,
      fours,
      panels,
    },
    scratch,
    flops: 2 * images * outChannels * outHeight * outWidth * channels * 9,
  })
}

const is3x3 = (weight: View, stride: number): boolean => stride === 1 && weight.shape[2] === 3 && weight.shape[3] === 3

export function winogradForward(
  encoder: Encoder,
  params: ConvForwardParams,
  inputs: readonly View[],
  [y]: readonly View[],
): boolean {
  const [x, weight, ...optional] = inputs
  const geometry = { x: x.shape, y: y.shape, padding: params.padding }
  if (!is3x3(weight, params.stride) || !applies(geometry) || !pays(geometry)) return false
  const bias = params.bias ? optional[0] : undefined
  const residual = params.residual ? optional[optional.length - 1] : undefined
  convolve(encoder, geometry, x, weight, y, false, bias, residual)
  return true
}

/** (dy, weight) → dx: the same convolution with turned weights. */
export function winogradDataGrad(
  encoder: Encoder,
  { stride, padding }: ConvGradParams,
  [dy, weight]: readonly View[],
  [dx]: readonly View[],
): boolean {
  const geometry = { x: dy.shape, y: dx.shape, padding: 2 - padding }
  if (!is3x3(weight, stride) || !applies(geometry) || !pays(geometry)) return false
  convolve(encoder, geometry, dy, weight, dx, true)
  return true
}

/** (x, dy) → dw. */
export function winogradWeightGrad(
  encoder: Encoder,
  { stride, padding }: ConvGradParams,
  [x, dy]: readonly View[],
  [dw]: readonly View[],
): boolean {
  const geometry = { x: x.shape, y: dy.shape, padding }
  if (!is3x3(dw, stride) || !applies(geometry) || dy.shape[3] < 4) return false
  const [images, channels, height, width] = x.shape
  const [, outChannels, outHeight, outWidth] = dy.shape
  const { sixes, fours } = rowPanels(outChannels)
  const [tileRows, tileColumns] = [Math.ceil(outHeight / 4), Math.ceil(outWidth / 4)]
  const tiles = images * tileRows * tileColumns
  // Against the direct kernel, on one core: 8 tiles 1.1 (of 512 channels 0.97), 16 tiles 1.5; from 3 channels 0.8, from
  // 6: 1.3; 5×5 images 0.93.
  if (tiles < 16 || channels < 6 || outChannels < 3 || images * outHeight * outWidth < 8 * tiles) return false
  const rowBlocks = Math.ceil((sixes + fours) / 12)
  const panelsEach = Math.ceil((sixes + fours) / rowBlocks)
  const columns = Math.ceil(channels / 8) * 8
  const columnBlocks = Math.ceil(columns / 64)
  const blockColumns = Math.ceil(columns / 8 / columnBlocks) * 8
  // 16 to 128 tiles a block are within 5 %. 16 splits cost 5 % more than 2 where there is one block of channels; where
  // there are many, splits only keep sums from growing longer than 2048 terms.
  const block = Math.min(32, tiles)
  const blocks = rowBlocks * columnBlocks
  const splits = Math.min(
    Math.max(Math.ceil(tiles / 2048), Math.min(Math.ceil(tiles / 64), Math.ceil(16 / blocks))),
    Math.max(1, Math.floor(4000 / blocks)),
  )
  const each = Math.ceil(tiles / splits / block) * block
  const rows = sixes * 6 + fours * 4
  const partial = encoder.temporary(splits * 9 * rows * columns * 4)
  const rowsOfBlock = Math.min(panelsEach, sixes) * 6 + Math.max(0, panelsEach - sixes) * 4
  encoder.run({
    kernel: 'winogradWeightGradient',
    chunks: Math.ceil(tiles / each) * blocks,
    params: {
      x,
      dy,
      partial,
      channels,
      height,
      width,
      outChannels,
      outHeight,
      outWidth,
      padding,
      tileRows,
      tileColumns,
      tiles,
      each,
      block,
      sixes,
      fours,
      rowPanels: panelsEach,
      columns,
      blockColumns,
    },
    // Both sides' panels, dU, and four channels' columns.
    scratch:
      36 * (4 * ((rowsOfBlock + blockColumns) * block + rowsOfBlock * blockColumns) + 192) +
      block * 16 +
      4 * (Math.max(width, outWidth) + 4) +
      4 * block * 192,
    flops: 2 * images * outChannels * outHeight * outWidth * channels * 9,
  })
  const rowsEach = Math.max(1, Math.ceil(1024 / (columns / 4)))
  encoder.run({
    kernel: 'winogradWeightSum',
    chunks: Math.ceil(outChannels / rowsEach),
    params: { partial, dw, splits: Math.ceil(tiles / each), rows, columns, outChannels, channels, each: rowsEach },
  })
  return true
}
