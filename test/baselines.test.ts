/**
 * The baselines of Um et al. (ICLR 2024), both reconstructions: attribute guidance and Sehwag et al. 2022, each against
 * its formula in float64, on linear maps, and on small ADM classifiers.
 */
import { expect, test } from 'vitest'
import {
  attributeGuidance,
  classifierGuidance,
  classMeans,
  GaussianDiffusion,
  oneStep,
  pooledFeatures,
  randomAttributes,
  sehwagGuidance,
  type Embedding,
  type Guidance,
  type LabelledBatch,
  type Logits,
  type NoiseSource,
  type SehwagOptions,
} from '../src/diffusion/index.ts'
import { Classifier, type ClassifierConfig } from '../src/nn/index.ts'
import {
  div,
  linear,
  log,
  mean,
  mul,
  reshape,
  sigmoid,
  sqrt,
  square,
  sub,
  sum,
  zeros,
  type Device,
  type Tensor,
} from '../src/tensor/index.ts'
import { expectGradient } from './differences.ts'
import { hashes, networkParameters } from './formula.ts'
import { deviceTest, expectClose, numbers, onCPU } from './op.ts'
import { encoderConfig, inputX, modelA } from './spec-models.ts'

const timesteps = [3, 17]
/** Two samples of 3x2x2. */
const pixels = 12
const shape = [2, 3, 2, 2]

const network = async (device: Device, config: Partial<ClassifierConfig>): Promise<Classifier> => {
  const full = { ...encoderConfig, ...config }
  return new Classifier(full, await networkParameters(device, { kind: 'classifier', ...full }, hashes(7)))
}

async function read(device: Device, f: () => Tensor): Promise<Float32Array> {
  using made = device.scope(f)
  return made.read()
}

/** A linear map of the pixels on the device, and the same in float64. */
interface Linear {
  readonly weights: Tensor
  readonly map: Logits
  readonly host: (x: ArrayLike<number>) => number[]
}

function linearMap(device: Device, rows: number, seed: number): Linear {
  const values = numbers(rows * pixels, seed).map((v) => Math.fround(3 * v))
  const weights = device.tensor(values, [rows, pixels])
  return {
    weights,
    map: (x) => linear(reshape(x, [x.shape[0], pixels]), weights),
    host: (x) =>
      Array.from({ length: rows }, (_, k) =>
        Array.from(x).reduce((total, v, i) => total + v * values[k * pixels + i], 0),
      ),
  }
}

/** The gradient of `f` by each of the two samples, in float64. */
const differences = (xs: Float64Array, f: (x: Float64Array, n: number) => number): number[][] =>
  [0, 1].map((n) =>
    Array.from({ length: pixels }, (_, i) => {
      const moved = (by: number): Float64Array =>
        xs.slice(n * pixels, (n + 1) * pixels).map((v, j) => (j === i ? v + by : v))
      return (f(moved(1e-6), n) - f(moved(-1e-6), n)) / 2e-6
    }),
  )

const peak = (values: readonly number[]): number => Math.max(...values.map(Math.abs))

const logSoftmaxAt = (logits: readonly number[], k: number): number => {
  const largest = Math.max(...logits)
  return logits[k] - largest - Math.log(logits.reduce((total, v) => total + Math.exp(v - largest), 0))
}

deviceTest(
  'attribute guidance in closed form, also for logits whose sigmoid is 0 or 1',
  async (device) => {
    const predictor = linearMap(device, 4, 1)
    const targets = [
      [true, false, false, true],
      [false, false, true, true],
    ]
    for (const large of [1, 100]) {
      const xs = numbers(2 * pixels, 2).map((v) => Math.fround(large * v))
      using x = device.tensor(xs, shape)
      const found = await read(device, () => attributeGuidance(predictor.map, { targets, scale: 1.5 })(x, timesteps))
      // log sigmoid of a logit of hundreds is that logit, if it is negative.
      const logSigmoid = (u: number): number => Math.min(u, 0) - Math.log1p(Math.exp(-Math.abs(u)))
      const expected = differences(
        xs,
        (one, n) => 1.5 * predictor.host(one).reduce((total, z, k) => total + logSigmoid(targets[n][k] ? z : -z), 0),
      )
      expectClose(found, expected.flat(), 1e-5, `x up to ${large}`)
    }
    predictor.weights.dispose()
  },
  onCPU,
)

deviceTest(
  'attribute guidance on an ADM classifier',
  async (device) => {
    using predictor = await network(device, { outChannels: 4 })
    using x = inputX(device)
    const targets = [
      [true, true, false, false],
      [false, true, false, true],
    ]
    const signs = targets.flat().map((has) => (has ? 1 : -1))
    const f = (input: Tensor): Tensor =>
      sum(log(sigmoid(mul(predictor.forward(input, timesteps), device.tensor(signs, [2, 4])))), { axes: [1] })
    await expectGradient(
      x,
      f,
      await read(device, () => attributeGuidance((input, t) => predictor.forward(input, t), { targets })(x, timesteps)),
    )
  },
  onCPU,
)

test('random attributes: fair coins, the same for a sample in any batch', () => {
  const samples = Array.from({ length: 4000 }, (_, i) => i)
  const drawn = randomAttributes(6, { seed: 3, samples })
  for (let k = 0; k < 6; k++) {
    const count = drawn.filter((row) => row[k]).length
    // 2000 expected, deviation 32.
    expect(Math.abs(count - 2000), `attribute ${k}: ${count}`).toBeLessThan(5 * 32)
    // Nor does one attribute tell another.
    expect(Math.abs(drawn.filter((row) => row[k] === row[(k + 1) % 6]).length - 2000)).toBeLessThan(5 * 32)
  }
  expect(randomAttributes(6, { seed: 3, samples: [3999, 12] })).toEqual([drawn[3999], drawn[12]])
  expect(randomAttributes(6, { seed: 4, samples })).not.toEqual(drawn)
  expect(() => randomAttributes(0, { seed: 0, samples })).toThrow(/1 attribute or more, found 0/)
})

deviceTest(
  'Sehwag et al.: each term is its gradient over its largest element, alpha and beta weigh them',
  async (device) => {
    const [embedding, discriminator] = [linearMap(device, 5, 3), linearMap(device, 2, 4)]
    const meanValues = numbers(3 * 5, 5)
    using means = device.tensor(meanValues, [3, 5])
    const xs = numbers(2 * pixels, 6)
    using x = device.tensor(xs, shape)
    const y = [2, 0]
    const run = (options: Partial<SehwagOptions>): Promise<Float32Array> =>
      read(device, () =>
        sehwagGuidance({
          embedding: embedding.map,
          classMeans: means,
          y,
          discriminator: discriminator.map,
          alpha: 0,
          beta: 0,
          ...options,
        })(x, timesteps),
      )
    const cosine = (a: readonly number[], b: readonly number[]): number =>
      a.reduce((total, v, i) => total + v * b[i], 0) / Math.hypot(...a) / Math.hypot(...b)
    const low = (temperature: number) =>
      differences(xs, (one, n) => {
        const features = embedding.host(one)
        return -logSoftmaxAt(
          [0, 1, 2].map((k) => cosine(features, Array.from(meanValues.subarray(5 * k, 5 * k + 5))) / temperature),
          y[n],
        )
      })
    const real = (k: number) => differences(xs, (one) => logSoftmaxAt(discriminator.host(one), k))
    const normalized = (rows: readonly number[][], weight: number): number[] =>
      rows.flatMap((row) => row.map((v) => (weight * v) / peak(row)))

    expectClose(await run({ alpha: 0.7 }), normalized(low(0.1), 0.7), 1e-4, 'low density')
    expectClose(await run({ alpha: 0.7, temperature: 2 }), normalized(low(2), 0.7), 1e-4, 'temperature')
    expectClose(await run({ beta: 0.3 }), normalized(real(0), 0.3), 1e-4, 'discriminator')
    expectClose(await run({ beta: 0.3, real: 1 }), normalized(real(1), 0.3), 1e-4, 'the other class is real')
    const [a, b] = [normalized(low(0.1), 0.7), normalized(real(0), -0.3)]
    expectClose(
      await run({ alpha: 0.7, beta: -0.3 }),
      a.map((v, i) => v + b[i]),
      1e-4,
      'both',
    )
    // Exactly, in f32: the largest element of a gradient over itself is 1.
    const alone = await run({ alpha: 0.7 })
    for (const n of [0, 1])
      expect(peak(Array.from(alone.subarray(n * pixels, (n + 1) * pixels)))).toBe(Math.fround(0.7))
    embedding.weights.dispose()
    discriminator.weights.dispose()
  },
  onCPU,
)

deviceTest(
  'Sehwag et al. without classes: away from the mean of all images',
  async (device) => {
    const [embedding, discriminator] = [linearMap(device, 5, 3), linearMap(device, 2, 4)]
    const meanValues = Array.from(numbers(5, 5))
    using means = device.tensor(meanValues, [1, 5])
    const xs = numbers(2 * pixels, 6)
    using x = device.tensor(xs, shape)
    const options = {
      embedding: embedding.map,
      classMeans: means,
      discriminator: discriminator.map,
      alpha: 0.7,
      beta: 0,
    }
    const found = await read(device, () => sehwagGuidance(options)(x, timesteps))
    // cos(Wx, m) by x: (W'm / |m| - cos W'f / |f|) / |f|, with f = Wx.
    const weights = await embedding.weights.read()
    const length = (v: readonly number[]): number => Math.hypot(...v)
    const expected = [0, 1].flatMap((n) => {
      const f = embedding.host(xs.subarray(n * pixels, (n + 1) * pixels))
      const cosine = f.reduce((total, v, k) => total + v * meanValues[k], 0) / length(f) / length(meanValues)
      const row = Array.from(
        { length: pixels },
        (_, i) =>
          -f.reduce(
            (total, v, k) =>
              total + weights[k * pixels + i] * (meanValues[k] / length(meanValues) - (cosine * v) / length(f)),
            0,
          ) / length(f),
      )
      return row.map((v) => (0.7 * v) / peak(row))
    })
    expectClose(found, expected, 1e-4, 'low density')
    expect(
      await read(device, () => sehwagGuidance({ ...options, temperature: 2 })(x, timesteps)),
      'one class has no temperature but its weight',
    ).toSatisfy((other: Float32Array) => other.every((v, i) => Math.abs(v - found[i]) < 1e-5))
    using three = device.tensor(numbers(15, 5), [3, 5])
    expect(() => sehwagGuidance({ ...options, classMeans: three })).toThrow(
      /Without the class y of each sample there is one mean, \[1, D\], found \[3, 5\]/,
    )
    for (const { weights: held } of [embedding, discriminator]) held.dispose()
  },
  onCPU,
)

deviceTest(
  'Sehwag et al.: a gradient of 0 is 0, not NaN',
  async (device) => {
    const discriminator = linearMap(device, 2, 4)
    using means = device.tensor(numbers(15, 5), [3, 5])
    using none = device.tensor(new Float32Array(15), [3, 5])
    using x = device.tensor(numbers(2 * pixels, 6), shape)
    const constant: Embedding = () => zeros(device, [2, 5])
    const even: Logits = () => zeros(device, [2, 2])
    const options = { y: [1, 1], alpha: 1, beta: 1 }
    const nothing = new Float32Array(2 * pixels)
    expect(
      await read(device, () =>
        sehwagGuidance({ ...options, embedding: constant, classMeans: means, discriminator: even })(x, timesteps),
      ),
    ).toEqual(nothing)
    // Nor does a mean of no length: the other term is left alone.
    const embedding = linearMap(device, 5, 3)
    const found = await read(device, () =>
      sehwagGuidance({ ...options, embedding: embedding.map, classMeans: none, discriminator: discriminator.map })(
        x,
        timesteps,
      ),
    )
    const alone = await read(device, () =>
      sehwagGuidance({
        ...options,
        alpha: 0,
        embedding: embedding.map,
        classMeans: means,
        discriminator: discriminator.map,
      })(x, timesteps),
    )
    expect(found).toEqual(alone)
    expect(peak(Array.from(found))).toBe(1)
    for (const { weights } of [discriminator, embedding]) weights.dispose()
  },
  onCPU,
)

deviceTest(
  'Sehwag et al. on ADM classifiers, from class means to a step of the sampler',
  async (device) => {
    using features = await network(device, {})
    using discriminator = await network(device, { outChannels: 2 })
    using model = await modelA(device)
    using x = inputX(device)
    const embedding = pooledFeatures(features)
    using first = device.tensor(numbers(3 * 192, 8), [3, 3, 8, 8])
    using second = device.tensor(numbers(2 * 192, 9), [2, 3, 8, 8])
    using means = await classMeans(
      embedding,
      [
        { x: first, timesteps: [0, 0, 0], labels: [2, 0, 2] },
        { x: second, timesteps: [0, 0], labels: [1, 2] },
      ],
      3,
    )
    expect(means.shape).toEqual([3, 64])
    // By hand: the middle block's spatial means, image by image.
    const rows = [
      ...(await read(device, () => mean(features.features(first, [0, 0, 0]), { axes: [2, 3] }))),
      ...(await read(device, () => mean(features.features(second, [0, 0]), { axes: [2, 3] }))),
    ]
    const row = (n: number): number[] => rows.slice(64 * n, 64 * n + 64)
    const byHand = [row(1), row(3), row(0).map((v, i) => (v + row(2)[i] + row(4)[i]) / 3)]
    expectClose(await means.read(), byHand.flat(), 1e-5, 'class means')

    const y = [1, 2]
    const unit = (v: Tensor): Tensor => div(v, sqrt(sum(square(v), { axes: [1], keepDims: true })))
    const similarities: Logits = (input, t) =>
      div(linear(unit(mean(features.features(input, t), { axes: [2, 3] })), unit(means)), 0.1)
    const real: Logits = (input, t) => discriminator.forward(input, t)
    const raw = [classifierGuidance(similarities, { target: y, scale: -1 }), classifierGuidance(real, { target: 0 })]
    const guidance = sehwagGuidance({ embedding, classMeans: means, y, discriminator: real, alpha: 0.5, beta: 0.25 })
    const [low, realistic, both] = await Promise.all([...raw, guidance].map((g) => read(device, () => g(x, timesteps))))
    const over = (g: Float32Array): number[] =>
      [0, 1].flatMap((n) => {
        const one = Array.from(g.subarray(192 * n, 192 * n + 192))
        return one.map((v) => v / peak(one))
      })
    const [a, b] = [over(low), over(realistic)]
    expectClose(
      both,
      a.map((v, i) => 0.5 * v + 0.25 * b[i]),
      1e-3,
      'guidance',
    )

    const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '10' })
    using zero = device.tensor(new Float32Array(x.size), x.shape)
    const noise: NoiseSource = { initial: () => zero, step: () => zero, renoise: () => zero }
    const next = (guidances: readonly Guidance[], method: 'ancestral' | 'ddim' = 'ancestral'): Promise<Float32Array> =>
      read(
        device,
        () => oneStep(diffusion, (input, t) => model.forward(input, t), x, 7, { noise, guidances, method }).next,
      )
    const variance = await read(
      device,
      () =>
        diffusion.pMeanVariance(
          diffusion.run((input, t) => model.forward(input, t), x, 7),
          x,
          7,
        ).variance,
    )
    const told = diffusion.timesteps(7, 2)
    const shift = await read(device, () => guidance(x, told))
    const [plain, guided] = [await next([]), await next([guidance])]
    expectClose(
      guided,
      plain.map((v, i) => v + variance[i] * shift[i]),
      1e-5,
      "mean' = mean + variance * guidance",
    )
    // DDIM takes the score that moves the mean as far: the shift over beta / sqrt(alpha).
    const beta = diffusion.process.tables.betas[7]
    using score = device.tensor(
      shift.map((v, i) => (variance[i] * v * Math.sqrt(1 - beta)) / beta),
      x.shape,
    )
    expectClose(await next([guidance], 'ddim'), await next([() => mul(score, 1)], 'ddim'), 1e-5, 'ddim')
    expect(
      await next([sehwagGuidance({ embedding, classMeans: means, y, discriminator: real, alpha: 0, beta: 0 })]),
    ).toEqual(plain)
  },
  onCPU,
)

deviceTest(
  'baselines: what does not fit is refused',
  async (device) => {
    const logits = linearMap(device, 3, 1)
    using means = device.tensor(numbers(6, 2), [2, 3])
    using x = device.tensor(numbers(2 * pixels, 3), shape)
    const before = device.stats.liveBuffers
    const run = (guidance: Guidance) => () => device.scope(() => guidance(x, timesteps))
    expect(run(attributeGuidance(logits.map, { targets: [[true, true, true]] }))).toThrow(
      /Expected 3 attributes for each of the 2 samples, found 1 samples/,
    )
    expect(run(attributeGuidance(logits.map, { targets: [[true, true, true], [true]] }))).toThrow(
      /found a sample with 1/,
    )
    const sehwag = (options: Partial<SehwagOptions>): Guidance =>
      sehwagGuidance({
        embedding: logits.map,
        classMeans: means,
        y: [0, 1],
        discriminator: logits.map,
        alpha: 1,
        beta: 1,
        ...options,
      })
    expect(() => sehwag({ alpha: NaN })).toThrow(/alpha and beta are finite numbers, found NaN and 1/)
    expect(() => sehwag({ temperature: 0 })).toThrow(/temperature is a positive number, found 0/)
    expect(() => sehwag({ classMeans: x })).toThrow(/Class means are \[K, D\], found \[2, 3, 2, 2\]/)
    expect(run(sehwag({ y: [0, 2] }))).toThrow(/Target class 2 is not one of the classifier's classes 0 to 1/)
    expect(run(sehwag({ embedding: (input) => sub(reshape(input, [2, pixels]), 1) }))).toThrow(
      /Class means of 3 features for an embedding of 12/,
    )
    expect(
      run(sehwag({ discriminator: (input) => sum(logits.map(input, timesteps), { axes: [1], keepDims: true }) })),
    ).toThrow(/needs two, real and synthetic/)
    const of = (labels: number[], classes: number): Promise<Tensor> =>
      classMeans(logits.map, [{ x, timesteps, labels }], classes)
    await expect(of([0, 2], 3)).rejects.toThrow(/Class 1 has no image/)
    await expect(of([0, 2], 2)).rejects.toThrow(/Label 2 is not one of the classes 0 to 1/)
    await expect(classMeans(logits.map, [], 2)).rejects.toThrow(/no image/)
    const controller = new AbortController()
    async function* batches(): AsyncGenerator<LabelledBatch> {
      yield { x, timesteps, labels: [0, 1] }
      controller.abort(new Error('enough'))
      yield { x, timesteps, labels: [0, 1] }
    }
    await expect(classMeans(logits.map, batches(), 2, controller.signal)).rejects.toThrow('enough')
    expect(device.stats.liveBuffers).toBe(before)
    logits.weights.dispose()
  },
  onCPU,
)
