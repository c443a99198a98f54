/**
 * Convolution without workgroup memory in which the lanes of a subgroup share the weights. A lane owns a strip of
 * `px` neighbouring outputs of one row, a subgroup as many strips as it has lanes, all for the same `co` output
 * channels; a weight is loaded by one lane and handed to the others by subgroupBroadcast. So a step of the sum takes
 * co/size loads of weights a lane instead of co. On lavapipe a load costs some 40 cycles per 8 lanes and a broadcast
 * 1 to 4 (cpu.md 3), which makes this two to three times the register kernel.
 *
 * With `kw: 3` (stride 1) the px + 2 inputs of a strip's row are loaded once for the three taps. With `kw: 1` the
 * kernel is 1×1. With `kw: 0` the kernel width and the stride come from the uniform and nothing is reused. The sum is
 * not unrolled beyond that: more code is slower here (cpu.md 3.5).
 *
 * Bindings: convStruct, x [n,cin,h,w], weight [cout,cin,kh,kw], bias [cout] and residual [n,cout,ho,wo] if asked for,
 * y [n,cout,ho,wo]. Workgroup: one subgroup, so that nothing is assumed of how invocations fall into subgroups.
 */
import { convBindings, convStruct, fold } from './conv2d-shape.ts'
import type { ConvCaps, ConvShape } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'

export interface Conv2dSubgroupKeys {
  /** Lanes of a subgroup: fixed on the adapter. */
  readonly size: number
  /** Outputs a lane holds side by side: 4 or 8. */
  readonly px: number
  /** Output channels of a tile, a multiple of `size`. */
  readonly co: number
  /** 3: width 3 at stride 1; 1: the kernel is 1×1; 0: any. */
  readonly kw: 0 | 1 | 3
  readonly bias: boolean
  readonly residual: boolean
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i)
const lines = (n: number, line: (i: number) => string) => range(n).map(line).join('\n')

export function conv2dSubgroup({ size, px, co, kw, bias, residual, ...rest }: Conv2dSubgroupKeys): string {
  noMore(rest)
  const columns = kw === 3 ? px + 2 : px
  const loads = co / size
  const quads = px / 4
  const strip = (at: number, q: number) => `vec4f(${range(4).map(i => `x${at + 4 * q + i}`).join(', ')})`
  // The products of one tap: weights of the tile once into the lanes, then every channel from its lane.
  const tap = (kx: number) => `
    {
      let at = wBase + ci * p.wIn + tap * p.wTapStep;
      ${lines(loads, i => `let w${i} = weight[at + wLane${i}];`)}
      ${lines(quads, q => `let v${q} = ${strip(kx, q)};`)}
      ${lines(co, c => `{ let b = subgroupBroadcast(w${Math.floor(c / size)}, ${c % size}u);
        ${lines(quads, q => `a${c}_${q} += b * v${q};`)} }`)}
    }`
  return wgsl`
enable subgroups;
diagnostic(off, subgroup_uniformity);
${convStruct}
${convBindings(bias, residual)}

@compute @workgroup_size(${size})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(subgroup_invocation_id) lane: u32) {
  let perRow = (p.wo + ${px - 1}) / ${px};
  let strips = p.n * p.ho * perRow;
  let strip = i32(wg.z * grid.x + wg.x) * ${size} + i32(lane);
  let own = min(strip, strips - 1);
  let ox = own % perRow * ${px};
  let oy = own / perRow % p.ho;
  let n = own / perRow / p.ho;
  let co = i32(wg.y) * ${co};
  let wBase = p.wTap0;
  ${lines(loads, i => `let wLane${i} = min(co + i32(lane) + ${i * size}, p.cout - 1) * p.wOut;`)}
  ${lines(co, c => lines(quads, q => `var a${c}_${q} = vec4f();`))}
#if ${kw !== 0}
  ${lines(columns, j => `
  let c${j} = ${kw === 3 ? `ox + ${j}` : `(ox + ${j}) * p.stride`} - p.padX;
  let in${j} = c${j} >= 0 && c${j} < p.w;
  let i${j} = clamp(c${j}, 0, p.w - 1);`)}
#endif
  for (var ci = 0; ci < p.cin; ci++) {
    let plane = (n * p.cin + ci) * p.h;
#if ${kw === 1}
    { let ky = 0;
#else
    for (var ky = 0; ky < p.kh; ky++) {
#endif
      let iy = oy * p.stride - p.padY + ky;
      let inRow = iy >= 0 && iy < p.h;
      let row = (plane + clamp(iy, 0, p.h - 1)) * p.w;
#if ${kw === 0}
      for (var kx = 0; kx < p.kw; kx++) {
        ${lines(columns, j => `
        let c${j} = (ox + ${j}) * p.stride - p.padX + kx;
        let x${j} = select(0, x[row + clamp(c${j}, 0, p.w - 1)], inRow && c${j} >= 0 && c${j} < p.w);`)}
        let tap = ky * p.kw + kx;
        ${tap(0)}
      }
#else
      ${lines(columns, j => `let x${j} = select(0, x[row + i${j}], inRow && in${j});`)}
      ${lines(kw, kx => `{ let tap = ky * ${kw} + ${kx};${tap(kx)} }`)}
#endif
    }
  }
  if (strip >= strips) { return; }
  // Copied into an array and stored by loops: one store site instead of co·px (10 ms of compilation each on lavapipe).
  var out: array<vec4f, ${co * quads}>;
  ${lines(co, c => lines(quads, q => `out[${c * quads + q}] = a${c}_${q};`))}
  for (var c = 0; c < min(${co}, p.cout - co); c++) {
    let at = ((n * p.cout + co + c) * p.ho + oy) * p.wo + ox;
    for (var i = 0; i < min(${px}, p.wo - ox); i++) {
      var v = out[c * ${quads} + i / 4][i & 3];
#if ${bias}
      v += bias[co + c];
#endif
#if ${residual}
      v += residual[at + i];
#endif
      y[at + i] = v;
    }
  }
}
`
}

export function conv2dSubgroupSupports(s: ConvShape, caps: ConvCaps, { size, kw }: Conv2dSubgroupKeys): boolean {
  if (caps.subgroup === 0 || caps.subgroup !== size) return false
  return kw === 0 || (kw === 3 ? s.kw === 3 && s.stride === 1 : s.kh === 1 && s.kw === 1)
}

/** Workgroups for the shape. */
export function conv2dSubgroupGrid(s: ConvShape, { size, px, co }: Conv2dSubgroupKeys): [number, number, number] {
  const { x, z } = fold(Math.ceil(s.n * s.ho * Math.ceil(s.wo / px) / size))
  return [x, Math.ceil(s.cout / co), z]
}
