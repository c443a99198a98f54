import { TweedieError } from '../../../errors.ts'
import { matmulShader, matmulTile, matmulUniform } from '../../../shaders/matmul.ts'
import { matmulRows, matmulRowsColumns, matmulRowsUniform } from '../../../shaders/matmul-rows.ts'
import type { MatmulParams } from '../../ops/matmul.ts'
import { broadcastStrides, collapse, formatShape, type Shape } from '../../shape.ts'
import { linearGrid, type Launch } from '../launch.ts'
import { gemmFits, gemmTiles, type Product } from './gemm.ts'
import { runChosen, type Candidates, type Variant } from './splits.ts'

/** Of A, with which a product is one of few rows: a thread holds a sum of four for each. */
const maxRows = 8

function fewRows({ m, n, k }: Product, maxGrid: number): Variant {
  return {
    key: `matmul-rows ${m}`,
    code: () => matmulRows({ rows: m }),
    uniforms: matmulRowsUniform.words({ n, k }),
    grid: linearGrid(Math.ceil(n / matmulRowsColumns), maxGrid),
    splits: 1,
  }
}

/**
 * Transposition is how an operand lies, and broadcast batch axes are strides, so that one kernel serves every case: a
 * GPU's is gemm.ts or, for few rows, matmul-rows.ts; matmul.ts has what that one does not, and software adapters, on
 * which it compiles in a fifth of the time. Batch axes that do not collapse to two runs are refused.
 */
export const matmul: Launch<MatmulParams> = (encoder, { transposeA, transposeB }, [a, b], [c]) => {
  const [m, n] = c.shape.slice(-2)
  const k = a.shape[a.shape.length - (transposeA ? 2 : 1)]
  const batchShape = c.shape.slice(0, -2)
  const batchStrides = (shape: Shape): number[] =>
    broadcastStrides(shape.slice(0, -2), batchShape).map((s) => s * shape[shape.length - 1] * shape[shape.length - 2])
  const batch = collapse(batchShape, [batchStrides(a.shape), batchStrides(b.shape)])
  if (batch.dims.length > 2)
    throw new TweedieError(
      'unsupported',
      `matmul: the batch axes of ${formatShape(a.shape)} and ${formatShape(b.shape)} broadcast in more than two ` +
        'runs; make them dense first.',
    )
  const [outer, batch1] = batch.dims.length === 2 ? batch.dims : [1, batch.dims[0]]
  const [aBatch0, aBatch1] = batch.dims.length === 2 ? batch.strides[0] : [0, batch.strides[0][0]]
  const [bBatch0, bBatch1] = batch.dims.length === 2 ? batch.strides[1] : [0, batch.strides[1][0]]
  const layout = `${transposeA ? 't' : 'n'}${transposeB ? 't' : 'n'}`
  const product: Product = {
    m,
    n,
    k,
    termsA: !transposeA,
    termsB: transposeB,
    aStride: transposeA ? m : k,
    bStride: transposeB ? k : n,
    width: n,
    bImage: 0,
    ...{ terms: k, aGap: 0, bGap: 0 },
    batches: outer * batch1,
    batch1,
    aBatch0,
    aBatch1,
    bBatch0,
    bBatch1,
  }
  const flops = 2 * m * n * k * outer * batch1
  if (encoder.capabilities.software || !gemmFits(product)) {
    encoder.dispatch({
      key: `matmul ${layout}`,
      code: () => matmulShader({ rowsA: !transposeA, rowsB: !transposeB }),
      uniforms: matmulUniform.words({
        ...{ m, n, k, batch1, aBatch0, aBatch1, bBatch0, bBatch1 },
        aRow: transposeA ? 1 : k,
        aColumn: transposeA ? m : 1,
        bRow: transposeB ? 1 : n,
        bColumn: transposeB ? k : 1,
      }),
      read: [a, b],
      write: [c],
      grid: [Math.ceil(n / matmulTile), Math.ceil(m / matmulTile), product.batches],
      flops,
    })
    return
  }
  const epilogue = { bias: false, residual: false }
  const few = m <= maxRows && product.batches === 1 && !transposeA && transposeB
  const candidates = (): Candidates => {
    const found = new Map<string, () => Variant>()
    if (few) found.set('rows', () => fewRows(product, encoder.capabilities.maxGrid))
    const tiled = gemmTiles(found, product, epilogue)
    return { found, usual: few ? 'rows' : tiled }
  }
  const { batches } = product
  const task = {
    choice: `matmul ${m}x${k}x${n}x${batches} ${layout}`,
    also: `${batch1} ${aBatch0} ${aBatch1} ${bBatch0} ${bBatch1}`,
    ...{ candidates, epilogue, flops, count: batches * m * n, area: m * n, channels: 1 },
  }
  // gemm.ts takes B first, as the x of a convolution.
  runChosen(encoder, task, [b, a], c)
}
