import { convFields, convValues, lines } from './conv2d-shape.ts'
import type { ConvShape } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface Conv2dWeightGradientKeys {
  /** Threads along each side of the tile, 8 or 16. */
  readonly side: number
  /** Sums of a thread along each side. */
  readonly each: number
}

/** Pixels gathered at a time. */
export const conv2dWeightGradientStep = 16
const step = conv2dWeightGradientStep

const conv2dWeightGradientUniform = uniform({
  ...convFields,
  /** Pixels of a split. */
  range: 'i32',
})

/**
 * The gradient of a convolution by its weights where neither conv2d-weight-gradient-halo.ts nor, for 1×1, gemm.ts has
 * it, and on software adapters, as a GEMM over pixels with tiles in workgroup memory:
 * dW[co,k] = Σ_{n,oy,ox} dY[n,co,oy,ox] · x[n,ci, oy·s − pad + ky, ox·s − pad + kx], k = (ci,ky,kx).
 *
 * 256 threads hold a tile of 64 output channels × 64 terms, 4×4 sums a thread, and walk the pixels 16 at a time. Where
 * that makes too few workgroups, the pixels are split into equal ranges: each writes a partial gradient
 * and sum-splits.ts adds them in order. No atomics, so the result is the same every time.
 *
 * Bindings: 0 the uniform, x [n,cin,h,w]; dy [n,cout,ho,wo];
 * partial [splits,cout,cin,kh,kw]. Grid: tiles of terms (x), of channels (y), splits (z). 9 KiB of workgroup memory.
 */
export function conv2dWeightGradient({ side, each, ...rest }: Conv2dWeightGradientKeys): string {
  noMore(rest)
  const threads = side * side
  const tile = side * each
  const rowStep = threads / step
  const sums = (line: (i: number, j: number) => string) => lines(each, (i) => lines(each, (j) => line(i, j)))
  return wgsl`
${conv2dWeightGradientUniform.wgsl()}
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

var<workgroup> ds: array<f32, ${step * (tile + 1)}>;
var<workgroup> xs: array<f32, ${step * (tile + 1)}>;
var<workgroup> offsets: array<vec3i, ${tile}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let t = i32(thread);
  let taps = p.kh * p.kw;
  let terms = p.cin * taps;
  let area = p.ho * p.wo;
  let kFirst = i32(wg.x) * ${tile};
  let co = i32(wg.y) * ${tile};
  let begin = i32(wg.z) * p.range;
  let end = min(begin + p.range, p.n * area);

  // Where each term of the tile lies in x, decoded once: the plane of its channel and its shift.
  for (var row = t; row < ${tile}; row += ${threads}) {
    let k = min(kFirst + row, terms - 1);
    offsets[row] = vec3i(k / taps * p.h * p.w, k % taps / p.kw - p.padY, k % p.kw - p.padX);
  }
  workgroupBarrier();
  let r = t % ${step};
  ${sums((i, j) => `var a${i}_${j} = 0f;`)}
  for (var first = begin; first < end; first += ${step}) {
    let live = first + r < end;
    let pixel = min(first + r, end - 1);
    let n = pixel / area;
    let iy = pixel % area / p.wo * p.stride;
    let ix = pixel % p.wo * p.stride;
    let dyAt = n * p.cout * area + pixel % area;
    let xAt = n * p.cin * p.h * p.w;
    for (var row = t / ${step}; row < ${tile}; row += ${rowStep}) {
      let channel = min(co + row, p.cout - 1);
      ds[r * ${tile + 1} + row] = select(0, dy[dyAt + channel * area], live);
      let term = offsets[row];
      let py = iy + term.y;
      let px = ix + term.z;
      let at = xAt + term.x + clamp(py, 0, p.h - 1) * p.w + clamp(px, 0, p.w - 1);
      xs[r * ${tile + 1} + row] = select(0, x[at], live && py >= 0 && py < p.h && px >= 0 && px < p.w);
    }
    workgroupBarrier();
    for (var q = 0; q < ${step}; q++) {
      ${lines(each, (i) => `let d${i} = ds[q * ${tile + 1} + t / ${side} + ${i * side}];`)}
      ${lines(each, (j) => `let x${j} = xs[q * ${tile + 1} + t % ${side} + ${j * side}];`)}
      ${sums((i, j) => `a${i}_${j} += d${i} * x${j};`)}
    }
    workgroupBarrier();
  }
  var out: array<f32, ${each * each}>;
  ${sums((i, j) => `out[${i * each + j}] = a${i}_${j};`)}
  for (var i = 0; i < ${each}; i++) {
    let channel = co + t / ${side} + i * ${side};
    for (var j = 0; j < ${each}; j++) {
      let k = kFirst + t % ${side} + j * ${side};
      if (channel < p.cout && k < terms) {
        partial[(i32(wg.z) * p.cout + channel) * terms + k] = out[i * ${each} + j];
      }
    }
  }
}
`
}

/** Pixels of each of the splits, whole steps. */
function range(pixels: number, splits: number): number {
  return Math.ceil(pixels / splits / step) * step
}

/** The words of the uniform. */
export function conv2dWeightGradientWords(s: ConvShape, splits: number): number[] {
  return conv2dWeightGradientUniform.words({ range: range(s.n * s.ho * s.wo, splits), ...convValues(s) })
}

export function conv2dWeightGradientGrid(
  s: ConvShape,
  { side, each }: Conv2dWeightGradientKeys,
  splits: number,
): [number, number, number] {
  const tile = side * each
  return [Math.ceil((s.cin * s.kh * s.kw) / tile), Math.ceil(s.cout / tile), splits]
}
