/**
 * Minority guidance (Um et al., ICLR 2024, Eq. 8, 17 and 18) on small ADM classifiers: its gradients against central
 * differences, on pixels and through an extractor, with and without classes; Eq. 18 against its closed form; targets by
 * sample; and sums of guidances in both samplers.
 */
import { expect, test } from 'vitest'
import {
  classifierGuidance,
  featureShape,
  GaussianDiffusion,
  GeneratedNoise,
  classifierLogits,
  oneStep,
  sample,
  selfGuidance,
  tiltedGuidance,
  uniformTargets,
  type Guidance,
  type Logits,
  type NoiseSource,
  type SampleOptions,
} from '../src/diffusion/index.ts'
import { Classifier, type ClassifierConfig } from '../src/nn/index.ts'
import {
  add,
  gather,
  linear,
  log,
  logSoftmax,
  mul,
  reshape,
  softmax,
  sum,
  type Device,
  type Tensor,
} from '../src/tensor/index.ts'
import { expectGradient } from './differences.ts'
import { hashes, networkParameters } from './formula.ts'
import { deviceTest, expectClose, expectSameBits, numbers, onCPU } from './op.ts'
import { encoderConfig, inputX, modelA } from './spec-models.ts'

const shape = [2, 3, 8, 8]
const timesteps = [3, 17]
const levels = 10

const network = async (device: Device, config: ClassifierConfig): Promise<Classifier> =>
  new Classifier(config, await networkParameters(device, { kind: 'classifier', ...config }, hashes(7)))

/** Reads what `f` makes, and frees it. */
async function read(device: Device, f: () => Tensor): Promise<Float32Array> {
  using made = device.scope(f)
  return made.read()
}

/**
 * A classifier of the encoder's middle block, 64x4x4, as the paper's of ADM's 512x8x8: one level, no pooling between.
 */
const latentConfig: ClassifierConfig = {
  ...encoderConfig,
  imageSize: 4,
  inChannels: 64,
  channelMult: [1],
  attentionResolutions: [1],
  resblockUpdown: false,
}

const cases: readonly { name: string; extractor: boolean; numClasses: number | null }[] = [
  { name: 'on pixels', extractor: false, numClasses: null },
  { name: 'on pixels, class-conditional', extractor: false, numClasses: 5 },
  { name: 'through an extractor', extractor: true, numClasses: null },
  { name: 'through an extractor, class-conditional', extractor: true, numClasses: 5 },
]

for (const { name, extractor: hasExtractor, numClasses } of cases) {
  deviceTest(`${name}: Eq. 8 and Eq. 18 are gradients of what they say`, async (device) => {
    using classifier = await network(device, { ...(hasExtractor ? latentConfig : encoderConfig), numClasses })
    const extractor = hasExtractor ? await network(device, encoderConfig) : undefined
    const y = numClasses === null ? undefined : [1, 4]
    const logits = classifierLogits(classifier, { extractor, y })
    using x = inputX(device)
    const target = [9, 2]
    const logProb = (input: Tensor): Tensor =>
      gather(logSoftmax(logits(input, timesteps)), 1, device.tensor(target, [2, 1], 'i32'))
    await expectGradient(
      x,
      logProb,
      await read(device, () => classifierGuidance(logits, { target, scale: 1 })(x, timesteps)),
    )
    // The formula itself, where the test's logits are tame: log sum_i tau_i p_i.
    const tau = Array.from({ length: levels }, (_, i) => 0.1 * 2 ** i)
    const logMean = (input: Tensor): Tensor =>
      log(sum(mul(softmax(logits(input, timesteps)), device.tensor(tau)), { axes: [1] }))
    const tilted = await read(device, () => tiltedGuidance(logits, { tau, scale: 1 })(x, timesteps))
    await expectGradient(x, logMean, tilted)
    expectClose(
      await read(device, () => tiltedGuidance(logits, { tau, scale: -2.5 })(x, timesteps)),
      tilted.map((v) => -2.5 * v),
      1e-6,
      'scale',
    )
    if (y) {
      const other = classifierLogits(classifier, { extractor, y: [4, 1] })
      expect(await read(device, () => other(x, timesteps)), 'y is seen').not.toEqual(
        await read(device, () => logits(x, timesteps)),
      )
      expect(() => device.scope(() => classifierLogits(classifier, { extractor })(x, timesteps))).toThrow(
        /class-conditional: expected 2 labels/,
      )
    }
    extractor?.dispose()
  })
}

deviceTest(
  'an extractor is frozen features and no more; another one is refused',
  async (device) => {
    using extractor = await network(device, encoderConfig)
    using classifier = await network(device, latentConfig)
    using x = inputX(device)
    expect(featureShape(extractor)).toEqual({ channels: 64, side: 4 })
    const byHand = await read(device, () => classifier.forward(extractor.features(x, timesteps), timesteps))
    expectSameBits(
      await read(device, () => classifierLogits(classifier, { extractor })(x, timesteps)),
      byHand,
      'logits',
    )
    using narrow = await network(device, { ...encoderConfig, channelMult: [1, 1] })
    expect(() => classifierLogits(classifier, { extractor: narrow })).toThrow(
      /takes 64x4x4, but the extractor gives 32x4x4/,
    )
    expect(() => classifierLogits(extractor, { extractor })).toThrow(/takes 3x8x8, but the extractor gives 64x4x4/)
  },
  onCPU,
)

/** Logits that are a linear map of the pixels, so that every gradient has a closed form. */
function linearLogits(
  device: Device,
  classes: number,
  size: number,
): { weights: Tensor; values: Float64Array; logits: Logits } {
  const values = numbers(classes * size, 5).map((v) => v * size)
  const weights = device.tensor(values, [classes, size])
  return { weights, values, logits: (x) => linear(reshape(x, [x.shape[0], size]), weights) }
}

deviceTest('Eq. 18 in closed form, by shared and by own tau, also where probabilities vanish', async (device) => {
  const size = 12
  const { weights, values: w, logits } = linearLogits(device, 4, size)
  for (const large of [1, 300]) {
    const xs = numbers(2 * size, 6).map((v) => Math.fround(large * v))
    using x = device.tensor(xs, [2, 3, 2, 2])
    for (const tau of [
      [0.5, 1, 2, 4],
      [3, 3, 3, 3],
      [1e-30, 1e-20, 1, 1e30],
      [
        [0.1, 0.2, 0.3, 9],
        [5, 1, 1, 1],
      ],
    ]) {
      const found = await read(device, () => tiltedGuidance(logits, { tau, scale: 2 })(x, timesteps))
      const expected = Array.from({ length: 2 }, (_, n) => {
        const row = (Array.isArray(tau[n]) ? tau[n] : tau) as number[]
        const z = Float32Array.from({ length: 4 }, (_, k) =>
          Array.from({ length: size }, (_, i) => w[k * size + i] * xs[n * size + i]).reduce((a, b) => a + b, 0),
        )
        const soft = (logs: readonly number[]): number[] => {
          const peak = Math.max(...logs)
          const parts = logs.map((v) => Math.exp(v - peak))
          return parts.map((v) => v / parts.reduce((a, b) => a + b, 0))
        }
        // d/dx (log sum tau exp z - log sum exp z)
        const [tilted, plain] = [soft(row.map((v, k) => Math.log(v) + z[k])), soft(Array.from(z))]
        return Array.from(
          { length: size },
          (_, i) => 2 * tilted.reduce((total, p, k) => total + (p - plain[k]) * w[k * size + i], 0),
        )
      }).flat()
      // A logit of 1e3 is known to 1e-4, and so is its softmax.
      expectClose(found, expected, large === 1 ? 2e-5 : 1e-3, `${tau}, x up to ${large}`, size)
    }
  }
  weights.dispose()
})

deviceTest(
  'Eq. 18: equal levels lead nowhere, and one that outweighs all others leads as Eq. 8 does',
  async (device) => {
    using classifier = await network(device, encoderConfig)
    using x = inputX(device)
    const logits = classifierLogits(classifier)
    const eq8 = await read(device, () => classifierGuidance(logits, { target: 6 })(x, timesteps))
    const largest = eq8.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
    const equal = await read(device, () => tiltedGuidance(logits, { tau: new Array(levels).fill(0.7) })(x, timesteps))
    expectClose(equal, new Float32Array(equal.length), 1e-4, 'equal tau', largest)
    const one = Array.from({ length: levels }, (_, i) => (i === 6 ? 1e12 : 1e-12))
    expectClose(await read(device, () => tiltedGuidance(logits, { tau: one })(x, timesteps)), eq8, 1e-4, 'one tau')
  },
  onCPU,
)

deviceTest(
  'what cannot be guided by is refused',
  async (device) => {
    const { weights, logits } = linearLogits(device, 4, 12)
    using x = device.tensor(numbers(24, 6), [2, 3, 2, 2])
    const run = (guidance: Guidance) => () => device.scope(() => guidance(x, timesteps))
    for (const wrong of [0, -1, NaN, Infinity])
      expect(() => tiltedGuidance(logits, { tau: [1, wrong, 2, 3] })).toThrow(
        /positive numbers, of which the logarithm is taken/,
      )
    expect(() => tiltedGuidance(logits, { tau: [] })).toThrow(/found none/)
    expect(run(tiltedGuidance(logits, { tau: [1, 2, 3] }))).toThrow(/Expected 4 tau.*found 1 of 3/)
    expect(run(tiltedGuidance(logits, { tau: [[1, 2, 3, 4]] }))).toThrow(/for each of the 2 samples; found 1 of 4/)
    expect(run(tiltedGuidance(logits, { tau: [[1, 2, 3, 4], []] }))).toThrow(/found 2 of 4, 0/)
    expect(() => classifierGuidance(logits, { target: 1, scale: NaN })).toThrow(/finite number, found NaN/)
    expect(run(classifierGuidance(logits, { target: 4 }))).toThrow(
      /Target class 4 is not one of the classifier's classes 0 to 3/,
    )
    expect(run(classifierGuidance(logits, { target: [1] }))).toThrow(
      /one target class for each of the 2 samples, found 1/,
    )
    weights.dispose()
  },
  onCPU,
)

test('targets of a range: uniform, both ends included, the same for a sample in any batch', () => {
  const samples = Array.from({ length: 5000 }, (_, i) => i)
  const targets = uniformTargets([90, 99], { seed: 3, samples })
  for (let level = 90; level <= 99; level++) {
    const count = targets.filter((target) => target === level).length
    // 500 expected, deviation 21.
    expect(Math.abs(count - 500), `level ${level}: ${count}`).toBeLessThan(5 * 21)
  }
  expect(targets.every((target) => target >= 90 && target <= 99)).toBe(true)
  expect(uniformTargets([90, 99], { seed: 3, samples: [4000, 7] })).toEqual([targets[4000], targets[7]])
  expect(uniformTargets([90, 99], { seed: 4, samples })).not.toEqual(targets)
  expect(uniformTargets([5, 5], { seed: 3, samples: [1, 2] })).toEqual([5, 5])
  for (const range of [
    [3, 2],
    [-1, 2],
    [0.5, 2],
  ] as const)
    expect(() => uniformTargets(range, { seed: 0, samples })).toThrow(/two whole numbers, the smaller first/)
})

const tenSteps = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '10' })
const samplers = [{ method: 'ancestral' }, { method: 'ddim', eta: 0.5 }] as const

deviceTest(
  'guidances add up, self-guidance among them, and move no draw',
  async (device) => {
    using model = await modelA(device)
    using minority = await network(device, encoderConfig)
    using extractor = await network(device, { ...encoderConfig, outChannels: 7 })
    using latent = await network(device, latentConfig)
    using x = inputX(device)
    const denoiser = (xt: Tensor, t: readonly number[]): Tensor => model.forward(xt, t)
    const tau = Array.from({ length: levels }, (_, i) => 1 + i)
    const guidances = [
      classifierGuidance(classifierLogits(minority), { target: [9, 8], scale: 300 }),
      tiltedGuidance(classifierLogits(latent, { extractor }), { tau, scale: 200 }),
      classifierGuidance((xt, t) => extractor.forward(xt, t), { target: 3, scale: 100 }),
    ]
    const self = selfGuidance({ weight: 0.4, every: 1 })
    const index = 7
    for (const sampler of samplers) {
      const step = async (options: Omit<SampleOptions, 'noise'>): Promise<{ next: Float32Array; drawn: string[] }> => {
        using source = new GeneratedNoise(device, { seed: 5, samples: [0, 1], shape: shape.slice(1) })
        const drawn: string[] = []
        const noise: NoiseSource = {
          initial: () => source.initial(),
          step: (t) => (drawn.push(`step ${t}`), source.step(t)),
          renoise: (t, k) => (drawn.push(`renoise ${t} ${k}`), source.renoise(t, k)),
        }
        return {
          next: await read(device, () => oneStep(tenSteps, denoiser, x, index, { ...sampler, noise, ...options }).next),
          drawn,
        }
      }
      const shift = async (options: Omit<SampleOptions, 'noise'>): Promise<Float32Array> => {
        const { next } = await step(options)
        return next.map((v, i) => v - plain.next[i])
      }
      const plain = await step({})
      const all = await step({ guidances, selfGuidance: self })
      expect(plain.drawn).toEqual(['step 7'])
      expect(all.drawn).toEqual(['step 7', 'renoise 7 0'])
      expect((await step({ guidances })).drawn).toEqual(plain.drawn)
      const parts = [await shift({ selfGuidance: self })]
      for (const guidance of guidances) parts.push(await shift({ guidances: [guidance] }))
      for (const part of parts)
        expect(
          part.some((v) => Math.abs(v) > 1e-2),
          'every part leads somewhere',
        ).toBe(true)
      const together = all.next.map((v, i) => v - plain.next[i])
      expectClose(
        together,
        together.map((_, i) => parts.reduce((total, part) => total + part[i], 0)),
        1e-5,
        `${sampler.method}: sum of parts`,
        1,
      )
      // Whatever a scale of 0 is added to keeps its bits.
      const nothing = [
        classifierGuidance(classifierLogits(minority), { target: 9, scale: 0 }),
        tiltedGuidance(classifierLogits(latent, { extractor }), { tau, scale: 0 }),
      ]
      expectSameBits((await step({ guidances: nothing })).next, plain.next, `${sampler.method}: scale 0`)
      expectSameBits(
        (await step({ guidances: nothing, selfGuidance: selfGuidance({ weight: 0, every: 1 }) })).next,
        plain.next,
        `${sampler.method}: weight 0`,
      )
      expectSameBits(
        (await step({ guidances: [...nothing, ...guidances, ...nothing], selfGuidance: self })).next,
        all.next,
        `${sampler.method}: scale 0 among others`,
      )
    }
  },
  onCPU,
)

deviceTest(
  'the minority classifier is told what the network is told',
  async (device) => {
    // A network of 4000 rescaled steps sees t / 4, and so must both networks of the guidance.
    const diffusion = new GaussianDiffusion({
      schedule: 'cosine',
      diffusionSteps: 4000,
      respacing: '10',
      rescaleTimesteps: true,
    })
    using model = await modelA(device)
    using extractor = await network(device, encoderConfig)
    using classifier = await network(device, latentConfig)
    using x = inputX(device)
    const index = 7
    const told = new Array(2).fill(Math.fround(diffusion.process.timestepMap[index] / 4))
    const guidance = classifierGuidance(classifierLogits(classifier, { extractor }), { target: 9, scale: 500 })
    using zero = device.tensor(new Float32Array(x.size), shape)
    const noise: NoiseSource = { initial: () => zero, step: () => zero, renoise: () => zero }
    const denoiser = (xt: Tensor, t: readonly number[]): Tensor => model.forward(xt, t)
    const guided = await read(
      device,
      () => oneStep(diffusion, denoiser, x, index, { noise, guidances: [guidance] }).next,
    )
    const byHand = await read(device, () => {
      const p = diffusion.pMeanVariance(model.forward(x, told), x, index)
      const z = (input: Tensor): Tensor => classifier.forward(extractor.features(input, told), told)
      return add(p.mean, mul(p.variance, classifierGuidance(z, { target: 9, scale: 500 })(x, told)))
    })
    expectClose(guided, byHand, 1e-5, 'step')
    const raw = await read(device, () =>
      guidance(x, [diffusion.process.timestepMap[index], diffusion.process.timestepMap[index]]),
    )
    const mapped = await read(device, () => guidance(x, told))
    const peak = mapped.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
    expect(
      mapped.some((v, i) => Math.abs(v - raw[i]) > 0.05 * peak),
      'raw timesteps are another gradient',
    ).toBe(true)
  },
  onCPU,
)

deviceTest(
  'guided trajectories: a sample is the same in any batch, and a step creates nothing and reads nothing',
  async (device) => {
    using model = await modelA(device)
    using extractor = await network(device, encoderConfig)
    using latent = await network(device, latentConfig)
    const run = async (samples: readonly number[], method: 'ancestral' | 'ddim'): Promise<Float32Array> => {
      using noise = new GeneratedNoise(device, { seed: 2, samples, shape: shape.slice(1) })
      const guidances = [
        classifierGuidance(classifierLogits(latent, { extractor }), {
          target: uniformTargets([5, 9], { seed: 2, samples }),
          scale: 100,
        }),
        tiltedGuidance(classifierLogits(latent, { extractor }), {
          tau: samples.map((k) => Array.from({ length: levels }, (_, i) => 1 + k + i)),
          scale: 50,
        }),
      ]
      const { reads } = device.stats
      let [live, created] = [0, 0]
      using x = await sample(tenSteps, model, {
        noise,
        guidances,
        method,
        onStep: ({ done }) => {
          if (done === 1) [live, created] = [device.stats.liveBuffers, device.stats.objectsCreated]
          expect([device.stats.liveBuffers, device.stats.objectsCreated]).toEqual([live, created])
        },
      })
      expect(device.stats.reads).toBe(reads)
      return await x.read()
    }
    for (const method of ['ancestral', 'ddim'] as const) {
      const alone = await run([5], method)
      const batch = await run([2, 5], method)
      expectClose(batch.subarray(192), alone, 1e-4, method)
      expect(batch.subarray(0, 192)).not.toEqual(alone)
    }
  },
  onCPU,
)
