import {
  attentionHead,
  attentionMain,
  attentionThreads,
  eachOwn,
  eachScore,
  exists,
  scores,
  storeSums,
  weighted,
  type AttentionKeys,
} from './attention-tile.ts'
import { lines } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface AttentionGradientKeys extends AttentionKeys {
  readonly by: 'q' | 'k' | 'v'
  /** Whether probabilities lie in workgroup memory, not in registers, while the second scores are computed. */
  readonly parked: boolean
}

/** Workgroup memory of a kernel that parks: the stage, and one tile. */
export const attentionParkedBytes = 24 * 1024

/**
 * Attention, backward (Dao et al. 2022). The probabilities P = exp(s − logsumexp) are computed again tile by tile; with
 * dP[i, j] = Σ_c dOut[c, i] v[c, j] and delta_i = Σ_c dOut[c, i] out[c, i], the gradient by the scores is
 * dS = P · (dP − delta), and
 *
 *   dq[c, i] = Σ_j k[c, j] dS[i, j] / sqrt(d), dk[c, j] = Σ_i q[c, i] dS[i, j] / sqrt(d), dv[c,
 *   j] = Σ_i dOut[c, i] P[i, j].
 *
 * The three are one kernel under the key `by`: own tokens are queries for q and keys for k and v. That dk and dv
 * compute the scores twice costs 8 products instead of 7, and saves half the registers. Two tiles of 64 × 64 and the
 * sums are 192 registers of a lane: one of them is `parked`, which takes 16 KiB beside the 8 of the stage.
 *
 * Bindings: 0 the uniform, 1 qkv [N, 3C, T], 2 dOut [N, C, T], 3 logsumexp, 4 delta (both [N, heads, T]), 5 dqkv
 * [splits, N, 3C, T], of which each kernel writes its third.
 */
export function attentionGradient(all: AttentionGradientKeys): string {
  const { vector, whole, own, other, rows, by, parked, ...rest } = all
  noMore(rest)
  const keys = { vector, whole, own, other, rows }
  const queries = by === 'q'
  // A per-query value is a component of a vec4f where queries are own tokens, one of four numbers where they are
  // others.
  const values = (name: string, from: string): string =>
    queries
      ? eachOwn(keys, (a) => `let ${name}${a} = load_${from}(line, own + 4u * column + ${32 * a}u, true);`)
      : lines(other / 32, (b) => `let ${name}${b} = load_${from}(line, other + 4u * group + ${32 * b}u, true);`)
  const at = (name: string, a: number, b: number, j: number): string => (queries ? `${name}${a}` : `${name}${b}[${j}]`)
  const park = (a: number, b: number, j: number): string =>
    `tile[lane + ${attentionThreads * (((b * 4 + j) * own) / 32 + a)}u]`
  return wgsl`
${attentionHead(keys, ['qkv', 'dOut', 'logsumexp', 'delta'], ['dqkv'], parked)}

@compute @workgroup_size(${attentionThreads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>) {
  ${attentionMain(keys)}
  for (var other = begin; other < end; other += ${other}u) {
    ${parked ? '{' : ''}
    ${queries ? scores(keys, 's', ['qkv', 'q'], ['qkv', 'k']) : scores(keys, 's', ['qkv', 'k'], ['qkv', 'q'])}
    ${values('norm', 'logsumexp')}
    ${eachScore(
      keys,
      (s, a, b, j) =>
        `${parked ? park(a, b, j) : `s${s}`} = select(vec4<f32>(), exp(s${s} * p.scale - ${at('norm', a, b, j)}), ${exists(keys, b, j)});`,
    )}
    ${parked ? '}' : ''}
#if ${by !== 'v'}
    ${queries ? scores(keys, 'd', ['dOut', 'first'], ['qkv', 'v']) : scores(keys, 'd', ['qkv', 'v'], ['dOut', 'first'])}
    ${values('shift', 'delta')}
    ${eachScore(keys, (s, a, b, j) => {
      const shifted = `(d${s} - ${at('shift', a, b, j)})`
      return parked ? `let s${s} = ${park(a, b, j)} * ${shifted};` : `s${s} *= ${shifted};`
    })}
#endif
    ${weighted(keys, by === 'q' ? ['qkv', 'k'] : by === 'k' ? ['qkv', 'q'] : ['dOut', 'first'])}
  }
  ${storeSums(keys, 'dqkv', `(part - line) * 3u * p.width + ${by}`, () => (by === 'v' ? '1' : 'p.scale'))}
}
`
}

/** Tokens of all heads, T and d; lanes that share a token, a power of two up to a workgroup. */
export const attentionDeltaUniform = uniform({ count: 'u32', tokens: 'u32', width: 'u32', lanes: 'u32' })

/**
 * delta [N, heads, T]: some lanes a token, which take turns with the channels of its head, and whose sums are added in
 * their order; neighbours run along T.
 * Bindings: 0 the uniform, 1 out, 2 dOut (both [N, C, T]), 3 delta.
 */
export function attentionDelta(): string {
  return wgsl`
${attentionDeltaUniform.wgsl()}
@group(0) @binding(1) var<storage, read> result: array<f32>;
@group(0) @binding(2) var<storage, read> dOut: array<f32>;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;

var<workgroup> sums: array<f32, ${attentionThreads}>;

@compute @workgroup_size(${attentionThreads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>) {
  let side = ${attentionThreads}u / p.lanes;
  let i = (wg.x + wg.y * grid.x) * side + lane % side;
  var sum = 0f;
  if (i < p.count) {
    let at = i / p.tokens * p.width * p.tokens + i % p.tokens;
    for (var c = lane / side; c < p.width; c += p.lanes) { sum += result[at + c * p.tokens] * dOut[at + c * p.tokens]; }
  }
  sums[lane] = sum;
  workgroupBarrier();
  if (lane >= side || i >= p.count) { return; }
  for (var l = lane + side; l < ${attentionThreads}u; l += side) { sum += sums[l]; }
  delta[i] = sum;
}
`
}
