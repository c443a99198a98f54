/**
 * Decides how a head is cut into workgroups: tiles of tokens by chunks of channels, so that a wide head needs no more
 * registers than a narrow one. The backward pass first sums dOut · out a query, then has a kernel each for q, k and v:
 * every one of them writes its own rows, so none needs atomics. Where that leaves a GPU empty, the tokens that a
 * workgroup walks over are split, and the parts joined; where there are too few of them, the chunks are narrower.
 */
import { attentionForward } from '../../../shaders/attention-forward.ts'
import {
  attentionDelta,
  attentionDeltaUniform,
  attentionGradient,
  attentionParkedBytes,
} from '../../../shaders/attention-gradient.ts'
import { attentionJoin, attentionJoinThreads, attentionJoinUniform } from '../../../shaders/attention-join.ts'
import {
  attentionDepth,
  attentionMaxRows,
  attentionQuads,
  attentionThreads,
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
  const { software, maxGrid, workgroupBytes } = encoder.capabilities
  const kernel = ({ keys: wanted }: Tiling, by: 'q' | 'k' | 'v'): Pick<Dispatch, 'key' | 'code'> => {
    // By queries and keys there are two tiles of scores.
    const two = by !== 'v' && wanted.own === 64 && wanted.other === 64
    const parked = two && workgroupBytes >= attentionParkedBytes
    const keys: AttentionKeys = two && !parked ? { ...wanted, other: 32 } : wanted
    return {
      key: `attention-gradient ${by} ${nameOf(keys)}${parked ? ' parked' : ''}`,
      code: () => attentionGradient({ ...keys, by, parked }),
    }
  }
  const { tiling, grid, uniforms, splits } = chosen(encoder, 'attentionGrad', qkv, params, (t) => kernel(t, 'q'))
  const [n, channels, tokens] = out.shape
  const count = n * params.heads * tokens
  const delta = encoder.temporary(count * 4)
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

const nameOf = ({ vector, whole, own, other, rows }: AttentionKeys): string =>
  `${own}x${other} ${whole ? 'whole' : vector ? 'vector' : 'scalar'} ${rows}`

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
  const { found, usual } = tilings(lines, tokens, width, encoder.capabilities.software)
  const tilingOf = (name: string): Tiling => (found.get(name) as () => Tiling)()
  const choice = `${op} ${heads}x${width}x${tokens}x${n}`
  const tiling = tilingOf(encoder.choose(choice, [...found.keys()], usual, (name) => kernelOf(tilingOf(name))))
  const { keys, chunks, splits } = tiling
  const tiles = Math.ceil(tokens / keys.own)
  const total = lines * tiles * chunks * splits
  const [headStep, partStep] = newOrder ? [width, channels] : [3 * width, width]
  return {
    tiling,
    splits,
    uniforms: attentionUniform.words({
      ...{ total, heads, width, tokens, headStep, partStep, tiles, chunks, lines },
      range: Math.ceil(tokens / pieceOf(keys) / splits) * pieceOf(keys),
      scale: 1 / Math.sqrt(width),
    }),
    grid: linearGrid(total, encoder.capabilities.maxGrid),
  }
}

/** Other tokens that are not split. */
const pieceOf = ({ own, other }: Pick<AttentionKeys, 'own' | 'other'>): number => Math.max(own, other)

/**
 * The ways to cut so many heads, by name, and what does while nothing has been measured: the largest tiles of which
 * there are as many as multiprocessors, cut if need be, or else the smallest.
 *
 * A thread has 48 or 128 sums to keep it busy: as with the GEMM half as many threads fill a GPU as of other kernels.
 * Partial gradients of 32 tokens by 128 channels or 64 by 64 at most, and fewer than twice as many workgroups, are
 * 26 MB at most. Narrower chunks repeat the scores, and so are for heads of too few tokens to split, until every
 * multiprocessor has a workgroup.
 */
function tilings(
  lines: number,
  tokens: number,
  width: number,
  software: boolean,
): { found: ReadonlyMap<string, () => Tiling>; usual: string } {
  const found = new Map<string, () => Tiling>()
  const tiling = (tile: Pick<AttentionKeys, 'own' | 'other'>, splits: number, chunks: number): Tiling => {
    const rows = Math.ceil(width / chunks / 8)
    // The last: that lanes take turns in whole with what they stage.
    const fits = tokens % pieceOf(tile) === 0 && width % (8 * rows) === 0 && width % attentionDepth === 0
    const whole = !software && fits && (rows * attentionQuads(rows)) % 8 === 0
    const keys = { vector: tokens % 4 === 0, whole, ...tile, rows }
    return { keys, chunks: Math.ceil(width / rows / 8), splits }
  }
  const cuts = (own: 32 | 64, other: 32 | 64): { name: string; splits: number; chunks: number; full: boolean } => {
    const chunks = Math.ceil(width / (8 * attentionMaxRows(own)))
    const workgroups = lines * Math.ceil(tokens / own) * chunks
    const work = {
      workgroups,
      full: (fullGrid * 128) / attentionThreads,
      terms: tokens,
      // Any grid fills the few cores of a software adapter.
      piece: software ? tokens : pieceOf({ own, other }),
    }
    const { name } = cut(found, `attention ${own}x${other}`, work, (splits) => tiling({ own, other }, splits, chunks))
    const { splits } = (found.get(name) as () => Tiling)()
    return { name, splits, chunks, full: workgroups * splits >= fullGrid }
  }
  const small = cuts(32, 32)
  // Of fewer than 128 tokens most of the second tile is empty.
  if (!software && (tokens === 64 || tokens >= 128)) {
    const [large] = [cuts(64, 64), cuts(64, 32)]
    if (large.full) return { found, usual: large.name }
  }
  let usual = small.name
  let last = (found.get(usual) as () => Tiling)()
  while (!software && lines * Math.ceil(tokens / 32) * small.splits * last.chunks < fullGrid && last.keys.rows > 1) {
    const narrower = tiling({ own: 32, other: 32 }, small.splits, 2 * last.chunks)
    usual = `${small.name} by ${8 * narrower.keys.rows}`
    found.set(usual, () => narrower)
    last = narrower
  }
  return { found, usual }
}
