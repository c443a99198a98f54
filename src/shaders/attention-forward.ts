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

/**
 * Multi-head attention, forward: out[c, i] = Σ_j softmax_j(q_i · k_j / sqrt(d)) v[c, j], tiles and lanes as in
 * `attention-tile.ts`, own tokens being queries. The softmax runs along (Milakov & Gimelshein 2018): of the keys so far
 * every query has the largest score and the sum of exponentials; when a tile has a larger score, sum and output are
 * scaled down. The maximum is shared by the 8 lanes of a query at every tile, the sum only at the end. guided-diffusion
 * multiplies q and k by d^(-1/4) each; the product is multiplied by d^(-1/2) here, which differs by rounding alone.
 *
 * Bindings: 0 the uniform, 1 qkv [N, 3C, T], 2 out [splits, N, C, T], 3 the logarithm of the sum of exponentials of the
 * scores [splits, N, heads, T], from which the backward pass recomputes the probabilities. Of splits each is normalised
 * as if its keys were all there are.
 */
export function attentionForward({ vector, rows, ...rest }: AttentionKeys): string {
  noMore(rest)
  return wgsl`
${attentionHead({ vector, rows }, ['qkv'], ['result', 'logsumexp'])}
var<workgroup> peaks: array<vec4<f32>, ${attentionThreads}>;

// Below every score that is a number, and above those of keys that do not exist.
const lowest = -1e38f;

@compute @workgroup_size(${attentionThreads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>) {
  ${attentionMain(rows)}
  var top = vec4<f32>(lowest);
  var total = vec4<f32>();
  for (var other = begin; other < end; other += 32u) {
    ${scores('s', 'qkv', 'q', 'qkv', 'k')}
    ${each(4, (j) => `s${j} = select(vec4<f32>(lowest), s${j} * p.scale, other + 4u * group + ${j}u < p.tokens);`)}
    peaks[lane] = max(max(s0, s1), max(s2, s3));
    workgroupBarrier();
    var newTop = top;
    for (var l = column; l < ${attentionThreads}u; l += 8u) { newTop = max(newTop, peaks[l]); }
    let shrink = exp(top - newTop);
    top = newTop;
    ${each(
      4,
      (j) => `s${j} = exp(s${j} - top);
    tile[8u * (4u * group + ${j}u) + column] = s${j};`,
    )}
    total = total * shrink + ((s0 + s1) + (s2 + s3));
    ${each(rows, (r) => `sum${r} *= shrink;`)}
    ${weighted(rows, 'qkv', 'v')}
  }
  workgroupBarrier();
  peaks[lane] = total;
  workgroupBarrier();
  total = vec4<f32>();
  for (var l = column; l < ${attentionThreads}u; l += 8u) { total += peaks[l]; }
  if (chunk == 0u && group == 0u) { store_logsumexp(part, own + 4u * column, top + log(total)); }
  ${storeSums(rows, 'result', 'part * p.width', '1 / total')}
}
`
}
