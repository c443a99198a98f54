/**
 * The terms of the variational bound (DDPM Eq. 5 and 13; guided-diffusion losses.py and `_vb_terms_bpd`): the
 * divergence between two Gaussians, and at t = 0 the likelihood of an 8-bit image under a Gaussian cut into bins. Both
 * are one kernel, and so is their choice by sample.
 */
import { expression, f, map, type ExpressionNode as Node, type Tensor } from '../../tensor/index.ts'

/** A mean over pixels in nats is this many bits. */
export const bitsPerNat = 1 / Math.LN2

/** Half the width of a bin: 8-bit values are 2 / 255 apart. */
const halfBin = 1 / 255
/** Beyond it a pixel is black or white, and its bin is open to that side. */
const edge = 0.999
const least = 1e-12
/** 0.5 (1 + tanh u) is sigmoid(2 u). */
const slope = 2 * Math.sqrt(2 / Math.PI)
/** Deviations beyond which the CDF is 0 or 1 in float32; the cube of what is larger could overflow. */
const far = 12

/** KL between Gaussians whose means are `difference` apart. */
const divergence = (difference: Node, logVar1: Node, logVar2: Node): Node =>
  f.mul(
    0.5,
    f.add(
      f.sub(f.sub(logVar2, logVar1), 1),
      f.add(f.exp(f.sub(logVar1, logVar2)), f.mul(f.mul(difference, difference), f.exp(f.neg(logVar2)))),
    ),
  )

const cdf = (x: Node): Node => {
  const near = f.max(f.min(x, far), -far)
  return f.sigmoid(f.mul(slope, f.add(near, f.mul(0.044715, f.mul(near, f.mul(near, near))))))
}

/**
 * log P(bin of x) where x is `centred` from the mean. A Gaussian is symmetric, so every bin is taken on the side where
 * its two CDFs are small and their difference does not cancel.
 */
const binLogLikelihood = (x: Node, centred: Node, logScale: Node): Node => {
  const black = f.gt(-edge, x)
  const white = f.gt(x, edge)
  const from = f.select(black, centred, f.select(white, f.neg(centred), f.neg(f.abs(centred))))
  const inverse = f.exp(f.neg(logScale))
  const below = f.mul(cdf(f.mul(f.sub(from, halfBin), inverse)), f.sub(1, f.max(black, white)))
  const mass = f.sub(cdf(f.mul(f.add(from, halfBin), inverse)), below)
  return f.log(f.max(mass, least))
}

const klFormula = expression(4, 0, ([mean1, logVar1, mean2, logVar2]) =>
  divergence(f.sub(mean1, mean2), logVar1, logVar2),
)
const likelihoodFormula = expression(3, 0, ([x, mean, logScale]) => binLogLikelihood(x, f.sub(x, mean), logScale))
const cdfFormula = expression(1, 0, ([x]) => cdf(x))

// Inputs: 1 where t = 0; x_0; the posterior's mean less the model's (at t = 0 the posterior's is x_0); the posterior's
// log-variance; the model's. The branch that is not taken computes with variance 1: an infinity there would turn the
// zero that is its gradient into NaN.
const termFormula = expression(5, 0, ([last, xStart, difference, logVar1, logVar2]) => {
  const kl = divergence(difference, logVar1, f.select(last, 0, logVar2))
  const likelihood = binLogLikelihood(xStart, difference, f.mul(0.5, f.select(last, logVar2, 0)))
  return f.select(last, f.neg(likelihood), kl)
})

/** KL(N(mean1, exp logVar1) || N(mean2, exp logVar2)) in nats, by element; shapes broadcast. */
export const normalKl = (mean1: Tensor, logVar1: Tensor, mean2: Tensor, logVar2: Tensor): Tensor =>
  map(klFormula, [mean1, logVar1, mean2, logVar2], [], { name: 'normalKl' })

/** 0.5 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), by element: close to the standard normal's CDF. */
export const approxStandardNormalCdf = (x: Tensor): Tensor =>
  map(cdfFormula, [x], [], { name: 'approxStandardNormalCdf' })

/**
 * log-probability in nats, by element, of 8-bit values `x` in [-1, 1] under a Gaussian cut into bins of width 2 / 255,
 * of which those of -1 and 1 reach to infinity; never below log 1e-12.
 */
export const discretizedGaussianLogLikelihood = (
  x: Tensor,
  { means, logScales }: { means: Tensor; logScales: Tensor },
): Tensor => map(likelihoodFormula, [x, means, logScales], [], { name: 'discretizedGaussianLogLikelihood' })

/** A term of the bound, and the estimate it was made with. */
export interface BoundTerm {
  /** 1 for the samples at t = 0, 0 for the others: [N, 1, 1, 1]. */
  readonly last: Tensor
  readonly xStart: Tensor
  /** Mean of q(x_{t-1} | x_t, x_0) less mean of p(x_{t-1} | x_t). */
  readonly difference: Tensor
  /** `posteriorLogVarianceClipped` at each sample's t: [N, 1, 1, 1]. */
  readonly posteriorLogVariance: Tensor
  readonly logVariance: Tensor
}

/** A term of the bound in nats by element: the divergence, and where `last` is 1 the negative log-likelihood. */
export const boundTerm = ({ last, xStart, difference, posteriorLogVariance, logVariance }: BoundTerm): Tensor =>
  map(termFormula, [last, xStart, difference, posteriorLogVariance, logVariance], [], { name: 'boundTerm' })
