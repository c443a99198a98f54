/**
 * Multi-head self-attention over the tokens of qkv [N, 3C, T], guided-diffusion's QKVAttention and QKVAttentionLegacy:
 * no bias, no mask. Nothing of size T×T exists in global memory: the forward pass keeps the logarithm of the sum of
 * exponentials of every query, from which the backward pass computes the probabilities again.
 */
import { TweedieError, unexpected } from '../../errors.ts'
import type { Spec } from '../backend.ts'
import { refuseUnknown } from '../../refuse.ts'
import { applyOne, applyOp, defineOp, noGradient } from '../op.ts'
import { shapeError } from '../shape.ts'
import type { Tensor } from '../tensor.ts'

/** What the op behind {@link attention}, and its gradient, are told. */
export interface AttentionParams {
  readonly heads: number
  readonly newOrder: boolean
}

/** qkv → out [N, C, T] and the log-sum-exp of every query's scores [N, heads, T]. */
export const attentionOp = defineOp<AttentionParams>({
  name: 'attention',
  shape({ heads }, [qkv]): Spec[] {
    if (qkv.shape.length !== 3 || qkv.shape[1] % 3 !== 0)
      throw shapeError('attention', 'queries, keys and values [N, 3C, T]', qkv.shape)
    const [n, rows, tokens] = qkv.shape
    if (!Number.isInteger(heads) || heads < 1 || (rows / 3) % heads !== 0) {
      throw new TweedieError(
        'option',
        `attention: expected a number of heads that divides the ${rows / 3} channels, found ${heads}.`,
      )
    }
    return [
      { shape: [n, rows / 3, tokens], dtype: 'f32' },
      { shape: [n, heads, tokens], dtype: 'f32' },
    ]
  },
  saves: () => ({ inputs: [0], outputs: [0, 1] }),
  gradient: ({ params, input, output, cotangent }) => [
    applyOne(attentionGrad, params, [input(0), output(0), output(1), cotangent()]),
  ],
})

/** (qkv, out, logsumexp, dOut) → dqkv. */
export const attentionGrad = defineOp<AttentionParams>({
  ...noGradient('attentionGrad'),
  shape: (_, [qkv]) => [{ shape: qkv.shape, dtype: 'f32' }],
})

/** Options of {@link attention}. */
export interface AttentionOptions {
  /** Must divide C; a head has d = C / heads channels. */
  readonly heads: number
  /**
   * How the 3C rows are ordered. True (guided-diffusion's `use_new_attention_order`, QKVAttention): C rows of queries
   * for all heads, then keys, then values. False (QKVAttentionLegacy, most released models): per head d rows of
   * queries, d of keys, d of values.
   */
  readonly newOrder: boolean
}

const attentionOptions = { heads: true, newOrder: true } as const

/**
 * Multi-head self-attention over T tokens (guided-diffusion's QKVAttention and QKVAttentionLegacy; no bias, no mask):
 * softmax(qᵀk / sqrt(d)) over the keys, times the values, `qkv` [N, 3C, T] → [N, C, T], channel head·d + c.
 */
export function attention(qkv: Tensor, options: AttentionOptions): Tensor {
  refuseUnknown('attention', options, attentionOptions)
  const { heads, newOrder } = options
  if (typeof newOrder !== 'boolean') throw unexpected('attention', 'newOrder, true or false', newOrder)
  const [out, logsumexp] = applyOp(attentionOp, { heads, newOrder }, [qkv]) as Tensor[]
  // The tape holds it if there is a backward pass.
  logsumexp.dispose()
  return out
}
