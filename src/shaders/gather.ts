import { elementsMain } from './elements.ts'
import { gatherStruct } from './gather-shape.ts'
import { wgsl } from './template.ts'

/**
 * Picks elements along an axis by index: y[o, b, i] = x[o, index[o, b, i], i].
 *
 * Bindings: 0 the uniform of `gather-shape.ts`, 1 x, 2 index (i32), 3 y.
 */
export const gatherShader = (): string => wgsl`
${gatherStruct}
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn element(k: u32) {
  let i = k % p.inner;
  let b = k / p.inner % p.picks;
  let o = k / p.inner / p.picks;
  let entry = entry_of(index[o * p.outerStep + b * p.step + i * p.innerStep]);
  y[k] = x[(o * p.entries + entry) * p.inner + i];
}
${elementsMain}`
