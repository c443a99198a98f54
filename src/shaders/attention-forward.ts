import {
  attentionHead,
  attentionMain,
  attentionThreads,
  eachOwn,
  eachScore,
  eachSum,
  exists,
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
 * scaled down. The maximum is shared by the 8 lanes of a query at every tile, the sum only at the end, both through the
 * tile's memory. guided-diffusion multiplies q and k by d^(-1/4) each; the product is multiplied by d^(-1/2) here,
 * which differs by rounding alone.
 *
 * Bindings: 0 the uniform, 1 qkv [N, 3C, T], 2 out [splits, N, C, T], 3 the logarithm of the sum of exponentials of the
 * scores [splits, N, heads, T], from which the backward pass recomputes the probabilities. Of splits each is normalised
 * as if its keys were all there are.
 */
export function attentionForward({ vector, whole, own, other, rows, ...rest }: AttentionKeys): string {
  noMore(rest)
  const keys = { vector, whole, own, other, rows }
  const shared = (result: string, step: (other: string) => string): string => `
    for (var l = column; l < ${attentionThreads}u; l += 8u) {
      ${eachOwn(keys, (a) => `${result}${a} = ${step(`tile[l + ${attentionThreads * a}u]`).replaceAll('@', `${result}${a}`)};`)}
    }`
  return wgsl`
${attentionHead(keys, ['qkv'], ['result', 'logsumexp'])}
// Below every score that is a number, and above those of keys that do not exist.
const lowest = -1e38f;

@compute @workgroup_size(${attentionThreads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>) {
  ${attentionMain(keys)}
  ${eachOwn(keys, (a) => `var top${a} = vec4<f32>(lowest); var total${a} = vec4<f32>();`)}
  for (var other = begin; other < end; other += ${other}u) {
    ${scores(keys, 's', ['qkv', 'q'], ['qkv', 'k'])}
    ${eachOwn(keys, (a) => `var peak${a} = top${a};`)}
    ${eachScore(
      keys,
      (s, a, b, j) =>
        `s${s} = select(vec4<f32>(lowest), s${s} * p.scale, ${exists(keys, b, j)}); peak${a} = max(peak${a}, s${s});`,
    )}
    ${eachOwn(keys, (a) => `tile[lane + ${attentionThreads * a}u] = peak${a};`)}
    workgroupBarrier();
    ${shared('peak', (other) => `max(@, ${other})`)}
    ${eachOwn(keys, (a) => `let shrink${a} = exp(top${a} - peak${a}); top${a} = peak${a}; total${a} *= shrink${a};`)}
    ${eachScore(keys, (s, a) => `s${s} = exp(s${s} - top${a}); total${a} += s${s};`)}
    ${eachSum(keys, (sum, a) => `${sum} *= shrink${a};`)}
    ${weighted(keys, ['qkv', 'v'])}
  }
  workgroupBarrier();
  ${eachOwn(keys, (a) => `tile[lane + ${attentionThreads * a}u] = total${a}; total${a} = vec4<f32>();`)}
  workgroupBarrier();
  ${shared('total', (other) => `@ + ${other}`)}
  if (chunk == 0u && group == 0u) {
    ${eachOwn(keys, (a) => `store_logsumexp(part, own + 4u * column + ${32 * a}u, top${a} + log(total${a}));`)}
  }
  ${storeSums(keys, 'result', 'part * p.width', (a) => `1 / total${a}`)}
}
`
}
