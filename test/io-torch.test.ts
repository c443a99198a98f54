/** PyTorch's files, zip and legacy: real ones against what torch says of them, made ones, and what is refused. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { zipSync } from 'fflate'
import { describe, expect, test } from 'vitest'
import {
  bytesSource,
  convertToSafetensors,
  encodeSafetensors,
  openCheckpoint,
  openFile,
  writeFileAtomic,
} from '../src/io/index.node.ts'
import type { Checkpoint } from '../src/io/index.node.ts'
import {
  ascii,
  concat,
  le,
  pickle,
  recording,
  refuses,
  stateDictPickle,
  survives,
  tensorPickle,
  torchLegacy,
  torchZip,
} from './io-fixtures.ts'
import type { FixtureTensor } from './io-fixtures.ts'
import { describeShared, shared } from './shared.ts'

const open = (bytes: Uint8Array, name = 'file.pt') => openCheckpoint(bytesSource(bytes, name))

/** Everything in a checkpoint, to compare. */
async function contents(checkpoint: Checkpoint) {
  const all: [string, readonly number[], string, number[]][] = []
  for (const { name, shape, dtype, read } of checkpoint.tensors.values())
    all.push([name, shape, dtype, [...(await read())]])
  return all
}

const tensors: readonly FixtureTensor[] = [
  {
    name: 'qkv.weight',
    type: 'Float',
    shape: [6, 2, 1],
    data: Float32Array.from({ length: 12 }, (_, i) => Math.sin(i)),
  },
  { name: 'label_emb', type: 'Half', shape: [2], data: Uint16Array.of(0x3c00, 0xc000) },
  { name: 'steps', type: 'Long', shape: [], data: BigInt64Array.of(100096n) },
  { name: 'empty', type: 'Float', shape: [0, 3], data: new Float32Array(0) },
]
const zip = torchZip(tensors),
  legacy = torchLegacy(tensors)
const containers = [
  ['zip', torchZip],
  ['legacy', torchLegacy],
] as const

/** The same archive with a zip64 directory (APPNOTE 4.3.14, 4.3.15, 4.5.3): all 32-bit fields say "look there". */
function zip64(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const end = bytes.length - 22
  const count = view.getUint16(end + 10, true),
    directory = view.getUint32(end + 16, true)
  const entries: Uint8Array[] = []
  for (let at = directory, i = 0; i < count; i++) {
    const nameEnd = at + 46 + view.getUint16(at + 28, true)
    const head = bytes.slice(at, nameEnd)
    const size = view.getUint32(at + 24, true),
      header = view.getUint32(at + 42, true)
    head.set([...le(0xffffffffffffffffn, 8)], 20)
    head.set([36, 0], 30)
    head.set(le(0xffffffff, 4), 42)
    // An extra field of another kind stands before it.
    entries.push(
      concat(head, le(0x4246, 2), le(4, 2), [0, 0, 0, 0], le(1, 2), le(24, 2), le(size, 8), le(size, 8), le(header, 8)),
    )
    at = nameEnd + view.getUint16(at + 30, true) + view.getUint16(at + 32, true)
  }
  const all = concat(...entries)
  const record = concat(
    le(0x06064b50, 4),
    le(44, 8),
    le(45, 2),
    le(45, 2),
    le(0, 4),
    le(0, 4),
    le(count, 8),
    le(count, 8),
    le(all.length, 8),
    le(directory, 8),
  )
  const locator = concat(le(0x07064b50, 4), le(0, 4), le(directory + all.length, 8), le(1, 4))
  const last = concat(le(0x06054b50, 4), le(0, 4), le(0xffffffff, 4), le(0xffffffffffffffffn, 8), le(0, 2))
  return concat(bytes.subarray(0, directory), all, record, locator, last)
}

describe('made files', () => {
  test('zip, legacy and safetensors give identical tensors', async () => {
    const fromZip = await contents(await open(zip))
    expect(fromZip.map(([name, shape, dtype]) => [name, shape, dtype])).toEqual([
      ['qkv.weight', [6, 2, 1], 'F32'],
      ['label_emb', [2], 'F16'],
      ['steps', [], 'I64'],
      ['empty', [0, 3], 'F32'],
    ])
    expect(fromZip.map(([, , , data]) => data)).toEqual([[...tensors[0].data], [1, -2], [100096], []])
    expect(await contents(await open(legacy))).toEqual(fromZip)
    const plain = encodeSafetensors([
      ['qkv.weight', { shape: [6, 2, 1], data: tensors[0].data as Float32Array }],
      ['label_emb', { shape: [2], data: Float32Array.of(1, -2) }],
      ['steps', { shape: [], data: BigInt64Array.of(100096n) }],
      ['empty', { shape: [0, 3], data: new Float32Array(0) }],
    ])
    const widened = fromZip.map(([name, shape, dtype, data]) => [name, shape, dtype === 'F16' ? 'F32' : dtype, data])
    expect(await contents(await open(concat(...plain)))).toEqual(widened)
  })

  test.each([
    ['Double', Float64Array.of(0.5, -2), 'F64', [0.5, -2]],
    ['Float', Float32Array.of(0.5, -2), 'F32', [0.5, -2]],
    ['Half', Uint16Array.of(0x3800, 0xc000), 'F16', [0.5, -2]],
    ['BFloat16', Uint16Array.of(0x3f00, 0xc000), 'BF16', [0.5, -2]],
    ['Long', BigInt64Array.of(-1n, 5n), 'I64', [-1, 5]],
    ['Int', Int32Array.of(-1, 5), 'I32', [-1, 5]],
    ['Short', Int16Array.of(-1, 5), 'I16', [-1, 5]],
    ['Char', Int8Array.of(-1, 5), 'I8', [-1, 5]],
    ['Byte', Uint8Array.of(255, 5), 'U8', [255, 5]],
    ['Bool', Uint8Array.of(1, 0), 'BOOL', [1, 0]],
  ] as const)('torch.%sStorage', async (type, data, dtype, expected) => {
    for (const [, make] of containers) {
      expect(await contents(await open(make([{ name: 'w', type, shape: [2], data }])))).toEqual([
        ['w', [2], dtype, expected],
      ])
    }
  })

  test.each([
    ['a transposed matrix', [3, 2], [1, 3], 0, [0, 3, 1, 4, 2, 5]],
    ['a view with an offset', [2, 2], [2, 1], 5, [5, 6, 7, 8]],
    ['every other element', [3], [2], 1, [1, 3, 5]],
    ['a permuted 3-D tensor', [2, 2, 3], [1, 6, 2], 0, [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]],
    ['a row broadcast', [3, 2], [0, 1], 4, [4, 5, 4, 5, 4, 5]],
    ['a scalar', [], [], 7, [7]],
    ['any stride where the size is 1', [1, 3, 1], [99, 1, 77], 2, [2, 3, 4]],
  ] as const)('%s', async (_, shape, stride, offset, expected) => {
    const data = Float32Array.from({ length: 12 }, (_, i) => i)
    for (const [, make] of containers) {
      const checkpoint = await open(make([{ name: 'w', type: 'Float', shape, stride, offset, data }]))
      expect(await contents(checkpoint)).toEqual([['w', shape, 'F32', expected]])
    }
  })

  test('any strides gather to C order', async () => {
    const axes = fc.shuffledSubarray([0, 1, 2, 3], { minLength: 1 })
    const fourSizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 4, maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(axes, fourSizes, async (order, sizes) => {
        // Memory holds the axes in `order`; the tensor shows them ascending.
        const stride = new Array<number>(4).fill(0)
        let count = 1
        for (const axis of [...order].reverse()) {
          stride[axis] = count
          count *= sizes[axis]
        }
        const shown = [...order].sort()
        const shape = shown.map((axis) => sizes[axis]),
          strides = shown.map((axis) => stride[axis])
        let expected = [0]
        shape.forEach((n, d) => {
          expected = expected.flatMap((at) => Array.from({ length: n }, (_, i) => at + i * strides[d]))
        })
        const data = Int16Array.from({ length: count }, (_, i) => i)
        const file = torchZip([{ name: 'w', type: 'Short', shape, stride: strides, data }])
        expect((await contents(await open(file)))[0][3]).toEqual(expected)
      }),
    )
  })

  test('a view reads its span and no more', async () => {
    const view = { name: 'w', type: 'Float', shape: [2], offset: 900, data: new Float32Array(1000) }
    const { source, reads } = recording(torchZip([view]))
    const checkpoint = await openCheckpoint(source)
    reads.length = 0
    await checkpoint.tensors.get('w')!.read()
    expect(reads).toEqual([30, 8])
  })

  test('zip64: every size and offset in the extra fields, as past 4 GiB', async () => {
    expect(await contents(await open(zip64(zip)))).toEqual(await contents(await open(zip)))
    const bytes = zip64(zip)
    for (let length = 0; length < bytes.length; length++) expect(await survives(bytes.subarray(0, length))).toBe(false)
  })

  test('a Parameter is its tensor, a storage may be shared, and a zip may have a comment', async () => {
    const [weight] = tensors
    const { str, call, global, dict, true: yes } = pickle
    const tensor = tensorPickle(weight, '0')
    const parameter = call(global('torch._utils', '_rebuild_parameter'), tensor, yes, dict())
    const file = torchZip([weight], dict([str('a'), parameter], [str('b'), tensor]))
    const commented = concat(file.subarray(0, -2), le(5, 2), ascii('hello'))
    const got = await contents(await open(commented))
    expect(got.map(([key]) => key)).toEqual(['a', 'b'])
    expect(got[0].slice(1)).toEqual(got[1].slice(1))
    expect(got[0][3]).toEqual([...weight.data])
  })
})

describe('which dictionary is the state dict', () => {
  const { dict, str, int } = pickle
  const weights = stateDictPickle(tensors.slice(0, 1)),
    epoch = [str('epoch'), int(3)] as const
  const zipOf = (root: Uint8Array) => torchZip(tensors.slice(0, 1), root)

  test.each(['state_dict', 'model_state_dict', 'ema', 'model'])('the one under %s', async (key) => {
    const checkpoint = await open(zipOf(dict(epoch, [str(key), weights])))
    expect([...checkpoint.tensors.keys()]).toEqual(['qkv.weight'])
  })

  test('none, or no dictionary: an error lists what there is', async () => {
    await refuses(
      open(zipOf(dict(epoch, [str('network'), int(3)]))),
      'format',
      'file.pt',
      'the keys epoch, network',
      'state_dict',
    )
    await refuses(open(zipOf(dict())), 'format', /the keys \(none\)/)
    await refuses(open(zipOf(int(3))), 'format', 'found no dictionary')
  })
})

describe('what is refused', () => {
  const { stream, int, str, tuple, list, dict, call, global } = pickle
  const one: FixtureTensor[] = [{ name: 'w', type: 'Float', shape: [4], data: new Float32Array(4) }]
  const containing = (root: Uint8Array) => torchZip(one, root)

  describe('a pickle that names another global', () => {
    const attack = call(global('os', 'system'), str('echo owned'))
    test.each([
      ['in a zip', containing(attack)],
      ['in a legacy file', torchLegacy(one, attack)],
      ['as a bare pickle', stream(attack)],
      ['inside a state dict', containing(dict([str('w'), attack]))],
      ['by STACK_GLOBAL of protocol 4', containing(concat(str('os'), str('system'), [0x93], tuple(str('x')), [0x52]))],
      ['by INST', containing(concat([0x28], str('x'), [0x69], ascii('os\nsystem\n')))],
      [
        'in a persistent id',
        containing(concat(tuple(str('storage'), global('os', 'system'), str('0'), str('cpu'), int(4)), [0x51])),
      ],
    ])('%s', async (_, bytes) => {
      await refuses(open(bytes), 'format', 'file.pt', '"os.system"', 'runs what it names')
    })

    test.each([
      ['builtins', 'eval'],
      ['torch', 'load'],
      ['torch', 'FloatStorage.from_file'],
      ['torch._utils', '_rebuild_device_tensor_from_numpy'],
      ['numpy.core.multiarray', 'scalar'],
      ['constructor', 'prototype'],
      ['', ''],
    ])('%s.%s', async (module, name) => {
      await refuses(open(containing(global(module, name))), 'format', `"${module}.${name}"`)
    })
  })

  test.each<[string, Uint8Array, string | RegExp]>([
    ['a stack underflow', Uint8Array.of(0x85), 'underflow'],
    ['a pop below a mark', concat(int(1), [0x28, 0x30]), 'underflow'],
    ['a tuple without a mark', Uint8Array.of(0x74), 'mark'],
    ['a stop on an empty stack', Uint8Array.of(0x2e), 'underflow'],
    ['an unknown memo', Uint8Array.of(0x68, 3), 'memo 3'],
    ['a memo of nothing', Uint8Array.of(0x71, 3), 'underflow'],
    ['an unknown instruction', Uint8Array.of(0xff), '0xff'],
    ['a protocol of the future', Uint8Array.of(0x80, 6), 'found 6'],
    ['a string longer than the stream', concat([0x58], le(0xffffffff, 4)), '4294967295 bytes more'],
    ['a string of 2^63 bytes', concat([0x8d], le(2n ** 63n, 8)), 'found the end'],
    ['a string that is no UTF-8', concat([0x55, 1, 0xff]), 'UTF-8'],
    ['a global without an end', ascii('cos'), 'found the end'],
    ['a call of a number', concat(int(1), tuple(), [0x52]), 'function to call'],
    ['a call without a tuple', concat(global('collections', 'OrderedDict'), int(1), [0x52]), 'tuple'],
    [
      'a call with many arguments',
      concat(global('collections', 'OrderedDict'), [0x28], new Uint8Array(300_000).fill(0x4e), [0x74, 0x52]),
      '16 arguments',
    ],
    ['an OrderedDict of numbers', call(global('collections', 'OrderedDict'), list(int(1))), 'pairs'],
    ['an append to a number', concat(int(1), int(2), [0x61]), 'list to append'],
    ['items of a list', concat([0x5d], int(1), int(2), [0x73]), 'dictionary to fill'],
    ['a key without a value', concat([0x7d, 0x28], int(1), [0x75]), 'key without'],
    ['attributes of a list', concat([0x5d], dict(), [0x62]), 'of a dictionary or a tensor'],
    ['a persistent id of another kind', concat(tuple(str('module')), [0x51]), 'persistent id'],
    ['a persistent id that is no tuple', concat(str('0'), [0x51]), 'persistent id'],
    ['a tensor without arguments', call(global('torch._utils', '_rebuild_tensor_v2')), 'storage, offset, shape'],
    [
      "a tensor of a storage's class",
      call(
        global('torch._utils', '_rebuild_tensor_v2'),
        global('torch', 'FloatStorage'),
        int(0),
        tuple(int(0)),
        tuple(int(1)),
      ),
      'storage, offset',
    ],
    ['a parameter of a number', call(global('torch._utils', '_rebuild_parameter'), int(1)), 'holds a tensor'],
    ['a million instructions', new Uint8Array(1_000_001).fill(0x4e), '1000000 instructions'],
  ])('a pickle with %s', async (_, root, message) => {
    await refuses(open(containing(root)), 'format', 'file.pt', message)
  })

  test('a nest of half a million lists', async () => {
    const nest = concat(new Uint8Array(480_000).fill(0x5d), new Uint8Array(479_999).fill(0x61))
    await refuses(open(containing(nest)), 'format', 'no dictionary')
    // As the key of a dictionary it must not be spelled out either.
    await refuses(open(containing(concat([0x7d], nest, int(1), [0x73]))), 'format', 'the keys object')
  })

  test.each(containers)('%s: a tensor outside of its storage', async (_, make) => {
    const bad = (change: Partial<FixtureTensor>) => open(make([{ ...one[0], ...change }]))
    await refuses(bad({ shape: [5] }), 'format', 'within the 4 elements of storage 0')
    await refuses(bad({ offset: 1 }), 'format', 'within the 4 elements')
    await refuses(bad({ stride: [2] }), 'format', 'within the 4 elements')
    await refuses(bad({ offset: -1 }), 'format', 'storage, offset')
    await refuses(bad({ shape: [-4] }), 'format', 'storage, offset')
    await refuses(bad({ stride: [-1] }), 'format', 'storage, offset')
    await refuses(bad({ stride: [] }), 'format', 'as many strides')
    // 2^30 elements out of 4: a bomb.
    await refuses(bad({ shape: [2 ** 30], stride: [0] }), 'format', 'within the 4 elements')
    const sizes = new Array<number>(40).fill(2 ** 30).concat(0)
    await refuses(bad({ shape: sizes, stride: sizes.map(() => 0) }), 'format', 'within')
  })

  test('a storage described in two ways', async () => {
    const id = (type: string, count: number) =>
      concat(tuple(str('storage'), global('torch', `${type}Storage`), str('0'), str('cpu'), int(count)), [0x51])
    await refuses(open(containing(list(id('Float', 4), id('Int', 4)))), 'format', 'storage 0', '4 F32 and 4 I32')
    await refuses(open(containing(list(id('Float', 4), id('Float', 2)))), 'format', 'storage 0')
  })

  describe('a broken zip', () => {
    test('cut anywhere', async () => {
      expect(await survives(zip)).toBe(true)
      for (let length = 0; length < zip.length; length++) expect(await survives(zip.subarray(0, length))).toBe(false)
    })

    test('with a record missing, short, twice, compressed or encrypted', async () => {
      await refuses(open(torchZip([], stateDictPickle(one))), 'format', 'storage 0', 'found none')
      for (const n of [3, 5]) {
        const file = torchZip([{ ...one[0], data: new Float32Array(n) }], stateDictPickle(one))
        await refuses(open(file), 'format', '16 bytes', `found ${4 * n}`)
      }
      await refuses(open(torchZip(one, undefined, 6)), 'format', 'packed the file again')
      const two = torchZip([one[0], one[0]])
      const patch = (edit: (bytes: Uint8Array, directory: number) => void) => {
        const bytes = two.slice()
        edit(bytes, new DataView(bytes.buffer).getUint32(bytes.length - 6, true))
        return bytes
      }
      // The second directory entry's name, "archive/data/0", becomes a copy of the third's, "archive/data/1".
      await refuses(
        open(
          patch((b, at) => {
            b[b.indexOf(0x30, at + 46 + 16 + 46)] = 0x31
          }),
        ),
        'format',
        'archive/data/1',
        'twice',
      )
      await refuses(
        open(
          patch((b, at) => {
            b[at + 8] |= 1
          }),
        ),
        'format',
        'encryption',
      )
      await refuses(
        open(
          patch((b, at) => {
            b[at] = 0
          }),
        ),
        'format',
        'found 0',
      )
      await refuses(
        open(
          patch((b, at) => {
            b[at + 20] ^= 1
          }),
        ),
        'format',
        'as many stored bytes',
      )
      await refuses(
        open(
          patch((b) => {
            b[2] = 0
          }),
        ),
        'format',
        'archive/data.pkl',
        'header',
      )
      await refuses(
        open(
          patch((b, at) => {
            b.fill(0xff, at + 20, at + 28)
          }),
        ),
        'format',
        'zip64',
      )
    })

    test('that is another kind of zip', async () => {
      await refuses(open(zipSync({ 'word/document.xml': ascii('x') }, { level: 0 })), 'format', 'found 0 among 1')
      await refuses(
        open(zipSync({ 'a/data.pkl': ascii('x'), 'b/data.pkl': ascii('x') }, { level: 0 })),
        'format',
        'found 2',
      )
      const records = {
        'a/data.pkl': stream(stateDictPickle(one)),
        'a/byteorder': ascii('big'),
        'a/data/0': new Uint8Array(16),
      }
      await refuses(open(zipSync(records, { level: 0 })), 'format', 'byte order "big"')
    })
  })

  describe('a broken legacy file', () => {
    test('cut anywhere', async () => {
      expect(await survives(legacy)).toBe(true)
      for (let length = 0; length < legacy.length; length++)
        expect(await survives(legacy.subarray(0, length))).toBe(false)
    })

    test('with other pickles', async () => {
      const magic = stream(concat([0x8a, 10], le(0x1950a86a20f9469cfc6cn, 10)))
      const system = stream(dict([str('little_endian'), pickle.true]))
      await refuses(open(stream(int(1))), 'format', 'magic number')
      await refuses(open(concat(magic, stream(int(7)))), 'format', 'protocol 1001', 'found 7')
      const bigEndian = stream(dict([str('little_endian'), pickle.false]))
      await refuses(open(concat(magic, stream(int(1001)), bigEndian)), 'format', 'little-endian')
      const head = concat(magic, stream(int(1001)), system, stream(stateDictPickle(one, true)))
      await refuses(open(concat(head, stream(int(1)))), 'format', 'list of storage keys')
      await refuses(open(concat(head, stream(list()))), 'format', 'storage 0', 'found none')
      await refuses(open(concat(head, stream(list(str('1'))), le(4, 8), new Uint8Array(16))), 'format', 'found key 1')
      await refuses(
        open(concat(head, stream(list(str('0'))), le(5, 8), new Uint8Array(20))),
        'format',
        '4 elements, found 5',
      )
      await refuses(
        open(concat(head, stream(list(str('0'))), le(4, 8), new Uint8Array(12))),
        'format',
        'storage 0',
        'end of the file',
      )
    })
  })

  test('abort at opening and at reading, with the reason', async () => {
    const reason = new Error('enough')
    for (const bytes of [zip, legacy]) {
      await expect(openCheckpoint(bytesSource(bytes), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
      const { tensors } = await open(bytes)
      for (const tensor of tensors.values()) await expect(tensor.read(AbortSignal.abort(reason))).rejects.toBe(reason)
    }
  })
})

test('a safetensors header whose length starts with 0x80 is no pickle', async () => {
  const bytes = concat(
    ...encodeSafetensors([['w', { shape: [1], data: Float32Array.of(3) }]], { pad: 'x'.repeat(560) }),
  )
  expect([bytes[0], bytes[1]]).toEqual([0x80, 2])
  expect(await contents(await open(bytes))).toEqual([['w', [1], 'F32', [3]]])
})

describeShared('real files', () => {
  const openShared = async (path: string) => openCheckpoint(await openFile(shared(path)))
  const sum = (data: Iterable<number>) => {
    let s = 0
    for (const v of data) s += v
    return s
  }

  // Counts, sums and sums of absolute values in float64 by torch 1.13: torch.load(path), v.double().sum().
  test.each([
    ['weights/bccd32-adm.pt', 198, 1_371_974, -270.98825373963814, 41975.242824059154],
    ['weights/ddpm_brianpulfer/ddpm_mnist.pt', 173, 606_852, 131950.9056069304, 163955.18883494657],
    ['weights/ddpm_brianpulfer/ddpm_fashion.pt', 173, 606_852, 132140.1176848771, 167463.1659503562],
  ])('%s is what torch reads', async (path, count, elements, total, magnitude) => {
    const checkpoint = await openShared(path)
    expect(checkpoint.tensors.size).toBe(count)
    let n = 0,
      s = 0,
      a = 0
    for (const tensor of checkpoint.tensors.values()) {
      const data = await tensor.read()
      expect(data).toBeInstanceOf(Float32Array)
      expect(data.length).toBe(tensor.shape.reduce((p, q) => p * q, 1))
      n += data.length
      s += sum(data)
      a += sum(data.map(Math.abs))
    }
    expect(n).toBe(elements)
    // Float64 sums in two orders differ by about n·2^-53 of the magnitude at most.
    expect(Math.abs(s - total)).toBeLessThan(1e-9 * magnitude)
    expect(Math.abs(a - magnitude)).toBeLessThan(1e-9 * magnitude)
    await checkpoint.close()
  })

  test('bccd32-adm.pt: names in state-dict order, Conv1d kept 3-D, elements as torch prints them', async () => {
    const checkpoint = await openShared('weights/bccd32-adm.pt')
    const names = [...checkpoint.tensors.keys()]
    expect([names[0], names.at(-1)]).toEqual(['time_embed.0.weight', 'out.2.bias'])
    const qkv = checkpoint.tensors.get('middle_block.1.qkv.weight')!
    expect(qkv.shape).toEqual([192, 64, 1])
    const data = await qkv.read()
    expect([data[0], data[1], data.at(-1)]).toEqual([0.1281651258468628, -0.015165828168392181, -0.11919229477643967])
    const bias = checkpoint.tensors.get('out.2.bias')!
    expect([...(await bias.read()).slice(0, 3)]).toEqual([
      -0.0160454623401165, 0.0322309173643589, 0.013860450126230717,
    ])
    await checkpoint.close()
  })

  test('bccd32-adm.pt converted to safetensors is bit for bit the same', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'tweedie-io-'))
    const original = await openShared('weights/bccd32-adm.pt')
    const path = join(folder, 'bccd32-adm.safetensors')
    await writeFileAtomic(path, convertToSafetensors(original, { config: { image_size: 32 } }))
    const converted = await openCheckpoint(await openFile(path))
    expect(converted.metadata).toEqual({ config: '{"image_size":32}' })
    expect([...converted.tensors.keys()]).toEqual([...original.tensors.keys()])
    for (const [name, tensor] of original.tensors) {
      expect(converted.tensors.get(name)!.shape).toEqual(tensor.shape)
      const [a, b] = [await tensor.read(), await converted.tensors.get(name)!.read()]
      expect(Buffer.compare(Buffer.from(a.buffer), Buffer.from(b.buffer)), name).toBe(0)
    }
    await converted.close()
    await original.close()
    await rm(folder, { recursive: true })
  })

  // Added up with torch, from the files of richzhang/PerceptualSimilarity.
  test.each([
    ['alex', [2.349532, 16.143027, 39.268439, 27.197178, 20.317177]],
    ['vgg', [6.925992, 8.858334, 17.515006, 51.521323, 47.034854]],
    ['squeeze', [5.690101, 1.185279, 16.326565, 71.012624, 37.370723, 24.262872, 17.590553]],
  ])('lpips %s.pth, a legacy file: the sums of its lin layers', async (net, sums) => {
    const checkpoint = await openShared(`weights/lpips/v0.1/${net}.pth`)
    expect([...checkpoint.tensors.keys()]).toEqual(sums.map((_, k) => `lin${k}.model.1.weight`))
    for (const [k, expected] of sums.entries()) {
      const { shape, read } = checkpoint.tensors.get(`lin${k}.model.1.weight`)!
      expect([shape.length, shape[0], shape[2], shape[3]]).toEqual([4, 1, 1, 1])
      // Printed with 6 decimals.
      expect(Math.abs(sum(await read()) - expected)).toBeLessThan(1e-6)
    }
    await checkpoint.close()
  })

  test.each(['alex', 'squeeze'])(
    'lpips %s: the legacy file and the safetensors hold the same lin layers',
    async (net) => {
      const old = await openShared(`weights/lpips/v0.1/${net}.pth`)
      const whole = await openShared(`weights/lpips/lpips_${net}_v0.1.safetensors`)
      for (const [name, { shape, read }] of old.tensors) {
        const other = [...whole.tensors.values()].find((tensor) => tensor.name.startsWith(name.split('.')[0]))!
        expect(other.shape).toEqual(shape)
        expect(await other.read()).toEqual(await read())
      }
      await old.close()
      await whole.close()
    },
  )

  test('a real zip64 archive cut at any of 200 places is a format error', async () => {
    const source = await openFile(shared('weights/ddpm_brianpulfer/ddpm_mnist.pt'))
    const bytes = await source.read(0, source.size)
    await source.close()
    for (let i = 0; i < 200; i++) {
      // All of the tail, where the directory ends, and then coarsely through the file.
      const length = i < 100 ? bytes.length - 1 - i : Math.floor((bytes.length * (i - 100)) / 100)
      expect(await survives(bytes.subarray(0, length)), `${length} bytes`).toBe(false)
    }
  })
})
