/** Ops in float64 on the host, as plainly as can be: what kernels are held against. */
import type { AttentionOptions } from '../src/tensor/ops/attention.ts'
import { at, eachIndex, host, type Host } from './op.ts'

/** Row of channel c of part 0 (q), 1 (k) or 2 (v) of a head. */
export const rowOf = (
  { heads, newOrder }: AttentionOptions,
  channels: number,
  part: number,
  h: number,
  c: number,
): number => {
  const d = channels / heads
  return newOrder ? part * channels + h * d + c : h * 3 * d + part * d + c
}

/** As guided-diffusion writes it, in float64: q and k are multiplied by d^(-1/4) each. */
export const attended =
  (options: AttentionOptions) =>
  (qkv: Host): Host => {
    const [n, rows, tokens] = qkv.shape
    const channels = rows / 3
    const d = channels / options.heads
    const scale = d ** -0.25
    const out = host([n, channels, tokens])
    const scores = new Float64Array(tokens)
    for (let b = 0; b < n; b++) {
      for (let h = 0; h < options.heads; h++) {
        const part = (which: number): Float64Array[] =>
          Array.from({ length: d }, (_, c) => {
            const start = (b * rows + rowOf(options, channels, which, h, c)) * tokens
            return qkv.data.slice(start, start + tokens).map((v) => (which < 2 ? v * scale : v))
          })
        const [q, k, v] = [part(0), part(1), part(2)]
        for (let i = 0; i < tokens; i++) {
          scores.fill(0)
          for (let c = 0; c < d; c++) for (let j = 0; j < tokens; j++) scores[j] += q[c][i] * k[c][j]
          const top = scores.reduce((a, s) => Math.max(a, s), -Infinity)
          const total = scores.reduce((a, s, j) => a + (scores[j] = Math.exp(s - top)), 0)
          for (let c = 0; c < d; c++) {
            out.data[(b * channels + h * d + c) * tokens + i] = v[c].reduce((a, x, j) => a + x * scores[j], 0) / total
          }
        }
      }
    }
    return out
  }

/** With zeros around x, and a bias a channel. */
export const convolved =
  ({ stride = 1, padding = 0 }: { stride?: number; padding?: number | readonly [number, number] }) =>
  (x: Host, weight: Host, bias?: Host): Host => {
    const [padY, padX] = typeof padding === 'number' ? [padding, padding] : padding
    const [n, cin, h, w] = x.shape
    const [cout, , kh, kw] = weight.shape
    const [ho, wo] = [Math.floor((h + 2 * padY - kh) / stride) + 1, Math.floor((w + 2 * padX - kw) / stride) + 1]
    const out = host([n, cout, ho, wo])
    for (let b = 0, at = 0; b < n; b++) {
      for (let co = 0; co < cout; co++) {
        for (let oy = 0; oy < ho; oy++) {
          for (let ox = 0; ox < wo; ox++, at++) {
            let sum = bias ? bias.data[co] : 0
            for (let ci = 0; ci < cin; ci++) {
              for (let ky = 0; ky < kh; ky++) {
                const y = oy * stride - padY + ky
                if (y < 0 || y >= h) continue
                for (let kx = 0; kx < kw; kx++) {
                  const xx = ox * stride - padX + kx
                  if (xx >= 0 && xx < w)
                    sum +=
                      x.data[((b * cin + ci) * h + y) * w + xx] * weight.data[((co * cin + ci) * kh + ky) * kw + kx]
                }
              }
            }
            out.data[at] = sum
          }
        }
      }
    }
    return out
  }

export const transposed = (shape: readonly number[], flag: boolean): number[] =>
  flag ? [...shape.slice(0, -2), shape[shape.length - 1], shape[shape.length - 2]] : [...shape]

/** C[..., i, j] = sum over k of A[..., i, k] B[..., k, j] with either stored transposed; batch axes broadcast. */
export const product =
  (ta: boolean, tb: boolean) =>
  (a: Host, b: Host): Host => {
    const left = transposed(a.shape, ta)
    const right = transposed(b.shape, tb)
    const rank = Math.max(left.length, right.length) - 2
    const batch = Array.from({ length: rank }, (_, i) =>
      Math.max(left[left.length - 2 - rank + i] ?? 1, right[right.length - 2 - rank + i] ?? 1),
    )
    const k = left[left.length - 1]
    const out = host([...batch, left[left.length - 2], right[right.length - 1]])
    eachIndex(out.shape, (index, flat) => {
      const lead = index.slice(0, rank)
      const [i, j] = index.slice(rank)
      for (let l = 0; l < k; l++) {
        out.data[flat] +=
          a.data[at(a.shape, [...lead, ...(ta ? [l, i] : [i, l])])] *
          b.data[at(b.shape, [...lead, ...(tb ? [j, l] : [l, j])])]
      }
    })
    return out
  }
