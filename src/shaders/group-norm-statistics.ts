/**
 * Mean and variance of every group, in two passes over the data. A workgroup of 64 lanes owns a chunk of a group: a
 * whole group where there are enough groups to fill the device, else several chunks a group whose results
 * {@link groupNormCombine} joins. Groups are contiguous, so a chunk is a run of memory.
 *
 * The first pass gives a mean m that rounding has moved a little; the second sums d = x − m and d², and corrects both
 * results by Σd: mean = m + Σd/n, M2 = Σd² − (Σd)²/n, where the subtraction removes next to nothing. Values of 1e4 with a
 * standard deviation of 1 keep their variance to a few roundings.
 *
 * Bindings: 0 the uniform (chunks in all, chunks a group, elements of a group and of a chunk counted in V, eps), 1 x,
 * 2 the result: [N, groups, 2] mean and 1/sqrt(variance + eps) if there is one chunk a group, else
 * [N, groups, chunks, 2] mean and M2 of each chunk.
 */
import { elementType, groupNormThreads } from './group-norm-row.ts'
import { noMore, wgsl } from './template.ts'

export interface GroupNormStatisticsKeys {
  /** Groups hold a multiple of 4 elements. */
  readonly vector: boolean
}

const chunkStruct = /* wgsl */ `
struct Chunks { count: u32, parts: u32, group: u32, chunk: u32, lane: u32, eps: f32 }
@group(0) @binding(0) var<uniform> p: Chunks;
// The elements (not steps of V) of chunk \`part\` of a group; \`lane\` is the number of elements in a V.
fn elementsOf(part: u32) -> f32 { return f32(min(p.chunk, p.group - part * p.chunk) * p.lane); }
`

export function groupNormStatistics({ vector, ...rest }: GroupNormStatisticsKeys): string {
  noMore(rest)
  return wgsl`
${chunkStruct}
${elementType(vector)}
@group(0) @binding(1) var<storage, read> x: array<V>;
@group(0) @binding(2) var<storage, read_write> result: array<vec2<f32>>;

var<workgroup> partial: array<vec2<f32>, ${groupNormThreads}>;

// The sum of every lane's value, by a tree of fixed order.
fn meet(lane: u32, value: vec2<f32>) -> vec2<f32> {
  workgroupBarrier();
  partial[lane] = value;
  workgroupBarrier();
  for (var half = ${groupNormThreads / 2}u; half > 0u; half = half / 2u) {
    if (lane < half) { partial[lane] += partial[lane + half]; }
    workgroupBarrier();
  }
  return partial[0];
}

@compute @workgroup_size(${groupNormThreads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) grid: vec3<u32>) {
  // Workgroups beyond the last chunk repeat it and store nothing.
  let index = wg.x + wg.y * grid.x;
  let own = min(index, p.count - 1u);
  let part = own % p.parts;
  let start = own / p.parts * p.group;
  let begin = start + part * p.chunk;
  let end = min(begin + p.chunk, start + p.group);
  let n = elementsOf(part);
  var sum = V();
  for (var i = begin + lane; i < end; i += ${groupNormThreads}u) { sum += x[i]; }
  let m = meet(lane, vec2<f32>(total(sum), 0)).x / n;
  var first = V();
  var second = V();
  for (var i = begin + lane; i < end; i += ${groupNormThreads}u) {
    let d = x[i] - m;
    first += d;
    second += d * d;
  }
  let sums = meet(lane, vec2<f32>(total(first), total(second)));
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
 * Bindings: 0 as above, but `count` is the number of groups; 1 mean and M2 by chunk; 2 the statistics.
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
