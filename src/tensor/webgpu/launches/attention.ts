/**
 * Decides how a head is cut into workgroups: tiles of tokens by chunks of channels, so that a wide head needs no more
 * registers than a narrow one. The backward pass first sums dOut · out a query, then has a kernel each for q, k and v:
 * every one of them writes its own rows, so none needs atomics.
 */
import { attentionForward } from '../../../shaders/attention-forward.ts'
import { attentionDelta, attentionDeltaUniform, attentionGradient } from '../../../shaders/attention-gradient.ts'
import { attentionMaxRows, attentionThreads, attentionTile, attentionUniform } from '../../../shaders/attention-tile.ts'
import type { View } from '../../backend.ts'
import type { AttentionParams } from '../../ops/attention.ts'
import { linearGrid, type Launch } from '../launch.ts'

export const attention: Launch<AttentionParams> = (encoder, params, [qkv], [out, logsumexp]) => {
  const { keys, uniforms, workgroups, product } = tiling(qkv, params)
  encoder.dispatch({
    key: `attention-forward ${keys.vector ? 'vector' : 'scalar'} ${keys.rows}`,
    code: () => attentionForward(keys),
    uniforms,
    read: [qkv],
    write: [out, logsumexp],
    grid: linearGrid(workgroups, encoder.capabilities.maxGrid),
    flops: 2 * product,
  })
}

export const attentionGrad: Launch<AttentionParams> = (encoder, params, [qkv, out, logsumexp, dOut], [dqkv]) => {
  const { keys, uniforms, workgroups, product } = tiling(qkv, params)
  const [n, channels, tokens] = out.shape
  const count = n * params.heads * tokens
  const delta = encoder.temporary(count * 4)
  encoder.dispatch({
    key: 'attention-gradient delta',
    code: attentionDelta,
    uniforms: attentionDeltaUniform.words({ count, tokens, width: channels / params.heads }),
    read: [out, dOut],
    write: [delta],
    grid: linearGrid(Math.ceil(count / attentionThreads), encoder.capabilities.maxGrid),
  })
  for (const by of ['q', 'k', 'v'] as const) {
    encoder.dispatch({
      key: `attention-gradient ${by} ${keys.vector ? 'vector' : 'scalar'} ${keys.rows}`,
      code: () => attentionGradient({ ...keys, by }),
      uniforms,
      read: [qkv, dOut, logsumexp, delta],
      write: [dqkv],
      grid: linearGrid(workgroups, encoder.capabilities.maxGrid),
      flops: (by === 'v' ? 2 : 3) * product,
    })
  }
}

/** How heads are cut: tiles of tokens by chunks of channels; and the operations of one product of T×T by d. */
function tiling(
  qkv: View,
  { heads, newOrder }: AttentionParams,
): { keys: { vector: boolean; rows: number }; uniforms: number[]; workgroups: number; product: number } {
  const [n, rows, tokens] = qkv.shape
  const channels = rows / 3
  const width = channels / heads
  const chunks = Math.ceil(width / (8 * attentionMaxRows))
  const keys = { vector: tokens % 4 === 0, rows: Math.ceil(width / chunks / 8) }
  const tiles = Math.ceil(tokens / attentionTile)
  const workgroups = n * heads * chunks * tiles
  const [headStep, partStep] = newOrder ? [width, channels] : [3 * width, width]
  return {
    keys,
    workgroups,
    product: 2 * n * channels * tokens ** 2,
    uniforms: attentionUniform.words({
      total: workgroups,
      heads,
      width,
      tokens,
      headStep,
      partStep,
      tiles,
      chunks,
      scale: 1 / Math.sqrt(width),
    }),
  }
}
