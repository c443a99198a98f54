/**
 * The training loop on a small U-Net: what a step does, and that it does not depend on how the batch is cut or whether
 * the run was interrupted.
 */
import { describe, expect, test } from 'vitest'
import { GaussianDiffusion, LossSecondMomentResampler, UniformSampler } from '../src/diffusion/index.ts'
import { bytesSource, openCheckpoint } from '../src/io/index.ts'
import {
  configMetadata,
  describeModel,
  initializeParameters,
  loadModel,
  planOf,
  UNet,
  type UNetConfig,
} from '../src/nn/index.ts'
import { full, mul, randomNormal, reshape, square, sub, sum, type Device, type Tensor } from '../src/tensor/index.ts'
import {
  AdamW,
  diffusionTask,
  encodeState,
  featureTrainingMemoryOf,
  FeatureTask,
  modelOfState,
  restoreState,
  Trainer,
  trainingMemoryOf,
  type AnyTrainer,
  type Task,
  type TrainOptions,
} from '../src/train/index.ts'
import { backends, deviceTest, expectSameBits, numbers, onCPU, requestDevice } from './op.ts'
import { unetConfig } from './spec-models.ts'

const small: UNetConfig = { ...unetConfig, channelMult: [1], attentionResolutions: [] }

interface Setup {
  readonly config?: UNetConfig
  readonly secondMoment?: boolean
  readonly replayable?: boolean
  /** What is done to image number k. */
  readonly image?: (k: number, images: Float32Array) => void
}

/** A trainer of a small U-Net on images that are functions of their numbers. */
function smallRun(
  device: Device,
  options: Partial<TrainOptions> = {},
  { config = small, secondMoment = false, replayable = true, image }: Setup = {},
): { trainer: Trainer<never, never>; model: UNet; dispose(): void } {
  const model = new UNet(config, initializeParameters(device, planOf({ kind: 'unet', ...config }), 5))
  const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: secondMoment ? 4 : 100 })
  const size = 3 * config.imageSize ** 2
  const load = async (first: number, count: number) => {
    const images = new Float32Array(count * size)
    for (let k = 0; k < count; k++) {
      const one = images.subarray(k * size, (k + 1) * size)
      one.forEach((_, i) => (one[i] = Math.sin(0.3 * i * (1 + ((first + k) % 7)) + first + k)))
      image?.(first + k, one)
    }
    return { images }
  }
  const scheduleSampler = secondMoment
    ? new LossSecondMomentResampler(4, { historyPerTerm: 2 })
    : new UniformSampler(100)
  const made = diffusionTask(device, { model, diffusion, load, seed: 3, scheduleSampler })
  expect(made.replayable).toBe(true)
  const task = { ...made, replayable }
  const begin = () => {
    try {
      return new Trainer(device, task, { batch: 4, steps: 8, lr: 1e-3, emaRates: [0.9], logEvery: 3, ...options })
    } catch (error) {
      model.dispose()
      throw error
    }
  }
  const trainer = begin()
  return {
    trainer: trainer as unknown as Trainer<never, never>,
    model,
    dispose: () => (trainer.dispose(), model.dispose()),
  }
}

const valuesOf = async (tensors: ReadonlyMap<string, Tensor>): Promise<Map<string, Float32Array>> =>
  new Map(await Promise.all([...tensors].map(async ([key, tensor]) => [key, await tensor.read()] as const)))

async function concatenated(chunks: readonly Uint8Array[]): Promise<Uint8Array> {
  return new Uint8Array(await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer())
}

describe('AdamW', () => {
  deviceTest('is the update of Loshchilov & Hutter, with weight decay and averages', async (device) => {
    const start = [1, -2, 0.5, 3]
    const gradients = [
      [0.1, -0.2, 0, 1e4],
      [0.3, 0.1, 0, -1e4],
      [-0.2, 0.4, 1e-6, 5],
    ]
    using weight = device.tensor(start)
    using optimizer = new AdamW(device, new Map([['w', weight]]), {
      weightDecay: 0.1,
      betas: [0.8, 0.95],
      emaRates: [0.5, 0.9],
    })
    let [w, m, v] = [[...start], start.map(() => 0), start.map(() => 0)]
    const emas = [[...start], [...start]]
    for (const [i, g] of gradients.entries()) {
      const lr = 0.01 / (i + 1)
      using gradient = device.tensor(g)
      optimizer.step([gradient], lr)
      m = m.map((x, k) => 0.8 * x + 0.2 * g[k])
      v = v.map((x, k) => 0.95 * x + 0.05 * g[k] ** 2)
      w = w.map(
        (x, k) =>
          x * (1 - lr * 0.1) - (lr * (m[k] / (1 - 0.8 ** (i + 1)))) / (Math.sqrt(v[k] / (1 - 0.95 ** (i + 1))) + 1e-8),
      )
      emas[0] = emas[0].map((x, k) => 0.5 * x + 0.5 * w[k])
      emas[1] = emas[1].map((x, k) => 0.9 * x + 0.1 * w[k])
    }
    // float32 rounds each of some ten operations a step by 6e-8 of the values, which are at most 3.
    const near = async (tensor: Tensor, expected: readonly number[]) =>
      (await tensor.read()).forEach((value, k) => expect(Math.abs(value - expected[k])).toBeLessThan(3e-6))
    await near(weight, w)
    await near(optimizer.emas[0].get('w')!, emas[0])
    await near(optimizer.emas[1].get('w')!, emas[1])
  })

  deviceTest(
    'refuses rates outside [0, 1)',
    async (device) => {
      expect(() => new AdamW(device, new Map(), { emaRates: [1] })).toThrow('from 0 to below 1, found 1')
    },
    onCPU,
  )
})

describe('a step', () => {
  deviceTest(
    'does not depend on micro-batches',
    async (device) => {
      const runs = await Promise.all(
        [4, 3, 1].map(async (microbatch) => {
          const { trainer, model, dispose } = smallRun(device, { microbatch })
          const step = await trainer.next()
          const { gradientNorm, loss } = step
          const values = await valuesOf(model.parameters)
          dispose()
          return { gradientNorm, loss, values }
        }),
      )
      for (const run of runs.slice(1)) {
        expect(run.loss).toBeCloseTo(runs[0].loss, 5)
        expect(run.gradientNorm / runs[0].gradientNorm).toBeCloseTo(1, 4)
      }
    },
    onCPU,
  )

  deviceTest(
    'holds the gradients of two micro-batches at most, however many there are',
    async (device) => {
      const size = 2 ** 20
      const task: Task = {
        parameters: new Map([['w', device.keep(full(device, [size], 1))]]),
        groups: ['all'],
        load: async () => null,
        draw: () => ({ weights: [1], groups: [0] }),
        losses: () => ({ loss: reshape(sum(square(task.parameters.get('w')!)), [1]), terms: {} }),
      }
      const step = async (batch: number): Promise<number> => {
        using trainer = new Trainer(device, task, { batch, microbatch: 1, steps: 1, lr: 1e-3 })
        await trainer.next()
        return device.stats.peakBytes
      }
      // The peak of all so far: 20 micro-batches need no more than 2.
      const two = await step(2)
      expect((await step(20)) - two).toBeLessThan(2 * 4 * size)
      task.parameters.get('w')!.dispose()
    },
    onCPU,
  )

  deviceTest('scales the gradient down to the norm of clip, and reports the norm it had', async (device) => {
    // One weight vector w with the loss |w - x|^2 for x = 0: the gradient is 2 w, of norm 20.
    const clipped = async (clip: number) => {
      using w = device.tensor([6, 8])
      const task: Task = {
        parameters: new Map([['w', w]]),
        groups: ['all'],
        load: async () => null,
        draw: () => ({ weights: [1], groups: [0] }),
        losses: () => ({ loss: sum(square(sub(w, device.tensor([0, 0], [1, 2]))), { axes: [1] }), terms: {} }),
      }
      // Moments without memory and a large eps make AdamW's step lr * g / (|g| + eps), nearly lr / eps * g.
      using trainer = new Trainer(device, task, { batch: 1, steps: 1, lr: 1, betas: [0, 0], eps: 1e6, clip })
      const { gradientNorm } = await trainer.next()
      const moved = [...(await trainer.optimizer.m.get('w')!.read())]
      return { gradientNorm, moved }
    }
    const { gradientNorm, moved } = await clipped(5)
    expect(gradientNorm).toBeCloseTo(20, 4)
    expect(moved[0]).toBeCloseTo(3, 5)
    expect(moved[1]).toBeCloseTo(4, 5)
    expect((await clipped(100)).moved[0]).toBeCloseTo(12, 5)
  })

  deviceTest(
    'follows the learning rate: warm-up, then the fall to 0',
    async (device) => {
      const { trainer, dispose } = smallRun(device, { steps: 100, lr: 1, warmup: 4, anneal: 0.5 })
      expect([0, 1, 3, 4, 49, 50, 75, 99].map((step) => trainer.lrAt(step))).toEqual([0.25, 0.5, 1, 1, 1, 1, 0.5, 0.02])
      dispose()
      // guided-diffusion's anneal_lr: lr (1 - step / steps).
      const whole = smallRun(device, { steps: 10, lr: 1, anneal: 1 })
      expect(whole.trainer.lrAt(3)).toBeCloseTo(0.7, 12)
      whole.dispose()
    },
    onCPU,
  )

  deviceTest(
    'logs means over the steps of a row, by quartile too',
    async (device) => {
      const { trainer, dispose } = smallRun(device, { microbatch: 3, logEvery: 2 })
      const steps = [await trainer.next(), await trainer.next()]
      const [row] = trainer.rows
      expect(steps[1].row).toBe(row)
      expect(row.values.loss.all).toBeCloseTo((steps[0].loss + steps[1].loss) / 2, 6)
      expect(row.values.mse.all).toBeCloseTo((steps[0].terms.mse + steps[1].terms.mse) / 2, 6)
      expect(row.gradientNorm).toBeCloseTo((steps[0].gradientNorm + steps[1].gradientNorm) / 2, 6)
      expect(row.counts.reduce((a, b) => a + b)).toBe(8)
      const weighted = row.values.loss.byGroup.reduce((sum: number, mean, q) => sum + (mean ?? 0) * row.counts[q], 0)
      expect(weighted / 8).toBeCloseTo(row.values.loss.all, 6)
      dispose()
    },
    onCPU,
  )
})

describe('memory: no more than said, and not ten times less', () => {
  const wide: UNetConfig = { ...small, imageSize: 32, channelMult: [1, 2] }
  const runs: [string, (device: Device) => { trainer: AnyTrainer; need: { bytes: number }; dispose(): void }][] = [
    [
      'a U-Net',
      (device) => ({
        ...smallRun(device, {}, { config: wide }),
        need: trainingMemoryOf({ kind: 'unet', ...wide }, { batch: 4, steps: 8, lr: 1e-3, emaRates: [0.9] }),
      }),
    ],
    [
      'micro-batches, clipped',
      (device) => {
        const options = { microbatch: 1, clip: 1, emaRates: [0.9, 0.99] }
        return {
          ...smallRun(device, options, { config: wide }),
          need: trainingMemoryOf({ kind: 'unet', ...wide }, { batch: 4, steps: 8, lr: 1e-3, ...options }),
        }
      },
    ],
    [
      'a feature net',
      (device) => {
        const config = { inChannels: 3, channels: [8, 16] } as const
        const task = new FeatureTask(device, {
          config,
          size: 32,
          seed: 1,
          load: async (_, count) => ({ images: Float32Array.from(numbers(count * 3 * 1024, 1)) }),
        })
        const trainer = new Trainer(device, task, { batch: 8, steps: 8, lr: 1e-3, clip: 1, emaRates: [0.9] })
        return {
          trainer,
          need: featureTrainingMemoryOf(config, { batch: 8, size: 32 }),
          dispose: () => (trainer.dispose(), task.dispose()),
        }
      },
    ],
  ]
  test.each(runs)('%s', async (_, begin) => {
    const device = await requestDevice('cpu')
    try {
      const {
        trainer,
        need: { bytes },
        dispose,
      } = begin(device)
      for (let i = 0; i < 2; i++) await trainer.next()
      const { peakBytes } = device.stats
      expect(peakBytes).toBeLessThanOrEqual(bytes)
      expect(peakBytes).toBeGreaterThan(bytes / 10)
      dispose()
    } finally {
      device.dispose()
    }
  })
})

deviceTest(
  'a recorded step is the step that is called, creates nothing and is at most 4 submissions',
  async (device) => {
    const ran = async (replayable: boolean): Promise<Float32Array[]> => {
      const { trainer, dispose } = smallRun(device, { steps: 4, warmup: 3, clip: 1 }, { replayable })
      const found: Float32Array[] = []
      for await (const { step, loss, gradientNorm } of trainer.run()) {
        found.push(Float32Array.of(loss, gradientNorm))
        counts[step] = { objects: device.stats.objectsCreated, submits: device.stats.submits }
      }
      for (const tensor of trainer.state().tensors.values()) found.push(await tensor.read())
      dispose()
      return found
    }
    const counts: { objects: number; submits: number }[] = []
    const called = await ran(false)
    const before = device.stats.liveBuffers
    const replayed = await ran(true)
    replayed.forEach((values, i) => expectSameBits(values, called[i], `result ${i}`))
    expect(device.stats.liveBuffers).toBe(before)
    expect(counts[4].objects - counts[2].objects).toBe(0)
    expect(counts[4].submits - counts[2].submits).toBeLessThanOrEqual(2 * 4)
  },
  { on: backends.filter((name) => name === 'webgpu') },
)

describe('a run that goes on from its state', () => {
  const kinds: [string, Partial<TrainOptions>, Setup][] = [
    ['plain', { clip: 1 }, {}],
    ['with dropout and micro-batches', { microbatch: 3 }, { config: { ...small, dropout: 0.3 } }],
    ['whose schedule sampler learns', {}, { secondMoment: true }],
  ]
  for (const [name, options, setup] of kinds) {
    deviceTest(
      `has the bits of one that was never interrupted: ${name}`,
      async (device) => {
        const whole = smallRun(device, options, setup)
        while (!whole.trainer.done) await whole.trainer.next()

        const first = smallRun(device, options, setup)
        for (let i = 0; i < 5; i++) await first.trainer.next()
        const file = await concatenated(await encodeState(first.trainer, { seed: 3 }))
        first.dispose()
        const second = smallRun(device, options, setup)
        await restoreState(second.trainer, await openCheckpoint(bytesSource(file)), { seed: 3 })
        expect(second.trainer.step).toBe(5)
        while (!second.trainer.done) await second.trainer.next()

        const [a, b] = [whole.trainer.state(), second.trainer.state()]
        expect(b.counters).toEqual(a.counters)
        const [expected, found] = [await valuesOf(a.tensors), await valuesOf(b.tensors)]
        for (const [key, values] of expected) expect(found.get(key), key).toEqual(values)
        whole.dispose()
        second.dispose()
      },
      { on: setup.secondMoment ? ['cpu'] : backends },
    )
  }

  deviceTest(
    'holds a model that is described and loaded as one',
    async (device) => {
      const { trainer, model, dispose } = smallRun(device)
      await trainer.next()
      const state = await openCheckpoint(
        bytesSource(
          await concatenated(await encodeState(trainer, { lr: 1, ...configMetadata({ kind: 'unet', ...small }) })),
        ),
      )
      const checkpoint = modelOfState(state)!
      expect(modelOfState(checkpoint)).toBeNull()
      const description = describeModel(checkpoint)
      expect(description.config).toEqual({ kind: 'unet', ...small })
      using loaded = await loadModel(device, checkpoint, description)
      const [expected, found] = [await valuesOf(model.parameters), await valuesOf(loaded.parameters)]
      expect([...found.keys()].sort()).toEqual([...expected.keys()].sort())
      for (const [key, values] of expected) expect(found.get(key), key).toEqual(values)
      dispose()
    },
    onCPU,
  )

  deviceTest(
    'is refused the state of other settings',
    async (device) => {
      const { trainer, dispose } = smallRun(device)
      const checkpoint = await openCheckpoint(
        bytesSource(await concatenated(await encodeState(trainer, { lr: 1, data: 'a' }))),
      )
      await expect(restoreState(trainer, checkpoint, { lr: 2, data: 'a' })).rejects.toThrow('lr 1, now 2')
      // What differs behind a long beginning, inside of a setting that is JSON.
      const network = (dropout: number): string => JSON.stringify({ what: 'x'.repeat(200), dropout })
      const long = await openCheckpoint(
        bytesSource(await concatenated(await encodeState(trainer, { config: network(0), name: `${'y'.repeat(90)}1` }))),
      )
      await expect(restoreState(trainer, long, { config: network(0.5), name: `${'y'.repeat(90)}1` })).rejects.toThrow(
        'other settings: dropout 0, now 0.5. Give',
      )
      await expect(restoreState(trainer, long, { config: network(0), name: `${'y'.repeat(90)}2` })).rejects.toThrow(
        'other settings: name "yyy',
      )
      await restoreState(trainer, long, { config: network(0), name: `${'y'.repeat(90)}1` })
      dispose()
    },
    onCPU,
  )
})

deviceTest(
  'dropout is a function of seed, sample and layer, and drops what it says',
  async (device) => {
    using model = new UNet(
      { ...small, dropout: 0.5 },
      initializeParameters(device, planOf({ kind: 'unet', ...small }), 1),
    )
    // The last convolutions start at zero, behind which dropout would not show.
    for (const tensor of model.parameters.values()) {
      using spread = device.scope(() =>
        mul(
          reshape(
            randomNormal(device.tensor([0], [1], 'u32'), { seed: [1, 0], draw: 0, purpose: 0, shape: tensor.shape }),
            tensor.shape,
          ),
          0.1,
        ),
      )
      tensor.assign(spread)
    }
    const x = Float32Array.from({ length: 2 * 192 }, (_, i) => Math.sin(i))
    const forward = async (samples: number[], p: number) => {
      using out = device.scope(() => {
        const images = device.tensor(x.subarray(0, samples.length * 192), [samples.length, 3, 8, 8])
        const index = device.tensor(samples, [samples.length], 'u32')
        return model.forward(
          images,
          samples.map(() => 3),
          p > 0 ? { dropout: { p, seed: [4, 0], purpose: 1, samples: index } } : {},
        )
      })
      return out.read()
    }
    const [both, one, other, none] = [
      await forward([5, 6], 0.5),
      await forward([5], 0.5),
      await forward([7], 0.5),
      await forward([5], 0),
    ]
    expect(both.subarray(0, one.length)).toEqual(one)
    expect(other).not.toEqual(one)
    expect(none).not.toEqual(one)
  },
  onCPU,
)

describe('what is not finite', () => {
  deviceTest('stops the run, is named, and leaves weights and moments as they were', async (device) => {
    const { trainer, model, dispose } = smallRun(device, {}, { image: (k, values) => k === 9 && (values[7] = NaN) })
    await trainer.next()
    await trainer.next()
    const before = await valuesOf(trainer.state().tensors)
    await expect(trainer.next()).rejects.toThrow(/step 3: the loss's term mse is not finite/)
    expect(trainer.step).toBe(2)
    for (const [key, values] of await valuesOf(trainer.state().tensors)) expect(values, key).toEqual(before.get(key))
    const [key, weight] = [...model.parameters][3]
    {
      using broken = device.scope(() => mul(weight, Infinity))
      weight.assign(broken)
    }
    await expect(trainer.next()).rejects.toThrow(`the weight ${key} is not finite`)
    dispose()
  })
})

deviceTest(
  'options that make no run are refused',
  async (device) => {
    const wrong = (options: Partial<TrainOptions>) => expect(() => smallRun(device, options).dispose())
    wrong({ batch: 0 }).toThrow('batch is a whole number of 1 or more, found 0')
    wrong({ lr: 0 }).toThrow('learning rate')
    wrong({ anneal: 2 }).toThrow('from 0 to 1, found 2')
    wrong({ clip: -1 }).toThrow('positive norm')
    wrong({ emaRate: 0.99 } as object).toThrow('Trainer: unknown option "emaRate" (did you mean "emaRates"?)')
    wrong({ emaRates: 0.99 as never }).toThrow('AdamW: expected rates, in an array, found 0.99.')
  },
  onCPU,
)

deviceTest(
  "images of another size than the model's are refused, also where they would pass for more images",
  async (device) => {
    const model = new UNet(small, initializeParameters(device, planOf({ kind: 'unet', ...small }), 5))
    const load = async (_: number, count: number) => ({
      images: new Float32Array(count * 3 * (2 * small.imageSize) ** 2),
    })
    const trainer = new Trainer(
      device,
      diffusionTask(device, {
        model,
        diffusion: new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 100 }),
        load,
        seed: 3,
      }),
      { batch: 2, steps: 1, lr: 1e-3, emaRates: [] },
    )
    await expect(trainer.run()[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'shape',
      message: expect.stringMatching(/^load: 2 images of \[3, /),
    })
    trainer.dispose()
    model.dispose()
  },
)
