import { refuseUnknown } from '../../refuse.ts'
import { square, sub, sum, type Tensor } from '../../tensor/index.ts'
import { givenTensor, type DenoiserLike } from './denoiser.ts'
import type { DenoisedOptions, GaussianDiffusion } from './gaussian-diffusion.ts'
import type { NoiseSource } from './noise.ts'
import { coefficients } from './per-sample.ts'
import { bitsPerNat, boundTerm } from './variational-bound.ts'

/** Terms of N images; `[t][n]` is image n at step t. */
export interface BitsPerDim {
  /** The bound: the prior and all of `vb`. [N] */
  readonly totalBpd: Float64Array
  /** KL(q(x_T | x_0) || N(0, 1)). [N] */
  readonly priorBpd: Float64Array
  /** The bound's terms. [T'][N] */
  readonly vb: readonly Float64Array[]
  /** Mean over pixels of (x_0 - estimate)^2. [T'][N] */
  readonly xStartMse: readonly Float64Array[]
  /** Mean over pixels of (epsilon - the estimate's epsilon)^2, which is xStartMse / (1 / abar - 1). [T'][N] */
  readonly mse: readonly Float64Array[]
}

/** Options of {@link calcBpd}. */
export interface BitsPerDimOptions extends DenoisedOptions {
  /** The noise of each step; asked for from the last step to the first. */
  readonly noise: Pick<NoiseSource, 'step'>
  /** One class an image, if and only if the network is class-conditional. */
  readonly y?: ArrayLike<number>
  /** Told after every step how many of how many are done. */
  readonly onProgress?: (done: number, total: number) => void
  readonly signal?: AbortSignal
}

/**
 * The whole variational bound of images `xStart` [N, C, H, W] with values of 8 bits in [-1, 1], step by step (DDPM Eq.
 * 5; guided-diffusion `calc_bpd_loop`): how many bits a pixel's channel costs at most under the model, and where along
 * the process they are spent. One draw of noise for each of the T' steps; estimates are clipped to [-1, 1] unless
 * `clipDenoised` is false.
 *
 * @throws what `signal` was aborted with
 */
export async function calcBpd(
  diffusion: GaussianDiffusion,
  model: DenoiserLike,
  xStart: Tensor,
  options: BitsPerDimOptions,
): Promise<BitsPerDim> {
  refuseUnknown('calcBpd', options, {
    noise: true,
    y: true,
    onProgress: true,
    signal: true,
    clipDenoised: true,
    denoisedFn: true,
  })
  const { noise, y, onProgress, signal } = options
  const {
    device,
    shape: [n],
  } = xStart
  const { tables } = diffusion.process
  const pixels = xStart.size / n
  const sumOfPixels = (x: Tensor): Tensor => sum(x, { axes: [1, 2, 3] })
  const read = async (totals: Tensor, factor: number): Promise<Float64Array> => {
    try {
      return Float64Array.from(await totals.read(), (v) => v * factor)
    } finally {
      totals.dispose()
    }
  }

  const vb: Float64Array[] = []
  const xStartMse: Float64Array[] = []
  for (let t = diffusion.steps - 1; t >= 0; t--) {
    signal?.throwIfAborted()
    const each = (value: number): Tensor => coefficients(device, new Array<number>(n).fill(t), () => value)
    const made = device.scope(() => {
      const x = diffusion.qSample(xStart, t, givenTensor('noise.step', noise.step(t), xStart.shape))
      const { mean, logVariance, predXStart } = diffusion.pMeanVariance(diffusion.run(model, x, t, y), x, t, options)
      const term = boundTerm({
        last: each(t === 0 ? 1 : 0),
        xStart,
        difference: sub(diffusion.qPosteriorMean(xStart, x, t), mean),
        posteriorLogVariance: each(tables.posteriorLogVarianceClipped[t]),
        logVariance,
      })
      return { term: sumOfPixels(term), error: sumOfPixels(square(sub(xStart, predXStart))) }
    })
    const [term, error] = await Promise.all([read(made.term, bitsPerNat / pixels), read(made.error, 1 / pixels)])
    vb[t] = term
    xStartMse[t] = error
    onProgress?.(diffusion.steps - t, diffusion.steps)
  }

  // x_T is as good as noise: the variance's own divergence is float64's to compute, in float32 it cancels to 0.
  const last = diffusion.steps - 1
  const logVariance = tables.logOneMinusAlphaBar[last]
  const variancePart = 0.5 * (Math.expm1(logVariance) - logVariance)
  const meanSquare = await read(
    device.scope(() => sumOfPixels(square(xStart))),
    1 / pixels,
  )
  const priorBpd = meanSquare.map((v) => (variancePart + 0.5 * tables.alphaBar[last] * v) * bitsPerNat)
  return {
    totalBpd: priorBpd.map((prior, i) => vb.reduce((total, term) => total + term[i], prior)),
    priorBpd,
    vb,
    xStartMse,
    mse: xStartMse.map((error, t) => error.map((v) => v / tables.sqrtRecipm1AlphaBar[t] ** 2)),
  }
}
