/**
 * What attention's forward and backward pass share. The rows of a head are its channels, with the T tokens side by
 * side. A head is gone through by 8 tokens of one's own at a time (queries, or keys), against all T others at once: a
 * column of scores [T][8] has the layout that a GEMM's right operand has, so what comes out of one product goes into
 * the next as it is, the softmax runs down columns, 8 of them in two vectors, and 32·T bytes are all that ever exists
 * of the T×T matrix. Left operands are packed once a head and block: by tokens ([channel][6 tokens], for scores) or by
 * channels ([token][6 channels], for sums over tokens).
 */
import { tile4x8, tile6x8 } from './gemm-tile'

@unmanaged
export class AttentionParams {
  /** [N, 3C, T] */
  qkv: usize
  /** [N, C, T] */
  out: usize
  /** [N, heads, T] */
  logsumexp: usize
  /** The cotangent of `out` and the gradient by `qkv`, backward. */
  dOut: usize
  dqkv: usize
  heads: i32
  /** Channels of a head. */
  width: i32
  tokens: i32
  /** Rows from head to head, and from queries to keys to values. */
  headStep: i32
  partStep: i32
  /** A unit is a block of one's own tokens, a multiple of 8, of a head; `each` units are a chunk. */
  units: i32
  each: i32
  blocks: i32
  blockTokens: i32
  /** How T tokens and a head's channels are cut into panels. */
  tokenSixes: i32
  tokenFours: i32
  channelSixes: i32
  channelFours: i32
  /** width^(-1/2) */
  scale: f32
}

/** Bytes of T tokens, or of a head's channels, padded to whole panels, times `times` floats. */
// @ts-ignore: decorator
@inline
export function panelBytes(sixes: i32, fours: i32, times: i32): usize {
  return <usize>((sixes * 6 + fours * 4) * times) << 2
}

/** c [rows][8] = the panels of `a` · `b` [k][8]. */
export function multiply(a: usize, sixes: i32, fours: i32, k: i32, b: usize, c: usize): void {
  for (let i = 0; i < sixes; i++) {
    tile6x8(a, b, k, c, 32, false)
    a += <usize>k * 24
    c += 192
  }
  for (let i = 0; i < fours; i++) {
    tile4x8(a, b, k, c, 32, false)
    a += <usize>k * 16
    c += 128
  }
}

/** Copies `count` floats, at most `wanted`, times `scale`, and fills up with zeros to `wanted`. */
// @ts-ignore: decorator
@inline
function copyScaled(source: usize, target: usize, wanted: i32, count: i32, scale: f32): void {
  for (let i = 0; i < wanted; i++)
    store<f32>(target + (<usize>i << 2), i < count ? load<f32>(source + (<usize>i << 2)) * scale : 0)
}

/** Panels [channel][6 or 4 tokens] of a head's rows from `source` on, times `scale`. */
export function packTokens(p: AttentionParams, source: usize, scale: f32, target: usize): void {
  const factor = f32x4.splat(scale)
  for (let c = 0; c < p.width; c++) {
    let from = source
    let at = target + <usize>c * 24
    let left = p.tokens
    for (let i = 0; i < p.tokenSixes; i++) {
      if (left >= 6) {
        v128.store(at, f32x4.mul(v128.load(from), factor))
        v128.store64_lane(at, f32x4.mul(v128.load64_zero(from, 16), factor), 0, 16)
      } else {
        copyScaled(from, at, 6, left, scale)
      }
      from += 24
      at += <usize>p.width * 24
      left -= 6
    }
    at -= <usize>c * 8
    for (let i = 0; i < p.tokenFours; i++) {
      if (left >= 4) v128.store(at, f32x4.mul(v128.load(from), factor))
      else copyScaled(from, at, 4, left, scale)
      from += 16
      at += <usize>p.width * 16
      left -= 4
    }
    source += <usize>p.tokens << 2
  }
}

/** Panels [token][6 or 4 channels] of a head's rows from `source` on. */
export function packChannels(p: AttentionParams, source: usize, target: usize): void {
  const end = source + (<usize>(p.width * p.tokens) << 2)
  for (let i = 0; i < p.channelSixes + p.channelFours; i++) {
    const rows: usize = i < p.channelSixes ? 6 : 4
    for (let row: usize = 0; row < rows; row++) {
      let at = target + (row << 2)
      for (let j = 0; j < p.tokens; j++) {
        store<f32>(at, source < end ? load<f32>(source + (<usize>j << 2)) : 0)
        at += rows << 2
      }
      source += <usize>p.tokens << 2
    }
    target += (<usize>p.tokens * rows) << 2
  }
}

/** A right operand [channel][8 tokens] of the `columns` tokens from `source` on, times `scale`. */
export function packOwn(p: AttentionParams, source: usize, columns: i32, scale: f32, target: usize): void {
  const factor = f32x4.splat(scale)
  for (let c = 0; c < p.width; c++) {
    if (columns == 8) {
      v128.store(target, f32x4.mul(v128.load(source), factor))
      v128.store(target, f32x4.mul(v128.load(source, 16), factor), 16)
    } else {
      copyScaled(source, target, 8, columns, scale)
    }
    source += <usize>p.tokens << 2
    target += 32
  }
}

/** Stores the `columns` tokens of the rows [channel][8] of a product, times a factor for each token. */
// @ts-ignore: decorator
@inline
export function storeOwn(
  p: AttentionParams, product: usize, factorA: v128, factorB: v128, columns: i32, target: usize
): void {
  for (let c = 0; c < p.width; c++) {
    const a = f32x4.mul(v128.load(product), factorA)
    const b = f32x4.mul(v128.load(product, 16), factorB)
    if (columns == 8) {
      v128.store(target, a)
      v128.store(target, b, 16)
    } else {
      v128.store(product, a)
      v128.store(product, b, 16)
      memory.copy(target, product, <usize>columns << 2)
    }
    product += 32
    target += <usize>p.tokens << 2
  }
}
