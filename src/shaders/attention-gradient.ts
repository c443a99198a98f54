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
 * Bindings: 0 the uniform, 1 qkv [N, 3C, T], 2 dOut [N, C, T], 3 logsumexp, 4 delta (both [N, heads, T]), 5 dqkv, of
 * which each kernel writes its third.
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
  for (var other = 0u; other < p.tokens; other += 32u) {
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
  ${storeSums(rows, 'dqkv', by, by === 'v' ? '1' : 'p.scale')}
}
`
}

/** Tokens of all heads, T and d. */
export const attentionDeltaUniform = uniform({ count: 'u32', tokens: 'u32', width: 'u32' })

/**
 * delta [N, heads, T]: one lane a token, which walks the channels of its head; lanes run along T.
 * Bindings: 0 the uniform, 1 out, 2 dOut (both [N, C, T]), 3 delta.
 */
export function attentionDelta(): string {
  return wgsl`
${attentionDeltaUniform.wgsl()}
@group(0) @binding(1) var<storage, read> result: array<f32>;
@group(0) @binding(2) var<storage, read> dOut: array<f32>;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;

@compute @workgroup_size(${attentionThreads})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let i = id.x + id.y * grid.x * ${attentionThreads}u;
  if (i >= p.count) { return; }
  var at = i / p.tokens * p.width * p.tokens + i % p.tokens;
  var sum = 0f;
  for (var c = 0u; c < p.width; c++) {
    sum += result[at] * dOut[at];
    at += p.tokens;
  }
  delta[i] = sum;
}
`
}
