import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface CopyFlatKeys {
  readonly pieces: number
  readonly vec4: boolean
}

/** Pieces in one kernel: of eight buffers one is the output. */
export const maxPieces = 7

/** All in lanes. */
export const copyFlatUniform = uniform({
  /** Where the pieces end, laid one after another. */
  end: 'u32[]',
  /** Where each begins in its input and in the output, and that of the pieces before is taken off both. */
  from: 'u32[]',
  to: 'u32[]',
})

/**
 * Up to seven runs of elements, each from an input of its own to its place in one output: what joins many small tensors
 * in one kernel instead of one each. A lane moves one element or four, of the piece in whose part of the grid it is.
 * The words are moved as u32, so every type goes through unchanged.
 *
 * Bindings: 0 the uniform, 1.. the inputs, then the output.
 */
export function copyFlatShader({ pieces, vec4, ...rest }: CopyFlatKeys): string {
  noMore(rest)
  const list = Array.from({ length: pieces }, (_, k) => k)
  const type = vec4 ? 'vec4<u32>' : 'u32'
  // Offsets wrap around below 0, and back above it.
  const move = (k: number): string => `y[i + p.to${k}] = x${k}[i + p.from${k}];`
  return wgsl`
${copyFlatUniform.wgsl({ end: pieces, from: pieces, to: pieces })}
${list.map((k) => `@group(0) @binding(${k + 1}) var<storage, read> x${k}: array<${type}>;`).join('\n')}
@group(0) @binding(${pieces + 1}) var<storage, read_write> y: array<${type}>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.x + id.y * groups.x * 64u;
  ${list.map((k) => `if (i < p.end${k}) { ${move(k)} return; }`).join('\n  ')}
}
`
}
