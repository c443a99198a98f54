/**
 * Attention, backward (Dao et al. 2022). The probabilities P = exp(s − logsumexp) are computed again, column by column;
 * with dP[i, j] = Σ_c dOut[c, i] v[c, j] and delta_i = Σ_c dOut[c, i] out[c, i] the gradient by the scores is
 * dS = P · (dP − delta), and
 *
 *   dq[c, i] = Σ_j k[c, j] dS[i, j] / sqrt(d), dk[c, j] = Σ_i q[c, i] dS[i, j] / sqrt(d), dv[c,
 *   j] = Σ_i dOut[c, i] P[i, j].
 *
 * A unit of the first half of the work has queries of its own and writes their dq; one of the second half has keys, and
 * writes dk and dv. Both compute P and dP, so there are 7 products where 5 would do, but every unit writes its
 * own rows: heads can be cut among threads, and nothing of size T×T is kept. Scores come out as in the forward
 * pass, to the bit (the same products in the same order), so that P is right even where scores are so large that
 * an ulp is more than 1.
 */
import { AttentionParams, multiply, packChannels, packOwn, packTokens, panelBytes, storeOwn } from './attention-tile'
import { exp4 } from './exp'

/** Scratch: as the launch of attentionGrad counts it. */
export function attentionGrad(p: AttentionParams, chunk: i32, scratch: usize): void {
  const rowBytes = <usize>p.tokens << 2
  const byTokens = panelBytes(p.tokenSixes, p.tokenFours, p.width)
  const byChannels = panelBytes(p.channelSixes, p.channelFours, p.tokens)
  const a = scratch
  const b = a + byTokens
  const c = b + byTokens
  const d = c + byChannels
  const own = d + byChannels
  const s = own + (<usize>p.width << 5)
  const dP = s + panelBytes(p.tokenSixes, p.tokenFours, 8)
  const product = dP + panelBytes(p.tokenSixes, p.tokenFours, 8)
  const delta = product + panelBytes(p.channelSixes, p.channelFours, 8)
  const scale = f32x4.splat(p.scale)
  const one = f32x4.splat(1)
  const half = p.units >> 1
  const end = min((chunk + 1) * p.each, p.units)
  let packed = -1
  for (let unit = chunk * p.each; unit < end; unit++) {
    const ownKeys = unit >= half
    const at = ownKeys ? unit - half : unit
    const line = at / p.blocks
    const n = line / p.heads
    const part = <usize>p.partStep * rowBytes
    const head = <usize>(n * 3 * p.heads * p.width + (line - n * p.heads) * p.headStep) * rowBytes
    const q = p.qkv + head
    const k = q + part
    const v = k + part
    const dOut = p.dOut + <usize>(line * p.width) * rowBytes
    const logsumexp = p.logsumexp + <usize>line * rowBytes
    const dq = p.dqkv + head
    const id = line + (ownKeys ? p.units : 0)
    if (packed != id) {
      packed = id
      deltas(p, p.out + <usize>(line * p.width) * rowBytes, dOut, delta)
      if (ownKeys) {
        packTokens(p, q, p.scale, a)
        packTokens(p, dOut, 1, b)
        packChannels(p, q, c)
        packChannels(p, dOut, d)
      } else {
        packTokens(p, k, 1, a)
        packTokens(p, v, 1, b)
        packChannels(p, k, c)
      }
    }
    const first = (at - line * p.blocks) * p.blockTokens
    const last = min(first + p.blockTokens, p.tokens)
    for (let i = first; i < last; i += 8) {
      const columns = min(8, last - i)
      const offset = <usize>i << 2
      packOwn(p, (ownKeys ? k : q) + offset, columns, ownKeys ? 1 : p.scale, own)
      multiply(a, p.tokenSixes, p.tokenFours, p.width, own, s)
      packOwn(p, (ownKeys ? v : dOut) + offset, columns, 1, own)
      multiply(b, p.tokenSixes, p.tokenFours, p.width, own, dP)
      if (ownKeys) {
        probabilitiesOfKeys(s, p.tokens, logsumexp)
        multiply(d, p.channelSixes, p.channelFours, p.tokens, s, product)
        storeOwn(p, product, one, one, columns, dq + 2 * part + offset)
        gradientOfKeys(s, dP, p.tokens, delta)
      } else {
        gradientOfQueries(s, dP, p.tokens, logsumexp + offset, delta + offset, columns, product)
      }
      multiply(c, p.channelSixes, p.channelFours, p.tokens, s, product)
      storeOwn(p, product, scale, scale, columns, dq + (ownKeys ? part : 0) + offset)
    }
  }
}

/** delta [T]: the sum over channels of out · dOut. */
function deltas(p: AttentionParams, out: usize, dOut: usize, delta: usize): void {
  const bytes = <usize>p.tokens << 2
  memory.fill(delta, 0, bytes)
  for (let c = 0; c < p.width; c++) {
    let i: usize = 0
    for (; i + 16 <= bytes; i += 16) {
      v128.store(delta + i, f32x4.add(v128.load(delta + i), f32x4.mul(v128.load(out + i), v128.load(dOut + i))))
    }
    for (; i < bytes; i += 4) store<f32>(delta + i, load<f32>(delta + i) + load<f32>(out + i) * load<f32>(dOut + i))
    out += bytes
    dOut += bytes
  }
}

/** Rows are keys, columns queries: s = exp(s − logsumexp) · (dP − delta). `buffer` is for 16 floats. */
function gradientOfQueries(
  s: usize, dP: usize, rows: i32, logsumexp: usize, delta: usize, columns: i32, buffer: usize
): void {
  memory.fill(buffer, 0, 64)
  memory.copy(buffer, logsumexp, <usize>columns << 2)
  memory.copy(buffer + 32, delta, <usize>columns << 2)
  const normA = v128.load(buffer)
  const normB = v128.load(buffer, 16)
  const deltaA = v128.load(buffer, 32)
  const deltaB = v128.load(buffer, 48)
  for (const end = s + (<usize>rows << 5); s < end; s += 32) {
    const a = exp4(f32x4.sub(v128.load(s), normA))
    const b = exp4(f32x4.sub(v128.load(s, 16), normB))
    v128.store(s, f32x4.mul(a, f32x4.sub(v128.load(dP), deltaA)))
    v128.store(s, f32x4.mul(b, f32x4.sub(v128.load(dP, 16), deltaB)), 16)
    dP += 32
  }
}

/** Rows are queries, columns keys: s = exp(s − logsumexp). */
function probabilitiesOfKeys(s: usize, rows: i32, logsumexp: usize): void {
  for (const end = s + (<usize>rows << 5); s < end; s += 32) {
    const norm = v128.load32_splat(logsumexp)
    v128.store(s, exp4(f32x4.sub(v128.load(s), norm)))
    v128.store(s, exp4(f32x4.sub(v128.load(s, 16), norm)), 16)
    logsumexp += 4
  }
}

/** s = s · (dP − delta). */
function gradientOfKeys(s: usize, dP: usize, rows: i32, delta: usize): void {
  for (const end = s + (<usize>rows << 5); s < end; s += 32) {
    const shift = v128.load32_splat(delta)
    v128.store(s, f32x4.mul(v128.load(s), f32x4.sub(v128.load(dP), shift)))
    v128.store(s, f32x4.mul(v128.load(s, 16), f32x4.sub(v128.load(dP, 16), shift)), 16)
    dP += 32
    delta += 4
  }
}
