/**
 * The command line as a person meets it: help, every mistake with exit code 1 and one line, conversion, info, forward
 * passes against the goldens, and scores.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encode } from 'fast-png'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { parseArguments } from '../src/cli/arguments.ts'
import { contactSheet } from '../src/data/contact-sheet.ts'
import { sampleSettings } from '../src/cli/options/sample.ts'
import { sample } from '../src/cli/commands/sample.ts'
import { loadDistance } from '../src/cli/options/distance.ts'
import type { RunRecord } from '../src/tweedie/run-record.ts'
import type { GreyRange, MinorityScores } from '../src/diffusion/index.ts'
import {
  convertToSafetensors,
  encodeSafetensors,
  openCheckpoint,
  openFile,
  writeFileAtomic,
} from '../src/io/index.node.ts'
import { describeModel, lpipsMemoryOf, memoryOf, preset, type ModelConfig } from '../src/nn/index.ts'
import { TweedieError } from '../src/errors.ts'
import { concat, Device, mul, sub, type DeviceRequest, type Tensor } from '../src/tensor/index.ts'
import * as platform from '../src/platform/index.node.ts'
import { tensorIn, temporaryFolder, tweedie, watchedDevice, weights } from './cli.ts'
import { expectClose, numbers, testDevice } from './op.ts'
import { describeShared, shared } from './shared.ts'
import { base, writeModel } from './small-models.ts'

vi.mock(import('../src/platform/index.node.ts'), { spy: true })

const at = temporaryFolder()
const png = (path: string, size: number, channels: 1 | 3 = 3): void =>
  writeFileSync(
    path,
    encode({
      width: size,
      height: size,
      channels,
      depth: 8,
      data: Uint8Array.from({ length: size * size * channels }, (_, i) => (i * 37) % 256),
    }),
  )

beforeAll(async () => {
  for (const folder of ['empty', 'small', 'text', 'mixed']) mkdirSync(at(folder))
  png(at('small/wrong-size.png'), 16)
  writeFileSync(at('text/not-a-picture.png'), 'hello')
  png(at('mixed/a.png'), 32)
  png(at('mixed/grey, "b".png'), 32, 1)
  writeFileSync(at('plain.txt'), 'neither safetensors nor PyTorch')
  writeFileSync(at('list.json'), '[1, 2]')
  writeFileSync(at('run.json'), '{"a": 1}')
  await writeFileAtomic(
    at('unknown.safetensors'),
    encodeSafetensors([['a', { shape: [2], data: new Float32Array([1, 2]) }]]),
  )
  // The shipped weights without what process they were trained with.
  const file = await openCheckpoint(await openFile(weights))
  const { config } = file.metadata as { config: string }
  await writeFileAtomic(at('no-diffusion.safetensors'), convertToSafetensors({ ...file, metadata: { config } }))
  await file.close()
})

describe('help', () => {
  test('says what there is, and per command the options with their defaults and examples', async () => {
    const { code, out, err } = await tweedie(['--help'])
    expect([code, err]).toEqual([0, []])
    for (const name of ['quickstart', 'sample', 'replay', 'score', 'forward', 'convert', 'info']) {
      const computes = name !== 'convert'
      expect(out.join('\n')).toMatch(new RegExp(`^  ${name} `, 'm'))
      const help = (await tweedie([name, '--help'])).out.join('\n')
      expect(help).toContain(`Usage: tweedie ${name}`)
      expect(help).toMatch(/Examples?:\n {2}tweedie/)
      for (const option of ['--backend', '--threads', '--simd'])
        expect(help.includes(`  ${option} `), `${name} ${option}`).toBe(computes)
    }
    expect((await tweedie(['help', 'sample'])).out.join('\n')).toContain('--guide-weight W')
    expect((await tweedie(['--version'])).out).toEqual([JSON.parse(readFileSync('package.json', 'utf8')).version])
  })
})

describe('mistakes', () => {
  const model = ['--model', weights]
  const cases: [string, () => string[], RegExp][] = [
    ['an unknown command', () => ['sampel'], /no command "sampel", did you mean "sample"/],
    [
      'an unknown option',
      () => ['sample', ...model, '--mehtod', 'ddim'],
      /no option --mehtod, did you mean "--method"/,
    ],
    ['a forgotten value', () => ['sample', ...model, '--seed', '--eta', '1'], /--seed needs a value/],
    ['an option twice', () => ['sample', ...model, '--seed', '1', '--seed', '2'], /--seed is given twice/],
    ['a word too much', () => ['sample', weights], /is too much/],
    ['no model', () => ['sample'], /--model is required/],
    ['a model that is not there', () => ['sample', '--model', at('nothing.pt')], /cannot read .*nothing\.pt/],
    [
      'a model that is none',
      () => ['sample', '--model', at('plain.txt')],
      /plain\.txt: .*neither safetensors nor PyTorch/,
    ],
    [
      'a model that does not say what it is',
      () => ['sample', '--model', at('unknown.safetensors')],
      /does not say what network it holds/,
    ],
    [
      'weights of another network',
      () => [
        'sample',
        '--model',
        at('unknown.safetensors'),
        '--preset',
        '64x64_diffusion',
        '--labels',
        '1',
        '--respacing',
        '5',
      ],
      /unknown\.safetensors/,
    ],
    [
      'an unknown preset',
      () => ['sample', '--model', at('unknown.safetensors'), '--preset', '64x64_difusion'],
      /did you mean "64x64_diffusion"/,
    ],
    ['no schedule to be found', () => ['sample', '--model', at('no-diffusion.safetensors')], /--schedule is required/],
    [
      'a value that is none of the choices',
      () => ['sample', ...model, '--method', 'ddmi'],
      /--method: expected ancestral, ddim, .*found "ddmi", did you mean "ddim"/,
    ],
    [
      'text for a number',
      () => ['sample', ...model, '--seed', 'seven'],
      /--seed: expected a whole number .*found "seven"/,
    ],
    [
      'a number out of range',
      () => ['sample', ...model, '--method', 'ddim', '--eta', '1.5'],
      /--eta: expected a number from 0 to 1/,
    ],
    ['no samples', () => ['sample', ...model, '--number', '0'], /--number: expected a whole number/],
    ['more steps than there are', () => ['sample', ...model, '--respacing', '2000'], /respacing "2000" of 1000 steps/],
    [
      'no step guided',
      () => [
        'sample',
        ...model,
        '--respacing',
        '5',
        '--method',
        'self-guided',
        '--guide-every',
        '5',
        '--guide-after',
        '0.5',
      ],
      /--guide-every 5 and --guide-after 0\.5 guide none of the 5 steps/,
    ],
    ['all steps skipped', () => ['sample', ...model, '--respacing', '5', '--skip', '5'], /--skip 5 leaves none/],
    [
      'a backend that is none',
      () => ['sample', ...model, '--backend', 'gpu'],
      /--backend: expected auto, cpu, webgpu, found "gpu"$/,
    ],
    [
      'no threads',
      () => ['score', ...model, '--images', at('mixed'), '--threads', '0'],
      /--threads: expected a whole number from 1 to 64, found "0"/,
    ],
    [
      'relaxed SIMD by name',
      () => ['forward', ...model, '--simd', 'relaxed'],
      /--simd: expected auto, plain, found "relaxed"/,
    ],
    [
      'a switch with a number',
      () => ['sample', ...model, '--method', 'self-guided', '--guide-raw=3'],
      /--guide-raw is a switch/,
    ],
    [
      'labels for a model without classes',
      () => ['sample', ...model, '--labels', '3,8'],
      /--labels is for class-conditional models/,
    ],
    ['LPIPS without weights', () => ['sample', ...model, '--distance', 'lpips'], /--lpips FILE/],
    [
      'LPIPS weights that are none',
      () => ['sample', ...model, '--respacing', '5', '--lpips', weights, '--out', at('never')],
      /bccd32-adm/,
    ],
    ['a classifier without a target', () => ['sample', ...model, '--classifier', weights], /needs --target/],
    [
      'a U-Net for a classifier',
      () => ['sample', ...model, '--respacing', '5', '--classifier', weights, '--target', '1', '--out', at('never')],
      /a U-Net, but --classifier takes a classifier/,
    ],
    ['noise that is none', () => ['sample', ...model, '--noise', weights], /a tensor "x_T" is needed/],
    [
      'a folder for results that is a file',
      () => ['sample', ...model, '--respacing', '5', '--out', at('plain.txt')],
      /plain\.txt/,
    ],
    ['a folder without pictures', () => ['score', ...model, '--images', at('empty')], /holds no PNG/],
    ['no folder', () => ['score', ...model, '--images', at('nothing')], /nothing/],
    [
      'a picture that is none',
      () => ['score', ...model, '--images', at('text')],
      /not-a-picture\.png: neither a PNG nor a JPEG file/,
    ],
    [
      'a step that does not exist',
      () => ['score', ...model, '--images', at('mixed'), '--step', '100'],
      /The score has the steps 0 to 99, found 100/,
    ],
    ['conversion without a target', () => ['convert', weights], /needs more. Usage: tweedie convert/],
    ['conversion onto itself', () => ['convert', weights, weights], /the same file/],
    [
      'a configuration that is none',
      () => ['convert', weights, at('x.safetensors'), '--config', at('list.json')],
      /must be a JSON object/,
    ],
    [
      'input without x',
      () => ['forward', ...model, '--input', at('unknown.safetensors'), '--save', at('y.safetensors')],
      /"a" is none of x, timesteps/,
    ],
    ['no run to replay', () => ['replay', at('nothing.json')], /cannot read .*nothing\.json/],
    ['a run.json of another program', () => ['replay', at('run.json')], /run\.json: expected a run\.json of tweedie/],
  ]
  test.each(cases)('%s', async (_, argv, message) => {
    const { code, out, err } = await tweedie(argv())
    // What else is on stderr says what is being done, or what is taken instead.
    const said = err.filter((line) => !/^(note: |Computing on |Loading )/.test(line))
    expect(said.join('\n')).toMatch(message)
    expect({ code, out, lines: said.length }).toEqual({ code: 1, out: [], lines: 1 })
  })

  test('leave nothing behind', () => {
    expect(['never', 'x.safetensors', 'y.safetensors'].filter((name) => existsSync(at(name)))).toEqual([])
  })

  test('a defect is shown with its stack', async () => {
    const { code, err } = await tweedie(['info'], { requestDevice: () => Promise.reject(new RangeError('a defect')) })
    expect(code).toBe(1)
    expect(err.join('\n')).toMatch(/RangeError: a defect\n +at /)
  })
})

describe('pictures', () => {
  test('a contact sheet holds every pixel of every picture, enlarged', () => {
    const images = [10, 20, 30].map((value) => ({
      width: 32,
      height: 32,
      channels: 1 as const,
      data: new Uint8Array(1024).fill(value),
    }))
    const sheet = contactSheet(images)
    expect([sheet.width, sheet.height]).toEqual([2 * 64 + 3 * 4, 2 * 64 + 3 * 4])
    const counts = new Map<number, number>()
    for (const value of sheet.data) counts.set(value, (counts.get(value) ?? 0) + 1)
    expect([10, 20, 30].map((value) => counts.get(value))).toEqual([4096, 4096, 4096])
  })
})

describe('info', () => {
  test('lists adapters with their limits, which are software, and the CPU backend', async () => {
    const { code, out, err } = await tweedie(['info', '--threads', '3'])
    expect([code, err]).toEqual([0, []])
    const text = out.join('\n')
    expect(text).toMatch(/kind +WebGPU in (software|hardware)/)
    expect(text).toMatch(/largest tensor +\d/)
    expect(text).toMatch(/^CPU, 3 threads, (relaxed )?SIMD.*\n +kind +the CPU backend/m)
    expect(text.match(/this one is used/g)).toHaveLength(1)
  })

  test('without WebGPU there is the CPU', async () => {
    vi.spyOn(platform, 'listAdapters').mockRejectedValue(new TweedieError('webgpu-unavailable', 'nothing here'))
    const { code, out } = await tweedie(['info', '--backend', 'cpu'])
    expect(code).toBe(0)
    expect(out.join('\n')).toMatch(/^CPU.*SIMD \(this one is used\)[\s\S]*No WebGPU: nothing here/)
  })

  test('the options choose the device', async () => {
    const asked: DeviceRequest[] = []
    const requestDevice = (request: DeviceRequest): Promise<Device> => {
      asked.push(request)
      return Device.request(request)
    }
    expect(
      (await tweedie(['info', '--backend', 'cpu', '--threads', '1', '--simd', 'plain'], { requestDevice })).out.join(
        '\n',
      ),
    ).toContain('CPU, 1 thread, SIMD (this one is used)')
    expect(asked[0]).toMatchObject({ backend: 'cpu', threads: 1, simd: 'plain' })
  })

  test('says what the shipped weights are and take', async () => {
    const text = (await tweedie(['info', weights])).out.join('\n')
    expect(text).toMatch(/numbers +1,724,038/)
    expect(text).toMatch(/network +U-Net/)
    expect(text).toMatch(/process +cosine, 1000 steps/)
    expect(text).toMatch(/memory, one image +\d+\.\d MiB \(weights 6\.6 MiB\)/)
  })
})

describe('score', () => {
  test('writes a table in the order of names, the same whatever the batch', async () => {
    const run = async (batch: string, name: string): Promise<string[]> => {
      const { code, err } = await tweedie([
        'score',
        '--model',
        weights,
        '--images',
        at('mixed'),
        '--batch',
        batch,
        '--draws',
        '2',
        '--out',
        at(name),
      ])
      expect(code, err.join('\n')).toBe(0)
      expect(err.join('\n')).toContain('without LPIPS weights')
      return readFileSync(at(name), 'utf8').trimEnd().split('\n')
    }
    const rows = await run('2', 'two.csv')
    expect(rows.map((row) => row.replace(/,[\d.]+$/, ''))).toEqual(['name,score', 'a.png', '"grey, ""b"".png"'])
    const values = (lines: string[]): number[] => lines.slice(1).map((row) => Number(row.split(',').at(-1)))
    expectClose(values(await run('1', 'one.csv')), values(rows), 1e-4, 'scores in batches of one')
    expect(values(rows).every((value) => value > 0)).toBe(true)
  })
})

describe('before a device is asked for', () => {
  /** Runs until the device is asked for, and returns what was. */
  const needOf = async (argv: string[]): Promise<object | undefined> => {
    let need: object | undefined
    await tweedie(argv, {
      requestDevice: (request) => {
        need = request.need
        return Promise.reject(new Error('asked'))
      },
    })
    return need
  }
  const write = (name: string, tensors: Record<string, number[]>): Promise<void> =>
    writeFileAtomic(
      at(name),
      encodeSafetensors(
        Object.entries(tensors).map(([key, shape]) => [
          key,
          { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) },
        ]),
      ),
    )
  // The shipped model, as its metadata say.
  const config = { ...preset('cifar10_uncond_50M_500K').config }
  beforeAll(async () => {
    const file = await openCheckpoint(await openFile(weights))
    Object.assign(config, describeModel(file).config)
    await file.close()
  })

  test('a label too many', async () => {
    await write('labelled.safetensors', { x: [1, 3, 32, 32], timesteps: [1], y: [1] })
    const argv = ['forward', '--model', weights, '--input', at('labelled.safetensors'), '--save', at('y.safetensors')]
    expect(await needOf(argv)).toBeUndefined()
    expect((await tweedie(argv)).err).toEqual([expect.stringContaining('y is for class-conditional networks')])
  })

  test('the inputs of forward are counted in their own size, gradients by parameters too', async () => {
    await write('wide.safetensors', { x: [2, 3, 16, 48], timesteps: [2] })
    await write('both.safetensors', { x: [2, 3, 16, 48], timesteps: [2], cotangent: [2, 6, 16, 48] })
    const need = (name: string): Promise<object | undefined> =>
      needOf(['forward', '--model', weights, '--input', at(name), '--save', at('y.safetensors')])
    expect(await need('wide.safetensors')).toEqual(memoryOf(config, { batch: 2, size: [16, 48] }))
    expect(await need('both.safetensors')).toEqual(memoryOf(config, { batch: 2, size: [16, 48], parameters: true }))
  })

  test('given noise is counted, in its own size, and 16 images for a step', async () => {
    await write('noise.safetensors', { x_T: [1, 3, 16, 48], noise: [4, 1, 3, 16, 48] })
    const argv = [
      'sample',
      '--model',
      weights,
      '--respacing',
      '4',
      '--noise',
      at('noise.safetensors'),
      '--out',
      at('never'),
    ]
    const { bytes, largestBuffer, work } = memoryOf(config, { batch: 1, size: [16, 48], steps: 4 })
    expect(await needOf(argv)).toEqual({ bytes: bytes + (16 + 5) * 4 * 3 * 16 * 48, largestBuffer, work })
  })

  test("the weight of classifier guidance is the preset's, then 1", () => {
    const scale = (name: string, ...more: string[]): number | undefined => {
      const given = [
        '--model',
        'm.pt',
        '--preset',
        name,
        '--classifier',
        'c.pt',
        '--target',
        '1',
        '--distance',
        'l2',
        ...more,
      ]
      return sampleSettings(parseArguments(sample, given), preset(name)).classifier?.scale
    }
    expect([
      scale('256x256_diffusion_uncond'),
      scale('lsun_cat'),
      scale('256x256_diffusion_uncond', '--classifier-scale', '3'),
    ]).toEqual([10, 1, 3])
  })
})

describeShared('LPIPS', () => {
  const lpips = shared('weights/lpips/lpips_alex_v0.1.safetensors')

  test('its weights and maps are asked for', async () => {
    const { session, needed, peak } = watchedDevice()
    const { code, err } = await tweedie(
      ['score', '--model', weights, '--images', at('mixed'), '--lpips', lpips, '--out', at('lpips.csv')],
      session,
    )
    expect(code, err.join('\n')).toBe(0)
    expect(needed()).toBeGreaterThan(lpipsMemoryOf('alex', { batch: 2, size: [32, 32] }).bytes)
    expect(peak(), 'bytes held, at most what was asked for').toBeLessThanOrEqual(needed())
  })

  test.each([
    ['first', '3'],
    ['both', '2'],
  ])(
    'self-guidance through %s, %s draws: the passes and maps that wait for its gradient are asked for',
    async (through, draws) => {
      const { session, needed, peak } = watchedDevice()
      const { code, err } = await tweedie(
        [
          'sample',
          '--model',
          weights,
          '--lpips',
          lpips,
          '--self-guided',
          '--guide-through',
          through,
          '--guide-draws',
          draws,
          '--guide-every',
          '1',
          '--respacing',
          '2',
          '--number',
          '2',
          '--backend',
          'cpu',
          '--threads',
          '2',
          '--out',
          at(`guided ${through} ${draws}`),
        ],
        { requestDevice: session.requestDevice },
      )
      expect(code, err.join('\n')).toBe(0)
      expect(peak(), 'bytes held, at most what was asked for').toBeLessThanOrEqual(needed())
    },
  )

  test('grey images are in [-1, 1] for scores and guidance alike, or in [0, 1] if that is said', async () => {
    const device = await testDevice()
    const load = (greyRange: GreyRange | null) =>
      loadDistance(device, { distance: 'lpips', lpips, features: null, greyRange }, new AbortController().signal)
    const [loaded, unit] = [await load('-1..1'), await load('0..1')]
    const [a, b] = [1, 2].map((seed) => device.tensor(numbers(2 * 32 * 32, seed), [2, 1, 32, 32]))
    const read = async (f: () => Tensor): Promise<Float32Array> => {
      using result = device.scope(f)
      return result.read()
    }
    const three = (x: Tensor): Tensor => concat([x, x, x], 1)
    const spread = (x: Tensor): Tensor => three(sub(mul(x, 2), 1))
    expectClose(
      await read(() => loaded.distance(a, b)),
      await read(() => loaded.distance(three(a), three(b))),
      1e-6,
      '-1..1',
    )
    expectClose(
      await read(() => unit.distance(a, b)),
      await read(() => loaded.distance(spread(a), spread(b))),
      1e-6,
      '0..1',
    )
    expect(await read(() => unit.distance(three(a), three(b)))).toEqual(
      await read(() => loaded.distance(three(a), three(b))),
    )
    for (const owned of [a, b, loaded, unit]) owned.dispose()
  })

  test('score and sample measure the same pictures of a grey model alike, in either range', async () => {
    const grey: ModelConfig = { ...base, imageSize: 32, inChannels: 1, outChannels: 2 }
    await writeModel(at('grey32'), grey)
    for (const range of ['-1..1', '0..1']) {
      const out = at(`grey ${range}`)
      const same = [
        '--model',
        at('grey32'),
        '--lpips',
        lpips,
        '--grey-range',
        range,
        '--seed',
        '3',
        '--backend',
        'cpu',
        '--threads',
        '1',
      ]
      expect(
        (await tweedie(['sample', ...same, '--self-guided', '--respacing', '2', '--number', '2', '--out', out])).code,
      ).toBe(0)
      expect((await tweedie(['score', ...same, '--data', out, '--out', `${out}.json`])).code).toBe(0)
      const record = JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as RunRecord
      expect(record.options['grey-range']).toBe(range)
      const drawn = record.samples.map(({ score }) => score!)
      // Score sees the pictures in 8 bits.
      expectClose((JSON.parse(readFileSync(`${out}.json`, 'utf8')) as MinorityScores).scores, drawn, 5e-3, range)
    }
  })
})

describeShared('convert and forward', () => {
  test('a network of classes needs labels, which is said before it is loaded', async () => {
    const file = await openCheckpoint(await openFile(shared('goldens/iddpm16-classcond.io.safetensors')))
    const [x, timesteps] = await Promise.all(
      ['x', 'timesteps'].map(async (key) => ({
        shape: file.tensors.get(key)!.shape,
        data: await file.tensors.get(key)!.read(),
      })),
    )
    await file.close()
    await writeFileAtomic(
      at('unlabelled.safetensors'),
      encodeSafetensors([
        ['x', x as never],
        ['timesteps', timesteps as never],
      ]),
    )
    const { code, err } = await tweedie([
      'forward',
      '--model',
      shared('goldens/iddpm16-classcond.weights.safetensors'),
      '--input',
      at('unlabelled.safetensors'),
      '--save',
      at('y.safetensors'),
    ])
    expect([code, err]).toEqual([1, [expect.stringContaining('class-conditional and needs y')]])
  })

  test('converting what is converted keeps it, metadata and all', async () => {
    expect((await tweedie(['convert', weights, at('again.safetensors')])).code).toBe(0)
    expect(readFileSync(at('again.safetensors')).equals(readFileSync(weights))).toBe(true)
  })

  test('a checkpoint that says nothing needs --config, and gets it in its metadata', async () => {
    const described = await tweedie(['convert', shared('weights/bccd32-adm.pt'), at('converted.safetensors')])
    expect([described.code, described.out.length]).toEqual([0, 1])
    copyFileSync(shared('weights/bccd32-adm.pt'), at('bare.pt'))
    const bare = await tweedie(['convert', at('bare.pt'), at('bare.safetensors')])
    expect([bare.code, bare.out.join()]).toEqual([0, expect.stringContaining('was not said')])
    expect(
      (
        await tweedie([
          'convert',
          at('bare.safetensors'),
          at('said.safetensors'),
          '--config',
          shared('weights/bccd32-adm.json'),
        ])
      ).code,
    ).toBe(0)
    expect(readFileSync(at('said.safetensors')).equals(readFileSync(at('converted.safetensors')))).toBe(true)
    const wrong = await tweedie([
      'convert',
      at('bare.pt'),
      at('wrong.safetensors'),
      '--preset',
      'cifar10_uncond_50M_500K',
    ])
    expect([wrong.code, existsSync(at('wrong.safetensors'))]).toEqual([1, false])
  })

  test('info tells LPIPS weights from their tensors', async () => {
    expect((await tweedie(['info', shared('weights/lpips/lpips_alex_v0.1.safetensors')])).out.join('\n')).toContain(
      'LPIPS, alex',
    )
  })

  test.each([
    [shared('weights/bccd32-adm.pt'), shared('weights/bccd32-adm.io.safetensors'), ['x']],
    [
      shared('goldens/iddpm16-classcond.weights.safetensors'),
      shared('goldens/iddpm16-classcond.io.safetensors'),
      ['x', 'label_emb.weight'],
    ],
    [
      shared('goldens/classifier16.weights.safetensors'),
      shared('goldens/classifier16.io.safetensors'),
      ['x', 'out.2.positional_embedding'],
    ],
    [shared('goldens/superres32-from8.weights.safetensors'), shared('goldens/superres32-from8.io.safetensors'), []],
  ])('forward %s', async (model, io, gradients) => {
    const { session, needed, peak } = watchedDevice()
    const { code, err } = await tweedie(
      ['forward', '--model', model, '--input', io, '--save', at('out.safetensors')],
      session,
    )
    expect(code, err.join('\n')).toBe(0)
    expect(peak(), 'bytes held, at most what was asked for').toBeLessThanOrEqual(needed())
    // Tolerances of issue 2, section 7.2.
    expectClose((await tensorIn(at('out.safetensors'), 'out')).data, (await tensorIn(io, 'out')).data, 1e-4, 'out')
    for (const name of gradients) {
      const key = name === 'x' ? 'grad_x' : `grad.${name}`
      const [found, expected] = [await tensorIn(at('out.safetensors'), key), await tensorIn(io, key)]
      expect(found.shape).toEqual(expected.shape)
      expectClose(found.data, expected.data, 1e-3, key, 0.1)
    }
  })
})
