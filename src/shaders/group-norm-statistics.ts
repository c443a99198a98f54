import { lines } from './conv2d-shape.ts'
import { elementType, groupNormThreads } from './group-norm-row.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface GroupNormStatisticsKeys {
  /** Groups hold a multiple of 4 elements. */
  readonly vector: boolean
  /** Threads of a workgroup, 64 or 256. */
  readonly threads: number
  /** Steps of a chunk that a thread holds in registers between the passes, 1 to 16; 0: it reads any chunk twice. */
  readonly held: number
}

export const groupNormStatisticsUniform = uniform({
  /** Chunks in all, and a group; where they are joined, groups in all. */
  count: 'u32',
  parts: 'u32',
  /** Steps of V in a group and in a chunk. */
  group: 'u32',
  chunk: 'u32',
  /** Elements of a V. */
  step: 'u32',
  lanes: 'u32',
  eps: 'f32',
})

const chunkStruct = /* wgsl */ `
${groupNormStatisticsUniform.wgsl()}
// The elements of chunk \`part\` of a group.
fn elementsOf(part: u32) -> f32 { return f32(min(p.chunk, p.group - part * p.chunk) * p.step); }
`

/**
 * Mean and variance of every group, in two passes over the data. `lanes` threads, a power of two up to a workgroup,
 * own a chunk: a whole group, or a part of a large one, whose parts {@link groupNormCombine} joins. Groups are
 * contiguous, so a chunk is a run of memory. The lanes of a chunk meet in a tree in workgroup memory.
 *
 * The first pass gives a mean m that rounding has moved a little; the second sums d = x − m and d², and corrects both
 * results by Σd: mean = m + Σd/n, M2 = Σd² − (Σd)²/n, where the subtraction removes next to nothing. Values of 1e4 with
 * a standard deviation of 1 keep their variance to a few roundings.
 *
 * What a thread holds it reads once, all at the same time: on a GPU a chunk is a wait for memory or two, not eight.
 *
 * Bindings: 0 the uniform, 1 x, 2 the result: [N, groups, 2] mean and 1/sqrt(variance + eps) if there is one chunk a
 * group, else [N, groups, chunks, 2] mean and M2 of each chunk.
 */
export function groupNormStatistics({ vector, threads, held, ...rest }: GroupNormStatisticsKeys): string {
  noMore(rest)
  const each = (line: (i: number) => string): string => lines(held, line)
  return wgsl`
${chunkStruct}
${elementType(vector)}
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> result: array<vec2<f32>>;

var<workgroup> partial: array<vec2<f32>, ${threads}>;

// The sum over the lanes of a chunk, by a tree of fixed order.
fn meet(local: u32, lane: u32, value: vec2<f32>) -> vec2<f32> {
  workgroupBarrier();
  partial[local] = value;
  for (var half = p.lanes / 2u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lane < half) { partial[local] += partial[min(local + half, ${threads - 1}u)]; }
  }
  workgroupBarrier();
  return partial[local - lane];
}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(num_workgroups) grid: vec3<u32>) {
  let lane = local % p.lanes;
  let index = (wg.x + wg.y * grid.x) * (${threads}u / p.lanes) + local / p.lanes;
  // Lanes beyond the last chunk repeat it and store nothing.
  let own = min(index, p.count - 1u);
  let part = own % p.parts;
  let start = own / p.parts * p.group;
  let begin = start + part * p.chunk;
  let end = min(begin + p.chunk, start + p.group);
  let n = elementsOf(part);
  var sum = V();
#if ${held > 0}
  // A step beyond the last is that one again, and counts for nothing.
  ${each((i) => `let at${i} = begin + lane + ${i}u * p.lanes;`)}
  ${each((i) => `let x${i} = x[min(at${i}, end - 1u)];`)}
  ${each((i) => `sum += select(V(), x${i}, at${i} < end);`)}
#else
  for (var i = begin + lane; i < end; i += p.lanes) { sum += x[i]; }
#endif
  let m = meet(local, lane, vec2<f32>(total(sum), 0)).x / n;
  var first = V();
  var second = V();
#if ${held > 0}
  ${each((i) => `{ let d = select(V(), x${i} - m, at${i} < end); first += d; second += d * d; }`)}
#else
  for (var i = begin + lane; i < end; i += p.lanes) {
    let d = x[i] - m;
    first += d;
    second += d * d;
  }
#endif
  let sums = meet(local, lane, vec2<f32>(total(first), total(second)));
  if (lane > 0u || index >= p.count) { return; }
  let mean = m + sums.x / n;
  let m2 = max(sums.y - sums.x * sums.x / n, 0);
  if (p.parts == 1u) { result[own] = vec2<f32>(mean, inverseSqrt(m2 / n + p.eps)); }
  else { result[own] = vec2<f32>(mean, m2); }
}
`
}

/**
 * Joins the chunks of a group, one thread a group, in order (Chan, Golub & LeVeque 1979).
 * Bindings: 0 the same uniform, 1 mean and M2 by chunk, 2 the statistics.
 */
export function groupNormCombine(): string {
  return wgsl`
${chunkStruct}
@group(0) @binding(1) var<storage, read> chunks: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> result: array<vec2<f32>>;

@compute @workgroup_size(${groupNormThreads})
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let i = id.x + id.y * grid.x * ${groupNormThreads}u;
  if (i >= p.count) { return; }
  var joined = chunks[i * p.parts];
  var n = elementsOf(0u);
  for (var part = 1u; part < p.parts; part++) {
    let chunk = chunks[i * p.parts + part];
    let more = elementsOf(part);
    let delta = chunk.x - joined.x;
    let both = n + more;
    joined += vec2<f32>(delta * (more / both), chunk.y + delta * delta * (n * more / both));
    n = both;
  }
  result[i] = vec2<f32>(joined.x, inverseSqrt(joined.y / n + p.eps));
}
`
}
