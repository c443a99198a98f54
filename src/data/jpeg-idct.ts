/**
 * The inverse cosine transform of a JPEG block, in whole numbers: the algorithm of Loeffler, Ligtenberg and Moschytz
 * (ICASSP 1989) with 13-bit constants and two more bits kept between its passes, rounded where libjpeg's "slow"
 * transform rounds, so that its samples are PIL's to the bit.
 */

/** sqrt(2) times sums of cosines of multiples of pi / 16, in 13 bits, as the paper names its rotations. */
const [c0298, c0390, c0541, c0765, c0899, c1175] = [2446, 3196, 4433, 6270, 7373, 9633]
const [c1501, c1847, c1961, c2053, c2562, c3072] = [12299, 15137, 16069, 16819, 20995, 25172]

const columns = new Int32Array(64)

/**
 * Transforms the dequantized coefficients `block` (64, in rows) and writes 8 x 8 samples of 0 … 255 into `plane` at
 * `at`, rows being `stride` apart.
 */
export function inverseTransform(block: Int32Array, plane: Uint8Array, at: number, stride: number): void {
  for (let x = 0; x < 8; x++) pass(block, x, 8, 11, columns, x, 8)
  for (let y = 0; y < 8; y++) {
    pass(columns, 8 * y, 1, 18, row, 0, 1)
    const to = at + y * stride
    for (let x = 0; x < 8; x++) plane[to + x] = sample(row[x])
  }
}

/** The same of a block whose only coefficient is its first. */
export function flatBlock(first: number, plane: Uint8Array, at: number, stride: number): void {
  const value = sample(((first << 2) + 16) >> 5)
  for (let y = 0; y < 8; y++) plane.fill(value, at + y * stride, at + y * stride + 8)
}

const row = new Int32Array(8)
const sample = (value: number): number => (value < -128 ? 0 : value > 127 ? 255 : value + 128)

/** One transform of eight values, `step` apart, down to `shift` bits less. */
function pass(
  from: Int32Array,
  at: number,
  step: number,
  shift: number,
  to: Int32Array,
  begin: number,
  stride: number,
): void {
  const v0 = from[at]
  const v1 = from[at + step]
  const v2 = from[at + 2 * step]
  const v3 = from[at + 3 * step]
  const v4 = from[at + 4 * step]
  const v5 = from[at + 5 * step]
  const v6 = from[at + 6 * step]
  const v7 = from[at + 7 * step]
  const half = 1 << (shift - 1)
  const turned = (v2 + v6) * c0541
  const e2 = turned - v6 * c1847
  const e3 = turned + v2 * c0765
  const e0 = (v0 + v4) * 8192
  const e1 = (v0 - v4) * 8192
  const a0 = e0 + e3 + half
  const a3 = e0 - e3 + half
  const a1 = e1 + e2 + half
  const a2 = e1 - e2 + half
  const z5 = (v7 + v3 + v5 + v1) * c1175
  const z1 = (v7 + v1) * -c0899
  const z2 = (v5 + v3) * -c2562
  const z3 = (v7 + v3) * -c1961 + z5
  const z4 = (v5 + v1) * -c0390 + z5
  const o0 = v7 * c0298 + z1 + z3
  const o1 = v5 * c2053 + z2 + z4
  const o2 = v3 * c3072 + z2 + z3
  const o3 = v1 * c1501 + z1 + z4
  to[begin] = (a0 + o3) >> shift
  to[begin + 7 * stride] = (a0 - o3) >> shift
  to[begin + stride] = (a1 + o2) >> shift
  to[begin + 6 * stride] = (a1 - o2) >> shift
  to[begin + 2 * stride] = (a2 + o1) >> shift
  to[begin + 5 * stride] = (a2 - o1) >> shift
  to[begin + 3 * stride] = (a3 + o0) >> shift
  to[begin + 4 * stride] = (a3 - o0) >> shift
}
