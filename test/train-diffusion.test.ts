/**
 * `tweedie train diffusion` as a person runs it: its files, going on after kills at any moment, and what it refuses.
 * The killed runs are processes of their own.
 */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import { temporaryFolder, tweedie, watchedDevice } from './cli.ts'
import { npy, npz } from './data-fixtures.ts'
import { smallTraining, writeSmallData } from './kills.ts'

const path = temporaryFolder()
const data = path('data.npz')

beforeAll(() => writeSmallData(data))

const run = (out: string, ...more: string[]): string[] => smallTraining(data, out, ...more)

const tensors = async (file: string): Promise<Map<string, ArrayLike<number>>> => {
  const checkpoint = await openCheckpoint(await openFile(file))
  try {
    return new Map(
      await Promise.all(
        [...checkpoint.tensors].map(
          async ([key, entry]) => [key, (await entry.read()) as unknown as ArrayLike<number>] as const,
        ),
      ),
    )
  } finally {
    await checkpoint.close()
  }
}

describe('a run', () => {
  test('leaves state, weights, averages, log, report and samples, and its average draws', async () => {
    const out = path('run')
    await tweedie(['select', data, '--hold-out', '0.25', '--by', 'source', '--out', path('split.json')])
    const {
      code,
      out: said,
      err,
    } = await tweedie(
      run(
        out,
        '--select',
        path('split.json'),
        '--images',
        '24',
        '--save-every',
        '3',
        '--log-every',
        '2',
        '--ema',
        '0.5,0.9',
        '--samples',
        '5',
        '--evaluate-on',
        '8',
        '--class-cond',
        '--augment',
        'symmetries',
      ),
    )
    expect([code, err.filter((line) => line.startsWith('tweedie:'))]).toEqual([0, []])
    expect(said.join()).toContain('report.html')
    expect(err.join('\n')).toMatch(/^18 images, 6 held out; [\d,]+ parameters; CPU/m)
    expect(readdirSync(out).sort()).toEqual([
      'ema-0.5.safetensors',
      'ema-0.9.safetensors',
      'log.csv',
      'marginal.safetensors',
      'model.safetensors',
      'report.html',
      'samples-000003.png',
      'samples-000006.png',
      'state.safetensors',
    ])
    const [head, ...rows] = readFileSync(join(out, 'log.csv'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(','))
    expect(head).toEqual([
      'step',
      'images',
      ...['loss', 'mse', 'vb'].flatMap((name) => [name, ...[0, 1, 2, 3].map((q) => `${name}_q${q}`)]),
      'gradient_norm',
      'lr',
    ])
    expect(rows.map((row) => row.slice(0, 2).map(Number))).toEqual([
      [2, 8],
      [4, 16],
      [6, 24],
    ])
    const { width, height } = decode(readFileSync(join(out, 'samples-000006.png')))
    // Five pictures in three columns.
    expect([width, height]).toEqual([208, 140])
    const page = readFileSync(join(out, 'report.html'), 'utf8')
    for (const text of ['Step 6 of 6', 'aria-label="mse while training"', 'held out', 'mse q3']) {
      expect(page).toContain(text)
    }
    const drawn = await tweedie([
      'sample',
      '--model',
      join(out, 'ema-0.9.safetensors'),
      '--labels',
      '1',
      '--respacing',
      '2',
      '--number',
      '1',
      '--backend',
      'cpu',
      '--out',
      path('drawn'),
    ])
    expect(drawn.code).toBe(0)
    const state = await tweedie([
      'sample',
      '--model',
      join(out, 'state.safetensors'),
      '--number',
      '1',
      '--out',
      path('drawn'),
    ])
    expect([state.code, state.err.at(-1)]).toEqual([
      1,
      expect.stringMatching(/state\.safetensors: the state of a training run, .* take the weights beside it/),
    ])
  })

  test('goes on only with --resume and the same settings', async () => {
    const out = path('run')
    const same = [
      '--select',
      path('split.json'),
      '--save-every',
      '3',
      '--log-every',
      '2',
      '--ema',
      '0.5,0.9',
      '--samples',
      '4',
      '--evaluate-on',
      '8',
      '--class-cond',
      '--augment',
      'symmetries',
    ]
    expect((await tweedie(run(out, ...same, '--images', '24'))).err.at(-1)).toMatch(
      /holds a run already: --resume goes on/,
    )
    const other = await tweedie(run(out, ...same, '--images', '24', '--lr', '0.5', '--resume'))
    expect([other.code, other.err.at(-1)]).toEqual([
      1,
      expect.stringMatching(/a run with other settings: lr 0.0001, now 0.5\./),
    ])
    expect((await tweedie(run(out, ...same, '--images', '24', '--resume'))).code).toBe(0)
  })

  test('makes the files of its last state again, and touches no others', async () => {
    const out = path('last')
    const two = path('two.npz')
    writeFileSync(
      two,
      npz({
        images: npy(
          '|u1',
          [2, 8, 8, 3],
          Uint8Array.from({ length: 384 }, (_, i) => (37 * i) % 256),
        ),
      }),
    )
    // Two images leave two quartiles of an evaluation without any.
    const argv = run(
      out,
      '--images',
      '8',
      '--save-every',
      '1',
      '--samples',
      '2',
      '--evaluate-on',
      '2',
      '--ema',
      '0.5',
    ).map((word) => (word === data ? two : word))
    expect((await tweedie(argv)).code).toBe(0)
    const made = readdirSync(out).sort()
    // A process that was killed between its last state and its last model, and somebody's own file.
    for (const name of ['ema-0.5.safetensors', 'report.html', 'log.csv']) rmSync(join(out, name))
    for (const name of ['ema-0.5.safetensors.0123abcd.tmp', 'thesis.tmp']) writeFileSync(join(out, name), 'half')
    const { code, err } = await tweedie([...argv, '--resume'])
    expect(code, err.join('\n')).toBe(0)
    expect(readdirSync(out).sort()).toEqual([...made, 'thesis.tmp'].sort())
    expect([...(await tensors(join(out, 'ema-0.5.safetensors'))).keys()]).toContain('out.2.weight')
    const page = readFileSync(join(out, 'report.html'), 'utf8')
    expect(page).toContain('alt="samples of the last average"')
    expect(page).not.toContain('NaN')
  })

  test('takes no more memory than it asked for, however many samples and micro-batches', async () => {
    const watched = watchedDevice()
    expect(
      (
        await tweedie(
          run(
            path('memory'),
            '--images',
            '12',
            '--microbatch',
            '1',
            '--samples',
            '12',
            '--evaluate-on',
            '24',
            '--ema',
            '0.1,0.2',
          ).map((word, i, all) => (all[i - 1] === '--batch' ? '12' : word)),
          watched.session,
        )
      ).code,
    ).toBe(0)
    expect(watched.needed()).toBeGreaterThan(1e6)
    expect(watched.peak()).toBeLessThanOrEqual(watched.needed())
  })

  test('that is not finite says whether there is a checkpoint', async () => {
    const { code, err } = await tweedie(
      run(path('nan'), '--images', '40', '--lr', '1e38', '--save-every', '100', '--ema', '0.5', '--samples', '0'),
    )
    expect([code, err.at(-1)]).toEqual([
      1,
      expect.stringMatching(/^tweedie: Training stopped at step 2: .* There was no checkpoint yet\.$/),
    ])
    expect(existsSync(path('nan'))).toBe(false)
  })
})

describe('what cannot be trained', () => {
  const refused = async (message: RegExp, ...more: string[]): Promise<void> => {
    // An option that is given again takes the place of the first.
    const words = run(path('refused'), '--images', '8')
    for (let i = 0; i < more.length; i += 2) if (words.includes(more[i])) words.splice(words.indexOf(more[i]), 2)
    const { code, err } = await tweedie([...words, ...more])
    expect([code, err.at(-1)]).toEqual([1, expect.stringMatching(message)])
  }

  test('is said in one line', async () => {
    await refused(/int\(1\.5 \* 32\).*multiple of 32/, '--channel-mult', '1.5')
    await refused(/cannot be halved 4 times/, '--channel-mult', '1,1,1,1,1')
    await refused(/cannot read .*none\.json/, '--select', path('none.json'))
    await refused(/--ema: expected rates from 0 to below 1/, '--ema', '1')
    await refused(
      /--preset says all of the network and the process: leave --num-channels, .*, --diffusion-steps out\./,
      '--preset',
      '64x64_diffusion',
    )
    const without = await tweedie([
      'train',
      'diffusion',
      '--data',
      path('two.npz'),
      '--preset',
      '64x64_diffusion',
      '--images',
      '8',
      '--out',
      path('refused'),
      '--ema',
      '0.5',
    ])
    expect([without.code, without.err.at(-1)]).toEqual([
      1,
      expect.stringMatching(/64x64_diffusion is class-conditional, with 1000 classes, and the data have none/),
    ])
    const empty = path('empty.npz')
    writeFileSync(empty, npz({ images: npy('|u1', [1, 8, 8, 3], new Uint8Array(192)) }))
    const { code, err } = await tweedie(
      run(path('refused'), '--images', '8').map((word) => (word === data ? empty : word)),
    )
    expect([code, err.at(-1)]).toEqual([1, expect.stringMatching(/expected at least 2 images, found one/)])
  })
})
