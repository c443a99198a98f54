/**
 * Multi-head attention, forward: out[c, i] = Σ_j softmax_j(q_i · k_j / sqrt(d)) v[c, j], 8 queries at a time as in
 * `attention-tile.ts`. guided-diffusion multiplies q and k by d^(-1/4) each; here q is multiplied by d^(-1/2), which
 * differs by rounding alone. Beside the result it keeps the logarithm of the sum of exponentials of
 * every query's scores.
 */
import { AttentionParams, multiply, packChannels, packOwn, packTokens, panelBytes, storeOwn } from './attention-tile'
import { exp4 } from './exp'

/** Natural logarithm of a number of 1 or more; relative error below 2e-7 where it is not near 0. */
function log1(x: f32): f32 {
  // x = 2^n · m with m in [sqrt(1/2), sqrt(2)), and log m = 2 artanh(s) with s = (m − 1) / (m + 1), |s| < 0.172.
  const bits = reinterpret<i32>(x)
  if (!(x < Infinity)) return x
  const n = (bits - 0x3f3504f3) >> 23
  const m = reinterpret<f32>(bits - (n << 23))
  const s = (m - 1) / (m + 1)
  const t = s * s
  return <f32>n * 0.69314718 + 2 * s * (1 + t * (0.33333333 + t * (0.2 + t * (0.14285714 + t * 0.11111111))))
}

/** Scratch: as the launch of attention counts it. */
export function attention(p: AttentionParams, chunk: i32, scratch: usize): void {
  const rowBytes = <usize>p.tokens << 2
  const keys = scratch
  const values = keys + panelBytes(p.tokenSixes, p.tokenFours, p.width)
  const own = values + panelBytes(p.channelSixes, p.channelFours, p.tokens)
  const scores = own + (<usize>p.width << 5)
  const product = scores + panelBytes(p.tokenSixes, p.tokenFours, 8)
  const end = min((chunk + 1) * p.each, p.units)
  let packed = -1
  for (let unit = chunk * p.each; unit < end; unit++) {
    const line = unit / p.blocks
    const n = line / p.heads
    const q = p.qkv + <usize>(n * 3 * p.heads * p.width + (line - n * p.heads) * p.headStep) * rowBytes
    const k = q + <usize>p.partStep * rowBytes
    if (packed != line) {
      packTokens(p, k, 1, keys)
      packChannels(p, k + <usize>p.partStep * rowBytes, values)
      packed = line
    }
    const first = (unit - line * p.blocks) * p.blockTokens
    const last = min(first + p.blockTokens, p.tokens)
    const out = p.out + <usize>(line * p.width) * rowBytes
    const logsumexp = p.logsumexp + <usize>line * rowBytes
    for (let i = first; i < last; i += 8) {
      const columns = min(8, last - i)
      const offset = <usize>i << 2
      packOwn(p, q + offset, columns, p.scale, own)
      multiply(keys, p.tokenSixes, p.tokenFours, p.width, own, scores)
      softmaxColumns(scores, p.tokens, product)
      const totalA = v128.load(product)
      const totalB = v128.load(product, 16)
      for (let c: usize = 0; c < <usize>columns << 2; c += 4) {
        store<f32>(logsumexp + offset + c, load<f32>(product + c, 32) + log1(load<f32>(product + c)))
      }
      multiply(values, p.channelSixes, p.channelFours, p.tokens, scores, product)
      const one = f32x4.splat(1)
      storeOwn(p, product, f32x4.div(one, totalA), f32x4.div(one, totalB), columns, out + offset)
    }
  }
}

/** Makes scores [rows][8] exp(score − the column's maximum); leaves each column's sum and maximum, 8 floats each. */
function softmaxColumns(scores: usize, rows: i32, sums: usize): void {
  const end = scores + (<usize>rows << 5)
  let topA = v128.load(scores)
  let topB = v128.load(scores, 16)
  for (let at = scores; at < end; at += 32) {
    topA = f32x4.max(topA, v128.load(at))
    topB = f32x4.max(topB, v128.load(at, 16))
  }
  let totalA = f32x4.splat(0)
  let totalB = f32x4.splat(0)
  let at = scores
  while (at < end) {
    // Sums of 64 rows each: with thousands of tokens a single sum would round too often.
    const stop = min(at + 2048, end)
    let sumA = f32x4.splat(0)
    let sumB = f32x4.splat(0)
    for (; at < stop; at += 32) {
      const a = exp4(f32x4.sub(v128.load(at), topA))
      const b = exp4(f32x4.sub(v128.load(at, 16), topB))
      v128.store(at, a)
      v128.store(at, b, 16)
      sumA = f32x4.add(sumA, a)
      sumB = f32x4.add(sumB, b)
    }
    totalA = f32x4.add(totalA, sumA)
    totalB = f32x4.add(totalB, sumB)
  }
  v128.store(sums, totalA)
  v128.store(sums, totalB, 16)
  v128.store(sums, topA, 32)
  v128.store(sums, topB, 48)
}
