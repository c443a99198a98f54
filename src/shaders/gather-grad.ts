import { elementsMain } from './elements.ts'
import { gatherStruct } from './gather-shape.ts'
import { wgsl } from './template.ts'

/**
 * The gradient of `gather.ts` by the table: every element of the table runs over the picks of its column and adds up
 * those that took it, in order. That is entries times the work of scattering, but needs no atomics and repeats bit for
 * bit; a class embedding sees a batch's worth of picks.
 *
 * Bindings: 0 the uniform of `gather-shape.ts`, 1 dy, 2 index (i32), 3 dx.
 */
export const gatherGradShader = (): string => wgsl`
${gatherStruct}
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> index: array<i32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

fn element(k: u32) {
  let i = k % p.inner;
  let entry = k / p.inner % p.entries;
  let o = k / p.inner / p.entries;
  let first = o * p.outerStep + i * p.innerStep;
  var total = 0.0;
  for (var b = 0u; b < p.picks; b++) {
    if (entry_of(index[first + b * p.step]) == entry) { total += dy[(o * p.picks + b) * p.inner + i]; }
  }
  dx[k] = total;
}
${elementsMain}`
