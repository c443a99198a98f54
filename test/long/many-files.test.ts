/**
 * Runs of thousands of samples end: pictures are read one at a time, pages and sheets are bounded, and the numbers of
 * --save are joined from parts. A run of 50,000 is in long/big-runs.test.ts.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { decode } from 'fast-png'
import { expect, test, vi } from 'vitest'
import { sheetRoom } from '../../src/data/contact-sheet.ts'
import { recordSaver } from '../../src/cli/sampling/run-record.ts'
import { sampleFile, type RunRecord } from '../../src/tweedie/run-record.ts'
import { Device, type DeviceRequest } from '../../src/tensor/index.ts'
import { drawnAlready } from '../big-runs.ts'
import { temporaryFolder, tweedie, weights } from '../cli.ts'

/** How much memory the machine has. */
const memory = vi.hoisted(() => ({ bytes: 2 ** 40 }))
vi.mock('node:os', async (original) => ({
  ...(await original<typeof import('node:os')>()),
  totalmem: () => memory.bytes,
}))

const at = temporaryFolder()
const launcher = fileURLToPath(new URL('../../bin/tweedie.js', import.meta.url))
const text = (...path: string[]): string => readFileSync(join(at(''), ...path), 'utf8')
const record = (folder: string): RunRecord => JSON.parse(text(folder, 'run.json')) as RunRecord

// Windows has no ulimit.
if (process.platform !== 'win32')
  test('2,500 samples where a process may open 1,024 files: a report of three pages, every picture on one', () => {
    const argv = drawnAlready(at('many'), 2500, 8)
    const { status, stderr } = spawnSync(
      'sh',
      ['-c', 'ulimit -n 1024; exec "$@"', 'sh', process.execPath, launcher, ...argv],
      { encoding: 'utf8' },
    )
    expect(status, stderr).toBe(0)
    expect(stderr).toContain('2500 of 2500 samples are there already')
    expect(record('many').status).toBe('done')
    const pages = readdirSync(at('many'))
      .filter((name) => name.endsWith('.html'))
      .sort()
    expect(pages).toEqual(['report-2.html', 'report-3.html', 'report.html'])
    const shown = ['report.html', 'report-2.html', 'report-3.html'].map((page) =>
      [...text('many', page).matchAll(/src="(sample-\d{4}\.png)"/g)].map(([, file]) => file),
    )
    expect(shown.map((files) => files.length)).toEqual([1000, 1000, 500])
    // Rarest first over all pages, and each page leads to the others.
    expect(shown.flat()).toEqual(
      [...record('many').samples].sort((a, b) => b.score! - a.score!).map(({ file }) => file),
    )
    for (const page of pages)
      expect([...text('many', page).matchAll(/href="([^"]+)"/g)].map(([, name]) => name)).toEqual(
        expect.arrayContaining(pages.filter((other) => other !== page)),
      )
    const { width, height } = decode(readFileSync(at('many/contact-sheet.png')))
    expect(width * height).toBe((4 + 50 * 68) ** 2)
  })

if (process.platform !== 'win32')
  test('2,000 samples in a folder are compared with the training images where a process may open 1,024 files', () => {
    drawnAlready(at('samples'), 2000, 8)
    const fixture = (name: string): string =>
      fileURLToPath(new URL(`../fixtures/first-formats/${name}`, import.meta.url))
    const argv = [
      'memorization',
      '--samples',
      at('samples'),
      '--train',
      fixture('pictures.npz'),
      '--select',
      fixture('selection.json'),
      '--out',
      at('memorization'),
    ]
    const { status, stderr } = spawnSync(
      'sh',
      ['-c', 'ulimit -n 1024; exec "$@"', 'sh', process.execPath, launcher, ...argv],
      { encoding: 'utf8' },
    )
    expect(status, stderr).toBe(0)
    expect(text('memorization', 'distances.csv').trimEnd().split('\n').length).toBe(1 + 2000 + 3)
  })

test('pictures that the memory of the machine does not hold are not compared', async () => {
  drawnAlready(at('more'), 1000, 8)
  const fixture = (name: string): string => fileURLToPath(new URL(`../fixtures/first-formats/${name}`, import.meta.url))
  memory.bytes = 2 ** 19
  try {
    const { code, err } = await tweedie([
      'memorization',
      '--samples',
      at('more'),
      '--train',
      fixture('pictures.npz'),
      '--select',
      fixture('selection.json'),
      '--out',
      at('more-memorization'),
    ])
    expect([code, err.at(-1)]).toEqual([
      1,
      expect.stringMatching(
        /1012 pictures of 8 x 8 take .* GiB of memory, and there are .*: compare fewer samples at a time/,
      ),
    ])
  } finally {
    memory.bytes = 2 ** 40
  }
})

test('pictures of over 16 MiB stay beside their report', async () => {
  const { code, err } = await tweedie(drawnAlready(at('large'), 350, 128))
  expect(code, err.join('\n')).toBe(0)
  const report = text('large', 'report.html')
  expect(report).not.toContain('data:')
  expect([...report.matchAll(/src="(sample-\d{4}\.png)"/g)].length).toBe(350)
  expect(report).toContain('id="sorted"')
})

test('a contact sheet has at most 4096 x 4096 pixels', () => {
  expect([8, 32, 64, 256, 512, 5000].map((side) => sheetRoom({ width: side, height: side }))).toEqual([
    3628, 3628, 3628, 248, 63, 1,
  ])
})

test('names of samples sort as the samples do', () => {
  expect([sampleFile(7, 16), sampleFile(7, 10_000), sampleFile(7, 10_001)]).toEqual([
    'sample-0007.png',
    'sample-0007.png',
    'sample-00007.png',
  ])
})

test('however seldom a record is saved, the first batch is told of, and in the end the last', async () => {
  const whole = JSON.parse(
    readFileSync(new URL('../fixtures/first-formats/finished/run.json', import.meta.url), 'utf8'),
  ) as RunRecord
  const stopped = async (folder: string, meanwhile = (): void => {}): Promise<void> => {
    mkdirSync(at(folder))
    await using saver = recordSaver(at(folder))
    for (let k = 0; k <= 4; k++) {
      await saver.save({ ...whole, samples: whole.samples.slice(0, k) })
      if (k > 0) expect(record(folder).samples.length).toBeGreaterThan(0)
    }
    meanwhile()
    throw new Error('stopped')
  }
  await expect(stopped('kept')).rejects.toThrow('stopped')
  expect(record('kept')).toEqual(whole)
  // The error that ended the run is told, not that its record could not be saved any more.
  await expect(stopped('gone', () => rmSync(at('gone'), { recursive: true }))).rejects.toThrow('stopped')
})

/** A device that fails as soon as a file is there. */
const failing =
  (file: string) =>
  async (request: DeviceRequest): Promise<Device> => {
    const device = await Device.request(request)
    const tensor = device.tensor.bind(device)
    device.tensor = ((...args: Parameters<typeof tensor>) => {
      if (existsSync(at(file))) throw new Error('stopped')
      return tensor(...args)
    }) as typeof tensor
    return device
  }

test('a stopped run of --save goes on with the numbers that it has', async () => {
  const argv = (folder: string): string[] => [
    'sample',
    '--model',
    weights,
    '--respacing',
    '2',
    '--number',
    '3',
    '--batch',
    '1',
    '--seed',
    '3',
    '--backend',
    'cpu',
    '--out',
    at(folder),
    '--save',
    at(`${folder}.safetensors`),
  ]
  expect((await tweedie(argv('whole'))).code).toBe(0)
  expect((await tweedie(argv('stopped'), { requestDevice: failing('stopped/numbers-1.safetensors') })).code).not.toBe(0)
  expect(readdirSync(at('stopped')).filter((name) => name.startsWith('numbers-')).length).toBe(2)
  const { code, err } = await tweedie(argv('stopped'))
  expect(code, err.join('\n')).toBe(0)
  expect(err.join('\n')).toContain('2 of 3 samples are there already')
  expect(readFileSync(at('stopped.safetensors')).equals(readFileSync(at('whole.safetensors')))).toBe(true)
  expect(readdirSync(at('stopped'))).toEqual(readdirSync(at('whole')))
})
