/**
 * `tweedie recipe images`: the command of docs/training.md runs as it stands there, but for its hours, goes on where it
 * was stopped and says what is wrong with a folder.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decodeImage } from '../../src/data/index.ts'
import { Device } from '../../src/tensor.ts'
import { temporaryFolder, tweedie, type Printed } from '../cli.ts'
import { commandIn, writePictures } from '../forty-images.ts'

const at = temporaryFolder()
const root = fileURLToPath(new URL('../..', import.meta.url))
const written = commandIn(readFileSync(join(root, 'docs/training.md'), 'utf8'))

// The command's paths are relative.
const before = process.cwd()
beforeAll(() => {
  mkdirSync(at(''), { recursive: true })
  process.chdir(at(''))
  writePictures(at('my-images'))
})
afterAll(() => process.chdir(before))

/** The words with another value for an option. */
const replaced = (words: readonly string[], option: string, value: string): string[] =>
  words.map((word, i) => (words[i - 1] === option ? value : word))
/** What a machine would have measured that sees so many small images a second. */
const measuredAt = (out: string, images: number): void => {
  mkdirSync(out, { recursive: true })
  writeFileSync(
    join(out, 'recipe.json'),
    JSON.stringify({
      program: 'tweedie',
      kind: 'recipe',
      version: '0',
      recipe: 'images',
      data: null,
      measured: {
        on: 'a machine',
        imagesPerSecond: Object.fromEntries(
          [8, 16].map((size) => [`${size} small`, { diffusion: images, classifier: images }]),
        ),
      },
      stages: [],
    }),
  )
}
const record = (
  out: string,
): { measured: { on: string }; stages: { command: string; argv: string[]; finished: string }[] } =>
  JSON.parse(readFileSync(join(out, 'recipe.json'), 'utf8'))
const stages = [
  'shrink',
  'select',
  'train diffusion',
  'score',
  'label',
  'train classifier',
  'quickstart',
  'memorization',
]
const cpu = ['--backend', 'cpu', '--threads', '2']

describe('the command of docs/training.md', () => {
  /** Five minutes become as much as a slow machine does in a few seconds: 200 images of 8 x 8. */
  const [, ...words] = replaced(written, '--hours', '0.0045')
  const argv = [...words, '--size', '8', '--number', '2', ...cpu]

  test('is five minutes for a folder', () => {
    expect(written).toEqual([
      'tweedie',
      'recipe',
      'images',
      '--data',
      'my-images',
      '--hours',
      '0.08',
      '--out',
      'out/mine',
    ])
  })

  test('goes from 40 images to samples of three kinds, and says how near they are to training images', async () => {
    measuredAt(at('out/mine'), 60)
    // Stopped once: the device of the first training does not come.
    const stopped = await tweedie(argv, { requestDevice: () => Promise.reject(new Error('no device now')) })
    expect([stopped.code, stopped.err.join('\n')]).toEqual([1, expect.stringContaining('no device now')])
    expect(record(at('out/mine')).stages.map(({ command }) => command)).toEqual(['shrink', 'select'])

    const { code, out, err } = await tweedie(argv)
    expect([code, err.filter((line) => line.startsWith('tweedie:'))]).toEqual([0, []])
    expect(out[0]).toMatch(/^Recipe images: 40 images, at 8 x 8 pixels\. Everything goes into .*out\/mine\.$/)
    expect(out[1]).toMatch(
      /^a machine trains 60 of these images a second\. All stages take about \d+ s of the 16 s given, and \d+ MB of disk\.$/,
    )
    stages.forEach((stage, i) =>
      expect(out.join('\n')).toMatch(new RegExp(`\n${i + 1}\\. tweedie ${stage} .*\n     about \\d+ s\n`)),
    )
    // Nothing was measured again, and the stage that was finished was not run again.
    expect(err.join('\n')).not.toContain('Measuring')
    expect(err.join('\n')).toContain('[2/8] select: finished')
    const finished = record(at('out/mine'))
    expect([finished.measured.on, finished.stages.map(({ command }) => command)]).toEqual(['a machine', stages])

    const made = (folder: string): string[] => readdirSync(at(`out/mine/${folder}`))
    expect(made('drawn')).toEqual(
      expect.arrayContaining(['contact-sheet.png', 'minority-guided', 'plain', 'report.html', 'self-guided']),
    )
    for (const kind of ['plain', 'self-guided', 'minority-guided']) {
      const picture = decodeImage(readFileSync(at(`out/mine/drawn/${kind}/sample-0001.png`)), kind)
      expect([picture.width, picture.height, picture.channels]).toEqual([8, 8, 3])
    }
    expect(JSON.parse(readFileSync(at('out/mine/labels.json'), 'utf8'))).toMatchObject({ levels: 2 })
    expect(JSON.parse(readFileSync(at('out/mine/memorization/memorization.json'), 'utf8'))).toMatchObject({
      data: { train: 36, heldOut: 4 },
      samples: { number: 2 },
    })
    // A curve has points, even of so few steps.
    expect(readFileSync(at('out/mine/diffusion/log.csv'), 'utf8').trim().split('\n').length).toBeGreaterThan(10)

    expect((await tweedie(argv)).code).toBe(0)
    expect(record(at('out/mine'))).toEqual(finished)
  })

  test('other hours begin anew, and what was there is moved aside', async () => {
    // Two devices, of the training that is refused and the one anew, and no third.
    let devices = 0
    const { err } = await tweedie(replaced(argv, '--hours', '0.0046'), {
      requestDevice: (request) => (devices++ < 2 ? Device.request(request) : Promise.reject(new Error('enough'))),
    })
    expect(err.join('\n')).toMatch(
      /\[2\/8\] select: finished.*\n(.*\n)*note: diffusion of before cannot be gone on with, and lie in .*earlier-1 now\.\n(.*\n)*.*enough/,
    )
    expect(readdirSync(at('out/mine/earlier-1/diffusion'))).toContain('state.safetensors')
    expect(record(at('out/mine')).stages.map(({ command }) => command)).toEqual(['shrink', 'select', 'train diffusion'])
  })
})

test('--dry-run prints the plan and writes nothing; grey pictures of many sizes are taken as they are', async () => {
  const data = writePictures(at('grey'), {
    count: 20,
    grey: true,
    sizes: [
      [20, 30],
      [64, 17],
      [16, 16],
    ],
  })
  const { code, out, err } = await tweedie([
    'recipe',
    'images',
    '--data',
    data,
    '--hours',
    '2',
    '--out',
    at('nothing'),
    '--dry-run',
    ...cpu,
  ])
  expect([code, err]).toEqual([
    0,
    [expect.stringMatching(/^Measuring how fast this machine trains at 16 x 16 \(CPU, 2 threads/)],
  ])
  expect(out[0]).toMatch(/^Recipe images: 20 images, grey, at 16 x 16 pixels/)
  expect(out.join('\n')).toMatch(/--ema 0\.\d+ +OURS: forgets half in [\d,]+ of [\d,]+ steps/)
  // Two hours are more than a thousand looks at 16 images on any machine.
  expect(out[2]).toMatch(/^More time would be of no use: after 1,000 looks at each image/)
  expect(existsSync(at('nothing'))).toBe(false)
})

test('classes in sub-folders are no obstacle', async () => {
  for (const name of ['cats', 'dogs']) writePictures(at(`classes/${name}`), { count: 10 })
  measuredAt(at('of-classes'), 100)
  const { code, out } = await tweedie([
    'recipe',
    'images',
    '--data',
    at('classes'),
    '--hours',
    '0.1',
    '--size',
    '16',
    '--out',
    at('of-classes'),
    '--dry-run',
  ])
  expect(code).toBe(0)
  expect(out.at(-1)).toMatch(/^Note: Classes are there \(cats, dogs\), and the model is not told them/)
})

describe('mistakes', () => {
  const one = writePictures(at('one'), { count: 1 })
  const few = writePictures(at('few'), { count: 9 })
  const tiny = writePictures(at('tiny'), { count: 14, sizes: [[32, 5]] })
  const forty = writePictures(at('forty'))
  mkdirSync(at('empty'))

  test.each<[string[], RegExp]>([
    [['--hours', '1'], /--data is required: a folder of 14 images or more, or an \.npz/],
    [['--data', forty], /--hours is required: how long it may take, as in --hours 0\.08 for five minutes/],
    [['--data', forty, '--hours', 'NaN'], /--hours: expected a number from 0 to 10000, found "NaN"/],
    [['--data', forty, '--hours', '-1'], /--hours: expected a number from 0/],
    [['--data', forty, '--hours', '1e9'], /--hours: expected a number from 0 to 10000/],
    [['--data', at('nowhere'), '--hours', '1'], /nowhere/],
    [['--data', at('empty'), '--hours', '1'], /holds no PNG or JPEG/],
    [['--data', one, '--hours', '1'], /found one image: 14 are the fewest/],
    [['--data', few, '--hours', '1'], /found 9 images: 14 are the fewest/],
    [['--data', tiny, '--hours', '1'], /the smallest image has a side of 5 pixels/],
    [['--data', forty, '--hours', '1', '--size', '40'], /--size: expected a multiple of 4 from 8 to 32/],
    [['--data', forty, '--hours', '1', '--augment', 'flips'], /--augment: expected none, flip, symmetries/],
    [['--data', forty, '--hours', '1', '--model', 'm.safetensors'], /trains its own model: leave --model out/],
  ])('%j', async (argv, message) => {
    const { code, err }: Printed = await tweedie(['recipe', 'images', '--out', at('wrong'), ...argv])
    expect([code, err.at(-1)]).toEqual([1, expect.stringMatching(message)])
    expect(existsSync(at('wrong'))).toBe(false)
  })

  test('too few hours: how many it takes', async () => {
    measuredAt(at('in-haste'), 60)
    const { code, err } = await tweedie([
      'recipe',
      'images',
      '--data',
      forty,
      '--hours',
      '0.001',
      '--size',
      '8',
      '--out',
      at('in-haste'),
    ])
    expect([code, err]).toEqual([
      1,
      [
        expect.stringMatching(
          /--hours 0\.001 is too short: 40 images at 8 x 8 take 0\.\d+ hours at least on this machine, which trains 60 a second\. Give more hours or a smaller --number\./,
        ),
      ],
    ])
  })

  test("another recipe's options have no effect, which is said", async () => {
    const { err } = await tweedie(['recipe', 'celeba', '--dry-run', '--hours', '3', '--size', '32'])
    expect(err).toEqual([
      'note: --hours has no effect in the recipe celeba.',
      'note: --size has no effect in the recipe celeba.',
    ])
  })

  test('quickstart takes a model with its classifier, or neither', async () => {
    expect((await tweedie(['quickstart', '--model', 'm.safetensors'])).err.at(-1)).toMatch(
      /--model and --minority-classifier belong together/,
    )
  })
})
