import { fold } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

/** What is added to the sums before they are stored. */
export interface Epilogue {
  readonly bias: boolean
  readonly residual: boolean
}

export const sumSplitsUniform = uniform({
  /** Elements of the result. */
  count: 'u32',
  splits: 'u32',
  /** Elements of a channel, and channels: element i belongs to channel i / area % channels, whose bias it is given. */
  area: 'u32',
  channels: 'u32',
})

/**
 * Adds the partial sums of a kernel whose work was cut into splits, in order, then what the kernel itself would have
 * added: out[i] = Σ_split partial[split·count + i] + bias[channel of i] + residual[i].
 *
 * Bindings: 0 the uniform, partial [splits,count], bias [channels] and residual [count] if asked for, out [count]. One
 * thread an element, folded over x and z.
 */
export function sumSplitsShader({ bias, residual, ...rest }: Epilogue): string {
  noMore(rest)
  return wgsl`
${sumSplitsUniform.wgsl()}
@group(0) @binding(1) var<storage, read> partial: array<f32>;
#if ${bias}
@group(0) @binding(2) var<storage, read> bias: array<f32>;
#endif
#if ${residual}
@group(0) @binding(${bias ? 3 : 2}) var<storage, read> residual: array<f32>;
#endif
@group(0) @binding(${2 + Number(bias) + Number(residual)}) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) t: u32) {
  let i = (wg.z * grid.x + wg.x) * 64 + t;
  if (i >= p.count) { return; }
  var sum = 0f;
  for (var split = 0u; split < p.splits; split++) { sum += partial[split * p.count + i]; }
#if ${bias}
  sum += bias[i / p.area % p.channels];
#endif
#if ${residual}
  sum += residual[i];
#endif
  out[i] = sum;
}
`
}

export function sumSplitsGrid(count: number): [number, number, number] {
  const { x, z } = fold(Math.ceil(count / 64))
  return [x, 1, z]
}
