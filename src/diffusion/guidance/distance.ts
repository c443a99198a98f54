import { named, TweedieError } from '../../errors.ts'
import { refuseOther, refuseUnknown } from '../../refuse.ts'
import {
  abs,
  div,
  expression,
  f,
  map,
  max,
  mul,
  pow,
  square,
  stopGradient,
  sub,
  sum,
  type Tensor,
} from '../../tensor/index.ts'
import { givenTensor } from '../process/denoiser.ts'
import { replayable, type Replayable } from '../process/replayable.ts'

/**
 * How far images are apart, one number a sample: two batches [N, C, H, W] in [-1, 1] to [N], differentiable by both.
 * What "far from its denoised self" is measured by. LPIPS is the papers'; the norms need no weights.
 *
 * ```ts
 * const distance: Distance = (a, b) => mean(abs(sub(a, b)), { axes: [1, 2, 3] })
 * ```
 */
export type Distance = ((a: Tensor, b: Tensor) => Tensor) & Replayable

/** @throws TweedieError 'option' for what is no function */
export function checkDistance(distance: Distance): void {
  if (typeof distance !== 'function')
    throw new TweedieError(
      'option',
      'distance is a function of two batches of images, such as l2, or (a, b) => lpips.distance(a, b); ' +
        `found ${named(distance)}.`,
    )
}

/**
 * The distance of two batches [N, C, H, W], which is to be one number a sample, [N]: a mean over the batch
 * would mix its samples.
 */
export const measured = (distance: Distance, a: Tensor, b: Tensor): Tensor =>
  givenTensor('A distance', distance(a, b), [a.shape[0]])

const pixels = { axes: [1, 2, 3] } as const
const perSample = (x: Tensor): Tensor => sum(x, pixels)

// The root of 0 is 0 with gradient 0 (as torch.norm has it): the inner select keeps the unused branch finite. NaN stays
// NaN: the distance of a broken image is no 0.
const safeRoot = expression(1, 0, ([x]) => {
  const none = f.eq(x, 0)
  return f.select(none, 0, f.sqrt(f.select(none, 1, x)))
})

/** ||a - b||_2 over a sample's pixels, neither squared nor averaged (sg-minority with `use_lpips` off). */
export const l2: Distance = replayable((a: Tensor, b: Tensor) =>
  map(safeRoot, [perSample(square(sub(a, b)))], [], { name: 'l2' }),
)

/** ||a - b||_1 over a sample's pixels. */
export const l1: Distance = replayable((a: Tensor, b: Tensor) => perSample(abs(sub(a, b))))

/** ||a - b||_2^2, for which the minority score is a weighted denoising error (Um et al., ICLR 2024, Corollary 1). */
export const squaredL2: Distance = replayable((a: Tensor, b: Tensor) => perSample(square(sub(a, b))))

// As above for the root of any degree. A sum of at least 1, or of 0.
const safePower = expression(1, 1, ([x], [exponent]) => {
  const none = f.eq(x, 0)
  return f.select(none, 0, f.pow(f.select(none, 1, x), exponent))
})
// A GPU's maximum passes NaN over, and SwiftShader's power; a sum does not. The 0 is a scalar, since a driver may take
// 0 times x for 0 where it sees the 0.
const withNaN = expression(2, 1, ([largest, total], [zero]) => f.add(largest, f.mul(zero, total)))
const oneIfZero = expression(1, 0, ([x]) => f.select(f.eq(x, 0), 1, x))

/**
 * ||a - b||_p over a sample's pixels for any p from 1 to Infinity, the largest difference (sg-minority's
 * `norm_for_mg`). The gradient is 0 where a = b; of Infinity, differences that are equally large share
 * it, as in torch.norm.
 *
 * Differences are taken as fractions of the largest, whose p-th powers neither vanish nor overflow. The norm does not
 * depend on what it is divided by, so that is no part of the gradient.
 * @throws TweedieError 'option' for a p below 1, which is no norm
 */
export function pNorm(p: number): Distance {
  if (!(p >= 1)) throw new TweedieError('option', `A norm has a p of 1 or more, up to Infinity, found ${p}.`)
  if (p === 1) return l1
  if (p === 2) return l2
  if (p === Infinity)
    return replayable((a: Tensor, b: Tensor) =>
      a.device.scope(() => {
        const differences = abs(sub(a, b))
        return map(withNaN, [max(differences, pixels), perSample(differences)], [0])
      }),
    )
  return replayable((a: Tensor, b: Tensor) =>
    a.device.scope(() => {
      const differences = abs(sub(a, b))
      const largest = stopGradient(map(oneIfZero, [max(differences, { ...pixels, keepDims: true })]))
      const powers = sum(pow(div(differences, largest), p), { ...pixels, keepDims: true })
      return map(withNaN, [perSample(mul(largest, map(safePower, [powers], [1 / p]))), perSample(differences)], [0])
    }),
  )
}

/**
 * What a grey model's images may lie in, the default first: everything trained by this project, and by
 * guided-diffusion, is in [-1, 1]. '0..1' is the convention of sg-minority, right for models of one channel that
 * were trained on [0, 1].
 */
export const greyRanges = ['-1..1', '0..1'] as const
/** Which values a grey model's images have; see {@link greyRanges}. */
export type GreyRange = (typeof greyRanges)[number]

/**
 * The range of a model's images, what was asked for or the default; null for colour, which has no other than [-1, 1].
 */
export function greyRangeOf(
  { inChannels }: { readonly inChannels: number },
  asked: GreyRange = greyRanges[0],
): GreyRange | null {
  refuseOther('greyRange', asked, greyRanges)
  return inChannels === 1 ? asked : null
}

/**
 * A perceptual distance of the images a model draws, as self-guidance and minority scores take it: LPIPS and feature
 * nets see images in [-1, 1], so with `greyRange` '0..1' a value v of one channel becomes 2v - 1 (sg-minority's
 * `grayscale`). A net of three channels takes a grey image for each of them.
 */
export function perceptual(distance: Distance, options: { readonly greyRange?: GreyRange } = {}): Distance {
  refuseUnknown('perceptual', options, { greyRange: true })
  const { greyRange = greyRanges[0] } = options
  refuseOther('greyRange', greyRange, greyRanges)
  if (greyRange === '-1..1') return distance
  const centred = (x: Tensor): Tensor => (x.shape[1] === 1 ? sub(mul(x, 2), 1) : x)
  return replayable((a: Tensor, b: Tensor) => a.device.scope(() => distance(centred(a), centred(b))), distance)
}
