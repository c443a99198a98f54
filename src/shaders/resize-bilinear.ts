import { elementsMain } from './elements.ts'
import { wgsl } from './template.ts'
import { uniform } from './uniform.ts'

/** Elements of the output; h, w of the image that is resized; ho, wo of the resized one. */
export const resizeUniform = uniform({ count: 'i32', h: 'i32', w: 'i32', ho: 'i32', wo: 'i32' })

export const resizeStruct = /* wgsl */ `
${resizeUniform.wgsl()}

struct Source { low: i32, high: i32, weight: f32 }

/** Output i reads x[low]·(1 − weight) + x[high]·weight. */
fn source_of(i: i32, size: i32, sizeOut: i32) -> Source {
  let position = max((2 * i + 1) * size - sizeOut, 0);
  let low = position / (2 * sizeOut);
  return Source(low, min(low + 1, size - 1), f32(position - low * 2 * sizeOut) / f32(2 * sizeOut));
}
`

/**
 * Bilinear resizing with the pixels' corners at their edges (PyTorch's align_corners=false, no antialiasing): output i
 * of `out` reads at (i + ½)·in/out − ½, not below 0, between that element and the next, or the last one twice. The
 * position is kept as a fraction of whole numbers ((2i + 1)·in − out over 2·out), so weights are exact to rounding and
 * the gradient finds exactly the outputs that read a pixel.
 *
 * Bindings: 0 the uniform, 1 x [planes, h, w], 2 y [planes, ho, wo].
 */
export const resizeBilinearShader = (): string => wgsl`
${resizeStruct}
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn element(index: u32) {
  let i = i32(index);
  let alongX = source_of(i % p.wo, p.w, p.wo);
  let alongY = source_of(i / p.wo % p.ho, p.h, p.ho);
  let plane = i / p.wo / p.ho * p.h;
  let upper = (plane + alongY.low) * p.w;
  let lower = (plane + alongY.high) * p.w;
  let above = x[upper + alongX.low] * (1.0 - alongX.weight) + x[upper + alongX.high] * alongX.weight;
  let below = x[lower + alongX.low] * (1.0 - alongX.weight) + x[lower + alongX.high] * alongX.weight;
  y[i] = above * (1.0 - alongY.weight) + below * alongY.weight;
}
${elementsMain}`
