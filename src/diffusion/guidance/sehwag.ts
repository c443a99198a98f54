import { TweedieError } from '../../errors.ts'
import type { Classifier } from '../../nn/index.ts'
import { refuseUnknown } from '../../refuse.ts'
import { add, div, expression, f, linear, map, mean, mul, square, sum, type Tensor } from '../../tensor/index.ts'
import { logDensityGuidance, logProbability, peakNormalized, type Guidance } from './guidance.ts'
import { replayable, type Replayable, type Timesteps } from '../process/replayable.ts'
import { logitsOf, type Logits, type LogitsLike } from './logits.ts'

/** Features [N, D] of noisy images x [N, C, H, W]. */
export type Embedding = ((x: Tensor, timesteps: readonly number[]) => Tensor) & Replayable

/** The spatial mean of an ADM classifier's middle-block output. */
export const pooledFeatures = (classifier: Classifier): Embedding =>
  replayable((x: Tensor, timesteps: Timesteps) => mean(classifier.features(x, timesteps), { axes: [2, 3] }), classifier)

/** Options of {@link sehwagGuidance}. */
export interface SehwagOptions {
  /** f, the feature space. */
  readonly embedding: Embedding
  /**
   * m_k [K, D]: mean features of each class, as {@link classMeans} computes them; without classes [1, D],
   * the mean of all images.
   */
  readonly classMeans: Tensor
  /** Class of each sample, an index into the means. Default: there are no classes. */
  readonly y?: readonly number[] | undefined
  /** A classifier of noisy images with a class "real". */
  readonly discriminator: LogitsLike
  /** Which class of the discriminator is "real". Default 0: of folders `real` and `synthetic` it is the first. */
  readonly real?: number
  /** Weight of the low-density term. */
  readonly alpha: number
  /** Weight of the discriminator's term. */
  readonly beta: number
  /** Default 0.1. */
  readonly temperature?: number
}

/**
 * Low-density guidance in the manner of Sehwag et al. 2022 ("Generating High Fidelity Data from Low-density Regions
 * using Diffusion Models"), a baseline of Um et al. **A reconstruction**: no code was published, and the formula here
 * was written down from memory of the paper. Two terms are added to the mean: one leads away from the sample's own
 * class in a classifier's feature space, the other keeps samples real in the eyes of a discriminator of real and
 * synthetic images.
 *
 *     mean' = mean + variance * (alpha * g_low / |g_low|_inf + beta * g_real / |g_real|_inf)
 *     g_low = -grad_x log softmax_k(cos(f(x_t), m_k) / temperature)[y]        g_real = grad_x log p(real | x_t)
 *
 * Cosine and temperature are ours. Um et al. also run it on CelebA, which has no classes, and do not say how. Here all
 * images are then one class, and samples leave its mean:
 *
 *     g_low = -grad_x cos(f(x_t), m) / temperature
 *
 * which is the same gradient less the pull of the other classes; a softmax over one class would have none.
 */
export function sehwagGuidance(options: SehwagOptions): Guidance {
  refuseUnknown('sehwagGuidance', options, {
    embedding: true,
    classMeans: true,
    y: true,
    discriminator: true,
    real: true,
    alpha: true,
    beta: true,
    temperature: true,
  })
  const { embedding, classMeans: means, y, real = 0, alpha, beta, temperature = 0.1 } = options
  const discriminator = logitsOf(options.discriminator)
  if (!Number.isFinite(alpha) || !Number.isFinite(beta))
    throw new TweedieError('option', `alpha and beta are finite numbers, found ${alpha} and ${beta}.`)
  if (!(temperature > 0))
    throw new TweedieError('option', `The temperature is a positive number, found ${temperature}.`)
  if (means.shape.length !== 2)
    throw new TweedieError('shape', `Class means are [K, D], found [${means.shape.join(', ')}].`)
  if (y === undefined && means.shape[0] !== 1)
    throw new TweedieError(
      'option',
      `Without the class y of each sample there is one mean, [1, D], found [${means.shape.join(', ')}].`,
    )
  // Its own class is what a sample leaves.
  const lowDensity: Logits = (x, timesteps) => {
    const features = embedding(x, timesteps)
    if (features.shape[1] !== means.shape[1])
      throw new TweedieError(
        'shape',
        `Class means of ${means.shape[1]} features for an embedding of ${features.shape[1]}: compute ` +
          'them with this embedding.',
      )
    const near = div(linear(directions(features), directions(means)), temperature)
    return y === undefined ? near : logProbability(near, y)
  }
  const low = logDensityGuidance(replayable(lowDensity, embedding), -1)
  const realDensity: Logits = (x, timesteps) => {
    const logits = discriminator(x, timesteps)
    if (logits.shape[1] < 2)
      throw new TweedieError('option', 'The discriminator has one class; it needs two, real and synthetic.')
    return logProbability(logits, real)
  }
  const realistic = logDensityGuidance(replayable(realDensity, discriminator), 1)
  const both = (x: Tensor, timesteps: readonly number[]): Tensor =>
    x.device.scope(() => {
      const term = (guidance: Guidance, weight: number): Tensor =>
        mul(peakNormalized(x.device.scope(() => guidance(x, timesteps))), weight)
      return add(term(low, alpha), term(realistic, beta))
    })
  return Object.assign(replayable(both, low, realistic), { normalized: true })
}

// x / |x|, and 0 for a row of zeros.
const overLength = expression(2, 0, ([x, squared]) => {
  const some = f.gt(squared, 0)
  return f.select(some, f.div(x, f.sqrt(f.select(some, squared, 1))), 0)
})

/** Rows [N, D] of length 1. */
const directions = (rows: Tensor): Tensor => map(overLength, [rows, sum(square(rows), { axes: [1], keepDims: true })])

/** Images of known classes, of which {@link classMeans} takes the means. */
export interface LabelledBatch {
  /** [N, C, H, W] in [-1, 1]; stays the caller's. */
  readonly x: Tensor
  /** What the embedding is told of the time, one a sample: 0 for clean images, more for noised ones. */
  readonly timesteps: readonly number[]
  readonly labels: ArrayLike<number>
}

/**
 * Mean features of each of `classes` classes over all batches: [classes, D], the caller's. A batch is read before
 * the next is asked for.
 * @throws TweedieError 'option' for a label that is not a class and for a class without an image
 */
export async function classMeans(
  embedding: Embedding,
  batches: Iterable<LabelledBatch> | AsyncIterable<LabelledBatch>,
  classes: number,
  signal?: AbortSignal,
): Promise<Tensor> {
  const counts = new Float64Array(classes)
  let [sums, width] = [new Float64Array(), 0]
  let device = null
  for await (const { x, timesteps, labels } of batches) {
    signal?.throwIfAborted()
    device = x.device
    using features = device.scope(() => embedding(x, timesteps))
    width = features.shape[1]
    if (sums.length === 0) sums = new Float64Array(classes * width)
    const values = await features.read()
    for (let n = 0; n < x.shape[0]; n++) {
      const k = labels[n]
      if (!Number.isInteger(k) || k < 0 || k >= classes)
        throw new TweedieError('option', `Label ${k} is not one of the classes 0 to ${classes - 1}.`)
      counts[k]++
      for (let i = 0; i < width; i++) sums[k * width + i] += values[n * width + i]
    }
  }
  const empty = counts.indexOf(0)
  if (!device || empty >= 0)
    throw new TweedieError(
      'option',
      `Class ${Math.max(empty, 0)} has no image, so no mean: give images of all ${classes} classes.`,
    )
  return device.tensor(
    sums.map((total, i) => total / counts[Math.floor(i / width)]),
    [classes, width],
  )
}
