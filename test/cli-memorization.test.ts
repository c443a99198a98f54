/**
 * `tweedie train features` and `tweedie memorization` on a small folder of pictures, one of whose
 * samples is a turned copy.
 */
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import { encodePng, type Image } from '../src/data/index.ts'
import type { Memorization } from '../src/cli/pages/memorization-page.ts'
import type { Selection } from '../src/data/index.ts'
import { encodeSafetensors, openCheckpoint, openFile } from '../src/io/index.node.ts'
import { viTStateDict } from '../src/nn/index.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { numbers } from './op.ts'

const at = temporaryFolder()
const side = 16

/** Smooth random pictures: waves of random direction and colour. */
function picture(seed: number): Image {
  const [a, b, phase, ...colours] = numbers(6, seed)
  const data = new Uint8Array(side * side * 3)
  for (let i = 0; i < side * side; i++) {
    const wave = Math.sin(0.8 * a * (i % side) + 0.8 * b * Math.floor(i / side) + 3 * phase)
    for (let c = 0; c < 3; c++) data[3 * i + c] = Math.round(127 + 60 * wave + 60 * colours[c])
  }
  return { width: side, height: side, channels: 3, data }
}

/** Its rows become columns. */
const transposed = ({ data, ...rest }: Image): Image => ({
  ...rest,
  data: data.map((_, at) => {
    const i = Math.floor(at / 3)
    return data[((i % side) * side + Math.floor(i / side)) * 3 + (at % 3)]
  }),
})

let copied: string
beforeAll(async () => {
  for (const [c, name] of ['waves', 'ripples'].entries()) {
    mkdirSync(at(`data/${name}`), { recursive: true })
    for (let i = 0; i < 20; i++) writeFileSync(at(`data/${name}/${i}.png`), encodePng(picture(100 * c + i)))
  }
  const { code, err } = await tweedie([
    'select',
    at('data'),
    '--hold-out',
    '0.3',
    '--seed',
    '1',
    '--out',
    at('split.json'),
  ])
  expect(code, err.join('\n')).toBe(0)
  const { parts } = JSON.parse(readFileSync(at('split.json'), 'utf8')) as Selection
  // Names are sorted as strings, folders first.
  const names = ['ripples', 'waves'].flatMap((folder) =>
    readdirSync(at(`data/${folder}`))
      .sort()
      .map((file) => `${folder}/${file}`),
  )
  copied = names[parts.train[5]]
  mkdirSync(at('samples'))
  for (let i = 0; i < 5; i++) writeFileSync(at(`samples/sample-${i}.png`), encodePng(picture(1000 + i)))
  const { data } = decode(readFileSync(at(`data/${copied}`)))
  writeFileSync(
    at('samples/sample-3.png'),
    encodePng(transposed({ width: side, height: side, channels: 3, data: Uint8Array.from(data) })),
  )
})

const trained = [
  'train',
  'features',
  '--data',
  '',
  '--images',
  '64',
  '--batch',
  '8',
  '--channels',
  '4,6',
  '--save-every',
  '8',
  '--log-every',
  '4',
]
const trainFeatures = (folder: string, ...more: string[]) =>
  tweedie([...trained.with(3, at('data')), '--select', at('split.json'), '--out', at(folder), ...more])

describe('train features', () => {
  test('leaves a net with its figures on held-out images, and what every training leaves', async () => {
    const { code, out, err } = await trainFeatures('features')
    expect(code, err.join('\n')).toBe(0)
    expect(out.join('\n')).toMatch(
      /5 nearest neighbours, 12 held-out images: balanced accuracy [01]\.\d+ \(ripples [01]\.\d+, waves [01]\.\d+\)/,
    )
    expect(out.join('\n')).toMatch(/noise 0.05 \d\.\d+.*another class \d/)
    expect(readdirSync(at('features')).sort()).toEqual([
      'ema-0.99.safetensors',
      'features.safetensors',
      'images.jsonl',
      'log.csv',
      'model.safetensors',
      'report.html',
      'state.safetensors',
    ])
    const file = await openCheckpoint(await openFile(at('features/features.safetensors')))
    expect([...file.tensors.keys()].filter((key) => !key.startsWith('stages.'))).toEqual([])
    expect(file.metadata.kind).toBe('features')
    expect(JSON.parse(file.metadata.config)).toEqual({ in_channels: 3, channels: [4, 6], image_size: 16 })
    expect(JSON.parse(file.metadata.training)).toMatchObject({
      step: 8,
      images: 64,
      classCounts: [expect.any(Number), expect.any(Number)],
      evaluation: { step: 8, images: 12 },
    })
    await file.close()
    expect(readFileSync(at('features/report.html'), 'utf8')).toContain('On held-out images')
    expect(readFileSync(at('features/log.csv'), 'utf8')).toMatch(/contrast/)
  })

  test('learns without classes from its own average, whose weights are what it leaves', async () => {
    const { code, out, err } = await trainFeatures('dino', '--objective', 'dino', '--local-views', '2')
    expect(code, err.join('\n')).toBe(0)
    expect(err.join('\n')).toMatch(/98 % of the teacher are still the first, random weights: take a --teacher-momentum/)
    expect(out.join('\n')).toMatch(/5 nearest neighbours, 12 held-out images/)
    expect(readdirSync(at('dino')).filter((name) => name.startsWith('ema'))).toEqual([])
    const [file, state] = await Promise.all(
      ['features', 'state'].map(async (name) => openCheckpoint(await openFile(at(`dino/${name}.safetensors`)))),
    )
    expect([...file.tensors.keys()].every((key) => key.startsWith('stages.'))).toBe(true)
    expect(JSON.parse(file.metadata.training)).toMatchObject({ objective: 'dino', lr: 1e-3, localSize: 16, step: 8 })
    for (const [key, entry] of file.tensors)
      expect(await entry.read()).toEqual(await state.tensors.get(`kept.teacher.${key}`)?.read())
    for (const one of [file, state]) await one.close()
    expect(readFileSync(at('dino/log.csv'), 'utf8')).toMatch(/entropy/)
    // Of a finished run there is nothing to make, and its state is taken for what it is.
    expect((await trainFeatures('dino', '--objective', 'dino', '--local-views', '2', '--resume')).code).toBe(0)
  })

  test('goes on with a vision transformer at a tenth of the rate', async () => {
    const shapes = viTStateDict({ dim: 64, depth: 1, heads: 1, patch: 8, grid: 3 })
    const tensors = [...shapes].map(([key, shape], k) => {
      const count = shape.reduce((a, b) => a * b, 1)
      return [key, { shape, data: Float32Array.from(numbers(count, k), (v) => v / 8) }] as const
    })
    writeFileSync(at('vit.safetensors'), Buffer.concat(encodeSafetensors(tensors)))
    const { code, err } = await trainFeatures('vit', '--objective', 'dino', '--from', at('vit.safetensors'))
    expect(code, err.join('\n')).toBe(0)
    const file = await openCheckpoint(await openFile(at('vit/features.safetensors')))
    expect([...file.tensors].map(([key, { shape }]) => [key, shape])).toEqual([...shapes])
    expect(JSON.parse(file.metadata.training)).toMatchObject({ objective: 'dino', lr: 1e-4, localSize: 8 })
    await file.close()
  })

  test('says what is wrong with the data or the options', async () => {
    const dino = ['train', 'features', '--data', at('data'), '--images', '8', '--out', at('x'), '--objective', 'dino']
    const cases: [string[], string][] = [
      [[...dino, '--class-weight', '1'], '--class-weight is for --objective contrast'],
      [[...dino.with(-1, 'contrast'), '--local-views', '1'], '--local-views is for --objective dino'],
      [[...dino, '--teacher-momentum', '2'], '--teacher-momentum: expected a number from 0 to 1'],
      [['train', 'features', '--data', at('data'), '--images', '8', '--batch', '1', '--out', at('x')], 'at least 2'],
      [
        ['train', 'features', '--data', at('data'), '--images', '8', '--image-size', '8', '--out', at('x')],
        '--image-size: expected a whole number from 16',
      ],
      [
        ['train', 'features', '--data', at('data'), '--images', '8', '--channels', '4,x', '--out', at('x')],
        '--channels',
      ],
    ]
    for (const [argv, message] of cases) {
      const { code, err } = await tweedie(argv)
      expect([code, err.join('\n')]).toEqual([1, expect.stringContaining(message)])
    }
    expect(existsSync(at('x'))).toBe(false)
  })
})

describe('memorization', () => {
  const argv = (...more: string[]): string[] => [
    'memorization',
    '--samples',
    at('samples'),
    '--train',
    at('data'),
    '--select',
    at('split.json'),
    ...more,
  ]

  for (const features of [false, true]) {
    test(`finds the copy${features ? ', in features too' : ''}`, async () => {
      const folder = features ? 'both' : 'pixels'
      const { code, out, err } = await tweedie(
        argv('--out', at(folder), ...(features ? ['--features', at('features/features.safetensors')] : [])),
      )
      expect(code, err.join('\n')).toBe(0)
      expect(readdirSync(at(folder)).sort()).toEqual(['distances.csv', 'index.html', 'memorization.json', 'pairs.png'])
      const report = JSON.parse(readFileSync(join(at(folder), 'memorization.json'), 'utf8')) as Memorization
      expect(report.samples.number).toBe(5)
      expect([report.data.train, report.data.heldOut]).toEqual([28, 12])
      expect(report.measures.map(({ name }) => name)).toEqual(features ? ['pixels', 'features'] : ['pixels'])
      const [head, ...rows] = readFileSync(join(at(folder), 'distances.csv'), 'utf8')
        .trimEnd()
        .split('\n')
        .map((row) => row.split(','))
      expect(head.slice(0, 5)).toEqual(['set', 'image', 'pixels_distance', 'pixels_training_image', 'pixels_symmetry'])
      expect(rows.map(([set]) => set)).toEqual([
        ...Array<string>(5).fill('sample'),
        ...Array<string>(12).fill('held-out'),
      ])
      const copy = rows[3]
      report.measures.forEach(({ samples, heldOut, nearer }, m) => {
        expect(Number(copy[2 + 3 * m])).toBeLessThan(1e-5)
        // The fourth symmetry exchanges rows and columns.
        expect(copy.slice(3 + 3 * m, 5 + 3 * m)).toEqual([copied, '4'])
        expect(samples[0]).toBe(Number(copy[2 + 3 * m]))
        expect(heldOut[0]).toBeGreaterThan(samples[0])
        const threshold = heldOut[1]
        expect(nearer).toBe(rows.slice(0, 5).filter((row) => Number(row[2 + 3 * m]) < threshold).length / 5)
        expect(nearer).toBeGreaterThanOrEqual(0.2)
      })
      expect(out[0]).toMatch(/^pixels: samples [\d.]+ \(1 %: .*% of the samples are nearer/)
      const html = readFileSync(join(at(folder), 'index.html'), 'utf8')
      expect(html).toContain(`sample-3.png, ${copied}: `)
      expect(html).not.toMatch(/<script|https?:|<link|url\(/)
      // Five pairs: four beside each other and one below, 64 pixels and a gap of 4 each.
      const { width, height } = decode(readFileSync(join(at(folder), 'pairs.png')))
      expect([width, height]).toEqual([4 + 8 * 68, 4 + 2 * 68])
    })
  }

  test('--skip-bad leaves out what is no image, and the record names it', async () => {
    cpSync(at('samples'), at('some'), { recursive: true })
    writeFileSync(at('some/bad.png'), 'hello')
    const some = argv('--out', at('of-some')).map((word) => (word === at('samples') ? at('some') : word))
    const refused = await tweedie(some)
    expect([refused.code, refused.err.join()]).toEqual([1, expect.stringMatching(/some\/bad\.png: neither/)])
    const { code, err } = await tweedie([...some, '--skip-bad'])
    expect(code, err.join('\n')).toBe(0)
    const { samples } = JSON.parse(readFileSync(at('of-some/memorization.json'), 'utf8')) as Memorization
    expect(samples).toMatchObject({ number: 5, leftOut: ['bad.png'] })
  })

  test('says what is missing or does not fit', async () => {
    writeFileSync(
      at('other.json'),
      JSON.stringify({
        program: 'tweedie',
        kind: 'selection',
        data: 'x',
        fingerprint: 'y',
        how: {},
        parts: { train: [0], 'held-out': [1] },
      }),
    )
    const small = at('small')
    mkdirSync(small)
    writeFileSync(join(small, 'a.png'), encodePng({ width: 8, height: 4, channels: 3, data: new Uint8Array(96) }))
    const cases: [string[], string][] = [
      [['memorization', '--samples', at('samples'), '--train', at('data')], '--select is required'],
      [
        ['memorization', '--samples', at('samples'), '--train', at('data'), '--select', at('other.json')],
        'was made for other data',
      ],
      [
        ['memorization', '--samples', small, '--train', at('data'), '--select', at('split.json')],
        'expected square pictures, found 8 x 4',
      ],
      [argv('--features', at('features/nothing.safetensors')), 'nothing.safetensors'],
    ]
    for (const [args, message] of cases) {
      const { code, err } = await tweedie(args)
      expect([code, err.join('\n')]).toEqual([1, expect.stringContaining(message)])
    }
  })
})
