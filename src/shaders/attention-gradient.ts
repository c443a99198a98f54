import {
  attentionHead,
  attentionMain,
  attentionThreads,
  each,
  scores,
  storeSums,
  weighted,
  type AttentionKeys,
} from './attention-tile.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface AttentionGradientKeys extends AttentionKeys {
  readonly by: 'q' | 'k' | 'v'
}

/**
 * Attention, backward (Dao et al. 2022). The probabilities P = exp(s − logsumexp) are computed again tile by tile; with
 * dP[i, j] = Σ_c dOut[c, i] v[c, j] and delta_i = Σ_c dOut[c, i] out[c, i], the gradient by the scores is
 * dS = P · (dP − delta), and
 *
 *   dq[c, i] = Σ_j k[c, j] dS[i, j] / sqrt(d), dk[c, j] = Σ_i q[c, i] dS[i, j] / sqrt(d), dv[c,
 *   j] = Σ_i dOut[c, i] P[i, j].
 *
 * The three are one kernel under the key `by`: own tokens are queries for q and keys for k and v. That dk and dv
 * compute the scores twice costs 8 products instead of 7, and saves half the registers.
 *
 * Bindings: 0 the uniform, 1 qkv [N, 3C, T], 2 dOut [N, C, T], 3 logsumexp, 4 delta (both [N, heads, T]), 5 dqkv
 * [splits, N, 3C, T], of which each kernel writes its third.
 */
export function attentionGradient({ vector, rows, by, ...rest }: AttentionGradientKeys): string {
  noMore(rest)
  const queries = by === 'q'
  // A per-query value is a component of a vec4f where queries are own tokens, one of four numbers where they are
  // others.
  const at = (name: string, j: number): string => (queries ? name : `${name}[${j}]`)
  const where = queries ? 'own + 4u * column' : 'other + 4u * group'
  return wgsl`
${attentionHead({ vector, rows }, ['qkv', 'dOut', 'logsumexp', 'delta'], ['dqkv'])}

@compute @workgroup_size(${attentionThreads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>) {
  ${attentionMain(rows)}
  for (var other = begin; other < end; other += 32u) {
    ${queries ? scores('s', 'qkv', 'q', 'qkv', 'k') : scores('s', 'qkv', 'k', 'qkv', 'q')}
    let norm = load_logsumexp(line, ${where}, true);
    ${each(4, (j) => `s${j} = select(vec4<f32>(), exp(s${j} * p.scale - ${at('norm', j)}), other + 4u * group + ${j}u < p.tokens);`)}
#if ${by !== 'v'}
    ${queries ? scores('d', 'dOut', 'first', 'qkv', 'v') : scores('d', 'qkv', 'v', 'dOut', 'first')}
    let shift = load_delta(line, ${where}, true);
    ${each(4, (j) => `s${j} *= d${j} - ${at('shift', j)};`)}
#endif
    ${each(4, (j) => `tile[8u * (4u * group + ${j}u) + column] = s${j};`)}
    ${by === 'q' ? weighted(rows, 'qkv', 'k') : by === 'k' ? weighted(rows, 'qkv', 'q') : weighted(rows, 'dOut', 'first')}
  }
  ${storeSums(rows, 'dqkv', `(part - line) * 3u * p.width + ${by}`, by === 'v' ? '1' : 'p.scale')}
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
