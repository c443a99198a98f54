/**
 * guided-diffusion's quantities on U-Net A with formula weights (spec K of docs/glossary.md): cosine schedule, T = 1000
 * walked in 10 steps, both samples at index 7. And DDIM there and back (L.7), what a guidance is told and scale 0
 * (L.8); every mean and variance type against its formula in float64.
 */
import { expect } from 'vitest'
import {
  classifierGuidance,
  ddimInvert,
  GaussianDiffusion,
  GivenNoise,
  oneStep,
  sample,
  type Denoiser,
  type Guidance,
  type MeanType,
  type NoiseSource,
  type SampleOptions,
  type VarianceType,
} from '../src/diffusion/index.ts'
import { concat, mul, type Device, type Tensor } from '../src/tensor/index.ts'
import { expectSpec, waves, type SpecValues } from './formula.ts'
import { deviceTest, expectClose, numbers, onCPU } from './op.ts'
import { encoder, inputX, modelA } from './spec-models.ts'

const shape = [2, 3, 8, 8]
const t = 7

interface World {
  readonly device: Device
  readonly x: Tensor
  readonly eps: Tensor
  readonly diffusion: GaussianDiffusion
  readonly denoiser: Denoiser
  readonly guidance: (scale: number) => Guidance
  /** Every draw is `eps`. */
  readonly noise: NoiseSource
}

/** What K's diffusion lines share; afterwards nothing may be alive that was not before. */
function specTest(name: string, body: (world: World) => Promise<void>): void {
  deviceTest(
    name,
    async (device) => {
      const model = await modelA(device)
      const classifier = await encoder(device)
      const x = inputX(device)
      const eps = device.tensor(waves(shape, 0.23, 0.1, Math.cos), shape)
      await body({
        device,
        x,
        eps,
        diffusion: new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '10' }),
        denoiser: (xt, timesteps) => model.forward(xt, timesteps),
        guidance: (scale) =>
          classifierGuidance((xt, timesteps) => classifier.forward(xt, timesteps), { target: [4, 9], scale }),
        noise: { initial: () => x.alias(), step: () => eps, renoise: () => eps },
      })
      for (const owned of [x, eps, model, classifier]) owned.dispose()
    },
    onCPU,
  )
}

/** Reads what `f` makes, and frees it. */
async function read(device: Device, f: () => Tensor): Promise<Float32Array> {
  using made = device.scope(f)
  return made.read()
}

specTest('p_mean_variance and q_sample', async ({ device, x, eps, diffusion, denoiser }) => {
  expect(diffusion.process.timestepMap).toEqual([0, 111, 222, 333, 444, 555, 666, 777, 888, 999])
  expect(diffusion.timesteps(t, 2)).toEqual([777, 777])
  const p = device.scope(() => diffusion.pMeanVariance(diffusion.run(denoiser, x, t), x, t))
  expectSpec(
    await p.predXStart.read(),
    { sum: 49.41154, absSum: 344.1802, first: [0.3249276, 0.3418526] },
    'pred_xstart clipped',
  )
  expectSpec(await p.mean.read(), { sum: 21.22666, absSum: 241.421, first: [0.09697262, 0.1659714] }, 'mean')
  const variance = await p.variance.read()
  expectSpec(variance, { sum: 187.0825, absSum: 187.0825, first: [0.481707, 0.4835721] }, 'variance')
  expectClose((await p.logVariance.read()).map(Math.exp), variance, 1e-6, 'exp log-variance')
  const unclipped = await read(device, () =>
    diffusion.predXStart(diffusion.run(denoiser, x, t), x, t, { clipDenoised: false }),
  )
  expectSpec(unclipped, { sum: 180.946, absSum: 873.4726, first: [0.3249276, 0.3418526] }, 'pred_xstart unclipped')
  expectSpec(
    await read(device, () => diffusion.qSample(x, t, eps)),
    { sum: 5.202523, absSum: 235.7092, first: [0.9360448, 0.9272118] },
    'q_sample',
  )
  // denoised_fn comes before the clipping.
  const halved = await read(device, () =>
    diffusion.predXStart(diffusion.run(denoiser, x, t), x, t, { denoisedFn: (xStart) => mul(xStart, 0.5) }),
  )
  expectClose(
    halved,
    unclipped.map((v) => Math.min(1, Math.max(-1, v / 2))),
    1e-6,
    'pred_xstart of a denoised_fn',
  )
  for (const owned of Object.values(p) as Tensor[]) owned.dispose()
})

const steps: readonly [name: string, options: Omit<SampleOptions, 'noise'>, scale: number, expected: SpecValues][] = [
  ['p_sample', {}, 0, { sum: 22.2525, absSum: 258.035, first: [0.7875564, 0.8238431] }],
  ['ddim, eta 0', { method: 'ddim', eta: 0 }, 0, { sum: 19.30893, absSum: 284.1802, first: [0.0594525] }],
  ['ddim, eta 1', { method: 'ddim', eta: 1 }, 0, { sum: 22.2506, absSum: 256.1564, first: [0.7671777] }],
  ['p_sample with cond_fn', {}, 2.5, { sum: 22.24976, absSum: 257.9955, first: [0.7883748, 0.8245355] }],
  ['ddim with cond_fn', { method: 'ddim' }, 2.5, { sum: 19.30714, absSum: 284.1799, first: [0.06026384, 0.1645612] }],
]

for (const [name, options, scale, expected] of steps) {
  specTest(name, async ({ device, x, diffusion, denoiser, guidance, noise }) => {
    const guidances = scale === 0 ? [] : [guidance(scale)]
    expectSpec(
      await read(device, () => oneStep(diffusion, denoiser, x, t, { ...options, noise, guidances }).next),
      expected,
      name,
    )
  })
}

specTest('ddim reverse', async ({ device, x, diffusion, denoiser }) => {
  const next = await read(device, () =>
    diffusion.ddimReverseSample(diffusion.predXStart(diffusion.run(denoiser, x, t), x, t), x, t),
  )
  expectSpec(next, { sum: 2.60771, absSum: 199.8368, first: [-0.05945184, 0.05240275] }, 'ddim reverse')
})

specTest(
  'L.8: a guidance is told the mapped timesteps; scale 0 changes no bit',
  async ({ device, x, diffusion, denoiser, guidance, noise }) => {
    for (const [method, more] of [
      ['ancestral', {}],
      ['ddim', { eta: 0.5 }],
    ] as const) {
      const told: (readonly number[])[] = []
      const zero: Guidance = (xt, timesteps) => {
        told.push(timesteps)
        return guidance(0)(xt, timesteps)
      }
      const plain = await read(device, () => oneStep(diffusion, denoiser, x, t, { noise, method, ...more }).next)
      const guided = await read(
        device,
        () => oneStep(diffusion, denoiser, x, t, { noise, method, ...more, guidances: [zero] }).next,
      )
      expect(told).toEqual([[777, 777]])
      expect(guided, method).toEqual(plain)
      // Guidances add up: 1 and 1.5 are 2.5.
      const [one, two] = await Promise.all(
        [[1, 1.5], [2.5]].map((scales) =>
          read(
            device,
            () => oneStep(diffusion, denoiser, x, t, { noise, method, guidances: scales.map(guidance) }).next,
          ),
        ),
      )
      expectClose(one, two, 1e-6, `${method}: sum of guidances`)
    }
  },
)

specTest('L.8: rescaled timesteps reach network and guidance', async ({ device, x, denoiser, guidance, noise }) => {
  const diffusion = new GaussianDiffusion({
    schedule: 'cosine',
    diffusionSteps: 4000,
    respacing: '10',
    rescaleTimesteps: true,
  })
  const told: number[] = []
  const listen =
    <R>(f: (xt: Tensor, timesteps: readonly number[]) => R) =>
    (xt: Tensor, timesteps: readonly number[]): R => {
      told.push(...timesteps)
      return f(xt, timesteps)
    }
  await read(device, () => oneStep(diffusion, listen(denoiser), x, t, { noise, guidances: [listen(guidance(1))] }).next)
  expect(told).toEqual(new Array(4).fill(Math.fround(diffusion.process.timestepMap[t] / 4)))
})

deviceTest(
  'L.7: DDIM backwards and forwards gives the image again',
  async (device) => {
    // The linear schedule keeps abar_T = 4e-5; the cosine's 2e-9 leaves of x_0 less than float32's rounding.
    const diffusion = new GaussianDiffusion({
      schedule: 'linear',
      diffusionSteps: 1000,
      respacing: '25',
      varianceType: 'fixedSmall',
    })
    const image = device.tensor(numbers(2 * 3 * 8 * 8, 1), shape)
    const fixed = device.tensor(waves(shape, 0.23, 0.1, Math.cos), shape)
    const denoiser: Denoiser = () => mul(fixed, 1)
    // Index 0 is one noising step away from the image.
    const first = diffusion.qSample(image, 0, fixed)
    let code: Tensor | null = null
    for await (const step of ddimInvert(diffusion, denoiser, first, { clipDenoised: false })) {
      // The step from index T' - 1 leads where no sampler starts: abar_next is 0 there.
      if (step.done === diffusion.steps - 1) {
        code = mul(step.x, 1)
        break
      }
    }
    const xT = code as unknown as Tensor
    using none = device.tensor(new Float32Array(25 * image.size), [25, ...shape])
    expect(Math.abs((await xT.read())[0] - (await fixed.read())[0])).toBeLessThan(0.01)
    using again = await sample(diffusion, denoiser, {
      noise: new GivenNoise(xT, none),
      method: 'ddim',
      clipDenoised: false,
    })
    // abar_T^-1/2 = 157 times the rounding of x_T.
    expectClose(await again.read(), await image.read(), 5e-5, 'round trip')
    for (const owned of [image, fixed, first, xT, none]) owned.dispose()
  },
  onCPU,
)

const meanTypes: readonly MeanType[] = ['epsilon', 'xStart', 'previousX', 'v']
const varianceTypes: readonly VarianceType[] = ['learned', 'learnedRange', 'fixedSmall', 'fixedLarge']

for (const meanType of meanTypes) {
  for (const varianceType of varianceTypes) {
    deviceTest(
      `${meanType} with ${varianceType} variance, at every index`,
      async (device) => {
        const learned = varianceType.startsWith('learned')
        const diffusion = new GaussianDiffusion({
          schedule: 'cosine',
          diffusionSteps: 1000,
          respacing: '10',
          meanType,
          varianceType,
        })
        const size = 2 * 3 * 4 * 4
        const xValues = numbers(size, 1)
        const prediction = numbers(size, 2)
        const head = numbers(size, 3)
        const noiseValues = numbers(size, 4)
        const make = (values: ArrayLike<number>): Tensor => device.tensor(values, [2, 3, 4, 4])
        const [x, first, second, z] = [xValues, prediction, head, noiseValues].map(make)
        const out = learned ? concat([first, second], 1) : mul(first, 1)
        const { tables } = diffusion.process
        for (let step = 0; step < diffusion.steps; step++) {
          const { alphaBar, betas, posteriorVariance: btilde } = tables
          const [abar, coef1, coef2] = [
            alphaBar[step],
            tables.posteriorMeanCoef1[step],
            tables.posteriorMeanCoef2[step],
          ]
          const unclipped = prediction.map((v, i) => {
            if (meanType === 'epsilon') return (xValues[i] - Math.sqrt(1 - abar) * v) / Math.sqrt(abar)
            if (meanType === 'v') return Math.sqrt(abar) * xValues[i] - Math.sqrt(1 - abar) * v
            return meanType === 'xStart' ? v : (v - coef2 * xValues[i]) / coef1
          })
          const xStart = unclipped.map((v) => Math.max(-1, Math.min(1, v)))
          const mean = meanType === 'previousX' ? prediction : xStart.map((v, i) => coef1 * v + coef2 * xValues[i])
          const [low, high] = [Math.log(btilde[Math.max(step, 1)]), Math.log(betas[step])]
          const logVariance = head.map((v) => {
            if (varianceType === 'learned') return v
            if (varianceType === 'learnedRange') return ((v + 1) / 2) * high + (1 - (v + 1) / 2) * low
            return varianceType === 'fixedSmall' ? low : Math.log(step === 0 ? btilde[1] : betas[step])
          })
          // The trap: at index 0 the small variance is 0 while its logarithm is that of index 1.
          const variance =
            varianceType === 'fixedSmall' ? logVariance.map(() => btilde[step]) : logVariance.map(Math.exp)
          const p = device.scope(() => diffusion.pMeanVariance(out, x, step))
          expectClose(await p.predXStart.read(), xStart, 1e-5, `${step}: predXStart`)
          expectClose(await p.mean.read(), mean, 1e-5, `${step}: mean`)
          expectClose(await p.logVariance.read(), logVariance, 1e-6, `${step}: logVariance`)
          expectClose(await p.variance.read(), variance, 1e-5, `${step}: variance`)
          const next = mean.map((v, i) => v + (step === 0 ? 0 : Math.exp(0.5 * logVariance[i]) * noiseValues[i]))
          expectClose(
            await read(device, () => diffusion.pSample(p.mean, p.logVariance, step, z)),
            next,
            1e-5,
            `${step}: pSample`,
          )
          const guided = mean.map((v, i) => v + variance[i] * noiseValues[i])
          expectClose(await read(device, () => diffusion.conditionMean(p, z)), guided, 1e-5, `${step}: conditionMean`)
          if (varianceType === 'fixedSmall' && step === 0) expect(guided).toEqual(mean)
          for (const owned of Object.values(p) as Tensor[]) owned.dispose()
        }
        for (const owned of [x, first, second, z, out]) owned.dispose()
      },
      onCPU,
    )
  }
}

deviceTest(
  'a network of the wrong width for the variance type is refused',
  async (device) => {
    using x = device.tensor(numbers(48, 1), [1, 3, 4, 4])
    const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '10' })
    expect(() => device.scope(() => diffusion.run((xt) => mul(xt, 1), x, 0))).toThrow(
      /takes a network of 6 output channels, found 3/,
    )
  },
  onCPU,
)
