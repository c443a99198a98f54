import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface AdamWKeys {
  /** Whether the weights are updated, or only averaged. */
  readonly update: boolean
  /** Whether the gradient is multiplied by a number in a buffer. */
  readonly scaled: boolean
  /** How many averages. */
  readonly averages: number
  readonly vec4: boolean
}

export const adamWUniform = uniform({
  lanes: 'u32',
  decay: 'f32',
  rate: 'f32',
  correction: 'f32',
  eps: 'f32',
  beta1: 'f32',
  rest1: 'f32',
  beta2: 'f32',
  rest2: 'f32',
  /** Of the averages. */
  keep: 'f32[]',
  take: 'f32[]',
})

/**
 * One update of AdamW in place, whatever the tensors are that lie one after another in its buffers: every element is
 * read and written once, by a lane of its own, or in fours. What it computes is in `tensor/ops/adamw.ts`.
 *
 * Bindings: 0 the uniform; to update, 1 the gradient, then, scaled, its factor; then the weights, which are read only
 * where they are not updated; to update, both moments; then the averages.
 */
export function adamWShader({ update, scaled, averages, vec4, ...rest }: AdamWKeys): string {
  noMore(rest)
  const list = Array.from({ length: averages }, (_, k) => k)
  const type = vec4 ? 'vec4<f32>' : 'f32'
  const bindings = [
    ...(update ? [`read> g: array<${type}>`] : []),
    ...(scaled ? ['read> factor: array<f32>'] : []),
    `${update ? 'read_write' : 'read'}> w: array<${type}>`,
    ...(update ? [`read_write> m: array<${type}>`, `read_write> v: array<${type}>`] : []),
    ...list.map((k) => `read_write> a${k}: array<${type}>`),
  ]
  return wgsl`
${adamWUniform.wgsl({ keep: averages, take: averages })}
${bindings.map((binding, i) => `@group(0) @binding(${i + 1}) var<storage, ${binding};`).join('\n')}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
  let i = id.x + id.y * groups.x * 64u;
  if (i >= p.lanes) { return; }
#if ${update}
  let slope = g[i]${scaled ? ' * factor[0]' : ''};
  let mean = p.beta1 * m[i] + p.rest1 * slope;
  let square = p.beta2 * v[i] + p.rest2 * slope * slope;
  let weight = w[i] * p.decay - p.rate * (mean / (sqrt(square) * p.correction + p.eps));
  m[i] = mean;
  v[i] = square;
  w[i] = weight;
#else
  let weight = w[i];
#endif
  ${list.map((k) => `a${k}[i] = p.keep${k} * a${k}[i] + p.take${k} * weight;`).join('\n  ')}
}
`
}
