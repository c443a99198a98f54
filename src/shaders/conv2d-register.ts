import { convBindings, convUniform, fold, lines } from './conv2d-shape.ts'
import type { ConvShape } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'

export interface Conv2dRegisterKeys {
  /** Lanes that share weights: the adapter's subgroup size where it is fixed, 0: none. */
  readonly subgroup: number
  /** Outputs a lane holds side by side: 4 or 8. */
  readonly px: number
  /** Output channels of a tile, a multiple of `subgroup`. */
  readonly co: number
  /** 3: width 3 at stride 1; 1: the kernel is 1×1; 0: any. */
  readonly kw: 0 | 1 | 3
  readonly bias: boolean
  readonly residual: boolean
}

/** Threads of a workgroup that shares nothing. */
const plainThreads = 64

const range = (n: number) => Array.from({ length: n }, (_, i) => i)

/**
 * Convolution in registers alone. A thread owns a strip of `px` neighbouring outputs of one row for `co` output
 * channels: px·co sums in registers, no workgroup memory, so it runs everywhere and suits software adapters.
 *
 * With `subgroup: size` the lanes of a subgroup share the weights: one lane loads a weight and hands it to the
 * others by subgroupBroadcast, so that a step of the sum takes co/size loads of weights a lane instead of co. On
 * lavapipe a load costs some 40 cycles per 8 lanes and a broadcast 1 to 4 (measured on lavapipe 25.0.7), which
 * makes it twice as fast.
 *
 * With `kw: 3` (stride 1) the px + 2 inputs of a strip's row are loaded once for the three taps. With `kw: 1` the
 * kernel is 1×1. With `kw: 0` the kernel width and the stride come from the uniform and nothing is reused. The sum is
 * not unrolled beyond that: more code is slower here (by 1.2 to 1.6 times when unrolled by 4).
 *
 * Bindings: convUniform, x [n,cin,h,w], weight [cout,cin,kh,kw], bias [cout] and residual [n,cout,ho,wo] if asked for,
 * y [n,cout,ho,wo]. With subgroups a workgroup is one subgroup, so that nothing is assumed of how invocations fall
 * into subgroups; the grid is strips (x, folded into z) by tiles of channels (y).
 */
export function conv2dRegister({ subgroup, px, co, kw, bias, residual, ...rest }: Conv2dRegisterKeys): string {
  noMore(rest)
  const columns = kw === 3 ? px + 2 : px
  const threads = subgroup || plainThreads
  const loads = subgroup ? co / subgroup : co
  const weightOf = (c: number) =>
    subgroup ? `subgroupBroadcast(w${Math.floor(c / subgroup)}, ${c % subgroup}u)` : `w${c}`
  const quads = px / 4
  const strip = (at: number, q: number) =>
    `vec4f(${range(4)
      .map((i) => `x${at + 4 * q + i}`)
      .join(', ')})`
  // The products of one tap: weights of the tile once into the lanes, then every channel from its lane.
  const tap = (kx: number, index: string) => `
    {
      let at = p.wTap0 + ci * p.wIn + (${index}) * p.wTapStep;
      ${lines(loads, (i) => `let w${i} = weight[at + wLane${i}];`)}
      ${lines(quads, (q) => `let v${q} = ${strip(kx, q)};`)}
      ${lines(
        co,
        (c) => `{ let b = ${weightOf(c)};
        ${lines(quads, (q) => `a${c}_${q} += b * v${q};`)} }`,
      )}
    }`
  return wgsl`
#if ${subgroup > 0}
enable subgroups;
diagnostic(off, subgroup_uniformity);
#endif
${convUniform.wgsl()}
${convBindings(bias, residual)}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
#if ${subgroup > 0}
        @builtin(subgroup_invocation_id) lane: u32) {
#else
        @builtin(local_invocation_index) lane: u32) {
#endif
  let perRow = (p.wo + ${px - 1}) / ${px};
  let strips = p.n * p.ho * perRow;
  let strip = i32(wg.z * grid.x + wg.x) * ${threads} + i32(lane);
  let own = min(strip, strips - 1);
  let ox = own % perRow * ${px};
  let oy = own / perRow % p.ho;
  let n = own / perRow / p.ho;
  let co = i32(wg.y) * ${co};
  ${lines(loads, (i) => `let wLane${i} = min(co + ${subgroup ? `i32(lane) + ${i * subgroup}` : i}, p.cout - 1) * p.wOut;`)}
  ${lines(co, (c) => lines(quads, (q) => `var a${c}_${q} = vec4f();`))}
#if ${kw !== 0}
  ${lines(
    columns,
    (j) => `
  let c${j} = ${kw === 3 ? `ox + ${j}` : `(ox + ${j}) * p.stride`} - p.padX;
  let in${j} = c${j} >= 0 && c${j} < p.w;
  let i${j} = clamp(c${j}, 0, p.w - 1);`,
  )}
#endif
  // One flat loop with counters: nested loops cost 11 % on lavapipe and 33 % on SwiftShader, which keeps every sum of
  // every loop in memory.
  var ci = 0;
  var ky = 0;
#if ${kw === 0}
  var kx = 0;
  let steps = p.cin * p.kh * p.kw;
#else
  let steps = p.cin * p.kh;
#endif
  for (var k = 0; k < steps; k++) {
    let iy = oy * p.stride - p.padY + ky;
    let inRow = iy >= 0 && iy < p.h;
    let row = ((n * p.cin + ci) * p.h + clamp(iy, 0, p.h - 1)) * p.w;
#if ${kw === 0}
    ${lines(
      columns,
      (j) => `
    let c${j} = (ox + ${j}) * p.stride - p.padX + kx;
    let x${j} = select(0, x[row + clamp(c${j}, 0, p.w - 1)], inRow && c${j} >= 0 && c${j} < p.w);`,
    )}
    ${tap(0, 'ky * p.kw + kx')}
    kx++;
    let endX = kx == p.kw;
    kx = select(kx, 0, endX);
    ky += i32(endX);
#else
    ${lines(columns, (j) => `let x${j} = select(0, x[row + i${j}], inRow && in${j});`)}
    ${lines(kw, (kx) => tap(kx, `ky * ${kw} + ${kx}`))}
    ky++;
#endif
    let endY = ky == p.kh;
    ky = select(ky, 0, endY);
    ci += i32(endY);
  }
  if (strip >= strips) { return; }
  // Copied into an array and stored by loops: one store site instead of co·px (10 ms of compilation each on lavapipe).
  var out: array<vec4f, ${co * quads}>;
  ${lines(co, (c) => lines(quads, (q) => `out[${c * quads + q}] = a${c}_${q};`))}
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

/** Workgroups for the shape. */
export function conv2dRegisterGrid(s: ConvShape, { subgroup, px, co }: Conv2dRegisterKeys): [number, number, number] {
  const { x, z } = fold(Math.ceil((s.n * s.ho * Math.ceil(s.wo / px)) / (subgroup || plainThreads)))
  return [x, Math.ceil(s.cout / co), z]
}
