/** The safetensors reader and writer, the sources they read from, and files: what they give, and what they refuse. */
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TweedieError } from '../src/errors.ts'
import {
  blobSource,
  bytesSource,
  convertToSafetensors,
  encodeSafetensors,
  openCheckpoint,
  openFile,
  writeFileAtomic,
} from '../src/io/index.node.ts'
import type { ByteSource, WritableData } from '../src/io/index.node.ts'
import { ascii, concat, le, recording, refuses, safetensors, survives } from './io-fixtures.ts'
import { describeShared, shared } from './shared.ts'

const open = (bytes: Uint8Array, name = 'file.safetensors') => openCheckpoint(bytesSource(bytes, name))

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tweedie-io-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true })
})

const arrays = [
  Float64Array,
  Float32Array,
  Int32Array,
  Int16Array,
  Int8Array,
  Uint32Array,
  Uint16Array,
  Uint8Array,
] as const

describe('what is written', () => {
  test('comes back in order, with shapes, dtypes and metadata', async () => {
    const bytes = concat(
      ...encodeSafetensors(
        [
          ['z', { shape: [3], data: Uint8Array.of(1, 2, 3) }],
          // Not at a multiple of 4 in the file, and a name that JSON objects move to the front.
          ['0', { shape: [2, 1], data: Float32Array.of(0.5, -1) }],
          ['empty', { shape: [0, 4], data: new Float32Array(0) }],
          ['é"\\\n', { shape: [], data: BigInt64Array.of(-7n) }],
        ],
        { config: '{"a":1}' },
      ),
    )
    expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0)
    const checkpoint = await open(bytes)
    expect(checkpoint.metadata).toEqual({ config: '{"a":1}' })
    const rows = [...checkpoint.tensors.values()].map(({ name, shape, dtype, byteLength }) => [
      name,
      shape,
      dtype,
      byteLength,
    ])
    expect(rows).toEqual([
      ['z', [3], 'U8', 3],
      ['0', [2, 1], 'F32', 8],
      ['empty', [0, 4], 'F32', 0],
      ['é"\\\n', [], 'I64', 8],
    ])
    expect(await checkpoint.tensors.get('z')!.read()).toEqual(Uint8Array.of(1, 2, 3))
    expect(await checkpoint.tensors.get('0')!.read()).toEqual(Float32Array.of(0.5, -1))
    expect(await checkpoint.tensors.get('empty')!.read()).toEqual(new Float32Array(0))
    expect(await checkpoint.tensors.get('é"\\\n')!.read()).toEqual(Int32Array.of(-7))
  })

  test('is what was given, for any tensors', async () => {
    const tensor = fc.record({
      shape: fc.array(fc.nat(4), { maxLength: 4 }),
      type: fc.constantFrom(...arrays),
      seed: fc.nat(255),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(
          fc.string({ unit: 'binary' }).filter((name) => name !== '__metadata__'),
          tensor,
        ),
        fc.dictionary(fc.string(), fc.string()),
        async (specs, metadata) => {
          const tensors = new Map(
            Object.entries(specs).map(([name, { shape, type, seed }]) => {
              const data: WritableData = new type(shape.reduce((a, b) => a * b, 1)).map((_, i) => (i * 37 + seed) % 127)
              return [name, { shape, data }]
            }),
          )
          const checkpoint = await open(concat(...encodeSafetensors(tensors, metadata)))
          expect([...checkpoint.tensors.keys()].sort()).toEqual([...tensors.keys()].sort())
          expect(Object.entries(checkpoint.metadata).sort()).toEqual(Object.entries(metadata).sort())
          for (const [name, { shape, data }] of tensors) {
            const entry = checkpoint.tensors.get(name)!
            expect(entry.shape).toEqual(shape)
            expect(entry.byteLength).toBe(data.byteLength)
            expect([...(await entry.read())]).toEqual([...data])
          }
        },
      ),
    )
  })

  test('must fit together', () => {
    const data = new Float32Array(3)
    expect(() => encodeSafetensors([['w', { shape: [2, 2], data }]])).toThrow(/"w".*4 elements.*found 3/)
    expect(() => encodeSafetensors([['w', { shape: [-1, -3], data }]])).toThrow(TweedieError)
    expect(() =>
      encodeSafetensors([
        ['w', { shape: [3], data }],
        ['w', { shape: [3], data }],
      ]),
    ).toThrow(/"w".*once/)
    expect(() => encodeSafetensors([['__metadata__', { shape: [3], data }]])).toThrow(/__metadata__/)
    expect(() => encodeSafetensors([], { long: 'x'.repeat(100_000_001) })).toThrow(/header/)
  })
})

describe('element types', () => {
  const one = async (dtype: string, data: readonly number[], count: number) => {
    const header = { w: { dtype, shape: [count], data_offsets: [0, data.length] } }
    const checkpoint = await open(safetensors(JSON.stringify(header), data))
    return await checkpoint.tensors.get('w')!.read()
  }

  test('F16 widens exactly: all 65536 values', async () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i)
    const wide = await one('F16', [...new Uint8Array(all.buffer)], 65536)
    for (let h = 0; h < 65536; h++) {
      const exponent = (h >> 10) & 31,
        mantissa = h & 1023,
        sign = h & 0x8000 ? -1 : 1
      const expected =
        exponent === 31
          ? mantissa
            ? NaN
            : sign * Infinity
          : sign * (exponent === 0 ? mantissa * 2 ** -24 : (1024 + mantissa) * 2 ** (exponent - 25))
      if (!Object.is(wide[h], expected)) expect(wide[h], `half 0x${h.toString(16)}`).toBe(expected)
    }
    expect(wide[0x3c00]).toBe(1)
  })

  test('BF16, F64 and F32 become f32', async () => {
    expect(await one('BF16', [0x80, 0x3f, 0x49, 0xc0, 0x80, 0xff], 3)).toEqual(Float32Array.of(1, -3.140625, -Infinity))
    const wide = await one('F64', [...new Uint8Array(Float64Array.of(0.1, -1e-3).buffer)], 2)
    expect(wide).toEqual(Float32Array.of(Math.fround(0.1), Math.fround(-1e-3)))
    expect(await one('F32', [0, 0, 0x20, 0xc1], 1)).toEqual(Float32Array.of(-10))
  })

  test('integers become i32 and u32, bytes stay', async () => {
    expect(await one('I8', [0xff, 2], 2)).toEqual(Int32Array.of(-1, 2))
    expect(await one('I16', [0xfe, 0xff], 1)).toEqual(Int32Array.of(-2))
    expect(await one('I32', le(-3, 4), 1)).toEqual(Int32Array.of(-3))
    expect(await one('I64', [...le(-(2n ** 31n), 8), ...le(2n ** 31n - 1n, 8)], 2)).toEqual(
      Int32Array.of(-(2 ** 31), 2 ** 31 - 1),
    )
    expect(await one('U16', [0xff, 0xff], 1)).toEqual(Uint32Array.of(65535))
    expect(await one('U32', [0xff, 0xff, 0xff, 0xff], 1)).toEqual(Uint32Array.of(2 ** 32 - 1))
    expect(await one('U8', [200], 1)).toEqual(Uint8Array.of(200))
    expect(await one('BOOL', [1, 0], 2)).toEqual(Uint8Array.of(1, 0))
  })

  test('I64 outside of i32 is refused, by element', async () => {
    await refuses(one('I64', [...le(1, 8), ...le(2n ** 31n, 8)], 2), 'format', 'tensor "w"', '2147483648 at element 1')
  })
})

describe('what is refused', () => {
  const f32 = (begin: unknown, end: unknown, shape: unknown = [1]) => ({
    dtype: 'F32',
    shape,
    data_offsets: [begin, end],
  })
  const file = (header: object, bytes: number) => open(safetensors(JSON.stringify(header), new Uint8Array(bytes)))
  const cases: [string, () => Promise<unknown>, ...(RegExp | string)[]][] = [
    ['an empty file', () => open(new Uint8Array(0)), 'an empty file'],
    ['a file of 7 bytes', () => open(new Uint8Array(7)), 'found 7'],
    ['a header longer than the file', () => open(safetensors('{}', [], 3)), 'at most 2 bytes', 'length of 3'],
    ['a header longer than 25 MB', () => open(concat(le(25_000_001, 8), [0x7b])), 'length of 25000001'],
    ['a header length of 2^64 - 1', () => open(safetensors('{}', [], -1)), 'length of 18446744073709551615'],
    ['an empty header', () => open(safetensors('')), 'starts with "{"'],
    ['a header that is no object', () => open(safetensors('[]')), 'starts with "{"'],
    ['white space before the header', () => open(safetensors(' {}')), 'starts with "{"'],
    ['a header that is no JSON', () => open(safetensors('{"w":}')), 'JSON'],
    ['a header that is no UTF-8', () => open(concat(le(5, 8), [0x7b, 0x22, 0xff, 0x22, 0x7d])), 'UTF-8'],
    [
      'a tensor named twice',
      () =>
        open(
          safetensors(
            '{"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},' +
              '"\\u0077":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
          ),
        ),
      '"w" twice',
    ],
    [
      'a field given twice',
      () => open(safetensors('{"w":{"dtype":"F32","shape":[0],"shape":[0],"data_offsets":[0,0]}}')),
      '"shape" twice',
    ],
    ['metadata that is no object', () => file({ __metadata__: 'x' }, 0), '__metadata__'],
    ['metadata other than strings', () => file({ __metadata__: { a: 1 } }, 0), '__metadata__', '"a": 1'],
    ['a tensor that is no object', () => file({ w: [1] }, 0), 'tensor "w"'],
    ['an unknown dtype', () => file({ w: { ...f32(0, 4), dtype: 'F8_E4M3' } }, 4), 'tensor "w"', 'F8_E4M3'],
    ['a dtype from the prototype', () => file({ w: { ...f32(0, 4), dtype: 'constructor' } }, 4), 'dtype'],
    [
      'a missing shape',
      () => file({ w: { dtype: 'F32', data_offsets: [0, 4] } }, 4),
      'tensor "w"',
      'shape',
      'found nothing',
    ],
    ['a negative dimension', () => file({ w: f32(0, 4, [-1]) }, 4), 'shape'],
    ['a fractional dimension', () => file({ w: f32(0, 4, [1.5]) }, 4), 'shape'],
    ['a dimension past 2^53', () => file({ w: f32(0, 4, [2 ** 60]) }, 4), 'shape'],
    ['an overflowing product', () => file({ w: f32(0, 4, [2 ** 52, 2 ** 52]) }, 4), 'tensor "w"', 'found 4'],
    ['three offsets', () => file({ w: { ...f32(0, 4), data_offsets: [0, 4, 8] } }, 8), 'data_offsets'],
    ['offsets out of order', () => file({ w: f32(4, 0) }, 4), 'tensor "w"', 'in order', /\[4,0\]/],
    ['offsets out of range', () => file({ w: f32(0, 4) }, 3), 'tensor "w"', 'within the 3 bytes', /\[0,4\]/],
    [
      'a shape and a length that disagree',
      () => file({ w: f32(0, 8, [3]) }, 8),
      'tensor "w"',
      '12 bytes for F32',
      'found 8',
    ],
    [
      'overlapping tensors',
      () => file({ a: f32(0, 4), b: f32(2, 6) }, 6),
      'tensor "b"',
      'offset 4',
      'found 2',
      'overlaps',
    ],
    ['the same bytes twice', () => file({ a: f32(0, 4), b: f32(0, 4) }, 4), 'overlaps'],
    ['a hole between tensors', () => file({ a: f32(0, 4), b: f32(5, 9) }, 9), 'tensor "b"', 'hole of 1 bytes'],
    ['a hole at the start', () => file({ a: f32(1, 5) }, 5), 'hole of 1 bytes'],
    ['bytes after the last tensor', () => file({ a: f32(0, 4) }, 5), 'expected 4 bytes of data', 'found 5'],
  ]
  test.each(cases)('%s', async (_, run, ...patterns) => {
    await refuses(run(), 'format', 'file.safetensors', ...patterns)
  })

  const valid = concat(
    ...encodeSafetensors(
      [
        ['a', { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) }],
        ['b', { shape: [2], data: BigInt64Array.of(1n, 2n) }],
      ],
      { config: '{}' },
    ),
  )

  test('every truncation', async () => {
    expect(await survives(valid)).toBe(true)
    for (let length = 0; length < valid.length; length++) expect(await survives(valid.subarray(0, length))).toBe(false)
  })
})

describe('sources', () => {
  const bytes = concat(...encodeSafetensors([['w', { shape: [2], data: Float32Array.of(1, 2) }]]))
  const read = async (source: ByteSource) => {
    const checkpoint = await openCheckpoint(source)
    const data = await checkpoint.tensors.get('w')!.read()
    await checkpoint.close()
    return data
  }

  test('bytes, a Blob and a file give the same', async () => {
    const path = join(folder, 'w.safetensors')
    await writeFile(path, bytes)
    for (const source of [bytesSource(bytes), blobSource(new Blob([bytes])), await openFile(path)]) {
      expect(source.size).toBe(bytes.length)
      await refuses(source.read(bytes.length - 1, 2), 'format', `expected 2 bytes at offset ${bytes.length - 1}`)
      await refuses(source.read(-1, 2), 'format')
      expect(await read(source)).toEqual(Float32Array.of(1, 2))
    }
    expect(blobSource(new File([bytes], 'w.safetensors')).name).toBe('w.safetensors')
  })

  test("what is read is the caller's own", async () => {
    const data = await read(bytesSource(bytes))
    data.fill(9)
    expect(await read(bytesSource(bytes))).toEqual(Float32Array.of(1, 2))
  })

  test('a file is closed with its checkpoint, and when opening fails', async () => {
    const path = join(folder, 'w.safetensors')
    await writeFile(path, bytes)
    const source = await openFile(path)
    const checkpoint = await openCheckpoint(source)
    await checkpoint.close()
    await checkpoint.close()
    await refuses(checkpoint.tensors.get('w')!.read(), 'disposed', path)
    await writeFile(path, 'no checkpoint')
    const broken = await openFile(path)
    await refuses(openCheckpoint(broken), 'format', path)
    await refuses(broken.read(0, 1), 'disposed')
  })

  test('a file that is missing, or a folder', async () => {
    await refuses(
      openFile(join(folder, 'no', 'a.safetensors')),
      'option',
      `cannot read ${join(folder, 'no', 'a.safetensors')}: there is no such file. Nor is there a ` +
        `folder ${join(folder, 'no')}.`,
    )
    for (const name of ['model.safetensors', 'ema-0.99.safetensors', 'log.csv', '.hidden.safetensors'])
      await writeFile(join(folder, name), '')
    await refuses(
      openFile(join(folder, 'ema-0.9999.safetensors')),
      'option',
      `there is no such file. ${folder} has ema-0.99.safetensors, model.safetensors.`,
    )
    await refuses(openFile(folder), 'option', `expected a file, found a folder. ${folder} has`, 'model.safetensors')
  })

  test.each([
    ['<!DOCTYPE html>', 'a page of HTML'],
    ['\n<html>\n', 'a page of HTML'],
    ['version https://git-lfs', 'a pointer of Git LFS'],
    ['{"config": 1}', 'JSON'],
    ['\x89PNG\r\n\x1a\n', 'a picture'],
    ['\xff\xd8\xff\xe0JFIF ', 'a picture'],
    ['\x1f\x8b\x08\x08ABCDE', 'a gzip archive'],
  ])('%j: what it is instead', async (text, found) => {
    await refuses(
      openCheckpoint(bytesSource(Buffer.from(text, 'latin1'))),
      'format',
      `expected weights, as safetensors or of PyTorch, found ${found}`,
    )
  })

  test('more bytes at once than there is room for', async () => {
    // A file of 4 TiB that takes no room on the disk.
    await writeFile(join(folder, 'sparse'), '')
    await truncate(join(folder, 'sparse'), 2 ** 42)
    const sparse = await openFile(join(folder, 'sparse'))
    await refuses(sparse.read(0, 2 ** 42), 'out-of-memory', 'sparse: 4096.0 GiB of it are needed at once')
    await sparse.close()
  })
})

describe('abort', () => {
  const bytes = concat(...encodeSafetensors([['w', { shape: [2], data: Float32Array.of(1, 2) }]]))
  const reason = new Error('enough')
  const signal = AbortSignal.abort(reason)

  test('at opening and at each read, with the reason', async () => {
    const path = join(folder, 'w.safetensors')
    await writeFile(path, bytes)
    for (const make of [() => bytesSource(bytes), () => blobSource(new Blob([bytes])), () => openFile(path)]) {
      await expect(openCheckpoint(await make(), { signal })).rejects.toBe(reason)
      const checkpoint = await openCheckpoint(await make())
      await expect(checkpoint.tensors.get('w')!.read(signal)).rejects.toBe(reason)
      expect(await checkpoint.tensors.get('w')!.read()).toEqual(Float32Array.of(1, 2))
      await checkpoint.close()
    }
  })

  test('while a file is read', async () => {
    const path = join(folder, 'w')
    await writeFile(path, bytes)
    const source = await openFile(path)
    const controller = new AbortController()
    const reading = source.read(0, 8, controller.signal)
    controller.abort(reason)
    await expect(reading).rejects.toBe(reason)
    await source.close()
  })
})

describe('writing a file', () => {
  const reason = new Error('enough')

  test('puts it there whole, over what was there', async () => {
    const path = join(folder, 'out')
    await writeFile(path, 'a longer text from before')
    await writeFileAtomic(path, [ascii('ab'), ascii('c')])
    expect(await readFile(path, 'utf8')).toBe('abc')
    expect(await readdir(folder)).toEqual(['out'])
  })

  test.each(['abort', 'throw'] as const)(
    'leaves nothing after %s half way, and what was there is untouched',
    async (how) => {
      const path = join(folder, 'out')
      await writeFile(path, 'before')
      const controller = new AbortController()
      let temporary: string[] = []
      async function* chunks() {
        yield ascii('half')
        temporary = (await readdir(folder)).filter((name) => name.endsWith('.tmp'))
        if (how === 'throw') throw reason
        controller.abort(reason)
        yield ascii('the rest')
      }
      await expect(writeFileAtomic(path, chunks(), { signal: controller.signal })).rejects.toBe(reason)
      expect(temporary).toHaveLength(1)
      expect(await readdir(folder)).toEqual(['out'])
      expect(await readFile(path, 'utf8')).toBe('before')
    },
  )

  test('an abort before the first and after the last chunk writes nothing', async () => {
    const path = join(folder, 'out')
    await expect(writeFileAtomic(path, [ascii('a')], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    function* chunks() {
      yield ascii('all')
      controller.abort(reason)
    }
    await expect(writeFileAtomic(path, chunks(), { signal: controller.signal })).rejects.toBe(reason)
    expect(await readdir(folder)).toEqual([])
  })

  test('into a folder that is missing, or over a folder', async () => {
    await refuses(writeFileAtomic(join(folder, 'no', 'out'), [ascii('a')]), 'option', 'cannot write', 'ENOENT')
    await refuses(writeFileAtomic(folder, [ascii('a')]), 'option', 'cannot write')
    // The second one's temporary file was beside the folder.
    expect((await readdir(dirname(folder))).filter((name) => name.startsWith(basename(folder)))).toEqual([
      basename(folder),
    ])
  })
})

describe('convert', () => {
  const bytes = concat(
    ...encodeSafetensors(
      [
        ['b', { shape: [2], data: Float64Array.of(1, 2) }],
        ['a', { shape: [1], data: BigInt64Array.of(5n) }],
        ['u', { shape: [1], data: Uint8Array.of(7) }],
      ],
      { license: 'MIT', config: 'old' },
    ),
  )

  test('keeps order, metadata and values, and adds the configuration as JSON', async () => {
    const chunks: Uint8Array[] = []
    const added = { config: { image_size: 32 }, diffusion: '{}' }
    for await (const chunk of convertToSafetensors(await open(bytes), added)) chunks.push(chunk)
    const converted = await open(concat(...chunks))
    expect(converted.metadata).toEqual({ license: 'MIT', config: '{"image_size":32}', diffusion: '{}' })
    expect([...converted.tensors.values()].map(({ name, dtype }) => [name, dtype])).toEqual([
      ['b', 'F32'],
      ['a', 'I32'],
      ['u', 'U8'],
    ])
    expect(await converted.tensors.get('b')!.read()).toEqual(Float32Array.of(1, 2))
    expect(await converted.tensors.get('a')!.read()).toEqual(Int32Array.of(5))
  })

  test('reads one tensor at a time, and stops when aborted', async () => {
    const { source, reads } = recording(bytes)
    const checkpoint = await openCheckpoint(source)
    reads.length = 0
    const controller = new AbortController()
    const chunks = convertToSafetensors(checkpoint, {}, { signal: controller.signal })
    await chunks.next()
    expect(reads).toEqual([])
    await chunks.next()
    expect(reads).toEqual([16])
    controller.abort(new Error('enough'))
    await expect(chunks.next()).rejects.toThrow('enough')
  })
})

describeShared('files of the Python library', () => {
  test('open, with metadata', async () => {
    const checkpoint = await openCheckpoint(await openFile(shared('goldens/adm16-new-order.io.safetensors')))
    expect(checkpoint.tensors.get('timesteps')!.dtype).toMatch(/I64|F32/)
    expect(checkpoint.tensors.get('x')!.shape).toHaveLength(4)
    for (const tensor of checkpoint.tensors.values()) {
      expect((await tensor.read()).length).toBe(tensor.shape.reduce((a, b) => a * b, 1))
    }
    await checkpoint.close()
    const weights = await openCheckpoint(await openFile(shared('goldens/adm16-new-order.weights.safetensors')))
    expect(JSON.parse(weights.metadata.config)).toHaveProperty('model_channels')
    await weights.close()
  })

  test('a rewritten file reads the same bit for bit', async () => {
    const original = await openCheckpoint(await openFile(shared('weights/lpips/lpips_squeeze_v0.1.safetensors')))
    const path = join(folder, 'copy.safetensors')
    await writeFileAtomic(path, convertToSafetensors(original))
    const copy = await openCheckpoint(await openFile(path))
    expect([...copy.tensors.keys()]).toEqual([...original.tensors.keys()])
    for (const [name, tensor] of original.tensors) {
      expect(copy.tensors.get(name)!.shape).toEqual(tensor.shape)
      const [a, b] = [await tensor.read(), await copy.tensors.get(name)!.read()]
      expect(Buffer.compare(Buffer.from(a.buffer), Buffer.from(b.buffer)), name).toBe(0)
    }
    await copy.close()
    await original.close()
  })
})
