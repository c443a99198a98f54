/** Weights and arrays of strangers: the cases, files of ours with faults in them, and generated ones. */
import fc from 'fast-check'
import { zipSync } from 'fflate'
import { describe, expect, test } from 'vitest'
import { encodeNpz, openNpz } from '../src/data/index.ts'
import { bytesSource, encodeSafetensors, openCheckpoint, ownNames } from '../src/io/index.ts'
import { describeModel, planOf, readFlags, stateDictOf } from '../src/nn/index.ts'
import { flagsInFile } from '../src/nn/flags-file.ts'
import { parseConfig } from '../src/nn/parse-config.ts'
import { checkStateDict, shapesOf } from '../src/nn/state-dict.ts'
import { tweedie } from './cli.ts'
import { bounded, damaged, expectShown, hostile, hostileBytes, numRuns, survives } from './hostile.ts'
import { ascii, concat, le, pickle, stateDictPickle, torchLegacy, torchZip, type FixtureTensor } from './io-fixtures.ts'
import { describeShared } from './shared.ts'

/** Opens, describes and reads a file as a model's is. */
async function load(bytes: Uint8Array, stateDict?: string): Promise<void> {
  const source = bytesSource(bytes, 'stranger')
  const checkpoint = ownNames(await openCheckpoint(source, stateDict === undefined ? {} : { stateDict }), stateDict)
  for (const note of checkpoint.notes ?? []) expectShown(note.slice(0, 1400))
  for (const tensor of checkpoint.tensors.values()) await tensor.read()
  const { config } = describeModel(checkpoint)
  checkStateDict(stateDictOf(planOf(config)), shapesOf(checkpoint), checkpoint.name)
}

const arrays = (bytes: Uint8Array) => openNpz(bytesSource(bytes, 'stranger.npz'))

const tensors: readonly FixtureTensor[] = [
  { name: 'module.time_embed.0.weight', type: 'Float', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
  { name: 'module.label_emb', type: 'Half', shape: [2], data: Uint16Array.of(0x3c00, 0xc000) },
  { name: 'module.steps', type: 'Long', shape: [], data: BigInt64Array.of(5n) },
]

describeShared('the cases', () => {
  // Each with what its message says, or null where it is read and nothing can happen.
  test.each([
    ['blocks.safetensors', 'numResBlocks must be at most 256'],
    ['steps.safetensors', 'diffusion_steps must be at most'],
    ['deep-header.safetensors', 'deep-header.safetensors: tensor'],
    ['escape-names.safetensors', null],
    ['pickle-quadratic.pt', 'pickle-quadratic.pt: pickle at byte'],
    ['zip-names.pt', null],
  ])('info of %s', async (name, message) => {
    const { code, out, err } = await bounded(() => tweedie(['info', hostile(name)]))
    expect(code).toBe(message === null ? 0 : 1)
    if (message !== null) expect(err.join('\n')).toMatch(message)
    for (const line of [...out, ...err]) expectShown(line)
  })

  test.each([
    ['s0.npz', 'are not read, only numbers and text'],
    ['s0-max.npz', 'are not read, only numbers and text'],
    ['redos.npz', 'header of at most 10000 bytes'],
    ['overlap.npz', 'at most 200 times'],
    ['fraction.npz', 'whole numbers'],
    ['fraction2.npz', 'whole numbers'],
    ['negative.npz', 'whole numbers'],
  ])('%s as images', async (name, message) => {
    const error = await survives(() => openNpz(bytesSource(hostileBytes(name), name)))
    expect(error?.code).toBe('format')
    expect(error?.message).toMatch(message)
  })
})

describe('what would take time or memory', () => {
  test('names that are nearly right, and very long ones', async () => {
    const data = Float32Array.of(1)
    const config = JSON.stringify({
      image_size: 32,
      model_channels: 32,
      num_res_blocks: 1,
      attention_resolutions: [2],
      channel_mult: [1, 2],
    })
    const near = Array.from(
      { length: 20_000 },
      (_, i) => [`input_blocks.${i}.0.in_layers.0.weigth${i}`, { shape: [1], data }] as const,
    )
    const long = Array.from({ length: 20 }, (_, i) => ['x'.repeat(20_000) + i, { shape: [1], data }] as const)
    for (const names of [near, long])
      expect((await survives(() => load(Buffer.concat(encodeSafetensors(names, { config })))))?.code).toBe('weights')
  })

  test('a tensor that repeats one number is read up to a million of them', async () => {
    const one = { ...tensors[0], data: Float32Array.of(2), stride: [0, 0] }
    expect((await survives(() => load(torchZip([one]))))?.message).toMatch('does not say what network')
    const huge = { ...one, shape: [2 ** 20, 2 ** 10] }
    expect((await survives(() => load(torchZip([huge]))))?.message).toMatch('save it with .contiguous()')
  })

  test('a list that a pickle gives to a function again and again', async () => {
    const { str, call, global, list, int } = pickle
    const sizes = concat(list(...Array.from({ length: 30_000 }, () => int(1))), [0x71, 0, 0x30])
    const again = call(global('builtins', 'set'), Uint8Array.of(0x68, 0))
    const root = concat(
      [0x7d, 0x28],
      str('a'),
      sizes.slice(0, -1),
      ...Array.from({ length: 500 }, (_, i) => [...str(`${i}`), ...again]),
      [0x75],
    )
    const error = await survives(() => load(torchZip([], root)))
    expect(error?.message).toMatch('at most 1000000 instructions')
  })

  test('records of a zip that are the same bytes', async () => {
    const zip = zipSync({ 'images.npy': new Uint8Array(200), 'labels.npy': new Uint8Array(200) })
    // The second entry of the directory points at the first record.
    const second = Buffer.from(zip).lastIndexOf('PK\x01\x02', undefined, 'latin1')
    const same = zip.slice()
    same.set(le(0, 4), second + 42)
    expect((await survives(() => arrays(same)))?.message).toMatch('overlaps')
  })

  test('an index of shards that names what is elsewhere', async () => {
    for (const file of ['../a.safetensors', '/etc/passwd', 'a/b', '..', 'a\u001b[2J'])
      expect((await survives(() => load(ascii(JSON.stringify({ weight_map: { w: file } })))))?.message).toMatch(
        'beside',
      )
  })
})

const files: Readonly<Record<string, readonly [Uint8Array, (bytes: Uint8Array) => Promise<unknown>]>> = {
  safetensors: [
    concat(
      ...encodeSafetensors(
        [
          ['model.time_embed.0.weight', { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) }],
          ['model.b', { shape: [3], data: Int16Array.of(1, 2, 3) }],
        ],
        { config: '{"image_size": 32, "channel_mult": [1, 2]}', diffusion: '{"noise_schedule": "linear"}' },
      ),
    ),
    load,
  ],
  'PyTorch zip': [torchZip(tensors), load],
  'PyTorch, legacy': [torchLegacy(tensors), load],
  'two state dicts': [
    torchZip(
      tensors,
      pickle.dict([pickle.str('model'), stateDictPickle(tensors)], [pickle.str('ema'), stateDictPickle(tensors)]),
    ),
    (bytes) => load(bytes, 'model'),
  ],
  npz: [
    zipSync({
      'images.npy': npy('|u1', '(2, 4, 4, 3)', new Uint8Array(96)),
      'labels.npy': npy('<i8', '(2,)', new Uint8Array(16)),
    }),
    arrays,
  ],
  'npz, stored': [
    encodeNpz({ mu: { shape: [2], data: Float64Array.of(1, 2) }, arr_0: { shape: [1], data: ['a'] } }),
    arrays,
  ],
  'index of shards': [ascii('{"metadata": {"total_size": 8}, "weight_map": {"a": "m-1-of-2.safetensors"}}'), load],
}

function npy(dtype: string, shape: string, data: Uint8Array): Uint8Array {
  const header = `{'descr': '${dtype}', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117)
  return concat([0x93], ascii('NUMPY'), [1, 0], le(118, 2), ascii(header), [0x0a], data)
}

test.each(Object.entries(files))('%s: damaged files are read or refused', async (_, [file, read]) => {
  await fc.assert(
    fc.asyncProperty(damaged(file), async (bytes) => {
      await survives(() => read(bytes))
    }),
    { numRuns },
  )
})

test('any bytes, and any program of a pickle, are read or refused', async () => {
  const starts = [[], [0x80, 2], [0x50, 0x4b, 3, 4], [0x7b]]
  const { str, int, global } = pickle
  const codes = [
    0x28, 0x29, 0x5d, 0x7d, 0x4e, 0x88, 0x74, 0x85, 0x86, 0x87, 0x61, 0x65, 0x73, 0x75, 0x30, 0x52, 0x62, 0x51, 0x94,
    0x4b, 0x68, 0x81, 0x8f, 0x90, 0x91, 0x96, 0x98,
  ]
  const names = ['OrderedDict', 'Counter'].map((name) => global('collections', name))
  const rebuilt = ['_rebuild_tensor_v2', '_rebuild_tensor_v3', '_rebuild_parameter', '_rebuild_sparse_tensor']
  const piece = fc.oneof(
    fc.constantFrom(...codes).map((code) => [code]),
    fc.constantFrom(
      ...names,
      ...rebuilt.map((name) => global('torch._utils', name)),
      ...['FloatStorage', 'ComplexFloatStorage', 'UntypedStorage', 'Size', 'device', 'uint16'].map((name) =>
        global('torch', name),
      ),
      global('torch._tensor', '_rebuild_from_type_v2'),
      global('_codecs', 'encode'),
      global('builtins', 'set'),
      ...['storage', '0', 'ema', 'module.a'].map(str),
      int(4),
    ),
  )
  const program = fc.array(piece, { maxLength: 40 }).map((pieces) => torchZip([], concat(...pieces)))
  const bytes = fc.tuple(fc.constantFrom(...starts), fc.uint8Array({ maxLength: 200 })).map((parts) => concat(...parts))
  await fc.assert(
    fc.asyncProperty(fc.oneof(program, bytes), async (file) => {
      await survives(() => load(file))
    }),
    { numRuns },
  )
})

test('any configuration is read or refused', async () => {
  const keys = [
    'image_size',
    'model_channels',
    'num_res_blocks',
    'attention_resolutions',
    'channel_mult',
    'num_channels',
    'class_cond',
    'diffusion',
    'pool',
    'dropout',
    '__proto__',
  ]
  const value = fc.oneof(
    fc.integer(),
    fc.double(),
    fc.string(),
    fc.array(fc.integer({ min: -2, max: 64 }), { maxLength: 8 }),
    fc.jsonValue({ maxDepth: 3 }),
  )
  const json = fc
    .dictionary(fc.oneof(fc.constantFrom(...keys), fc.string({ maxLength: 20 })), value)
    .map((object) => JSON.stringify(object))
  const lines = fc
    .array(fc.tuple(fc.constantFrom(...keys), fc.string({ maxLength: 20 })))
    .map((pairs) => pairs.map((pair) => pair.join(': ')).join('\n'))
  await fc.assert(
    fc.asyncProperty(fc.oneof(json, lines, fc.string()), async (text) => {
      await survives(() => {
        const flags = flagsInFile(text)
        return flags ? readFlags(flags)(new Map()) : parseConfig(text, new Map())
      })
    }),
    { numRuns },
  )
})
