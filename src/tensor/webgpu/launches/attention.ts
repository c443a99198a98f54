/**
 * Decides how a head is cut into workgroups: tiles of tokens by chunks of channels, so that a wide head needs no more
 * registers than a narrow one. The backward pass first sums dOut · out a query, then has a kernel each for q, k and v:
 * every one of them writes its own rows, so none needs atomics. Where that leaves a GPU empty, the tokens that a
 * workgroup walks over are split, and the parts joined; where there are too few of them, the chunks are narrower.
 */
import { attentionForward } from '../../../shaders/attention-forward.ts'
import { attentionDelta, attentionDeltaUniform, attentionGradient } from '../../../shaders/attention-gradient.ts'
import { attentionJoin, attentionJoinThreads, attentionJoinUniform } from '../../../shaders/attention-join.ts'
import {
  attentionMaxRows,
  attentionThreads,
  attentionTile,
  attentionUniform,
  type AttentionKeys,
} from '../../../shaders/attention-tile.ts'
import type { View } from '../../backend.ts'
import type { AttentionParams } from '../../ops/attention.ts'
import { linearGrid, type Dispatch, type Encoder, type Launch } from '../launch.ts'
import { cut, fullGrid, sumSplits } from './splits.ts'

export const attention: Launch<AttentionParams> = (encoder, params, [qkv], [out, logsumexp]) => {
  const { heads } = params
  const [n, channels, tokens] = out.shape
  const kernel = ({ keys }: Tiling): Pick<Dispatch, 'key' | 'code'> => ({
    key: `attention-forward ${nameOf(keys)}`,
    code: () => attentionForward(keys),
  })
  const { tiling, grid, uniforms, splits } = chosen(encoder, 'attention', qkv, params, kernel)
  const flops = 2 * productFlops(out)
  if (splits === 1)
    return encoder.dispatch({ ...kernel(tiling), uniforms, read: [qkv], write: [out, logsumexp], grid, flops })
  const count = n * channels * tokens
  const parts = encoder.temporary(splits * count * 4)
  const logsumexps = encoder.temporary(splits * n * heads * tokens * 4)
  encoder.dispatch({ ...kernel(tiling), uniforms, read: [qkv], write: [parts, logsumexps], grid, flops })
  encoder.dispatch({
    key: 'attention-join',
    code: attentionJoin,
    uniforms: attentionJoinUniform.words({ count, splits, tokens, width: channels / heads }),
    read: [parts, logsumexps],
    write: [out, logsumexp],
    grid: linearGrid(Math.ceil(count / attentionJoinThreads), encoder.capabilities.maxGrid),
  })
}

export const attentionGrad: Launch<AttentionParams> = (encoder, params, [qkv, out, logsumexp, dOut], [dqkv]) => {
  const kernel = ({ keys }: Tiling, by: 'q' | 'k' | 'v'): Pick<Dispatch, 'key' | 'code'> => ({
    key: `attention-gradient ${by} ${nameOf(keys)}`,
    code: () => attentionGradient({ ...keys, by }),
  })
  const { tiling, grid, uniforms, splits } = chosen(encoder, 'attentionGrad', qkv, params, (t) => kernel(t, 'q'))
  const [n, channels, tokens] = out.shape
  const count = n * params.heads * tokens
  const delta = encoder.temporary(count * 4)
  const { software, maxGrid } = encoder.capabilities
  // With 16 lanes a token 4 neighbours are read at once, which are the least that memory gives.
  let lanes = 1
  while (!software && lanes < 16 && count * lanes < fullGrid * attentionThreads) lanes *= 2
  encoder.dispatch({
    key: 'attention-gradient delta',
    code: attentionDelta,
    uniforms: attentionDeltaUniform.words({ count, tokens, width: channels / params.heads, lanes }),
    read: [out, dOut],
    write: [delta],
    grid: linearGrid(Math.ceil((count * lanes) / attentionThreads), maxGrid),
  })
  const all = 3 * n * channels * tokens
  const target = splits === 1 ? dqkv : encoder.temporary(splits * all * 4)
  for (const by of ['q', 'k', 'v'] as const) {
    encoder.dispatch({
      ...kernel(tiling, by),
      uniforms,
      read: [qkv, dOut, logsumexp, delta],
      write: [target],
      grid,
      flops: (by === 'v' ? 2 : 3) * productFlops(out),
    })
  }
  // Nothing is added to the sums.
  const words = { count: all, splits, area: all, channels: 1 }
  if (splits > 1) sumSplits(encoder, words, { bias: false, residual: false }, [target], dqkv)
}

/** The operations of one product of T×T by d, in all heads. */
const productFlops = ({ shape: [n, channels, tokens] }: View): number => 2 * n * channels * tokens ** 2

const nameOf = ({ vector, rows }: AttentionKeys): string => `${vector ? 'vector' : 'scalar'} ${rows}`

/** How heads are cut: channels into chunks, and the tokens that a workgroup walks over into splits. */
interface Tiling {
  readonly keys: AttentionKeys
  readonly chunks: number
  readonly splits: number
}

/** The tiling that was chosen, with what every kernel is told of it. */
function chosen(
  encoder: Encoder,
  op: string,
  qkv: View,
  { heads, newOrder }: AttentionParams,
  kernelOf: (tiling: Tiling) => Pick<Dispatch, 'key' | 'code'>,
): { tiling: Tiling; splits: number; uniforms: number[]; grid: [number, number, number] } {
  const [n, rows, tokens] = qkv.shape
  const channels = rows / 3
  const width = channels / heads
  const lines = n * heads
  const tiles = Math.ceil(tokens / attentionTile)
  const { found, usual } = tilings(lines * tiles, tokens, width, encoder.capabilities.software)
  const tilingOf = (name: string): Tiling => (found.get(name) as () => Tiling)()
  const choice = `${op} ${heads}x${width}x${tokens}x${n}`
  const tiling = tilingOf(encoder.choose(choice, [...found.keys()], usual, (name) => kernelOf(tilingOf(name))))
  const { chunks, splits } = tiling
  const total = lines * tiles * chunks * splits
  const [headStep, partStep] = newOrder ? [width, channels] : [3 * width, width]
  return {
    tiling,
    splits,
    uniforms: attentionUniform.words({
      ...{ total, heads, width, tokens, headStep, partStep, tiles, chunks, lines },
      range: Math.ceil(tiles / splits) * attentionTile,
      scale: 1 / Math.sqrt(width),
    }),
    grid: linearGrid(total, encoder.capabilities.maxGrid),
  }
}

/**
 * The ways to cut heads of which there are so many tiles, by name, and what does while nothing has been measured. A
 * thread has some 48 sums to keep it busy: as with the GEMM half as many threads fill a GPU as of other kernels.
 * Partial gradients of 32 tokens, 128 channels at most and fewer than twice as many workgroups are 26 MB at most.
 * Narrower chunks repeat the scores, and so are for heads of too few tokens to split, until every multiprocessor has a
 * workgroup.
 */
function tilings(
  tiles: number,
  tokens: number,
  width: number,
  software: boolean,
): { found: ReadonlyMap<string, () => Tiling>; usual: string } {
  const found = new Map<string, () => Tiling>()
  const tiling = (splits: number, chunks: number): Tiling => {
    const rows = Math.ceil(width / chunks / 8)
    return { keys: { vector: tokens % 4 === 0, rows }, chunks: Math.ceil(width / rows / 8), splits }
  }
  const widest = Math.ceil(width / (8 * attentionMaxRows))
  const work = {
    workgroups: tiles * widest,
    full: (fullGrid * 128) / attentionThreads,
    terms: tokens,
    // Any grid fills the few cores of a software adapter.
    piece: software ? tokens : attentionTile,
  }
  let usual = cut(found, 'attention', work, (splits) => tiling(splits, widest)).name
  const split = usual
  let last = (found.get(split) as () => Tiling)()
  const { splits } = last
  while (!software && tiles * splits * last.chunks < fullGrid && last.keys.rows > 1) {
    const narrower = tiling(splits, 2 * last.chunks)
    usual = `${split} by ${8 * narrower.keys.rows}`
    found.set(usual, () => narrower)
    last = narrower
  }
  return { found, usual }
}
