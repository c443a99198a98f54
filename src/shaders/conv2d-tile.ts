import { convBindings, convUniform, fold, lines } from './conv2d-shape.ts'
import type { ConvShape } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'

export interface Conv2dTileKeys {
  /** Threads along each side of the tile, 8 or 16. */
  readonly side: number
  /** Pixels of a thread, at most `side`. */
  readonly px: number
  /** Output channels of a thread. */
  readonly co: number
  /** Kernel size, or 0 for the uniform's. */
  readonly kh: number
  readonly kw: number
  readonly bias: boolean
  readonly residual: boolean
  /** Whether a workgroup sums over a part of the input channels only, z saying which. */
  readonly split: boolean
}

/** Terms of the sum gathered at a time. */
const step = 16

/**
 * Convolution as an implicit GEMM with tiles in workgroup memory: the usual shape for real GPUs. Rows are output pixels
 * (n,oy,ox flattened, so that a batch of small maps fills the tiles), columns output channels, the sum runs over
 * k = (ci,ky,kx) in steps of 16 that the workgroup gathers together. side² threads, each px × co sums; a thread's
 * pixels and channels lie `side` apart, so that neighbouring threads read neighbouring words of workgroup memory and
 * write neighbouring pixels.
 *
 * Bindings: convUniform, x [n,cin,h,w], weight [cout,cin,kh,kw], bias [cout] and residual [n,cout,ho,wo] if asked for,
 * y [n,cout,ho,wo]. Workgroup memory: 16·(side·px + side·co + 1) words: 8 KiB for 64×64, 12 KiB for 128×64. The grid is
 * pixel tiles (x, folded into z) by channel tiles (y). `kh`, `kw` of 0 take the kernel's size from the uniform; as keys
 * they turn two divisions a load into multiplications.
 *
 * Where that grid leaves a machine empty (9 workgroups for a map of 8×8 and 576 channels), `split` cuts the input
 * channels: z is the split, y is [splits,n,cout,ho,wo], and sum-splits.ts adds the splits, bias and residual.
 */
export function conv2dTile({ side, px, co, kh, kw, bias, residual, split, ...rest }: Conv2dTileKeys): string {
  noMore(rest)
  const threads = side * side
  const pixels = side * px
  const channels = side * co
  const rowsAtOnce = threads / pixels
  const each = (line: (i: number, c: number) => string) => lines(px, (i) => lines(co, (c) => line(i, c)))
  return wgsl`
${convUniform.wgsl()}
${convBindings(bias, residual)}

// Rows of the weights are one word longer: the threads of a column write them with the stride of a row.
var<workgroup> xs: array<f32, ${step * pixels}>;
var<workgroup> ws: array<f32, ${step * (channels + 1)}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) thread: u32) {
  let t = i32(thread);
  let kw = ${kw || 'p.kw'};
  let taps = ${kh * kw || 'p.kh * p.kw'};
  let area = p.ho * p.wo;
  let total = p.n * area;
#if ${split}
  let firstTerm = i32(wg.z) * p.channels * taps;
  let terms = min(firstTerm + p.channels * taps, p.cin * taps);
  let first = i32(wg.x) * ${pixels};
  let base = i32(wg.z) * total * p.cout;
#else
  let firstTerm = 0;
  let terms = p.cin * taps;
  let first = i32(wg.z * grid.x + wg.x) * ${pixels};
  let base = 0;
#endif
  let co = i32(wg.y) * ${channels};

  // The pixel and the weight rows that this thread gathers stay the same for all steps.
  let m = t % ${pixels};
  let pixel = min(first + m, total - 1);
  let iy0 = pixel / p.wo % p.ho * p.stride - p.padY;
  let ix0 = pixel % p.wo * p.stride - p.padX;
  let image = pixel / area * p.cin;
  let wk = t % ${step};

  ${each((i, c) => `var a${i}_${c} = 0f;`)}
  for (var k0 = firstTerm; k0 < terms; k0 += ${step}) {
    for (var r = t / ${pixels}; r < ${step}; r += ${rowsAtOnce}) {
      let k = min(k0 + r, terms - 1);
      let tap = k % taps;
      let iy = iy0 + tap / kw;
      let ix = ix0 + tap % kw;
      let inside = iy >= 0 && iy < p.h && ix >= 0 && ix < p.w && k0 + r < terms;
      let at = ((image + k / taps) * p.h + clamp(iy, 0, p.h - 1)) * p.w + clamp(ix, 0, p.w - 1);
      xs[r * ${pixels} + m] = select(0, x[at], inside);
    }
    let k = min(k0 + wk, terms - 1);
    let wAt = p.wTap0 + k / taps * p.wIn + k % taps * p.wTapStep;
    for (var c = t / ${step}; c < ${channels}; c += ${threads / step}) {
      ws[wk * ${channels + 1} + c] = weight[wAt + min(co + c, p.cout - 1) * p.wOut];
    }
    workgroupBarrier();
    for (var r = 0; r < ${step}; r++) {
      let xAt = r * ${pixels} + t % ${side};
      let cAt = r * ${channels + 1} + t / ${side};
      ${lines(px, (i) => `let x${i} = xs[xAt + ${i * side}];`)}
      ${lines(co, (c) => `let w${c} = ws[cAt + ${c * side}];`)}
      ${each((i, c) => `a${i}_${c} += x${i} * w${c};`)}
    }
    workgroupBarrier();
  }

  var out: array<f32, ${px * co}>;
  ${each((i, c) => `out[${c * px + i}] = a${i}_${c};`)}
  for (var i = 0; i < ${px}; i++) {
    let to = first + t % ${side} + i * ${side};
    for (var c = 0; c < ${co}; c++) {
      let channel = co + t / ${side} + c * ${side};
      if (to < total && channel < p.cout) {
        let at = (to / area * p.cout + channel) * area + to % area;
        var v = out[c * ${px} + i];
#if ${bias}
        v += bias[channel];
#endif
#if ${residual}
        v += residual[at];
#endif
        y[base + at] = v;
      }
    }
  }
}
`
}

/** Workgroups for the shape, cut into `splits`. */
export function conv2dTileGrid(
  s: ConvShape,
  { side, px, co }: Pick<Conv2dTileKeys, 'side' | 'px' | 'co'>,
  splits = 1,
): [number, number, number] {
  const { x, z } = fold(Math.ceil((s.n * s.ho * s.wo) / (side * px)))
  return [x, Math.ceil(s.cout / (side * co)), splits > 1 ? splits : z]
}
