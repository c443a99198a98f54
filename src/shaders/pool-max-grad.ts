import { elementsMain } from './elements.ts'
import { poolCovering, poolUniform } from './pool-shape.ts'
import { wgsl } from './template.ts'

/**
 * The gradient of max pooling: every pixel adds up the cotangents of those windows around it whose maximum it was.
 *
 * Bindings: 0 the uniform of `pool-shape.ts`, 1 dy [planes, ho, wo], 2 tap [planes, ho, wo] from `pool-max.ts`,
 * 3 dx [planes, h, w].
 */
export const poolMaxGradShader = (): string => wgsl`
${poolUniform.wgsl()}
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> tap: array<i32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
${poolCovering}
fn element(index: u32) {
  let i = i32(index);
  let ix = i % p.w;
  let iy = i / p.w % p.h;
  let alongX = covering(ix, p.wo);
  let alongY = covering(iy, p.ho);
  let plane = i / p.w / p.h * p.ho;
  var total = 0.0;
  for (var oy = alongY.x; oy <= alongY.y; oy++) {
    for (var ox = alongX.x; ox <= alongX.y; ox++) {
      let o = (plane + oy) * p.wo + ox;
      let own = (iy + p.padding - oy * p.stride) * p.kernel + ix + p.padding - ox * p.stride;
      if (tap[o] == own) { total += dy[o]; }
    }
  }
  dx[i] = total;
}
${elementsMain}`
