/** The tiles of the GEMM kernel, for a product and for the convolution of 1×1 that is one. */
import type { Epilogue } from '../../../shaders/sum-splits.ts'
import type { ConvShape } from '../../../shaders/conv2d-shape.ts'
import { gemm, gemmStep, gemmUniform } from '../../../shaders/gemm.ts'
import { cut, cutLong, fullGrid, fusedIn, type Variant } from './splits.ts'

/** What gemm.ts computes: its uniform but for the cut, and how the operands lie. */
export type Product = Omit<Parameters<typeof gemmUniform.words>[0], 'range'> &
  Pick<Parameters<typeof gemm>[0], 'termsA' | 'termsB'>

/**
 * Rows and columns. The larger have fewer loads a product, for shapes that fill a GPU with them; the last all of 16
 * KiB.
 */
const tiles = [
  [64, 64],
  [128, 64],
  [64, 128],
  [128, 128],
] as const

/** Whether gemm.ts has it: whole steps of terms, and vec4 of whatever is contiguous in memory. */
export const gemmFits = ({ terms, aStride, bStride, width }: Product): boolean =>
  terms % gemmStep === 0 && [aStride, bStride, width].every((length) => length % 4 === 0)

/**
 * Workgroups of 64 threads that an H100 is content with, and those it wants where the sum is cut at all: whole, 288
 * took 68 us where 4 parts took 45, and 384 took 34 where 2 parts took 44; cut, 768 take four fifths of what 384 do.
 */
const [enough, wanted] = [2.5 * fullGrid, 5.8 * fullGrid]

/**
 * Adds the tiles to the candidates, and gives the name of what does while nothing has been measured: the smallest,
 * which has the most workgroups, in the smallest cut that fills a GPU, or where the sums are `long` in one that is
 * in flight at once.
 */
export function gemmTiles(
  found: Map<string, () => Variant>,
  product: Product,
  epilogue: Epilogue,
  long = false,
): string {
  const { termsA, termsB, ...words } = product
  const { m, n, k, batches } = words
  // With both operands to transpose the largest needs 132 registers on RDNA 3; others have 120 at most.
  const fitting = termsA && termsB ? tiles.slice(0, 3) : tiles
  const names = fitting.map(([rows, columns]) => {
    const [x, y] = [Math.ceil(n / columns), Math.ceil(m / rows)]
    const name = `gemm ${rows}x${columns}`
    const [workgroups, threads] = [x * y * batches, (rows * columns) / 64]
    const make = (splits: number): Variant => {
      const keys = { rows, columns, termsA, termsB, ...fusedIn(epilogue, splits) }
      return {
        key: `gemm ${JSON.stringify(keys)}`,
        code: () => gemm(keys),
        grid: [x, y, batches * splits],
        uniforms: gemmUniform.words({ ...words, range: Math.ceil(k / splits / gemmStep) * gemmStep }),
        splits,
      }
    }
    if (long) return cutLong(found, name, { workgroups, threads, terms: k, step: gemmStep }, make)
    const of64 = threads / 64
    const work = { workgroups, full: enough / of64, wanted: wanted / of64, terms: k, piece: gemmStep }
    return cut(found, name, work, make).name
  })
  return names[0]
}

/** One product. */
const single = { batches: 1, batch1: 1, aBatch0: 0, aBatch1: 0, bBatch0: 0, bBatch1: 0 }

/** A convolution of 1×1 without stride and padding as the product of the weights and the pixels of all images. */
export function pointwiseProduct({ n, cin, cout, ho, wo, transposed = false }: ConvShape): Product {
  const area = ho * wo
  return {
    m: cout,
    n: n * area,
    k: cin,
    termsA: !transposed,
    termsB: false,
    aStride: transposed ? cout : cin,
    bStride: area,
    width: area,
    bImage: cin * area,
    ...{ terms: cin, aGap: 0, bGap: 0 },
    ...single,
  }
}

/** Its gradient by the weights: dY and x, the pixels of all images being the terms. */
export function pointwiseWeightGradient({ n, cin, cout, ho, wo }: ConvShape): Product {
  const area = ho * wo
  return {
    m: cout,
    n: cin,
    k: n * area,
    termsA: true,
    termsB: true,
    aStride: area,
    bStride: area,
    width: cin,
    bImage: 0,
    terms: area,
    aGap: (cout - 1) * area,
    bGap: (cin - 1) * area,
    ...single,
  }
}
