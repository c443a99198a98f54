import { convBindings, convUniform, fold, lines } from './conv2d-shape.ts'
import type { ConvShape } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'

/** The tile of a workgroup. */
export interface Conv2dHaloTile {
  /** Maps that a tile spans: more than one where a map is smaller than what a workgroup computes. */
  readonly images: number
  /** Outputs of a row, a multiple of 4, and rows, a multiple of 2. */
  readonly tx: number
  readonly ty: number
  /** Output channels, 8 times a power of two. */
  readonly co: number
}

export interface Conv2dHaloKeys extends Conv2dHaloTile {
  /** Whether rows are multiples of 4 long, so that x, residual and y are read and written as vectors. */
  readonly vector: boolean
  readonly bias: boolean
  readonly residual: boolean
  /** Whether a workgroup sums over a part of the input channels only, z saying which. */
  readonly split: boolean
}

/** Input channels gathered at a time. */
const step = 4
/** Output channels of a thread. */
const each = 8

/** Threads of a workgroup. */
export const conv2dHaloThreads = ({ images, tx, ty, co }: Conv2dHaloTile): number =>
  (images * tx * ty * co) / (8 * each)

/**
 * The 3×3 convolution of stride 1 and pad 1 as the sum that it is, with a patch of the input in workgroup memory. A
 * workgroup owns a tile of tx × ty outputs of one or several maps for co channels. It gathers 4 input channels at a
 * time: the patch that the tile sees, a row above and below and 4 columns left and right (one would do, but so rows
 * stay aligned, and a group of 4 lies within the map or outside), and the 9·co weights of each. A thread owns 4 × 2
 * outputs of 8 channels, 64 sums in registers: for each input channel 12 reads of inputs and 18 of weights, all from
 * workgroup memory, feed 576 products, without a division, a comparison or a clamp. An input is read from memory once
 * for its tile, not 9 times. On RDNA 3 0.94 of the inner loop's instructions are multiply-adds, and 0.86 to 0.90 of a
 * step's (bench/gpu/static.json); with a loop over the kernel's rows it was 0.91 and 0.88.
 *
 * What a thread gathers it stores where its number says, so that neighbours write neighbouring words: xs is
 * [4, images, ty + 2, tx/4 + 2] and ws [4, co/4, 9], vectors along the row and along the channels. Their places in
 * memory are computed once, before the loop; there they only move on by 4 channels, clamped to the last element, for
 * the last channels of a sum may be fewer: what is read beyond is in bounds and goes into no sum. In 32 threads lie 4
 * strips of outputs side by side, for as many groups of channels as there are: few distinct words are read at a time.
 *
 * Bindings: convUniform, x [n,cin,h,w], weight [cout,cin,3,3], bias [cout] and residual [n,cout,h,w] if asked for,
 * y [n,cout,h,w], or [splits,n,cout,h,w] with `split`: sum-splits.ts adds the splits, bias and residual. The
 * grid is tiles (x, folded into z) by channel tiles (y), and splits in z.
 */
export function conv2dHalo({ images, tx, ty, co, vector, bias, residual, split, ...rest }: Conv2dHaloKeys): string {
  noMore(rest)
  const threads = conv2dHaloThreads({ images, tx, ty, co })
  const [columns, rows] = [tx / 4 + 2, ty + 2]
  const plane = images * rows * columns
  const groups = co / each
  const strips = Math.max(1, Math.min(threads, 32) / groups)
  const terms = (co / 4) * 9
  /** Threads that gather the weights of one input channel and 4 output channels. */
  const sharers = (images * tx * ty) / 64
  const unit = vector ? 4 : 1
  const when = (always: boolean, condition: string, statement: string): string =>
    always ? statement : `if (${condition}) { ${statement} }`
  return wgsl`
${convUniform.wgsl()}
${convBindings(bias, residual, vector)}

var<workgroup> xs: array<vec4f, ${step * plane}>;
var<workgroup> ws: array<vec4f, ${step * terms}>;

#if ${vector}
/** Four inputs of a row. */
fn input(at: i32, last: i32, ix: i32, inside: bool) -> vec4f {
  return select(vec4f(), x[min(at, last)], inside);
}
#else
fn input(at: i32, last: i32, ix: i32, inside: bool) -> vec4f {
  var four = vec4f();
  for (var i = 0; i < 4; i++) {
    four[i] = select(0, x[clamp(at + i, 0, last)], inside && ix + i >= 0 && ix + i < p.w);
  }
  return four;
}
#endif
/** Stores four outputs of a row, as many as there are. */
fn put(at: i32, ox: i32, four: vec4f) {
#if ${vector}
#if ${residual}
  y[at / 4] = four + residual[at / 4];
#else
  y[at / 4] = four;
#endif
#else
  for (var i = 0; i < min(4, p.w - ox); i++) {
#if ${residual}
    y[at + i] = four[i] + residual[at + i];
#else
    y[at + i] = four[i];
#endif
  }
#endif
}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u,
        @builtin(local_invocation_index) thread: u32) {
  let area = p.h * p.w;
  let tilesX = (p.w + ${tx - 1}) / ${tx};
  let tilesY = (p.h + ${ty - 1}) / ${ty};
#if ${split}
  let tile = i32(wg.x);
  let first = i32(wg.z) * p.channels;
  let end = min(first + p.channels, p.cin);
  let base = i32(wg.z) * p.n * p.cout * area;
#else
  let tile = i32(wg.z * grid.x + wg.x);
  let first = 0;
  let end = p.cin;
  let base = 0;
#endif
  let ox0 = tile % tilesX * ${tx};
  let oy0 = tile / tilesX % tilesY * ${ty};
  let n0 = tile / tilesX / tilesY * ${images};
  let co0 = i32(wg.y) * ${co};

  // Where what this thread gathers lies: of the input, and whether it is in a map at all,
  let xLast = p.n * p.cin * area / ${unit} - 1;
  let xStep = ${step} * area / ${unit};
  ${lines(
    Math.ceil((step * plane) / threads),
    (i) => `
  let xe${i} = thread + ${i * threads}u;
  let xn${i} = n0 + i32(xe${i} / ${rows * columns}u % ${images}u);
  let iy${i} = oy0 + i32(xe${i} / ${columns}u % ${rows}u) - 1;
  let ix${i} = ox0 + i32(xe${i} % ${columns}u) * 4 - 4;
  let inside${i} = xn${i} < p.n && iy${i} >= 0 && iy${i} < p.h${vector ? ` && ix${i} >= 0 && ix${i} < p.w` : ''};
  let xChannel${i} = xn${i} * p.cin + first + i32(xe${i} / ${plane}u);
  var x${i} = select(0, (xChannel${i} * area + iy${i} * p.w + ix${i}) / ${unit}, inside${i});`,
  )}
  // and of the weights.
  let wLast = p.cout * p.cin * 9 - 1;
  let wStep = ${step} * p.wIn;
  let pair = i32(thread / ${sharers}u);
  let tap = i32(thread % ${sharers}u);
  var w = p.wTap0 + tap * p.wTapStep + (first + pair % ${step}) * p.wIn + (co0 + pair / ${step} * 4) * p.wOut;
  let wTo = (thread / ${sharers}u % ${step}u * ${co / 4}u + thread / ${sharers * step}u) * 9u + thread % ${sharers}u;

  let strip = thread / ${strips * groups}u * ${strips}u + thread % ${strips}u;
  let group = thread / ${strips}u % ${groups}u;
  let sx = strip % ${tx / 4}u;
  let sy = strip / ${tx / 4}u % ${ty / 2}u * 2u;
  let image = strip / ${(tx * ty) / 8}u;
  let xAt = (image * ${rows}u + sy) * ${columns}u + sx;

  ${lines(each, (c) => `var a${c}_0 = vec4f(); var a${c}_1 = vec4f();`)}
  for (var ci = first; ci < end; ci += ${step}) {
    workgroupBarrier();
    ${lines(Math.ceil((step * plane) / threads), (i) => {
      const left = step * plane - i * threads
      const statement = `xs[xe${i}] = input(x${i}, xLast, ix${i}, inside${i}); x${i} += xStep;`
      return when(threads <= left, `thread < ${left}u`, statement)
    })}
    ${lines(Math.ceil(9 / sharers), (i) => {
      const at = `w + ${i * sharers} * p.wTapStep`
      const four = [0, 1, 2, 3].map((c) => `weight[min(${at} + ${c} * p.wOut, wLast)]`)
      return when(
        (i + 1) * sharers <= 9,
        `tap < ${9 - i * sharers}`,
        `ws[wTo + ${i * sharers}u] = vec4f(${four.join(', ')});`,
      )
    })}
    w += wStep;
    workgroupBarrier();
    for (var c = 0u; c < ${step}u; c++) {
      if (i32(c) >= end - ci) { break; }
      let at = xAt + c * ${plane}u;
      let wAt = c * ${terms}u + group * 18u;
      ${lines(
        4,
        (r) => `
      let m${r} = xs[at + ${r * columns + 1}];
      let l${r} = vec4f(xs[at + ${r * columns}].w, m${r}.xyz);
      let r${r} = vec4f(m${r}.yzw, xs[at + ${r * columns + 2}].x);
      ${
        r < 1
          ? ''
          : lines(3, (kx) =>
              lines(
                2,
                (half) => `{
        let w = ws[wAt + ${half * 9 + kx + (r - 1) * 3}];
        ${lines(4, (c) => lines(2, (q) => `a${half * 4 + c}_${q} += w[${c}] * ${'lmr'[kx]}${r - 1 + q};`))}
      }`,
              ),
            )
      }`,
      )}
    }
  }

  let n = n0 + i32(image);
  let ox = ox0 + i32(sx) * 4;
  let oy = oy0 + i32(sy);
  if (n >= p.n || ox >= p.w) { return; }
  var out: array<vec4f, ${2 * each}>;
  ${lines(each, (c) => lines(2, (r) => `out[${c * 2 + r}] = a${c}_${r};`))}
  for (var i = 0; i < ${2 * each}; i++) {
    let channel = co0 + i32(group) * ${each} + i / 2;
    if (channel < p.cout && oy + i % 2 < p.h) {
      put(base + ((n * p.cout + channel) * p.h + oy + i % 2) * p.w + ox, ox, out[i]${bias ? ' + bias[channel]' : ''});
    }
  }
}
`
}

/** Workgroups for the shape, cut into `splits`. */
export function conv2dHaloGrid(s: ConvShape, tile: Conv2dHaloTile, splits = 1): [number, number, number] {
  const { images, tx, ty, co } = tile
  const { x, z } = fold(Math.ceil(s.n / images) * Math.ceil(s.w / tx) * Math.ceil(s.h / ty))
  return [x, Math.ceil(s.cout / co), splits > 1 ? splits : z]
}
