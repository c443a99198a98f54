import { elementsMain } from './elements.ts'
import { poolCovering, poolUniform } from './pool-shape.ts'
import { wgsl } from './template.ts'

/**
 * The transpose of `pool-sum.ts`: every pixel gathers the windows that cover it, times a number. It is the gradient of
 * average pooling and, with windows side by side, nearest-neighbour upsampling. Gathering needs no atomics, so results
 * repeat.
 *
 * Bindings: 0 the uniform of `pool-shape.ts`, 1 dy [planes, ho, wo], 2 dx [planes, h, w].
 */
export const poolSpreadShader = (): string => wgsl`
${poolUniform.wgsl()}
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
${poolCovering}
fn element(index: u32) {
  let i = i32(index);
  let alongX = covering(i % p.w, p.wo);
  let alongY = covering(i / p.w % p.h, p.ho);
  let plane = i / p.w / p.h * p.ho;
  var total = 0.0;
  for (var oy = alongY.x; oy <= alongY.y; oy++) {
    for (var ox = alongX.x; ox <= alongX.y; ox++) {
      total += dy[(plane + oy) * p.wo + ox];
    }
  }
  dx[i] = total * p.scale;
}
${elementsMain}`
