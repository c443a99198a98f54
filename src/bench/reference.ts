/**
 * Results in double precision at some places of an output: corners, and others spread over it. All of a large one would
 * take longer than every measurement; a kernel that is wrong is wrong at an edge or everywhere.
 */
import type { ConvolutionShape } from './shapes.ts'

/** The value at a place, and the sum of the absolute values of its terms, which rounding is relative to. */
export interface Exact {
  readonly value: number
  readonly scale: number
}

/** The first, the last, and `count` others, the same ones each time. */
export function places(size: number, count = 60): number[] {
  const found = new Set([0, size - 1])
  for (let i = 0, at = 1; i < count; i++) {
    at = (Math.imul(at, 1664525) + 1013904223) >>> 0
    found.add(at % size)
  }
  return [...found].filter((at) => at >= 0 && at < size)
}

/** The largest error at `at`, relative to the scale there; infinity for what is not finite anywhere. */
export function errorAt(output: Float32Array, at: readonly number[], exact: (index: number) => Exact): number {
  let worst = output.every(Number.isFinite) ? 0 : Infinity
  for (const index of at) {
    const { value, scale } = exact(index)
    worst = Math.max(worst, Math.abs(output[index] - value) / (scale + 1e-30))
  }
  return worst
}

function summed(terms: (add: (product: number) => void) => void): Exact {
  let [value, scale] = [0, 0]
  terms((product) => {
    value += product
    scale += Math.abs(product)
  })
  return { value, scale }
}

type Values = Float32Array

/** y[n, co, oy, ox] of x [n, cin, h, w] and weights [cout, cin, k, k]. */
export const convolved =
  ({ cin, cout, h, w, k }: ConvolutionShape, x: Values, weight: Values) =>
  (index: number): Exact =>
    summed((add) => {
      const [ox, oy] = [index % w, Math.floor(index / w) % h]
      const [co, n] = [Math.floor(index / (w * h)) % cout, Math.floor(index / (w * h * cout))]
      for (let ci = 0; ci < cin; ci++)
        for (let ky = 0; ky < k; ky++)
          for (let kx = 0; kx < k; kx++) {
            const [iy, ix] = [oy + ky - (k - 1) / 2, ox + kx - (k - 1) / 2]
            if (iy >= 0 && iy < h && ix >= 0 && ix < w)
              add(x[((n * cin + ci) * h + iy) * w + ix] * weight[((co * cin + ci) * k + ky) * k + kx])
          }
    })

/** dx of dy [n, cout, h, w]: the convolution with the weights turned round. */
export const dataGradient =
  ({ cin, cout, h, w, k }: ConvolutionShape, dy: Values, weight: Values) =>
  (index: number): Exact =>
    summed((add) => {
      const [x, y] = [index % w, Math.floor(index / w) % h]
      const [ci, n] = [Math.floor(index / (w * h)) % cin, Math.floor(index / (w * h * cin))]
      for (let co = 0; co < cout; co++)
        for (let ky = 0; ky < k; ky++)
          for (let kx = 0; kx < k; kx++) {
            const [oy, ox] = [y - ky + (k - 1) / 2, x - kx + (k - 1) / 2]
            if (oy >= 0 && oy < h && ox >= 0 && ox < w)
              add(dy[((n * cout + co) * h + oy) * w + ox] * weight[((co * cin + ci) * k + ky) * k + kx])
          }
    })

/** dw[co, ci, ky, kx]. */
export const weightGradient =
  ({ n: batch, cin, cout, h, w, k }: ConvolutionShape, x: Values, dy: Values) =>
  (index: number): Exact =>
    summed((add) => {
      const [kx, ky] = [index % k, Math.floor(index / k) % k]
      const [ci, co] = [Math.floor(index / (k * k)) % cin, Math.floor(index / (k * k * cin))]
      for (let n = 0; n < batch; n++)
        for (let oy = 0; oy < h; oy++)
          for (let ox = 0; ox < w; ox++) {
            const [iy, ix] = [oy + ky - (k - 1) / 2, ox + kx - (k - 1) / 2]
            if (iy >= 0 && iy < h && ix >= 0 && ix < w)
              add(dy[((n * cout + co) * h + oy) * w + ox] * x[((n * cin + ci) * h + iy) * w + ix])
          }
    })

/** C[m, n] of A [m, k] and B [k, n]. */
export const product =
  ({ n, k }: { readonly n: number; readonly k: number }, a: Values, b: Values) =>
  (index: number): Exact =>
    summed((add) => {
      const [row, column] = [Math.floor(index / n), index % n]
      for (let i = 0; i < k; i++) add(a[row * k + i] * b[i * n + column])
    })

/** out[n, head d + c, t] of qkv [n, 3 heads d, t], queries of all heads first. */
export const attended =
  ({ heads, d, t }: { readonly heads: number; readonly d: number; readonly t: number }, qkv: Values) =>
  (index: number): Exact => {
    const [query, channel] = [index % t, Math.floor(index / t) % (heads * d)]
    const [n, head] = [Math.floor(index / (t * heads * d)), Math.floor(channel / d)]
    const row = (part: number, c: number): number => (n * 3 * heads * d + part * heads * d + c) * t
    const scores = Array.from({ length: t }, (_, key) => {
      let score = 0
      for (let c = head * d; c < (head + 1) * d; c++) score += qkv[row(0, c) + query] * qkv[row(1, c) + key]
      return score / Math.sqrt(d)
    })
    const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity)
    const weights = scores.map((score) => Math.exp(score - largest))
    const all = weights.reduce((a, b) => a + b, 0)
    return summed((add) => weights.forEach((share, key) => add((share / all) * qkv[row(2, channel) + key])))
  }

/** silu of x normalised over the channels of a group and all positions, weight 1 and bias 0. */
export const normalised =
  ({ c, area, groups }: { readonly c: number; readonly area: number; readonly groups: number }, x: Values) =>
  (index: number): Exact => {
    const size = (c / groups) * area
    const first = Math.floor(index / size) * size
    let mean = 0
    for (let i = 0; i < size; i++) mean += x[first + i] / size
    let variance = 0
    for (let i = 0; i < size; i++) variance += (x[first + i] - mean) ** 2 / size
    const v = (x[index] - mean) / Math.sqrt(variance + 1e-5)
    return { value: v / (1 + Math.exp(-v)), scale: 1 + Math.abs(v) }
  }

/** softmax along rows. */
export const softened =
  ({ columns }: { readonly columns: number }, x: Values) =>
  (index: number): Exact => {
    const first = index - (index % columns)
    const row = x.subarray(first, first + columns)
    const largest = row.reduce((a, b) => Math.max(a, b), -Infinity)
    const value = Math.exp(x[index] - largest) / row.reduce((sum, v) => sum + Math.exp(v - largest), 0)
    return { value, scale: value }
  }

/**
 * dqkv of qkv, out, logsumexp [n, heads, t] and dOut: with p = exp(q·k / sqrt(d) − logsumexp) and
 * ds = p (dOut·v − dOut·out), dq = Σ ds k / sqrt(d), dk = Σ ds q / sqrt(d), dv = Σ p dOut.
 */
export const attentionGradient =
  (
    { heads, d, t }: { readonly heads: number; readonly d: number; readonly t: number },
    [qkv, out, logsumexp, dOut]: readonly Values[],
  ) =>
  (index: number): Exact => {
    const [token, row] = [index % t, Math.floor(index / t)]
    const [part, channel] = [Math.floor((row % (3 * heads * d)) / (heads * d)), row % (heads * d)]
    const [n, head] = [Math.floor(row / (3 * heads * d)), Math.floor(channel / d)]
    const at = (which: number, c: number): number => ((n * 3 + which) * heads * d + c) * t
    const to = (c: number): number => (n * heads * d + c) * t
    const probability = (query: number, key: number): number => {
      let score = 0
      for (let c = head * d; c < (head + 1) * d; c++) score += qkv[at(0, c) + query] * qkv[at(1, c) + key]
      return Math.exp(score / Math.sqrt(d) - logsumexp[(n * heads + head) * t + query])
    }
    const towards = (query: number, key: number): number => {
      let sum = 0
      for (let c = head * d; c < (head + 1) * d; c++)
        sum += dOut[to(c) + query] * (qkv[at(2, c) + key] - out[to(c) + query])
      return sum
    }
    return summed((add) => {
      for (let other = 0; other < t; other++) {
        const [query, key] = part === 0 ? [token, other] : [other, token]
        const p = probability(query, key)
        if (part === 2) add(p * dOut[to(channel) + query])
        else add((p * towards(query, key) * qkv[at(1 - part, channel) + other]) / Math.sqrt(d))
      }
    })
  }

/** dx of x, dy, statistics [n, groups, 2], weight and bias, by the equation at the head of `ops/group-norm.ts`. */
export const normGradient =
  (
    { c, area, groups }: { readonly c: number; readonly area: number; readonly groups: number },
    [x, dy, statistics, weight, bias]: readonly Values[],
  ) =>
  (index: number): Exact => {
    const size = (c / groups) * area
    const group = Math.floor(index / size)
    const [mean, inverse] = [statistics[2 * group], statistics[2 * group + 1]]
    const at = (i: number): readonly [kdv: number, normal: number] => {
      const channel = Math.floor(i / area) % c
      const normal = (x[i] - mean) * inverse
      const v = normal * weight[channel] + bias[channel]
      const sigmoid = 1 / (1 + Math.exp(-v))
      return [weight[channel] * dy[i] * sigmoid * (1 + v * (1 - sigmoid)), normal]
    }
    const [own, normal] = at(index)
    return summed((add) => {
      add(inverse * own)
      for (let i = group * size; i < (group + 1) * size; i++) {
        const [kdv, other] = at(i)
        add((-inverse * kdv) / size)
        add((-inverse * normal * kdv * other) / size)
      }
    })
  }
