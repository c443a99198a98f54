/**
 * What the attention kernels share. Queries, keys and values are the rows of qkv [N, 3C, T], one row a channel with the
 * T tokens side by side, and so are the outputs and all gradients. A workgroup of 64 lanes owns 32 or 64 tokens of one
 * head, its own tokens, and walks over the other tokens of the head (keys, if its own are queries) 32 or 64 at a time.
 * No T×T matrix is ever in global memory, and everything is read along T, so loads are coalesced without
 * a transposition. Of every 32 tokens
 *
 *   own tokens    o = 4·(lane % 8) + 0..3, the components of a vec4f
 *   other tokens  4·(lane / 8) + 0..3, four vec4f of scores                    in {@link scores}
 *   channels      lane / 8 + 8·r, r < R, one vec4f of sums each               in {@link weighted}
 *
 * `scores`: s[other][own] = Σ_c other[c] · own[c], over chunks of 16 channels staged in workgroup memory: of 64 × 64
 * tokens four vec4f loads for 64 multiply-adds, of 32 × 32 two for 16. `weighted`: sum[c][own] += Σ_other x[c][other] ·
 * tile[other][own], 32 others at a time, with their probabilities (or the gradients of these) in workgroup memory: of
 * 64 own tokens 8 + R loads for 32 R multiply-adds, of 32 4 + R for 16 R. A multiprocessor of an H100 reads a number
 * for every 4 multiply-adds, so that the small tiles wait for that memory twice as long as they compute.
 *
 * What is staged takes 8 KiB at most, the tile 4 or 8: all of the 16 that every device has. Rows of others are staged
 * with their quads permuted by the lane that reads them, so that lanes side by side read other banks.
 *
 * R sums of 32 tokens are held in registers, at most 16 of own tokens in all (64 registers): 128 channels of 32 tokens,
 * 64 of 64. Wider heads are cut into chunks of channels, each with a workgroup that computes the scores again.
 *
 * Where T and the channels divide the tiles (`whole`) there is no logic of bounds, and a step is read into registers
 * before the barrier that frees the memory for it. Else, and on software adapters always, the inner loops begin at no
 * constant: Mesa would see how often they turn at most, unroll them and, at some 40 ms for each vec4f load, compile for
 * a minute.
 *
 * Where that leaves a GPU empty the other tokens are split, each range with workgroups of its own that write a result
 * of their own, [splits, …] in all; what joins them is attention-join.ts for the outputs, sum-splits.ts for gradients.
 */
import { lines } from './conv2d-shape.ts'
import { uniform } from './uniform.ts'

export interface AttentionKeys {
  /** T is divisible by 4, and rows are read as vec4f. */
  readonly vector: boolean
  /** Whether T is a multiple of both tiles, and the head of R and of 16 channels. */
  readonly whole: boolean
  /** Own tokens of a workgroup, and others at a time. */
  readonly own: 32 | 64
  readonly other: 32 | 64
  /** R: channels a lane sums, 1 to 16; of 64 own tokens 8. */
  readonly rows: number
}

export const attentionThreads = 64
export const attentionMaxRows = (own: number): number => 512 / own
/** Channels staged at once for the scores. */
export const attentionDepth = 16
const depth = attentionDepth
/** Of them written out in the loop over them. */
const unrolled = 4

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
  /** Other tokens that one workgroup walks over, a multiple of 64; where they are fewer than T there are splits. */
  range: 'u32',
  /** 1 / sqrt(width) */
  scale: 'f32',
})

/** Quads of other tokens staged at once for the weighted sum. */
export const attentionQuads = (rows: number): number => (rows > 8 ? 4 : 8)

/** A line for every vec4f of a lane's scores: those of other token 32 b + j with own tokens 32 a. */
export const eachScore = (
  { own, other }: AttentionKeys,
  line: (score: string, a: number, b: number, j: number) => string,
): string => lines(other / 32, (b) => lines(4, (j) => lines(own / 32, (a) => line(`${b}_${j}_${a}`, a, b, j))))

/** A line for every vec4f of a lane's own tokens. */
export const eachOwn = ({ own }: AttentionKeys, line: (a: number) => string): string => lines(own / 32, line)

/** A line for every sum of a lane. */
export const eachSum = (keys: AttentionKeys, line: (sum: string, a: number) => string): string =>
  lines(keys.rows, (r) => eachOwn(keys, (a) => line(`sum${r}_${a}`, a)))

/** Whether other token 32 b + j of a lane exists: 'true' where all do. */
export const exists = ({ whole }: AttentionKeys, b: number, j: number): string =>
  whole ? 'true' : `other + ${32 * b + j}u + 4u * group < p.tokens`

/**
 * The uniform, the bindings (reads, then writes), a `load_NAME(row, token, inside)` for each read and a
 * `store_NAME(row, token, value)` for each write, four tokens a time; what lies beyond the last token reads as 0.
 */
export function attentionHead(
  { vector, own, other, rows }: AttentionKeys,
  reads: readonly string[],
  writes: readonly string[],
  parked = false,
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

var<workgroup> stage: array<vec4<f32>, ${Math.max((depth * (own + other)) / 4, 8 * rows * attentionQuads(rows))}>;
var<workgroup> tile: array<vec4<f32>, ${(own * (parked ? other : 32)) / 4}>;
`
}

/**
 * The beginning of `main`: which head, tokens and channels this workgroup has. `q`, `k`, `v` are the first rows of the
 * head in qkv, `first` its first row in [N, C, T], `line` its row in per-token values [N, heads, T]. `part` is the row
 * in results of the latter kind that are split, [splits, N, heads, T]; other tokens are those from `begin` to `end`.
 */
export const attentionMain = (keys: AttentionKeys): string => `
  let index = wg.x + wg.y * grid.x;
  if (index >= p.total) { return; }
  let own = index % p.tiles * ${keys.own}u;
  let chunk = index / p.tiles % p.chunks * ${8 * keys.rows}u;
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
  ${eachSum(keys, (sum) => `var ${sum} = vec4<f32>();`)}`

/** A row of quads of one of the bindings: which, its first row, the first token. */
interface Source {
  readonly binding: string
  readonly row: string
  readonly token: string
}

/** `read` before a barrier and `write` after it bring a block into `stage`. */
interface Staging {
  readonly read: string
  readonly write: string
}

/**
 * Stages `rows` channels of `quads` quads. `to` says where a quad goes, and the same for each 64 of them, but for 64
 * times their number; `inside` whether there is a channel.
 */
function staged(
  whole: boolean,
  name: string,
  { binding, row, token }: Source,
  [rows, quads]: readonly [rows: number, quads: number],
  to: (row: string, quad: string) => string,
  inside: (row: string) => string,
): Staging {
  const hop = attentionThreads / quads
  const turns = rows / hop
  const place = to(`lane / ${quads}u`, `lane % ${quads}u`)
  if (whole)
    return {
      read: `
    let ${name}At = (${row} + lane / ${quads}u) * (p.tokens / 4u) + (${token}) / 4u + lane % ${quads}u;
    ${lines(turns, (i) => `let ${name}${i} = ${binding}[${name}At + ${i * hop}u * (p.tokens / 4u)];`)}`,
      write: `
    ${lines(turns, (i) => `stage[${place} + ${i * attentionThreads}u] = ${name}${i};`)}`,
    }
  return {
    read: '',
    write: `
    for (var e = lane; e < ${rows * quads}u; e += ${attentionThreads}u) {
      let c = e / ${quads}u;
      stage[${to('c', `e % ${quads}u`)}] =
        load_${binding}(${row} + c, ${token} + 4u * (e % ${quads}u), ${inside('c')});
    }`,
  }
}

/** Declares name0_0_0 and so on, the products of a lane's other tokens with its own ones, and computes them. */
export function scores(
  keys: AttentionKeys,
  name: string,
  [ownBinding, ownRow]: readonly [binding: string, row: string],
  [otherBinding, otherRow]: readonly [binding: string, row: string],
): string {
  const { whole } = keys
  const [across, down] = [keys.own / 4, keys.other / 4]
  const inside = (row: string): string => `c0 + ${row} < p.width`
  const of = (side: string, binding: string, row: string, quads: number, first: number): Staging =>
    staged(
      whole,
      side,
      { binding, row: `${row} + c0`, token: side },
      [depth, quads],
      (row, quad) => `(${row}) * ${quads}u + ${quad} + ${first}u`,
      inside,
    )
  const own = of('own', ownBinding, ownRow, across, 0)
  const other = of('other', otherBinding, otherRow, down, depth * across)
  const written = whole ? unrolled : 1
  const end = `c0 + ${depth}u`
  return `
  ${eachScore(keys, (score) => `var ${name}${score} = vec4<f32>();`)}
  for (var c0 = 0u; c0 < p.width; c0 += ${depth}u) {
    ${own.read}
    ${other.read}
    workgroupBarrier();
    ${own.write}
    ${other.write}
    workgroupBarrier();
    for (var channel = c0; channel < ${whole ? end : `min(p.width, ${end})`}; channel += ${written}u) {
      let c = channel / ${written}u % ${depth / written}u;
      let ownAt = c * ${written * across}u + column;
      let otherAt = c * ${written * down}u + group + ${depth * across}u;
      ${lines(
        written,
        (c) => `{
      ${eachOwn(keys, (a) => `let a${a} = stage[ownAt + ${c * across + 8 * a}u];`)}
      ${lines(down / 8, (b) => `let b${b} = stage[otherAt + ${c * down + 8 * b}u];`)}
      ${eachScore(keys, (score, a, b, j) => `${name}${score} += b${b}[${j}] * a${a};`)}
      }`,
      )}
    }
  }`
}

/** Adds to the sums the rows of a binding weighted with the scores s, which pass the tile 32 others at a time. */
export function weighted(keys: AttentionKeys, [binding, row]: readonly [binding: string, row: string]): string {
  const { whole, rows } = keys
  const across = keys.own / 4
  const quads = attentionQuads(rows)
  const end = `staged + ${4 * quads}u`
  const turned = (row: string, quad: string): string => `(${quad} + (${row}) * ${quads}u / 8u) % ${quads}u`
  return lines(keys.other / 32, (b) => {
    const { read, write } = staged(
      whole,
      'x',
      { binding, row: `${row} + chunk`, token: `other + ${32 * b}u + j0` },
      [8 * rows, quads],
      (row, quad) => `(${row}) * ${quads}u + ${turned(row, quad)}`,
      (row) => `chunk + ${row} < p.width`,
    )
    const store = lines(4, (j) =>
      eachOwn(keys, (a) => `tile[(4u * group + ${j}u) * ${across}u + column + ${8 * a}u] = s${b}_${j}_${a};`),
    )
    return `
  ${quads === 8 ? '{ const j0 = 0u;' : `for (var j0 = 0u; j0 < min(32u, p.tokens - other); j0 += ${4 * quads}u) {`}
    ${read}
    workgroupBarrier();
    ${quads === 8 ? store : `if (j0 == 0u) { ${store} }`}
    ${write}
    workgroupBarrier();
    let staged = other + ${32 * b}u + j0;
    for (var token = staged; token < ${whole ? end : `min(p.tokens, ${end})`}; token += 4u) {
      let quad = token / 4u % 8u;
      let at = quad * ${4 * across}u + column;
      ${lines(4, (i) => eachOwn(keys, (a) => `let w${i}_${a} = tile[at + ${across * i + 8 * a}u];`))}
      let xAt = group * ${quads}u + ${turned('group', 'quad')};
      ${lines(
        rows,
        (r) => `{
        let x = stage[xAt + ${8 * r * quads}u];
        ${lines(4, (i) => eachOwn(keys, (a) => `sum${r}_${a} += x[${i}] * w${i}_${a};`))}
      }`,
      )}
    }
  }`
  })
}

/**
 * Stores the sums times \`factor\` in the head's rows from \`row\` on; one store site, for compilers
 * that are slow with many.
 */
export function storeSums(keys: AttentionKeys, name: string, row: string, factor: (a: number) => string): string {
  const { rows, whole } = keys
  const count = keys.own / 32
  const channel = `chunk + group + 8u * (i / ${count}u)`
  const factors = eachSum(keys, (sum, a) => `${sum} * (${factor(a)}),`)
  return `
  var sums = array<vec4<f32>, ${rows * count}>(${factors});
  for (var i = 0u; ${whole ? `i < ${rows * count}u` : `${channel} < min(p.width, chunk + ${8 * rows}u)`}; i++) {
    store_${name}(${row} + ${channel}, own + 4u * column + 32u * (i % ${count}u), sums[i]);
  }`
}
