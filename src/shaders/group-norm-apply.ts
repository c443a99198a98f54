import { groupNormRow, groupNormThreads, sigmoidOf, type GroupNormKeys } from './group-norm-row.ts'
import { noMore, wgsl } from './template.ts'

/**
 * The second half of group norm: y = act((xhat · weight + bias) · (1 + scale) + shift), one read and
 * one write an element.
 *
 * Bindings: 0 the uniform, 1 x, 2 statistics [N, groups, 2], 3 weight, 4 bias, 5 scaleShift [N, 2C] if asked for, then
 * y. Rows, lanes and the uniform are those of `group-norm-row.ts`; a thread has about four steps.
 */
export function groupNormApply({ vector, scaleShift, silu, ...rest }: GroupNormKeys): string {
  noMore(rest)
  return wgsl`
${groupNormRow({ vector, scaleShift, silu }, ['x', 'statistics', 'weight', 'bias', 'scaleShift', '+y'])}

@compute @workgroup_size(${groupNormThreads})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let thread = id.x + id.y * grid.x * ${groupNormThreads}u;
  let row = thread / p.lanes;
  if (row >= p.rows) { return; }
  let r = rowOf(row);
  let factor = r.weight * r.scale;
  let offset = r.bias * r.scale + r.shift;
  for (var i = thread % p.lanes; i < p.width; i += p.lanes) {
    let at = row * p.width + i;
    let v = (x[at] - r.mean) * r.inverse * factor + offset;
#if ${silu}
    y[at] = v * (${sigmoidOf('v')});
#else
    y[at] = v;
#endif
  }
}
`
}
