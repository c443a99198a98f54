import { convUniform, fold, lines } from './conv2d-shape.ts'
import type { ConvShape } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'

export interface Conv2dDataGradientKeys {
  /** Lanes that share weights: the adapter's subgroup size where it is fixed, 0: none. */
  readonly subgroup: number
  /** Inputs of a thread. */
  readonly px: number
  /** Input channels of a tile, a multiple of `subgroup`. */
  readonly ci: number
}

/** Threads of a workgroup that shares nothing. */
const plainThreads = 64

/**
 * The data gradient of a convolution with stride s > 1, as a gather. (With stride 1 it is a convolution, see
 * dataGradientShape, and any forward kernel computes it.)
 *
 * dX[n,ci,iy,ix] = Σ_{co,ky,kx} dY[n,co,oy,ox] · w[co,ci,ky,kx] over the taps with oy·s = iy + pad − ky, ox likewise.
 * Inputs whose (iy + pad) mod s and (ix + pad) mod s agree use the same taps ky = ry + s·jy, and neighbours among them
 * use neighbouring outputs oy = qy − jy. So a workgroup takes one of the s² phases, within which this is the register
 * kernel's stride-1 convolution: a thread owns a strip of `px` inputs, s apart, for `ci` channels, and the lanes of a
 * subgroup share the weights (key `subgroup`, as in conv2d-register.ts).
 *
 * Bindings: convUniform of the forward convolution, dy [n,cout,ho,wo], weight [cout,cin,kh,kw], dx [n,cin,h,w].
 * The grid is strips (x, folded into z) by tiles of channels times phases (y).
 */
export function conv2dDataGradient({ subgroup, px, ci, ...rest }: Conv2dDataGradientKeys): string {
  noMore(rest)
  const threads = subgroup || plainThreads
  const loads = subgroup ? ci / subgroup : ci
  const weightOf = (c: number) =>
    subgroup ? `subgroupBroadcast(w${Math.floor(c / subgroup)}, ${c % subgroup}u)` : `w${c}`
  return wgsl`
#if ${subgroup > 0}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif
${convUniform.wgsl()}
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
#if ${subgroup > 0}
        @builtin(subgroup_invocation_id) lane: u32) {
#else
        @builtin(local_invocation_index) lane: u32) {
#endif
  let s = p.stride;
  let tiles = (p.cin + ${ci - 1}) / ${ci};
  let ci = i32(wg.y) % tiles * ${ci};
  let phaseY = i32(wg.y) / tiles / s;
  let phaseX = i32(wg.y) / tiles % s;
  let ry = (phaseY + p.padY) % s;
  let rx = (phaseX + p.padX) % s;

  let rows = (p.h + s - 1) / s;
  let perRow = ((p.w + s - 1) / s + ${px - 1}) / ${px};
  let strips = p.n * rows * perRow;
  let strip = i32(wg.z * grid.x + wg.x) * ${threads} + i32(lane);
  let own = min(strip, strips - 1);
  let gx = own % perRow * ${px};
  let gy = own / perRow % rows;
  let n = own / perRow / rows;
  let qy = gy + (phaseY + p.padY) / s;
  let qx = gx + (phaseX + p.padX) / s;

  // Taps of this phase: none where the kernel is smaller than the stride, and the gradient is zero.
  let ny = (p.kh - ry + s - 1) / s;
  let nx = (p.kw - rx + s - 1) / s;
  let taps = p.kh * p.kw;
  ${lines(loads, (i) => `let wLane${i} = min(ci + ${subgroup ? `i32(lane) + ${i * subgroup}` : i}, p.cin - 1) * taps;`)}
  ${lines(ci, (c) => lines(px, (i) => `var a${c}_${i} = 0f;`))}
  var co = 0;
  var jy = 0;
  var jx = 0;
  let steps = select(0, p.cout * ny * nx, ny > 0 && nx > 0);
  for (var k = 0; k < steps; k++) {
    let oy = qy - jy;
    let inRow = oy >= 0 && oy < p.ho;
    let row = ((n * p.cout + co) * p.ho + clamp(oy, 0, p.ho - 1)) * p.wo;
    let at = co * p.cin * taps + (ry + s * jy) * p.kw + rx + s * jx;
    ${lines(
      px,
      (i) => `
    let o${i} = qx + ${i} - jx;
    let v${i} = select(0, dy[row + clamp(o${i}, 0, p.wo - 1)], inRow && o${i} >= 0 && o${i} < p.wo);`,
    )}
    ${lines(loads, (i) => `let w${i} = weight[at + wLane${i}];`)}
    ${lines(
      ci,
      (c) => `{ let b = ${weightOf(c)};
      ${lines(px, (i) => `a${c}_${i} += b * v${i};`)} }`,
    )}
    jx++;
    let endX = jx == nx;
    jx = select(jx, 0, endX);
    jy += i32(endX);
    let endY = jy == ny;
    jy = select(jy, 0, endY);
    co += i32(endY);
  }
  let iy = phaseY + s * gy;
  if (strip >= strips || iy >= p.h) { return; }
  var out: array<f32, ${ci * px}>;
  ${lines(ci, (c) => lines(px, (i) => `out[${c * px + i}] = a${c}_${i};`))}
  for (var c = 0; c < min(${ci}, p.cin - ci); c++) {
    let at = ((n * p.cin + ci + c) * p.h + iy) * p.w + phaseX + s * gx;
    for (var i = 0; i < min(${px}, (p.w - phaseX - s * gx + s - 1) / s); i++) {
      dx[at + i * s] = out[c * ${px} + i];
    }
  }
}
`
}

/** Workgroups for the forward shape. */
export function conv2dDataGradientGrid(
  s: ConvShape,
  { subgroup, px, ci }: Conv2dDataGradientKeys,
): [number, number, number] {
  const rows = Math.ceil(s.h / s.stride)
  const perRow = Math.ceil(Math.ceil(s.w / s.stride) / px)
  const { x, z } = fold(Math.ceil((s.n * rows * perRow) / (subgroup || plainThreads)))
  return [x, Math.ceil(s.cin / ci) * s.stride ** 2, z]
}
