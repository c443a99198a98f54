/**
 * The losses (guided-diffusion `training_losses`): the reference's values (spec K of docs/glossary.md); every mean,
 * variance and loss type against a float64 reference written down as guided-diffusion computes it, by way of x_t, with
 * gradients by central differences; and which gradient flows where.
 */
import { expect, test } from 'vitest'
import {
  approxStandardNormalCdf,
  calcBpd,
  discretizedGaussianLogLikelihood,
  GaussianDiffusion,
  lossTypeOf,
  normalKl,
  qSampleEach,
  trainingLosses,
  type Denoiser,
  type DiffusionTables,
  type LossType,
  type MeanType,
  type VarianceType,
} from '../src/diffusion/index.ts'
import { clamp, concat, grad, mul, slice, type Tensor } from '../src/tensor/index.ts'
import { waves } from './formula.ts'
import { checkOp, deviceTest, expectClose, expectSameBits, host, numbers, onCPU, type Host } from './op.ts'
import { inputX, modelA } from './spec-models.ts'

const shape = [2, 3, 8, 8]
const cosine10 = { schedule: 'cosine', diffusionSteps: 1000, respacing: '10' } as const

/** Host copies of all tensors in `made`, which are freed. */
async function readAll(made: object): Promise<Record<string, Float32Array>> {
  const found: Record<string, Float32Array> = {}
  for (const [name, tensor] of Object.entries(made) as [string, Tensor][]) found[name] = await tensor.read()
  for (const tensor of Object.values(made) as Tensor[]) tensor.dispose()
  return found
}

deviceTest(
  'K: the losses and the bound of model A',
  async (device) => {
    const model = await modelA(device)
    const told: (readonly number[])[] = []
    const denoiser: Denoiser = (x, timesteps) => {
      told.push(timesteps)
      return model.forward(x, timesteps)
    }
    const xStart = device.scope(() => clamp(inputX(device), -1, 1))
    const eps = device.tensor(waves(shape, 0.23, 0.1, Math.cos), shape)
    const diffusion = new GaussianDiffusion(cosine10)
    const losses = (lossType: LossType) =>
      readAll(trainingLosses(diffusion, denoiser, xStart, [0, 7], eps, { lossType }))
    const [mse, vb] = [
      [0.6889649, 0.6825905],
      [1.5324464, 0.7055683],
    ]
    const plain = await losses('mse')
    expectClose(plain.mse, mse, 1e-5, 'mse')
    expectClose(plain.vb, vb, 1e-5, 'vb')
    expectClose(
      plain.loss,
      mse.map((v, n) => v + vb[n]),
      1e-5,
      'loss',
    )
    const rescaled = await losses('rescaledMse')
    expectClose(
      rescaled.vb,
      vb.map((v) => v / 100),
      1e-5,
      'rescaled vb',
    )
    expectClose(
      rescaled.loss,
      mse.map((v, n) => v + vb[n] / 100),
      1e-5,
      'rescaled loss',
    )
    expectClose((await losses('kl')).loss, vb, 1e-5, 'KL')
    expectClose((await losses('rescaledKl')).loss, [15.324464, 7.0556827], 1e-5, 'rescaled KL')
    // The network hears of original steps.
    expect(new Set(told.map(String))).toEqual(new Set(['0,777']))

    const progress: number[] = []
    const noise = { step: () => eps }
    const bound = await calcBpd(diffusion, denoiser, xStart, {
      noise,
      onProgress: (done, total) => progress.push(done / total),
    })
    expectClose(bound.totalBpd, [29.07613, 19.30743], 1e-5, 'total bits a dimension')
    bound.priorBpd.forEach((v) => expect(Math.abs(v / 9e-10 - 1)).toBeLessThan(0.1))
    expect(progress).toEqual([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1])
    // Without clipping the bound's terms are the losses'.
    const unclipped = await calcBpd(diffusion, denoiser, xStart, { noise, clipDenoised: false })
    expect(unclipped.vb[0][0] / vb[0]).toBeCloseTo(1, 5)
    expect(unclipped.vb[7][1] / vb[1]).toBeCloseTo(1, 5)
    // The squared error of the noise is that of the epsilon which the sampler would take from the estimate.
    for (const t of [0, 4, 9]) {
      const direct = device.scope(() => {
        const x = diffusion.qSample(xStart, t, eps)
        return diffusion.predictEpsFromXStart(x, t, diffusion.predXStart(diffusion.run(denoiser, x, t), x, t))
      })
      const [found, drawn] = [await direct.read(), await eps.read()]
      const expected = [0, 1].map(
        (n) =>
          found.subarray(n * 192, (n + 1) * 192).reduce((total, v, i) => total + (v - drawn[n * 192 + i]) ** 2, 0) /
          192,
      )
      expectClose(bound.mse[t], expected, 1e-4, `mse at ${t}`)
      direct.dispose()
    }

    const controller = new AbortController()
    const stopped = calcBpd(diffusion, denoiser, xStart, {
      noise,
      signal: controller.signal,
      onProgress: (done) => done === 2 && controller.abort(),
    })
    await expect(stopped).rejects.toThrow('aborted')
    for (const owned of [xStart, eps, model]) owned.dispose()
  },
  onCPU,
)

deviceTest('K: divergence, CDF and likelihood', async (device) => {
  const tensor = (...values: number[]): Tensor => device.tensor(values, [values.length])
  const read = async (f: () => Tensor): Promise<Float32Array> => {
    using made = device.scope(f)
    return made.read()
  }
  expectClose(
    await read(() => normalKl(tensor(0.1), tensor(-1), tensor(0.3), tensor(-0.5))),
    [0.08623976],
    1e-6,
    'normal_kl',
  )
  expectClose(
    await read(() => approxStandardNormalCdf(tensor(-2, -0.5, 0, 1))),
    [0.0227011, 0.308572, 0.5, 0.841192],
    1e-6,
    'CDF',
  )
  const likelihood = await read(() =>
    discretizedGaussianLogLikelihood(tensor(-1, -0.9921569, 0, 0.0039216, 0.9921569, 1), {
      means: tensor(-0.9, -0.9, 0.1, 0, 0.9, 0.9),
      logScales: tensor(-2, -3, -1, -5, -2.5, -3),
    }),
  )
  // The third bin holds 0.008, the difference of two CDFs near 0.4: a rounding of theirs is 7e-6 of it.
  expectClose(
    likelihood,
    [-1.4314775, -4.4717278, -4.804193, -0.9738769, -3.8977027, -3.6194632],
    5e-6,
    'log-likelihood',
  )
  // The bins of a Gaussian share out all of its mass, up to what the floor of 1e-12 adds.
  const bins = Float32Array.from({ length: 256 }, (_, i) => (2 * i) / 255 - 1)
  const all = await read(() =>
    discretizedGaussianLogLikelihood(tensor(...bins), { means: tensor(0.2), logScales: tensor(-2) }),
  )
  expect(all.reduce((total, v) => total + Math.exp(v), 0)).toBeCloseTo(1, 5)
  // Far from the mean it stays at the floor, with a gradient of 0.
  using far = tensor(-1, 0, 1)
  const tail = device.scope(() =>
    grad(
      () => discretizedGaussianLogLikelihood(far, { means: tensor(100, -100, -100), logScales: tensor(-40) }),
      [far],
    ),
  )
  expectClose(await tail.value.read(), new Array<number>(3).fill(Math.log(1e-12)), 1e-6, 'floor')
  expect(Array.from(await tail.gradients[0].read(), Math.abs)).toEqual([0, 0, 0])
  for (const owned of [tail.value, ...tail.gradients]) owned.dispose()
})

/* The reference. */

const image = [1, 3, 4, 4]
const pixels = 48
const xStartValues = numbers(pixels, 1).map((v, i) =>
  i % 5 === 0 ? Math.sign(v) : Math.fround(Math.round((v + 1) * 127.5) / 127.5 - 1),
)
const noiseValues = numbers(pixels, 2)

const kl = (m1: number, lv1: number, m2: number, lv2: number): number =>
  0.5 * (-1 + lv2 - lv1 + Math.exp(lv1 - lv2) + (m1 - m2) ** 2 * Math.exp(-lv2))

function logLikelihood(x: number, mean: number, logScale: number): number {
  const cdf = (v: number): number => 0.5 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))
  const [plus, min] = [1 / 255, -1 / 255].map((h) => cdf((x - mean + h) * Math.exp(-logScale)))
  return Math.log(Math.max(1e-12, x < -0.999 ? plus : x > 0.999 ? 1 - min : plus - min))
}

interface Case {
  readonly tables: DiffusionTables
  readonly meanType: MeanType
  readonly varianceType: VarianceType
  readonly t: number
}

const noised = ({ tables, t }: Case): number[] =>
  Array.from(xStartValues, (x0, i) => tables.sqrtAlphaBar[t] * x0 + tables.sqrtOneMinusAlphaBar[t] * noiseValues[i])

const posteriorMean = ({ tables, t }: Case, x0: number, x: number): number =>
  tables.posteriorMeanCoef1[t] * x0 + tables.posteriorMeanCoef2[t] * x

const targetOf = (c: Case): number[] =>
  noised(c).map(
    (x, i) =>
      ({
        epsilon: noiseValues[i],
        xStart: xStartValues[i],
        previousX: posteriorMean(c, xStartValues[i], x),
        v: c.tables.sqrtAlphaBar[c.t] * noiseValues[i] - c.tables.sqrtOneMinusAlphaBar[c.t] * xStartValues[i],
      })[c.meanType],
  )

/** Bits a dimension. */
function boundOf(c: Case, prediction: Float64Array, head: Float64Array | undefined): number {
  const { tables, t, meanType, varianceType } = c
  const terms = noised(c).map((x, i) => {
    const x0 = xStartValues[i]
    const estimate =
      meanType === 'xStart'
        ? prediction[i]
        : meanType === 'v'
          ? tables.sqrtAlphaBar[t] * x - tables.sqrtOneMinusAlphaBar[t] * prediction[i]
          : tables.sqrtRecipAlphaBar[t] * x - tables.sqrtRecipm1AlphaBar[t] * prediction[i]
    const mean = meanType === 'previousX' ? prediction[i] : posteriorMean(c, estimate, x)
    const frac = ((head?.[i] ?? 0) + 1) / 2
    const logVariance = {
      fixedSmall: tables.posteriorLogVarianceClipped[t],
      fixedLarge: tables.fixedLargeLogVariance[t],
      learned: head?.[i] ?? 0,
      learnedRange: frac * tables.logBetas[t] + (1 - frac) * tables.posteriorLogVarianceClipped[t],
    }[varianceType]
    return t === 0
      ? -logLikelihood(x0, mean, 0.5 * logVariance)
      : kl(posteriorMean(c, x0, x), tables.posteriorLogVarianceClipped[t], mean, logVariance)
  })
  return terms.reduce((a, b) => a + b, 0) / pixels / Math.LN2
}

const meanSquare = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a, (v, i) => (v - b[i]) ** 2).reduce((x, y) => x + y, 0) / pixels

const diffusionOf = (meanType: MeanType, varianceType: VarianceType): GaussianDiffusion =>
  new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 2000, meanType, varianceType })

/**
 * A prediction off its target by about a deviation of the posterior, and the number that a rounding of 1 becomes in it.
 */
function nearTarget(c: Case, diffusion: GaussianDiffusion): { values: Float64Array; spread: number } {
  const { tables, t, meanType } = c
  const scale = {
    epsilon: tables.posteriorMeanCoef1[t] * tables.sqrtRecipm1AlphaBar[t],
    xStart: tables.posteriorMeanCoef1[t],
    previousX: 1,
    v: tables.posteriorMeanCoef1[t] * tables.sqrtOneMinusAlphaBar[t],
  }[meanType]
  const spread = Math.min(1, Math.exp(0.5 * tables.posteriorLogVarianceClipped[t]) / scale)
  const target = targetOf(c)
  expect(diffusion.steps).toBe(tables.steps)
  return { spread, values: numbers(pixels, 3).map((v, i) => Math.fround(target[i] + spread * v)) }
}

const lossTypes: readonly LossType[] = ['mse', 'rescaledMse', 'kl', 'rescaledKl']

for (const meanType of ['epsilon', 'xStart', 'previousX', 'v'] as const) {
  for (const varianceType of ['learned', 'learnedRange', 'fixedSmall', 'fixedLarge'] as const) {
    test(`${meanType}, ${varianceType}: values and gradients`, async () => {
      const diffusion = diffusionOf(meanType, varianceType)
      const { tables } = diffusion.process
      // Between the learned bounds there is less room than central differences see beyond some hundred steps.
      for (const t of [0, 1, 400, ...(varianceType === 'learnedRange' ? [] : [1999])]) {
        const c: Case = { tables, meanType, varianceType, t }
        const { values, spread } = nearTarget(c, diffusion)
        const learned = varianceType.startsWith('learned')
        // A log-variance of its own near the posterior's; a fraction between -1 and 1.
        const heads = numbers(pixels, 4).map((v) =>
          Math.fround(varianceType === 'learned' ? v + tables.posteriorLogVarianceClipped[t] : v),
        )
        const inputs = [{ shape: image, values }, ...(learned ? [{ shape: image, values: heads }] : [])]
        for (const lossType of lossTypes) {
          const squared = lossType === 'mse' || lossType === 'rescaledMse'
          const op = (...out: Tensor[]): Tensor => {
            const { device } = out[0]
            const denoiser: Denoiser = () => (learned ? concat(out, 1) : mul(out[0], 1))
            return trainingLosses(
              diffusion,
              denoiser,
              device.tensor(xStartValues, image),
              [t],
              device.tensor(noiseValues, image),
              { lossType },
            ).loss
          }
          const reference = (prediction: Host, head?: Host): Host => {
            const mse = meanSquare(prediction.data, targetOf(c))
            if (!squared) return host([1], [boundOf(c, prediction.data, head?.data) * (lossType === 'kl' ? 1 : 2000)])
            // The bound sees the mean head as a constant: the unmoved values, wherever `prediction` was moved.
            return host([1], [mse + (learned ? boundOf(c, values, head?.data) * (lossType === 'mse' ? 1 : 2) : 0)])
          }
          // Roundings of the target against a deviation of the posterior; roundings of log-variances
          // against their divergence.
          const tolerance =
            1e-5 + 5e-7 / spread + (2 ** -22 * (1 - tables.posteriorLogVarianceClipped[t])) / boundOf(c, values, heads)
          await checkOp(`t ${t}, ${lossType}`, {
            inputs,
            op,
            reference,
            tolerance,
            gradientTolerance: 10 * tolerance + 1e-4,
            large: false,
            midGraph: false,
          })
        }
      }
    })
  }
}

/* What flows where. */

const steps = [0, 1, 600, 1999]

deviceTest(
  "the variance head's term has a gradient of exactly zero on the mean head, and the bound alone has not",
  async (device) => {
    const whole = [4, 3, 4, 4]
    const xStart = device.tensor(numbers(4 * pixels, 5), whole)
    const noise = device.tensor(numbers(4 * pixels, 6), whole)
    const out = device.tensor(numbers(8 * pixels, 7), [4, 6, 4, 4])
    const diffusion = diffusionOf('epsilon', 'learnedRange')
    const gradient = async (
      lossType: LossType,
      pick: 'loss' | 'mse' | 'vb',
    ): Promise<{ mean: Float32Array; variance: Float32Array }> =>
      readAll(
        device.scope(() => {
          const loss = (): Tensor =>
            trainingLosses(diffusion, () => mul(out, 1), xStart, steps, noise, { lossType })[pick] as Tensor
          const {
            gradients: [g],
          } = grad(loss, [out])
          return { mean: slice(g, 1, 0, 3), variance: slice(g, 1, 3, 6) }
        }),
      ) as Promise<{ mean: Float32Array; variance: Float32Array }>
    for (const lossType of ['mse', 'rescaledMse'] as const) {
      const vb = await gradient(lossType, 'vb')
      expect(
        vb.mean.every((v) => v === 0),
        lossType,
      ).toBe(true)
      expect(
        vb.variance.every((v) => v !== 0),
        lossType,
      ).toBe(true)
      const loss = await gradient(lossType, 'loss')
      expectSameBits(loss.mean, (await gradient(lossType, 'mse')).mean, `${lossType}: mean head`)
      expectSameBits(loss.variance, vb.variance, `${lossType}: variance head`)
    }
    const bound = await gradient('kl', 'loss')
    expect(bound.mean.every((v) => v !== 0)).toBe(true)
    for (const owned of [xStart, noise, out]) owned.dispose()
  },
)

deviceTest("a sample's loss and gradient are the same alone and among others at other steps", async (device) => {
  const values = (seed: number, channels = 3): Float64Array => numbers(4 * channels * 16, seed)
  const [x0, eps, prediction] = [values(5), values(6), values(7, 6)]
  const run = (from: number, to: number): Promise<Record<string, Float32Array>> => {
    const tensor = (all: Float64Array): Tensor => {
      const [one, n] = [all.length / 4, to - from]
      return device.tensor(all.subarray(from * one, to * one), [n, one / 16, 4, 4])
    }
    return readAll(
      device.scope(() => {
        const [xStart, noise, out] = [x0, eps, prediction].map(tensor)
        const {
          value,
          gradients: [gradient],
        } = grad(
          () =>
            trainingLosses(
              diffusionOf('epsilon', 'learnedRange'),
              () => mul(out, 1),
              xStart,
              steps.slice(from, to),
              noise,
            ).loss,
          [out],
        )
        return {
          value,
          gradient,
          noised: qSampleEach(diffusionOf('epsilon', 'learnedRange'), xStart, steps.slice(from, to), noise),
        }
      }),
    )
  }
  const together = await run(0, 4)
  for (let n = 0; n < 4; n++) {
    const alone = await run(n, n + 1)
    for (const [name, one] of Object.entries(alone)) {
      expectSameBits(together[name].slice(n * one.length, (n + 1) * one.length), one, `${name} of sample ${n}`)
    }
  }
})

deviceTest("neither branch of the bound makes the other's gradient NaN", async (device) => {
  const one = [2, 1, 1, 1]
  const diffusion = diffusionOf('xStart', 'learned')
  const { posteriorLogVarianceClipped, posteriorMeanCoef1 } = diffusion.process.tables
  // At t = 0 a variance of e^-100, of which the divergence's inverse overflows; at 600 an error of 1e15, of which the
  // likelihood's cube would.
  const [head, far] = [-100, 1e15]
  using xStart = device.tensor([0.5, 0], one)
  using out = device.tensor([0.5, head, far, 0], [2, 2, 1, 1])
  using noise = device.tensor([0, 0], one)
  const { value, gradients } = device.scope(() =>
    grad(() => trainingLosses(diffusion, () => mul(out, 1), xStart, [0, 600], noise, { lossType: 'kl' }).loss, [out]),
  )
  const [lv1, d] = [posteriorLogVarianceClipped[600], posteriorMeanCoef1[600] * far]
  const expected = [
    0.5 * (-1 - lv1 + Math.exp(lv1) + d * d),
    d * posteriorMeanCoef1[600],
    0.5 * (1 - Math.exp(lv1) - d * d),
  ].map((v) => v / Math.LN2)
  const [losses, found] = [await value.read(), await gradients[0].read()]
  expect(losses[0]).toBeCloseTo(0, 6)
  expect(losses[1] / expected[0]).toBeCloseTo(1, 5)
  expect(Array.from(found.subarray(0, 2), Math.abs)).toEqual([0, 0])
  expect(found[2] / expected[1]).toBeCloseTo(1, 5)
  expect(found[3] / expected[2]).toBeCloseTo(1, 5)
  for (const owned of [value, ...gradients]) owned.dispose()
})

deviceTest(
  'steps outside the process, steps of another number, and loss types that are none are refused',
  async (device) => {
    using x = device.tensor(xStartValues, image)
    const diffusion = new GaussianDiffusion({ ...cosine10, varianceType: 'fixedSmall' })
    const losses = (t: number[], lossType: LossType = 'mse') =>
      device.scope(() => trainingLosses(diffusion, (xt) => mul(xt, 1), x, t, x, { lossType }).loss)
    expect(() => losses([10])).toThrow(/index from 0 to 9, found 10/)
    expect(() => losses([0.5])).toThrow(/found 0.5/)
    expect(() => losses([1, 2])).toThrow(/one step for each of the 1 samples, found 2/)
    expect(() => losses([1], 'l1' as LossType)).toThrow(/mse, rescaledMse, kl, rescaledKl, found l1/)
    expect(() => device.scope(() => qSampleEach(diffusion, x, [-1], x))).toThrow(/found -1/)
    const learned = new GaussianDiffusion(cosine10)
    expect(() => device.scope(() => trainingLosses(learned, (xt) => mul(xt, 1), x, [1], x))).toThrow(
      /6 output channels, found 3/,
    )
  },
  onCPU,
)

test("which loss a model's settings mean", () => {
  const settings = { schedule: 'cosine', diffusionSteps: 1000, rescaleTimesteps: false } as const
  expect(lossTypeOf(settings)).toBe('mse')
  expect(lossTypeOf({ ...settings, rescaleLearnedSigmas: true })).toBe('rescaledMse')
  expect(lossTypeOf({ ...settings, useKl: true, rescaleLearnedSigmas: true })).toBe('rescaledKl')
})
