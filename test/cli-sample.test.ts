/**
 * Runs of `tweedie sample`: what they leave on disk, that they come out the same again (replayed, interrupted, on a
 * device that was lost), and the reference's trajectories drawn through the command line.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { decode } from 'fast-png'
import { beforeAll, describe, expect, test } from 'vitest'
import { parseArguments } from '../src/cli/arguments.ts'
import { readsPath, type Option } from '../src/cli/option.ts'
import { sampleOptions } from '../src/cli/options/sample.ts'
import { replay } from '../src/cli/commands/replay.ts'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import { sample } from '../src/cli/commands/sample.ts'
import { Device, type DeviceRequest } from '../src/tensor/index.ts'
import type { WebGPUBackend } from '../src/tensor/webgpu/backend.ts'
import { tensorIn, temporaryFolder, tweedie, watchedDevice, weights } from './cli.ts'
import { psnr } from './golden.ts'
import { describeShared, shared } from './shared.ts'
import { base, writeModel } from './small-models.ts'

const at = temporaryFolder()
const record = (folder: string): RunRecord =>
  JSON.parse(readFileSync(join(at(folder), 'run.json'), 'utf8')) as RunRecord
const bytes = (folder: string, name: string): string => readFileSync(join(at(folder), name)).toString('base64')
const pictures = (folder: string): string[] =>
  readdirSync(at(folder))
    .filter((name) => name.startsWith('sample-'))
    .sort()
/** Everything in a folder, by name. */
const snapshot = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(at(folder))
      .sort()
      .map((name) => [name, readFileSync(join(at(folder), name), 'latin1')]),
  )
const guided = ['--method', 'self-guided', '--guide-every', '2', '--guide-weight', '0.8']
const sampleArgs = (folder: string, ...more: string[]): string[] => [
  'sample',
  '--model',
  weights,
  '--respacing',
  '4',
  '--number',
  '3',
  '--batch',
  '2',
  '--seed',
  '5',
  '--out',
  at(folder),
  ...more,
]

beforeAll(async () => {
  const { code, err } = await tweedie(sampleArgs('first', ...guided))
  expect(code, err.join('\n')).toBe(0)
})

test('--model bccd32 is the shipped set, with what belongs to it unless something else is asked for', async () => {
  const { code, err } = await tweedie([
    'sample',
    '--model',
    'bccd32',
    '--method',
    'minority-guided',
    '--respacing',
    '2',
    '--number',
    '1',
    '--out',
    at('set'),
  ])
  expect(code, err.join('\n')).toBe(0)
  const beside = (name: string): string => join(dirname(weights), name)
  expect(record('set').options).toMatchObject({
    model: weights,
    'minority-classifier': beside('bccd32-minority.safetensors'),
    distance: 'features',
    features: beside('bccd32-features.safetensors'),
  })
  const given = (...argv: string[]): Record<string, string> => {
    const args = parseArguments(sample, argv)
    return Object.fromEntries(
      (Object.keys(sampleOptions) as (keyof typeof sampleOptions)[]).flatMap((name) =>
        args.has(name) ? [[name, args.text(name)!]] : [],
      ),
    )
  }
  expect(given('--model=bccd32', '--distance', 'l1')).toEqual({ model: weights, distance: 'l1' })
  expect(given('--out', 'bccd32')).toEqual({ out: 'bccd32' })
})

describe('a run', () => {
  test('leaves pictures, a contact sheet, a report and its record, and no half-written file', () => {
    expect(readdirSync(at('first')).sort()).toEqual([
      'contact-sheet.png',
      'report.html',
      'run.json',
      'sample-0000.png',
      'sample-0001.png',
      'sample-0002.png',
    ])
    const { width, height, channels } = decode(readFileSync(join(at('first'), 'sample-0002.png')))
    expect([width, height, channels]).toEqual([32, 32, 3])
    expect(new Set(pictures('first').map((name) => bytes('first', name))).size).toBe(3)
  })

  test('its record holds version, options with defaults, sha256 of weights, adapter, seed, timings and scores', () => {
    const { version, status, options, sha256, adapter, samples, seconds } = record('first')
    expect([version, status]).toEqual([JSON.parse(readFileSync('package.json', 'utf8')).version, 'done'])
    expect(options).toMatchObject({
      model: weights,
      method: 'self-guided',
      schedule: 'cosine',
      'diffusion-steps': 1000,
      respacing: '4',
      'guide-weight': 0.8,
      'guide-strength': 0.8,
      distance: 'l2',
      seed: 5,
      batch: 2,
    })
    expect(sha256.model).toMatch(/^[0-9a-f]{64}$/)
    expect(['webgpu', 'cpu']).toContain(adapter.backend)
    expect(adapter.name).not.toBe('')
    if (adapter.backend === 'cpu') expect(adapter.architecture).toMatch(/^wasm-(relaxed-)?simd$/)
    expect(samples.map(({ file }) => file)).toEqual(pictures('first'))
    expect(samples.every(({ score }) => score! > 0)).toBe(true)
    // Self-guidance's own metric at its last guided step, which of four guided every second is the last of all.
    expect(record('first').metric).toEqual({ t: 0, timestep: 0 })
    expect(samples.every(({ metric }) => metric! > 0)).toBe(true)
    expect(seconds.batches.map((batch) => batch.samples)).toEqual([2, 1])
  })

  test('its report holds every picture and score, says whether the adapter is software, and fetches nothing', () => {
    const html = readFileSync(join(at('first'), 'report.html'), 'utf8')
    for (const name of pictures('first')) expect(html).toContain(bytes('first', name))
    for (const { score, metric } of record('first').samples)
      expect(html).toContain(`${score!.toPrecision(4)}, metric ${metric!.toPrecision(4)}`)
    expect(html).toContain('at the last guided step, 0: ')
    const { backend, name, software } = record('first').adapter
    expect(html).toContain(`Computed on ${name}`)
    expect(html.includes('a software adapter')).toBe(backend === 'webgpu' && software)
    expect(html).not.toMatch(/<script|https?:|<link|url\(/)
  })

  test('numbers that are none end it, with the samples that have them and what is kept; none is stored', async () => {
    const { code, out, err } = await tweedie(
      sampleArgs('endless', '--method', 'self-guided', '--guide-every', '1', '--guide-weight', '1e30'),
    )
    expect([code, out]).toEqual([1, []])
    expect(err.at(-1)).toMatch(
      /^tweedie: (?:The|Self-guidance's) (samples hold|minority scores are|metrics are) -?(Infinity|NaN) in samples 0, 1\. Take a smaller --guide-weight\.$/,
    )
    expect(record('endless')).toMatchObject({ status: 'unfinished', samples: [] })
    expect(pictures('endless')).toEqual([])
    writeFileSync(
      at('endless/run.json'),
      readFileSync(join(at('first'), 'run.json'), 'utf8').replace(/"score": [\d.]+/, '"score": null'),
    )
    const replayed = await tweedie(['replay', join(at('endless'), 'run.json'), '--out', at('replayed-null')])
    expect([replayed.code, replayed.err.at(-1)]).toEqual([
      1,
      expect.stringContaining(
        'run.json: expected a run.json of tweedie: samples[0].score: expected a number, found null.',
      ),
    ])
  })

  test('its folder can be scored: the contact sheet is no sample', async () => {
    const { code, err } = await tweedie([
      'score',
      '--model',
      weights,
      '--images',
      at('first'),
      '--out',
      at('first.csv'),
    ])
    expect(code, err.join('\n')).toBe(0)
    expect(
      readFileSync(at('first.csv'), 'utf8')
        .trimEnd()
        .split('\n')
        .map((row) => row.split(',')[0]),
    ).toEqual(['name', ...pictures('first')])
  })

  test('replayed elsewhere it is the same to the byte', async () => {
    const { code, out, err } = await tweedie(['replay', join(at('first'), 'run.json'), '--out', at('replayed')])
    expect(code, err.join('\n')).toBe(0)
    expect(out.join('\n')).toContain('3 of 3 pictures are the same to the byte')
    for (const name of [...pictures('first'), 'contact-sheet.png'])
      expect(bytes('replayed', name)).toBe(bytes('first', name))
    expect(record('replayed').samples).toEqual(record('first').samples)
  })

  test('a record without the sha256 of what was read is not replayed, and nothing is written', async () => {
    mkdirSync(at('handmade'))
    writeFileSync(at('handmade/run.json'), JSON.stringify({ ...record('first'), sha256: {} }))
    const { code, err } = await tweedie(['replay', at('handmade/run.json'), '--out', at('from-handmade')])
    expect([code, err.at(-1)]).toEqual([1, expect.stringContaining('run.json: its sha256 lacks that of --model')])
    expect(existsSync(at('from-handmade'))).toBe(false)
  })

  test('a replay takes every file that a run reads, wherever it lies now', () => {
    const reads = Object.entries<Option>(sampleOptions).filter(([, option]) => readsPath(option))
    expect(reads.map(([name]) => name)).toContain('features')
    expect(Object.keys(replay.options)).toEqual(expect.arrayContaining(reads.map(([name]) => name)))
    for (const [name, { called }] of reads) expect(called, `what replay --help calls --${name}`).toBeDefined()
  })

  test('replayed on another number of threads it is the same to the byte', async () => {
    const { code, out, err } = await tweedie([
      'replay',
      join(at('first'), 'run.json'),
      '--out',
      at('threads'),
      '--threads',
      '3',
    ])
    expect(code, err.join('\n')).toBe(0)
    expect(out.join('\n')).toContain('3 of 3 pictures are the same to the byte')
  })

  test('replayed on another backend it is nearly the same', async () => {
    const other = record('first').adapter.backend === 'cpu' ? 'webgpu' : 'cpu'
    const { code, out, err } = await tweedie([
      'replay',
      join(at('first'), 'run.json'),
      '--out',
      at('other'),
      '--backend',
      other,
    ])
    expect(code, err.join('\n')).toBe(0)
    expect(out.join('\n')).toMatch(/[0-3] of 3 pictures are the same to the byte/)
    expect(record('other').adapter.backend).toBe(other)
    for (const name of pictures('first')) {
      const [a, b] = ['first', 'other'].map((folder) => [...decode(readFileSync(join(at(folder), name))).data])
      expect(Math.max(...a.map((value, i) => Math.abs(value - b[i])))).toBeLessThanOrEqual(1)
    }
  })

  test('replayed with other weights it is refused', async () => {
    const other = readFileSync(weights)
    other[other.length - 1] ^= 1
    writeFileSync(at('other.safetensors'), other)
    const { code, err } = await tweedie([
      'replay',
      join(at('first'), 'run.json'),
      '--out',
      at('never'),
      '--model',
      at('other.safetensors'),
    ])
    expect([code, existsSync(at('never'))]).toEqual([1, false])
    expect(err.join('\n')).toMatch(/is not the file of the run: its sha256/)
  })

  test('other methods draw something else from the same seed', async () => {
    for (const [folder, ...more] of [
      ['plain'],
      ['ddim', '--method', 'ddim', '--eta', '0.5'],
      ['boosted', '--method', 'boost-and-skip', '--skip', '1'],
    ] as [string, ...string[]][]) {
      const { code, err } = await tweedie(sampleArgs(folder, ...more))
      expect(code, err.join('\n')).toBe(0)
    }
    expect(new Set(['first', 'plain', 'ddim', 'boosted'].map((folder) => bytes(folder, 'sample-0000.png'))).size).toBe(
      4,
    )
    expect(record('boosted').options).toMatchObject({ boost: 4, skip: 1 })
  })

  test('finished, it is never replaced: other options and fewer samples are refused', async () => {
    const before = snapshot('plain')
    const other = await tweedie([
      'sample',
      '--model',
      weights,
      '--respacing',
      '2',
      '--number',
      '1',
      '--out',
      at('plain'),
    ])
    expect([other.code, other.err.at(-1)]).toEqual([
      1,
      expect.stringMatching(
        /plain holds a finished run with other options \(.*--respacing.*--number.*\): choose another --out \(.*plain-2 is free\), or delete it/,
      ),
    ])
    expect((await tweedie(sampleArgs('plain').map((word) => (word === '3' ? '2' : word)))).code).toBe(1)
    expect(snapshot('plain')).toEqual(before)
  })

  test('finished, the same command makes what is missing and draws nothing', async () => {
    const before = snapshot('plain')
    for (const name of ['report.html', 'contact-sheet.png', 'sample-0002.png']) rmSync(join(at('plain'), name))
    const { code, err } = await tweedie(sampleArgs('plain'))
    expect(code, err.join('\n')).toBe(0)
    expect(err.join('\n')).toContain('2 of 3 samples are there already')
    expect(record('plain').samples).toEqual((JSON.parse(before['run.json']) as RunRecord).samples)
    for (const name of ['contact-sheet.png', 'sample-0002.png'])
      expect(readFileSync(join(at('plain'), name), 'latin1')).toBe(before[name])
    const again = snapshot('plain')
    const { err: lines } = await tweedie(sampleArgs('plain'))
    expect(lines.join('\n')).toContain('the run is finished, all 3 samples are there')
    expect(lines.join('\n')).not.toMatch(/samples \d/)
    expect(snapshot('plain')).toEqual(again)
  })

  test('a picture that somebody changed is not drawn over', async () => {
    const path = join(at('ddim'), 'sample-0001.png')
    writeFileSync(path, 'notes of mine')
    const { code, err } = await tweedie(sampleArgs('ddim', '--method', 'ddim', '--eta', '0.5'))
    expect([code, err.at(-1)]).toEqual([
      1,
      expect.stringContaining('sample-0001.png is not the picture that the run made any more: move it away'),
    ])
    expect(readFileSync(path, 'utf8')).toBe('notes of mine')
  })

  test('a larger --number adds samples to a finished run', async () => {
    const more = (folder: string, number: string): Promise<{ code: number }> =>
      tweedie(sampleArgs(folder).map((word) => (word === '3' ? number : word)))
    expect((await more('grown', '2')).code).toBe(0)
    const before = snapshot('grown')
    expect((await more('grown', '3')).code).toBe(0)
    for (const name of ['sample-0000.png', 'sample-0001.png'])
      expect(readFileSync(join(at('grown'), name), 'latin1')).toBe(before[name])
    expect(record('grown').samples).toEqual(record('plain').samples)
    expect(record('grown').seconds.batches.map(({ samples }) => samples)).toEqual([2, 1])
  })

  test('a replay does not draw over the pictures of a run, and writes nothing outside its folder', async () => {
    const before = snapshot('first')
    const inPlace = await tweedie(['replay', join(at('first'), 'run.json')])
    expect([inPlace.code, inPlace.err.at(-1)]).toEqual([
      1,
      expect.stringContaining('holds the pictures of the run: --out DIR'),
    ])
    const other = await tweedie(['replay', join(at('first'), 'run.json'), '--out', at('plain')])
    expect([other.code, other.err.at(-1)]).toEqual([
      1,
      expect.stringContaining('plain holds a finished run: choose another --out'),
    ])
    expect(snapshot('first')).toEqual(before)
    // As in the case "hostile": the record names a file of somebody's.
    mkdirSync(at('hostile'))
    writeFileSync(at('mine.safetensors'), 'mine')
    const { options, ...rest } = record('plain')
    writeFileSync(
      join(at('hostile'), 'run.json'),
      JSON.stringify({ ...rest, options: { ...options, save: at('mine.safetensors') } }),
    )
    const { code, err } = await tweedie(['replay', join(at('hostile'), 'run.json')])
    expect(code, err.join('\n')).toBe(0)
    expect(readFileSync(at('mine.safetensors'), 'utf8')).toBe('mine')
    expect((await tensorIn(join(at('hostile'), 'mine.safetensors'), 'sample')).shape).toEqual([3, 3, 32, 32])
  })

  test('--save is not written over the model, the numbers of another run or a file of the run', async () => {
    for (const [save, message] of [
      [weights, /--save .* is the same file that --model reads/],
      [join(at('hostile'), 'mine.safetensors'), /--save .* holds the numbers of another run/],
      [join(at('saving'), 'run.json'), /--save .* is also written by --out/],
      [at('first.csv'), /--save .* holds something else than this command writes/],
    ] as const) {
      const { code, err } = await tweedie(sampleArgs('saving', '--save', save))
      expect([code, err.at(-1)]).toEqual([1, expect.stringMatching(message)])
      expect(existsSync(at('saving'))).toBe(false)
    }
  })
})

test('quickstart draws plain, self-guided and minority-guided samples from the same noise', async () => {
  const { code, out, err } = await tweedie(['quickstart', '--steps', '2', '--number', '2', '--out', at('quick')])
  expect(code, err.join('\n')).toBe(0)
  expect(err[0]).toContain('2 samples of each kind (plain, self-guided, minority-guided) in 2 steps')
  expect(out.join('\n')).toMatch(/Open file:.*report\.html\nDone in \d+ s/)
  const html = readFileSync(join(at('quick'), 'report.html'), 'utf8')
  for (const folder of ['quick/plain', 'quick/self-guided', 'quick/minority-guided'])
    for (const name of pictures(folder)) expect(html).toContain(bytes(folder, name))
  expect(bytes('quick/plain', 'sample-0000.png')).not.toBe(bytes('quick/self-guided', 'sample-0000.png'))
  const [plain, guidedRun] = [record('quick/plain').options, record('quick/self-guided').options]
  expect(guidedRun).toMatchObject({ ...plain, method: 'self-guided', out: guidedRun.out })

  const before = snapshot('quick/plain')
  const again = await tweedie(['quickstart', '--steps', '2', '--number', '2', '--out', at('quick')])
  expect(again.code, again.err.join('\n')).toBe(0)
  expect(again.err.filter((line) => line.includes('the run is finished, all 2 samples are there'))).toHaveLength(3)
  const other = await tweedie(['quickstart', '--steps', '3', '--number', '2', '--out', at('quick')])
  expect([other.code, other.err.at(-1)]).toEqual([
    1,
    expect.stringMatching(/plain holds a finished run with other options \(--respacing\)/),
  ])
  expect(snapshot('quick/plain')).toEqual(before)
  const mixed = await tweedie(['quickstart', '--steps', '2', '--number', '2', '--out', at('first')])
  expect([mixed.code, mixed.err.at(-1)]).toEqual([
    1,
    expect.stringMatching(/first holds (contact-sheet\.png|report\.html), but no plain\/run\.json that it belongs to/),
  ])
})

describe('an interrupted run', () => {
  // WebGPU, because its devices can be destroyed from outside.
  const onGpu = [...guided, '--backend', 'webgpu']
  const small = at('small.safetensors')
  const smallArgs = (folder: string, ...more: string[]): string[] =>
    sampleArgs(folder, ...more).map((word) => (word === weights ? small : word))
  beforeAll(async () => {
    await writeModel(small, base)
    const { code, err } = await tweedie(smallArgs('whole', ...onGpu))
    expect(code, err.join('\n')).toBe(0)
  })

  /** A device that is lost for good as soon as the first batch of `folder` is on disk and the next has begun. */
  const losing =
    (folder: string) =>
    async (request: DeviceRequest): Promise<Device> => {
      const device = await Device.request(request)
      const flush = device.flush.bind(device)
      device.flush = async () => {
        const file = join(at(folder), 'run.json')
        if (existsSync(file) && record(folder).samples.length > 0) (device.backend as WebGPUBackend).gpuDevice.destroy()
        await flush()
      }
      return device
    }

  test('keeps finished batches when the device is lost, goes on with the same command, draws the same', async () => {
    const lost = await tweedie(smallArgs('lost', ...onGpu), { requestDevice: losing('lost') })
    expect(lost.code).toBe(1)
    expect(lost.err.at(-1)).toMatch(
      /device was lost.*Finished batches are in .*lost; the same command goes on from there/,
    )
    expect(record('lost').status).toBe('unfinished')
    expect(pictures('lost')).toEqual(['sample-0000.png', 'sample-0001.png'])

    const other = await tweedie(smallArgs('lost'))
    expect([other.code, other.err.at(-1)]).toEqual([
      1,
      expect.stringMatching(/holds an unfinished run with other options \(.*--method.*\): choose another --out/),
    ])

    const resumed = await tweedie(smallArgs('lost', ...onGpu))
    expect(resumed.code, resumed.err.join('\n')).toBe(0)
    expect(resumed.err.join('\n')).toContain('2 of 3 samples are there already')
    expect(resumed.err.join('\n')).not.toContain('samples 1 to 2')
    for (const name of [...pictures('whole'), 'contact-sheet.png'])
      expect(bytes('lost', name)).toBe(bytes('whole', name))
    expect(record('lost').samples).toEqual(record('whole').samples)
    expect(record('lost').status).toBe('done')
  })

  test('draws again what was changed on disk meanwhile', async () => {
    const old = record('lost')
    writeFileSync(join(at('lost'), 'run.json'), JSON.stringify({ ...old, status: 'unfinished' }))
    writeFileSync(join(at('lost'), 'sample-0001.png'), 'damaged')
    expect((await tweedie(smallArgs('lost', ...onGpu))).code).toBe(0)
    expect(bytes('lost', 'sample-0001.png')).toBe(bytes('whole', 'sample-0001.png'))
  })

  // Windows has no signals to send.
  if (process.platform !== 'win32')
    test('ends with 130 on Ctrl-C, through the launcher, and leaves nothing half-written', async () => {
      const launcher = fileURLToPath(new URL('../bin/tweedie.js', import.meta.url))
      const child = spawn(
        process.execPath,
        [launcher, 'sample', '--model', weights, '--respacing', '500', '--number', '2', '--out', at('stopped')],
        { stdio: ['ignore', 'ignore', 'pipe'] },
      )
      let said = ''
      const code = await new Promise((resolve) => {
        child.stderr.on('data', (chunk: Buffer) => {
          said += chunk.toString()
          if (said.includes(' 0 of 500 steps')) setTimeout(() => child.kill('SIGINT'), 300)
        })
        child.on('exit', resolve)
      })
      expect(code, said).toBe(130)
      expect(said).toMatch(/the same command goes on from there\.\ntweedie: stopped\.\n$/)
      expect(readdirSync(at('stopped'))).toEqual(['run.json'])
      expect(record('stopped').status).toBe('unfinished')
    })
})

describeShared("the reference's trajectories", () => {
  const adm16 = shared('goldens/adm16-new-order.weights.safetensors')
  const process = ['--schedule', 'cosine', '--diffusion-steps', '1000', '--respacing', '20']
  const classifier = [
    '--classifier',
    shared('goldens/classifier16.weights.safetensors'),
    '--target',
    '1',
    '--classifier-scale',
    '2.5',
  ]

  // Bounds of issue 2, section 7.2.
  test.each([
    ['ddpm20-adm16', adm16, ['--method', 'ancestral', ...process], 90],
    ['ddpm20-classifier-guided-adm16', adm16, ['--method', 'ancestral', ...process, ...classifier], 90],
    ['ddim20-eta0-adm16', adm16, ['--method', 'ddim', '--eta', '0', ...process], 90],
    ['ddim20-eta0.7-adm16', adm16, ['--method', 'ddim', '--eta', '0.7', ...process], 90],
    ['ddim20-classifier-guided-adm16', adm16, ['--method', 'ddim', ...process, ...classifier], 65],
    [
      'selfguided20-l2-adm16',
      adm16,
      [
        '--method',
        'self-guided',
        '--guide-weight',
        '0.4',
        '--guide-every',
        '5',
        '--guide-strength',
        '0.8',
        '--guide-after',
        '-1',
        '--guide-scale',
        'variance',
        '--guide-draws',
        '1',
        '--distance',
        'l2',
        ...process,
      ],
      90,
    ],
    [
      'ddpm20-classcond-iddpm16-rescaled-t',
      shared('goldens/iddpm16-classcond.weights.safetensors'),
      ['--schedule', 'cosine', '--diffusion-steps', '4000', '--rescale-timesteps', '--respacing', '20'],
      90,
    ],
    [
      'selfguided20-lpips-alex-adm32',
      shared('goldens/adm32-legacy-3level.weights.safetensors'),
      [
        '--method',
        'self-guided',
        '--guide-weight',
        '0.4',
        '--distance',
        'lpips',
        '--lpips',
        shared('weights/lpips/lpips_alex_v0.1.safetensors'),
        ...process,
      ],
      90,
    ],
  ])('%s', async (name, model, options, bound) => {
    const golden = shared(`goldens/${name}.safetensors`)
    const labels = name.includes('classcond')
      ? ['--labels', Array.from((await tensorIn(golden, 'y')).data).join(',')]
      : []
    const { session, needed, peak } = watchedDevice()
    const { code, err } = await tweedie(
      [
        'sample',
        '--model',
        model,
        ...options,
        ...labels,
        '--noise',
        golden,
        '--seed',
        '7',
        '--save',
        at(`${name}.safetensors`),
        '--out',
        at(name),
      ],
      session,
    )
    expect(code, err.join('\n')).toBe(0)
    expect(peak(), 'bytes held, at most what was asked for').toBeLessThanOrEqual(needed())
    // The scores have noise of their own, whose seed a replay needs.
    expect(record(name).options).toMatchObject({ seed: 7, noise: golden })
    expect(err.join('\n')).not.toContain('--seed')
    for (const key of ['first_step', 'middle_step', 'sample']) {
      const [found, expected] = [await tensorIn(at(`${name}.safetensors`), key), await tensorIn(golden, key)]
      expect(found.shape).toEqual(expected.shape)
      expect(psnr(found.data, expected.data), `PSNR of ${key}`).toBeGreaterThanOrEqual(bound)
    }
  })
})
