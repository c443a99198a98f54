/**
 * Decides how heads are cut into chunks: whole heads where there are many, else blocks of queries (backward also of
 * keys), each of which packs the head's keys and values again.
 */
import type { View } from '../../backend.ts'
import type { AttentionParams } from '../../ops/attention.ts'
import { cut, type Launch } from '../launch.ts'
import { rowPanels } from './panels.ts'

/** Below 128 tokens a block packing a head takes more than 6 % of the time. */
const leastTokens = 128
/** So many chunks are enough to keep threads equally busy. */
const enoughUnits = 32
/** About 60 µs. */
const leastFlops = 2e6

export const attention: Launch<AttentionParams> = (encoder, params, [qkv], [out, logsumexp]) => {
  const { own, byTokens, byChannels, perToken, width, product, heads, blocks } = geometry(params, qkv)
  const units = heads * blocks
  const { chunks, each } = cut(units, (leastFlops * units) / (2 * product))
  encoder.run({
    kernel: 'attention',
    chunks,
    params: { qkv, out, logsumexp, dOut: 0, dqkv: 0, units, each, ...own },
    flops: 2 * product,
    scratch: byTokens + byChannels + 32 * width + perToken,
  })
}

export const attentionGrad: Launch<AttentionParams> = (encoder, params, [qkv, out, logsumexp, dOut], [dqkv]) => {
  const { own, byTokens, byChannels, perToken, width, product, heads, blocks, tokens } = geometry(params, qkv)
  const units = 2 * heads * blocks
  const { chunks, each } = cut(units, (leastFlops * units) / (7 * product))
  encoder.run({
    kernel: 'attentionGrad',
    chunks,
    params: { qkv, out, logsumexp, dOut, dqkv, units, each, ...own },
    flops: 7 * product,
    scratch: 2 * byTokens + 2 * byChannels + 32 * width + 2 * perToken + 4 * tokens,
  })
}

function geometry({ heads, newOrder }: AttentionParams, qkv: View) {
  const [n, rows, tokens] = qkv.shape
  const channels = rows / 3
  const width = channels / heads
  const wanted = Math.min(Math.ceil(tokens / leastTokens), Math.ceil(enoughUnits / (n * heads)))
  const blockTokens = 8 * Math.ceil(tokens / wanted / 8)
  const blocks = Math.ceil(tokens / blockTokens)
  const [tokenPanels, channelPanels] = [rowPanels(tokens), rowPanels(width)]
  const [headStep, partStep] = newOrder ? [width, channels] : [3 * width, width]
  return {
    /** The kernels' parameters but for the buffers and the units. */
    own: {
      heads,
      width,
      tokens,
      headStep,
      partStep,
      blocks,
      blockTokens,
      tokenSixes: tokenPanels.sixes,
      tokenFours: tokenPanels.fours,
      channelSixes: channelPanels.sixes,
      channelFours: channelPanels.fours,
      scale: 1 / Math.sqrt(width),
    },
    /** Bytes of a head packed by tokens and by channels, and of scores [T][8] and a product [width][8]. */
    byTokens: 4 * tokenPanels.padded * width,
    byChannels: 4 * channelPanels.padded * tokens,
    perToken: 32 * (tokenPanels.padded + channelPanels.padded),
    width,
    tokens,
    blocks,
    /** Of all images. */
    heads: n * heads,
    /** Operations of one product of T×T by the width, over all heads. */
    product: 2 * n * channels * tokens ** 2,
  }
}
