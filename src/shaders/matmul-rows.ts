import { lines } from './conv2d-shape.ts'
import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface MatmulRowsKeys {
  /** Rows of A, 1 to 8: the samples of a batch. */
  readonly rows: number
}

export const matmulRowsThreads = 64
/** Columns of C that a workgroup makes. */
export const matmulRowsColumns = 2
const [threads, columns] = [matmulRowsThreads, matmulRowsColumns]
/** Threads that share a column. */
const sharing = threads / columns

export const matmulRowsUniform = uniform({
  n: 'u32',
  /** A multiple of 4. */
  k: 'u32',
})

/**
 * C = A Bᵀ for A [rows,K] and B [N,K] where A has few rows, as a linear layer of a small batch: each number of B is
 * read once and used `rows` times, so that the time is that of reading B. 32 neighbours share a column of C and read
 * its row of B a vec4f each; their sums meet in workgroup memory, in order. A comes out of the caches.
 *
 * Bindings: 0 the uniform, B, A (as gemm.ts has them), C [rows,N]. Grid: pairs of columns.
 */
export function matmulRows({ rows, ...rest }: MatmulRowsKeys): string {
  noMore(rest)
  return wgsl`
${matmulRowsUniform.wgsl()}
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read> a: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

var<workgroup> sums: array<f32, ${threads * rows}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) grid: vec3u, @builtin(local_invocation_index) t: u32) {
  let column = (wg.x + wg.y * grid.x) * ${columns} + t / ${sharing};
  let quads = p.k / 4;
  // A column beyond the last is that one again, and is not stored.
  let row = min(column, p.n - 1) * quads;
  ${lines(rows, (r) => `var s${r} = vec4f();`)}
  for (var q = t % ${sharing}; q < quads; q += ${sharing}) {
    let w = b[row + q];
    ${lines(rows, (r) => `s${r} += a[${r} * quads + q] * w;`)}
  }
  ${lines(rows, (r) => `sums[${r * threads} + t] = s${r}.x + s${r}.y + (s${r}.z + s${r}.w);`)}
  workgroupBarrier();
  // One thread a number.
  for (var i = t; i < ${columns * rows}; i += ${threads}) {
    let own = i / ${columns} * ${threads} + i % ${columns} * ${sharing};
    var sum = sums[own];
    for (var l = 1u; l < ${sharing}; l++) { sum += sums[own + l]; }
    let to = (wg.x + wg.y * grid.x) * ${columns} + i % ${columns};
    if (to < p.n) { c[i / ${columns} * p.n + to] = sum; }
  }
}
`
}
