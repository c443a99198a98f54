import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface SoftmaxKeys {
  readonly log: boolean
  readonly by: 'thread' | 'workgroup'
}

export const softmaxLanes = 64

export const softmaxUniform = uniform({ rows: 'u32', length: 'u32' })

/**
 * Softmax or its logarithm along rows. The row's maximum is subtracted first, so nothing overflows: the largest term of
 * the sum is exactly 1. Short rows have a lane each; long ones have a workgroup of 64 lanes, which meet in a tree in
 * workgroup memory for the maximum and the sum. The order of addition is fixed.
 *
 * Bindings: 0 the uniform, 1 x [rows, length], 2 y [rows, length].
 */
export function softmaxShader({ log, by, ...rest }: SoftmaxKeys): string {
  noMore(rest)
  const result = log ? 'x[at] - top - shift' : 'exp(x[at] - top) * shift'
  // What every element of the row is finished with, given the sum.
  const shift = log ? 'log(total)' : '1.0 / total'
  return wgsl`
${softmaxUniform.wgsl()}
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

#if ${by === 'thread'}
@compute @workgroup_size(${softmaxLanes})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let row = id.x + id.y * groups.x * ${softmaxLanes}u;
  if (row >= p.rows) { return; }
  let start = row * p.length;
  let end = start + p.length;
  var top = x[start];
  for (var at = start + 1u; at < end; at++) { top = max(top, x[at]); }
  var total = 0.0;
  for (var at = start; at < end; at++) { total += exp(x[at] - top); }
  let shift = ${shift};
  for (var at = start; at < end; at++) { y[at] = ${result}; }
}
#else
var<workgroup> partial: array<f32, ${softmaxLanes}>;

@compute @workgroup_size(${softmaxLanes})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3<u32>) {
  // Workgroups beyond the last row repeat it and store nothing.
  let row = group.x + group.y * groups.x;
  let start = min(row, p.rows - 1u) * p.length;
  let end = start + p.length;
  // Lanes beyond the row's end repeat its last element, which leaves the maximum as it is.
  var most = x[min(start + lane, end - 1u)];
  for (var at = start + lane; at < end; at += ${softmaxLanes}u) { most = max(most, x[at]); }
  partial[lane] = most;
  workgroupBarrier();
  for (var half = ${softmaxLanes / 2}u; half > 0u; half = half / 2u) {
    if (lane < half) { partial[lane] = max(partial[lane], partial[lane + half]); }
    workgroupBarrier();
  }
  let top = partial[0];
  workgroupBarrier();
  var sum = 0.0;
  for (var at = start + lane; at < end; at += ${softmaxLanes}u) { sum += exp(x[at] - top); }
  partial[lane] = sum;
  workgroupBarrier();
  for (var half = ${softmaxLanes / 2}u; half > 0u; half = half / 2u) {
    if (lane < half) { partial[lane] += partial[lane + half]; }
    workgroupBarrier();
  }
  if (row >= p.rows) { return; }
  let total = partial[0];
  let shift = ${shift};
  for (var at = start + lane; at < end; at += ${softmaxLanes}u) { y[at] = ${result}; }
}
#endif
`
}
