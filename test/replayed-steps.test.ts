/**
 * Steps of sampling that are recorded and replayed are those that are called, to the bit, in whatever they show; and
 * what may not be recorded is called.
 */
import { describe, expect, test } from 'vitest'
import {
  attributeGuidance,
  classifierGuidance,
  classifierLogits,
  ddimInvert,
  GaussianDiffusion,
  GeneratedNoise,
  l1,
  l2,
  logDensityGuidance,
  perceptual,
  pNorm,
  replayable,
  sampleLoop,
  sehwagGuidance,
  pooledFeatures,
  tiltedGuidance,
  type Guidance,
  type NoiseSource,
  type SampleOptions,
  type SampleStep,
} from '../src/diffusion/index.ts'
import type { Classifier, UNet } from '../src/nn/index.ts'
import { square, sum, type Device, type Tensor } from '../src/tensor/index.ts'
import { backends, deviceTest, expectSameBits, testDevice } from './op.ts'
import { encoder, modelA } from './spec-models.ts'

const onWebGPU = { on: backends.filter((name) => name === 'webgpu') }
const process = { schedule: 'cosine', diffusionSteps: 1000, respacing: 4 } as const
const diffusion = new GaussianDiffusion(process)
const shape = [3, 8, 8]

type Step = Record<string, Float32Array>
const shownOf = async ({ x, predXStart, metric, push }: SampleStep): Promise<Step> =>
  Object.fromEntries(
    await Promise.all(
      Object.entries({ x, predXStart, metric, push })
        .filter(([, tensor]) => tensor !== undefined)
        .map(async ([name, tensor]) => [name, await (tensor as Tensor).read()]),
    ),
  )

async function stepsOf(loop: AsyncIterable<SampleStep>): Promise<Step[]> {
  const steps: Step[] = []
  for await (const step of loop) steps.push(await shownOf(step))
  return steps
}

function expectSame(found: readonly Step[], expected: readonly Step[]): void {
  expect(found.map((step) => Object.keys(step))).toEqual(expected.map((step) => Object.keys(step)))
  for (const [i, step] of found.entries())
    for (const [name, values] of Object.entries(step)) expectSameBits(values, expected[i][name], `${name} of step ${i}`)
}

/** The same noise, of which nobody says that it may be recorded. */
const plain = (noise: GeneratedNoise): NoiseSource => ({
  initial: () => noise.initial(),
  step: (t) => noise.step(t),
  renoise: (t, k) => noise.renoise(t, k),
})

interface Case {
  readonly samples: readonly number[]
  readonly process?: Partial<ConstructorParameters<typeof GaussianDiffusion>[0]>
  options(device: Device, classifier: Classifier): Omit<SampleOptions, 'noise'>
}

const cases: { readonly [name: string]: Case } = {
  'ancestral sampling': { samples: [3], options: () => ({}) },
  DDIM: { samples: [0, 1, 7], options: () => ({ method: 'ddim', eta: 0.5, clipDenoised: false }) },
  'a process of fixed variance': {
    samples: [2],
    process: { varianceType: 'learned', meanType: 'previousX' },
    options: () => ({}),
  },
  'a process of v': { samples: [2], process: { meanType: 'v' }, options: () => ({ skip: 1, boost: 2 }) },
  'self-guidance': {
    samples: [5, 6, 7],
    options: () => ({ selfGuidance: { weight: 0.4, every: 2, draws: 2, distance: perceptual(l1) }, pushes: true }),
  },
  'self-guidance through both, by DDIM': {
    samples: [5],
    options: () => ({
      selfGuidance: { every: 1, through: 'both', scale: 'fixed', distance: pNorm(3), after: 0.2 },
      method: 'ddim',
    }),
  },
  'guidance to a class and to attributes': {
    samples: [1, 2],
    options: (_, classifier) => ({
      guidances: [
        classifierGuidance(classifierLogits(classifier), { target: [1, 2], scale: 3 }),
        attributeGuidance(classifier, { targets: [0, 1].map((n) => new Array(attributes(classifier)).fill(n === 0)) }),
      ],
      pushes: true,
    }),
  },
  'guidance to minorities, and by DDIM in the manner of Sehwag': {
    samples: [4],
    options: (device, classifier) => ({
      method: 'ddim',
      guidances: [
        tiltedGuidance(classifier, { tau: Array.from({ length: attributes(classifier) }, (_, i) => i + 1) }),
        sehwagGuidance({
          embedding: pooledFeatures(classifier),
          classMeans: meansOf(device, classifier),
          discriminator: classifier,
          alpha: 0.5,
          beta: 0.3,
        }),
      ],
    }),
  },
}

const attributes = ({ config }: Classifier): number => config.outChannels
let means: Tensor | undefined
const meansOf = (device: Device, { config }: Classifier): Tensor => {
  const width = config.modelChannels * config.channelMult[config.channelMult.length - 1]
  return (means = device.tensor(new Array(width).fill(0.1), [1, width]))
}

describe('replayed steps are those that are called', () => {
  for (const [name, { samples, process: kind, options }] of Object.entries(cases))
    deviceTest(
      name,
      async (device) => {
        using model = await modelA(device)
        using classifier = await encoder(device)
        using noise = new GeneratedNoise(device, { seed: 7, samples, shape })
        const of = new GaussianDiffusion({ ...process, ...kind })
        const rest = options(device, classifier)
        const called = await stepsOf(sampleLoop(of, model, { ...rest, noise: plain(noise) }))
        const created = device.stats.objectsCreated
        const replayed = await stepsOf(sampleLoop(of, model, { ...rest, noise }))
        expect(device.stats.objectsCreated, 'a program was made').toBeGreaterThan(created)
        expectSame(replayed, called)
        means?.dispose()
        means = undefined
      },
      onWebGPU,
    )

  deviceTest(
    'DDIM run backwards',
    async (device) => {
      using model = await modelA(device)
      using noise = new GeneratedNoise(device, { seed: 7, samples: [1], shape })
      using x0 = noise.initial()
      const called = await stepsOf(ddimInvert(diffusion, (x, t) => model.forward(x, t), x0))
      expectSame(await stepsOf(ddimInvert(diffusion, model, x0)), called)
    },
    onWebGPU,
  )
})

const withModel = (name: string, body: (device: Device, model: UNet, noise: GeneratedNoise) => Promise<void>): void =>
  deviceTest(
    name,
    async (device) => {
      using model = await modelA(device)
      using noise = new GeneratedNoise(device, { seed: 7, samples: [0, 1], shape })
      await body(device, model, noise)
    },
    onWebGPU,
  )

describe('a loop of replayed steps', () => {
  withModel(
    'creates nothing from its third step on, and submits at most 4 times a step',
    async (device, model, noise) => {
      const selfGuidance = { every: 2, distance: l2 }
      const long = new GaussianDiffusion({ ...process, respacing: 8 })
      const counts: { objects: number; submits: number }[] = []
      for await (const _ of sampleLoop(long, model, { noise, selfGuidance }))
        counts.push({ objects: device.stats.objectsCreated, submits: device.stats.submits })
      // A program for each kind of step; the next step is enqueued before one is seen.
      const rest = counts.slice(3)
      expect(rest.map(({ objects }) => objects - rest[0].objects)).toEqual(rest.map(() => 0))
      for (const [i, { submits }] of rest.slice(1).entries()) expect(submits - rest[i].submits).toBeLessThanOrEqual(4)
    },
  )

  withModel('goes on from what is written into x', async (_, model, noise) => {
    const half = async (given: NoiseSource): Promise<Step[]> => {
      const steps: Step[] = []
      for await (const step of sampleLoop(diffusion, model, { noise: given })) {
        steps.push(await shownOf(step))
        if (step.done === 2) step.x.write(steps[1].x.map((value) => value / 2))
      }
      return steps
    }
    expectSame(await half(noise), await half(plain(noise)))
  })

  withModel('frees everything when it is left', async (device, model, noise) => {
    const before = device.stats.liveBuffers
    for await (const { done } of sampleLoop(diffusion, model, { noise })) if (done === 2) break
    expect(device.stats.liveBuffers).toBe(before)
    const gone = new AbortController()
    const loop = sampleLoop(diffusion, model, { noise, signal: gone.signal })
    await loop.next()
    const next = loop.next()
    gone.abort(new Error('enough'))
    await expect(next).rejects.toThrow('enough')
    expect(device.stats.liveBuffers).toBe(before)
  })

  withModel('calls what does not say that it may be recorded, at every step', async (device, model, noise) => {
    let calls = 0
    const counted: Guidance = logDensityGuidance((x) => (calls++, sum(square(x), { axes: [1, 2, 3] })), 0.1)
    const told: unknown[] = []
    const steps: number[] = []
    const denoiser = (x: Tensor, timesteps: readonly number[]): Tensor => {
      told.push(timesteps[0])
      return model.forward(x, timesteps)
    }
    for await (const { t } of sampleLoop(diffusion, model, { noise, guidances: [counted] })) steps.push(t)
    expect(calls).toBe(4)
    for await (const _ of sampleLoop(diffusion, denoiser, { noise })) expect(told.length).toBeLessThanOrEqual(4)
    expect(told).toEqual(steps.map((t) => diffusion.process.modelTimestep(t)))
    class Mine extends GaussianDiffusion {
      override timesteps(t: number, n: number): number[]
      override timesteps(t: never, n: number): number[] {
        expect(typeof t).toBe('number')
        return super.timesteps(t as number, n)
      }
    }
    for await (const _ of sampleLoop(new Mine(process), model, { noise })) expect(device).toBeDefined()
  })

  withModel('takes a guidance that says so once for all steps', async (_, model, noise) => {
    let calls = 0
    const density = replayable((x: Tensor) => (calls++, sum(square(x), { axes: [1, 2, 3] })))
    await stepsOf(sampleLoop(diffusion, model, { noise, guidances: [logDensityGuidance(density, 0.1)] }))
    expect(calls).toBe(1)
  })
})

test.runIf(backends.includes('webgpu'))('memory of a loop is that of its larger step', async () => {
  const device = await testDevice('webgpu')
  using model = await modelA(device)
  using noise = new GeneratedNoise(device, { seed: 7, samples: [0, 1], shape })
  const seen: number[] = []
  const long = new GaussianDiffusion({ ...process, respacing: 7 })
  for await (const _ of sampleLoop(long, model, { noise, selfGuidance: { every: 2 } }))
    seen.push(device.stats.liveBytes)
  // With the last step no other is under way.
  expect(seen.slice(2, -1)).toEqual(seen.slice(2, -1).map(() => seen[2]))
})
