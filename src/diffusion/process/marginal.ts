/**
 * A start from the fitted marginal. Ours; neither paper has it.
 *
 * The first steps of a sampler decide colour and layout from noise alone, and there a small network errs most: on the
 * cosine schedule the last index of fifty spans 9.7 of 29.9 units of log-SNR, and an error in epsilon is divided by
 * sqrt(abar). But at such noise almost nothing of an image is left to know: its low frequencies, and of those mean and
 * covariance. So the steps above log-SNR -3 are left out, and x begins there as a noised draw of a Gaussian with the
 * training images' mean and covariance in pixels averaged down to 8 x 8:
 *
 *   x_s = sqrt(abar_s) up(mean + L z) + sqrt(1 - abar_s) epsilon,   L L^T = covariance,   z, epsilon ~ N(0, I)
 */
import { TweedieError } from '../../errors.ts'
import type { Checkpoint } from '../../io/checkpoint.ts'
import { encodeSafetensors } from '../../io/index.ts'
import { finiteValues } from '../../nn/load.ts'
import {
  expression,
  f,
  map,
  matmul,
  reshape,
  upsampleNearest,
  type Device,
  type Live,
  type Tensor,
} from '../../tensor/index.ts'
import type { GaussianDiffusion } from './gaussian-diffusion.ts'
import type { GeneratedNoise, NoiseSource } from './noise.ts'
import { replayable } from './replayable.ts'

/** Largest side of the averaged images. At log-SNR -3 a block of 16 pixels has a signal-to-noise ratio below 1. */
const largestSide = 8

/** log-SNR of the noisiest step that is taken: 858 of 1,000 cosine steps, 546 of 1,000 linear ones. */
const startLogSnr = -3

/** The Gaussian of a set of images, averaged down to [C, side, side]. */
export interface Marginal {
  /** Of the images themselves. */
  readonly imageSize: number
  readonly channels: number
  readonly side: number
  /** [C * side * side], of values in [-1, 1]. */
  readonly mean: Float32Array
  /** L, lower triangular: [C * side * side] squared, row by row. */
  readonly factor: Float32Array
}

/** Mean and covariance of images that come one after another. */
export class MarginalFit {
  readonly #imageSize: number
  readonly #channels: number
  readonly #side: number
  readonly #sum: Float64Array
  readonly #products: Float64Array
  #count = 0

  /** For square images of `imageSize` pixels a side. */
  constructor(imageSize: number, channels: number) {
    this.#imageSize = imageSize
    this.#channels = channels
    // 28 pixels make 7 blocks of 4.
    this.#side = Array.from({ length: largestSide }, (_, i) => largestSide - i).find((side) => imageSize % side === 0)!
    const dimension = channels * this.#side ** 2
    this.#sum = new Float64Array(dimension)
    this.#products = new Float64Array(dimension ** 2)
  }

  /**
   * Takes images [N, C, H, W] in [-1, 1].
   * @throws TweedieError 'shape' for values that are no whole number of images
   */
  add(images: Float32Array): void {
    const pixels = this.#channels * this.#imageSize ** 2
    if (images.length % pixels !== 0)
      throw new TweedieError('shape', `Expected whole images of ${pixels} values, found ${images.length}.`)
    const dimension = this.#sum.length
    for (let begin = 0; begin < images.length; begin += pixels) {
      const x = this.#averaged(images.subarray(begin, begin + pixels))
      for (let i = 0; i < dimension; i++) {
        this.#sum[i] += x[i]
        for (let j = 0; j <= i; j++) this.#products[i * dimension + j] += x[i] * x[j]
      }
      this.#count++
    }
  }

  /**
   * The fit. A variance of 1e-4, a hundredth of the values' scale, is added in every direction: few images do not span
   * all of them.
   * @throws TweedieError 'option' before any image was taken
   */
  result(): Marginal {
    const count = this.#count
    if (count === 0) throw new TweedieError('option', 'A marginal is fitted to one image at least, found none.')
    const dimension = this.#sum.length
    const mean = this.#sum.map((sum) => sum / count)
    const covariance = this.#products.map((sum, at) => {
      const [i, j] = [Math.floor(at / dimension), at % dimension]
      return j > i ? 0 : sum / count - mean[i] * mean[j] + (i === j ? 1e-4 : 0)
    })
    return {
      imageSize: this.#imageSize,
      channels: this.#channels,
      side: this.#side,
      mean: Float32Array.from(mean),
      factor: cholesky(covariance, dimension),
    }
  }

  /** Means over blocks of pixels: [C, side, side]. */
  #averaged(image: Float32Array): Float64Array {
    const [size, side] = [this.#imageSize, this.#side]
    const block = size / side
    const averaged = new Float64Array(this.#sum.length)
    for (let at = 0; at < image.length; at++) {
      const [c, y, x] = [Math.floor(at / size ** 2), Math.floor(at / size) % size, at % size]
      averaged[(c * side + Math.floor(y / block)) * side + Math.floor(x / block)] += image[at] / block ** 2
    }
    return averaged
  }
}

/** L of L L^T = A, from A's lower half. */
function cholesky(matrix: Float64Array, n: number): Float32Array {
  const factor = new Float64Array(n * n)
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let rest = matrix[i * n + j]
      for (let k = 0; k < j; k++) rest -= factor[i * n + k] * factor[j * n + k]
      factor[i * n + j] = i === j ? Math.sqrt(rest) : rest / factor[j * n + j]
    }
  }
  return Float32Array.from(factor)
}

/**
 * How many steps a sampler leaves out that starts from the marginal: those before the noisiest one of log-SNR -3 or
 * more.
 */
export function marginalSkip({
  steps,
  process: {
    tables: { alphaBar },
  },
}: GaussianDiffusion): number {
  let start = 0
  for (const [t, abar] of alphaBar.entries()) if (Math.log(abar / (1 - abar)) >= startLogSnr) start = t
  return steps - 1 - start
}

// a (x + mean) + b noise
const noised = expression(3, 2, ([x, mean, noise], [a, b]) => f.add(f.mul(a, f.add(x, mean)), f.mul(b, noise)))

/**
 * `noise` whose first state is x_s of the marginal, for a sampler that leaves out the `skip` indices before s:
 *
 * ```ts
 * sample(diffusion, model, { ...marginalStart(device, diffusion, marginal, noise) })
 * ```
 * @throws TweedieError 'shape' for images of another size than the marginal's
 */
export function marginalStart(
  device: Device,
  diffusion: GaussianDiffusion,
  { imageSize, channels, side, mean, factor }: Marginal,
  noise: GeneratedNoise,
): { noise: NoiseSource; skip: number } {
  const skip = marginalSkip(diffusion)
  const s = diffusion.steps - 1 - skip
  const { sqrtAlphaBar, sqrtOneMinusAlphaBar } = diffusion.process.tables
  const initial = (): Tensor =>
    device.scope(() => {
      const epsilon = noise.initial()
      if (epsilon.shape.slice(1).join() !== [channels, imageSize, imageSize].join()) {
        throw new TweedieError(
          'shape',
          `The marginal is one of images [${channels}, ${imageSize}, ${imageSize}], and ` +
            `[${epsilon.shape.slice(1).join(', ')}] are drawn: take the one of this model's training.`,
        )
      }
      const z = noise.marginal(mean.length)
      const averaged = matmul(z, device.tensor(factor, [mean.length, mean.length]), { transposeB: true })
      const up = (x: Tensor, n: number): Tensor =>
        upsampleNearest(reshape(x, [n, channels, side, side]), imageSize / side)
      return map(
        noised,
        [up(averaged, z.shape[0]), up(device.tensor(mean, [1, mean.length]), 1), epsilon],
        [sqrtAlphaBar[s], sqrtOneMinusAlphaBar[s]],
      )
    })
  const same = {
    step: (t: Live<number>) => noise.step(t),
    renoise: (t: Live<number>, k: number) => noise.renoise(t, k),
  }
  return { noise: replayable({ initial, ...same }, noise), skip }
}

const kind = 'marginal'

/**
 * A marginal as a safetensors file: `mean` [C, side, side] and `factor`. `data` says of which images it is, in
 * `__metadata__.data`.
 */
export const encodeMarginal = (
  { imageSize, channels, side, mean, factor }: Marginal,
  data?: string,
): ReturnType<typeof encodeSafetensors> =>
  encodeSafetensors(
    [
      ['mean', { shape: [channels, side, side], data: mean }],
      ['factor', { shape: [mean.length, mean.length], data: factor }],
    ],
    { kind, image_size: String(imageSize), ...(data !== undefined && { data }) },
  )

/**
 * Reads what {@link encodeMarginal} wrote.
 * @throws TweedieError 'format' for another file, 'non-finite' for one that holds no numbers
 */
export async function readMarginal({ name, metadata, tensors }: Checkpoint, signal?: AbortSignal): Promise<Marginal> {
  const wrong = (found: string): never => {
    throw new TweedieError(
      'format',
      `${name}: expected a marginal, as train diffusion writes it beside a model ` +
        `(marginal.safetensors), found ${found}.`,
    )
  }
  const [meanEntry, factorEntry] = [tensors.get('mean'), tensors.get('factor')]
  if (metadata.kind !== kind || !meanEntry || !factorEntry)
    return wrong(metadata.kind === undefined ? 'a file that does not say what it is' : `the kind "${metadata.kind}"`)
  const imageSize = Number(metadata.image_size)
  const [channels, side] = meanEntry.shape
  const dimension = channels * side ** 2
  const fits =
    meanEntry.shape.length === 3 &&
    meanEntry.shape[2] === side &&
    factorEntry.shape.join() === [dimension, dimension].join() &&
    dimension > 0 &&
    Number.isInteger(imageSize) &&
    imageSize > 0 &&
    imageSize % side === 0
  if (!fits)
    return wrong(
      `mean [${meanEntry.shape.join(', ')}] and factor [${factorEntry.shape.join(', ')}] for images of ` +
        `${metadata.image_size} pixels`,
    )
  const values = async (entry: typeof meanEntry): Promise<Float32Array> => {
    const data = await entry.read(signal)
    if (!(data instanceof Float32Array)) return wrong('integers')
    return finiteValues(data, `${name}: ${entry.name}`)
  }
  return { imageSize, channels: channels, side: side, mean: await values(meanEntry), factor: await values(factorEntry) }
}
