import { lines } from './conv2d-shape.ts'
import type { ConvShape } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

/** What a workgroup computes, and what it looks at for that at a time. */
export interface Conv2dWeightGradientHaloTile {
  /** Pixels of a row, 8 or 16: as many rows as make 32 pixels. */
  readonly tx: number
  /** Input channels, 8 or 16: 8 threads for each. */
  readonly ci: number
}

export interface Conv2dWeightGradientHaloKeys extends Conv2dWeightGradientHaloTile {
  /** Whether rows are multiples of 4 long, so that x and dy are read as vectors. */
  readonly vector: boolean
}

/** Pixels of a tile. */
export const conv2dWeightGradientHaloPixels = 32
/** Output channels of a workgroup. */
const co = 64
/** Of a thread. */
const each = 8

/** Threads of a workgroup. */
export const conv2dWeightGradientHaloThreads = ({ ci }: Conv2dWeightGradientHaloTile): number => (co / each) * ci

const conv2dWeightGradientHaloUniform = uniform({
  n: 'i32',
  cin: 'i32',
  h: 'i32',
  w: 'i32',
  cout: 'i32',
  /** Tiles of a split. */
  range: 'i32',
})

/**
 * The gradient by its weights of the 3×3 convolution of stride 1 and pad 1,
 * dW[co,ci,ky,kx] = Σ_{n,y,x} dY[n,co,y,x] · x[n,ci, y − 1 + ky, x − 1 + kx], with both in workgroup memory, each read
 * once for all 9 taps. A workgroup owns 64 output channels of 8 or 16 input channels and walks over tiles of 32 pixels:
 * dY of a tile, 64 × 8 vec4, and x with a row above and below and 4 columns left and right (one would do, but so rows
 * stay aligned), 24 vec4 a channel. A thread has 8 output channels of one input channel, 72 sums in registers. Of 8
 * pixels in a row it reads 16 vec4 of dY and 3 rows of 10 inputs, for 576 products: 6 for each number read. On RDNA 3
 * 0.94 of the inner loop's instructions are multiply-adds, and 0.85 to 0.88 of a tile's; of conv2d-weight-gradient.ts
 * 0.50 and 0.35 (bench/gpu/static.json).
 *
 * The vectors of a channel are followed by one that nobody uses, so that neighbouring channels lie in other banks: of
 * 32 threads 8 have other input channels and 4 other output channels, which are neighbours too, those of a thread being
 * 8 apart. Beyond a map both are 0. For channels beyond the last stands what follows in memory, at most the last
 * element of all: it goes into no sum that is stored.
 *
 * Tiles are cut into equal ranges, which write partial gradients as those of conv2d-weight-gradient.ts do: the order of
 * sums is fixed.
 *
 * Bindings: 0 the uniform, x [n,cin,h,w]; dy [n,cout,h,w]; partial [splits,cout,cin,3,3]. Grid: tiles of input channels
 * (x), of output channels (y), splits (z). At most 15.3 KiB of workgroup memory.
 */
export function conv2dWeightGradientHalo({ tx, ci, vector, ...rest }: Conv2dWeightGradientHaloKeys): string {
  noMore(rest)
  const threads = conv2dWeightGradientHaloThreads({ tx, ci })
  const ty = conv2dWeightGradientHaloPixels / tx
  const quads = conv2dWeightGradientHaloPixels / 4
  const [dStride, hop] = [quads + 1, threads / quads]
  const [columns, rows] = [tx / 4 + 2, ty + 2]
  const patch = columns * rows
  // A quarter of the channels at a time, by three quarters of the threads.
  const [xStride, xHop] = [patch + 1, ci / 4]
  const unit = vector ? 4 : 1
  return wgsl`
${conv2dWeightGradientHaloUniform.wgsl()}
@group(0) @binding(1) var<storage, read> x: array<${vector ? 'vec4f' : 'f32'}>;
@group(0) @binding(2) var<storage, read> dy: array<${vector ? 'vec4f' : 'f32'}>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

var<workgroup> ds: array<vec4f, ${co * dStride}>;
var<workgroup> xs: array<vec4f, ${ci * xStride}>;

#if ${!vector}
/** Which of the 4 pixels from column \ix on lie in the map. */
fn inMap(ix: i32, inside: bool) -> vec4<bool> {
  let columns = vec4i(ix) + vec4i(0, 1, 2, 3);
  return vec4<bool>(inside) & (columns >= vec4i()) & (columns < vec4i(p.w));
}
#endif

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) thread: u32) {
  let area = p.h * p.w;
  let tilesX = (p.w + ${tx - 1}) / ${tx};
  let tilesY = (p.h + ${ty - 1}) / ${ty};
  let begin = i32(wg.z) * p.range;
  let end = min(begin + p.range, p.n * tilesX * tilesY);
  let ci0 = i32(wg.x) * ${ci};
  let co0 = i32(wg.y) * ${co};

  // What this thread gathers: of dY one quad of every hop-th channel, of x one of every xHop-th.
  let dRow = i32(thread) / ${tx / 4} % ${ty};
  let dColumn = i32(thread) % ${tx / 4} * 4;
  let dChannel = thread / ${quads}u;
  let dTo = dChannel * ${dStride}u + thread % ${quads}u;
  let dLast = p.n * p.cout * area / ${unit} - 1;
  let xRow = i32(thread) / ${columns} % ${rows} - 1;
  let xColumn = i32(thread) % ${columns} * 4 - 4;
  let xChannel = thread / ${patch}u;
  let xTo = xChannel * ${xStride}u + thread % ${patch}u;
  let xLast = p.n * p.cin * area / ${unit} - 1;

  let input = thread % 8u + thread / 64u * 8u;
  let output = thread / 8u % 8u;
  ${lines(each, (c) => lines(9, (tap) => `var a${c}_${tap} = 0f;`))}
  var tileX = begin % tilesX;
  var tileY = begin / tilesX % tilesY;
  var n = begin / tilesX / tilesY;
  for (var tile = begin; tile < end; tile++) {
    let oy = tileY * ${ty};
    let ox = tileX * ${tx};
    workgroupBarrier();
    {
      let y = oy + dRow;
      let x = ox + dColumn;
      let inside = y < p.h && x < p.w;
      let at = select(0, ((n * p.cout + co0 + i32(dChannel)) * area + y * p.w + x) / ${unit}, inside);
      ${lines(co / hop, (i) => `ds[dTo + ${i * hop * dStride}u] = ${four('dy', `at + ${i * hop} * area / ${unit}`, 'dLast', 'x')};`)}
    }
    if (thread < ${xHop * patch}u) {
      let iy = oy + xRow;
      let ix = ox + xColumn;
      let inside = iy >= 0 && iy < p.h${vector ? ' && ix >= 0 && ix < p.w' : ''};
      let at = select(0, ((n * p.cin + ci0 + i32(xChannel)) * area + iy * p.w + ix) / ${unit}, inside);
      ${lines(4, (i) => `xs[xTo + ${i * xHop * xStride}u] = ${four('x', `at + ${i * xHop} * area / ${unit}`, 'xLast', 'ix')};`)}
    }
    workgroupBarrier();
    for (var strip = 0u; strip < 4u; strip++) {
      let dAt = output * ${dStride}u + strip * 2u;
      let xAt = input * ${xStride}u + strip / ${tx / 8}u * ${columns}u + strip % ${tx / 8}u * 2u;
      ${lines(
        3,
        (ky) => `
      let l${ky} = xs[xAt + ${ky * columns}].w;
      let m${ky}_0 = xs[xAt + ${ky * columns + 1}];
      let m${ky}_1 = xs[xAt + ${ky * columns + 2}];
      let r${ky} = xs[xAt + ${ky * columns + 3}].x;`,
      )}
      ${lines(2, (half) =>
        lines(
          each,
          (c) => `{
        let d = ds[dAt + ${c * 8 * dStride + half}];
        ${lines(4, (q) => lines(9, (tap) => `a${c}_${tap} += d[${q}] * ${at(Math.floor(tap / 3), half * 4 + q + (tap % 3))};`))}
      }`,
        ),
      )}
    }
    tileX++;
    if (tileX == tilesX) {
      tileX = 0;
      tileY++;
      if (tileY == tilesY) {
        tileY = 0;
        n++;
      }
    }
  }

  let ci = ci0 + i32(input);
  if (ci >= p.cin) { return; }
  ${lines(
    each,
    (c) => `{
    let co = co0 + i32(output) + ${c * 8};
    let to = ((i32(wg.z) * p.cout + co) * p.cin + ci) * 9;
    if (co < p.cout) {
      ${lines(9, (tap) => `partial[to + ${tap}] = a${c}_${tap};`)}
    }
  }`,
  )}
}
`
  /** Four numbers of a row. */
  function four(of: string, place: string, last: string, column: string): string {
    if (vector) return `select(vec4f(), ${of}[min(${place}, ${last})], inside)`
    const some = [0, 1, 2, 3].map((i) => `${of}[clamp(${place} + ${i}, 0, ${last})]`)
    return `select(vec4f(), vec4f(${some.join(', ')}), inMap(${column}, inside))`
  }
  /** The input of row ky that is k − 1 columns right of the strip's first pixel. */
  function at(ky: number, k: number): string {
    return k === 0 ? `l${ky}` : k === 9 ? `r${ky}` : `m${ky}_${(k - 1) >> 2}[${(k - 1) & 3}]`
  }
}

/** Tiles of pixels. */
export const conv2dWeightGradientHaloTiles = ({ n, h, w }: ConvShape, { tx }: Conv2dWeightGradientHaloTile): number =>
  n * Math.ceil(w / tx) * Math.ceil((h * tx) / conv2dWeightGradientHaloPixels)

/** The words of the uniform. */
export function conv2dWeightGradientHaloWords(
  s: ConvShape,
  tile: Conv2dWeightGradientHaloTile,
  splits: number,
): number[] {
  const { n, cin, h, w, cout } = s
  const range = Math.ceil(conv2dWeightGradientHaloTiles(s, tile) / splits)
  return conv2dWeightGradientHaloUniform.words({ n, cin, h, w, cout, range })
}

export function conv2dWeightGradientHaloGrid(
  { cin, cout }: ConvShape,
  { ci }: Conv2dWeightGradientHaloTile,
  splits: number,
): [number, number, number] {
  return [Math.ceil(cin / ci), Math.ceil(cout / co), splits]
}
