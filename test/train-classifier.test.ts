/**
 * Training the minority classifier: the loss against a computation by hand and its gradients against central
 * differences, on pixels and on frozen features, with and without classes; that it learns, and goes on to the same
 * bits; which images are held back; and the command, from images to guided samples, with every mistake.
 */
import { describe, expect, test } from 'vitest'
import { GaussianDiffusion, LossSecondMomentResampler, type MinorityLabels } from '../src/diffusion/index.ts'
import { Classifier, initializeParameters, planOf, type ClassifierConfig } from '../src/nn/index.ts'
import { grad, hostRandomNormal, splitSeed, type Device, type Tensor } from '../src/tensor/index.ts'
import {
  classifierTask,
  evaluateClassifier,
  splitLevels,
  trainPurposes,
  Trainer,
  type ClassifierImages,
  type ClassifierTaskOptions,
} from '../src/train/index.ts'
import { expectGradient } from './differences.ts'
import { hashes, networkParameters } from './formula.ts'
import { deviceTest, expectClose, expectSameBits, numbers, onCPU } from './op.ts'
import { encoderConfig } from './spec-models.ts'

const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000 })
/** As improved-diffusion's CIFAR-10: the network sees t / 4. */
const rescaled = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 4000, rescaleTimesteps: true })
const latentConfig: ClassifierConfig = {
  ...encoderConfig,
  imageSize: 4,
  inChannels: 64,
  channelMult: [1],
  attentionResolutions: [1],
  resblockUpdown: false,
}

const network = async (device: Device, config: ClassifierConfig, seed = 7): Promise<Classifier> =>
  new Classifier(config, await networkParameters(device, { kind: 'classifier', ...config }, hashes(seed)))

/** Four images of 8 x 8 with their levels and classes. */
const batch: ClassifierImages = {
  images: Float32Array.from(numbers(4 * 192, 3)),
  labels: [9, 0, 4, 2],
  y: [1, 4, 0, 1],
}
const load = async (): Promise<ClassifierImages> => batch

const cases = [
  { name: 'on pixels', extractor: false, numClasses: null, process: diffusion },
  { name: 'on pixels, class-conditional, with scaled timesteps', extractor: false, numClasses: 5, process: rescaled },
  { name: 'on features', extractor: true, numClasses: null, process: diffusion },
  { name: 'on features, class-conditional', extractor: true, numClasses: 5, process: diffusion },
]

for (const { name, extractor: hasExtractor, numClasses, process } of cases) {
  deviceTest(`${name}: the loss is what it says, and so are its gradients`, async (device) => {
    using classifier = await network(device, { ...(hasExtractor ? latentConfig : encoderConfig), numClasses })
    using extractor = hasExtractor ? await network(device, encoderConfig, 8) : null
    const pair = { classifier, diffusion: process, ...(extractor && { extractor }) }
    const images = { ...batch, ...(numClasses === null && { y: undefined }) }
    const task = classifierTask(device, { ...pair, load, seed: 11 })
    const draw = task.draw(images, 8)
    expect(draw.weights).toEqual([1, 1, 1, 1])
    expect(draw.groups).toEqual(draw.t.map((t) => Math.floor((4 * t) / process.steps)))

    // By hand: x_t in float64, the network at t or t / 4, and -log softmax.
    const { sqrtAlphaBar, sqrtOneMinusAlphaBar } = process.process.tables
    const noise = hostRandomNormal({ seed: splitSeed(11), draw: 0, purpose: trainPurposes.noise }, [8, 9, 10, 11], 192)
    const xt = images.images.map(
      (v, i) =>
        sqrtAlphaBar[draw.t[Math.floor(i / 192)]] * v + sqrtOneMinusAlphaBar[draw.t[Math.floor(i / 192)]] * noise[i],
    )
    using x = device.tensor(xt, [4, 3, 8, 8])
    const timesteps = draw.t.map((t) => (process === rescaled ? t / 4 : t))
    const y = numClasses === null ? {} : { y: [1, 4, 0, 1] }
    using z = extractor?.features(x, timesteps) ?? null
    const logits = async (classifier: Classifier): Promise<Float32Array> => {
      using out = classifier.forward(z ?? x, timesteps, y)
      return out.read()
    }
    const found = await logits(classifier)
    const rows = [0, 1, 2, 3].map((n) => Array.from(found.subarray(10 * n, 10 * n + 10)))
    const expected = rows.map(
      (row, n) => Math.log(row.reduce((sum, v) => sum + Math.exp(v), 0)) - row[Number(batch.labels[n])],
    )
    const rank = rows.map((row, n) => row.filter((v) => v > row[Number(batch.labels[n])]).length)

    const parameters = [...classifier.parameters.values()]
    using weights = device.tensor([0.5, 2, 1, 0.25])
    const made = device.scope(() => {
      const terms: Record<string, Tensor> = {}
      const result = grad(
        () => {
          const { loss, terms: others } = task.losses(draw)
          for (const [key, term] of Object.entries(others)) terms[key] = device.keep(term)
          return loss
        },
        parameters,
        weights,
      )
      return { ...result, terms }
    })
    expectClose(await made.value.read(), expected, 1e-5, 'loss')
    expect(Object.keys(made.terms)).toEqual(['acc@1', 'acc@5'])
    expect(Array.from(await made.terms['acc@1'].read())).toEqual(rank.map((r) => (r < 1 ? 1 : 0)))
    expect(Array.from(await made.terms['acc@5'].read())).toEqual(rank.map((r) => (r < 5 ? 1 : 0)))
    if (extractor) {
      // Of the extractor only its result is kept for the backward pass, 4 x 64 x 4 x 4; a map of its
      // own is twice as large.
      const alone = grad(() => classifier.forward(z!, timesteps, y), parameters)
      for (const tensor of [alone.value, ...alone.gradients]) tensor.dispose()
      expect(made.savedBytes - alone.savedBytes).toBeLessThan(4 * 4096 + 1024)
    }
    const keys = [...classifier.parameters.keys()]
    for (const key of [
      'input_blocks.0.0.weight',
      'time_embed.2.weight',
      'middle_block.1.qkv.weight',
      'out.2.positional_embedding',
      'out.2.c_proj.bias',
      ...(numClasses === null ? [] : ['label_emb.weight']),
    ]) {
      const weight = classifier.parameters.get(key)!
      const gradient = await made.gradients[keys.indexOf(key)].read()
      if (key === 'label_emb.weight')
        expect(
          [2, 3].flatMap((row) => Array.from(gradient.subarray(128 * row, 128 * row + 128))).every((v) => v === 0),
          'classes that no image has',
        ).toBe(true)
      await expectGradient(
        weight,
        (moved) => {
          const other = new Classifier(classifier.config, new Map(classifier.parameters).set(key, moved))
          return classifierTask(device, { ...pair, classifier: other, load, seed: 11 }).losses(draw).loss
        },
        gradient,
        [0.5, 2, 1, 0.25],
      )
    }
    for (const tensor of [made.value, ...made.gradients, ...Object.values(made.terms)]) tensor.dispose()
  })
}

/** Images of 8 x 8: level 0 has rows, level 1 columns, level 2 is a chessboard. */
function patterns(first: number, count: number): ClassifierImages {
  const labels = Array.from({ length: count }, (_, i) => (first + i) % 3)
  const bright = (level: number, x: number, y: number): number => [y, x, x + y][level] % 2
  const images = Float32Array.from({ length: count * 192 }, (_, at) => {
    const [n, i] = [Math.floor(at / 192), at % 192]
    return 1.6 * bright(labels[n], i % 8, Math.floor(i / 8) % 8) - 0.8 + 0.1 * Math.sin(first + n + i)
  })
  return { labels, images }
}

const tinyConfig: ClassifierConfig = {
  ...encoderConfig,
  channelMult: [1],
  attentionResolutions: [],
  outChannels: 3,
  pool: 'adaptive',
  imageSize: 8,
  numHeadChannels: 32,
}
const images: ClassifierTaskOptions['load'] = async (first, count) => patterns(first, count)

const readAll = async (parameters: Iterable<Tensor>): Promise<Float32Array[]> =>
  Promise.all([...parameters].map((x) => x.read()))

deviceTest(
  'it learns; a run that goes on computes the same bits',
  async (device) => {
    const trained = async (
      stopAt: number | null,
    ): Promise<{ weights: Float32Array[]; acc1: number; losses: number[] }> => {
      using classifier = new Classifier(
        tinyConfig,
        initializeParameters(device, planOf({ kind: 'classifier', ...tinyConfig }), 1),
      )
      const make = () =>
        new Trainer(
          device,
          classifierTask(device, {
            classifier,
            diffusion,
            seed: 2,
            load: images,
            scheduleSampler: new LossSecondMomentResampler(diffusion.steps),
          }),
          { batch: 12, microbatch: 8, steps: 24, lr: 3e-3, weightDecay: 0.05, anneal: 1, logEvery: 6 },
        )
      const losses: number[] = []
      let trainer = make()
      const until = async (step: number): Promise<void> => {
        while (trainer.step < step) losses.push((await trainer.next()).loss)
      }
      if (stopAt !== null) {
        await until(stopAt)
        const { tensors, counters } = trainer.state()
        const saved = new Map<string, Float32Array>()
        for (const [key, x] of tensors) saved.set(key, Float32Array.from(await x.read()))
        const copy = JSON.parse(JSON.stringify(counters)) as typeof counters
        trainer.dispose()
        for (const x of classifier.parameters.values()) x.write(new Float32Array(x.shape.reduce((a, b) => a * b, 1)))
        trainer = make()
        await trainer.restore(copy, async (name) => saved.get(name)!)
      }
      await until(24)
      expect(trainer.rows).toHaveLength(4)
      expect(Object.keys(trainer.rows[0].values)).toEqual(['loss', 'acc@1'])
      trainer.dispose()
      const { acc1 } = await evaluateClassifier(device, {
        classifier,
        diffusion,
        count: 24,
        seed: 5,
        load: async (first, count) => patterns(1000 + first, count),
      })
      return { weights: await readAll(classifier.parameters.values()), acc1, losses }
    }
    const whole = await trained(null)
    // At the first step every level is as likely: ln 3. A third would be right by guessing.
    expect(whole.losses[0]).toBeCloseTo(Math.log(3), 5)
    expect(whole.acc1).toBeGreaterThan(0.6)
    const interrupted = await trained(17)
    expect(interrupted.losses).toEqual(whole.losses)
    whole.weights.forEach((weights, i) => expectSameBits(interrupted.weights[i], weights, `parameter ${i}`))
  },
  { ...onCPU, timeout: 180_000 },
)

deviceTest(
  'training leaves the extractor as it is',
  async (device) => {
    using classifier = await network(device, latentConfig)
    using extractor = await network(device, encoderConfig, 8)
    const before = await readAll(extractor.parameters.values())
    const trained = await readAll(classifier.parameters.values())
    using trainer = new Trainer(device, classifierTask(device, { classifier, extractor, diffusion, seed: 3, load }), {
      batch: 4,
      steps: 2,
      lr: 1e-3,
      weightDecay: 0.2,
    })
    while (!trainer.done) await trainer.next()
    const after = await readAll(extractor.parameters.values())
    before.forEach((weights, i) => expectSameBits(after[i], weights, `extractor's parameter ${i}`))
    const changed = await readAll(classifier.parameters.values())
    trained.forEach((weights, i) => expect(changed[i], `classifier's parameter ${i}`).not.toEqual(weights))
  },
  onCPU,
)

deviceTest(
  'an evaluation asks the same of every checkpoint, in batches of any size',
  async (device) => {
    using untrained = new Classifier(
      tinyConfig,
      initializeParameters(device, planOf({ kind: 'classifier', ...tinyConfig }), 1),
    )
    const options = { diffusion, count: 5, seed: 5, load: images }
    const nothing = await evaluateClassifier(device, { ...options, classifier: untrained })
    expect(nothing.images).toBe(5)
    expect(nothing.loss).toBeCloseTo(Math.log(3), 6)
    expect([nothing.acc1, ...nothing.acc1ByQuartile], 'who says nothing is never right').toEqual([0, 0, 0, 0, 0])
    using classifier = await network(device, { ...encoderConfig, outChannels: 3 })
    const whole = await evaluateClassifier(device, { ...options, classifier })
    const parts = await evaluateClassifier(device, { ...options, classifier, batch: 8 })
    expectClose(parts.lossByQuartile, whole.lossByQuartile, 1e-5, 'in batches of two images')
    expect(whole.loss).toBeCloseTo(whole.lossByQuartile.reduce((a, b) => a + b, 0) / 4, 12)
    expect(parts.acc1ByQuartile).toEqual(whole.acc1ByQuartile)
  },
  onCPU,
)

deviceTest(
  'a classifier that does not take the features, a label that is no level',
  async (device) => {
    using onPixels = await network(device, encoderConfig)
    using extractor = await network(device, encoderConfig)
    expect(() => classifierTask(device, { classifier: onPixels, extractor, diffusion, load, seed: 1 })).toThrow(
      /takes 3x8x8, but the extractor gives 64x4x4/,
    )
    const task = classifierTask(device, { classifier: onPixels, diffusion, load, seed: 1 })
    expect(() => device.scope(() => task.losses(task.draw({ ...batch, labels: [0, 1, 2, 10] }, 0)).loss)).toThrow(
      /Target class 10 is not one of the classifier's classes 0 to 9/,
    )
  },
  onCPU,
)

describe('which images are held back', () => {
  const file: Pick<MinorityLabels, 'data' | 'levels' | 'indices' | 'labels'> = {
    data: 'cells',
    levels: 4,
    indices: Array.from({ length: 200 }, (_, i) => i + 100),
    labels: Array.from({ length: 200 }, (_, i) => (i < 80 ? 0 : i < 140 ? 1 : i < 190 ? 2 : 3)),
  }
  const every = Array.from({ length: 300 }, (_, i) => i)
  const levelsOf = (indices: readonly number[]): number[] =>
    [0, 1, 2, 3].map((level) => indices.filter((i) => file.labels[i - 100] === level).length)

  test('a part of every level, by the seed; images without a label are neither', () => {
    const split = splitLevels(file, { images: every, seed: 1, fraction: 0.1 })
    expect(levelsOf(split.validate)).toEqual([8, 6, 5, 1])
    expect(split.counts).toEqual([72, 54, 45, 9])
    expect(levelsOf(split.train)).toEqual(split.counts)
    expect([...split.train, ...split.validate].sort((a, b) => a - b)).toEqual(file.indices)
    expect(splitLevels(file, { images: every, seed: 1, fraction: 0.1 })).toEqual(split)
    expect(splitLevels(file, { images: every, seed: 2, fraction: 0.1 }).validate).not.toEqual(split.validate)
    expect(splitLevels(file, { images: every, seed: 1 }).validate, 'a twentieth without being asked').toHaveLength(10)
    expect(splitLevels(file, { images: every, seed: 1, fraction: 0 }).validate).toEqual([])
    expect(
      splitLevels(file, { images: every, seed: 1, fraction: 0.99 }).counts.every((n) => n >= 1),
      'never the last image of a level',
    ).toBe(true)
  })

  test('what a selection holds out comes first, if it has labels', () => {
    const [images, heldOut] = [every.filter((i) => i % 5 !== 0), every.filter((i) => i % 5 === 0)]
    const split = splitLevels(file, { images, heldOut, seed: 1 })
    expect(split.validate).toEqual(heldOut.filter((i) => i >= 100))
    expect(split.counts).toEqual([64, 48, 40, 8])
    expect(
      splitLevels(file, { images: every.slice(100), heldOut: every.slice(0, 100), seed: 1 }).validate,
      'none of them has a label',
    ).toHaveLength(10)
    const asked = splitLevels(file, { images, heldOut, seed: 1, fraction: 0.5 })
    expect(
      asked.validate.some((i) => heldOut.includes(i)),
      'what is asked for',
    ).toBe(false)
  })

  test('levels of equal width may be without images, but not lose theirs', () => {
    const wide = { ...file, by: 'equal-width' as const, labels: file.labels.map((level) => (level === 1 ? 0 : level)) }
    expect(splitLevels(wide, { images: every, seed: 1, fraction: 0 }).counts).toEqual([140, 0, 50, 10])
    expect(() => splitLevels(wide, { images: every.slice(0, 285), seed: 1 })).toThrow(
      /level 3 of 4 has no image to train on/,
    )
    expect(() => splitLevels({ ...wide, by: 'quantiles' }, { images: every, seed: 1 })).toThrow(
      /level 1 of 4 has no image/,
    )
  })

  test('a level without images, a fraction that is none', () => {
    expect(() => splitLevels(file, { images: every.slice(0, 285), seed: 1 })).toThrow(
      /cells: level 3 of 4 has no image to train on, the levels have 76, 57, 43, 0/,
    )
    expect(() => splitLevels(file, { images: every, seed: 1, fraction: 1 })).toThrow(/from 0 to below 1, found 1/)
  })
})
