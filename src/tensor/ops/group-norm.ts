/**
 * Group normalisation with what follows it in ADM's blocks, in one pass: scale and shift by the timestep embedding, and
 * SiLU. With xhat = (x − mean) / sqrt(variance + eps) over the channels of a group and all positions,
 *
 *   u = xhat · weight + bias,   v = u · (1 + scale) + shift,   y = silu(v) or v.
 *
 * The backward pass keeps x and two numbers a group; it recomputes v. Everything a gradient needs are two sums per
 * sample and channel, A = Σ dv and B = Σ dv · xhat: the gradients of the parameters are products of them, and with
 * k = weight · (1 + scale) and sums over a group of m elements
 *
 *   dx = (k · dv − Σ kA / m − xhat · Σ kB / m) / sqrt(variance + eps).
 */
import { TweedieError } from '../../errors.ts'
import type { Spec } from '../backend.ts'
import { expression, f } from '../expression.ts'
import { refuseUnknown } from '../../refuse.ts'
import { applyOne, applyOp, defineOp, noGradient } from '../op.ts'
import { shapeError } from '../shape.ts'
import type { Tensor } from '../tensor.ts'
import { concat, slice } from './copy.ts'
import { map } from './map.ts'

/** What the op behind {@link groupNorm}, and its gradients, are told. */
export interface GroupNormParams {
  readonly groups: number
  readonly eps: number
  readonly silu: boolean
  /** Whether a tensor with scale and shift comes as the fourth input. */
  readonly scaleShift: boolean
}

/** (x, weight, bias, scaleShift?) → y and the statistics [N, groups, 2]: mean and 1 / sqrt(variance + eps). */
export const groupNormOp = defineOp<GroupNormParams>({
  name: 'groupNorm',
  shape({ groups, eps, scaleShift }, [x, weight, bias, modulation]): Spec[] {
    if (x.shape.length < 2 || x.shape.length > 4)
      throw shapeError('groupNorm', 'an input [N, C], [N, C, T] or [N, C, H, W]', x.shape)
    const [n, channels] = x.shape
    if (!(typeof eps === 'number' && eps >= 0))
      throw new TweedieError('option', `groupNorm: expected an eps of 0 or more, found ${eps}.`)
    if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0) {
      throw new TweedieError(
        'option',
        `groupNorm: expected a number of groups that divides the ${channels} channels, found ${groups}.`,
      )
    }
    for (const t of [weight, bias])
      if (t.shape.length !== 1 || t.shape[0] !== channels)
        throw shapeError('groupNorm', `a weight and a bias [${channels}]`, t.shape)
    if (
      scaleShift &&
      (modulation.shape.length !== 2 || modulation.shape[0] !== n || modulation.shape[1] !== 2 * channels)
    ) {
      throw shapeError('groupNorm', `scale and shift [${n}, ${2 * channels}]`, modulation.shape)
    }
    return [
      { shape: x.shape, dtype: 'f32' },
      { shape: [n, groups, 2], dtype: 'f32' },
    ]
  },
  saves: ({ scaleShift }) => ({ inputs: scaleShift ? [0, 1, 2, 3] : [0, 1, 2], outputs: [1] }),
  gradient({ params, input, output, cotangent, needs }) {
    const [x, weight, bias, scaleShift] = (params.scaleShift ? [0, 1, 2, 3] : [0, 1, 2]).map((i) => input(i) as Tensor)
    const forward = [x, cotangent(), output(1), weight, bias, ...(scaleShift ? [scaleShift] : [])]
    const [a, b] = applyOp(groupNormSums, params, forward) as Tensor[]
    // Of each sample; the tape sums them.
    const modulated = (s: Tensor): Tensor =>
      scaleShift ? map(timesOnePlus, [s, slice(scaleShift, 1, 0, x.shape[1])]) : s
    return [
      needs(0) ? applyOne(groupNormDataGrad, params, [...forward, a, b]) : null,
      needs(1) ? modulated(b) : null,
      needs(2) ? modulated(a) : null,
      needs(3) ? concat([map(scaleGradient, [a, b, weight, bias]), a], 1) : null,
    ]
  },
})

const timesOnePlus = expression(2, 0, ([s, scale]) => f.add(s, f.mul(s, scale)))
// Σ dv · u with u = xhat · weight + bias.
const scaleGradient = expression(4, 0, ([a, b, weight, bias]) => f.add(f.mul(weight, b), f.mul(bias, a)))

/** (x, dy, statistics, weight, bias, scaleShift?) → A and B, [N, C] each. */
export const groupNormSums = defineOp<GroupNormParams>({
  ...noGradient('groupNormSums'),
  shape: (_, [x]) => [0, 1].map((): Spec => ({ shape: x.shape.slice(0, 2), dtype: 'f32' })),
})

/** (x, dy, statistics, weight, bias, scaleShift?, A, B) → dx. */
export const groupNormDataGrad = defineOp<GroupNormParams>({
  ...noGradient('groupNormDataGrad'),
  shape: (_, [x]) => [{ shape: x.shape, dtype: 'f32' }],
})

/** Options of {@link groupNorm}. */
export interface GroupNormOptions {
  /** Must divide the number of channels. */
  readonly groups: number
  /** [C] */
  readonly weight: Tensor
  /** [C] */
  readonly bias: Tensor
  /**
   * `[N, 2C]`: first half scale, second half shift. The normalised values are multiplied by 1 + scale, then shifted.
   */
  readonly scaleShift?: Tensor
  /** Ends in SiLU. Default false. */
  readonly silu?: boolean
  /** Added to the variance, which is the biased one. Default 1e-5. */
  readonly eps?: number
}

const groupNormOptions = { groups: true, weight: true, bias: true, scaleShift: true, silu: true, eps: true } as const

/**
 * Normalises `x` [N, C], [N, C, T] or [N, C, H, W] over groups of neighbouring channels (Wu & He 2018), then weight and
 * bias, `scaleShift` if given (guided-diffusion's `use_scale_shift_norm`), and SiLU if asked for.
 *
 * ```ts
 * const h = groupNorm(x, { groups: 32, weight, bias, silu: true })
 * ```
 */
export function groupNorm(x: Tensor, options: GroupNormOptions): Tensor {
  refuseUnknown('groupNorm', options, groupNormOptions)
  const { groups, weight, bias, scaleShift, silu = false, eps = 1e-5 } = options
  const params = { groups, eps, silu, scaleShift: scaleShift !== undefined }
  const [y, statistics] = applyOp(groupNormOp, params, [
    x,
    weight,
    bias,
    ...(scaleShift ? [scaleShift] : []),
  ]) as Tensor[]
  // The tape holds what the backward pass needs; nobody else does.
  statistics.dispose()
  return y
}
