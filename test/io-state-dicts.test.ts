/** Which tensors of a file are the weights, and under which names: prefixes, averages, LPIPS of pip, shards. */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import { describe, expect, test } from 'vitest'
import { sha256OfFile } from '../src/cli/files.ts'
import { bytesSource, encodeSafetensors, openCheckpoint, openFile, ownNames } from '../src/io/index.node.ts'
import { encodePng } from '../src/data/index.ts'
import { flagsInFile } from '../src/nn/flags-file.ts'
import { readFlags } from '../src/nn/index.ts'
import { Tweedie } from '../src/tweedie/index.node.ts'
import { sha256OfWeights } from '../src/tweedie/model-file.ts'
import { temporaryFolder, tensorIn, tweedie, weights } from './cli.ts'
import {
  ascii,
  concat,
  le,
  pickle,
  refuses,
  stateDictPickle,
  tensorPickle,
  torchZip,
  type FixtureTensor,
} from './io-fixtures.ts'
import { describeShared, shared } from './shared.ts'

const { str, int, dict, call, global, list } = pickle
const folder = temporaryFolder()

const tensorsOf = (names: readonly string[]): FixtureTensor[] =>
  names.map((name, i) => ({ name, type: 'Float', shape: [1], data: Float32Array.of(i) }))

/** Opens a file whose storages are numbers from 0 on. */
async function open(root: Uint8Array, count: number, wanted?: string) {
  const file = torchZip(tensorsOf(Array.from({ length: count }, String)), root)
  const options = wanted === undefined ? {} : { stateDict: wanted }
  return ownNames(await openCheckpoint(bytesSource(file, 'file.pt'), options), wanted)
}

/** What a file holds: its names, each with the one number in it. */
async function numbers(checkpoint: Awaited<ReturnType<typeof openCheckpoint>>): Promise<Record<string, number>> {
  const read = async ([name, entry]: readonly [string, { read(): Promise<ArrayLike<number>> }]) =>
    [name, (await entry.read())[0]] as const
  return Object.fromEntries(await Promise.all([...checkpoint.tensors].map(read)))
}

const named = (...names: string[]): Uint8Array => stateDictPickle(tensorsOf(names))
const first = 'time_embed.0.weight'
/** The same name in storage 1. */
const second = (name = first): Uint8Array => dict([str(name), tensorPickle(tensorsOf([name])[0], '1')])

describe('what stands before every name', () => {
  test.each(['module.', '_orig_mod.', 'model.', 'model.diffusion_model.', 'module._orig_mod.'])(
    '%s',
    async (prefix) => {
      const checkpoint = await open(named(`${prefix}${first}`, `${prefix}out.2.bias`), 2)
      expect(await numbers(checkpoint)).toEqual({ [first]: 0, 'out.2.bias': 1 })
      expect(checkpoint.tensors.get(first)?.name).toBe(first)
      expect(checkpoint.notes).toEqual([`names begin with "${prefix}", which is left out`])
    },
  )

  test('what belongs to another network is left out, and said', async () => {
    const checkpoint = await open(named(`model.diffusion_model.${first}`, 'first_stage_model.a', 'betas'), 3)
    expect(await numbers(checkpoint)).toEqual({ [first]: 0 })
    expect(checkpoint.notes?.[1]).toBe('tensors of other names are left out: first_stage_model.a, betas')
  })

  test('files of networks that we do not know, and of ours, keep their names', async () => {
    expect(Object.keys(await numbers(await open(named('module.fc.weight'), 1)))).toEqual(['module.fc.weight'])
    const own = encodeSafetensors([[`model.${first}`, { shape: [1], data: Float32Array.of(1) }]], { kind: 'features' })
    const checkpoint = await openCheckpoint(bytesSource(concat(...own)))
    expect(ownNames(checkpoint)).toBe(checkpoint)
  })
})

describe('of several the average', () => {
  test.each([
    ['model', 'ema'],
    ['state_dict', 'state_dict_ema'],
    ['model', 'ema_model'],
    ['net', 'params_ema'],
  ])('%s, %s', async (raw, average) => {
    const root = dict([str(raw), named(first)], [str(average), second()], [str('step'), int(5)])
    const checkpoint = await open(root, 2)
    expect(await numbers(checkpoint)).toEqual({ [first]: 1 })
    expect(checkpoint.stateDict).toBe(average)
    expect(checkpoint.notes?.join()).toMatch(`${average}, the average, is taken, and ${raw} is left: --weights NAME`)
    expect(await numbers(await open(root, 2, raw))).toEqual({ [first]: 0 })
    await refuses(open(root, 2, 'best'), 'option', 'file.pt', 'called "best"')
  })

  test('by prefixes of one dictionary, below a key, and as latent diffusion writes it', async () => {
    const online = named(`online_model.${first}`, `ema_model.${first}`, 'initted')
    for (const root of [online, dict([str('ema'), online])])
      expect(await numbers(await open(root, 3))).toEqual({ [first]: 1 })
    expect(await numbers(await open(online, 3, 'online_model'))).toEqual({ [first]: 0 })
    expect(await numbers(await open(dict([str('ema'), dict([str('module'), named(first)])]), 1))).toEqual({
      [first]: 0,
    })
    const latent = named(
      `model.diffusion_model.${first}`,
      'model_ema.diffusion_modeltime_embed0weight',
      'model_ema.decay',
    )
    expect(await numbers(await open(latent, 3))).toEqual({ [first]: 1 })
    expect(await numbers(await open(latent, 3, 'model'))).toEqual({ [first]: 0 })
  })

  test('one that is no dictionary of tensors is said', async () => {
    const root = dict([str('model'), named(first)], [str('ema'), dict([str('shadow_params'), list(int(1))])])
    expect((await open(root, 1)).notes?.[0]).toMatch(
      'ema, which is no dictionary of tensors: model, which is not averaged',
    )
  })

  test('where none is one, which of them has to be said; what stands in a callback is none', async () => {
    await refuses(open(dict([str('a'), named(first)], [str('b'), second()]), 2), 'option', 'several state dicts, a, b')
    const lightning = dict([str('callbacks'), dict([str('best'), second('score')])], [str('state_dict'), named(first)])
    expect(await numbers(await open(lightning, 2))).toEqual({ [first]: 0 })
  })
})

describe('what stands beside weights', () => {
  const size = concat(int(1), [0x85])
  const tensor = tensorPickle(tensorsOf(['a'])[0], '0')
  const storage = (type: string, count = 1, key = '0') =>
    concat(pickle.tuple(str('storage'), global('torch', type), str(key), str('cpu'), int(count)), [0x51])

  // What torch's weights_only reads, each beside a state dict: protocol 2 as torch 1.13 writes it, 4 and 5 by hand.
  test.each([
    ['a device', call(global('torch', 'device'), str('cuda'), int(0))],
    ['a type', global('torch', 'float32')],
    ['bytes', call(global('_codecs', 'encode'), str('abÿ'), str('latin1'))],
    ['a set', call(global('__builtin__', 'set'), list(str('a')))],
    ['a set of protocol 4', concat([0x8f, 0x28], str('a'), [0x90])],
    ['a frozen set', concat([0x28], str('a'), [0x91])],
    ['a Counter', call(global('collections', 'Counter'), dict([str('a'), int(2)]))],
    ['a complex number', call(global('builtins', 'complex'), int(1), int(2))],
    ['a layout', call(global('torch.serialization', '_get_layout'), str('torch.strided'))],
    ['a bytearray of protocol 5', concat([0x96], le(2, 8), [1, 2])],
  ])('%s', async (_, value) => {
    const root = dict([str('x'), value], [str('model'), named('a')])
    expect(await numbers(await open(root, 1))).toEqual({ a: 0 })
  })

  test('protocol 5', async () => {
    const file = torchZip(tensorsOf(['a']))
    const protocol = Buffer.from(file).indexOf(Uint8Array.of(0x80, 2, 0x63))
    const five = file.slice()
    five[protocol + 1] = 5
    expect(await numbers(await openCheckpoint(bytesSource(five)))).toEqual({ a: 0 })
  })

  test('a tensor with attributes, a parameter with state, and one that is expanded', async () => {
    const args = tensor.subarray(global('torch._utils', '_rebuild_tensor_v2').length, -1)
    const typed = call(
      global('torch._tensor', '_rebuild_from_type_v2'),
      global('torch._utils', '_rebuild_tensor_v2'),
      global('torch.nn.parameter', 'Parameter'),
      args,
      dict([str('tag'), int(1)]),
    )
    const parameter = call(global('torch._utils', '_rebuild_parameter_with_state'), tensor, pickle.true, dict(), dict())
    const expanded = tensorPickle({ name: 'c', type: 'Float', shape: [3], stride: [0], data: Float32Array.of(7) }, '1')
    const root = dict([str('a'), typed], [str('b'), parameter], [str('c'), expanded])
    const checkpoint = await open(root, 2)
    expect([...(await checkpoint.tensors.get('a')!.read())]).toEqual([0])
    expect([...(await checkpoint.tensors.get('b')!.read())]).toEqual([0])
    expect([...(await checkpoint.tensors.get('c')!.read())]).toEqual([1, 1, 1])
  })

  test('tensors of a kind that is not read are left out, and said', async () => {
    const v3 = call(
      global('torch._utils', '_rebuild_tensor_v3'),
      storage('UntypedStorage', 4),
      int(0),
      size,
      size,
      pickle.false,
      dict(),
      global('torch', 'uint16'),
      pickle.none,
    )
    const sparse = call(global('torch._utils', '_rebuild_sparse_tensor'), int(1), int(2))
    const checkpoint = await open(dict([str('s'), sparse], [str('u'), v3]), 1)
    expect(checkpoint.tensors.get('u')?.dtype).toBe('U16')
    expect(checkpoint.tensors.size).toBe(1)
    expect(checkpoint.notes).toEqual(['tensors of a kind that is not read are left out: s (sparse)'])
  })

  test('an optimizer, an archive and what came in the place of a file say what they are', async () => {
    await refuses(
      open(dict([str('state'), dict()], [str('param_groups'), list()]), 0),
      'format',
      'state of an optimizer',
    )
    const says = (bytes: Uint8Array, what: string) =>
      refuses(openCheckpoint(bytesSource(bytes, 'x.pt')), 'format', 'x.pt', what)
    await says(new Uint8Array(0), 'an empty file')
    await says(ascii('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n'), 'git lfs pull')
    await says(ascii('<!DOCTYPE html><html>Google Drive - Virus scan warning</html>'), 'a page of HTML')
    await says(Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3), 'a gzip archive: unpack it')
    await says(concat(ascii('plain.pt'), new Uint8Array(249), ascii('ustar'), new Uint8Array(250)), 'a tar archive')
    await says(ascii('{"weight_map": {"a": "m.safetensors"}}'), 'an index of shards')
  })
})

describeShared('the files of ../shared/cases/not-weights', () => {
  test.each([
    ['pointer.pt', 'git lfs pull'],
    ['page.pt', 'a page of HTML'],
    ['index.json', 'an index of shards'],
  ])('%s says what it is', async (name, what) =>
    refuses(openCheckpoint(await openFile(shared(`cases/not-weights/${name}`))), 'format', name, what),
  )
})

describe('shards', () => {
  test('an index and what lies beside it are one checkpoint', async () => {
    const parts = [
      ['m-1.safetensors', ['b', 'a']],
      ['m-2.safetensors', ['c']],
    ] as const
    for (const [file, names] of parts)
      writeFileSync(
        folder(file),
        concat(
          ...encodeSafetensors(names.map((name) => [name, { shape: [1], data: Float32Array.of(name.charCodeAt(0)) }])),
        ),
      )
    const weight_map = Object.fromEntries(parts.flatMap(([file, names]) => names.map((name) => [name, file])))
    const open = async (map: object) =>
      openCheckpoint(bytesSource(ascii(JSON.stringify({ weight_map: map })), 'm.index.json'), {
        beside: (name) => openFile(folder(name)),
      })
    expect(await numbers(await open(weight_map))).toEqual({ a: 97, b: 98, c: 99 })
    await refuses(open({ ...weight_map, d: 'm-2.safetensors' }), 'format', 'm.index.json', '"d" in m-2.safetensors')
    await refuses(open({ d: 'm-3.safetensors' }), 'option', 'm-3.safetensors')
    writeFileSync(folder('m.safetensors.index.json'), JSON.stringify({ weight_map }))
    const { code, out } = await tweedie(['info', folder('m.safetensors.index.json')])
    expect([code, out.join()]).toEqual([0, expect.stringMatching(/tensors +3 /)])
    // sha256sum INDEX SHARDS | cut -c-64 | sha256sum
    const index = folder('m.safetensors.index.json')
    const sum = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex')
    const sums = [index, ...parts.map(([file]) => folder(file))].map((file) => `${sum(readFileSync(file))}\n`)
    expect(await sha256OfFile(index, new AbortController().signal)).toBe(sum(sums.join('')))
    expect(await sha256OfWeights((where) => openFile(where as string), index)).toBe(sum(sums.join('')))
    expect(await sha256OfFile(folder('m-2.safetensors'), new AbortController().signal)).toBe(sums[2].trim())
  })
})

describe('the flags of the scripts in a file', () => {
  const expected = {
    imageSize: 32,
    modelChannels: 64,
    numClasses: 1000,
    channelMult: [1, 2],
    attentionResolutions: [2],
  }
  test.each([
    [
      'JSON',
      '{"image_size": 32, "num_channels": 64, "class_cond": true, "channel_mult": [1, 2], ' +
        '"attention_resolutions": "16", "timestep_respacing": ""}',
    ],
    [
      'YAML',
      '# model\nmodel:\n  image_size: 32\n  num_channels: 64\n  class_cond: True # yes\n' +
        '  channel_mult: "1,2"\n  attention_resolutions: 16',
    ],
    ['flags', '--image_size 32 --num_channels 64 --class_cond True --channel_mult 1,2 --attention_resolutions 16'],
  ])('%s', (_, text) => {
    expect(readFlags(flagsInFile(text)!)(new Map()).config).toMatchObject(expected)
  })

  test('a configuration in the words of the constructors is none', () => {
    expect(flagsInFile('{"image_size": 32, "model_channels": 64}')).toBeUndefined()
  })
})

describeShared('a real model', () => {
  test('wrapped, averaged and beside flags: convert and load take the average, or what --weights says', async () => {
    const plain = await openCheckpoint(await openFile(shared('weights/bccd32-adm.pt')))
    const names = [...plain.tensors.keys()]
    const wrapped: [string, { shape: readonly number[]; data: Float32Array }][] = []
    for (const [prefix, factor] of [
      ['module.', 1],
      ['ema.', 2],
    ] as const)
      for (const name of names) {
        const entry = plain.tensors.get(name)!
        wrapped.push([
          `${prefix}${name}`,
          { shape: entry.shape, data: ((await entry.read()) as Float32Array).map((x) => factor * x) },
        ])
      }
    mkdirSync(folder('w'), { recursive: true })
    const file = folder('w/m.safetensors')
    writeFileSync(file, concat2(encodeSafetensors(wrapped)))
    // Those of bccd32-adm.json.
    const flags = {
      image_size: 32,
      num_channels: 32,
      num_res_blocks: 1,
      channel_mult: '1,2,2',
      attention_resolutions: '8',
      num_head_channels: 32,
      use_scale_shift_norm: true,
      resblock_updown: true,
      use_new_attention_order: true,
      class_cond: false,
      learn_sigma: true,
      diffusion_steps: 1000,
      noise_schedule: 'cosine',
      rescale_timesteps: false,
    }
    writeFileSync(folder('w/m.json'), JSON.stringify(flags))
    const { code, err } = await tweedie(['convert', file, folder('w/out.safetensors')])
    expect([code, err.join('\n')]).toEqual([0, expect.stringMatching('ema, the average, is taken, and module is left')])
    const bias = async (path: string) => (await tensorIn(path, 'time_embed.0.bias')).data[0]
    const real = (await plain.tensors.get('time_embed.0.bias')!.read())[0]
    expect(await bias(folder('w/out.safetensors'))).toBe(2 * real)
    expect((await tweedie(['convert', file, folder('w/raw.safetensors'), '--weights', 'module'])).code).toBe(0)
    expect(await bias(folder('w/raw.safetensors'))).toBe(real)
    using loaded = await Tweedie.load(file, { stateDict: 'module', backend: 'cpu', batch: 1 })
    expect(loaded).toBeDefined()
    await expect(Tweedie.load(file, { stateDict: 'best', backend: 'cpu' })).rejects.toThrow(
      'called "best", found module, ema',
    )
  })

  test('LPIPS as pip keeps it, alone or in another model, gives the scores of the file of features.*', async () => {
    const ours = shared('weights/lpips/lpips_alex_v0.1.safetensors')
    const slices: Record<string, number> = { 0: 1, 3: 2, 6: 3, 8: 4, 10: 5 }
    const scaling: FixtureTensor = { name: 'scaling_layer.shift', type: 'Float', shape: [3], data: new Float32Array(3) }
    const pip = [scaling]
    const file = await openCheckpoint(await openFile(ours))
    for (const [name, entry] of file.tensors) {
      const one = { type: 'Float', shape: entry.shape, data: (await entry.read()) as Float32Array } as const
      const [, index, rest] = /^features\.(\d+)\.(.*)$/.exec(name) ?? []
      // The lin layers stand there twice.
      const names = index ? [`net.slice${slices[index]}.${index}.${rest}`] : [name, name.replace(/^lin(\d)/, 'lins.$1')]
      pip.push(...names.map((name) => ({ ...one, name })))
    }
    await file.close()
    const value = (i: number): number => {
      const [k, x, y] = [i % 3, Math.floor(i / 3) % 40, Math.floor(i / 120)]
      return Math.min(255, Math.max(0, 127 + 100 * Math.sin(x / 7 + k) + 25 * Math.cos(y / 5 + 2 * k)))
    }
    mkdirSync(folder('plain_png'))
    const data = Uint8Array.from({ length: 48 * 40 * 3 }, (_, i) => value(i))
    writeFileSync(folder('plain_png/a.png'), encodePng({ width: 40, height: 48, channels: 3, data }))
    const score = async (lpips: string): Promise<number> => {
      const out = `${folder('scores')}-${basename(lpips)}.json`
      const argv = ['--model', weights, '--images', folder('plain_png'), '--lpips', lpips, '--backend', 'cpu']
      const { code, err } = await tweedie(['score', ...argv, '--out', out])
      expect(code, err.join('\n')).toBe(0)
      return (JSON.parse(readFileSync(out, 'utf8')) as { scores: number[] }).scores[0]
    }
    const expected = await score(ours)
    for (const prefix of ['', 'lpips.']) {
      const path = folder(`${prefix}pip.pth`)
      writeFileSync(path, torchZip(pip.map((tensor) => ({ ...tensor, name: `${prefix}${tensor.name}` }))))
      expect(await score(path), prefix).toBe(expected)
    }
  })
})

const concat2 = (chunks: readonly Uint8Array[]): Uint8Array => Buffer.concat(chunks)
