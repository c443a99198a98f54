/**
 * The toy: a mixture of two Gaussians in the plane, nine points of ten at the common mode and one at the rare,
 * of which the exact denoiser is known. A point is an image of two channels and one pixel.
 */
import {
  GaussianDiffusion,
  GeneratedNoise,
  respace,
  sample,
  type Denoiser,
  type SampleOptions,
} from '../src/diffusion/index.ts'
import type { NoiseSchedule } from '../src/nn/index.ts'
import { add, mul, sigmoid, sub, sum, type Device, type Tensor } from '../src/tensor/index.ts'

export const common = { mean: [0.6, 0.2], weight: 0.9 }
export const rare = { mean: [-0.7, -0.5], weight: 0.1 }
/** Variance of each mode. */
export const spread = 0.05

/**
 * E[x_0 | x_t] of points [N, 2, 1, 1]. A mode k has E_k = m_k + a v / tau (x - a m_k), with a = sqrt(abar), v its
 * variance and tau = abar v + 1 - abar; the modes are weighted by their posterior odds.
 */
export function exactDenoiser(device: Device, schedule: NoiseSchedule): Denoiser {
  const { alphaBar } = respace({ schedule, diffusionSteps: 1000 }).tables
  const vector = (values: readonly number[]): Tensor => device.tensor(values, [1, 2, 1, 1])
  const square = ([x, y]: readonly number[]): number => x * x + y * y
  return (x, [t]) => {
    const abar = alphaBar[t]
    const a = Math.sqrt(abar)
    const tau = abar * spread + 1 - abar
    const towards = vector(common.mean.map((v, i) => (rare.mean[i] - v) * (a / tau)))
    const odds = Math.log(rare.weight / common.weight) + (abar * (square(common.mean) - square(rare.mean))) / (2 * tau)
    const share = sigmoid(add(sum(mul(x, towards), { axes: [1], keepDims: true }), odds))
    const shrink = (a * spread) / tau
    const estimate = ({ mean }: { mean: readonly number[] }): Tensor =>
      add(mul(x, shrink), vector(mean.map((v) => v * (1 - shrink * a))))
    return add(estimate(common), mul(share, sub(estimate(rare), estimate(common))))
  }
}

export const toy = (schedule: NoiseSchedule, respacing: string): GaussianDiffusion =>
  new GaussianDiffusion({ schedule, diffusionSteps: 1000, respacing, meanType: 'xStart', varianceType: 'fixedSmall' })

/** Whether each of the points is nearer to the rare mode than to the common one. */
export function isRare(points: ArrayLike<number>): boolean[] {
  const distance = (n: number, { mean }: { mean: readonly number[] }): number =>
    Math.hypot(points[2 * n] - mean[0], points[2 * n + 1] - mean[1])
  return Array.from({ length: points.length / 2 }, (_, n) => distance(n, rare) < distance(n, common))
}

/** Samples 0 to count - 1 of a seed, in 50 steps: [count, 2]. */
export async function samplePoints(
  device: Device,
  schedule: NoiseSchedule,
  count: number,
  options: Omit<SampleOptions, 'noise'>,
): Promise<Float32Array> {
  using noise = new GeneratedNoise(device, {
    seed: 1,
    samples: Array.from({ length: count }, (_, i) => i),
    shape: [2, 1, 1],
  })
  using points = await sample(toy(schedule, '50'), exactDenoiser(device, schedule), {
    noise,
    clipDenoised: false,
    ...options,
  })
  return await points.read()
}

/** The share of such samples at the rare mode. */
export const shareOfRare = async (...args: Parameters<typeof samplePoints>): Promise<number> =>
  isRare(await samplePoints(...args)).filter(Boolean).length / args[2]
