import { TweedieError } from '../../errors.ts'
import { refuseUnknown } from '../../refuse.ts'
import { expression, f, hostRandomBits, liveOf, map, splitSeed, type Live, type Tensor } from '../../tensor/index.ts'
import { purposes } from '../../tensor/purposes.ts'
import { logDensityGuidance, type Guidance } from './guidance.ts'
import { replayable } from '../process/replayable.ts'
import { logitsOf, type Logits, type LogitsLike } from './logits.ts'
import type { SampleStream } from './minority-guidance.ts'

// log sigmoid(u) = min(u, 0) - log(1 + exp(-|u|)) of u = sign z, which overflows nowhere.
const logSigmoid = expression(2, 0, ([z, sign]) => {
  const u = f.mul(sign, z)
  return f.sub(f.min(u, 0), f.log(f.add(1, f.exp(f.neg(f.abs(u))))))
})

/**
 * log p(a_k | x) of logits [N, K] of independent binary attributes: [N, K]. `has` says, for each sample's attributes in
 * turn, whether it is the probability that the sample has it, or that it has not.
 */
export function attributeLogProbability(logits: Tensor, has: Live<readonly boolean[]>): Tensor {
  return map(logSigmoid, [
    logits,
    logits.device.tensor(
      liveOf(has, (each) => each.map((one) => (one ? 1 : -1))),
      logits.shape,
    ),
  ])
}

/** Options of {@link attributeGuidance}. */
export interface AttributeGuidanceOptions {
  /** Whether each sample is to have each of the K attributes: [N][K]; see {@link randomAttributes}. */
  readonly targets: readonly (readonly boolean[])[]
  /** Factor of the gradient. Default 1. */
  readonly scale?: number
}

/**
 * scale * grad_x sum_k log p(a_k | x_t): guidance to attributes, of which the classifier's K logits [N, K] are
 * independent of each other. The baseline "ADM-ML" of Um et al. (ICLR 2024): classifier guidance by a multi-label
 * predictor of attributes that minorities have (on CelebA: Bald, Eyeglasses, Mustache, Wearing_Hat), random
 * combinations of them ({@link randomAttributes}) as targets. A reconstruction: no code was published. Ours are the
 * predictor's independent sigmoids and the fair coins.
 */
export function attributeGuidance(classifier: LogitsLike, options: AttributeGuidanceOptions): Guidance {
  refuseUnknown('attributeGuidance', options, { targets: true, scale: true })
  const { targets, scale = 1 } = options
  const logits = logitsOf(classifier)
  const density: Logits = (x, timesteps) => {
    const z = logits(x, timesteps)
    const [n, attributes] = z.shape
    const wrong = targets.find((row) => row.length !== attributes)
    if (targets.length !== n || wrong) {
      throw new TweedieError(
        'option',
        `Expected ${attributes} attributes for each of the ${n} samples, found ` +
          `${wrong ? `a sample with ${wrong.length}` : `${targets.length} samples`}.`,
      )
    }
    return attributeLogProbability(z, targets.flat())
  }
  return logDensityGuidance(replayable(density, logits), scale)
}

/** A combination of `attributes` attributes for each sample, each there or not with equal probability. */
export function randomAttributes(attributes: number, { seed, samples }: SampleStream): boolean[][] {
  if (!Number.isInteger(attributes) || attributes < 1)
    throw new TweedieError('option', `Expected 1 attribute or more, found ${attributes}.`)
  const bits = hostRandomBits({ seed: splitSeed(seed), draw: 0, purpose: purposes.attributes }, samples, attributes)
  return samples.map((_, n) =>
    Array.from(bits.subarray(n * attributes, (n + 1) * attributes), (word) => word >= 2 ** 31),
  )
}
