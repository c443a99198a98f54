/**
 * Distances between images, one number a sample: what "far from its denoised self" is measured by. LPIPS is the papers';
 * the norms need no weights.
 */
import { concat, expression, f, map, mul, sub, sum, abs, square, type Tensor } from '../tensor/index.ts'

/** [N, C, H, W] twice to [N]. */
export type Distance = (a: Tensor, b: Tensor) => Tensor

const perSample = (x: Tensor): Tensor => sum(x, { axes: [1, 2, 3] })

// The root of 0 is 0 with gradient 0 (as torch.norm has it): the inner select keeps the unused branch finite. NaN stays
// NaN: the distance of a broken image is no 0.
const safeRoot = expression(1, 2, ([x], [zero, one]) => {
  const none = f.eq(x, zero)
  return f.select(none, zero, f.sqrt(f.select(none, one, x)))
})

/** ||a - b||_2 over a sample's pixels, neither squared nor averaged (sg-minority with `use_lpips` off). */
export const l2: Distance = (a, b) => map(safeRoot, [perSample(square(sub(a, b)))], [0, 1])

/** ||a - b||_1 over a sample's pixels. */
export const l1: Distance = (a, b) => perSample(abs(sub(a, b)))

/** ||a - b||_2^2, the distance for which the minority score is a weighted denoising error (spec D.1, Corollary 1). */
export const squaredL2: Distance = (a, b) => perSample(square(sub(a, b)))

/**
 * A perceptual distance as self-guidance takes it: images of three channels in [-1, 1], or of one channel in [0, 1],
 * which become three in [-1, 1] (v to 2v - 1: the convention of sg-minority, whose grey models were trained on [0, 1]).
 * For grey images in [-1, 1], such as those of {@link minorityScore}, use `distance` as it is: LPIPS takes one channel.
 */
export const perceptual = (distance: Distance): Distance => (a, b) => distance(threeChannels(a), threeChannels(b))

function threeChannels(x: Tensor): Tensor {
  if (x.shape[1] !== 1) return x
  const centred = sub(mul(x, 2), 1)
  return concat([centred, centred, centred], 1)
}
