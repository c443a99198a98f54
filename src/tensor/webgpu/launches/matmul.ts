import { TweedieError } from '../../../errors.ts'
import { matmulShader, matmulTile, matmulUniform } from '../../../shaders/matmul.ts'
import type { MatmulParams } from '../../ops/matmul.ts'
import { broadcastStrides, collapse, formatShape, type Shape } from '../../shape.ts'
import type { Launch } from '../launch.ts'

/**
 * Expresses transposition and broadcast batch axes as strides, so that the one kernel serves every case. Batch axes
 * that do not collapse to two runs are refused.
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
  const [aRow, aColumn] = transposeA ? [1, m] : [k, 1]
  const [bRow, bColumn] = transposeB ? [1, k] : [n, 1]
  encoder.dispatch({
    key: `matmul ${transposeA ? 't' : 'n'}${transposeB ? 't' : 'n'}`,
    code: () => matmulShader({ rowsA: !transposeA, rowsB: !transposeB }),
    uniforms: matmulUniform.words({
      m,
      n,
      k,
      aRow,
      aColumn,
      bRow,
      bColumn,
      batch1,
      aBatch0,
      aBatch1,
      bBatch0,
      bBatch1,
    }),
    read: [a, b],
    write: [c],
    grid: [Math.ceil(n / matmulTile), Math.ceil(m / matmulTile), outer * batch1],
    flops: 2 * m * n * k * outer * batch1,
  })
}
