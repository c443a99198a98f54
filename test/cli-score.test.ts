/** `score` over data sets and `label`, from a folder of pictures to the labels of a minority classifier. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { encode } from 'fast-png'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { pageGroups, thumbnail } from '../src/cli/pages/score-page.ts'
import { openImages, selectImages } from '../src/data/index.node.ts'
import {
  parseMinorityLabels,
  parseMinorityScores,
  quantileLabels,
  type MinorityScores,
} from '../src/diffusion/index.ts'
import { encodeSafetensors, writeFileAtomic } from '../src/io/index.node.ts'
import { configMetadata } from '../src/nn/config-metadata.ts'
import { planOf, stateDictOf } from '../src/nn/index.ts'
import { Device } from '../src/tensor/index.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { sines } from './formula.ts'
import { numbers } from './op.ts'
import { unetConfig } from './spec-models.ts'

const at = temporaryFolder()
const read = (name: string): string => readFileSync(at(name), 'utf8')
const scoresIn = (name: string): MinorityScores => parseMinorityScores(read(name), name)

/** A PNG of 8 x 8 pixels, or more. */
const picture = (path: string, seed: number, size = 8): void =>
  writeFileSync(
    path,
    encode({
      width: size,
      height: size,
      channels: 3,
      depth: 8,
      data: Uint8Array.from(numbers(size * size * 3, seed), (v) => (v + 1) * 127.5),
    }),
  )

/** U-Net A of 8 x 8 pixels as a file, with its process. */
const model = (path: string, numClasses: number | null): Promise<void> => {
  const config = { kind: 'unet' as const, ...unetConfig, numClasses }
  const tensors = [...stateDictOf(planOf(config))].map(
    ([key, shape], j) => [key, { shape, data: sines(key, shape, j) }] as const,
  )
  return writeFileAtomic(
    path,
    encodeSafetensors(
      tensors,
      configMetadata(config, { schedule: 'cosine', diffusionSteps: 1000, rescaleTimesteps: false } as never),
    ),
  )
}

const classes = { cat: 4, dog: 6, eel: 1 }

beforeAll(async () => {
  let seed = 0
  for (const folder of ['animals', 'others']) {
    for (const [name, count] of Object.entries(classes)) {
      mkdirSync(at(`${folder}/${name}`), { recursive: true })
      for (let k = 0; k < count; k++) picture(at(`${folder}/${name}/${k}.png`), seed++)
    }
  }
  mkdirSync(at('flat'))
  // One of them is larger, and is scaled.
  for (let k = 0; k < 5; k++) picture(at(`flat/${k}.png`), seed++, k === 3 ? 24 : 8)
  await model(at('m.safetensors'), null)
  await model(at('conditional.safetensors'), 3)
  writeFileSync(
    at('split.json'),
    JSON.stringify(selectImages(await openImages(at('animals')), { holdOut: 0.3, seed: 1 })),
  )
})

/** One device for all runs, which none of them disposes of: starting one takes longer than scoring. */
let device: Device
const session = { requestDevice: async (): Promise<Device> => device }

beforeAll(async () => {
  device = await Device.request({ backend: 'cpu', threads: 2 })
  Object.assign(device, { [Symbol.dispose]: () => {} })
})

afterAll(() => {
  expect(device.stats.liveBuffers).toBe(0)
  device.dispose()
})

const run = async (...argv: string[]): Promise<string[]> => {
  const { code, out, err } = await tweedie(argv, session)
  expect(code, err.join('\n')).toBe(0)
  return [...out, ...err]
}
const score = (out: string, ...more: string[]): Promise<string[]> =>
  run(
    'score',
    '--model',
    at('m.safetensors'),
    '--distance',
    'l2',
    '--out',
    at(out),
    ...(more.includes('--data') ? [] : ['--data', at('animals')]),
    ...more,
  )
const label = async (...argv: string[]): Promise<string[]> => {
  const { code, out, err } = await tweedie(['label', ...argv])
  expect(code, err.join('\n')).toBe(0)
  return out
}

describe('score', () => {
  test('writes scores with all that says what they are of', async () => {
    expect((await score('all.json', '--batch', '3'))[0]).toMatch(/all\.json: 11 scores, mean [\d.]+ \(L2\)$/)
    const { scores, indices, ...rest } = scoresIn('all.json')
    expect(indices).toEqual(Array.from({ length: 11 }, (_, k) => k))
    expect(new Set(scores).size).toBe(11)
    const { fingerprint } = await openImages(at('animals'))
    expect(rest).toMatchObject({
      data: at('animals'),
      fingerprint,
      schedule: 'cosine',
      diffusionSteps: 1000,
      respacing: '100',
      t: 90,
      timestep: 908,
      distance: 'L2',
      draws: 1,
      seed: 0,
      conditional: false,
      classes: [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2],
      classNames: ['cat', 'dog', 'eel'],
    })
    expect(rest.model).toMatch(/^[\da-f]{64}$/)
    expect(existsSync(at('all.json.unfinished'))).toBe(false)
  })

  test('a part of a selection has the scores it has in the whole set, under the same numbers', async () => {
    await score('part.json', '--select', at('split.json'), '--part', 'held-out')
    const [all, part] = [scoresIn('all.json'), scoresIn('part.json')]
    expect(part.indices.length).toBe(3)
    expect(part.fingerprint).toBe(all.fingerprint)
    expect(part.scores).toEqual(part.indices.map((k) => all.scores[k]))
    expect(part.classes).toEqual(part.indices.map((k) => all.classes?.[k]))
  })

  test('a table has names; larger pictures are scaled; --images is --data', async () => {
    await score('flat.csv', '--data', at('flat'))
    const rows = read('flat.csv').trimEnd().split('\n')
    expect(rows.map((row) => row.split(',')[0])).toEqual(['name', '0.png', '1.png', '2.png', '3.png', '4.png'])
    await run(
      'score',
      '--model',
      at('m.safetensors'),
      '--distance',
      'l2',
      '--out',
      at('images.csv'),
      `--images=${at('flat')}`,
    )
    expect(read('images.csv')).toBe(read('flat.csv'))
  })

  test('the step, by index or as a fraction', async () => {
    const of = async (step: string): Promise<readonly [number, number, number]> => {
      await score(`step-${step}.json`, '--step', step)
      const { t, timestep, scores } = scoresIn(`step-${step}.json`)
      return [t, timestep, scores[0]]
    }
    const [index, fraction, other] = [await of('60'), await of('0.6T'), await of('30')]
    expect(index).toEqual(fraction)
    expect([index.slice(0, 2), other.slice(0, 2)]).toEqual([
      [60, 605],
      [30, 303],
    ])
    expect(index[2]).not.toBe(other[2])
  })

  test('a class-conditional model is told the classes of the data, or what is said', async () => {
    const args = ['score', '--model', at('conditional.safetensors'), '--distance', 'l2']
    await run(...args, '--data', at('animals'), '--out', at('own.json'))
    await run(...args, '--data', at('animals'), '--out', at('said.json'), '--labels', '0')
    const [own, said] = [scoresIn('own.json'), scoresIn('said.json')]
    expect([own.conditional, own.classes?.at(-1), said.classes?.at(-1)]).toEqual([true, 2, 0])
    // The first class is 0 either way.
    expect(own.scores.map((value, k) => value === said.scores[k])).toEqual(own.classes?.map((c) => c === 0))
    const { code, err } = await tweedie([...args, '--data', at('flat'), '--out', at('never.json')], session)
    expect([code, err.join('\n')]).toEqual([1, expect.stringContaining('--labels says which of its 3 classes to take')])
  })

  test('the page holds every pair of pictures, names, classes and settings, and fetches nothing', async () => {
    await score('page.json', '--html', at('page.html'), '--draws', '2')
    const html = read('page.html')
    expect(html.match(/<img /g)).toHaveLength(2 * 11)
    expect(html.match(/src="data:image\/png;base64,/g)).toHaveLength(2 * 11)
    expect(html).not.toMatch(/<script|https?:|url\(/)
    const { scores } = scoresIn('page.json')
    const order = [...scores].sort((a, b) => b - a)
    const shown = [...html.matchAll(/<figcaption>(\d+): ([\d.]+)<br>(cat|dog|eel), /g)]
    expect(shown.map(([, rank, value]) => [Number(rank), value])).toEqual(
      order.map((value, i) => [i + 1, value.toPrecision(4)]),
    )
    for (const text of [
      'step 908 of the training',
      'averaged over 2 draws',
      'aria-label="cat: 4"',
      '<th>dog</th><td>6</td>',
      'of the 5 rarest images',
    ])
      expect(html).toContain(text)
  })

  test('of many images the page shows the extremes and evenly spaced ranks between, small', () => {
    const scores = numbers(5000, 1)
    const groups = pageGroups(scores)
    const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a])
    expect(groups.map(({ members }) => members.length)).toEqual([100, 200, 100])
    const members = groups.flatMap((group) => group.members)
    expect(new Set(members).size).toBe(400)
    const ranks = members.map((place) => order.indexOf(place))
    expect(ranks).toEqual([...ranks].sort((a, b) => a - b))
    expect([ranks[99], ranks[100], ranks[101] - ranks[100], ranks[300]]).toEqual([99, 112, 24, 4900])
    const small = thumbnail({
      width: 130,
      height: 128,
      channels: 1,
      data: Uint8Array.from({ length: 130 * 128 }, (_, i) => i % 130),
    })
    expect([small.width, small.height, small.data[0], small.data[42]]).toEqual([43, 42, 1, 127])
  })

  test('a stopped run keeps its scores and goes on, with the same result', async () => {
    await score('whole.json', '--data', at('flat'), '--batch', '2')
    const argv = [
      'score',
      '--model',
      at('m.safetensors'),
      '--distance',
      'l2',
      '--data',
      at('flat'),
      '--out',
      at('stopped.json'),
    ]
    // Ctrl-C with the second batch.
    let batches = 0
    const tensor = device.tensor.bind(device)
    const watched = vi.spyOn(device, 'tensor').mockImplementation((...args) => {
      if (args[1]?.join().match(/^2,\d,8,8$/) && ++batches === 2) process.emit('SIGINT', 'SIGINT')
      return tensor(...args)
    })
    const stopped = await tweedie([...argv, '--batch', '2'], session)
    watched.mockRestore()
    expect([stopped.code, stopped.err.join('\n')]).toEqual([
      130,
      expect.stringContaining('4 of 5 scores are kept; the same command goes on'),
    ])
    expect(existsSync(at('stopped.json'))).toBe(false)
    const other = await tweedie([...argv, '--seed', '1'], session)
    expect([other.code, other.err.at(-1)]).toEqual([
      1,
      expect.stringContaining('unfinished scores of another model, data set or other settings'),
    ])
    // What JSON makes of NaN would be a score of 0.
    const kept = readFileSync(at('stopped.json.unfinished'), 'utf8')
    writeFileSync(at('stopped.json.unfinished'), kept.replace(/"scores":\[[^,]+/, '"scores":[null'))
    const damagedScores = await tweedie(argv, session)
    expect([damagedScores.code, damagedScores.err.at(-1)]).toEqual([
      1,
      expect.stringContaining(
        'stopped.json.unfinished: expected unfinished scores of tweedie (choose another --out, or delete it): ' +
          'scores[0]: expected a number, found null.',
      ),
    ])
    writeFileSync(at('stopped.json.unfinished'), kept)
    expect((await run(...argv, '--batch', '3')).join('\n')).toContain('4 of 5 images are scored already.')
    expect(read('stopped.json')).toBe(read('whole.json'))
    expect(existsSync(at('stopped.json.unfinished'))).toBe(false)
  })

  test('what does not fit is said before the device is asked for', async () => {
    const asked = async (...more: string[]): Promise<[boolean, string]> => {
      let found = false
      const { err } = await tweedie(
        ['score', '--model', at('m.safetensors'), '--distance', 'l2', '--out', at('never.json'), ...more],
        {
          requestDevice: () => ((found = true), Promise.reject(new Error('asked'))),
        },
      )
      return [found, err.join('\n')]
    }
    mkdirSync(at('tiny'))
    picture(at('tiny/a.png'), 1, 4)
    expect(await asked('--data', at('animals'))).toEqual([true, expect.stringContaining('asked')])
    expect(await asked('--data', at('tiny')), 'enlarged, and said').toEqual([
      true,
      expect.stringContaining('1 of 1 images have a side below 8 pixels and are enlarged'),
    ])
    expect(await asked('--data', at('flat'), '--select', at('split.json'))).toEqual([
      false,
      expect.stringContaining('was made for other data'),
    ])
    for (const step of ['1.1T', '0.6', '100', 'T', '-1'])
      expect(await asked('--data', at('flat'), '--step', step), step).toEqual([false, expect.stringMatching(/step/)])
    expect(existsSync(at('never.json'))).toBe(false)
  })
})

describe('label', () => {
  test('cuts scores at quantiles and says how many there are of each', async () => {
    const lines = await label(
      '--scores',
      at('all.json'),
      '--levels',
      '4',
      '--data',
      at('animals'),
      '--out',
      at('labels.json'),
    )
    const scores = scoresIn('all.json')
    const { labels, thresholds } = quantileLabels(scores.scores, 4)
    expect(parseMinorityLabels(read('labels.json'), 'labels.json')).toEqual({
      program: 'tweedie',
      kind: 'minority-labels',
      data: at('animals'),
      fingerprint: scores.fingerprint,
      levels: 4,
      within: 'all',
      by: 'quantiles',
      thresholds,
      indices: scores.indices,
      labels: [...labels],
      scores: expect.objectContaining({ model: scores.model, t: 90, distance: 'L2' }),
    })
    expect(lines).toHaveLength(5)
    expect(lines[3]).toMatch(/^level 3: 3 images, scores [\d.]+ to [\d.]+$/)
  })

  test('within classes, from the scores or from the data set', async () => {
    // Without the class of one image.
    const all = scoresIn('all.json')
    const kept = Array.from({ length: 10 }, (_, k) => k)
    const { classes: _, classNames: __, ...rest } = all
    const some = { ...rest, indices: kept, scores: all.scores.slice(0, 10) }
    writeFileSync(
      at('ten.json'),
      JSON.stringify({ ...some, classes: all.classes?.slice(0, 10), classNames: all.classNames }),
    )
    writeFileSync(at('bare.json'), JSON.stringify(some))
    await label('--scores', at('ten.json'), '--levels', '2', '--within', 'class', '--out', at('within.json'))
    const { labels, thresholds, within } = parseMinorityLabels(read('within.json'), 'within.json')
    expect(within).toBe('class')
    expect([labels.slice(0, 4), labels.slice(4)].map((part) => part.filter((level) => level === 1).length)).toEqual([
      2, 3,
    ])
    expect(thresholds).toEqual(quantileLabels(some.scores, 2, all.classes?.slice(0, 10) as number[]).thresholds)
    await label(
      '--scores',
      at('bare.json'),
      '--levels',
      '2',
      '--within',
      'class',
      '--data',
      at('animals'),
      '--out',
      at('from-data.json'),
    )
    expect(read('from-data.json')).toBe(read('within.json'))
  })

  test('at equal widths, whose levels may be without images', async () => {
    const all = scoresIn('all.json')
    // One image far rarer than the others, as the paper has it: by numpy.linspace(0, 1, 5)[1:].
    writeFileSync(
      at('skewed.json'),
      JSON.stringify({ ...all, scores: all.scores.map((_, k) => (k === 3 ? 1 : k / 100)) }),
    )
    const lines = await label(
      '--scores',
      at('skewed.json'),
      '--levels',
      '4',
      '--by',
      'equal-width',
      '--out',
      at('width.json'),
    )
    const file = parseMinorityLabels(read('width.json'), 'width.json')
    expect(file).toMatchObject({ by: 'equal-width', levels: 4, thresholds: [0.25, 0.5, 0.75, 1] })
    expect(file.labels).toEqual(all.scores.map((_, k) => (k === 3 ? 3 : 0)))
    expect(lines).toEqual([
      expect.stringContaining('level 0: 10 images, scores'),
      'level 1: 0 images',
      'level 2: 0 images',
      'level 3: 1 image, scores 1.000 to 1.000',
      expect.stringContaining('11 labels in 4 levels of equal width'),
    ])
  })

  test('a number of levels for each class', async () => {
    const all = scoresIn('all.json')
    const kept = Array.from({ length: 10 }, (_, k) => k)
    const classes = all.classes!.slice(0, 10)
    writeFileSync(
      at('two-classes.json'),
      JSON.stringify({ ...all, indices: kept, scores: all.scores.slice(0, 10), classes, classNames: all.classNames }),
    )
    // The third class has no image.
    await label(
      '--scores',
      at('two-classes.json'),
      '--levels',
      '2,3,9',
      '--within',
      'class',
      '--out',
      at('uneven.json'),
    )
    const { levels, labels, thresholds } = parseMinorityLabels(read('uneven.json'), 'uneven.json')
    expect([levels, (thresholds as number[][]).map(({ length }) => length)]).toEqual([3, [2, 3]])
    const count = (c: number, level: number): number =>
      labels.filter((found, i) => classes[i] === c && found === level).length
    expect(
      [
        [0, 1],
        [0, 1, 2],
      ].map((each, c) => each.map((level) => count(c, level))),
    ).toEqual([
      [2, 2],
      [2, 2, 2],
    ])
  })

  const cases: [string, string[], RegExp][] = [
    [
      'levels of classes that are not cut apart',
      ['--scores', 'all.json', '--levels', '2,3'],
      /a number for each class needs --within class/,
    ],
    ['no levels', ['--scores', 'all.json'], /--levels is required/],
    ['one level', ['--scores', 'all.json', '--levels', '1'], /--levels: expected a whole number of 2 or more/],
    ['no scores', ['--levels', '2'], /--scores is required/],
    ['scores that are not there', ['--scores', 'none.json', '--levels', '2'], /cannot read .*none\.json/],
    ['a table', ['--scores', 'flat.csv', '--levels', '2'], /flat\.csv: expected minority scores of tweedie/],
    [
      'scores of another data set',
      ['--scores', 'all.json', '--levels', '2', '--data', 'flat'],
      /all\.json was made from other images \(.*animals.*than .*flat holds/,
    ],
    ['more levels than images', ['--scores', 'all.json', '--levels', '12'], /11 images cannot be cut into 12 levels/],
    [
      'a class with fewer images than levels',
      ['--scores', 'all.json', '--levels', '2', '--within', 'class'],
      /class 2 \(eel\): 1 image cannot be cut into 2 levels: take at most/,
    ],
    [
      'classes that nobody knows',
      ['--scores', 'bare.json', '--levels', '2', '--within', 'class'],
      /--within class needs the class of each image, and .*bare\.json holds none: name the data set with --data/,
    ],
  ]
  test.each(cases)('refuses %s', async (_, argv, message) => {
    const { code, out, err } = await tweedie([
      'label',
      ...argv.map((word) => (/\.(json|csv)$|^flat$/.test(word) ? at(word) : word)),
      '--out',
      at('never.json'),
    ])
    expect(err.join('\n')).toMatch(message)
    expect([code, out, existsSync(at('never.json'))]).toEqual([1, [], false])
  })

  test('the same images elsewhere are the same data set', async () => {
    mkdirSync(at('copy'))
    for (let k = 0; k < 5; k++) copyFileSync(at(`flat/${k}.png`), at(`copy/${k}.png`))
    await score('flat.json', '--data', at('flat'))
    await label('--scores', at('flat.json'), '--levels', '2', '--data', at('copy'), '--out', at('copied.json'))
  })

  test('other contents under the same names and of the same size are not', async () => {
    mkdirSync(at('swapped'))
    for (let k = 0; k < 5; k++) copyFileSync(at(`flat/${[1, 0, 2, 3, 4][k]}.png`), at(`swapped/${k}.png`))
    expect(readFileSync(at('flat/0.png')).length).toBe(readFileSync(at('flat/1.png')).length)
    const { code, err } = await tweedie([
      'label',
      '--scores',
      at('flat.json'),
      '--levels',
      '2',
      '--data',
      at('swapped'),
      '--out',
      at('never.json'),
    ])
    expect([code, err.at(-1)]).toEqual([1, expect.stringContaining('was made from other images')])
  })

  test('a damaged image is found before the first is scored, and all of them are named', async () => {
    mkdirSync(at('damaged'))
    for (let k = 0; k < 5; k++) {
      const bytes = readFileSync(at(`flat/${k}.png`))
      // A header that is none, and pixels that are not what they were.
      if (k === 1) bytes[0] = 0
      if (k > 2) bytes[60] ^= 255
      writeFileSync(at(`damaged/${k}.png`), bytes)
    }
    const { code, err } = await tweedie(
      ['score', '--model', at('m.safetensors'), '--data', at('damaged'), '--out', at('never.json')],
      { requestDevice: () => Promise.reject(new Error('asked')) },
    )
    expect([code, err.join('\n')]).toEqual([
      1,
      expect.stringMatching(
        /damaged: 3 images cannot be read\. Replace or remove them, or leave them out with --skip-bad:\n.*1\.png: neither a PNG nor a JPEG.*\n.*3\.png: a damaged PNG.*\n.*4\.png: a damaged PNG/,
      ),
    ])
  })
})
