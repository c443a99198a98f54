/**
 * One call loads, one call draws, one scores: the same pictures and numbers as the command line's, and
 * nothing left behind.
 */
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { zipSync } from 'fflate'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { encodePng, imageDataOf, imagesOf, type Image } from '../src/data/index.ts'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import { processOf, scoreProcess, tweedieReconstruction, type MinorityScores } from '../src/diffusion/index.ts'
import { bytesSource, encodeSafetensors, openFile, openSafetensors } from '../src/io/index.node.ts'
import { memoryOf } from '../src/nn/index.ts'
import { Device, mul, type Tensor } from '../src/tensor/index.ts'
import { Tweedie } from '../src/tweedie/index.node.ts'
import { Tweedie as TweedieOfPages } from '../src/tweedie/index.ts'
import { labelList, randomLabels } from '../src/tweedie/labels.ts'
import type { TweedieSampleOptions } from '../src/tweedie/sample-settings.ts'
import type { TweedieStep } from '../src/tweedie/sample.ts'
import { temporaryFolder, tensorIn, tweedie, weights } from './cli.ts'
import { fileServer, type FileServer } from './file-server.ts'
import { base, baseOfClasses, classifier, cosine, upsampler, writeModel } from './small-models.ts'

const out = temporaryFolder()
const shipped = (name: string): string => weights.replace('adm', name)
const cpu = { backend: 'cpu', simd: 'plain' } as const

/** The same weights in a file that says nothing of them. */
async function bare(path: string): Promise<Uint8Array> {
  const { tensors } = await openSafetensors(bytesSource(readFileSync(path)))
  const read = await Promise.all(
    [...tensors].map(
      async ([key, entry]) => [key, { shape: entry.shape, data: (await entry.read()) as Float32Array }] as const,
    ),
  )
  const chunks: Uint8Array[] = []
  for await (const chunk of encodeSafetensors(read)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** A file of one tensor, which is no network of ADM. */
async function other(tensor: string, metadata: Readonly<Record<string, string>> = {}): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const chunk of encodeSafetensors([[tensor, { shape: [1], data: Float32Array.of(1) }]], metadata))
    chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function last(model: TweedieOfPages, options: TweedieSampleOptions): Promise<TweedieStep> {
  let step: TweedieStep | undefined
  for await (const one of model.sample(options)) step = one
  return step!
}

describe('the shipped set', () => {
  let model: Tweedie
  beforeAll(async () => void (model = await Tweedie.load('bccd32', cpu)))
  afterAll(() => model.dispose())

  test.each<[string, TweedieSampleOptions, string[]]>([
    ['plain', {}, []],
    ['ddim', { method: 'ddim', eta: 0.5 }, ['--method', 'ddim', '--eta', '0.5']],
    [
      'self-guided',
      { method: 'self-guided', selfGuidance: { every: 1 } },
      ['--method', 'self-guided', '--guide-every', '1', '--distance', 'features'],
    ],
    [
      'minority-guided',
      { method: 'minority-guided', target: [5, 9], scale: 2 },
      [
        '--method',
        'minority-guided',
        '--minority-classifier',
        shipped('minority'),
        '--minority-target',
        '5-9',
        '--minority-scale',
        '2',
      ],
    ],
    ['boost-and-skip', { method: 'boost-and-skip', skip: 1 }, ['--method', 'boost-and-skip', '--skip', '1']],
  ])('%s: the pictures of tweedie sample, byte for byte, in any batch', async (name, options, argv) => {
    const run = await tweedie([
      'sample',
      '--model',
      weights,
      '--respacing',
      '2',
      '--number',
      '2',
      '--batch',
      '2',
      '--seed',
      '4',
      '--out',
      out(name),
      '--save',
      out(`${name}.safetensors`),
      '--backend',
      'cpu',
      '--simd',
      'plain',
      ...argv,
    ])
    expect(run.code, run.err.join('\n')).toBe(0)
    const { images, values, done, total, finished } = await last(model, {
      number: 2,
      steps: 2,
      seed: 4,
      batch: 1,
      ...options,
    })
    expect(images.map((image) => Buffer.from(encodePng(image)))).toEqual(
      [0, 1].map((k) => readFileSync(out(`${name}/sample-000${k}.png`))),
    )
    expect(values).toEqual((await tensorIn(out(`${name}.safetensors`), 'sample')).data)
    expect({ done, total, finished }).toEqual({ done: total, total: name === 'boost-and-skip' ? 2 : 4, finished: 2 })
  })

  test('every step is told of; previews are estimates of x_0 of this batch, after the finished pictures', async () => {
    const seen: (readonly [done: number, total: number, finished: number, images: number, values: boolean])[] = []
    for await (const { done, total, images, finished, values } of model.sample({
      number: 3,
      steps: 3,
      batch: 2,
      preview: true,
    }))
      seen.push([done, total, finished, images.length, values !== undefined])
    expect(seen).toEqual([
      [1, 6, 0, 2, false],
      [2, 6, 0, 2, false],
      [3, 6, 2, 2, false],
      [4, 6, 2, 3, false],
      [5, 6, 2, 3, false],
      [6, 6, 3, 3, true],
    ])
    const counts: number[] = []
    for await (const { images } of model.sample({ number: 1, steps: 4, preview: 2 })) counts.push(images.length)
    expect(counts).toEqual([0, 1, 0, 1])
    // In two steps the estimate of the first is no more than a blur.
    const estimates: Image[] = []
    for await (const { images } of model.sample({ number: 1, steps: 2, preview: true })) estimates.push(images[0])
    expect(estimates[0]).not.toEqual(estimates[1])
  })

  test('pushes are those of the pictures being drawn, after guided steps, and change nothing', async () => {
    const options = { number: 3, steps: 2, batch: 2, method: 'minority-guided', preview: true } as const
    const sizes: (number[] | undefined)[] = []
    let values: Float32Array | undefined
    for await (const step of model.sample({ ...options, pushes: true })) {
      sizes.push(step.pushes?.map(({ length }) => length))
      for (const push of step.pushes ?? []) expect(Math.max(...push)).toBeGreaterThan(0)
      ;({ values } = step)
    }
    expect(sizes).toEqual([[1024, 1024], [1024, 1024], [1024], [1024]])
    expect(values).toEqual((await last(model, options)).values)
    expect((await last(model, options)).pushes).toBeUndefined()
    for await (const { pushes } of model.sample({ number: 1, steps: 2, pushes: true })) expect(pushes).toBeUndefined()
  })

  test('scores are those of tweedie score, of pictures, ImageData and values', async () => {
    const { images, values } = await last(model, { number: 3, steps: 2, seed: 4 })
    const found = await model.score(images, { seed: 3, draws: 2, batch: 2 })
    await tweedie([
      'sample',
      '--model',
      weights,
      '--respacing',
      '2',
      '--number',
      '3',
      '--seed',
      '4',
      '--out',
      out('to-score'),
      '--backend',
      'cpu',
      '--simd',
      'plain',
    ])
    const run = await tweedie([
      'score',
      '--model',
      weights,
      '--data',
      out('to-score'),
      '--distance',
      'features',
      '--draws',
      '2',
      '--seed',
      '3',
      '--out',
      out('scores.json'),
      '--backend',
      'cpu',
      '--simd',
      'plain',
    ])
    expect(run.code, run.err.join('\n')).toBe(0)
    const { scores } = JSON.parse(readFileSync(out('scores.json'), 'utf8')) as MinorityScores
    expect([...found]).toEqual(scores)
    expect(await model.score(images.map(imageDataOf), { seed: 3, draws: 2 })).toEqual(found)
    // As numbers they have not been rounded to bytes.
    const unrounded = await model.score(values!, { seed: 3, draws: 2 })
    unrounded.forEach((score, k) => expect(Math.abs(score / found[k] - 1)).toBeLessThan(0.05))
    expect(unrounded).not.toEqual(found)
  })

  test('reconstructions are what the scores are distances to', async () => {
    const { images, values } = await last(model, { number: 3, steps: 2, seed: 4 })
    const options = { seed: 3, batch: 2 }
    const { scores, reconstructions } = await model.reconstruct(values!, options)
    expect(scores).toEqual(await model.score(values!, options))
    const { diffusion, t } = scoreProcess(processOf(model.description as never))
    using x = model.device.tensor(values!, [3, 3, 32, 32])
    const expected = model.device.scope(() =>
      tweedieReconstruction(diffusion, model.unet, x, { t, seed: 3, samples: [0, 1, 2] }),
    )
    expect(reconstructions).toEqual(imagesOf(await expected.read(), expected.shape))
    expected.dispose()
    expect((await model.reconstruct(images, options)).reconstructions).toHaveLength(3)
    await expect(model.reconstruct([], options)).rejects.toThrow(/^reconstruct: expected a list of images/)
  })

  test('two loops at once draw what each draws alone', async () => {
    const [a, b] = await Promise.all([
      last(model, { number: 1, steps: 2, seed: 1 }),
      last(model, { number: 2, steps: 2, seed: 2, method: 'self-guided' }),
    ])
    expect(a.values).toEqual((await last(model, { number: 1, steps: 2, seed: 1 })).values)
    expect(b.values).toEqual((await last(model, { number: 2, steps: 2, seed: 2, method: 'self-guided' })).values)
  })

  test('an abort, a loop that is left and an error leave nothing on the device', async () => {
    const live = model.device.stats.liveBuffers
    const stop = new AbortController()
    await expect(
      (async () => {
        for await (const { done } of model.sample({
          number: 4,
          steps: 3,
          batch: 2,
          preview: true,
          signal: stop.signal,
        }))
          if (done === 4) stop.abort(new Error('enough'))
      })(),
    ).rejects.toThrow('enough')
    expect(model.device.stats.liveBuffers).toBe(live)
    for await (const _ of model.sample({ number: 2, steps: 3, method: 'minority-guided' })) break
    expect(model.device.stats.liveBuffers).toBe(live)
    const tooStrong = (x: Tensor): Tensor => mul(x, Infinity)
    await expect(last(model, { number: 2, steps: 2, guidances: () => [tooStrong] })).rejects.toMatchObject({
      code: 'non-finite',
      message: expect.stringMatching(/^The samples hold .* in samples 0, 1\. Take a smaller/),
    })
    expect(model.device.stats.liveBuffers).toBe(live)
    await expect(
      model.score(new Float32Array(3072), { signal: AbortSignal.abort(new Error('enough')) }),
    ).rejects.toThrow('enough')
    expect(model.device.stats.liveBuffers).toBe(live)
  })

  test.each<[TweedieSampleOptions, RegExp]>([
    [{ target: 10 }, /^target: the classifier's levels are 0 to 9, the last the rarest; found 10\.$/],
    [{ target: [3, 1] }, /^target: expected a level, a range/],
    [{ steps: 2000 }, /^respacing 2000 of 1000 steps/],
    [{ number: 0 }, /^number: expected a whole number of 1 or more, found 0\.$/],
    [{ labels: [1] }, /^labels is for class-conditional models/],
    [{ method: 'sehwag' as 'ddim' }, /^method is 'ancestral', 'ddim', .*found 'sehwag'/],
    [{ method: 'boost-and-skip', steps: 2 }, /^skip 3 leaves none of the 2 steps\.$/],
    [{ selfGuidance: { every: 0 } }, /every is a whole number/],
    [{ selfGuidance: { after: 0.9 } }, /^selfGuidance\.every 5 and selfGuidance\.after 0\.9 guide none of the 2 steps/],
    [{ eta: 0.5 }, /^eta is the noise of the sampler 'ddim'/],
    [{ number: '4' as never }, /^number: expected a whole number of 1 or more, found "4"\.$/],
    [
      { signal: new AbortController() as never },
      /^sample: signal: expected an AbortSignal, found an AbortController\. That of an AbortController is its signal\.$/,
    ],
    [{ seeds: 3 } as TweedieSampleOptions, /^sample: unknown option "seeds" \(did you mean "seed"\?\)/],
  ])('what does not fit is said: %j', async (options, message) => {
    await expect(last(model, { steps: 2, number: 1, ...options })).rejects.toMatchObject({
      code: 'option',
      message: expect.stringMatching(message),
    })
  })

  test('more samples than memory holds', async () => {
    await expect(last(model, { steps: 2, number: 1e9 })).rejects.toMatchObject({
      code: 'out-of-memory',
      message: expect.stringMatching(/^number: 1000000000 samples are 11444\.1 GiB, .*or with tweedie sample/),
    })
  })

  test.each<[string, unknown, object, RegExp]>([
    ['no pictures', [], {}, /found an empty one\.$/],
    ['one picture', { width: 1 }, {}, /^score: expected a list of images, .*found an object\.$/],
    [
      'a promise',
      Promise.resolve([]),
      {},
      /^score: expected a list of images, .*found a Promise: did you forget await\?$/,
    ],
    ['a path', ['cell.png'], {}, /^score: expected images, found "cell\.png"\. decodeImage makes one/],
    [
      'bytes of a file',
      [new Uint8Array(3)],
      {},
      /^score: expected images, found an? Uint8Array\. decodeImage makes one/,
    ],
    ['nothing', [null], {}, /^score: expected images, found null/],
    ['values that are none', new Float32Array(3072).fill(NaN), {}, /^score: expected values in \[-1, 1\], found NaN/],
    [
      'bytes as values',
      new Float32Array(3072).fill(255),
      {},
      /^score: expected values in \[-1, 1\], found 255\. A pixel p of 0 to 255 is p \/ 127\.5 - 1\.$/,
    ],
    [
      'a step that is a number',
      new Float32Array(3072),
      { step: 50 },
      /^scoreProcess: expected a step \{ index \} of the 100, or \{ fraction \} of T, found 50\.$/,
    ],
    [
      'a progress that is none',
      new Float32Array(3072),
      { onProgress: 3 },
      /^score: onProgress: expected a function, found 3\.$/,
    ],
  ])('what cannot be scored is said: %s', async (_, pictures, options, message) => {
    await expect(model.score(pictures as never, options)).rejects.toMatchObject({
      code: 'option',
      message: expect.stringMatching(message),
    })
  })
})

describe('where nothing is said, the defaults are those of the command line', () => {
  const diffusion = { ...cosine, diffusionSteps: 6 }
  test.each(['ancestral', 'ddim', 'self-guided', 'boost-and-skip', 'minority-guided'] as const)(
    '%s',
    async (method) => {
      const [path, levels] = [
        await writeModel(out('six.safetensors'), base, { diffusion }),
        await writeModel(out('six-levels.safetensors'), classifier, { seed: 2, diffusion }),
      ]
      const run = await tweedie([
        'sample',
        '--model',
        path,
        '--method',
        method,
        ...(method === 'minority-guided' ? ['--minority-classifier', levels] : []),
        '--out',
        out(`six-${method}`),
        '--save',
        out(`six-${method}.safetensors`),
        '--backend',
        'cpu',
        '--simd',
        'plain',
      ])
      expect(run.code, run.err.join('\n')).toBe(0)
      using model = await Tweedie.load(path, { ...cpu, minorityClassifier: levels })
      const { values, images } = await last(model, method === 'ancestral' ? {} : { method })
      expect(values).toEqual((await tensorIn(out(`six-${method}.safetensors`), 'sample')).data)
      const { samples } = JSON.parse(readFileSync(out(`six-${method}/run.json`), 'utf8')) as RunRecord
      expect(images).toHaveLength(samples.length)
      // The record has the scores of the samples as numbers.
      expect([...(await model.score(values!))]).toEqual(samples.map(({ score }) => score))
    },
  )
})

describe('class guidance', () => {
  const files = async (): Promise<[plain: string, ofClasses: string, classes: string, levels: string]> => [
    await writeModel(out('plain.safetensors'), base),
    await writeModel(out('three-classes.safetensors'), baseOfClasses),
    await writeModel(out('classes.safetensors'), classifier, { seed: 2 }),
    await writeModel(out('its-levels.safetensors'), classifier, { seed: 3 }),
  ]

  test.each<[string, boolean, TweedieSampleOptions, string[]]>([
    ['to the labels', true, { labels: [2, 0] }, ['--labels', '2,0']],
    ['to classes', false, { classifierTarget: [7], classifierScale: 3 }, ['--target', '7', '--classifier-scale', '3']],
    [
      'beside minority guidance and ddim',
      true,
      { labels: [1], classifierTarget: [4, 5], method: 'minority-guided', sampler: 'ddim' },
      ['--labels', '1', '--target', '4,5', '--method', 'minority-guided', '--sampler', 'ddim'],
    ],
    ['by words', true, { labels: 'random', classifierTarget: 'all' }, ['--labels', 'random', '--target', 'all']],
  ])('%s: the pictures and scores of tweedie sample', async (name, conditional, options, argv) => {
    const [plain, ofClasses, classes, levels] = await files()
    const path = conditional ? ofClasses : plain
    const folder = out(`classes-${name.replaceAll(' ', '-')}`)
    const led = options.method === undefined ? [] : ['--minority-classifier', levels]
    const run = await tweedie([
      ...['sample', '--model', path, '--classifier', classes, '--respacing', '3', '--number', '3', '--seed', '5'],
      ...['--out', folder, '--save', `${folder}.safetensors`, '--backend', 'cpu', '--simd', 'plain', ...led, ...argv],
    ])
    expect(run.code, run.err.join('\n')).toBe(0)
    using model = await Tweedie.load(path, { ...cpu, classifier: { file: classes }, minorityClassifier: levels })
    const drawn = { number: 3, steps: 3, seed: 5, batch: 2, ...options }
    const { values, scores } = await last(model, { ...drawn, scores: true })
    expect(values).toEqual((await tensorIn(`${folder}.safetensors`, 'sample')).data)
    const { samples } = JSON.parse(readFileSync(`${folder}/run.json`, 'utf8')) as RunRecord
    expect([...scores!]).toEqual(samples.map(({ score }) => score))
    if (options.labels === 'random') {
      const own = randomLabels(3, { seed: 5, samples: [0, 1, 2] })
      expect(samples.map(({ label }) => label)).toEqual(own)
      // The record has the words, so that more samples are the same run.
      const more = await tweedie(['replay', `${folder}/run.json`, '--out', `${folder}-again`])
      expect(more.out.join(), more.err.join('\n')).toContain('3 of 3 pictures are the same to the byte')
    }
    // A scale of 0 leads nowhere.
    using without = await Tweedie.load(path, { ...cpu, minorityClassifier: levels })
    const { classifierTarget: _, classifierScale: __, ...unled } = drawn
    expect((await last(model, { ...unled, classifierScale: 0 })).values).toEqual((await last(without, unled)).values)
    expect(values).not.toEqual((await last(without, unled)).values)
  })

  test('random classes are uniform, and depend on the seed and the sample alone', () => {
    const samples = Array.from({ length: 20_000 }, (_, k) => k)
    const drawn = randomLabels(10, { seed: 1, samples })
    const counts = Array.from({ length: 10 }, (_, c) => drawn.filter((label) => label === c).length)
    // Each is binomial: five deviations of sqrt(20000 * 0.1 * 0.9) = 42.
    for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(212)
    expect(randomLabels(10, { seed: 1, samples: [777, 3] })).toEqual([drawn[777], drawn[3]])
    expect(randomLabels(10, { seed: 2, samples })).not.toEqual(drawn)
    expect(labelList('all', { numClasses: 3 }, { number: 8, seed: 1 })).toEqual([0, 1, 2])
  })

  test('what does not fit is said', async () => {
    const [plain, , classes] = await files()
    using model = await Tweedie.load(plain, { ...cpu, classifier: classes })
    using without = await Tweedie.load(plain, cpu)
    const short = { number: 1, steps: 2 }
    const cases: [TweedieOfPages, TweedieSampleOptions, RegExp][] = [
      [model, {}, /^The classifier leads to classes: classifierTarget says to which/],
      [model, { classifierTarget: [] }, /^The classifier leads to classes/],
      [model, { classifierTarget: [10] }, /^classifierTarget: the classifier's classes are 0 to 9, found 10\.$/],
      [model, { classifierTarget: [0.5] }, /^classifierTarget: the classifier's classes are 0 to 9, found 0\.5\.$/],
      [model, { classifierTarget: 'rest' as 'all' }, /^classifierTarget is 'random' or 'all', found 'rest'/],
      [without, { labels: 'random' }, /^labels is for class-conditional models; this one has no classes\.$/],
      [without, { labels: 'al' as 'all' }, /^labels is 'random' or 'all', found 'al': did you mean 'all'\?$/],
      [without, { classifierScale: 1 }, /need a classifier: Tweedie\.load\(…, \{ classifier: FILE \}\)\.$/],
    ]
    for (const [of, options, message] of cases)
      await expect(last(of, { ...short, ...options })).rejects.toMatchObject({
        code: 'option',
        message: expect.stringMatching(message),
      })
    const live = model.device.stats.liveBuffers
    for await (const { scores, finished } of model.sample({ ...short, classifierTarget: [1], scores: true }))
      expect(scores).toHaveLength(finished)
    expect(model.device.stats.liveBuffers).toBe(live)
    await expect(Tweedie.load(plain, { ...cpu, classifier: plain })).rejects.toThrow(/classifier takes a classifier/)
  })
})

describe('loading', () => {
  test('a path, its URL, a Blob and bytes are the same model; bytes are counted', async () => {
    using device = await Device.request(cpu)
    const path = await writeModel(out('small.safetensors'), base)
    const bytes = readFileSync(path)
    const drawn: Float32Array[] = []
    for (const where of [
      path,
      pathToFileURL(path),
      String(pathToFileURL(path)),
      new Blob([bytes]),
      new Uint8Array(bytes),
      new Uint8Array(bytes).buffer,
    ]) {
      const counted: [number, number][] = []
      using model = await Tweedie.load(where, { device, onProgress: (done, total) => counted.push([done, total]) })
      drawn.push((await last(model, { number: 1, steps: 2, selfGuidance: { weight: 1, every: 1 } })).values!)
      expect(counted[0][0]).toBe(0)
      expect(counted.length, 'each change is told once').toBe(new Set(counted.map(String)).size)
      expect(counted.at(-1)![0]).toBe(counted.at(-1)![1])
      expect(counted.at(-1)![1]).toBeLessThan(bytes.length)
      expect({ shape: model.unet.config.imageSize, levels: model.minorityLevels, batch: model.batch }).toEqual({
        shape: 8,
        levels: null,
        batch: 8,
      })
    }
    for (const values of drawn) expect(values).toEqual(drawn[0])
    expect(device.stats.liveBuffers).toBe(0)
    expect(await device.tensor([1]).read()).toEqual(Float32Array.of(1))
  })

  describe('from a web server', () => {
    const names = ['adm', 'minority', 'features']
    const files = Object.fromEntries(
      names.map((name) => [`/weights/bccd32-${name}.safetensors`, readFileSync(shipped(name))]),
    )
    const size = Object.values(files).reduce((sum, { length }) => sum + length, 0)
    let server: FileServer
    beforeEach(async () => {
      server = await fileServer(files)
    })
    afterEach(() => server.close())

    test('each file is asked for once, side by side, under one count of their bytes', async () => {
      const counted: [number, number][] = []
      const onProgress = (done: number, total: number) => counted.push([done, total])
      // All are on their way before one is there.
      server.behaviour.pause = () => expect.poll(() => server.requests.length).toBe(3)
      using there = await Tweedie.load('bccd32', { ...cpu, weights: `${server.origin}/weights`, onProgress })
      expect(server.requests.sort()).toEqual(Object.keys(files).sort())
      expect(new Set(counted.map(([, total]) => total))).toEqual(new Set([size]))
      expect(counted.length).toBeGreaterThan(6)
      expect(counted.length, 'each change is told once').toBe(new Set(counted.map(String)).size)
      expect(counted.map(([done]) => done)).toEqual(counted.map(([done]) => done).sort((a, b) => a - b))
      expect(counted.at(-1)).toEqual([size, size])
      using here = await Tweedie.load('bccd32', cpu)
      const options = { number: 1, steps: 2, method: 'minority-guided' } as const
      expect((await last(there, options)).values).toEqual((await last(here, options)).values)
    })

    test('compressed, each file is counted when it is there', async () => {
      server.behaviour.gzip = true
      const counted: [number, number][] = []
      const onProgress = (done: number, total: number) => counted.push([done, total])
      using _ = await Tweedie.load('bccd32', { ...cpu, weights: `${server.origin}/weights`, onProgress })
      expect(counted.length, 'each change is told once').toBe(new Set(counted.map(String)).size)
      expect(new Set(counted.map(([, total]) => total))).toEqual(new Set([size]))
      expect(counted.at(-1)).toEqual([size, size])
    })

    test('nothing is on its way any more once loading has failed or was aborted', async () => {
      server.files.set('/weights/bccd32-minority.safetensors', readFileSync(shipped('features')))
      server.behaviour.pause = async (_, path) => path.includes('features') && new Promise(() => {})
      const options = { ...cpu, weights: `${server.origin}/weights` }
      await expect(Tweedie.load('bccd32', options)).rejects.toMatchObject({ code: 'option' })
      await expect.poll(server.sending).toBe(0)
      const stop = new AbortController()
      server.behaviour.pause = () => new Promise(() => {})
      const loading = Tweedie.load('bccd32', { ...options, signal: stop.signal })
      await expect.poll(server.sending).toBe(3)
      stop.abort(new Error('enough'))
      await expect(loading).rejects.toThrow('enough')
      await expect.poll(server.sending).toBe(0)
    })

    test('kept files change nothing where a host keeps none', async () => {
      using model = await Tweedie.load('bccd32', { ...cpu, weights: `${server.origin}/weights`, cache: true })
      expect(model.minorityLevels).toBe(10)
      expect(server.requests).toHaveLength(3)
      const cache = { [`${server.origin}/weights/bccd32-amd.safetensors`]: '0'.repeat(64) }
      await expect(Tweedie.load('bccd32', { ...cpu, weights: `${server.origin}/weights`, cache })).rejects.toThrow(
        /^cache: expected the URLs of files that are loaded, found "http.*bccd32-amd.safetensors", which is none of http/,
      )
    })
  })

  test("a source stays the caller's, who closes it", async () => {
    const source = await openFile(await writeModel(out('source.safetensors'), base))
    using model = await Tweedie.load(source, cpu)
    expect(model.unet.config.imageSize).toBe(base.imageSize)
    expect(await source.read(0, 1)).toHaveLength(1)
    await source.close!()
  })

  test('as large a batch as there is room for', async () => {
    const path = await writeModel(out('small.safetensors'), base)
    const { bytes } = memoryOf(base, { batch: 4, gradient: true, steps: 1000 })
    const free = vi.spyOn(process, 'availableMemory').mockReturnValue(bytes)
    try {
      using model = await Tweedie.load(path, cpu)
      expect(model.batch).toBe(2)
      await expect(Tweedie.load(path, { ...cpu, batch: 64 })).rejects.toMatchObject({ code: 'out-of-memory' })
    } finally {
      free.mockRestore()
    }
  })

  test('classes, and a minority classifier of its own', async () => {
    const path = await writeModel(out('classes.safetensors'), baseOfClasses)
    using model = await Tweedie.load(path, {
      ...cpu,
      minorityClassifier: await writeModel(out('levels.safetensors'), classifier, { seed: 2 }),
      distance: 'l1',
    })
    expect(model.minorityLevels).toBe(10)
    const run = await tweedie([
      'sample',
      '--model',
      path,
      '--minority-classifier',
      out('levels.safetensors'),
      '--labels',
      '2,0',
      '--respacing',
      '2',
      '--number',
      '2',
      '--out',
      out('of-classes'),
      '--save',
      out('of-classes.safetensors'),
      '--backend',
      'cpu',
      '--simd',
      'plain',
    ])
    expect(run.code, run.err.join('\n')).toBe(0)
    const { values, images } = await last(model, { number: 2, steps: 2, labels: [2, 0], method: 'minority-guided' })
    expect(values).toEqual((await tensorIn(out('of-classes.safetensors'), 'sample')).data)
    await expect(last(model, { steps: 2 })).rejects.toThrow(
      "the model is class-conditional: labels says which of its 3 classes to take, as in [3, 8], or 'random'.",
    )
    expect(await model.score(images, { labels: [2, 0] })).toHaveLength(2)
    await expect(model.score(images)).rejects.toThrow('class-conditional')
  })

  test('files that say nothing, with the flags of the scripts that trained them', async () => {
    // The scripts' classifiers have heads of 64 channels.
    const levelsConfig = {
      ...classifier,
      modelChannels: 64,
      numHeadChannels: 64,
      channelMult: [1],
      attentionResolutions: [1],
    }
    const [path, levels] = [
      await writeModel(out('small.safetensors'), base),
      await writeModel(out('wide-levels.safetensors'), levelsConfig),
    ]
    const options = { number: 1, steps: 2, method: 'minority-guided' } as const
    using said = await Tweedie.load(path, { ...cpu, minorityClassifier: levels })
    const flags =
      '--image_size 8 --num_channels 32 --num_res_blocks 1 --num_head_channels 16 --channel_mult 1,2 ' +
      '--attention_resolutions 4 --resblock_updown True --use_new_attention_order True --learn_sigma ' +
      'True --noise_schedule cosine'
    const ofLevels =
      '--image_size 8 --classifier_width 64 --classifier_depth 1 --classifier_attention_resolutions 8 ' +
      '--noise_schedule cosine --out_channels 10'
    await expect(Tweedie.load(await bare(path), cpu)).rejects.toMatchObject({
      code: 'option',
      message: expect.stringContaining('does not say what network it holds'),
    })
    using told = await Tweedie.load(await bare(path), {
      ...cpu,
      flags,
      minorityClassifier: { file: await bare(levels), flags: ofLevels },
    })
    expect((await last(told, options)).values).toEqual((await last(said, options)).values)
  })

  test('what fails or is aborted while it loads leaves nothing on the device', async () => {
    using device = await Device.request(cpu)
    const stop = new AbortController()
    await expect(
      Tweedie.load('bccd32', {
        device,
        signal: stop.signal,
        onProgress: (done, total) => done > total / 2 && stop.abort(new Error('enough')),
      }),
    ).rejects.toThrow('enough')
    expect(device.stats.liveBuffers).toBe(0)
    const broken = new Uint8Array(readFileSync(await writeModel(out('small.safetensors'), base)))
    new DataView(broken.buffer).setFloat32(broken.length - 4, NaN, true)
    await expect(Tweedie.load(broken, { device })).rejects.toMatchObject({ code: 'non-finite' })
    expect(device.stats.liveBuffers).toBe(0)
    // One of its own goes, too.
    const request = vi.spyOn(Device, 'request')
    try {
      await expect(Tweedie.load(broken, cpu)).rejects.toMatchObject({ code: 'non-finite' })
      const own = await (request.mock.results[0].value as Promise<Device>)
      expect(() => own.tensor([1])).toThrow('the device was disposed')
    } finally {
      request.mockRestore()
    }
  })

  test('a forgotten await is asked about', async () => {
    const model = Tweedie.load(await writeModel(out('small.safetensors'), base), cpu)
    expect(() => (model as unknown as Tweedie).sample()).toThrow(
      'Tweedie.sample: this is still the Promise of a Tweedie: did you forget await?',
    )
    ;(await model).dispose()
  })

  test('after dispose it says so, in the middle of a loop too', async () => {
    const model = await Tweedie.load(await writeModel(out('small.safetensors'), base), cpu)
    await expect(
      (async () => {
        for await (const _ of model.sample({ number: 1, steps: 2 })) model.dispose()
      })(),
    ).rejects.toMatchObject({ code: 'disposed', message: 'sample: the model was disposed.' })
    await expect(model.score(new Float32Array(192))).rejects.toThrow('score: the model was disposed.')
    await expect(last(model, { number: 1, steps: 2 })).rejects.toThrow('sample: the model was disposed.')
    model.dispose()
  })

  test.each<[string, () => Promise<unknown>, RegExp]>([
    [
      'a page is told where the set is',
      () => TweedieOfPages.load('bccd32'),
      /a page has to be told where it finds them: .*\{ weights: '\/weights\/' \}/,
    ],
    [
      'a path where there is no page and no Node',
      () => TweedieOfPages.load('model.safetensors'),
      /^model\.safetensors is no URL, .*'tweedie\/node'\.$/,
    ],
    [
      'the set is not where it is said',
      () => Tweedie.load('bccd32', { weights: out('nowhere') }),
      /^cannot read .*nowhere\/bccd32-adm\.safetensors/,
    ],
    ['no such file', () => Tweedie.load(out('none.safetensors')), /^cannot read .*none\.safetensors/],
    [
      'the name of a published model',
      () => Tweedie.load('64x64_diffusion'),
      /^cannot read 64x64_diffusion: .* 64x64_diffusion is the name of a published model, .*\{ preset: '64x64_diffusion' \}/,
    ],
    [
      'almost the shipped set',
      () => Tweedie.load('bccd23'),
      /^cannot read bccd23: .*The shipped set is called 'bccd32'\.$/,
    ],
    [
      'flags that the set contradicts',
      () => Tweedie.load('bccd32', { flags: '--image_size 64' }),
      /bccd32-adm\.safetensors(?!.*not beside).*the flags say otherwise/,
    ],
    ['a feature net', () => Tweedie.load(shipped('features')), /a feature net, which measures distances/],
    ['a marginal', () => Tweedie.load(shipped('marginal')), /the marginal .* tweedie sample --marginal FILE begins/],
    [
      'a state',
      async () => Tweedie.load(await other('w', { kind: 'tweedie-training' })),
      /the state of a training run/,
    ],
    ['a ViT', async () => Tweedie.load(await other('w', { kind: 'vit' })), /a vision transformer, in whose features/],
    [
      'LPIPS',
      async () => Tweedie.load(await other('lin0.model.1.weight')),
      /weights of LPIPS, which measure distances/,
    ],
    [
      'a ResNet',
      async () => Tweedie.load(await other('layer1.0.conv1.weight')),
      /a network that classifies photographs/,
    ],
    [
      'a controller for its signal',
      () => Tweedie.load('bccd32', { signal: new AbortController() as never }),
      /^Tweedie\.load: signal: expected an AbortSignal/,
    ],
    [
      'a classifier',
      async () => Tweedie.load(await writeModel(out('classifier.safetensors'), classifier)),
      /is a classifier, which draws nothing/,
    ],
    [
      'an upsampler',
      async () => Tweedie.load(await writeModel(out('upsampler.safetensors'), upsampler)),
      /is a super-resolution U-Net/,
    ],
    [
      'a U-Net for a classifier',
      async () =>
        Tweedie.load(await writeModel(out('small.safetensors'), base), {
          minorityClassifier: out('small.safetensors'),
        }),
      /a U-Net, but minorityClassifier takes a classifier/,
    ],
    ['a distance that is none', () => Tweedie.load('bccd32', { distance: 'l0.5' }), /^distance: expected 'l2'/],
    [
      'LPIPS without weights',
      () => Tweedie.load('bccd32', { distance: 'lpips' }),
      /^distance: LPIPS needs its weights/,
    ],
    [
      'an option that is none',
      () => Tweedie.load('bccd32', { clasifier: 'x' } as object),
      /^Tweedie\.load: unknown option "clasifier"/,
    ],
    [
      'no file at all',
      () => Tweedie.load(3 as never),
      /^Tweedie\.load: expected a path, a URL, a Blob or the bytes of a file, found 3\.$/,
    ],
    [
      'a path of no letters',
      () => Tweedie.load(''),
      /^Tweedie\.load: expected a path, a URL, a Blob or the bytes of a file, found ""\.$/,
    ],
    [
      'a promise of a file',
      () => Tweedie.load(Promise.resolve('x') as never),
      /found a Promise: did you forget await\?$/,
    ],
    ['a batch of none', () => Tweedie.load('bccd32', { batch: 0 }), /^batch: expected a whole number/],
  ])('%s: said before a device is asked for', async (_, call, message) => {
    await expect(call()).rejects.toMatchObject({ code: 'option', message: expect.stringMatching(message) })
  })

  test('arrays of NumPy are told from weights', async () => {
    const statistics = zipSync({ 'mu.npy': Uint8Array.of(1), 'sigma.npy': Uint8Array.of(1) }, { level: 0 })
    await expect(Tweedie.load(statistics)).rejects.toMatchObject({
      code: 'format',
      message: expect.stringContaining('found arrays of NumPy (mu.npy, sigma.npy), as in statistics'),
    })
  })
})
