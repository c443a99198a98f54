/**
 * L.17 and L.12 (docs/glossary.md): the toy, a mixture of two Gaussians in the plane of which the exact denoiser is
 * known, and the identity between the minority score and the denoising error, for any network.
 */
import { expect } from 'vitest'
import {
  GaussianDiffusion,
  minorityScore,
  scoreIndex,
  scoreRespacing,
  selfGuidance,
  squaredL2,
  type Denoiser,
} from '../src/diffusion/index.ts'
import { purposes } from '../src/tensor/purposes.ts'
import { add, mul, randomNormal, slice, splitSeed } from '../src/tensor/index.ts'
import { deviceTest, onCPU } from './op.ts'
import { inputX, modelA } from './spec-models.ts'
import { common, exactDenoiser, rare, shareOfRare, toy } from './toy.ts'

for (const schedule of ['cosine', 'linear'] as const) {
  deviceTest(
    `L.17: self-guidance raises the share of the rare mode, ${schedule}`,
    async (device) => {
      const count = 1000
      const share = (weight: number): Promise<number> =>
        shareOfRare(device, schedule, count, { selfGuidance: selfGuidance({ weight, every: 1 }) })
      const plain = await shareOfRare(device, schedule, count, {})
      // The denoiser is exact, so plain sampling has the mixture's own share: 0.1, within 4 deviations.
      expect(Math.abs(plain - 0.1)).toBeLessThan(4 * Math.sqrt(0.09 / count))
      // 0.0955, 0.17, 0.35 of 2000 with the cosine schedule, 0.087, 0.16, 0.35 with the linear one.
      const [some, more] = [await share(0.4), await share(1)]
      expect(some).toBeGreaterThan(plain + 0.03)
      expect(more).toBeGreaterThan(some + 0.1)
    },
    onCPU,
  )

  deviceTest(
    `L.17: the minority score ranks the rare mode above the common one, ${schedule}`,
    async (device) => {
      const before = device.stats.liveBuffers
      const count = 32
      const points = [common, rare].flatMap(({ mean }) => Array.from({ length: count }, () => mean).flat())
      using x = device.tensor(points, [2 * count, 2, 1, 1])
      const samples = Array.from({ length: 2 * count }, (_, i) => i)
      const options = { t: scoreIndex[schedule], distance: squaredL2, draws: 16, seed: 0, samples }
      using scores = minorityScore(toy(schedule, scoreRespacing), exactDenoiser(device, schedule), x, options)
      const values = await scores.read()
      expect(Math.min(...values.subarray(count))).toBeGreaterThan(2 * Math.max(...values.subarray(0, count)))
      expect(device.stats.liveBuffers).toBe(before + 2)
    },
    onCPU,
  )
}

const sums = { linear: [114.3, 462.2], cosine: [228.7, 813.8] } as const

for (const schedule of ['cosine', 'linear'] as const) {
  deviceTest(
    `scores weighed by abar / (1 - abar) add up to the simple objective, ${schedule}`,
    async (device) => {
      const count = 128
      const diffusion = toy(schedule, '')
      const { alphaBar } = diffusion.process.tables
      using x = device.tensor(
        [common, rare].flatMap(({ mean }) => Array.from({ length: count }, () => mean).flat()),
        [2 * count, 2, 1, 1],
      )
      const denoiser = exactDenoiser(device, schedule)
      const samples = Array.from({ length: 2 * count }, (_, i) => i)
      using total = device.tensor(new Float32Array(2 * count))
      for (let t = 0; t < diffusion.steps; t++) {
        device.scope(() => {
          const score = minorityScore(diffusion, denoiser, x, {
            t,
            distance: squaredL2,
            seed: t,
            samples,
            clipDenoised: false,
          })
          total.assign(add(total, mul(score, alphaBar[t] / (1 - alphaBar[t]))))
        })
        if (t % 100 === 99) await device.flush()
      }
      const values = await total.read()
      const meanOf = (from: number): number => values.subarray(from, from + count).reduce((a, v) => a + v, 0) / count
      // Both sides are means over finitely many draws: 1.4 % apart at most.
      sums[schedule].forEach((expected, i) =>
        expect(Math.abs(meanOf(i * count) / expected - 1), `${expected}`).toBeLessThan(0.05),
      )
    },
    onCPU,
  )
}

deviceTest(
  'L.12: weighed squared error is the denoising error, sample by sample, until estimates are clipped',
  async (device) => {
    const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '10' })
    const model = await modelA(device)
    const denoiser: Denoiser = (xt, timesteps) => model.forward(xt, timesteps)
    const xStart = inputX(device)
    const index = device.tensor([4, 9], [2], 'u32')
    const options = { distance: squaredL2, seed: 3, samples: [4, 9] }
    let clippedDiffers = 0
    for (let t = 0; t < diffusion.steps; t++) {
      const abar = diffusion.process.tables.alphaBar[t]
      const weight = abar / (1 - abar)
      // The draw that minorityScore makes of this seed for these samples.
      const eps = randomNormal(index, { seed: splitSeed(3), draw: 0, purpose: purposes.score, shape: [3, 8, 8] })
      const error = device.scope(() =>
        squaredL2(eps, slice(diffusion.run(denoiser, diffusion.qSample(xStart, t, eps), t), 1, 0, 3)),
      )
      const score = minorityScore(diffusion, denoiser, xStart, { ...options, t, clipDenoised: false })
      const clipped = minorityScore(diffusion, denoiser, xStart, { ...options, t })
      const [expected, found, other] = [await error.read(), await score.read(), await clipped.read()]
      found.forEach((v, n) =>
        expect(Math.abs(v * weight - expected[n]), `index ${t}, sample ${n}`).toBeLessThanOrEqual(1e-3 * expected[n]),
      )
      if (other.every((v, n) => Math.abs(v * weight - expected[n]) > 0.1 * expected[n])) clippedDiffers++
      for (const owned of [eps, error, score, clipped]) owned.dispose()
    }
    // Where x_t is mostly noise, this network's estimates are far outside [-1, 1].
    expect(clippedDiffers).toBeGreaterThanOrEqual(5)
    for (const owned of [model, xStart, index]) owned.dispose()
  },
  onCPU,
)
