import { elementsMain } from './elements.ts'
import { poolUniform } from './pool-shape.ts'
import { wgsl } from './template.ts'

/**
 * The sum over windows times a number: average pooling, and the gradient of nearest-neighbour upsampling.
 *
 * Bindings: 0 the uniform of `pool-shape.ts`, 1 x [planes, h, w], 2 y [planes, ho, wo]. No workgroup memory: windows
 * are small and hardly overlap, so a tile would be read about once.
 */
export const poolSumShader = (): string => wgsl`
${poolUniform.wgsl()}
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn element(index: u32) {
  let i = i32(index);
  let startX = i % p.wo * p.stride - p.padding;
  let startY = i / p.wo % p.ho * p.stride - p.padding;
  let plane = i / p.wo / p.ho * p.h;
  var total = 0.0;
  for (var iy = max(startY, 0); iy < min(startY + p.kernel, p.h); iy++) {
    for (var ix = max(startX, 0); ix < min(startX + p.kernel, p.w); ix++) {
      total += x[(plane + iy) * p.w + ix];
    }
  }
  y[i] = total * p.scale;
}
${elementsMain}`
