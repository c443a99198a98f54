/**
 * The backward pass of group norm, three kernels (the formulas stand in `tensor/ops/group-norm.ts`):
 *
 * 1. sums: A = Σ dv and B = Σ dv · xhat of every row. `lanes` is a power of two up to 64; a workgroup of 64 threads
 *    holds 64 / lanes rows, and the lanes of a row meet in a tree in workgroup memory.
 * 2. coefficients: per group Σ kA / m and Σ kB / m, k = weight · (1 + scale); one thread a group.
 * 3. data: dx = (k · dv − Σ kA / m − xhat · Σ kB / m) · inverse, threads as in the forward pass.
 *
 * Bindings: 0 the uniform, that of `group-norm-row.ts` for 1 and 3, then in order
 * 1. x, dy, statistics, weight, bias, scaleShift if asked for; A, B [N, C]
 * 2. A, B, weight, scaleShift if asked for; coefficients [N, groups, 2]
 * 3. x, dy, statistics, weight, bias, scaleShift if asked for, coefficients; dx
 */
import { groupNormRow, groupNormThreads, throughActivation, type GroupNormKeys } from './group-norm-row.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export function groupNormRowSums({ vector, scaleShift, silu, ...rest }: GroupNormKeys): string {
  noMore(rest)
  return wgsl`
${groupNormRow({ vector, scaleShift, silu }, ['x', 'dy', 'statistics', 'weight', 'bias', 'scaleShift', '+sumA', '+sumB'])}

var<workgroup> partial: array<vec2<f32>, ${groupNormThreads}>;

@compute @workgroup_size(${groupNormThreads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) grid: vec3<u32>) {
  let lane = local % p.lanes;
  let row = (wg.x + wg.y * grid.x) * (${groupNormThreads}u / p.lanes) + local / p.lanes;
  // Threads beyond the last row repeat it and store nothing.
  let own = min(row, p.rows - 1u);
  let r = rowOf(own);
  var a = V();
  var b = V();
  for (var i = lane; i < p.width; i += p.lanes) {
    let at = own * p.width + i;
    let xhat = (x[at] - r.mean) * r.inverse;
    let g = dy[at];
    ${throughActivation(silu)}
    a += dv;
    b += dv * xhat;
  }
  partial[local] = vec2<f32>(total(a), total(b));
  for (var half = p.lanes / 2u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lane < half) { partial[local] += partial[min(local + half, ${groupNormThreads - 1}u)]; }
  }
  if (lane > 0u || row >= p.rows) { return; }
  sumA[row] = partial[local].x;
  sumB[row] = partial[local].y;
}
`
}

export const groupNormCoefficientsUniform = uniform({
  /** Groups in all. */
  count: 'u32',
  channels: 'u32',
  groups: 'u32',
  /** m, of a group. */
  elements: 'f32',
})

export function groupNormCoefficients({ scaleShift, ...rest }: Pick<GroupNormKeys, 'scaleShift'>): string {
  noMore(rest)
  return wgsl`
${groupNormCoefficientsUniform.wgsl()}
@group(0) @binding(1) var<storage, read> sumA: array<f32>;
@group(0) @binding(2) var<storage, read> sumB: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
#if ${scaleShift}
@group(0) @binding(4) var<storage, read> scaleShift: array<f32>;
#endif
@group(0) @binding(${scaleShift ? 5 : 4}) var<storage, read_write> coefficients: array<vec2<f32>>;

@compute @workgroup_size(${groupNormThreads})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let i = id.x + id.y * grid.x * ${groupNormThreads}u;
  if (i >= p.count) { return; }
  let n = i / p.groups;
  let channels = p.channels / p.groups;
  let first = i % p.groups * channels;
  var sums = vec2<f32>();
  for (var c = first; c < first + channels; c++) {
    let at = n * p.channels + c;
#if ${scaleShift}
    let k = weight[c] * (1 + scaleShift[at + n * p.channels]);
#else
    let k = weight[c];
#endif
    sums += k * vec2<f32>(sumA[at], sumB[at]);
  }
  coefficients[i] = sums / p.elements;
}
`
}

export function groupNormData({ vector, scaleShift, silu, ...rest }: GroupNormKeys): string {
  noMore(rest)
  return wgsl`
${groupNormRow({ vector, scaleShift, silu }, ['x', 'dy', 'statistics', 'weight', 'bias', 'scaleShift', 'coefficients', '+dx'])}

@compute @workgroup_size(${groupNormThreads})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let thread = id.x + id.y * grid.x * ${groupNormThreads}u;
  let row = thread / p.lanes;
  if (row >= p.rows) { return; }
  let r = rowOf(row);
  let k = r.weight * r.scale;
  let a = coefficients[2 * r.group];
  let b = coefficients[2 * r.group + 1];
  for (var i = thread % p.lanes; i < p.width; i += p.lanes) {
    let at = row * p.width + i;
    let xhat = (x[at] - r.mean) * r.inverse;
    let g = dy[at];
    ${throughActivation(silu)}
    dx[at] = (k * dv - a - xhat * b) * r.inverse;
  }
}
`
}
