import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface CopyKeys {
  readonly rank: number
  readonly vec4: boolean
}

/** All in lanes. */
export const copyUniform = uniform({
  lanes: 'u32',
  /** Where the box begins in the input and in the output. */
  fromStart: 'u32',
  toStart: 'u32',
  /** Of the axes; their strides in the input and in the output. */
  extent: 'u32[]',
  from: 'u32[]',
  to: 'u32[]',
})

/**
 * A strided copy of a box, the one kernel behind permute, slice, pad and concat: one element a lane, or four where both
 * sides walk the innermost axis in steps of one and everything else in multiples of four. The words are moved as u32,
 * so every type goes through unchanged.
 *
 * Bindings: 0 the uniform, 1 the input, 2 the output.
 */
export function copyShader({ rank, vec4, ...rest }: CopyKeys): string {
  noMore(rest)
  const axes = Array.from({ length: rank }, (_, a) => a)
  const type = vec4 ? 'vec4<u32>' : 'u32'
  return wgsl`
${copyUniform.wgsl({ extent: rank, from: rank, to: rank })}
@group(0) @binding(1) var<storage, read> x: array<${type}>;
@group(0) @binding(2) var<storage, read_write> y: array<${type}>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= p.lanes) { return; }
  var rest = i;
  var source = p.fromStart;
  var sink = p.toStart;
  ${[...axes]
    .reverse()
    .map((a) =>
      a === 0
        ? 'source += rest * p.from0; sink += rest * p.to0;'
        : `source += (rest % p.extent${a}) * p.from${a}; sink += (rest % p.extent${a}) * p.to${a}; rest = rest / p.extent${a};`,
    )
    .join('\n  ')}
  y[sink] = x[source];
}
`
}
