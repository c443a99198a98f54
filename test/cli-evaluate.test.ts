/** `tweedie evaluate` on small folders: what it prints and writes, what it computes once, and what it refuses. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseHTML } from 'linkedom'
import { blocks } from './blocks.ts'
import { npy, npz } from './data-fixtures.ts'
import { encodePng } from '../src/data/index.ts'
import { openImages } from '../src/data/index.node.ts'
import { encodeNpy } from '../src/data/npy.ts'
import { bytesSource } from '../src/io/source.ts'
import { encodeStatistics, readStatistics, type Evaluation, type MeasureName } from '../src/metrics/index.ts'
import { encodeClassifierMetadata } from '../src/diffusion/index.ts'
import { temporaryFolder, tweedie, watchedDevice } from './cli.ts'
import { writePictures } from './forty-images.ts'
import { numbers } from './op.ts'
import { classifier, writeModel } from './small-models.ts'
import { shipped } from '../src/cli/shipped.ts'

const at = temporaryFolder()
const usual = process.env.XDG_CACHE_HOME
beforeAll(() => {
  process.env.XDG_CACHE_HOME = at('cache')
  writePictures(at('real'))
  // Noisy ones, and copies of real ones.
  mkdirSync(at('noise'))
  for (let i = 0; i < 12; i++) {
    const data = Uint8Array.from(numbers(32 * 32 * 3, i), (value) => 128 + 40 * value)
    writeFileSync(at(`noise/${i}.png`), encodePng({ width: 32, height: 32, channels: 3, data }))
  }
  mkdirSync(at('copies'))
  for (const name of readdirSync(at('real')).slice(4, 24)) cpSync(at(`real/${name}`), at(`copies/${name}`))
})
afterAll(() => {
  if (usual === undefined) delete process.env.XDG_CACHE_HOME
  else process.env.XDG_CACHE_HOME = usual
})

const evaluate = (...argv: string[]) => tweedie(['evaluate', '--backend', 'cpu', ...argv, '--resamples', '20'])
const result = (out: string): Evaluation => JSON.parse(readFileSync(at(`${out}/evaluation.json`), 'utf8')) as Evaluation
const value = ({ measurements }: Evaluation, measure: MeasureName, method: number, space: string | null = 'features') =>
  measurements.find((row) => row.measure === measure && row.space === space)?.values[method]?.value

describe('evaluate', () => {
  const argv = [
    '--samples',
    at('noise'),
    '--samples',
    at('copies'),
    '--real',
    at('real'),
    '--features',
    'features',
    '--features',
    'pixels',
  ]

  test('puts methods side by side in every space', async () => {
    const { code, out, err } = await evaluate(...argv, '--out', at('all'))
    expect(code, err.join('\n')).toBe(0)
    expect(readdirSync(at('all')).sort()).toEqual(['evaluation.json', 'images.csv', 'index.html'])
    expect(readFileSync(at('all/index.html'), 'utf8')).toContain('<title>Evaluation of noise, copies</title>')
    expect(readFileSync(at('all/index.html'), 'utf8')).toContain(
      '<th>exact copies of real images</th><td>0</td><td>20</td><td>0</td>',
    )
    const found = result('all')
    expect(found.methods.map(({ name, images }) => [name, images])).toEqual([
      ['noise', 12],
      ['copies', 20],
    ])
    expect(found.spaces.map(({ name }) => name)).toEqual(['features', 'pixels'])
    expect(found.reference).toEqual({ images: 40, by: null, space: null })
    for (const space of ['features', 'pixels']) {
      expect(value(found, 'precision', 1, space)).toBe(1)
      expect(value(found, 'frechet', 0, space)).toBeGreaterThan(value(found, 'frechet', 1, space)!)
      expect(value(found, 'avgknn', 0, space)).toBeGreaterThan(value(found, 'avgknn', 1, space)!)
    }
    expect(value(found, 'brightness', 0, null)).toBeCloseTo(0.5, 1)
    const text = out.join('\n')
    for (const { name, dimension, preprocessing, weights } of found.spaces) {
      expect(text).toContain(`${name}: ${dimension} features; ${preprocessing}; weights ${weights}`)
    }
    expect(text).toMatch(/^exact copies of real images +0 +20 +0$/m)
    expect(text).toMatch(/^precision ↑ +\S+ \(\S+ to \S+\) +1\.000 \(1\.000 to 1\.000\)$/m)
    expect(found.warnings.join('\n')).toContain('different numbers of samples (noise 12, copies 20)')
    expect(text).toMatch(/\n\nHow rare samples are is read with precision: noise is rarer than any image\. The Rarity/)
    // The notes in the terminal are those of the page, one a cause, and of the real images one a space.
    const told = err.flatMap((line) => /^note(?: on \w+)?: (.*)$/.exec(line)?.[1] ?? [])
    const { document } = parseHTML(readFileSync(at('all/index.html'), 'utf8'))
    expect(told).toEqual([...document.querySelectorAll('details.note li')].map((item) => item.textContent))
    expect(err.filter((line) => line.startsWith('note on features: The covariance'))).toEqual([
      expect.stringMatching(
        /images has rank 39 of the (\d+) features that vary \(of 232\): 40 of them cannot fill \1 dimensions: .*KID/,
      ),
    ])
    expect(told.filter((note) => note.startsWith('The covariance of the real images')).length).toBe(1)
    // Copies have their originals nearest, without a held-out set.
    const nearest = found.shown.find(({ method, space }) => method === 1 && space === 'pixels')!.nearest
    expect(nearest.map(({ name, nearest: [{ name: real, distance }] }) => [name === real, distance])).toEqual(
      nearest.map(() => [true, 0]),
    )
  })

  test('says which pictures of the real images it leaves out, and that held-out ones are among them', async () => {
    cpSync(at('real'), at('odd'), { recursive: true })
    writeFileSync(at('odd/notes.webp'), 'no picture')
    mkdirSync(at('held'))
    for (const name of readdirSync(at('real')).slice(0, 5)) cpSync(at(`real/${name}`), at(`held/${name}`))
    for (const name of readdirSync(at('noise')).slice(0, 4)) cpSync(at(`noise/${name}`), at(`held/noise-${name}`))
    const { code, err } = await evaluate(
      '--samples',
      at('noise'),
      '--real',
      at('odd'),
      '--held-out',
      at('held'),
      '--out',
      at('odd-out'),
    )
    expect(code, err.join('\n')).toBe(0)
    expect(err).toContain(`${at('odd')}: 1 file is no PNG or JPEG and not used: notes.webp.`)
    expect(err).toContain(
      'note on pixels: held-out: 5 of 9 images are among the real ones too (distance 0), which hides copies from ' +
        'C_T: hold out others.',
    )
  })

  test('--skip-bad leaves out what is no image, on either side, and says so in its record', async () => {
    for (const name of ['noise', 'real']) {
      cpSync(at(name), at(`some-${name}`), { recursive: true })
      writeFileSync(at(`some-${name}/bad.png`), 'hello')
    }
    const some = ['--samples', at('some-noise'), '--real', at('some-real'), '--out', at('some')]
    const refused = await evaluate(...some)
    expect([refused.code, refused.err.join()]).toEqual([1, expect.stringMatching(/some-noise\/bad\.png: neither/)])
    const { code, out, err } = await evaluate(...some, '--skip-bad')
    expect([code, out.length > 0], err.join('\n')).toEqual([0, true])
    const { methods, real, warnings } = result('some')
    expect([methods[0], real].map(({ images, leftOut }) => [images, leftOut])).toEqual([
      [12, ['bad.png']],
      [40, ['bad.png']],
    ])
    expect(warnings.filter((text) => text.includes('left out'))).toHaveLength(2)
  })

  test('has a row for every image', () => {
    const [head, ...rows] = readFileSync(at('all/images.csv'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((row) => row.split(','))
    expect(head.slice(0, 10)).toEqual([
      'set',
      'image',
      'brightness',
      'features_avgknn',
      'features_lof',
      'features_rarity',
      'features_realism',
      'features_balls',
      'features_nearest',
      'features_distance',
    ])
    expect(rows.map(([set]) => set)).toEqual([
      ...Array<string>(12).fill('noise'),
      ...Array<string>(20).fill('copies'),
      ...Array<string>(40).fill('real'),
    ])
    expect(rows.every((row) => row.length === 17)).toBe(true)
    const copies = rows.filter(([set]) => set === 'copies')
    expect(copies.map((row) => [row[8], Number(row[9])])).toEqual(copies.map((row) => [row[1], 0]))
    const mean = rows.slice(0, 12).reduce((sum, row) => sum + Number(row[3]), 0) / 12
    expect(mean).toBeCloseTo(value(result('all'), 'avgknn', 0)!, 12)
  })

  test('computes features once, whatever a folder is called', async () => {
    const before = readFileSync(at('all/evaluation.json'), 'utf8')
    const again = await evaluate(...argv, '--out', at('all'))
    expect([again.code, again.err.filter((line) => line.startsWith('Features'))]).toEqual([0, []])
    expect(readFileSync(at('all/evaluation.json'), 'utf8')).toBe(before)
    cpSync(at('noise'), at('renamed'), { recursive: true })
    const renamed = await evaluate(
      '--samples',
      at('renamed'),
      '--real',
      at('real'),
      '--features',
      'features',
      '--out',
      at('renamed-out'),
    )
    expect([renamed.code, renamed.err.filter((line) => line.startsWith('Features'))]).toEqual([0, []])
    expect(value(result('renamed-out'), 'kid', 0)).toBe(value(result('all'), 'kid', 0))
  })

  test('gives the same numbers on any number of threads', async () => {
    const texts: string[] = []
    for (const threads of ['1', '3']) {
      rmSync(at('cache'), { recursive: true, force: true })
      const { code, err } = await evaluate(
        '--samples',
        at('noise'),
        '--real',
        at('real'),
        '--threads',
        threads,
        '--out',
        at(`threads-${threads}`),
      )
      expect(code, err.join('\n')).toBe(0)
      texts.push(readFileSync(at(`threads-${threads}/evaluation.json`), 'utf8'))
    }
    expect(texts[0]).toBe(texts[1])
  })

  test('measures to the rarest real images', async () => {
    const { code, err } = await evaluate(
      '--samples',
      at('copies'),
      '--real',
      at('real'),
      '--rarest',
      '0.25',
      '--by',
      'lof',
      '--out',
      at('rarest'),
    )
    expect(code, err.join('\n')).toBe(0)
    const found = result('rarest')
    expect(found.reference).toEqual({ images: 10, by: 'lof', space: 'pixels' })
    expect(value(found, 'avgknn', 0, 'pixels')).toBe(value(result('all'), 'avgknn', 1, 'pixels'))
    expect(value(found, 'frechet', 0, 'pixels')).toBeGreaterThan(value(result('all'), 'frechet', 1, 'pixels')!)
  })

  test('measures to those of the highest minority scores', async () => {
    const there = (name: string): string => fileURLToPath(new URL(`fixtures/first-formats/${name}`, import.meta.url))
    const pictures = there('pictures')
    const scores = JSON.parse(readFileSync(there('folder-scores.json'), 'utf8')) as { scores: number[] }
    const argv = [
      '--samples',
      pictures,
      '--real',
      pictures,
      '--k',
      '2',
      '--lof-k',
      '3',
      '--rarest',
      '4',
      '--by',
      'score',
    ]
    const more = ['--select', there('folder-selection.json'), '--scores', there('folder-scores.json')]
    const { code, err } = await evaluate(...argv, ...more, '--out', at('scored'))
    expect(code, err.join('\n')).toBe(0)
    expect([scores.scores.length, result('scored').reference]).toEqual([9, { images: 4, by: 'score', space: null }])
    // Without the selection there are images that have no score.
    expect(await refusal(...argv, '--scores', there('folder-scores.json'))).toContain('has no score of image')
  })

  test('holds out what a selection says, for C_T', async () => {
    expect(
      (await tweedie(['select', at('real'), '--hold-out', '0.4', '--seed', '1', '--out', at('split.json')])).code,
    ).toBe(0)
    const { code, err } = await evaluate(
      '--samples',
      at('copies'),
      '--real',
      at('real'),
      '--select',
      at('split.json'),
      '--lof-k',
      '10',
      '--out',
      at('split'),
    )
    expect(code, err.join('\n')).toBe(0)
    const found = result('split')
    expect([found.real.images, found.heldOut?.images]).toEqual([24, 16])
    // Cells of 5 have fewer than 20 of 20 samples: that is said.
    expect(value(found, 'copying', 0, 'pixels') ?? found.warnings.join()).toMatch(/no C_T: .*cell/)
  })
})

test('KID of a network that was never trained is told from one that can be read', async () => {
  for (const [folder, from] of [
    ['few', 'noise'],
    ['few-real', 'real'],
  ]) {
    for (const name of readdirSync(at(from)).slice(0, 4)) cpSync(at(`${from}/${name}`), at(`${folder}/${name}`))
  }
  const argv = ['--samples', at('few'), '--real', at('few-real'), '--k', '2', '--lof-k', '3']
  const { session, needed, peak } = watchedDevice()
  const words = [...argv, '--features', 'random-resnet50', '--resamples', '20', '--out', at('random')]
  const { code, err } = await tweedie(['evaluate', '--backend', 'cpu', ...words], session)
  // What was asked for before anything was loaded: room for 32 pictures, where there were 4.
  expect([needed(), peak() < needed()]).toEqual([550 * 2 ** 20, true])
  expect(code, err.join('\n')).toBe(0)
  expect(err.filter((line) => line.includes('KID in this space'))).toEqual([
    expect.stringMatching(
      /^note on random-resnet50: few: The features of the real images have a mean square of [\d,]+, and above 100 /,
    ),
  ])
  const kid = result('random').measurements.find(({ measure }) => measure === 'kid')
  expect(kid?.values[0]?.doubtful).toBe(true)
})

describe('statistics', () => {
  const savedStatistics = () =>
    readStatistics(bytesSource(readFileSync(at('saved/statistics-real-features.npz')), 'saved'))

  test('are written, and read as real images', async () => {
    const { code, err } = await evaluate(
      '--samples',
      at('noise'),
      '--real',
      at('real'),
      '--features',
      'features',
      '--features',
      'pixels',
      '--save-statistics',
      '--out',
      at('saved'),
    )
    expect(code, err.join('\n')).toBe(0)
    expect(readdirSync(at('saved')).sort()).toEqual([
      'evaluation.json',
      'images.csv',
      'index.html',
      'statistics-noise-features.npz',
      'statistics-real-features.npz',
    ])
    expect(result('saved').warnings.join()).toContain('Statistics of pixels are not written')
    const read = await evaluate(
      '--samples',
      at('noise'),
      '--real',
      at('saved/statistics-real-features.npz'),
      '--features',
      'features',
      '--out',
      at('read'),
    )
    expect(read.code, read.err.join('\n')).toBe(0)
    expect(value(result('read'), 'frechet', 0)).toBeCloseTo(value(result('saved'), 'frechet', 0)!, 10)
    expect(result('read').measurements.map(({ measure }) => measure)).toEqual(['frechet', 'brightness'])
  })

  test('of another space are refused', async () => {
    const real = at('saved/statistics-real-features.npz')
    const moments = { mean: Float64Array.of(1, 2), covariance: Float64Array.of(1, 0, 0, 1) }
    writeFileSync(at('two.npz'), encodeStatistics({ features: moments, spatial: null, space: null }))
    const negative = { ...moments, covariance: Float64Array.of(1, 0, 0, -1) }
    writeFileSync(at('negative.npz'), encodeStatistics({ features: negative, spatial: null, space: null }))
    const cases: [string[], string][] = [
      [
        ['--samples', at('noise'), '--real', at('two.npz'), '--features', 'features'],
        'statistics of another space: expected 232 numbers in mu, as features has, found 2.',
      ],
      [['--samples', real, '--real', at('real')], 'holds statistics: name the images'],
      [
        ['--samples', at('noise'), '--real', real, '--rarest', '5'],
        '--rarest chooses among real images, and --real holds statistics.',
      ],
      [
        ['--samples', at('noise'), '--real', real],
        `--features pixels is fitted to real images, and --real ${real} holds statistics: name their space, ` +
          '--features features.',
      ],
      [
        ['--samples', at('noise'), '--real', at('negative.npz'), '--features', 'features'],
        'negative.npz: sigma is not positive semidefinite, as a covariance is: its variance 1 is -1.00.',
      ],
      [['--samples', at('noise'), '--real', real, '--held-out', at('real')], 'of which no part can be held out'],
    ]
    for (const [argv, message] of cases) expect(await refusal(...argv)).toContain(message)
  })

  test('of as many numbers but another name, preprocessing or weights are refused', async () => {
    const { name: _, ...file } = await savedStatistics()
    const own = file.space!
    for (const [key, called] of [
      ['name', 'space'],
      ['preprocessing', 'preprocessing'],
      ['weights', 'weights'],
    ] as const) {
      const other = at(`other-${key}.npz`)
      writeFileSync(other, encodeStatistics({ ...file, space: { ...own, [key]: 'another' } }))
      expect(await refusal('--samples', at('noise'), '--real', other, '--features', 'features')).toContain(
        `other-${key}.npz: statistics of another space: expected the ${called} ${own[key]}, found another.`,
      )
    }
  })

  test('beside images give the Fréchet distances of their space, and the images all else', async () => {
    const { features, space } = await savedStatistics()
    const pictures = await openImages(at('copies'))
    const data = new Uint8Array(pictures.length * 32 * 32 * 3)
    for (let i = 0; i < pictures.length; i++) data.set((await pictures.read(i)).data, i * 32 * 32 * 3)
    const images = { arr_0: npy('|u1', [pictures.length, 32, 32, 3], data) }
    const [d, { mean, covariance }] = [features.mean.length, features]
    const moments = {
      mu: encodeNpy({ shape: [d], data: mean }),
      sigma: encodeNpy({ shape: [d, d], data: covariance }),
    }
    const words = Object.entries(space!).map(([key, text]) => [key === 'name' ? 'space' : key, text])
    const told = Object.fromEntries(words.map(([key, text]) => [key, encodeNpy({ shape: [], data: [text] })]))
    writeFileSync(at('images.npz'), npz(images))
    writeFileSync(at('told.npz'), npz({ ...images, ...moments, ...told }))
    // As guided-diffusion's, which do not say of which space they are.
    writeFileSync(at('batch.npz'), npz({ ...images, ...moments }))
    const found = async (real: string, ...more: string[]): Promise<[Evaluation, string]> => {
      const out = `of-${[real, ...more].join('')}`
      const argv = ['--lof-k', '10', '--features', 'features', ...more, '--out', at(out)]
      const { code, err } = await evaluate('--samples', at('noise'), '--real', at(real), ...argv)
      expect(code, err.join('\n')).toBe(0)
      return [result(out), err.join('\n')]
    }
    const [[plain], [batch, notes], [both, note]] = [
      await found('images.npz'),
      await found('batch.npz'),
      await found('told.npz', '--save-statistics'),
    ]
    expect(batch.measurements).toEqual(plain.measurements)
    expect(notes).toContain(
      `Mu and sigma in ${at('batch.npz')} are not used, since they are of inception-legacy-tensorflow`,
    )
    expect(note).toContain(`Fréchet distances are to mu and sigma in ${at('told.npz')}, all else is by its images.`)
    expect(note).not.toMatch(/array "(mu|sigma)"/)
    expect(value(both, 'frechet', 0)).toBe(value(result('read'), 'frechet', 0))
    expect(value(both, 'frechet', 0)).not.toBe(value(plain, 'frechet', 0))
    const others = ({ measurements }: Evaluation) => measurements.filter(({ measure }) => !/^frechet/.test(measure))
    expect(others(both)).toEqual(others(plain))
    // What is saved of a set is of its images.
    const saved = bytesSource(readFileSync(at('of-told.npz--save-statistics/statistics-real-features.npz')), 'saved')
    expect((await readStatistics(saved)).features.mean).not.toEqual(features.mean)
    const [rarest, why] = await found('told.npz', '--rarest', '10')
    expect([rarest.kind, why]).toEqual(['evaluation', expect.stringContaining('since --rarest takes a part')])
  })
})

test("a classifier's accuracy is of samples with labels", async () => {
  const weights = at('classifier.safetensors')
  await writeModel(weights, { ...classifier, outChannels: 3 })
  // Every image once in each class: one of three is right, whatever the classifier says.
  for (const name of ['a', 'b', 'c']) cpSync(at('noise'), at(`classes/${name}`), { recursive: true })
  for (const name of ['a', 'b', 'c']) cpSync(at('real'), at(`real-classes/${name}`), { recursive: true })
  const argv = ['--samples', at('classes'), '--samples', at('noise'), '--real', at('real-classes')]
  const { code, out, err } = await evaluate(...argv, '--classifier', weights, '--out', at('accuracy'))
  expect(code, err.join('\n')).toBe(0)
  expect([0, 1].map((m) => value(result('accuracy'), 'accuracy', m, null))).toEqual([1 / 3, undefined])
  const accuracies = result('accuracy').measurements.find(({ measure }) => measure === 'accuracy')
  expect(accuracies?.real?.value).toBeCloseTo(1 / 3, 12)
  expect(result('accuracy').warnings.join()).toContain('noise: there is no accuracy of images without labels')
  expect(out.join('\n')).toMatch(/classifier classifier\.safetensors, sha256 [0-9a-f]{64}\n/)
  expect(readFileSync(at('accuracy/index.html'), 'utf8')).toMatch(
    /Classifier classifier\.safetensors, sha256 [0-9a-f]{12}…/,
  )
  expect(await refusal(...argv, '--classifier', shipped('features'))).not.toBe('')
  expect(await refusal(...argv, '--classifier', shipped('minorityClassifier'))).toMatch(
    /expected a classifier of classes, found one of minority levels\.$/,
  )
  for (const [of, what] of [
    ['attributes', 'attributes'],
    ['real', 'real and synthetic images'],
  ] as const) {
    const path = at(`${of}.safetensors`)
    const metadata = encodeClassifierMetadata({ of, names: ['a', 'b', 'c'] })
    await writeModel(path, { ...classifier, outChannels: 3 }, { metadata })
    expect(await refusal(...argv, '--classifier', path)).toContain(
      `--classifier ${path}: expected a classifier of classes, found one of ${what}.`,
    )
  }
})

test('the commands of docs/evaluation.md run', async () => {
  for (const [from, to] of [
    ['copies', 'out/plain'],
    ['noise', 'out/minority'],
    ['real', 'cells'],
  ]) {
    cpSync(at(from), at(`docs/${to}`), { recursive: true })
  }
  const commands = blocks
    .filter(({ page, language }) => page === 'docs/evaluation.md' && language === 'sh')
    .flatMap(({ code }) =>
      code
        .trim()
        .split('\n')
        .map((line) => line.replace(/^npx tweedie evaluate /, '').split(' ')),
    )
  expect(commands.length).toBe(4)
  for (const words of commands) {
    const argv = words.map((word) => (/^(out|cells)\//.test(word) ? at(`docs/${word}`) : word))
    const { code, err } = await evaluate(
      ...argv,
      ...(argv.includes('--out') ? [] : ['--out', at('docs/out/evaluation')]),
    )
    expect([words.join(' '), code, err.filter((line) => !/^(note|Features)/.test(line))]).toEqual([
      words.join(' '),
      0,
      [],
    ])
  }
})

async function refusal(...argv: string[]): Promise<string> {
  const { code, err } = await evaluate(...argv, '--out', at('never'))
  expect([code, existsSync(join(at('never'), 'evaluation.json'))]).toEqual([1, false])
  return err.at(-1) ?? ''
}

describe('refuses in one sentence', () => {
  const picture = (side: number, shade: number): Uint8Array =>
    encodePng({ width: side, height: side, channels: 3, data: new Uint8Array(side * side * 3).fill(shade) })
  const folder = (name: string, ...files: Uint8Array[]): string => {
    mkdirSync(at(name), { recursive: true })
    files.forEach((bytes, i) => writeFileSync(at(`${name}/${i}.png`), bytes))
    return at(name)
  }
  const samples = ['--samples', at('noise')]
  const real = ['--real', at('real')]

  test.each<[string, () => string[], string]>([
    [
      'one image',
      () => ['--samples', folder('one', picture(32, 9)), ...real],
      'one: expected at least 6 images, for their 5 neighbours (--k 5), found 1.',
    ],
    [
      'fewer than k',
      () => [...samples, ...real, '--k', '12'],
      'noise: expected at least 13 images, for their 12 neighbours (--k 12), found 12.',
    ],
    [
      'few real images',
      () => [...samples, '--real', at('noise')],
      'real: expected at least 21 images, for their 20 neighbours (--lof-k 20), found 12.',
    ],
    [
      'mixed sizes',
      () => ['--samples', folder('mixed', picture(32, 1), picture(16, 2)), ...real],
      'expected images of one size, found 32 x 32 (0.png) and 16 x 16 (1.png)',
    ],
    [
      'constant images',
      () => [...samples, '--real', folder('flat', ...Array<Uint8Array>(22).fill(picture(32, 7)))],
      'real: all 22 images have the same features in the space pixels',
    ],
    [
      'held-out images that are the real ones',
      () => [...samples, ...real, '--held-out', at('real')],
      'has the images of --real: expected others, that the model was not trained on.',
    ],
    [
      'a folder of several methods',
      () => {
        folder('methods', picture(64, 1))
        renameSync(at('methods/0.png'), at('methods/contact-sheet.png'))
        folder('methods/plain', picture(32, 1), picture(32, 2))
        return ['--samples', at('methods'), ...real]
      },
      `contact-sheet.png is no sample: name the folder of one method, ${at('methods/plain')}.`,
    ],
    ['a method twice', () => [...samples, ...samples, ...real], 'is given twice'],
    ['no such space', () => [...samples, ...real, '--features', 'pixel'], '--features: expected a space'],
    [
      'a space without weights',
      () => [...samples, ...real, '--features', 'inception-legacy-pytorch'],
      'needs its weights: tweedie fetch inception gets them',
    ],
    [
      'weights of another network',
      () => [...samples, ...real, '--features', `features=${shipped('minorityClassifier')}`],
      'expected a feature net (stages.0.0.weight and so on, as tweedie train features writes it), found',
    ],
    [
      'a seed that is none',
      () => [...samples, ...real, '--features', 'random-vgg16=x.pth'],
      'expected random-vgg16 or random-vgg16=SEED',
    ],
    [
      'a space twice',
      () => [...samples, ...real, '--features', 'pixels', '--features', 'pixels'],
      '--features pixels is given twice.',
    ],
    [
      'a part of none',
      () => [...samples, ...real, '--rarest', '1'],
      '--rarest: expected a part below 1, as in 0.2, or how many, as in 1000, found "1".',
    ],
    ['more than there are', () => [...samples, ...real, '--rarest', '50'], '--rarest 50: there are 40 real images.'],
    ['nothing to choose', () => [...samples, ...real, '--by', 'lof'], '--rarest says how many'],
    ['no scores', () => [...samples, ...real, '--rarest', '5', '--by', 'score'], '--by score needs --scores FILE'],
    [
      'too few of the rarest',
      () => [...samples, ...real, '--rarest', '5'],
      '--rarest 5: expected at least 6 real images, for their 5 neighbours (--k 5), found 5.',
    ],
    ['no samples', () => real, '--samples is required'],
  ])('%s', async (_, argv, message) => {
    expect(await refusal(...argv())).toContain(message)
  })

  test('a folder in a file', async () => {
    const { code, err } = await evaluate(...samples, ...real, '--out', at('noise/0.png/out'))
    expect([code, err.at(-1)]).toEqual([
      1,
      expect.stringMatching(/noise\/0\.png\/out lies in a file, which holds no others: choose another path\.$/),
    ])
  })

  test('results of others', async () => {
    const { code, err } = await evaluate('--samples', at('noise'), '--real', at('real'), '--k', '4', '--out', at('all'))
    expect([code, err.at(-1)]).toEqual([
      1,
      expect.stringContaining('holds the results of other images, spaces or settings'),
    ])
  })
})
