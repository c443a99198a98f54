import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface ReduceKeys {
  readonly kind: 'sum' | 'max'
  readonly by: 'thread' | 'workgroup'
  readonly keptRank: number
  readonly reducedRank: number
}

export const reduceWorkgroup = 64

export const reduceUniform = uniform({
  outputs: 'u32',
  /** Elements an output, and those of them that a workgroup adds: where that is not all, there are parts. */
  count: 'u32',
  range: 'u32',
  /** Of the axes, in the input. */
  keptExtent: 'u32[]',
  keptStride: 'u32[]',
  reducedExtent: 'u32[]',
  reducedStride: 'u32[]',
})

/**
 * Sum or maximum along axes, in one of two ways with the same bindings: `thread`, one lane an output element, for short
 * sums or many outputs (neighbouring lanes then read neighbouring elements when the innermost axis is kept); and
 * `workgroup`, 64 lanes an output element or a part of it, which add every 64th element each and meet in a tree in
 * workgroup memory. Parts are written as [parts, outputs], to be reduced by `thread`. Each order of addition is fixed,
 * so results repeat.
 *
 * Bindings: 0 the uniform, 1 the input, 2 the output.
 */
export function reduceShader({ kind, by, keptRank, reducedRank, ...rest }: ReduceKeys): string {
  noMore(rest)
  const axes = (rank: number): number[] => Array.from({ length: rank }, (_, a) => a)
  const offset = (name: 'kept' | 'reduced', rank: number): string => `fn ${name}_offset(index: u32) -> u32 {
  var rest = index;
  var offset = 0u;
  ${axes(rank)
    .reverse()
    .map((a) =>
      a === 0
        ? `return offset + rest * p.${name}Stride0;`
        : `offset += (rest % p.${name}Extent${a}) * p.${name}Stride${a}; rest = rest / p.${name}Extent${a};`,
    )
    .join('\n  ')}
}`
  return wgsl`
${reduceUniform.wgsl({ keptExtent: keptRank, keptStride: keptRank, reducedExtent: reducedRank, reducedStride: reducedRank })}
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

${offset('kept', keptRank)}
${offset('reduced', reducedRank)}

fn combine(a: f32, b: f32) -> f32 {
  #if ${kind === 'sum'}
  return a + b;
  #else
  return max(a, b);
  #endif
}

#if ${by === 'thread'}
@compute @workgroup_size(${reduceWorkgroup})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.x + id.y * groups.x * ${reduceWorkgroup}u;
  if (i >= p.outputs) { return; }
  let start = kept_offset(i);
  var total = x[start];
  for (var j = 1u; j < p.count; j++) { total = combine(total, x[start + reduced_offset(j)]); }
  y[i] = total;
}
#else
var<workgroup> partial: array<f32, ${reduceWorkgroup}>;

@compute @workgroup_size(${reduceWorkgroup})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  let index = group.x + group.y * groups.x;
  let i = index % p.outputs;
  let begin = index / p.outputs * p.range;
  if (begin >= p.count) { return; }
  let end = min(p.count, begin + p.range);
  let start = kept_offset(i);
  // Lanes beyond the end repeat the last element for a maximum and add nothing to a sum.
  var total = x[start + reduced_offset(min(begin + lane, end - 1u))];
  #if ${kind === 'sum'}
  total = select(0.0, total, begin + lane < end);
  #endif
  for (var j = begin + lane + ${reduceWorkgroup}u; j < end; j += ${reduceWorkgroup}u) { total = combine(total, x[start + reduced_offset(j)]); }
  partial[lane] = total;
  workgroupBarrier();
  for (var half = ${reduceWorkgroup / 2}u; half > 0u; half = half / 2u) {
    if (lane < half) { partial[lane] = combine(partial[lane], partial[lane + half]); }
    workgroupBarrier();
  }
  if (lane == 0u) { y[index] = partial[0]; }
}
#endif
`
}
