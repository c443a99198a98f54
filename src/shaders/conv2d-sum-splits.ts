import { fold } from './conv2d-shape.ts'
import { wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export const conv2dSumSplitsUniform = uniform({ count: 'u32', splits: 'u32' })

/**
 * Adds the partial weight gradients of conv2d-weight-gradient.ts in order: out[i] = Σ_split partial[split·count + i].
 *
 * Bindings: 0 the uniform, partial [splits,count], out [count]. One thread an element, folded over x and z.
 */
export function conv2dSumSplits(): string {
  return wgsl`
${conv2dSumSplitsUniform.wgsl()}
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) t: u32) {
  let i = (wg.z * grid.x + wg.x) * 64 + t;
  if (i >= p.count) { return; }
  var sum = 0f;
  for (var split = 0u; split < p.splits; split++) { sum += partial[split * p.count + i]; }
  out[i] = sum;
}
`
}

export function conv2dSumSplitsGrid(count: number): [number, number, number] {
  const { x, z } = fold(Math.ceil(count / 64))
  return [x, 1, z]
}
