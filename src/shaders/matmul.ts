import { noMore, wgsl } from './template.ts'
import { uniform } from './uniform.ts'

export interface MatmulKeys {
  /** Whether A's rows, and B's rows, are contiguous along K and N. */
  readonly rowsA: boolean
  readonly rowsB: boolean
}

export const matmulTile = 32

export const matmulUniform = uniform({
  m: 'u32',
  n: 'u32',
  k: 'u32',
  /** Strides by row and column. */
  aRow: 'u32',
  aColumn: 'u32',
  bRow: 'u32',
  bColumn: 'u32',
  /** The extent of the inner of two batch axes, and the strides along both. */
  batch1: 'u32',
  aBatch0: 'u32',
  aBatch1: 'u32',
  bBatch0: 'u32',
  bBatch1: 'u32',
})

/**
 * Batched matrix product, C[b] = A[b] B[b], of any sizes, where gemm.ts does not serve: sizes that leave no vec4 or no
 * whole steps of terms, and software adapters, where little is to be multiplied and less to be compiled. A workgroup of
 * 64 lanes makes a tile of 32 x 32, each lane 4 x 4 of it in registers, and the two 32 x 16 strips it
 * multiplies pass through workgroup memory (4 KiB). Transposition is in the strides, so one kernel serves all four
 * cases; the lanes that load a strip run along whichever axis is contiguous.
 *
 * Bindings: 0 the uniform, 1 A, 2 B, 3 C.
 */
export function matmulShader({ rowsA, rowsB, ...rest }: MatmulKeys): string {
  noMore(rest)
  return wgsl`
${matmulUniform.wgsl()}
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

// Both strips are kept k-major: left[k * 32 + row], right[k * 32 + column].
var<workgroup> left: array<f32, 512>;
var<workgroup> right: array<f32, 512>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row0 = group.y * 32u;
  let column0 = group.x * 32u;
  let batch0 = group.z / p.batch1;
  let batch1 = group.z % p.batch1;
  let aStart = batch0 * p.aBatch0 + batch1 * p.aBatch1;
  let bStart = batch0 * p.bBatch0 + batch1 * p.bBatch1;
  let r = (lane / 8u) * 4u;
  let s = (lane % 8u) * 4u;
  var sums: array<vec4<f32>, 4>;
  for (var k0 = 0u; k0 < p.k; k0 += 16u) {
    for (var i = lane; i < 512u; i += 64u) {
      #if ${rowsA}
      let kA = i % 16u; let row = i / 16u;
      #else
      let kA = i / 32u; let row = i % 32u;
      #endif
      let insideA = (row0 + row < p.m) && (k0 + kA < p.k);
      left[kA * 32u + row] = select(0.0, a[select(0u, aStart + (row0 + row) * p.aRow + (k0 + kA) * p.aColumn, insideA)], insideA);
      #if ${rowsB}
      let kB = i / 32u; let column = i % 32u;
      #else
      let kB = i % 16u; let column = i / 16u;
      #endif
      let insideB = (column0 + column < p.n) && (k0 + kB < p.k);
      right[kB * 32u + column] = select(0.0, b[select(0u, bStart + (k0 + kB) * p.bRow + (column0 + column) * p.bColumn, insideB)], insideB);
    }
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) {
      let right4 = vec4<f32>(right[k * 32u + s], right[k * 32u + s + 1u], right[k * 32u + s + 2u], right[k * 32u + s + 3u]);
      for (var i = 0u; i < 4u; i++) { sums[i] += left[k * 32u + r + i] * right4; }
    }
    workgroupBarrier();
  }
  let cStart = group.z * p.m * p.n;
  for (var i = 0u; i < 4u; i++) {
    for (var j = 0u; j < 4u; j++) {
      if (row0 + r + i < p.m && column0 + s + j < p.n) { c[cStart + (row0 + r + i) * p.n + column0 + s + j] = sums[i][j]; }
    }
  }
}
`
}
