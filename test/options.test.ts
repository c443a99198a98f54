/**
 * The descriptions of options: what each kind reads, and that what follows from them (the record of a run, its digests,
 * its replay, the inputs that nothing overwrites) leaves out no option of any command.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { Arguments, parseArguments } from '../src/cli/arguments.ts'
import { sha256sOf } from '../src/cli/files.ts'
import { commands } from '../src/cli/main.ts'
import {
  choice,
  factors,
  file,
  flag,
  images,
  integer,
  integers,
  number,
  readsPath,
  several,
  text,
  type Option,
  type OptionTable,
} from '../src/cli/option.ts'
import {
  pathsIn,
  sampleOptions,
  sampleSettings,
  toOptions,
  type SampleOption,
  type SampleSettings,
} from '../src/cli/options/sample.ts'
import { inputsOf } from '../src/cli/outputs.ts'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import { sample } from '../src/cli/commands/sample.ts'
import { encodePng } from '../src/data/index.ts'
import { encodeMarginal, MarginalFit } from '../src/diffusion/index.ts'
import { writeFileAtomic } from '../src/io/index.node.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { base, classifier, cosine, onFeatures, upsampler, writeModel } from './small-models.ts'

const at = temporaryFolder()
const optionsOf = (table: OptionTable): [string, Option][] => Object.entries(table)
/** What a run reads. */
const reads = optionsOf(sampleOptions).filter(([, option]) => readsPath(option)) as [SampleOption, Option][]

/** A folder of one picture, which `shade` changes. */
function pictures(folder: string, shade: number): string {
  mkdirSync(join(folder, '0'), { recursive: true })
  writeFileSync(
    join(folder, '0', '0.png'),
    encodePng({ width: 8, height: 8, channels: 3, data: new Uint8Array(192).fill(shade) }),
  )
  return folder
}

test('what the help shows in the place of a word can be typed', () => {
  // Of several words it is a description.
  const shown = commands.flatMap(({ name: command, options }) =>
    optionsOf(options).flatMap(([name, { default: word, otherwise = word, value = '', read }]) =>
      [...(otherwise === undefined || /^--|\s/.test(otherwise) ? [] : [otherwise]), ...value.split('|').slice(1)]
        .filter((one) => !/^[A-Z]/.test(one))
        .map((one) => [`${command} --${name} ${one}`, () => read(one, name)] as const),
    ),
  )
  expect(shown.map(([typed]) => typed)).toEqual(
    expect.arrayContaining(['train classifier --ema none', 'train diffusion --ema none', 'evaluate --rarest 1000']),
  )
  for (const [typed, read] of shown) expect(read, typed).not.toThrow()
})

describe('an option', () => {
  const words = { value: 'X', help: 'what it is' }
  const table = {
    n: number({ ...words, min: 0, max: 1, default: '0.5' }),
    i: integer({ ...words, min: 2 }),
    list: integers(words),
    factors: factors(words),
    on: flag({ help: 'on' }),
    one: choice(['cpu', 'webgpu'], { help: 'which' }),
    t: text(words),
    f: file(words),
  }
  const args = (given: Partial<Record<keyof typeof table, string>>): Arguments<typeof table> =>
    new Arguments(table, [], new Map(Object.entries(given)))

  test('reads its word, else its default, else nothing', () => {
    const given = args({ n: ' 1e-1', i: '2', list: '3,8', factors: '0.5,2', on: 'false', one: 'cpu', t: '007', f: 'a' })
    expect([
      given.get('n'),
      given.get('i'),
      given.get('list'),
      given.get('factors'),
      given.get('on'),
      given.get('one'),
      given.get('t'),
      given.path('f'),
    ]).toEqual([0.1, 2, [3, 8], [0.5, 2], false, 'cpu', '007', join(process.cwd(), 'a')])
    expect((Object.keys(table) as (keyof typeof table)[]).map((name) => args({}).get(name))).toEqual([
      0.5,
      ...Array.from({ length: 7 }, () => undefined),
    ])
    expect([args({}).path('f'), args({}).has('n'), args({}).text('n')]).toEqual([null, false, undefined])
  })

  test.each<[keyof typeof table, string, string]>([
    ['n', '', '--n: expected a number from 0 to 1, found "".'],
    ['n', '1.5', '--n: expected a number from 0 to 1, found "1.5".'],
    ['i', '1', '--i: expected a whole number of 2 or more, found "1".'],
    ['i', '2.5', '--i: expected a whole number of 2 or more, found "2.5".'],
    ['list', '3,-8', '--list: expected whole numbers with commas between, as in 3,8, found "3,-8".'],
    ['factors', '1,0', '--factors: expected factors with commas between, as in 1,2,2, found "1,0".'],
    ['on', 'yes', '--on is a switch (--on, or --on=false), found "yes".'],
    ['one', 'webgp', '--one: expected cpu, webgpu, found "webgp", did you mean "webgpu"?'],
  ])('refuses what means nothing: %s %j', (name, word, message) => {
    const given = args({ [name]: word })
    expect(() => given.get(name)).toThrow(message)
    expect(() => given.required(name)).toThrow(message)
  })

  test('that may be given more than once has all its words, in their order', () => {
    const command = {
      name: 'x',
      usage: '',
      summary: '',
      positionals: [0, 0] as const,
      examples: [],
      run: async () => {},
      options: {
        n: several(integer({ ...words, max: 9 })),
        from: several(images(words)),
        one: choice(['cpu', 'webgpu'], { help: 'which' }),
      },
    }
    const read = (...argv: string[]) => parseArguments(command, argv)
    const given = read('--from', 'b', '--n', '1', '--one', 'cpu', '--from=a', '--n', '2', '--n=1')
    expect([given.get('n'), given.get('from'), given.get('one')]).toEqual([[1, 2, 1], ['b', 'a'], 'cpu'])
    expect(inputsOf(given)).toEqual([
      { option: '--from', path: 'b' },
      { option: '--from', path: 'a' },
    ])
    expect([read().get('n'), read('--n', '3').get('n')]).toEqual([undefined, [3]])
    expect(() => read('--n', '3', '--n', '10').get('n')).toThrow(
      '--n: expected a whole number from 0 to 9, found "10".',
    )
    expect(() => read('--n', '3', '--n')).toThrow('--n needs a value')
    expect(() => read('--one', 'cpu', '--one', 'cpu')).toThrow('--one is given twice.')
  })

  test('is required by its name', () => {
    expect(() => args({}).required('t', ': some text')).toThrow('--t is required: some text.')
  })

  test.each(commands.map((command) => [command.name, command] as const))(
    'of %s has a default that it can read',
    (_, { options }) => {
      for (const [name, option] of optionsOf(options))
        if (option.default !== undefined) expect(() => option.read(option.default!, name), name).not.toThrow()
    },
  )

  // A table that takes an option of another and says other bounds would still have the reader of the first.
  test.each(commands.map((command) => [command.name, command] as const))(
    'of %s keeps to the bounds that are described',
    (_, { options }) => {
      for (const [name, option] of optionsOf(options)) {
        const { min, max } = option
        for (const bound of [min, max])
          if (bound !== undefined) expect(() => option.read(String(bound), name), `--${name} ${bound}`).not.toThrow()
        for (const beyond of [min! - 1, max! + 1])
          if (!Number.isNaN(beyond)) expect(() => option.read(String(beyond), name), `--${name} ${beyond}`).toThrow()
      }
    },
  )
})

test.each(commands.map((command) => [command.name, command] as const))(
  '%s knows every path that it is told to read',
  (_, command) => {
    const paths = optionsOf(command.options)
      .filter(([, option]) => readsPath(option))
      .map(([name]) => name)
    const words = Array.from({ length: command.positionals[0] }, () => 'x')
    expect(inputsOf(parseArguments(command, [...words, ...paths.flatMap((name) => [`--${name}`, name])]))).toEqual(
      paths.map((name) => ({ option: `--${name}`, path: name })),
    )
  },
)

describe('the record of a run', () => {
  test('keeps every option, but those whose effect another says and those that change no picture', () => {
    const silent = optionsOf(sampleOptions)
      .filter(([, { record }]) => record === undefined)
      .map(([name]) => name)
    expect(silent.sort()).toEqual(['backend', 'predict-xstart', 'self-guided', 'simd', 'threads'])
  })

  test('is read again as the same settings', () => {
    const settings = (argv: readonly string[]): SampleSettings =>
      sampleSettings(parseArguments(sample, argv), { config: base, diffusion: cosine })
    for (const argv of [
      [],
      [
        '--method',
        'ddim',
        '--eta',
        '0.7',
        '--respacing',
        'ddim50',
        '--number',
        '5',
        '--batch',
        '2',
        '--seed',
        '9',
        '--save',
        's',
      ],
      ['--guide-raw', '--guide-through', 'both', '--lpips', 'w'],
      ['--classifier', 'c', '--target', '3,8', '--minority-classifier', 'm', '--minority-target', '2-7'],
      ['--minority-classifier', 'm', '--minority-tilt', '--extractor', 'e'],
      [
        '--boost',
        '2',
        '--skip',
        '1',
        '--no-clip-denoised',
        '--predict',
        'v',
        '--upsampler',
        'u',
        '--upsampler-respacing',
        '20',
      ],
      [
        '--sehwag-classifier',
        's',
        '--sehwag-data',
        'd',
        '--sehwag-discriminator',
        'x',
        '--attributes-classifier',
        'a',
        '--features',
        'f',
      ],
    ]) {
      vi.spyOn(console, 'error').mockImplementation(() => {})
      const first = settings(['--model', 'm', ...argv])
      const again = settings(Object.entries(toOptions(first)).map(([name, word]) => `--${name}=${String(word)}`))
      vi.restoreAllMocks()
      expect(again).toEqual(first)
      expect(toOptions(again)).toEqual(toOptions(first))
    }
  })

  // A second stage alone has no model: test/two-stage.test.ts.
  test.each(reads.filter(([name]) => name !== 'base-samples'))('names what --%s reads', (name) => {
    vi.spyOn(console, 'error').mockImplementation(() => {})
    const rival = { lpips: 'features', features: 'lpips' }[name as string]
    const argv = reads.flatMap(([one]) => (one === rival ? [] : [`--${one}`, `${one}.file`]))
    const settings = sampleSettings(parseArguments(sample, [...argv, '--target', '0']), {
      config: base,
      diffusion: cosine,
    })
    vi.restoreAllMocks()
    expect(pathsIn(toOptions(settings))[name]).toBe(join(process.cwd(), `${name}.file`))
  })
})

describe('a run', () => {
  const model = (name: string): string => at(`${name}.safetensors`)
  let record: RunRecord
  beforeAll(async () => {
    await writeModel(model('base'), base)
    for (const [name, outChannels] of [
      ['classifier', 3],
      ['extractor', 10],
      ['sehwag', 3],
      ['judge', 2],
      ['attributes', 4],
    ] as const)
      await writeModel(model(name), { ...classifier, outChannels })
    await writeModel(model('minority'), onFeatures)
    await writeModel(model('upsampler'), upsampler)
    const fit = new MarginalFit(8, 3)
    fit.add(Float32Array.from({ length: 40 * 192 }, (_, i) => Math.sin(i * i)))
    await writeFileAtomic(model('marginal'), encodeMarginal(fit.result()))
    const { code, err } = await tweedie([
      'sample',
      '--model',
      model('base'),
      '--respacing',
      '10',
      '--number',
      '1',
      '--out',
      at('run'),
      '--backend',
      'cpu',
      '--threads',
      '1',
      '--classifier',
      model('classifier'),
      '--target',
      '0',
      '--minority-classifier',
      model('minority'),
      '--extractor',
      model('extractor'),
      '--sehwag-classifier',
      model('sehwag'),
      '--sehwag-data',
      pictures(at('pictures'), 9),
      '--sehwag-discriminator',
      model('judge'),
      '--attributes-classifier',
      model('attributes'),
      '--upsampler',
      model('upsampler'),
      '--upsampler-respacing',
      '2',
      '--marginal',
      model('marginal'),
    ])
    expect(code, err.join('\n')).toBe(0)
    record = JSON.parse(readFileSync(at('run/run.json'), 'utf8')) as RunRecord
  })

  test('has the sha256 of everything that it read', async () => {
    const read = reads.filter(([name]) => record.options[name] !== undefined)
    // LPIPS weights, given noise and given small pictures are read like these.
    expect(read.length).toBe(reads.length - 4)
    for (const [name, option] of read)
      expect(record.sha256[name], name).toBe(
        (await sha256sOf(option, String(record.options[name]), { signal: new AbortController().signal }))[0],
      )
    expect(Object.keys(record.sha256).sort()).toEqual(read.map(([name]) => name).sort())
  })

  test.each(reads)('is not replayed with another --%s', async (name, option) => {
    const path = at(`read-${name}`)
    const write = (shade: number): unknown =>
      option.path === 'images' ? pictures(path, shade) : writeFileSync(path, Uint8Array.of(shade))
    write(1)
    const sum = (await sha256sOf(option, path, { signal: new AbortController().signal }))[0]
    mkdirSync(at(`with-${name}`))
    const old = at(`with-${name}/run.json`)
    // Of this option alone, beside the model.
    writeFileSync(
      old,
      JSON.stringify({
        ...record,
        options: { model: record.options.model, number: 1, [name]: path },
        sha256: { model: record.sha256.model, [name]: sum },
      }),
    )
    write(2)
    const { code, err } = await tweedie(['replay', old, '--out', at('never')])
    expect([code, err]).toEqual([
      1,
      [
        expect.stringMatching(
          new RegExp(`read-${name} is not the file of the run: its sha256 is [0-9a-f]{64}, expected ${sum}\\.$`),
        ),
      ],
    ])
    const moved = await tweedie(['replay', old, `--${name}`, at('nowhere'), '--out', at('never')])
    expect(moved.code).toBe(1)
    expect(moved.err.join('\n')).toContain('nowhere')
  })
})
