/**
 * Self-guided sampling (Um & Ye, ECCV 2024): sg-minority's values on U-Net A at index 7 of 10 (spec K of
 * docs/glossary.md), the claims of L.11 (the largest shift, which steps are guided, weight 0, what the gradient flows
 * through), and each switch against what it should change.
 */
import { expect, test } from 'vitest'
import {
  GaussianDiffusion,
  GeneratedNoise,
  l1,
  l2,
  lastGuided,
  oneStep,
  sample,
  sampleLoop,
  selfGuidance,
  selfGuidanceMetric,
  type Denoiser,
  type NoiseSource,
  type SelfGuidanceOptions,
} from '../src/diffusion/index.ts'
import { isGuided, selfGuidedPass } from '../src/diffusion/guidance/self-guidance.ts'
import { UNet } from '../src/nn/index.ts'
import { add, clamp, grad, mul, slice, tanh, type Device, type Tensor } from '../src/tensor/index.ts'
import { expectSpec, networkParameters, waves } from './formula.ts'
import { deviceTest, expectClose, numbers, onCPU } from './op.ts'
import { inputX, modelA, unetConfig } from './spec-models.ts'

const shape = [2, 3, 8, 8]
const t = 7
/** int(10 * 0.8). */
const s = 8

class World {
  readonly device: Device
  readonly model: UNet
  readonly x: Tensor
  readonly eps: Tensor
  readonly other: Tensor
  readonly none: Tensor
  readonly diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '10' })

  constructor(device: Device, model: UNet) {
    this.device = device
    this.model = model
    this.x = inputX(device)
    this.eps = device.tensor(waves(shape, 0.23, 0.1, Math.cos), shape)
    this.other = device.tensor(waves(shape, 0.41, 0.7), shape)
    this.none = device.tensor(new Float32Array(2 * 3 * 8 * 8), shape)
  }

  readonly denoiser: Denoiser = (x, timesteps) => this.model.forward(x, timesteps)

  /**
   * Re-noising draw 0 is K's, draw 1 another. The step's own noise is `stepNoise`: without any, a step gives its mean.
   */
  noise(stepNoise: Tensor = this.none): NoiseSource {
    return {
      initial: () => this.x.alias(),
      step: () => stepNoise,
      renoise: (_, k) => (k === 0 ? this.eps : this.other),
    }
  }

  async read(f: () => Tensor): Promise<Float32Array> {
    using made = this.device.scope(f)
    return made.read()
  }

  /** x_{t-1} of one guided step. */
  step(options: SelfGuidanceOptions, noise = this.noise(), denoiser = this.denoiser): Promise<Float32Array> {
    return this.read(
      () =>
        oneStep(this.diffusion, denoiser, this.x, t, { noise, selfGuidance: selfGuidance({ every: 1, ...options }) })
          .next,
    )
  }

  async pass(
    options: SelfGuidanceOptions,
    denoiser = this.denoiser,
  ): Promise<{ gradient: Float32Array; metric: Float32Array }> {
    const { out, gradient, metric } = selfGuidedPass(
      this.diffusion,
      denoiser,
      this.x,
      t,
      this.noise(),
      selfGuidance(options),
    )
    const values = { gradient: await gradient.read(), metric: await metric.read() }
    for (const owned of [out, gradient, metric]) owned.dispose()
    return values
  }

  /** The unguided mean and its variance. */
  async plain(): Promise<{ mean: Float32Array; variance: Float32Array }> {
    const p = this.device.scope(() =>
      this.diffusion.pMeanVariance(this.diffusion.run(this.denoiser, this.x, t), this.x, t),
    )
    const values = { mean: await p.mean.read(), variance: await p.variance.read() }
    for (const owned of Object.values(p) as Tensor[]) owned.dispose()
    return values
  }

  /** x_0 as the metric estimates it. */
  estimate(x: Tensor, at: number, clipDenoised = false): Tensor {
    return this.diffusion.predXStart(this.diffusion.run(this.denoiser, x, at), x, at, { clipDenoised })
  }

  dispose(): void {
    for (const owned of [this.x, this.eps, this.other, this.none, this.model]) owned.dispose()
  }
}

function specTest(name: string, body: (world: World) => Promise<void>): void {
  deviceTest(
    name,
    async (device) => {
      const world = new World(device, await modelA(device))
      await body(world)
      world.dispose()
    },
    onCPU,
  )
}

/** The largest element of each of the two samples. */
const peaks = (values: ArrayLike<number>): number[] =>
  [0, 1].map((n) =>
    Array.from(values)
      .slice(n * 192, (n + 1) * 192)
      .reduce((m, v) => Math.max(m, Math.abs(v)), 0),
  )

specTest('spec K: mean, shift and step; L.11: the largest shift is w times the variance', async (world) => {
  const { mean, variance } = await world.plain()
  const guided = await world.step({ weight: 0.4, distance: l2 })
  expectSpec(guided, { sum: 18.02687, absSum: 239.2464, first: [0.05766977, 0.1284184] }, 'guided mean')
  const shift = guided.map((v, i) => v - mean[i])
  expectSpec(shift, { sum: -3.199781, absSum: 22.92218, first: [-0.03930285, -0.03755303] }, 'shift')
  for (const peak of peaks(shift.map((v, i) => v / variance[i]))) expect(peak).toBeCloseTo(0.4, 5)
  const raw = await world.step({ weight: 1, raw: true, scale: 'fixed', distance: l2 })
  expectSpec(raw, { sum: 3.055758, absSum: 249.6551, first: [-0.1671088, -0.08537948] }, 'raw, fixed, w 1')
  const stepped = await world.step({ weight: 0.4, distance: l2 }, world.noise(world.eps))
  expectSpec(stepped, { sum: 19.05271, absSum: 251.4461, first: [0.7482535, 0.7862901] }, 'p_sample')
})

deviceTest(
  'L.11: every 5th of 250 steps is 50 guided ones, and a guided step runs the network twice',
  async (device) => {
    const diffusion = new GaussianDiffusion({
      schedule: 'cosine',
      diffusionSteps: 1000,
      respacing: '250',
      varianceType: 'fixedSmall',
    })
    let calls = 0
    const atStrength: number[] = []
    const denoiser: Denoiser = (x, timesteps) => {
      calls++
      if (timesteps[0] === 802) atStrength.push(calls)
      return mul(x, 0.5)
    }
    const guided: number[] = []
    using noise = new GeneratedNoise(device, { seed: 0, samples: [0], shape: [1, 2, 2] })
    for await (const step of sampleLoop(diffusion, denoiser, { noise, selfGuidance: selfGuidance({}) })) {
      if (isGuided(selfGuidance({}), step.t, diffusion.steps)) guided.push(step.t)
    }
    expect(guided).toEqual(Array.from({ length: 50 }, (_, i) => 245 - 5 * i))
    // The estimate a guided step differentiates is also the one it steps with: 250 + 50, where the reference needs 350.
    expect(calls).toBe(300)
    // Index 200 = int(250 * 0.8), step 802 of training: 50 times to re-noise, and once in its turn.
    expect(atStrength.length).toBe(51)
  },
  onCPU,
)

specTest('L.11: weight 0 is ADM, bit for bit', async (world) => {
  const run = async (options: SelfGuidanceOptions | null): Promise<Float32Array> => {
    using noise = new GeneratedNoise(world.device, { seed: 5, samples: [0, 1], shape: [3, 8, 8] })
    using x = await sample(world.diffusion, world.model, { noise, ...(options && { selfGuidance: options }) })
    return await x.read()
  }
  const plain = await run(null)
  expect(await run({ weight: 0 })).toEqual(plain)
  expect(await run({ weight: 0.4 })).not.toEqual(plain)
})

specTest('L.11: the second network changes the value, and no gradient flows through it', async (world) => {
  const { device, diffusion, x } = world
  const parameters = await networkParameters(device, { kind: 'unet', ...unetConfig })
  // The same network but for one tensor, used where x_s is denoised.
  const last = parameters.get('out.2.bias') as Tensor
  last.write((await last.read()).map((v) => 2 * v + 0.3))
  using second = new UNet(unetConfig, parameters)
  const mixed: Denoiser = (xt, timesteps) =>
    (timesteps[0] === diffusion.process.timestepMap[s] ? second : world.model).forward(xt, timesteps)
  const same = await world.pass({ raw: true })
  const changed = await world.pass({ raw: true }, mixed)
  expect(Math.abs(changed.metric[0] - same.metric[0])).toBeGreaterThan(0.01 * same.metric[0])

  for (const [denoiser, { gradient, metric }] of [
    [world.denoiser, same],
    [mixed, changed],
  ] as const) {
    // The second estimate as a mere constant: nothing can flow through it or through x_s.
    using xStart = device.scope(() => world.estimate(x, t))
    using target = device.scope(() => {
      const xs = diffusion.qSample(xStart, s, world.eps)
      return diffusion.predXStart(diffusion.run(denoiser, xs, s), xs, s, { clipDenoised: false })
    })
    const {
      value,
      gradients: [expected],
    } = device.scope(() => grad(() => l2(world.estimate(x, t), target), [x]))
    expect(metric).toEqual(await value.read())
    expect(gradient).toEqual(await expected.read())
    value.dispose()
    expected.dispose()
  }
  // And it would have mattered: with the chain through the second estimate the gradient is another.
  const {
    value,
    gradients: [through],
  } = device.scope(() =>
    grad(() => {
      const xStart = world.estimate(x, t)
      return l2(xStart, world.estimate(diffusion.qSample(xStart, s, world.eps), s))
    }, [x]),
  )
  const [worst] = peaks((await through.read()).map((v, i) => v - same.gradient[i]))
  expect(worst).toBeGreaterThan(0.01 * peaks(same.gradient)[0])
  value.dispose()
  through.dispose()
})

specTest('fixed: the largest shift is w itself; raw: the gradient as it is', async (world) => {
  const { mean, variance } = await world.plain()
  const { gradient: raw } = await world.pass({ raw: true })
  const peak = peaks(raw)
  const unit = raw.map((v, i) => v / peak[Math.floor(i / 192)])
  const shift = async (options: SelfGuidanceOptions): Promise<Float32Array> =>
    (await world.step(options)).map((v, i) => v - mean[i])
  // A difference of means carries the means' rounding, 1e-7 of their largest element.
  expectClose(
    await shift({ weight: 0.25, scale: 'fixed' }),
    unit.map((v) => 0.25 * v),
    4e-6,
    'fixed',
  )
  expectClose(
    await shift({ weight: 0.25, raw: true }),
    raw.map((v, i) => 0.25 * variance[i] * v),
    2e-5,
    'raw, variance',
  )
  expectClose(
    await shift({ weight: -2, raw: true, scale: 'fixed' }),
    raw.map((v) => -2 * v),
    4e-6,
    'raw, fixed, negative weight',
  )
})

specTest('draws: metric and gradient are means over the draws', async (world) => {
  const noiseOf = (which: Tensor): NoiseSource => ({ ...world.noise(), renoise: () => which })
  const parts: { gradient: Float32Array; metric: Float32Array }[] = []
  for (const which of [world.eps, world.other]) {
    const { out, gradient, metric } = selfGuidedPass(
      world.diffusion,
      world.denoiser,
      world.x,
      t,
      noiseOf(which),
      selfGuidance({ raw: true }),
    )
    parts.push({ gradient: await gradient.read(), metric: await metric.read() })
    for (const owned of [out, gradient, metric]) owned.dispose()
  }
  const both = await world.pass({ raw: true, draws: 2 })
  expectClose(
    both.metric,
    both.metric.map((_, i) => (parts[0].metric[i] + parts[1].metric[i]) / 2),
    1e-6,
    'metric',
  )
  expectClose(
    both.gradient,
    both.gradient.map((_, i) => (parts[0].gradient[i] + parts[1].gradient[i]) / 2),
    1e-5,
    'gradient',
  )
  expect(parts[0].metric).not.toEqual(parts[1].metric)
})

specTest('clip: both estimates inside the metric are clipped', async (world) => {
  const { metric } = await world.pass({ clip: true })
  const expected = await world.read(() => {
    const xStart = clamp(world.estimate(world.x, t), -1, 1)
    return l2(xStart, clamp(world.estimate(world.diffusion.qSample(xStart, s, world.eps), s), -1, 1))
  })
  expectClose(metric, expected, 1e-6, 'metric')
  expect(Math.abs(metric[0] - (await world.pass({})).metric[0])).toBeGreaterThan(0.1)
})

specTest('distance and strength', async (world) => {
  const expected = (distance: typeof l1, at: number): Promise<Float32Array> =>
    world.read(() => {
      const xStart = world.estimate(world.x, t)
      return distance(xStart, world.estimate(world.diffusion.qSample(xStart, at, world.eps), at))
    })
  expectClose((await world.pass({ distance: l1 })).metric, await expected(l1, s), 1e-6, 'l1')
  expectClose(
    (await world.pass({ strength: 0.35 })).metric,
    await expected(l2, 3),
    1e-6,
    'strength 0.35 is index 3 of 10',
  )
})

specTest('the metric by itself is that of a guided step, whichever way its gradient goes', async (world) => {
  const options: SelfGuidanceOptions[] = [{}, { distance: l1, strength: 0.35 }, { draws: 2, clip: true }]
  for (const one of options) {
    const metric = await world.read(() =>
      selfGuidanceMetric(world.diffusion, world.denoiser, world.x, t, world.noise(), one),
    )
    for (const through of ['first', 'second', 'both'] as const)
      expect((await world.pass({ ...one, through })).metric).toEqual(metric)
  }
})

specTest(
  'the gradient through both estimates is the whole one, and the sum of those through the first and the second',
  async (world) => {
    const { device, x } = world
    for (const draws of [1, 2]) {
      const [first, second, both] = await Promise.all(
        (['first', 'second', 'both'] as const).map(
          async (through) => (await world.pass({ raw: true, through, draws })).gradient,
        ),
      )
      expectClose(
        both,
        first.map((v, i) => v + second[i]),
        1e-5,
        'both',
      )
      for (const one of [first, second]) expect(peaks(one)[0]).toBeGreaterThan(0.05 * peaks(both)[0])
      // Central differences of the metric along directions. A step of 1e-2 errs by its square, and float32 by 1e-7
      // of a metric over it.
      for (const seed of [1, 2]) {
        using direction = device.tensor(numbers(x.size, seed), shape)
        const at = (h: number): Promise<Float32Array> =>
          world.read(() =>
            selfGuidanceMetric(world.diffusion, world.denoiser, add(x, mul(direction, h)), t, world.noise(), { draws }),
          )
        const [up, down, along] = [await at(1e-2), await at(-1e-2), await direction.read()]
        const found = [0, 1].map((n) =>
          both.subarray(n * 192, (n + 1) * 192).reduce((total, v, i) => total + v * along[n * 192 + i], 0),
        )
        expectClose(
          found,
          found.map((_, n) => (up[n] - down[n]) / 2e-2),
          1e-2,
          `draws ${draws}, direction ${seed}`,
        )
      }
    }
  },
)

specTest('with norms and a peak of their own, every way leads to a step of the same length', async (world) => {
  const { mean, variance } = await world.plain()
  for (const through of ['first', 'second', 'both'] as const) {
    const shift = (await world.step({ weight: 0.4, through })).map((v, i) => (v - mean[i]) / variance[i])
    for (const peak of peaks(shift)) expect(peak).toBeCloseTo(0.4, 5)
  }
})

specTest('a walk shows the metric of its guided steps: of the state that the step began with', async (world) => {
  const { device, diffusion, denoiser } = world
  for (const method of ['ancestral', 'ddim'] as const) {
    using noise = new GeneratedNoise(device, { seed: 5, samples: [0, 1], shape: [3, 8, 8] })
    const guidance = selfGuidance({ weight: 0.2, every: 4 })
    using before = noise.initial()
    const seen: number[] = []
    for await (const { t: at, x, metric } of sampleLoop(diffusion, denoiser, {
      noise,
      method,
      selfGuidance: guidance,
    })) {
      if (metric) {
        seen.push(at)
        expect(await metric.read()).toEqual(
          await world.read(() => selfGuidanceMetric(diffusion, denoiser, before, at, noise)),
        )
      }
      before.assign(x)
    }
    expect(seen).toEqual([8, 4, 0])
  }
})

test('the last guided index', () => {
  const last = (options: SelfGuidanceOptions, first = 9): number | null => lastGuided(selfGuidance(options), first, 10)
  expect([
    last({}),
    last({ after: 0.5 }),
    last({ after: 0.5, every: 4 }),
    last({ after: 0.5, every: 7 }, 6),
    last({ weight: 0 }),
  ]).toEqual([0, null, 8, null, null])
})

test.each<[SelfGuidanceOptions, string]>([
  [{ weight: Infinity }, 'weight'],
  [{ every: 0 }, 'every'],
  [{ draws: 1.5 }, 'draws'],
  [{ strength: 1 }, 'strength'],
  [{ after: NaN }, 'after'],
  [{ scale: 'var' as 'variance' }, 'scale'],
  [{ through: 'none' as 'first' }, "through is 'first', 'second' or 'both', found 'none'"],
])('refused: %o', (options, name) => {
  expect(() => selfGuidance(options)).toThrow(
    expect.objectContaining({ code: 'option', message: expect.stringContaining(name) }),
  )
})

test('after and every choose the indices', () => {
  const all = Array.from({ length: 10 }, (_, i) => i)
  const indices = (options: SelfGuidanceOptions): number[] => all.filter((i) => isGuided(selfGuidance(options), i, 10))
  expect(indices({ every: 1 })).toEqual(all)
  expect(indices({ every: 3 })).toEqual([0, 3, 6, 9])
  expect(indices({ every: 1, after: 0.5 })).toEqual([6, 7, 8, 9])
  expect(indices({ every: 3, after: 0.5 })).toEqual([6, 9])
  expect(indices({ every: 1, after: 0 })).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(indices({})).toEqual([0, 5])
})

for (const method of ['ancestral', 'ddim'] as const) {
  deviceTest(
    `a zero gradient is a zero shift, sample by sample: ${method}`,
    async (device) => {
      const before = device.stats.liveBuffers
      const diffusion = new GaussianDiffusion({
        schedule: 'cosine',
        diffusionSteps: 1000,
        respacing: '10',
        meanType: 'xStart',
        varianceType: 'fixedLarge',
      })
      using x = device.tensor(numbers(2 * 3 * 16, 1), [2, 3, 4, 4])
      using z = device.tensor(numbers(2 * 3 * 16, 2), [2, 3, 4, 4])
      // The first sample's estimate does not move with x at all, the second's does.
      using mask = device.tensor([0, 1], [2, 1, 1, 1])
      const denoiser: Denoiser = (xt) => add(mul(mul(xt, mask), 0.5), 0.25)
      const noise: NoiseSource = { initial: () => x, step: () => z, renoise: () => z }
      const run = async (options: { selfGuidance?: ReturnType<typeof selfGuidance> }): Promise<Float32Array> => {
        using next = device.scope(() => oneStep(diffusion, denoiser, x, 5, { noise, method, ...options }).next)
        return next.read()
      }
      const plain = await run({})
      for (const options of [{}, { raw: true }, { scale: 'fixed' }] as const) {
        const guided = await run({ selfGuidance: selfGuidance({ every: 1, ...options }) })
        expect(guided.subarray(0, 48)).toEqual(plain.subarray(0, 48))
        expect(guided.subarray(48)).not.toEqual(plain.subarray(48))
        expect(guided.every(Number.isFinite)).toBe(true)
      }
      expect(device.stats.liveBuffers).toBe(before + 3)
    },
    onCPU,
  )
}

specTest('in DDIM the shift of the mean is the term of the score that moves the mean as far', async (world) => {
  // condition_score with g = shift sqrt(alpha) / beta: x_0 + (1 - abar) / sqrt(abar) g.
  const { device, diffusion, x, denoiser } = world
  const beta = diffusion.process.tables.betas[t]
  const [{ gradient }, { variance }] = [await world.pass({ weight: 0.4 }), await world.plain()]
  const run = (options: object): Promise<Float32Array> =>
    world.read(() => oneStep(diffusion, denoiser, x, t, { noise: world.noise(), method: 'ddim', ...options }).next)
  for (const scale of ['variance', 'fixed'] as const) {
    using g = device.tensor(
      gradient.map((v, i) => ((scale === 'fixed' ? v : v * variance[i]) * Math.sqrt(1 - beta)) / beta),
      shape,
    )
    expectClose(
      await run({ selfGuidance: selfGuidance({ every: 1, weight: 0.4, scale }) }),
      await run({ guidances: [() => mul(g, 1)] }),
      1e-6,
      scale,
    )
  }
})

specTest(
  'with eta 1 and the fixed small variance, DDIM is ancestral sampling under normalized gradients as well',
  async (world) => {
    const { device, x } = world
    const diffusion = new GaussianDiffusion({
      schedule: 'cosine',
      diffusionSteps: 1000,
      respacing: '10',
      varianceType: 'fixedSmall',
    })
    using head = device.scope(() => slice(world.denoiser(x, [777, 777]), 1, 0, 3))
    // Without a part that grows with x, which at the last index would be an x_0 of 2e4.
    const denoiser: Denoiser = (xt) => add(mul(head, 0.3), mul(tanh(xt), 0.2))
    const normalized = Object.assign(() => mul(world.eps, 0.3), { normalized: true })
    for (let at = 0; at < 10; at++) {
      for (const scale of ['variance', 'fixed'] as const) {
        const run = (method: 'ancestral' | 'ddim'): Promise<Float32Array> =>
          world.read(
            () =>
              oneStep(diffusion, denoiser, x, at, {
                noise: world.noise(world.other),
                method,
                ...(method === 'ddim' && { eta: 1 }),
                selfGuidance: selfGuidance({ every: 1, weight: 0.4, scale }),
                guidances: [normalized],
              }).next,
          )
        expectClose(await run('ddim'), await run('ancestral'), 1e-4, `index ${at}, ${scale}`)
      }
    }
  },
)
