/**
 * The noisy classifiers beside that of minority levels: of attributes, of classes, of real and synthetic images. The
 * sigmoid loss against float64, tables of attributes, and each kind on the command line, from data to a guided sample.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { attributesOf, encodePng, joinSets, parseAttributes, subset, trainingBatch } from '../../src/data/index.ts'
import { openImages } from '../../src/data/index.node.ts'
import { classifierMetadata, GaussianDiffusion } from '../../src/diffusion/index.ts'
import { openCheckpoint, openFile } from '../../src/io/index.node.ts'
import { Classifier } from '../../src/nn/index.ts'
import { grad, hostRandomNormal, splitSeed, type Tensor } from '../../src/tensor/index.ts'
import { classifierTask, evaluateClassifier, trainPurposes, type ClassifierImages } from '../../src/train/index.ts'
import { temporaryFolder, tweedie } from '../cli.ts'
import { npy, npz } from '../data-fixtures.ts'
import { expectGradient } from '../differences.ts'
import { hashes, networkParameters } from '../formula.ts'
import { le } from '../io-fixtures.ts'
import { deviceTest, expectClose, numbers, onCPU } from '../op.ts'
import { base, baseOfClasses, classifier, writeModel } from '../small-models.ts'
import { encoderConfig } from '../spec-models.ts'

describe('attributes: the loss', () => {
  const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000 })
  const config = { ...encoderConfig, outChannels: 3 }
  const has = [1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0]
  const batch: ClassifierImages = { images: Float32Array.from(numbers(4 * 192, 3)), labels: has }
  const load = async (): Promise<ClassifierImages> => batch

  deviceTest('is the mean of K binary cross-entropies, and so are its gradients', async (device) => {
    using network = new Classifier(
      config,
      await networkParameters(device, { kind: 'classifier', ...config }, hashes(7)),
    )
    const task = classifierTask(device, { classifier: network, diffusion, load, seed: 11, loss: 'binaryCrossEntropy' })
    const draw = task.draw(batch, 8)
    expect(draw.t, 'a step an image, not a step a label').toHaveLength(4)

    // By hand, in float64 from the logits on.
    const { sqrtAlphaBar, sqrtOneMinusAlphaBar } = diffusion.process.tables
    const noise = hostRandomNormal({ seed: splitSeed(11), draw: 0, purpose: trainPurposes.noise }, [8, 9, 10, 11], 192)
    using x = device.tensor(
      batch.images.map(
        (v, i) =>
          sqrtAlphaBar[draw.t[Math.floor(i / 192)]] * v + sqrtOneMinusAlphaBar[draw.t[Math.floor(i / 192)]] * noise[i],
      ),
      [4, 3, 8, 8],
    )
    using out = network.forward(x, draw.t)
    const logits = Array.from(await out.read())
    const of = (n: number, value: (z: number, has: number) => number): number =>
      [0, 1, 2].reduce((sum, k) => sum + value(logits[3 * n + k], has[3 * n + k]), 0) / 3
    const loss = [0, 1, 2, 3].map((n) => of(n, (z, has) => Math.log1p(Math.exp(has === 1 ? -z : z))))
    const acc = [0, 1, 2, 3].map((n) => of(n, (z, has) => Number(z > 0 === (has === 1))))

    using weights = device.tensor([0.5, 2, 1, 0.25])
    const terms: Record<string, Tensor> = {}
    const made = device.scope(() =>
      grad(
        () => {
          const { loss, terms: others } = task.losses(draw)
          for (const [key, term] of Object.entries(others)) terms[key] = device.keep(term)
          return loss
        },
        [...network.parameters.values()],
        weights,
      ),
    )
    expectClose(await made.value.read(), loss, 1e-5, 'loss')
    expect(Object.keys(terms)).toEqual(['acc'])
    expectClose(await terms.acc.read(), acc, 1e-6, 'accuracy')
    const keys = [...network.parameters.keys()]
    for (const key of ['input_blocks.0.0.weight', 'out.2.c_proj.bias']) {
      await expectGradient(
        network.parameters.get(key)!,
        (moved) => {
          const other = new Classifier(config, new Map(network.parameters).set(key, moved))
          return classifierTask(device, {
            classifier: other,
            diffusion,
            load,
            seed: 11,
            loss: 'binaryCrossEntropy',
          }).losses(draw).loss
        },
        await made.gradients[keys.indexOf(key)].read(),
        [0.5, 2, 1, 0.25],
      )
    }
    for (const tensor of [made.value, ...made.gradients, ...Object.values(terms)]) tensor.dispose()
  })

  deviceTest(
    'is evaluated; a label that is neither, or too few of them, is refused',
    async (device) => {
      using network = new Classifier(
        config,
        await networkParameters(device, { kind: 'classifier', ...config }, hashes(7)),
      )
      const options = { classifier: network, diffusion, seed: 5, loss: 'binaryCrossEntropy' } as const
      const slice = async (first: number, count: number): Promise<ClassifierImages> => ({
        images: batch.images.slice(192 * first, 192 * (first + count)),
        labels: has.slice(3 * first, 3 * (first + count)),
      })
      const whole = await evaluateClassifier(device, { ...options, count: 4, load: slice })
      const parts = await evaluateClassifier(device, { ...options, count: 4, load: slice, batch: 4 })
      expectClose(parts.lossByQuartile, whole.lossByQuartile, 1e-5, 'one image at a time')
      expect(whole.acc1).toBeGreaterThan(0)
      expect(whole.acc1 * 48, 'of 4 images, 4 steps, 3 attributes').toBeCloseTo(Math.round(whole.acc1 * 48), 4)
      const task = classifierTask(device, { ...options, load })
      const lossesOf = (labels: number[]) => (): Tensor =>
        device.scope(() => task.losses(task.draw({ ...batch, labels }, 0)).loss)
      expect(lossesOf(has.map((v) => 2 * v - 1))).toThrow('Attributes are 1, or 0 for none, found -1')
      expect(lossesOf(has.slice(1))).toThrow()
    },
    onCPU,
  )
})

const at = temporaryFolder()
const file = (name: string): string => at(`${name}.safetensors`)
const count = 24

/** Pictures of 8 x 8, bright or dark by `brightness`, as PNG files called 000001.png and so on in two folders. */
function writePictures(
  folder: string,
  n: number,
  brightness: (i: number) => number,
  seed = 0,
  into = (i: number): string => (i % 2 === 0 ? 'even' : 'odd'),
): string {
  for (let i = 0; i < n; i++) {
    const path = join(at(folder), into(i))
    mkdirSync(path, { recursive: true })
    const pixels = Uint8Array.from(numbers(192, seed + i), (v) => brightness(i) + 60 * v)
    writeFileSync(
      join(path, `${String(i + 1).padStart(6, '0')}.png`),
      encodePng({ width: 8, height: 8, channels: 3, data: pixels }),
    )
  }
  return at(folder)
}

/** CelebA's form: Bright of the second half, Even of every other one, Male of all, Bald of none. */
const celebaRow = (_: unknown, i: number): string =>
  `${String(i + 1).padStart(6, '0')}.jpg ${i < count / 2 ? -1 : ' 1'} ${i % 2 === 0 ? ' 1' : '-1'}  1 -1`
const celeba = `${count}\nBright Even Male Bald\n${Array.from({ length: count }, celebaRow).join('\n')}\n`

describe('attributes: tables', () => {
  test("CelebA's list, and a CSV with or without a name for its first column", () => {
    const table = parseAttributes(celeba, 'list')
    expect([table.attributes, table.rows.size]).toEqual([['Bright', 'Even', 'Male', 'Bald'], count])
    expect([...table.rows.get('000001.jpg')!, ...table.rows.get('000024.jpg')!]).toEqual([0, 1, 1, 0, 1, 0, 1, 0])
    for (const header of ['image_id, Bald ,Hat', 'Bald,Hat']) {
      const { attributes, rows } = parseAttributes(`\uFEFF${header}\r\na/1.png,1,0\r\n\r\na/2.png, -1,1.0\r\n`, 'csv')
      expect([attributes, [...rows]]).toEqual([
        ['Bald', 'Hat'],
        [
          ['a/1.png', Uint8Array.of(1, 0)],
          ['a/2.png', Uint8Array.of(0, 1)],
        ],
      ])
    }
  })

  test.each([
    ['', /list: is empty/],
    ['Bald Hat\n', /list: has no image/],
    ['Bald Hat\na.png 1 -1\nb.png 1\n', /line 3 has 1 values for 2 attributes/],
    ['id,Bald\na.png,yes\n', /line 2 says "yes"\. Expected a line of attribute names/],
    ['id,Bald\na.png,1\na.png,0\n', /line 3 is the second of a\.png/],
    ['3\nBald\na.png 1\n', /says that it has 3 images, and has 1: is it cut short/],
  ])('%j is refused', (text, message) => expect(() => parseAttributes(text, 'list')).toThrow(message))

  test('images are found by path, by file name, and whatever their ending', async () => {
    const set = await openImages(writePictures('matched', 4, () => 100))
    const names = Array.from({ length: 4 }, (_, i) => set.imageName(i))
    expect(names).toEqual(['even/000001.png', 'even/000003.png', 'odd/000002.png', 'odd/000004.png'])
    const match = (rows: string[]) =>
      attributesOf(
        parseAttributes(`id,Bald,Hat\n${rows.map((row, i) => `${row},${i % 2},1`).join('\n')}`, 'csv'),
        set,
        ['Hat', 'Bald'],
      )
    expect(match(['even/000003.png', '000002.png', '000001.jpg'])).toEqual({
      indices: [0, 1, 2],
      values: Uint8Array.of(1, 0, 1, 0, 1, 1),
    })
    expect(() => match(['x.png'])).toThrow(
      /csv has no line for any image of .*matched: it has x\.png, and the images are called even\/000001\.png/,
    )
    expect(() => attributesOf(parseAttributes('Bald\n000001.jpg 1', 'list'), set, ['Bold'])).toThrow(
      'list has no attribute Bold. It has Bald.',
    )
    mkdirSync(join(at('matched'), 'more'))
    writeFileSync(join(at('matched'), 'more', '000001.png'), readFileSync(join(at('matched'), 'even', '000001.png')))
    const again = await openImages(at('matched'))
    expect(() => attributesOf(parseAttributes('Bald\n000001.png 1', 'list'), again, ['Bald'])).toThrow(
      /000001\.png may be even\/000001\.png or more\/000001\.png/,
    )
  })

  test('two sets as one', async () => {
    const [a, b] = [
      await openImages(writePictures('first', 3, () => 100)),
      await openImages(writePictures('second', 2, () => 50, 9)),
    ]
    const both = joinSets([a, b])
    expect([both.length, both.channels, both.labels, both.sizeOf(4)]).toEqual([
      5,
      3,
      undefined,
      { width: 8, height: 8 },
    ])
    expect(both.imageName(3)).toBe(`${at('second')}/even/000001.png`)
    expect(await both.read(2)).toEqual(await a.read(2))
    expect(await both.read(3)).toEqual(await b.read(0))
    expect(new Set([both, joinSets([b, a]), a, b].map(({ fingerprint }) => fingerprint)).size).toBe(4)
    await expect(both.read(5)).rejects.toThrow(/expected an index below 5, found 5/)
    const { indices, images } = await trainingBatch(subset(both, [3, 1]), 0, 2, { size: 8, channels: 3, seed: 1 })
    expect([indices.toSorted(), images.length]).toEqual([[0, 1], 384])
  })
})

/** Options with their values; `true`: a switch; null: left out. */
type Options = Readonly<Record<string, string | true | null>>
const words = (options: Options): string[] =>
  Object.entries(options).flatMap(([key, value]) =>
    value === null ? [] : value === true ? [`--${key}`] : [`--${key}`, value],
  )
const small = {
  'classifier-width': '32',
  'classifier-depth': '1',
  'classifier-channel-mult': '1,2',
  'classifier-head-channels': '16',
  'classifier-attention-resolutions': '4',
}
const common = {
  images: '8',
  batch: '4',
  'save-every': '2',
  'evaluate-on': '4',
  'log-every': '1',
  threads: '1',
  backend: 'cpu',
}
const train = (out: string, options: Options): string[] => [
  'train',
  'classifier',
  ...words({ data: at('images'), model: file('base'), ...small, ...common, out: at(out), ...options }),
]
const attributes = { of: 'attributes', attributes: 'Bright,Even', 'attributes-file': at('list.txt') }
const draw = (out: string, model: string, ...options: string[]): string[] => [
  'sample',
  '--model',
  file(model),
  ...options,
  '--respacing',
  '2',
  '--number',
  '2',
  '--seed',
  '3',
  '--threads',
  '1',
  '--backend',
  'cpu',
  '--out',
  at(out),
]
const modelOf = (run: string): string => join(at(run), 'model.safetensors')

async function run(argv: string[]): Promise<{ out: string; err: string }> {
  const { code, out, err } = await tweedie(argv)
  expect(code, err.join('\n')).toBe(0)
  return { out: out.join('\n'), err: err.join('\n') }
}

async function refused(argv: string[], message: RegExp): Promise<void> {
  const { code, err } = await tweedie(argv)
  expect(err.at(-1), argv.join(' ')).toMatch(message)
  expect(code).toBe(1)
}

async function metadataOf(path: string): Promise<Readonly<Record<string, string>>> {
  const checkpoint = await openCheckpoint(await openFile(path))
  await checkpoint.close()
  return checkpoint.metadata
}

const picture = (folder: string): string => readFileSync(join(at(folder), 'sample-0000.png'), 'base64')

describe('on the command line', () => {
  beforeAll(async () => {
    await writeModel(file('base'), base)
    await writeModel(file('classes'), { ...baseOfClasses, numClasses: 2 })
    await writeModel(file('extractor'), classifier)
    await writeModel(file('levels'), classifier, {
      metadata: {
        minority: JSON.stringify({
          levels: 10,
          thresholds: Array.from({ length: 10 }, (_, i) => 0.1 * (i + 1)),
          within: 'all',
          extractor: { name: 'extractor.safetensors', sha256: 'abc' },
          schedule: 'cosine',
          diffusionSteps: 1000,
          rescaleTimesteps: false,
        }),
      },
    })
    await writeModel(file('broken'), classifier, { metadata: { classifier: '{"of":"cats"}' } })
    for (const of of ['classes', 'attributes', 'real'])
      await writeModel(file(`tells-${of}`), classifier, { metadata: { classifier: JSON.stringify({ of, names: [] }) } })
    writePictures(
      'one',
      4,
      () => 90,
      0,
      () => 'even',
    )
    writePictures('images', count, (i) => (i < count / 2 ? 60 : 160))
    writeFileSync(at('list.txt'), celeba)
    const column = (values: number[]): Uint8Array =>
      npy(
        '<i4',
        [8],
        values.flatMap((v) => le(v, 4)),
      )
    writeFileSync(
      at('arrays.npz'),
      npz({
        images: npy('|u1', [8, 8, 8, 3], new Uint8Array(8 * 192)),
        Bald: column([1, 0, 0, 1, 0, 0, 1, 0]),
        sizes: column([3, 4, 5, 6, 7, 8, 9, 1]),
      }),
    )
    await run(draw('plain', 'base'))
    await run(draw('plain-classes', 'classes', '--labels', '1,0'))
  }, 60_000)

  test('classes: for classifier guidance', async () => {
    const { err, out } = await run(train('of-classes', { of: 'classes', model: file('classes') }))
    expect(err).toMatch(/2 classes of 11 to 12 training images, 1 held back/)
    expect(out).toMatch(/sample takes --classifier .*of-classes\/model\.safetensors/)
    const metadata = await metadataOf(modelOf('of-classes'))
    expect(classifierMetadata(metadata, 'x')).toEqual({ of: 'classes', names: ['even', 'odd'] })
    expect(metadata.minority).toBeUndefined()
    await run(
      draw(
        'by-classes',
        'classes',
        '--labels',
        '1,0',
        '--classifier',
        modelOf('of-classes'),
        '--classifier-scale',
        '300',
      ),
    )
    expect(picture('by-classes')).not.toBe(picture('plain-classes'))
  }, 60_000)

  test('real and synthetic: with the classes, the two files of Sehwag et al.', async () => {
    const { err, out } = await run(train('of-real', { of: 'real', synthetic: at('plain'), model: file('classes') }))
    expect(err).toMatch(/25 training images, 23 real, 2 synthetic, 1 held back/)
    expect(out).toContain('sample takes --sehwag-discriminator')
    expect(classifierMetadata(await metadataOf(modelOf('of-real')), 'x')).toEqual({
      of: 'real',
      names: ['real', 'synthetic'],
    })
    await run(train('space', { of: 'classes', images: '4', 'evaluate-on': '0' }))
    await run(
      draw(
        'sehwag',
        'classes',
        '--labels',
        '1,0',
        '--method',
        'sehwag',
        '--sehwag-data',
        at('images'),
        '--sehwag-classifier',
        modelOf('space'),
        '--sehwag-discriminator',
        modelOf('of-real'),
      ),
    )
    expect(picture('sehwag')).not.toBe(picture('plain-classes'))
  }, 60_000)

  test('attributes of a table, and of arrays of an .npz', async () => {
    const { err } = await run(train('of-attributes', attributes))
    expect(err).toMatch(/23 training images, 1[12] Bright, 1[12] Even, 1 held back/)
    expect(readFileSync(join(at('of-attributes'), 'log.csv'), 'utf8').split('\n')[0]).toMatch(
      /^step,images,loss,.*,acc,acc_q0/,
    )
    expect(readFileSync(join(at('of-attributes'), 'report.html'), 'utf8')).toContain(
      'Training a classifier of attributes',
    )
    expect(classifierMetadata(await metadataOf(modelOf('of-attributes')), 'x')).toEqual({
      of: 'attributes',
      names: ['Bright', 'Even'],
    })
    await run(
      draw(
        'by-attributes',
        'base',
        '--method',
        'attributes',
        '--attributes-classifier',
        modelOf('of-attributes'),
        '--attributes-scale',
        '300',
      ),
    )
    expect(picture('by-attributes')).not.toBe(picture('plain'))

    const arrays = { of: 'attributes', data: at('arrays.npz'), images: '4', 'evaluate-on': '0' }
    await run(train('of-arrays', { ...arrays, attributes: 'Bald', validate: '0' }))
    await refused(
      train('never', { ...arrays, attributes: 'sizes' }),
      /the array sizes is no attribute, 1 or 0 for each image: found 3 for image 0/,
    )
  }, 60_000)

  test('a run of attributes learns; a run of something else does not go on with it', async () => {
    const options = {
      ...attributes,
      attributes: 'Bright',
      images: '128',
      batch: '8',
      lr: '3e-3',
      'save-every': '8',
      'evaluate-on': '24',
      validate: '0',
    }
    await run(train('whole', options))
    const last = readFileSync(join(at('whole'), 'log.csv'), 'utf8')
      .trim()
      .split('\n')
      .slice(-4)
      .map((line) => Number(line.split(',')[2]))
    expect(last.reduce((a, b) => a + b) / 4, 'ln 2 = 0.693 by guessing').toBeLessThan(0.6)
    await refused(
      train('whole', { ...options, of: 'classes', resume: true }),
      /is of a run with other settings: .*of "attributes", now "classes"/,
    )
  }, 60_000)

  const guided =
    (option: string, name: string, ...more: string[]) =>
    (): string[] =>
      draw('never', 'base', option, file(name), ...more)
  test.each<[string, () => string[], RegExp]>([
    [
      'a kind that is none',
      () => train('never', { of: 'real-ness' }),
      /--of: expected levels, classes, attributes, real, found "real-ness"/,
    ],
    [
      'classes of data without',
      () => train('never', { of: 'classes', data: at('arrays.npz') }),
      /--of classes needs the class of each image: sub-folders/,
    ],
    [
      'classes of which there is one',
      () => train('never', { of: 'classes', data: at('one') }),
      /needs images of two classes or more to train on, found 4 of even/,
    ],
    [
      'a classifier of classes that is told the class',
      () => train('never', { of: 'classes', 'class-cond': true }),
      /--class-cond is for classifiers of levels and of attributes/,
    ],
    [
      'features for what reads pixels',
      () => train('never', { of: 'classes', extractor: file('extractor') }),
      /--extractor is for minority classifiers; a classifier of classes reads pixels/,
    ],
    [
      'attributes without their names',
      () => train('never', { of: 'attributes' }),
      /--attributes is required: which attributes/,
    ],
    [
      'attributes named twice',
      () => train('never', { ...attributes, attributes: 'Even,Even' }),
      /--attributes: Even is named twice/,
    ],
    [
      'an attribute that is not in the table',
      () => train('never', { ...attributes, attributes: 'Even,Hat' }),
      /list\.txt has no attribute Hat\. It has Bright, Even, Male, Bald/,
    ],
    [
      'an attribute of every image',
      () => train('never', { ...attributes, attributes: 'Even,Male' }),
      /every image to train on has the attribute Male: nothing can be learnt of it/,
    ],
    [
      'an attribute of no image',
      () => train('never', { ...attributes, attributes: 'Bald' }),
      /no image to train on has the attribute Bald/,
    ],
    [
      'a table that is not there',
      () => train('never', { ...attributes, 'attributes-file': at('nothing.txt') }),
      /cannot read .*nothing\.txt/,
    ],
    [
      'data whose arrays are no attributes',
      () => train('never', { of: 'attributes', attributes: 'Hat', data: at('arrays.npz') }),
      /arrays\.npz has no array Hat, only Bald, sizes: --attributes-file names the table/,
    ],
    [
      'no table for a folder',
      () => train('never', { ...attributes, 'attributes-file': null }),
      /images has no array Bright: --attributes-file names the table/,
    ],
    [
      'real without synthetic images',
      () => train('never', { of: 'real' }),
      /--synthetic is required: synthetic images/,
    ],
    [
      'real images as synthetic ones',
      () => train('never', { of: 'real', synthetic: at('images') }),
      /--data and --synthetic are the same images/,
    ],
    [
      'levels without labels',
      () => train('never', {}),
      /--labels is required: minority levels .*--of classes, attributes or real needs none/,
    ],
    [
      'a classifier of attributes for classes',
      guided('--classifier', 'tells-attributes', '--target', '1'),
      /a classifier of attributes \(train classifier --of attributes\), but --classifier takes one of classes/,
    ],
    [
      'one of classes for levels',
      guided('--minority-classifier', 'tells-classes'),
      /a classifier of classes .*, but --minority-classifier takes one of minority levels/,
    ],
    [
      'one of real images for attributes',
      guided('--attributes-classifier', 'tells-real'),
      /a classifier of real and synthetic images .*, but --attributes-classifier takes one of attributes/,
    ],
    [
      'levels for classes',
      guided('--classifier', 'levels', '--target', '1'),
      /a classifier of minority levels .*, but --classifier takes one of classes/,
    ],
    [
      'a broken record',
      guided('--classifier', 'broken', '--target', '1'),
      /broken\.safetensors: its metadata "classifier" does not say what the outputs stand for/,
    ],
  ])('refused: %s', async (_, argv, message) => {
    await refused(argv(), message)
  })

  test('info says what files of training are', async () => {
    expect((await run(['info', file('levels')])).out).toMatch(
      /tells +10 minority levels, cut within all images: for --minority-classifier\n +scores +up to 0\.1000 in the lowest level, 1\.000 in the rarest\n +reads +features of extractor\.safetensors, sha256 abc\n +trained on +cosine, 1000 steps\n/,
    )
    await run(train('told', attributes))
    const told = (await run(['info', modelOf('told')])).out
    expect(told).toMatch(
      /tells +attributes: Bright, Even\n +trained +8 images, 2 steps, on data of the fingerprint [0-9a-f]{64}\n/,
    )
    const state = (await run(['info', join(at('told'), 'state.safetensors')])).out
    expect(state).toMatch(
      /kind +state of a run of train classifier: --resume goes on with it; its model is model\.safetensors\n +step +2 of 2\n +images seen +8 of 8, 4 a step\n +loss +0\.\d+\n/,
    )
    expect(state).toMatch(/network +classifier\n/)
    expect(state).toMatch(/tells +attributes: Bright, Even/)
  })
})
