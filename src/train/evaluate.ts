import { areaDownsample, trainingLosses, type GaussianDiffusion } from '../diffusion/index.ts'
import { TweedieError } from '../errors.ts'
import type { UNet } from '../nn/index.ts'
import { randomNormal, splitSeed, type Device, type Tensor } from '../tensor/index.ts'
import { checkSmallSize, quartiles, quartilesOf, trainPurposes, type TrainImages } from './diffusion.ts'

/** Means over all images of an evaluation. */
export interface Evaluation {
  readonly images: number
  readonly mse: number
  /** The term of the variational bound that trains a variance head; 0 of a network without one. */
  readonly vb: number
  /** mse by quartile of the timestep; null where fewer than four images leave a quartile without one. */
  readonly mseByQuartile: readonly (number | null)[]
}

/** Options of {@link evaluateDiffusion}. */
export interface EvaluateOptions {
  readonly model: UNet
  readonly diffusion: GaussianDiffusion
  /** Images number `first` to `first + count - 1`. */
  readonly load: (first: number, count: number, signal?: AbortSignal) => Promise<TrainImages>
  readonly count: number
  /** At a time. Default 32. */
  readonly batch?: number
  readonly seed: number
  /** As that of `diffusionTask`. */
  readonly smallSize?: number
  readonly signal?: AbortSignal
}

/**
 * The diffusion loss on `count` fixed images, steps and noise: the same question put to every checkpoint, so that its
 * answers can be compared. Held-out images tell when training should end; training images beside them, how much is
 * memorised. Image k has step (k * m + 1/2) T / count, m making neighbours differ.
 *
 * @throws TweedieError 'non-finite' where the losses are none
 */
export async function evaluateDiffusion(
  device: Device,
  { model, diffusion, load, count, batch = 32, seed, smallSize, signal }: EvaluateOptions,
): Promise<Evaluation> {
  const { inChannels, imageSize, numClasses } = model.config
  checkSmallSize('evaluateDiffusion', model, smallSize)
  const stride = coprime(count, Math.round(count * 0.618))
  const sums = { mse: 0, vb: 0, byQuartile: quartiles.map(() => 0), counts: quartiles.map(() => 0) }
  for (let first = 0; first < count; first += batch) {
    const n = Math.min(batch, count - first)
    const { images, labels } = await load(first, n, signal)
    signal?.throwIfAborted()
    const t = Array.from({ length: n }, (_, i) =>
      Math.floor((((((first + i) * stride) % count) + 0.5) / count) * diffusion.steps),
    )
    const made = device.scope(() => {
      const samples = device.tensor(
        t.map((_, i) => first + i),
        [n],
        'u32',
      )
      const xStart = device.tensor(images, [n, inChannels, imageSize, imageSize])
      const noise = randomNormal(samples, {
        seed: splitSeed(seed),
        draw: 1,
        purpose: trainPurposes.noise,
        shape: xStart.shape.slice(1),
      })
      const inputs = {
        ...(smallSize !== undefined ? { lowRes: areaDownsample(xStart, smallSize) } : {}),
        ...(numClasses !== null && labels ? { y: labels } : {}),
      }
      return trainingLosses(diffusion, (x: Tensor, timesteps) => model.forward(x, timesteps, inputs), xStart, t, noise)
    })
    const [mse, vb] = await Promise.all([made.mse!.read(), made.vb?.read()])
    for (const tensor of [made.loss, made.mse, made.vb]) tensor?.dispose()
    const groups = quartilesOf(t, diffusion.steps)
    mse.forEach((value, i) => {
      sums.mse += value
      sums.vb += vb?.[i] ?? 0
      sums.byQuartile[groups[i]] += value
      sums.counts[groups[i]] += 1
    })
  }
  if (!Number.isFinite(sums.mse) || !Number.isFinite(sums.vb))
    throw new TweedieError(
      'non-finite',
      `The evaluation's squared error is ${sums.mse / count} and its bound ${sums.vb / count}: the weights are ` +
        'damaged, or training went astray.',
    )
  return {
    images: count,
    mse: sums.mse / count,
    vb: sums.vb / count,
    mseByQuartile: sums.byQuartile.map((sum, q) => (sums.counts[q] ? sum / sums.counts[q] : null)),
  }
}

/** The first number from `from` on that shares no factor with `n`. */
function coprime(n: number, from: number): number {
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))
  let k = Math.max(1, from)
  while (gcd(k, n) !== 1) k++
  return k
}
