/**
 * What the attention kernels share. Queries, keys and values are the rows of qkv [N, 3C, T], one row a channel with the
 * T tokens side by side, and so are the outputs and all gradients. A workgroup of 64 lanes owns 32 tokens of one head,
 * its own tokens, and walks over the other tokens of the head (keys, if its own are queries) 32 at a time. No T×T
 * matrix is ever in global memory, and everything is read along T, so loads are coalesced without a transposition.
 *
 *   own tokens    o = 4·(lane % 8) + 0..3, the components of a vec4f
 *   other tokens  4·(lane / 8) + 0..3, four vec4f of scores                    in {@link scores}
 *   channels      lane / 8 + 8·r, r < R, one vec4f of sums each               in {@link weighted}
 *
 * `scores`: s[other][own] = Σ_c other[c] · own[c], over chunks of 16 channels staged in workgroup memory: two vec4f
 * loads for 16 multiply-adds. `weighted`: sum[c][own] += Σ_other x[c][other] · tile[other][own], with the tile of
 * probabilities (or their gradients) in workgroup memory: 4 + R loads for 16 R multiply-adds.
 *
 * The inner loops begin at no constant: Mesa would see how often they turn at most, unroll them and, at some 40 ms for
 * each vec4f load, compile for a minute. R sums are held in registers, at most 16 (64 registers): 128 channels. Wider
 * heads are cut into chunks of channels, each with a workgroup that computes the scores again. Workgroup memory is at
 * most 15 KiB, of which 4 are the tile.
 *
 * Where that leaves a GPU empty the other tokens are split, each range with workgroups of its own that write a result
 * of their own, [splits, …] in all; what joins them is attention-join.ts for the outputs, sum-splits.ts for gradients.
 */
import { uniform } from './uniform.ts'

export interface AttentionKeys {
  /** T is divisible by 4, and rows are read as vec4f. */
  readonly vector: boolean
  /** R: channels a lane sums, 1 to 16. */
  readonly rows: number
}

export const attentionThreads = 64
/** Tokens of a workgroup, own and other. */
export const attentionTile = 32
export const attentionMaxRows = 16

export const attentionUniform = uniform({
  /** Workgroups. */
  total: 'u32',
  heads: 'u32',
  /** Channels of a head. */
  width: 'u32',
  tokens: 'u32',
  /** Rows from head to head, and from queries to keys to values. */
  headStep: 'u32',
  partStep: 'u32',
  /** Of own tokens, and of channels. */
  tiles: 'u32',
  chunks: 'u32',
  /** Heads of all samples. */
  lines: 'u32',
  /** Other tokens that one workgroup walks over, a multiple of 32; where they are fewer than T there are splits. */
  range: 'u32',
  /** 1 / sqrt(width) */
  scale: 'f32',
})

/** Channels staged at once for the scores. */
const depth = 16
/**
 * Quads of other tokens staged at once for the weighted sum, and the stride of a row of them: odd,
 * against bank conflicts.
 */
const quadsOf = (rows: number): number => (rows > 8 ? 4 : 8)
const strideOf = (rows: number): number => quadsOf(rows) + 1

export const each = (count: number, line: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => line(i)).join('\n  ')

/**
 * The uniform, the bindings (reads, then writes), a `load_NAME(row, token, inside)` for each read and a
 * `store_NAME(row, token, value)` for each write, four tokens a time; what lies beyond the last token reads as 0.
 */
export function attentionHead(
  { vector, rows }: AttentionKeys,
  reads: readonly string[],
  writes: readonly string[],
): string {
  const type = vector ? 'vec4<f32>' : 'f32'
  const bindings = [...reads, ...writes].map(
    (name, i) =>
      `@group(0) @binding(${i + 1}) var<storage, ${i < reads.length ? 'read' : 'read_write'}> ${name}: array<${type}>;`,
  )
  const load = (name: string): string => `fn load_${name}(row: u32, token: u32, inside: bool) -> vec4<f32> {
  ${
    vector
      ? `let valid = inside && token < p.tokens;
  return select(vec4<f32>(), ${name}[select(0u, (row * p.tokens + token) / 4u, valid)], valid);`
      : `var v = vec4<f32>();
  let count = select(0u, min(4u, p.tokens - min(token, p.tokens)), inside);
  for (var k = 0u; k < count; k++) { v[k] = ${name}[row * p.tokens + token + k]; }
  return v;`
  }
}`
  const store = (name: string): string => `fn store_${name}(row: u32, token: u32, value: vec4<f32>) {
  ${
    vector
      ? `if (token < p.tokens) { ${name}[(row * p.tokens + token) / 4u] = value; }`
      : `var v = value;
  let count = min(4u, p.tokens - min(token, p.tokens));
  for (var k = 0u; k < count; k++) { ${name}[row * p.tokens + token + k] = v[k]; }`
  }
}`
  return `
${attentionUniform.wgsl()}
${bindings.join('\n')}
${reads.map(load).join('\n')}
${writes.map(store).join('\n')}

var<workgroup> stage: array<vec4<f32>, ${Math.max(16 * depth, 8 * rows * strideOf(rows))}>;
var<workgroup> tile: array<vec4<f32>, ${(attentionTile * attentionTile) / 4}>;
`
}

/**
 * The beginning of `main`: which head, tokens and channels this workgroup has. `q`, `k`, `v` are the first rows of the
 * head in qkv, `first` its first row in [N, C, T], `line` its row in per-token values [N, heads, T]. `part` is the row
 * in results of the latter kind that are split, [splits, N, heads, T]; other tokens are those from `begin` to `end`.
 */
export const attentionMain = (rows: number): string => `
  let index = wg.x + wg.y * grid.x;
  if (index >= p.total) { return; }
  let own = index % p.tiles * ${attentionTile}u;
  let chunk = index / p.tiles % p.chunks * ${8 * rows}u;
  let part = index / p.tiles / p.chunks;
  let line = part % p.lines;
  let begin = part / p.lines * p.range;
  let end = min(p.tokens, begin + p.range);
  let n = line / p.heads;
  let h = line % p.heads;
  let q = n * 3u * p.heads * p.width + h * p.headStep;
  let k = q + p.partStep;
  let v = k + p.partStep;
  let first = line * p.width;
  let column = lane % 8u;
  let group = lane / 8u;
  ${each(rows, (r) => `var sum${r} = vec4<f32>();`)}`

/** Declares name0 … name3, the products of 4 other tokens with the own ones, and computes them. */
export const scores = (name: string, ownLoad: string, ownRow: string, otherLoad: string, otherRow: string): string => `
  ${each(4, (j) => `var ${name}${j} = vec4<f32>();`)}
  for (var c0 = 0u; c0 < p.width; c0 += ${depth}u) {
    workgroupBarrier();
    for (var e = lane; e < ${8 * depth}u; e += ${attentionThreads}u) {
      let c = c0 + e / 8u;
      let token = 4u * (e % 8u);
      stage[e] = load_${ownLoad}(${ownRow} + c, own + token, c < p.width);
      stage[e + ${8 * depth}u] = load_${otherLoad}(${otherRow} + c, other + token, c < p.width);
    }
    workgroupBarrier();
    for (var c = c0; c < min(p.width, c0 + ${depth}u); c++) {
      let at = 8u * (c - c0);
      let a = stage[at + column];
      let b = stage[at + group + ${8 * depth}u];
      ${each(4, (j) => `${name}${j} += b[${j}] * a;`)}
    }
  }`

/** Adds to sum0 … the rows of \`otherLoad\` weighted with the tile. */
export const weighted = (rows: number, otherLoad: string, otherRow: string): string => `
  for (var j0 = 0u; j0 < min(${attentionTile}u, p.tokens - other); j0 += ${4 * quadsOf(rows)}u) {
    workgroupBarrier();
    for (var e = lane; e < ${8 * rows * quadsOf(rows)}u; e += ${attentionThreads}u) {
      let row = e / ${quadsOf(rows)}u;
      let quad = e % ${quadsOf(rows)}u;
      let c = chunk + row;
      stage[row * ${strideOf(rows)}u + quad] = load_${otherLoad}(${otherRow} + c, other + j0 + 4u * quad, c < p.width);
    }
    workgroupBarrier();
    let staged = other + j0;
    for (var token = staged; token < min(p.tokens, staged + ${4 * quadsOf(rows)}u); token += 4u) {
      let j = (token - staged) / 4u;
      let at = 8u * (token - other) + column;
      ${each(4, (i) => `let w${i} = tile[at + ${8 * i}u];`)}
      ${each(rows, (r) => `{ let x = stage[(group + ${8 * r}u) * ${strideOf(rows)}u + j]; sum${r} += x.x * w0 + x.y * w1 + x.z * w2 + x.w * w3; }`)}
    }
  }`

/**
 * Stores the sums times \`factor\` in the head's rows from \`row\` on; one store site, for compilers
 * that are slow with many.
 */
export const storeSums = (rows: number, name: string, row: string, factor: string): string => `
  var sums = array<vec4<f32>, ${rows}>(${each(rows, (r) => `sum${r},`)});
  for (var r = 0u; chunk + group + 8u * r < min(p.width, chunk + ${8 * rows}u); r++) {
    store_${name}(${row} + chunk + group + 8u * r, own + 4u * column, sums[r] * (${factor}));
  }`
