/**
 * What a command may write over: never an input, never what it did not make, never what another process is writing; and
 * what killed processes leave behind.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { build } from 'esbuild'
import { encode } from 'fast-png'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commands, main } from '../src/cli/main.ts'
import { readsPath } from '../src/cli/option.ts'
import { encodeSafetensors, writeFileAtomic } from '../src/io/index.node.ts'
import { ownerName, thisProcess } from '../src/io/owner.node.ts'
import { Device } from '../src/tensor/index.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { takers } from './lock-children.ts'
import { base, writeModel } from './small-models.ts'

const at = temporaryFolder()
const lockName = '.tweedie.lock'
const read = (path: string): string => readFileSync(path, 'latin1')
const model = at('model.safetensors')
const data = at('data')
const score = (...argv: string[]): string[] => [
  'score',
  '--model',
  model,
  '--data',
  data,
  '--backend',
  'cpu',
  '--threads',
  '1',
  ...argv,
]
const sample = (out: string, ...argv: string[]): string[] => [
  'sample',
  '--model',
  model,
  '--respacing',
  '2',
  '--number',
  '2',
  '--backend',
  'cpu',
  '--threads',
  '1',
  '--out',
  out,
  ...argv,
]
const train = (out: string, ...argv: string[]): string[] => [
  'train',
  'diffusion',
  '--data',
  data,
  '--num-channels',
  '32',
  '--channel-mult',
  '1,1',
  '--attention-resolutions',
  '4',
  '--images',
  '4',
  '--batch',
  '2',
  '--samples',
  '0',
  '--evaluate-on',
  '0',
  '--ema',
  '0.5',
  '--backend',
  'cpu',
  '--threads',
  '1',
  '--out',
  out,
  ...argv,
]

/** Refused with one line on standard error, or the last of several. */
async function refused(argv: readonly string[], message: RegExp): Promise<void> {
  const { code, err } = await tweedie(argv)
  expect([code, err.at(-1)]).toEqual([1, expect.stringMatching(message)])
}

async function done(argv: readonly string[]): Promise<string> {
  const { code, err } = await tweedie(argv)
  expect(code, err.join('\n')).toBe(0)
  return err.join('\n')
}

beforeAll(async () => {
  await writeModel(model, base)
  mkdirSync(data)
  for (let k = 0; k < 4; k++) {
    writeFileSync(
      join(data, `${k}.png`),
      encode({
        width: 8,
        height: 8,
        channels: 3,
        depth: 8,
        data: Uint8Array.from({ length: 192 }, (_, i) => (k * 50 + i * 7) % 256),
      }),
    )
  }
  await done(score('--out', at('scores.json')))
})

describe('an input', () => {
  test('is never written over, by whatever name it goes', async () => {
    const before = read(model)
    symlinkSync(model, at('link.safetensors'))
    linkSync(model, at('hard.safetensors'))
    symlinkSync(at('.'), at('folder'))
    for (const name of [
      model,
      relative('.', model),
      at('link.safetensors'),
      at('hard.safetensors'),
      at('folder/model.safetensors'),
      at('data/../model.safetensors'),
    ]) {
      await refused(score('--out', name), /--out .* is the same file that --model reads: choose another name/)
      await refused(sample(at('never'), '--save', name), /--save .* is the same file that --model reads/)
      await refused(['convert', model, name], /OUT .* is the same file that IN reads/)
      await refused(
        ['forward', '--model', model, '--input', at('no'), '--save', name],
        /--save .* is the same file that --model reads/,
      )
    }
    await refused(
      ['label', '--scores', at('scores.json'), '--levels', '2', '--out', at('scores.json')],
      /--out .* is the same file that --scores reads/,
    )
    await refused(
      ['select', at('scores.json'), '--hold-out', '0.5', '--out', at('scores.json')],
      /--out .* is the same file that DATA reads/,
    )
    expect(read(model)).toBe(before)
    expect(existsSync(at('never'))).toBe(false)
  })

  test('in the folder of the outputs, under a name of theirs', async () => {
    mkdirSync(at('run'))
    writeFileSync(at('run/model.safetensors'), readFileSync(model))
    const argv = [
      'train',
      'classifier',
      '--of',
      'classes',
      '--data',
      data,
      '--model',
      at('run/model.safetensors'),
      '--images',
      '4',
      '--out',
      at('run'),
    ]
    await refused(
      argv,
      /--out .*run holds model\.safetensors, which --model reads and this command would write: choose another folder/,
    )
  })

  test('a folder of pictures does not lie in the data', async () => {
    symlinkSync(data, at('data-link'))
    for (const out of [join(data, 'run'), data, join(data, 'a/b'), at('data-link/run')]) {
      await refused(
        train(out),
        /--out .* lies in the data of --data .*, and its pictures would become data: choose a folder outside/,
      )
      await refused(
        sample(out, '--method', 'sehwag', '--sehwag-data', data),
        /lies in the data of --sehwag-data|sehwag-classifier/,
      )
    }
    expect(readdirSync(data)).toEqual(['0.png', '1.png', '2.png', '3.png'])
    // A file does no harm there.
    await done(['select', data, '--hold-out', '0.5', '--out', join(data, 'split.json')])
    rmSync(join(data, 'split.json'))
  })

  test('is every option that is described as a path, but those that are written', () => {
    const paths = new Set(
      commands.flatMap(({ options }) =>
        Object.entries(options).flatMap(([name, option]) => (readsPath(option) ? [name] : [])),
      ),
    )
    expect([...paths]).toEqual(
      expect.arrayContaining([
        'model',
        'data',
        'scores',
        'lpips',
        'features',
        'noise',
        'select',
        'extractor',
        'synthetic',
        'config',
        'upsampler',
        'attributes-file',
        'sehwag-data',
      ]),
    )
  })

  test.each(commands.map((command) => [command.name, command] as const))(
    '%s describes as paths what its help calls by a word for one',
    (_, { options }) => {
      const calledPath = (value = ''): boolean => /^(FILE|DIR|DATA|PATH)$|\w\.[a-z]+$/.test(value)
      for (const [name, { value, path }] of Object.entries(options))
        expect(path !== undefined, `--${name} ${value}`).toBe(calledPath(value))
    },
  )
})

describe('an output', () => {
  test('two of one command are not one file', async () => {
    await refused(score('--out', at('two.json'), '--html', at('two.json')), /--html .* is also written by --out/)
    expect(existsSync(at('two.json'))).toBe(false)
  })

  test('that is a folder, or in no folder, or a folder that is a file', async () => {
    await refused(score('--out', data), /--out .*data is a folder: name a file/)
    await refused(
      ['label', '--scores', at('scores.json'), '--levels', '2', '--out', data],
      /--out .*data is a folder: name a file/,
    )
    await refused(
      ['label', '--scores', at('scores.json'), '--levels', '2', '--out', at('no/labels.json')],
      /cannot write --out .*: there is no folder .*no\./,
    )
    await refused(sample(model), /--out .*model\.safetensors is the same file that --model reads/)
    await refused(sample(at('scores.json')), /--out .*scores\.json is a file: name a folder/)
  })

  test('is written over what the same command made, and nothing else', async () => {
    writeFileSync(at('thesis.txt'), 'years of work')
    writeFileSync(at('empty.json'), '')
    for (const out of [at('thesis.txt'), at('scores.json'), model]) {
      const before = read(out)
      await refused(
        ['select', data, '--hold-out', '0.5', '--out', out],
        /holds no selection, and nothing else is replaced: choose another name, or remove it/,
      )
      if (out !== at('scores.json')) {
        await refused(
          ['label', '--scores', at('scores.json'), '--levels', '2', '--out', out],
          /holds no minority labels/,
        )
        await refused(score('--out', out), /holds no minority scores|is the same file that --model reads/)
      }
      await refused(
        score('--out', at('never.json'), '--html', out),
        /--html .*(is no page of scores|is the same file that --model reads)/,
      )
      expect(read(out)).toBe(before)
    }
    for (const seed of ['1', '2'])
      await done(['select', data, '--hold-out', '0.5', '--seed', seed, '--out', at('empty.json')])
    for (const levels of ['2', '4'])
      await done(['label', '--scores', at('scores.json'), '--levels', levels, '--out', at('labels.json')])
    expect(JSON.parse(read(at('labels.json')))).toMatchObject({ levels: 4 })
  })

  test('scores stay, unless they are the same: then what is missing is made', async () => {
    const before = read(at('scores.json'))
    await refused(
      score('--out', at('scores.json'), '--seed', '3'),
      /scores\.json holds scores of another model, data set or other settings: choose another --out/,
    )
    const err = await done(score('--out', at('scores.json'), '--html', at('page.html')))
    expect(err).toContain('4 of 4 images are scored already')
    expect(read(at('page.html'))).toContain('<!doctype html>')
    expect(read(at('scores.json'))).toBe(before)
    await done(score('--out', at('scores.json'), '--html', at('page.html')))
    await done(score('--out', at('scores.csv')))
    await refused(
      score('--out', at('scores.csv')),
      /scores\.csv is there already, and a table does not say which scores it holds/,
    )
  })

  test('of convert is replaced where it holds the same numbers', async () => {
    await done(['convert', model, at('copy.safetensors')])
    await done(['convert', model, at('copy.safetensors')])
    await writeModel(at('trained.safetensors'), base, { seed: 2 })
    const before = read(at('trained.safetensors'))
    await refused(
      ['convert', model, at('trained.safetensors')],
      /OUT .*trained\.safetensors holds other numbers than .*model\.safetensors: choose another name/,
    )
    expect(read(at('trained.safetensors'))).toBe(before)
  })

  test('of forward is replaced, and a file with its inputs is not', async () => {
    await writeFileAtomic(
      at('golden.safetensors'),
      encodeSafetensors([
        ['out', { shape: [1], data: Float32Array.of(1) }],
        ['x', { shape: [1], data: Float32Array.of(1) }],
      ]),
    )
    await refused(
      ['forward', '--model', model, '--input', at('no'), '--save', at('golden.safetensors')],
      /holds something else than this command writes/,
    )
  })

  test('of memorization stays, unless the same is looked at again', async () => {
    await done(['select', data, '--hold-out', '0.5', '--out', at('split.json')])
    const argv = (samples: string): string[] => [
      'memorization',
      '--samples',
      samples,
      '--train',
      data,
      '--select',
      at('split.json'),
      '--out',
      at('memorization'),
    ]
    await done(sample(at('drawn')))
    await done(argv(at('drawn')))
    const before = read(at('memorization/memorization.json'))
    await refused(
      argv(data),
      /memorization (lies in the data|holds the results of other images or features: choose another --out, or delete it)/,
    )
    await done(argv(at('drawn')))
    expect(read(at('memorization/memorization.json'))).toBe(before)
  })

  test("a folder with files of its names that are no run's", async () => {
    for (const [argv, name] of [
      [sample, 'report.html'],
      [sample, 'sample-0000.png'],
      [train, 'model.safetensors'],
      [train, 'log.csv'],
    ] as const) {
      const folder = at(`stray-${name}`)
      mkdirSync(folder)
      const old = `${name}.0123abcd.tmp`
      for (const file of [name, old]) writeFileSync(join(folder, file), 'mine')
      await refused(
        argv(folder),
        new RegExp(
          `holds ${name}, but no (run\\.json|state\\.safetensors) that it belongs to: choose ` +
            'another folder, or move it away',
        ),
      )
      expect(readdirSync(folder).map((file) => [file, read(join(folder, file))])).toEqual([
        [name, 'mine'],
        [old, 'mine'],
      ])
    }
  })

  test('a symbolic link is followed, and stays', async () => {
    writeFileSync(at('target.json'), '')
    symlinkSync('target.json', at('link.json'))
    await done(['select', data, '--hold-out', '0.5', '--out', at('link.json')])
    expect(lstatSync(at('link.json')).isSymbolicLink()).toBe(true)
    expect(JSON.parse(read(at('target.json')))).toMatchObject({ kind: 'selection' })
  })
})

const holder = (more: object = {}): string =>
  JSON.stringify({
    ...thisProcess(),
    command: 'tweedie sample',
    since: '2026-01-01T00:00:00Z',
    token: '0123abcd',
    ...more,
  })

describe('a lock', () => {
  const children: ChildProcess[] = []
  afterAll(() => children.forEach((child) => child.kill('SIGKILL')))
  const other = (): number => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' })
    children.push(child)
    return child.pid!
  }
  /** When a process started, in the ticks of /proc. */
  const startOf = (pid: number): number => {
    try {
      return Number(read(`/proc/${pid}/stat`).split(') ').at(-1)!.split(' ')[19])
    } catch {
      return 0
    }
  }
  const outputs = [
    ['a folder', () => sample(at('locked')), () => at(`locked/${lockName}`)],
    ['a training', () => train(at('locked-training')), () => at(`locked-training/${lockName}`)],
    [
      'a file',
      () => ['label', '--scores', at('scores.json'), '--levels', '2', '--out', at('locked.json')],
      () => at(`.locked.json${lockName}`),
    ],
  ] as const

  test.each(outputs)('of a process that runs: %s is refused, and says whose it is', async (_, argv, lock) => {
    for (const folder of ['locked', 'locked-training']) mkdirSync(at(folder), { recursive: true })
    const pid = other()
    writeFileSync(lock(), holder({ pid, start: startOf(pid) }))
    await refused(
      argv(),
      new RegExp(
        `--out .* is in use by tweedie sample \\(process ${pid} on ${thisProcess().host}, since ` +
          '2026-01-01T00:00:00Z\\)\\. Wait for it, or choose another --out',
      ),
    )
    expect(existsSync(lock())).toBe(true)
    // One of another machine may run or not.
    writeFileSync(lock(), holder({ host: 'elsewhere' }))
    await refused(
      argv(),
      new RegExp(
        'in use by .* on elsewhere, .*That is another machine: if the process is not running there any more, ' +
          `remove .*${lockName.replaceAll('.', '\\.')}`,
      ),
    )
    writeFileSync(lock(), 'no lock')
    await refused(argv(), /is no lock that can be read: if nothing is writing there, remove it/)
    rmSync(lock())
  })

  test.each(outputs)(
    'of a process that is dead: %s is taken over, also where its number was given out again',
    async (_, argv, lock) => {
      const gone = other()
      children.at(-1)!.kill('SIGKILL')
      await new Promise((ended) => children.at(-1)!.once('exit', ended))
      writeFileSync(lock(), holder({ pid: gone }))
      await done(argv())
      expect(existsSync(lock())).toBe(false)
      if (process.platform !== 'linux') return
      writeFileSync(lock(), holder({ start: thisProcess().start - 1 }))
      await done([...argv(), ...(argv()[0] === 'train' ? ['--resume'] : [])])
      expect(existsSync(lock())).toBe(false)
    },
  )

  test('is let go on errors, and a folder made for nothing is removed', async () => {
    await refused(
      ['train', 'diffusion', '--data', at('nothing'), '--images', '4', '--out', at('new/folder')],
      /nothing/,
    )
    expect(existsSync(at('new'))).toBe(false)
    await refused(
      ['label', '--scores', at('nothing.json'), '--levels', '2', '--out', at('nothing-else.json')],
      /cannot read/,
    )
    expect(readdirSync(at('.')).filter((name) => name.includes(lockName))).toEqual([])
  })

  test('is let go where a process ends without a word', async () => {
    const module = at('lock.mjs')
    await build({
      entryPoints: ['src/io/lock.node.ts'],
      outfile: module,
      bundle: true,
      platform: 'node',
      format: 'esm',
    })
    for (const [k, end] of ['process.exit(3)', 'throw new Error("nobody catches this")', ''].entries()) {
      const run =
        `import { takeLock } from ${JSON.stringify(module)}; await ` +
        `takeLock(${JSON.stringify(at(`exit-${k}`))}, 'test'); ${end}`
      const child = spawn(process.execPath, ['--input-type=module', '-e', run], { stdio: 'ignore' })
      expect(await new Promise((ended) => child.once('exit', ended))).toBe([3, 1, 0][k])
      expect(readdirSync(at('.')).filter((name) => name.startsWith('exit-'))).toEqual([])
    }
  })

  test('of two runs at once one draws, and the other is refused', async () => {
    let second: number | undefined
    const first = await tweedie(sample(at('both')), {
      requestDevice: async (request) => {
        second = await main(sample(at('both'), '--seed', '1'))
        return Device.request(request)
      },
    })
    expect([first.code, second]).toEqual([0, 1])
    expect(first.err.join('\n')).toMatch(/both is in use by tweedie sample/)
    expect(JSON.parse(read(at('both/run.json')))).toMatchObject({ status: 'done', options: { seed: 0 } })
    expect(readdirSync(at('both')).sort()).toEqual([
      'contact-sheet.png',
      'report.html',
      'run.json',
      'sample-0000.png',
      'sample-0001.png',
    ])
  })

  test('is held by one process at a time, also when holders are killed', async () => {
    const { rounds, killed, complaints } = await takers(at('lock'), { processes: 4, rounds: 25, deaths: 0.03 })
    expect(complaints).toBe('')
    expect(rounds).toBeGreaterThanOrEqual(25 * (4 - killed))
  })
})

describe('what a killed process was writing', () => {
  // Process 2^22 is above the largest number that Linux gives.
  const dead = ownerName({ ...thisProcess(), pid: 2 ** 22 + 1 })
  const foreign = ownerName({ ...thisProcess(), host: 'elsewhere' })

  test('is removed from a folder, and nothing else', async () => {
    const out = at('temporaries')
    await done(sample(out))
    const before = readdirSync(out)
    const kept = [
      'thesis.tmp',
      `thesis.${dead}-0123abcd.tmp`,
      `sample-0001.png.${ownerName(thisProcess())}-0123abcd.tmp`,
      `sample-0001.png.${foreign}-0123abcd.tmp`,
    ]
    for (const name of [
      ...kept,
      `sample-0001.png.${dead}-0123abcd.tmp`,
      'sample-0000.png.0123abcd.tmp',
      `${lockName}.${dead}-0123abcd.tmp`,
      `${lockName}.0123abcd`,
    ])
      writeFileSync(join(out, name), 'half')
    await done(sample(out))
    expect(readdirSync(out).sort()).toEqual([...before, ...kept].sort())
  })

  test('is removed from beside a file, and nothing else', async () => {
    mkdirSync(at('beside'))
    const kept = [
      `other.json.${dead}-0123abcd.tmp`,
      `s.json.${foreign}-0123abcd.tmp`,
      's.json.0123abcd.tmp',
      's.json.tmp',
    ]
    for (const name of [...kept, `s.json.${dead}-0123abcd.tmp`, `.s.json${lockName}.${dead}-0123abcd.tmp`])
      writeFileSync(at(`beside/${name}`), 'half')
    await done(['select', data, '--hold-out', '0.5', '--out', at('beside/s.json')])
    expect(readdirSync(at('beside')).sort()).toEqual([...kept, 's.json'].sort())
  })
})
