import { elementsMain } from './elements.ts'
import { resizeStruct } from './resize-bilinear.ts'
import { wgsl } from './template.ts'

/**
 * The gradient of bilinear resizing: every pixel j gathers the outputs that read it. Those have a low neighbour of j −
 * 1 or j, so (2i + 1)·in lies between (2j − 1)·out and (2j + 3)·out; the loop runs over that range, rounded outwards,
 * and asks the forward pass's own formula for each weight.
 *
 * Bindings: 0 the uniform of `resize-bilinear.ts`, 1 dy [planes, ho, wo], 2 dx [planes, h, w].
 */
export const resizeBilinearGradShader = (): string => wgsl`
${resizeStruct}
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;

/** The first and the last output that may read pixel j. */
fn readers(j: i32, size: i32, sizeOut: i32) -> vec2<i32> {
  let first = ((2 * j - 1) * sizeOut - size) / (2 * size);
  let last = ((2 * j + 3) * sizeOut - size) / (2 * size);
  return vec2<i32>(max(first, 0), min(last, sizeOut - 1));
}

/** With how much weight output i reads pixel j. */
fn weight_of(i: i32, j: i32, size: i32, sizeOut: i32) -> f32 {
  let source = source_of(i, size, sizeOut);
  return select(0.0, 1.0 - source.weight, source.low == j) + select(0.0, source.weight, source.high == j);
}

fn element(index: u32) {
  let i = i32(index);
  let ix = i % p.w;
  let iy = i / p.w % p.h;
  let alongX = readers(ix, p.w, p.wo);
  let alongY = readers(iy, p.h, p.ho);
  let plane = i / p.w / p.h * p.ho;
  var total = 0.0;
  for (var oy = alongY.x; oy <= alongY.y; oy++) {
    let row = (plane + oy) * p.wo;
    var sum = 0.0;
    for (var ox = alongX.x; ox <= alongX.y; ox++) {
      sum += dy[row + ox] * weight_of(ox, ix, p.w, p.wo);
    }
    total += sum * weight_of(oy, iy, p.h, p.ho);
  }
  dx[i] = total;
}
${elementsMain}`
