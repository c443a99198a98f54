/**
 * L.17 (docs/glossary.md) from data to samples on the toy: points are drawn, scored, labelled by quantiles, and the
 * classifier of those levels that is exact for them leads the sampler. Every share of the rare mode is then known:
 * level 9 of 10 is the rare mode, so Eq. 8 leads to it alone, all levels together give the data back, and Eq. 18 tilts
 * by the thresholds.
 */
import { expect } from 'vitest'
import {
  classifierGuidance,
  minorityScore,
  quantileLabels,
  respace,
  scoreIndex,
  scoreRespacing,
  selfGuidance,
  squaredL2,
  tiltedGuidance,
  uniformTargets,
  type Logits,
  type SampleOptions,
} from '../../src/diffusion/index.ts'
import type { NoiseSchedule } from '../../src/nn/index.ts'
import {
  add,
  exp,
  hostRandomNormal,
  linear,
  log,
  max,
  mul,
  reshape,
  splitSeed,
  stopGradient,
  sub,
  sum,
  type Device,
} from '../../src/tensor/index.ts'
import { deviceTest, expectSameBits, onCPU } from '../op.ts'
import { common, exactDenoiser, isRare, rare, samplePoints, shareOfRare, spread, toy } from '../toy.ts'

const count = 200
const levels = 10
const samples = 300
const indices = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

interface Labelled {
  /** The points, the most common level first. */
  readonly points: readonly number[][]
  readonly labels: Int32Array
  readonly thresholds: readonly number[]
}

/** 180 points of the common mode and 20 of the rare one, scored and labelled as images are. */
async function labelledPoints(device: Device, schedule: NoiseSchedule): Promise<Labelled> {
  const normal = hostRandomNormal({ seed: splitSeed(9), draw: 0, purpose: 99 }, indices(count), 2)
  const flat = Array.from(
    normal,
    (z, i) => (i < 2 * count * common.weight ? common : rare).mean[i % 2] + Math.sqrt(spread) * z,
  )
  using x = device.tensor(flat, [count, 2, 1, 1])
  const options = {
    t: scoreIndex[schedule],
    distance: squaredL2,
    draws: 16,
    seed: 0,
    samples: indices(count),
    clipDenoised: false,
  }
  using scores = minorityScore(toy(schedule, scoreRespacing), exactDenoiser(device, schedule), x, options)
  const { labels, thresholds } = quantileLabels(await scores.read(), levels)
  const order = indices(count).sort((a, b) => labels[a] - labels[b])
  return {
    points: order.map((i) => [flat[2 * i], flat[2 * i + 1]]),
    labels: Int32Array.from(order, (i) => labels[i]),
    thresholds,
  }
}

/**
 * log p(x_t, level), each point x_0 being a Gaussian of variance `width`: x_t of it has mean sqrt(abar) x_0 and
 * variance tau = abar width + 1 - abar. What all levels have in common is left out.
 */
function exactLogits(
  device: Device,
  schedule: NoiseSchedule,
  points: readonly number[][],
): { logits: Logits; dispose(): void } {
  const width = 0.01
  const { alphaBar } = respace({ schedule, diffusionSteps: 1000 }).tables
  const table = device.tensor(points.flat(), [count, 2])
  const half = device.tensor(
    points.map(([x, y]) => (x * x + y * y) / 2),
    [1, count],
  )
  const logits: Logits = (x, [t]) => {
    const abar = alphaBar[t]
    const exponents = mul(
      sub(mul(linear(reshape(x, [-1, 2]), table), Math.sqrt(abar)), mul(half, abar)),
      1 / (abar * width + 1 - abar),
    )
    // Every level has as many points.
    const byLevel = reshape(exponents, [-1, levels, count / levels])
    const peak = stopGradient(max(byLevel, { axes: [2], keepDims: true }))
    return reshape(add(log(sum(exp(sub(byLevel, peak)), { axes: [2], keepDims: true })), peak), [-1, levels])
  }
  return { logits, dispose: () => [table, half].forEach((tensor) => tensor.dispose()) }
}

// Seen with the cosine schedule, ancestral and DDIM: plain 0.10 and 0.10, rarest 0.94 and 1, commonest 0 and 0,
// all levels 0.09 and 0.10, tilted 0.57 and 0.66 (0.68 expected), self-guided 0.17 and 0.32, w = 0.3 0.26 and
// 0.27, both 0.35 and 0.47.
for (const schedule of ['cosine', 'linear'] as const) {
  deviceTest(
    `L.17: at the matched step, level 9 of 10 is the rare mode, ${schedule}`,
    async (device) => {
      const { points, labels } = await labelledPoints(device, schedule)
      for (let level = 0; level < levels; level++)
        expect(labels.filter((label) => label === level).length).toBe(count / levels)
      expect(isRare(points.flat())).toEqual(Array.from(labels, (label) => label === levels - 1))
    },
    onCPU,
  )

  for (const method of ['ancestral', 'ddim'] as const) {
    deviceTest(
      `L.17: minority guidance and self-guidance find the rare mode, ${method}, ${schedule}`,
      async (device) => {
        const { points, thresholds } = await labelledPoints(device, schedule)
        const { logits, dispose } = exactLogits(device, schedule, points)
        const share = (options: Omit<SampleOptions, 'noise'>): Promise<number> =>
          shareOfRare(device, schedule, samples, { method, ...options })
        const towards = (target: number | readonly number[], scale = 1) => classifierGuidance(logits, { target, scale })
        const self = selfGuidance({ weight: 0.4, every: 1 })

        const plain = await share({})
        expect(Math.abs(plain - 0.1), `plain ${plain}`).toBeLessThan(4 * Math.sqrt(0.09 / samples))
        // Eq. 8 with w = 1 is sampling from p(x | level); 50 ancestral steps do not follow that score all the way.
        const rarest = await share({ guidances: [towards(levels - 1)] })
        expect(rarest, `rarest ${rarest}`).toBeGreaterThan(method === 'ddim' ? 0.97 : 0.8)
        const commonest = await share({ guidances: [towards(0)] })
        expect(commonest, `commonest ${commonest}`).toBeLessThan(0.02)
        // Levels are equally large, so all of them together are the data again (S2, Table 5).
        const all = await share({
          guidances: [towards(uniformTargets([0, levels - 1], { seed: 1, samples: indices(samples) }))],
        })
        expect(Math.abs(all - 0.1), `all levels ${all}`).toBeLessThan(4 * Math.sqrt(0.09 / samples))
        // Eq. 18: a level is drawn in proportion to its threshold, the rare mode as often as the last.
        const tilted = await share({ guidances: [tiltedGuidance(logits, { tau: thresholds })] })
        const expected = thresholds[levels - 1] / thresholds.reduce((a, b) => a + b, 0)
        expect(expected).toBeGreaterThan(0.6)
        if (method === 'ddim')
          expect(Math.abs(tilted - expected), `tilted ${tilted}, expected ${expected}`).toBeLessThan(
            4 * Math.sqrt((expected * (1 - expected)) / samples),
          )
        else expect(tilted, `tilted ${tilted}`).toBeGreaterThan(0.4)

        const selfGuided = await share({ selfGuidance: self })
        expect(selfGuided, `self-guided ${selfGuided}`).toBeGreaterThan(plain + 0.04)
        const some = await share({ guidances: [towards(levels - 1, 0.3)] })
        expect(some, `w = 0.3: ${some}`).toBeGreaterThan(plain + 0.1)
        // Together they lead further than either.
        const both = await share({ guidances: [towards(levels - 1, 0.3)], selfGuidance: self })
        expect(both, `both ${both}`).toBeGreaterThan(Math.max(selfGuided, some))

        const zero = {
          guidances: [towards(levels - 1, 0), tiltedGuidance(logits, { tau: thresholds, scale: 0 })],
          selfGuidance: { ...self, weight: 0 },
        }
        const few = 20
        expectSameBits(
          await samplePoints(device, schedule, few, { method, ...zero }),
          await samplePoints(device, schedule, few, { method }),
          'w = 0',
        )
        dispose()
      },
      onCPU,
    )
  }
}
