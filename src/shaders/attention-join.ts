import { wgsl } from './template.ts'
import { uniform } from './uniform.ts'

/** Elements of the output, and how many parts there are of it; T and d. */
export const attentionJoinUniform = uniform({ count: 'u32', splits: 'u32', tokens: 'u32', width: 'u32' })

export const attentionJoinThreads = 64

/**
 * Joins what attention-forward.ts made of ranges of the keys. A part with L_s, the logarithm of its sum of
 * exponentials, weighs w_s = exp(L_s − max L) beside the others:
 *
 *   out[c, i] = Σ_s w_s out_s[c, i] / Σ_s w_s, L = max L + log Σ_s w_s.
 *
 * Bindings: 0 the uniform, 1 out of the parts [splits, N, C, T], 2 their L [splits, N, heads, T], 3 out [N, C, T],
 * 4 L [N, heads, T], which the threads of a head's first channel write. One thread an element of out.
 */
export function attentionJoin(): string {
  return wgsl`
${attentionJoinUniform.wgsl()}
@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read> logsumexps: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;
@group(0) @binding(4) var<storage, read_write> logsumexp: array<f32>;

@compute @workgroup_size(${attentionJoinThreads})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = id.x + id.y * grid.x * ${attentionJoinThreads};
  if (i >= p.count) { return; }
  let row = i / p.tokens;
  let at = row / p.width * p.tokens + i % p.tokens;
  let step = p.count / p.width;
  var top = logsumexps[at];
  for (var split = 1u; split < p.splits; split++) { top = max(top, logsumexps[at + split * step]); }
  var total = 0f;
  var sum = 0f;
  for (var split = 0u; split < p.splits; split++) {
    let weight = exp(logsumexps[at + split * step] - top);
    total += weight;
    sum += weight * parts[i + split * p.count];
  }
  result[i] = sum / total;
  if (row % p.width == 0) { logsumexp[at] = top + log(total); }
}
`
}
