/**
 * Decides how heads are cut into chunks: whole heads where there are many, else blocks of queries (backward also of keys),
 * each of which packs the head's keys and values again.
 */
import type { View } from '../../backend.ts'
import type { AttentionParams } from '../../ops/attention.ts'
import { cut, float, type Encoder, type Launch, type Word } from '../launch.ts'

/** Below 128 tokens a block packing a head takes more than 6 % of the time. */
const leastTokens = 128
/** So many chunks are enough to keep threads equally busy. */
const enoughUnits = 32
/** About 60 µs. */
const leastFlops = 2e6

export const attention: Launch<AttentionParams> = (encoder, params, [qkv], [out, logsumexp]) => {
  const { words, byTokens, byChannels, perToken, width, product, heads, blocks } = geometry(encoder, params, qkv)
  const units = heads * blocks
  const { chunks, each } = cut(units, (leastFlops * units) / (2 * product))
  encoder.run({
    kernel: 'attention', chunks, params: [qkv, out, logsumexp, 0, 0, ...words(units, each)], flops: 2 * product,
    scratch: byTokens + byChannels + 32 * width + perToken,
  })
}

export const attentionGrad: Launch<AttentionParams> = (encoder, params, [qkv, out, logsumexp, dOut], [dqkv]) => {
  const { words, byTokens, byChannels, perToken, width, product, heads, blocks, tokens } = geometry(encoder, params, qkv)
  const units = 2 * heads * blocks
  const { chunks, each } = cut(units, (leastFlops * units) / (7 * product))
  encoder.run({
    kernel: 'attentionGrad', chunks, params: [qkv, out, logsumexp, dOut, dqkv, ...words(units, each)], flops: 7 * product,
    scratch: 2 * byTokens + 2 * byChannels + 32 * width + 2 * perToken + 4 * tokens,
  })
}

interface Geometry {
  words(units: number, each: number): Word[]
  /** Bytes of a head packed by tokens and by channels, and of scores [T][8] and a product [width][8]. */
  readonly byTokens: number
  readonly byChannels: number
  readonly perToken: number
  readonly width: number
  readonly tokens: number
  /** Operations of one product of T×T by the width, over all heads. */
  readonly product: number
  /** Heads of all images. */
  readonly heads: number
  readonly blocks: number
}

function geometry({ sixRows }: Encoder, { heads, newOrder }: AttentionParams, qkv: View): Geometry {
  const [n, rows, tokens] = qkv.shape
  const channels = rows / 3
  const width = channels / heads
  const wanted = Math.min(Math.ceil(tokens / leastTokens), Math.ceil(enoughUnits / (n * heads)))
  const blockTokens = 8 * Math.ceil(tokens / wanted / 8)
  const blocks = Math.ceil(tokens / blockTokens)
  const [tokenPanels, channelPanels] = [panels(tokens, sixRows), panels(width, sixRows)]
  const [headStep, partStep] = newOrder ? [width, channels] : [3 * width, width]
  const padded = ([sixes, fours]: readonly [number, number]): number => 6 * sixes + 4 * fours
  return {
    words: (units, each) => [
      heads, width, tokens, headStep, partStep, units, each, blocks, blockTokens, ...tokenPanels, ...channelPanels, float(1 / Math.sqrt(width)),
    ],
    byTokens: 4 * padded(tokenPanels) * width,
    byChannels: 4 * padded(channelPanels) * tokens,
    perToken: 32 * (padded(tokenPanels) + padded(channelPanels)),
    width, tokens, blocks, heads: n * heads, product: 2 * n * channels * tokens ** 2,
  }
}

/** Panels of 6 rows and of 4 that hold `rows` with the least padding; of 4 alone where those are faster. */
function panels(rows: number, sixRows: boolean): readonly [number, number] {
  if (!sixRows) return [0, Math.ceil(rows / 4)]
  const fours = [0, 2, 2, 1, 1, 0][rows % 6]
  return rows < 3 ? [0, 1] : [Math.ceil((rows - 4 * fours) / 6), fours]
}
