/**
 * The common case of sampling: `sample` to the end, a network where a denoiser is taken, plain options for
 * self-guidance; and what is refused, because it would otherwise be plain sampling that says nothing.
 */
import { describe, expect, test } from 'vitest'
import {
  attributeGuidance,
  calcBpd,
  classifierGuidance,
  ddimInvert,
  GaussianDiffusion,
  GeneratedNoise,
  l2,
  lastGuided,
  logDensityGuidance,
  classifierLogits,
  minorityScore,
  oneStep,
  perceptual,
  sample,
  sampleLoop,
  scoreImages,
  scoreProcess,
  sehwagGuidance,
  selfGuidance,
  selfGuidanceMetric,
  superResolutionDenoiser,
  tiltedGuidance,
  trainingLosses,
  tweedieReconstruction,
  type Denoiser,
  type DenoiserLike,
  type Guidance,
  type SampleOptions,
  type SampleToEndOptions,
} from '../src/diffusion/index.ts'
import { UNet, type Classifier } from '../src/nn/index.ts'
import { concat, full, mean, mul, slice, sum, type Device, type Tensor } from '../src/tensor/index.ts'
import { networkParameters } from './formula.ts'
import { deviceTest, onCPU } from './op.ts'
import { encoder, inputX, modelA, unetConfig } from './spec-models.ts'

const fourSteps = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: 4 })
const shape = [3, 8, 8]
const noiseOf = (device: Device): GeneratedNoise => new GeneratedNoise(device, { seed: 7, samples: [0, 1], shape })

/** Values of a tensor that is made here, and freed. */
async function read(device: Device, make: () => Tensor): Promise<Float32Array> {
  using made = device.scope(make)
  return await made.read()
}

/** Nothing of it is left alive, whatever comes of it. */
async function leavesNothing(device: Device, run: () => Promise<unknown>): Promise<unknown> {
  const before = device.stats.liveBuffers
  const outcome = await run().catch((error: unknown) => error)
  expect(device.stats.liveBuffers, 'buffers alive').toBe(before)
  return outcome
}

const withModel = (name: string, body: (device: Device, model: UNet, noise: GeneratedNoise) => Promise<void>): void =>
  deviceTest(
    name,
    async (device) => {
      using model = await modelA(device)
      using noise = noiseOf(device)
      await body(device, model, noise)
    },
    onCPU,
  )

describe('sample', () => {
  withModel('is the last step of the loop, and belongs to the caller', async (device, model, noise) => {
    let last: Float32Array | undefined
    for await (const { x, done, total } of sampleLoop(fourSteps, model, { noise }))
      if (done === total) last = await x.read()
    const steps: (readonly [number, number, number])[] = []
    const before = device.stats.liveBuffers
    const x = await sample(fourSteps, model, {
      noise,
      onStep: ({ t, done, total }) => void steps.push([t, done, total]),
    })
    expect([x.shape, steps]).toEqual([
      [2, 3, 8, 8],
      [
        [3, 1, 4],
        [2, 2, 4],
        [1, 3, 4],
        [0, 4, 4],
      ],
    ])
    expect(device.stats.liveBuffers).toBe(before + 1)
    expect(await x.read()).toEqual(last)
    x.dispose()
    expect(device.stats.liveBuffers).toBe(before)
  })

  withModel('asks about a forgotten await', async (device, model, noise) => {
    const promise = sample(fourSteps, model, { noise })
    expect(() => (promise as unknown as Tensor).read()).toThrow(
      'Tensor.read: this is still the Promise of a Tensor: did you forget await?',
    )
    using x = await promise
    expect(x.device).toBe(device)
  })

  withModel('waits for onStep, which may read the step', async (device, model, noise) => {
    let [busy, most] = [0, 0]
    const states: Float32Array[] = []
    const onStep: SampleToEndOptions['onStep'] = async ({ x }) => {
      most = Math.max(most, ++busy)
      states.push(await x.read())
      busy--
    }
    using x = await sample(fourSteps, model, { noise, onStep })
    expect([most, states.length]).toEqual([1, 4])
    expect(states.at(-1)).toEqual(await x.read())
    expect(states[0]).not.toEqual(states[1])
    void device
  })

  withModel(
    'leaves nothing behind on an abort, an error of the model or one of onStep',
    async (device, model, noise) => {
      for (const at of [1, 2, 4]) {
        const [reason, controller] = [new Error(`abort ${at}`), new AbortController()]
        expect(
          await leavesNothing(device, () =>
            sample(fourSteps, model, {
              noise,
              signal: controller.signal,
              onStep: ({ done }) => void (done === at && controller.abort(reason)),
            }),
          ),
        ).toBe(reason)
        const broken = new Error(`onStep ${at}`)
        expect(
          await leavesNothing(device, () =>
            sample(fourSteps, model, {
              noise,
              onStep: ({ done }) => (done === at ? Promise.reject(broken) : undefined),
            }),
          ),
        ).toBe(broken)
        let calls = 0
        const fails: Denoiser = (x, timesteps) => {
          if (++calls === at) throw broken
          return model.forward(x, timesteps)
        }
        expect(await leavesNothing(device, () => sample(fourSteps, fails, { noise }))).toBe(broken)
      }
      const aborted = AbortSignal.abort(new Error('before'))
      expect(await leavesNothing(device, () => sample(fourSteps, model, { noise, signal: aborted }))).toBe(
        aborted.reason,
      )
    },
  )
})

describe('a network as a denoiser', () => {
  /** Everything that runs a network, with its values. */
  const uses = (
    device: Device,
    x: Tensor,
    noise: GeneratedNoise,
    y?: readonly number[],
  ): Record<string, (model: DenoiserLike) => Promise<ArrayLike<number>>> => {
    const scoring = { t: 2, seed: 3, samples: [4, 5], ...(y && { y }) }
    const tensor =
      (of: (model: DenoiserLike) => Tensor) =>
      (model: DenoiserLike): Promise<Float32Array> =>
        read(device, () => of(model))
    const ended = async (steps: AsyncIterable<{ readonly x: Tensor }>): Promise<Float32Array> => {
      let last = new Float32Array()
      for await (const { x } of steps) last = await x.read()
      return last
    }
    return {
      sampleLoop: (model) =>
        ended(sampleLoop(fourSteps, model, { noise, ...(y && { y }), selfGuidance: { every: 1 } })),
      ddimInvert: (model) => ended(ddimInvert(fourSteps, model, x, { ...(y && { y }) })),
      oneStep: tensor((model) => oneStep(fourSteps, model, x, 1, { noise, ...(y && { y }) }).next),
      tweedieReconstruction: tensor((model) => tweedieReconstruction(fourSteps, model, x, scoring)),
      minorityScore: tensor((model) => minorityScore(fourSteps, model, x, { ...scoring, distance: l2 })),
      scoreImages: async (model) =>
        (
          await scoreImages(
            device,
            model,
            { length: 2, shape, read: async () => await x.read() },
            {
              ...scoreProcess({ schedule: 'cosine', diffusionSteps: 100 }),
              distance: l2,
              seed: 0,
              ...(y && { classes: y }),
            },
          )
        ).scores,
      selfGuidanceMetric: tensor((model) => selfGuidanceMetric(fourSteps, model, x, 1, noise, { ...(y && { y }) })),
      trainingLosses: tensor((model) => trainingLosses(fourSteps, model, x, [0, 3], x, { ...(y && { y }) }).loss),
      calcBpd: async (model) => (await calcBpd(fourSteps, model, x, { noise, ...(y && { y }) })).totalBpd,
      'GaussianDiffusion.run': tensor((model) => fourSteps.run(model, x, 1, y)),
    }
  }

  withModel('is the function that runs it, everywhere', async (device, model, noise) => {
    using x = inputX(device)
    for (const [name, use] of Object.entries(uses(device, x, noise)))
      expect(await use(model), name).toEqual(await use((xt, timesteps) => model.forward(xt, timesteps)))
  })

  deviceTest(
    'is given its classes by y; so is a function',
    async (device) => {
      const config = { ...unetConfig, numClasses: 3 }
      using model = new UNet(config, await networkParameters(device, { kind: 'unet', ...config }))
      using noise = noiseOf(device)
      using x = inputX(device)
      for (const [name, use] of Object.entries(uses(device, x, noise, [2, 0]))) {
        const told: unknown[] = []
        const found = await use(model)
        expect(found, name).toEqual(
          await use((xt, timesteps, y) => {
            told.push(y)
            return model.forward(xt, timesteps, { y: y! })
          }),
        )
        expect(told.every((y) => JSON.stringify(y) === '[2,0]') && told.length > 0, name).toBe(true)
        expect(
          await uses(device, x, noise, [1, 0])[name](model),
          `${name}: another class is another value`,
        ).not.toEqual(found)
      }
      // Labels of typed arrays, as a data set has them.
      expect(await read(device, () => fourSteps.run(model, x, 1, Int32Array.of(2, 0)))).toEqual(
        await read(device, () => fourSteps.run(model, x, 1, [2, 0])),
      )
      await expect(sample(fourSteps, model, { noise })).rejects.toThrow(
        'This network is class-conditional: expected 2 labels of 0 to 2, found none',
      )
      await expect(sample(fourSteps, model, { noise, y: 2 as never })).rejects.toThrow(
        'y is a list with one class for each sample of the batch, as in y: [3, 3, 8, 8], found 2',
      )
    },
    onCPU,
  )

  deviceTest(
    'a classifier as logits is the function that runs it',
    async (device) => {
      using model = await modelA(device)
      using classifier = await encoder(device)
      using x = inputX(device)
      const logits = (xt: Tensor, timesteps: readonly number[]): Tensor => classifier.forward(xt, timesteps)
      const tau = Array.from({ length: 10 }, (_, i) => i + 1)
      const targets = [0, 1].map(() => tau.map((k) => k % 2 === 0))
      const pairs: [Guidance, Guidance][] = [
        [classifierGuidance(classifier, { target: 4 }), classifierGuidance(logits, { target: 4 })],
        [tiltedGuidance(classifier, { tau }), tiltedGuidance(logits, { tau })],
        [attributeGuidance(classifier, { targets }), attributeGuidance(logits, { targets })],
      ]
      for (const [one, other] of pairs)
        expect(await read(device, () => one(x, [500, 500]))).toEqual(await read(device, () => other(x, [500, 500])))
      expect(() => classifierGuidance(model, { target: 4 })).toThrow(
        'What gives logits is a classifier, or a function of x and timesteps; found a U-Net.',
      )
      expect(() => classifierLogits(model as unknown as Classifier)).toThrow(
        'classifierLogits takes a classifier; found a U-Net.',
      )
      await expect(
        (async () => read(device, () => classifierGuidance((xt) => mean(xt), { target: 4 })(x, [500, 500])))(),
      ).rejects.toThrow('A classifier gives logits [2, classes], found []')
    },
    onCPU,
  )

  deviceTest(
    'what is none is refused by name',
    async (device) => {
      using model = await modelA(device)
      using classifier = await encoder(device)
      const large = { ...unetConfig, superResolution: true }
      using upsampler = new UNet(large, await networkParameters(device, { kind: 'unet', ...large }))
      using noise = noiseOf(device)
      using small = device.tensor(new Float32Array(96), [2, 3, 4, 4])
      const refused: [unknown, string][] = [
        [
          Promise.resolve(model),
          'A denoiser is a U-Net, or a function of x and timesteps; found a promise: await loadModel(…).',
        ],
        [classifier, 'A denoiser is a U-Net, or a function of x and timesteps; found a classifier.'],
        [{ config: model.config }, 'found an object.'],
        [undefined, 'found undefined.'],
        [upsampler, 'superResolutionDenoiser(model, lowRes) is its denoiser'],
      ]
      for (const [given, message] of refused) {
        expect(String(await leavesNothing(device, () => sample(fourSteps, given as UNet, { noise })))).toContain(
          message,
        )
      }
      expect(() => superResolutionDenoiser(classifier as unknown as UNet, small)).toThrow(
        'The second stage is a super-resolution U-Net; found a classifier.',
      )
      using x = await sample(fourSteps, superResolutionDenoiser(upsampler, small), { noise })
      expect(x.shape).toEqual([2, ...shape])
    },
    onCPU,
  )
})

describe('pushes', () => {
  const half: Denoiser = (x) => mul(x, 0.5)
  const process = { schedule: 'cosine', diffusionSteps: 1000, respacing: 4, meanType: 'xStart' } as const
  const diffusion = new GaussianDiffusion({ ...process, varianceType: 'fixedSmall' })
  const { posteriorVariance, alphaBar, alphaBarPrev } = diffusion.process.tables
  /** A score of 3, 0 and 4 in every pixel: the norm over channels is 5. */
  const constant: Guidance = (x) =>
    concat(
      [3, 0, 4].map((g) => full(x.device, [2, 1, 8, 8], g)),
      1,
    )
  const pushesOf = async (device: Device, options: Omit<SampleOptions, 'noise'>): Promise<(Float32Array | null)[]> => {
    using noise = noiseOf(device)
    const pushes: (Float32Array | null)[] = []
    for await (const { push } of sampleLoop(diffusion, half, { noise, ...options })) {
      if (push) expect(push.shape).toEqual([2, 8, 8])
      pushes.push(push ? await push.read() : null)
    }
    return pushes
  }

  deviceTest('are how far a known score moves the mean of the next state', async (device) => {
    const expected = {
      ancestral: (t: number) => 5 * posteriorVariance[t],
      // The score moves x_0 by (1 - abar) / sqrt(abar) times it, and epsilon by -sqrt(1 - abar).
      ddim: (t: number) =>
        5 *
        Math.sqrt(1 - alphaBar[t]) *
        Math.abs(Math.sqrt((alphaBarPrev[t] * (1 - alphaBar[t])) / alphaBar[t]) - Math.sqrt(1 - alphaBarPrev[t])),
    }
    using noise = noiseOf(device)
    using x = noise.initial()
    for (const method of ['ancestral', 'ddim'] as const) {
      for (const t of [3, 2, 1, 0]) {
        const options = { noise, method, guidances: [constant], pushes: true }
        const push = await read(device, () => oneStep(diffusion, half, x, t, options).push!)
        const far = expected[method](t)
        // Differences of states of 1 to 4, which are rounded.
        for (const value of push) expect(Math.abs(value - far)).toBeLessThan(1e-6 * (1 + far))
      }
    }
  })

  deviceTest(
    'are those of guided steps, and only where they are asked for',
    async (device) => {
      const selfGuided = { selfGuidance: { every: 2 } }
      expect(await pushesOf(device, { pushes: true })).toEqual([null, null, null, null])
      expect(await pushesOf(device, selfGuided)).toEqual([null, null, null, null])
      const pushes = await pushesOf(device, { ...selfGuided, pushes: true })
      // Steps of index 3, 2, 1 and 0.
      expect(pushes.map((push) => push !== null)).toEqual([false, true, false, true])
      expect(Math.max(...(pushes[1] as Float32Array))).toBeGreaterThan(0)
      const both = await pushesOf(device, { ...selfGuided, guidances: [constant], pushes: true })
      expect(both.every((push) => push !== null)).toBe(true)
      expect(both[1]).not.toEqual((await pushesOf(device, { guidances: [constant], pushes: true }))[1])
    },
    onCPU,
  )
})

describe('self-guidance', () => {
  withModel('of plain options is that of selfGuidance', async (_, model, noise) => {
    const run = async (options: Omit<SampleOptions, 'noise'>): Promise<Float32Array> => {
      using x = await sample(fourSteps, model, { noise, ...options })
      return await x.read()
    }
    const guided = await run({ selfGuidance: { weight: 0.4 } })
    expect(guided).toEqual(await run({ selfGuidance: selfGuidance({ weight: 0.4 }) }))
    // Every fifth index: of four only the last is guided.
    expect(guided).not.toEqual(await run({}))
    expect(await run({ selfGuidance: {} })).toEqual(
      await run({ selfGuidance: selfGuidance({ weight: 1, every: 5, strength: 0.8 }) }),
    )
    expect(await run({ selfGuidance: { weight: 0 } })).toEqual(await run({}))
  })

  test('the last guided index of plain options', () => {
    expect(lastGuided({ weight: 0.4 }, 9, 10)).toBe(0)
    expect(lastGuided({ weight: 0.4, after: 0.5, every: 4 }, 9, 10)).toBe(8)
  })

  test.each<[unknown, string]>([
    [
      { wieght: 0.4 },
      'selfGuidance: unknown option "wieght" (did you mean "weight"?); there are weight, every, strength, after, ' +
        'scale, draws, raw, clip, distance, through.',
    ],
    [
      { weight: 0.4, evry: 2, mg_scale: 1 },
      'selfGuidance: unknown options "evry" (did you mean "every"?), "mg_scale" (did you mean "scale"?)',
    ],
    [0.4, 'selfGuidance: expected an object of options such as { weight: … }, found 0.4.'],
    [true, 'selfGuidance: expected an object of options such as { weight: … }, found true.'],
    [null, 'selfGuidance: expected an object of options such as { weight: … }, found null'],
    [{ weight: '0.4' }, 'weight is a finite number, found 0.4'],
    [{ scale: 'Fixed' }, "Self-guidance: scale is 'variance' or 'fixed', found 'Fixed': did you mean 'fixed'?"],
    [
      { distance: { distance: () => {} } },
      'distance is a function of two batches of images, such as l2, or (a, b) => lpips.distance(a, b); found an object',
    ],
  ])('%j is refused', (options, message) => {
    expect(() => selfGuidance(options as object)).toThrow(message)
    expect(() => lastGuided(options as object, 3, 4)).toThrow(message)
  })
})

describe('what would be plain sampling in silence is refused', () => {
  const guidance: Guidance = (x) => mul(x, 0)
  const refused: Record<string, [unknown, string]> = {
    'a misspelled option': [{ guidence: [guidance] }, 'sample: unknown option "guidence" (did you mean "guidances"?)'],
    'a misspelled onStep': [{ onstep: () => {} }, 'sample: unknown option "onstep" (did you mean "onStep"?)'],
    'self-guidance by another name': [{ self_guidance: {} }, 'did you mean "selfGuidance"?'],
    'misspelled self-guidance': [
      { selfGuidance: { strenght: 0.5 } },
      'selfGuidance: unknown option "strenght" (did you mean "strength"?)',
    ],
    'no self-guidance but a number': [{ selfGuidance: 0.4 }, 'selfGuidance: expected an object of options'],
    'a guidance that is no list': [
      { guidances: guidance },
      'guidances is a list, as in guidances: [guidance], found a function',
    ],
    'a guidance that is no function': [
      { guidances: [{ target: 3, scale: 1 }] },
      'A guidance is a function, such as classifierGuidance(classifier, { target: 3 }) gives, found an object',
    ],
    'a guidance that was not made': [
      { guidances: [(x: never, t: never) => classifierGuidance(() => x, { target: t })] },
      'A guidance gives a gradient, found a function: what makes a guidance is to be called first',
    ],
    'a scalar of a guidance': [
      { guidances: [(x: Tensor) => sum(x)] },
      'A guidance gives a tensor [2, 3, 8, 8], found [].',
    ],
    'a row of a guidance': [
      { guidances: [(x: Tensor) => sum(x, { axes: [0], keepDims: true })] },
      'A guidance gives a tensor [2, 3, 8, 8], found [1, 3, 8, 8].',
    ],
    'a number of a guidance': [{ guidances: [() => 0.5] }, 'A guidance gives a tensor, found 0.5'],
    'nothing of a guidance': [{ guidances: [() => undefined] }, 'A guidance gives a tensor, found undefined'],
    'a guidance that waits': [
      { guidances: [async (x: Tensor) => x] },
      'A guidance gives a tensor at once, since what it computes is only enqueued; found a promise: it ' +
        'must not be an async function',
    ],
    'another case of a method': [
      { method: 'DDIM' },
      "method is 'ancestral' or 'ddim', found 'DDIM': did you mean 'ddim'?",
    ],
    'no method': [{ method: 'euler' }, "method is 'ancestral' or 'ddim', found 'euler'."],
    'the noise of DDIM without DDIM': [
      { eta: 0.5 },
      "eta is the noise of method 'ddim', and ancestral sampling has its own: leave eta out, or choose 'ddim'",
    ],
    'eta 0 without DDIM': [{ eta: 0 }, "eta is the noise of method 'ddim'"],
    'an eta that is none': [{ method: 'ddim', eta: NaN }, 'eta is a number from 0 to 1, found NaN'],
    'fewer steps than none': [{ skip: -1 }, 'leaves out whole steps, fewer than all 4, found -1'],
    'all steps': [{ skip: 4 }, 'leaves out whole steps, fewer than all 4, found 4'],
    'a boost that is no number': [
      { boost: NaN },
      'boost is what x_T is multiplied by, a finite number of 0 or more, found NaN',
    ],
    'a boost below 0': [{ boost: -2 }, 'boost is what x_T is multiplied by, a finite number of 0 or more, found -2'],
    'noise that is a tensor': [
      { noise: {} },
      'noise is where the draws come from, such as new GeneratedNoise(device, { seed, samples, ' +
        'shape }), found an object',
    ],
    'no noise': [{ noise: undefined }, 'found undefined'],
    'an x_0 of another shape': [
      { denoisedFn: (x: Tensor) => slice(x, 0, 0, 1) },
      'denoisedFn gives a tensor [2, 3, 8, 8], found [1, 3, 8, 8].',
    ],
    'a distance that is one number for the batch': [
      { selfGuidance: { every: 1, distance: (a: Tensor) => sum(a) } },
      'A distance gives a tensor [2], found [].',
    ],
  }

  for (const [name, [options, message]] of Object.entries(refused)) {
    deviceTest(
      name,
      async (device) => {
        using noise = noiseOf(device)
        const outcome = await leavesNothing(device, () =>
          sample(fourSteps, (x) => concat([mul(x, 0.1), mul(x, 0.1)], 1), { noise, ...(options as object) }),
        )
        expect(String(outcome)).toContain(message)
        expect(outcome).toMatchObject({ name: 'TweedieError' })
      },
      onCPU,
    )
  }

  test('of the loop itself', async () => {
    await expect(sampleLoop(fourSteps, (x) => x, { guidence: [] } as never).next()).rejects.toThrow(
      'sampling: unknown option "guidence" (did you mean "guidances"?)',
    )
    await expect(sampleLoop(fourSteps, (x) => x, { onStep: () => {} } as never).next()).rejects.toThrow(
      'sampling: unknown option "onStep"',
    )
  })

  withModel('a denoiser of another batch, or one that waits', async (device, model, noise) => {
    const outcomes = [
      [
        (x: Tensor, t: readonly number[]) => slice(model.forward(x, t), 0, 0, 1),
        'A denoiser gives a tensor [2, 6, 8, 8], found [1, 6, 8, 8].',
      ],
      [async (x: Tensor, t: readonly number[]) => model.forward(x, t).read(), 'A denoiser gives a tensor at once'],
      [(x: Tensor) => x, 'takes a network of 6 output channels, found 3'],
    ] as const
    for (const [denoiser, message] of outcomes)
      expect(String(await leavesNothing(device, () => sample(fourSteps, denoiser as Denoiser, { noise })))).toContain(
        message,
      )
  })

  deviceTest(
    'noise of another shape',
    async (device) => {
      using noise = noiseOf(device)
      const denoiser: Denoiser = (x) => device.tensor(new Float32Array(2 * x.size), [x.shape[0], 6, 8, 8])
      const row = (x: Tensor): Tensor => slice(x, 0, 0, 1)
      const odd = {
        initial: () => noise.initial(),
        step: (t: number) => row(noise.step(t)),
        renoise: (t: number, k: number) => row(noise.renoise(t, k)),
      }
      expect(String(await leavesNothing(device, () => sample(fourSteps, denoiser, { noise: odd })))).toContain(
        'noise.step gives a tensor [2, 3, 8, 8], found [1, 3, 8, 8].',
      )
      const renoised = { ...odd, step: (t: number) => noise.step(t) }
      expect(
        String(
          await leavesNothing(device, () =>
            sample(fourSteps, denoiser, { noise: renoised, selfGuidance: { every: 1 } }),
          ),
        ),
      ).toContain('noise.renoise gives a tensor [2, 3, 8, 8]')
      for (const [options, message] of [
        [
          { seed: 1, samples: 4, shape },
          "samples are the numbers of this batch's samples in the run, whole ones of 0 or more, " +
            'as in [0, 1, 2, 3]; found 4',
        ],
        [{ seed: 1, samples: [0, 0.5], shape }, 'found 0.5'],
        [{ seed: 1, samples: [], shape }, 'found an array'],
        [{ seed: 1, samples: [0], shape: [8, 8] }, 'shape is that of one sample, [C, H, W], found [8, 8]'],
        [
          { seed: 1, samples: [0], shape, stage: 'upsampler' },
          "stage is 'base' or 'upsample', found 'upsampler': did you mean 'upsample'?",
        ],
        [{ sead: 1, samples: [0], shape }, 'GeneratedNoise: unknown option "sead" (did you mean "seed"?)'],
      ] as const)
        expect(() => new GeneratedNoise(device, options as never)).toThrow(message)
    },
    onCPU,
  )

  deviceTest(
    'options of the scores, the guidances and the process',
    async (device) => {
      using x = inputX(device)
      using model = await modelA(device)
      const logits = (): Tensor => x
      const scoring = { t: 1, seed: 0, samples: [0, 1], distance: l2 }
      const cases: [() => unknown, string][] = [
        [
          () => minorityScore(fourSteps, model, x, { ...scoring, darws: 5 } as never),
          'minorityScore: unknown option "darws" (did you mean "draws"?)',
        ],
        [
          () => minorityScore(fourSteps, model, x, { ...scoring, samples: [0] }),
          'samples are the numbers of the images in the run, one for each of the 2, found 1',
        ],
        [
          () => minorityScore(fourSteps, model, x, { ...scoring, seed: undefined as never }),
          'A seed is a whole number from 0 to 2^64 - 1 (a bigint from 2^53 on), found undefined',
        ],
        [
          () => scoreProcess({ schedule: 'cosine', diffusionSteps: 1000 }, 60 as never),
          'scoreProcess: expected a step { index } of the 100, or { fraction } of T, found 60.',
        ],
        [
          () => trainingLosses(fourSteps, model, x, [0, 1], slice(x, 0, 0, 1)),
          'The noise of images [2, 3, 8, 8] is of their shape, found [1, 3, 8, 8]',
        ],
        [
          () => classifierGuidance(logits, {} as never),
          'classifierGuidance: expected target, a class or one for each sample, found undefined.',
        ],
        [() => logDensityGuidance((async () => x) as never, 1)(x, [1, 1]), 'A log density gives a tensor at once'],
        [
          () => minorityScore(fourSteps, model, x, { ...scoring, distance: 'l2' as never }),
          'distance is a function of two batches of images',
        ],
        [
          () => minorityScore(fourSteps, model, x, { ...scoring, distance: (a) => sum(a) }),
          'A distance gives a tensor [2], found []',
        ],
        [
          () => tweedieReconstruction(fourSteps, model, x, { ...scoring } as never),
          'tweedieReconstruction: unknown option "distance"',
        ],
        [() => trainingLosses(fourSteps, model, x, [0, 1], x, { losstype: 'kl' } as never), 'did you mean "lossType"?'],
        [
          () => classifierGuidance(logits, { target: 1, scael: 4 } as never),
          'classifierGuidance: unknown option "scael" (did you mean "scale"?)',
        ],
        [
          () => classifierGuidance(logits, 3 as never),
          'classifierGuidance: expected an object of options such as { target: … }, found 3.',
        ],
        [() => tiltedGuidance(logits, { taus: [1] } as never), 'did you mean "tau"?'],
        [() => attributeGuidance(logits, { target: [] } as never), 'did you mean "targets"?'],
        [() => sehwagGuidance({ alfa: 1 } as never), 'did you mean "alpha"?'],
        [() => perceptual(l2, { greyRange: '0-1' as never }), "greyRange is '-1..1' or '0..1', found '0-1'."],
        [
          () => new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respaceing: 50 } as never),
          'GaussianDiffusion: unknown option "respaceing" (did you mean "respacing"?)',
        ],
        [
          () => new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, meanType: 'xstart' as never }),
          "GaussianDiffusion: meanType is 'epsilon', 'xStart', 'previousX' or 'v', found " +
            "'xstart': did you mean 'xStart'?",
        ],
        [
          () =>
            new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, varianceType: 'fixed-small' as never }),
          "did you mean 'fixedSmall'?",
        ],
        [
          () => new GaussianDiffusion({ schedule: 'Cosine' as never, diffusionSteps: 1000 }),
          'unknown noise schedule "Cosine"',
        ],
      ]
      for (const [call, message] of cases) expect(() => device.scope(call)).toThrow(message)
      await expect(
        (async () => {
          for await (const step of ddimInvert(fourSteps, model, x, { clipdenoised: false } as never)) void step
        })(),
      ).rejects.toThrow('did you mean "clipDenoised"?')
      await expect(sample({ config: model.config } as never, model, { noise: {} as never })).rejects.toThrow(
        'The process is a GaussianDiffusion, as diffusionOf(description, { respacing: 50 }) makes it, found an object.',
      )
      await expect(calcBpd(fourSteps, model, x, { noise: { step: () => slice(x, 0, 0, 1) } })).rejects.toThrow(
        'noise.step gives a tensor [2, 3, 8, 8]',
      )
      await expect(
        calcBpd(fourSteps, model, x, { noise: { step: () => x }, onprogress: () => {} } as never),
      ).rejects.toThrow('did you mean "onProgress"?')
    },
    onCPU,
  )
})
