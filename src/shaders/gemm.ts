import { lines } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface GemmKeys {
  /** Rows and columns of C that a workgroup makes, 64 or 128 each, with a thread for 8 × 8 of them. */
  readonly rows: number
  readonly columns: number
  /** Whether neighbours in A's memory are terms of one sum: A is [M,K]. Else it is [K,M]. */
  readonly termsA: boolean
  /** The same for B: [N,K], else [K,N]. */
  readonly termsB: boolean
  /** Whether to add bias [M] and residual, of C's shape. */
  readonly bias: boolean
  readonly residual: boolean
}

/** Terms of the sum that are staged at a time; K is a multiple of it. */
export const gemmStep = 16
const step = gemmStep

export const gemmUniform = uniform({
  m: 'u32',
  n: 'u32',
  k: 'u32',
  /**
   * Elements from one row of A's memory to the next, and of B's: multiples of 4, as all that follow but the batches.
   */
  aStride: 'u32',
  bStride: 'u32',
  /** Columns of C come from images of so many, bImage elements of B apart. Where there is one image: n. */
  width: 'u32',
  bImage: 'u32',
  /** Terms of a split, a multiple of the step. */
  range: 'u32',
  /**
   * Terms that are neighbours come from images of so many, a multiple of the step, with so many elements of A and of B
   * between those of one image and those of the next. Where there is one image: k and what there is.
   */
  terms: 'u32',
  aGap: 'u32',
  bGap: 'u32',
  /** Products, the extent of the inner of their two axes, and what lies between operands along both. */
  batches: 'u32',
  batch1: 'u32',
  aBatch0: 'u32',
  aBatch1: 'u32',
  bBatch0: 'u32',
  bBatch1: 'u32',
})

/**
 * C = A B, the usual way for real GPUs: a workgroup makes a tile of C, and 16 terms at a time of both operands pass
 * through (rows + columns)·64 bytes of workgroup memory. There they lie K-major, whatever they were in memory, so that
 * a thread has 64 products of 4 loads of vec4. An operand with terms as neighbours is transposed on the way, 4×4
 * numbers a thread in registers. A step is read into registers before the barrier that frees the memory for it.
 *
 * M and N may be anything that leaves vec4 whole: a row or column beyond the last reads the last, and is not stored, so
 * that edges cost the inner loop nothing. What has no vec4 or no whole steps of terms is matmul.ts's or
 * conv2d-tile.ts's.
 *
 * z is split·batches + batch: C is [splits,batches,M,N], and sum-splits.ts adds splits if there are several. For
 * a convolution of 1×1, A are the weights, B is x [images,K,area], and the columns are the pixels of all images, so
 * that small maps fill the tiles together: C is [images,M,area].
 *
 * Bindings: 0 the uniform, B, A (as x and the weights of a convolution), bias and residual if asked for, C. Grid: tiles
 * of columns (x), of rows (y), z.
 */
export function gemm({ rows, columns, termsA, termsB, bias, residual, ...rest }: GemmKeys): string {
  noMore(rest)
  const threads = (rows * columns) / 64
  const across = columns / 8
  const inputs = ['b', 'a', ...(bias ? ['bias'] : []), ...(residual ? ['residual'] : [])]
  const sums = (line: (i: number, h: number) => string): string => lines(8, (i) => lines(2, (h) => line(i, h)))
  const a = (termsA ? alongTerms : alongSide)('a', rows, threads)
  const b = (termsB ? alongTerms : alongSide)('b', columns, threads)
  return wgsl`
${gemmUniform.wgsl()}
${lines(inputs.length, (i) => `@group(0) @binding(${i + 1}) var<storage, read> ${inputs[i]}: array<${inputs[i] === 'bias' ? 'f32' : 'vec4f'}>;`)}
@group(0) @binding(${inputs.length + 1}) var<storage, read_write> c: array<vec4f>;

var<workgroup> aTile: array<vec4f, ${(step * rows) / 4}>;
var<workgroup> bTile: array<vec4f, ${(step * columns) / 4}>;

// Where column j begins, in images that are so many elements apart.
fn columnAt(j: u32, image: u32) -> u32 { return j / p.width * image + j % p.width; }

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) t: u32) {
  let row0 = wg.y * ${rows};
  let column0 = wg.x * ${columns};
  let batch0 = wg.z % p.batches / p.batch1;
  let batch1 = wg.z % p.batches % p.batch1;
  let begin = wg.z / p.batches * p.range;
  let end = min(begin + p.range, p.k);
  // 64 threads form a square, so that a subgroup reads few numbers between its threads.
  let tileColumn = t % 8 + t / 64 % ${across / 8} * 8;
  let tileRow = t / 8 % 8 + t / ${8 * across} * 8;

  let aFirst = batch0 * p.aBatch0 + batch1 * p.aBatch1;
  let bFirst = batch0 * p.bBatch0 + batch1 * p.bBatch1;
  ${a.begin('row0', 'p.m', (i) => i)}
  ${b.begin('column0', 'p.n', (j) => `columnAt(${j}, p.bImage)`)}
  ${sums((i, h) => `var s${i}_${h} = vec4f();`)}
  var image = begin / p.terms;
  var next = (image + 1) * p.terms;
  for (var k0 = begin; k0 < end; k0 += ${step}) {
    if (k0 == next) {
      image++;
      next += p.terms;
    }
    ${a.load}
    ${b.load}
    workgroupBarrier();
    ${a.store}
    ${b.store}
    workgroupBarrier();
    for (var k = 0u; k < ${step}; k++) {
      ${lines(2, (h) => `let a${h} = aTile[k * ${rows / 4} + tileRow + ${(h * rows) / 8}];`)}
      ${lines(2, (h) => `let b${h} = bTile[k * ${columns / 4} + tileColumn + ${(h * columns) / 8}];`)}
      ${sums((i, h) => `s${i}_${h} += a${i >> 2}[${i & 3}] * b${h};`)}
    }
  }

  var out: array<vec4f, 16>;
  ${sums((i, h) => `out[${i * 2 + h}] = s${i}_${h};`)}
  let column = column0 + tileColumn * 4;
  let at = vec2u(columnAt(column, p.m * p.width), columnAt(column + ${columns / 2}, p.m * p.width)) + wg.z * p.m * p.n;
  for (var i = 0u; i < 8; i++) {
    let row = row0 + tileRow * 4 + i / 4 * ${rows / 2} + i % 4;
    for (var h = 0u; h < 2; h++) {
      if (row < p.m && column + h * ${columns / 2} < p.n) {
        let to = (at[h] + row * p.width) / 4;
        var value = out[i * 2 + h];
#if ${bias}
        value += bias[row];
#endif
#if ${residual}
        value += residual[to];
#endif
        c[to] = value;
      }
    }
  }
}
`
}

/**
 * How an operand comes into its tile [step][side] of quads, 4 neighbours of its side each. `begin` finds what stays the
 * same for all steps, given the tile's first row, how many rows there are in all, and where one begins; `load` reads
 * step k0 into registers, `store` writes it to the tile.
 */
interface Staging {
  readonly begin: (first: string, count: string, rowAt: (row: string) => string) => string
  readonly load: string
  readonly store: string
}

/** An operand [K,side]: a thread reads the same quad in several rows. */
function alongSide(name: string, side: number, threads: number): Staging {
  const quads = side / 4
  const hop = threads / quads
  const reads = step / hop
  return {
    begin: (first, count, rowAt) => `
  let ${name}Stride = p.${name}Stride / 4;
  let ${name}Term = t / ${quads};
  let ${name}At = (${name}First + ${rowAt(`min(${first} + t % ${quads} * 4, ${count} - 4)`)}) / 4;`,
    load: lines(
      reads,
      (i) => `let ${name}Read${i} = ${name}[${name}At + (k0 + ${name}Term + ${i * hop}) * ${name}Stride];`,
    ),
    store: lines(reads, (i) => `${name}Tile[(${name}Term + ${i * hop}) * ${quads} + t % ${quads}] = ${name}Read${i};`),
  }
}

/**
 * An operand [side,K]: a thread reads 4 terms of each row of a quad and writes them the other way round. Neighbours
 * take other quads, so that they write neighbouring words. The larger tiles have more threads than there are such
 * squares.
 */
function alongTerms(name: string, side: number, threads: number): Staging {
  const quads = side / 4
  const squares = (quads * step) / 4
  const some = (text: string): string => (squares < threads ? `if (t < ${squares}) {\n${text}\n}` : text)
  return {
    begin: (first, count) => `
  let ${name}Quad = t % 8 + t / ${2 * step} * 8;
  let ${name}Term = t / 8 % ${step / 4} * 4;
  let ${name}Row = min(${first} + ${name}Quad * 4, ${count} - 1);
  let ${name}More = ${count} - 1 - ${name}Row;
  let ${name}At = (${name}First + ${name}Row * p.${name}Stride + ${name}Term) / 4;
  ${lines(4, (i) => `var ${name}Read${i} = vec4f();`)}`,
    load: some(
      lines(4, (i) => {
        const row = `min(${i}, ${name}More) * (p.${name}Stride / 4)`
        return `${name}Read${i} = ${name}[${name}At + ${row} + (k0 + image * p.${name}Gap) / 4];`
      }),
    ),
    store: some(
      lines(4, (e) => {
        const column = [0, 1, 2, 3].map((i) => `${name}Read${i}[${e}]`)
        return `${name}Tile[(${name}Term + ${e}) * ${quads} + ${name}Quad] = vec4f(${column});`
      }),
    ),
  }
}
