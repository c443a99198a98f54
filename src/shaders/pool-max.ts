import { elementsMain } from './elements.ts'
import { poolUniform } from './pool-shape.ts'
import { wgsl } from './template.ts'

/**
 * The maximum over windows, and which tap of the window it was (row · kernel + column): the first one in scan order
 * where several are equal, as in PyTorch. The gradient needs that tap and nothing else, neither input nor output.
 *
 * Bindings: 0 the uniform of `pool-shape.ts`, 1 x [planes, h, w], 2 y [planes, ho, wo], 3 tap [planes, ho, wo].
 */
export const poolMaxShader = (): string => wgsl`
${poolUniform.wgsl()}
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> tap: array<i32>;

fn element(index: u32) {
  let i = i32(index);
  let startX = i % p.wo * p.stride - p.padding;
  let startY = i / p.wo % p.ho * p.stride - p.padding;
  let plane = i / p.wo / p.ho * p.h;
  // The shape rule sees to it that every window has a pixel; the first one is the maximum so far.
  var best = 0.0;
  var at = -1;
  for (var iy = max(startY, 0); iy < min(startY + p.kernel, p.h); iy++) {
    for (var ix = max(startX, 0); ix < min(startX + p.kernel, p.w); ix++) {
      let value = x[(plane + iy) * p.w + ix];
      if (at < 0 || value > best) {
        best = value;
        at = (iy - startY) * p.kernel + ix - startX;
      }
    }
  }
  y[i] = best;
  tap[i] = at;
}
${elementsMain}`
