/**
 * What ties minority scores to training (L.12 and L.13 of docs/glossary.md), for whatever network: Corollary 1 (a score
 * with the squared L2 distance is the denoising error, weighed), the proposition (weighed scores add up to the simple
 * objective, which is what `trainingLosses` minimises) with its corollary for self-guidance's metric, the weights of
 * the true bound, and that all of it ends where estimates are clipped. On the host in float64, from the tables; on the
 * device by what users call.
 */
import { describe, expect, test } from 'vitest'
import {
  calcBpd,
  diffusionTables,
  betaSchedule,
  GaussianDiffusion,
  minorityScore,
  selfGuidance,
  squaredL2,
  trainingLosses,
  type Denoiser,
  type NoiseSource,
} from '../src/diffusion/index.ts'
import { purposes } from '../src/tensor/purposes.ts'
import { selfGuidedPass } from '../src/diffusion/guidance/self-guidance.ts'
import { clamp, randomNormal, slice, splitSeed, type Device, type Tensor } from '../src/tensor/index.ts'
import { deviceTest, numbers, onCPU } from './op.ts'
import { inputX, modelA } from './spec-models.ts'

const relative = (found: number, expected: number): number => Math.abs(found - expected) / Math.abs(expected)

/* float64. */

const size = 12
const x0 = numbers(size, 1)
// Any network: this one is far off.
const network = (x: Float64Array, t: number): Float64Array =>
  x.map((v, i) => Math.tanh(1.3 * v - 0.4 * x[(i + 1) % size] + 0.01 * t) + 0.2)
const squaredError = (a: Float64Array, b: Float64Array): number => a.reduce((total, v, i) => total + (v - b[i]) ** 2, 0)
const clipped = (x: Float64Array): Float64Array => x.map((v) => Math.min(1, Math.max(-1, v)))

for (const schedule of ['cosine', 'linear'] as const) {
  describe(`float64, ${schedule}, at every one of 1000 steps`, () => {
    const tables = diffusionTables(betaSchedule(schedule, 1000))
    const at = (t: number) => {
      const eps = numbers(size, 100 + t).map((v) => 1.7 * v)
      const x = x0.map((v, i) => tables.sqrtAlphaBar[t] * v + tables.sqrtOneMinusAlphaBar[t] * eps[i])
      const predicted = network(x, t)
      const estimate = x.map((v, i) => tables.sqrtRecipAlphaBar[t] * v - tables.sqrtRecipm1AlphaBar[t] * predicted[i])
      return { eps, x, predicted, estimate, weight: tables.alphaBar[t] / (1 - tables.alphaBar[t]) }
    }

    test('Corollary 1 and the proposition hold, and not with clipping', () => {
      const sums = { scores: 0, errors: 0, clipped: 0 }
      for (let t = 0; t < 1000; t++) {
        const { eps, predicted, estimate, weight } = at(t)
        const error = squaredError(eps, predicted)
        expect(relative(weight * squaredError(x0, estimate), error), `step ${t}`).toBeLessThan(1e-6)
        sums.scores += weight * squaredError(x0, estimate)
        sums.errors += error
        sums.clipped += weight * squaredError(x0, clipped(estimate))
      }
      expect(relative(sums.scores, sums.errors)).toBeLessThan(1e-6)
      expect(relative(sums.clipped, sums.errors)).toBeGreaterThan(0.5)
    })

    test("L.13: with the posterior's variance, a term of the bound weighs by half the fall of the SNR", () => {
      const ratio = (t: number): number => tables.alphaBar[t] / (1 - tables.alphaBar[t])
      for (let t = 1; t < 1000; t++) {
        const { x, estimate } = at(t)
        const mean = (xStart: Float64Array): Float64Array =>
          xStart.map((v, i) => tables.posteriorMeanCoef1[t] * v + tables.posteriorMeanCoef2[t] * x[i])
        // normal_kl of equal log-variances.
        const divergence =
          0.5 * squaredError(mean(x0), mean(estimate)) * Math.exp(-tables.posteriorLogVarianceClipped[t])
        expect(
          relative(divergence, 0.5 * (ratio(t - 1) - ratio(t)) * squaredError(x0, estimate)),
          `step ${t}`,
        ).toBeLessThan(1e-6)
      }
    })
  })
}

/* On the device. */

const steps = 10
const shape = [2, 3, 8, 8]
const samples = [4, 9]
const seed = 3

interface World {
  readonly device: Device
  readonly diffusion: GaussianDiffusion
  readonly denoiser: Denoiser
  readonly xStart: Tensor
  /** The draw that `minorityScore` makes of this seed for these samples. */
  readonly eps: Tensor
  /** abar / (1 - abar) */
  readonly weight: (t: number) => number
}

function theoryTest(name: string, body: (world: World) => Promise<void>): void {
  deviceTest(
    name,
    async (device) => {
      const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: String(steps) })
      const model = await modelA(device)
      const xStart = device.scope(() => clamp(inputX(device), -1, 1))
      const index = device.tensor(samples, [2], 'u32')
      const eps = randomNormal(index, {
        seed: splitSeed(seed),
        draw: 0,
        purpose: purposes.score,
        shape: shape.slice(1),
      })
      const { alphaBar } = diffusion.process.tables
      await body({
        device,
        diffusion,
        xStart,
        eps,
        denoiser: (x, timesteps) => model.forward(x, timesteps),
        weight: (t) => alphaBar[t] / (1 - alphaBar[t]),
      })
      for (const owned of [model, xStart, index, eps]) owned.dispose()
    },
    onCPU,
  )
}

async function read(tensor: Tensor): Promise<Float32Array> {
  const values = await tensor.read()
  tensor.dispose()
  return values
}

theoryTest(
  'the proposition: weighed minority scores add up to the training loss over all steps, sample by ' +
    'sample, until they are clipped',
  async ({ device, diffusion, denoiser, xStart, eps, weight }) => {
    const pixels = xStart.size / 2
    const sums = { scores: [0, 0], clipped: [0, 0], losses: [0, 0] }
    for (let t = 0; t < steps; t++) {
      const score = (clipDenoised: boolean) =>
        read(minorityScore(diffusion, denoiser, xStart, { t, distance: squaredL2, seed, samples, clipDenoised }))
      const [free, bounded] = [await score(false), await score(true)]
      const losses = await read(device.scope(() => trainingLosses(diffusion, denoiser, xStart, [t, t], eps).mse!))
      for (const n of [0, 1]) {
        expect(relative(weight(t) * free[n], pixels * losses[n]), `step ${t}, sample ${n}`).toBeLessThan(1e-3)
        sums.scores[n] += weight(t) * free[n]
        sums.clipped[n] += weight(t) * bounded[n]
        sums.losses[n] += pixels * losses[n]
      }
    }
    for (const n of [0, 1]) {
      expect(relative(sums.scores[n], sums.losses[n])).toBeLessThan(1e-3)
      expect(relative(sums.clipped[n], sums.losses[n])).toBeGreaterThan(0.1)
    }
  },
)

theoryTest(
  'its corollary: weighed metrics of self-guidance add up to the training loss of the estimate',
  async ({ device, diffusion, denoiser, xStart, eps, weight }) => {
    const t = 4
    const noise: NoiseSource = { initial: () => eps, step: () => eps, renoise: () => eps }
    const x = diffusion.qSample(xStart, t, eps)
    const estimate = device.scope(() =>
      diffusion.predXStart(diffusion.run(denoiser, x, t), x, t, { clipDenoised: false }),
    )
    const pixels = xStart.size / 2
    const sums = { metrics: [0, 0], clipped: [0, 0], losses: [0, 0] }
    for (let s = 0; s < steps; s++) {
      const metric = (clip: boolean) =>
        read(
          device.scope(
            () =>
              selfGuidedPass(
                diffusion,
                denoiser,
                x,
                t,
                noise,
                selfGuidance({ strength: (s + 0.5) / steps, distance: squaredL2, clip }),
              ).metric,
          ),
        )
      const [free, bounded] = [await metric(false), await metric(true)]
      const losses = await read(device.scope(() => trainingLosses(diffusion, denoiser, estimate, [s, s], eps).mse!))
      for (const n of [0, 1]) {
        expect(relative(weight(s) * free[n], pixels * losses[n]), `strength ${s}, sample ${n}`).toBeLessThan(1e-3)
        sums.metrics[n] += weight(s) * free[n]
        sums.clipped[n] += weight(s) * bounded[n]
        sums.losses[n] += pixels * losses[n]
      }
    }
    for (const n of [0, 1]) {
      expect(relative(sums.metrics[n], sums.losses[n])).toBeLessThan(1e-3)
      expect(relative(sums.clipped[n], sums.losses[n])).toBeGreaterThan(0.1)
    }
    for (const owned of [x, estimate]) owned.dispose()
  },
)

theoryTest(
  "L.13: the bound's terms and its loss weigh the squared error with half the fall of the signal-to-noise ratio",
  async ({ device, denoiser, xStart, eps, weight }) => {
    // A fixed variance: the network's mean head alone.
    const diffusion = new GaussianDiffusion({
      schedule: 'cosine',
      diffusionSteps: 1000,
      respacing: String(steps),
      varianceType: 'fixedSmall',
    })
    const mean: Denoiser = (x, timesteps) => slice(denoiser(x, timesteps), 1, 0, 3)
    const bound = await calcBpd(diffusion, mean, xStart, { noise: { step: () => eps }, clipDenoised: false })
    for (let t = 1; t < steps; t++) {
      const losses = await read(
        device.scope(() => trainingLosses(diffusion, mean, xStart, [t, t], eps, { lossType: 'kl' }).loss),
      )
      for (const n of [0, 1]) {
        const expected = (0.5 * (weight(t - 1) - weight(t)) * bound.xStartMse[t][n]) / Math.LN2
        expect(relative(bound.vb[t][n], expected), `bound, step ${t}, sample ${n}`).toBeLessThan(1e-3)
        expect(relative(losses[n], expected), `loss, step ${t}, sample ${n}`).toBeLessThan(1e-3)
      }
    }
  },
)
