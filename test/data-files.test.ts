/** Data sets from files: PNG, JPEG, NumPy, IDX and folders, whole, odd and damaged. */
import { createHash } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { gzipSync } from 'node:zlib'
import { encode } from 'fast-png'
import { unzipSync } from 'fflate'
import { describe, expect, test } from 'vitest'
import { atMost } from '../src/data/at-most.ts'
import { imageHeader } from '../src/data/decode.ts'
import { centerCrop, decodeImage, lookThrough, openImages, selectImages } from '../src/data/index.node.ts'
import { openIdx } from '../src/data/idx.ts'
import { parseNpy } from '../src/data/npy.ts'
import type { Image } from '../src/data/image.ts'
import { openNpz } from '../src/data/npz.ts'
import { encodeSamplesNpz } from '../src/data/npz-writer.ts'
import { bytesSource } from '../src/io/source.ts'
import type { TweedieError } from '../src/errors.ts'
import { sha256, sha256OfBytes } from '../src/io/sha256.ts'
import { temporaryFolder } from './cli.ts'
import { cmykJpeg, idx, jpegs, npy, npz, pngChunk, pngFile, volume } from './data-fixtures.ts'
import { ascii, concat, le } from './io-fixtures.ts'
import { describeShared, shared } from './shared.ts'

const at = temporaryFolder()
const put = (name: string, bytes: Uint8Array | string): string => {
  mkdirSync(dirname(at(name)), { recursive: true })
  writeFileSync(at(name), bytes)
  return at(name)
}
const png = (channels: 1 | 2 | 3 | 4, data: readonly number[], width = 2, depth: 8 | 16 = 8): Uint8Array =>
  encode({
    width,
    height: data.length / channels / width,
    channels,
    depth,
    data: depth === 8 ? Uint8Array.from(data) : Uint16Array.from(data),
  })
const base64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'))

describe('PNG', () => {
  test('grey, colour and palettes; alpha is ignored and 16 bits become the nearest 8', () => {
    expect(decodeImage(png(3, [1, 2, 3, 4, 5, 6]), 'x')).toEqual({
      width: 2,
      height: 1,
      channels: 3,
      data: Uint8Array.of(1, 2, 3, 4, 5, 6),
    })
    expect(decodeImage(png(4, [1, 2, 3, 0, 4, 5, 6, 9]), 'x')).toEqual({
      width: 2,
      height: 1,
      channels: 3,
      data: Uint8Array.of(1, 2, 3, 4, 5, 6),
    })
    expect(decodeImage(png(2, [7, 0, 8, 255]), 'x')).toEqual({
      width: 2,
      height: 1,
      channels: 1,
      data: Uint8Array.of(7, 8),
    })
    // 257 a level: 128 is nearer to 0 than to 257, 129 to 257.
    expect([...decodeImage(png(1, [0, 128, 129, 65535], 4, 16), 'x').data]).toEqual([0, 0, 1, 255])
  })

  test("files of PIL's: a palette of 3 bits, and black and white", () => {
    const palette =
      'iVBORw0KGgoAAAANSUhEUgAAAAQAAAADBAMAAABG2rP1AAAAD1BMVEVWiLo/caMmWIoVR3kENmjsuJNR' +
      'AAAAEUlEQVR4nGNwMWQwVmAwEgAABXMBC/xQjEEAAAAASUVORK5CYII='
    expect([...decodeImage(base64(palette), 'x').data].filter((_, i) => i % 3 === 0)).toEqual([
      4, 4, 21, 63, 21, 21, 38, 86, 21, 38, 63, 86,
    ])
    const bits = 'iVBORw0KGgoAAAANSUhEUgAAAAsAAAADAQAAAABthMjmAAAAEUlEQVR4nGMQXcAY+5jpDAMADBICxRkoyzgAAAAASUVORK5CYII='
    expect([...decodeImage(base64(bits), 'x').data].map((value) => value / 255).join('')).toBe(
      '000101011010101110101000101001010',
    )
  })

  /** Every colour type, depth and order; what PIL reads from them was compared on 210 such files. */
  test.each([
    [0, 1],
    [0, 2],
    [0, 4],
    [0, 8],
    [0, 16],
    [2, 8],
    [2, 16],
    [3, 1],
    [3, 2],
    [3, 4],
    [3, 8],
    [4, 8],
    [4, 16],
    [6, 8],
    [6, 16],
  ])('colour type %i of %i bits, interlaced or not, at odd sizes', (type, depth) => {
    const samples = [1, 0, 3, 1, 2, 0, 4][type]
    const palette = Uint8Array.from({ length: 3 * 2 ** Math.min(8, depth) }, (_, i) => i * 37 + 11)
    // Said of other pixels than these, or only suggested: none of it changes a pixel.
    const beside = [
      pngChunk('gAMA', [0, 0, 177, 143]),
      pngChunk('iCCP', ascii('icc\0\0no zlib')),
      pngChunk('tEXt', ascii('\0no keyword')),
    ]
    const extra =
      type === 3
        ? [pngChunk('PLTE', palette), pngChunk('tRNS', [0])]
        : type === 0
          ? [pngChunk('tRNS', [0, 1])]
          : type === 4
            ? []
            : [pngChunk('PLTE', [1, 2, 3])]
    for (const [width, height] of [
      [1, 1],
      [3, 2],
      [13, 9],
    ]) {
      const pixels = Array.from({ length: width * height * samples }, (_, i) => (i * 7919) % 2 ** depth)
      const colours =
        type === 3
          ? pixels.flatMap((index) => [...palette.subarray(3 * index, 3 * index + 3)])
          : pixels
              .filter((_, i) => samples % 2 === 1 || i % samples < samples - 1)
              .map((value) => Math.round((value * 255) / (2 ** depth - 1)))
      for (const interlaced of [false, true]) {
        const image = decodeImage(
          pngFile({ width, height, depth, type, interlaced, pixels, extra: [...beside, ...extra] }),
          'x',
        )
        expect(image).toEqual({
          width,
          height,
          channels: type === 0 || type === 4 ? 1 : 3,
          data: Uint8Array.from(colours),
        })
      }
    }
  })

  test('a colour that the palette leaves out is black, an end that is missing is not missed', () => {
    const file = pngFile({
      width: 3,
      height: 1,
      depth: 8,
      type: 3,
      pixels: [0, 200, 1],
      extra: [pngChunk('PLTE', [1, 2, 3, 4, 5, 6])],
    })
    const whole = decodeImage(file, 'x')
    expect([...whole.data]).toEqual([1, 2, 3, 0, 0, 0, 4, 5, 6])
    expect(decodeImage(file.subarray(0, -12), 'x')).toEqual(whole)
    // Anywhere ahead of its end: its last bytes but 12 are pixels.
    for (let length = 9; length < file.length - 12; length++)
      expect(() => decodeImage(file.subarray(0, length), 'a.png'), `${length}`).toThrow(/^a\.png: a damaged PNG/)
    expect(() => decodeImage(pngFile({ width: 1, height: 1, depth: 8, type: 3, pixels: [0] }), 'a.png')).toThrow(
      'a.png: a damaged PNG (its palette is missing).',
    )
  })

  test('a header of no pixels, or of more than memory holds, is refused as soon as it is read', () => {
    const header = (width: number, height: number, depth = 8, type = 2) => {
      const file = pngFile({ width: 1, height: 1, depth: 8, type: 2, pixels: [1, 2, 3] })
      return concat(
        file.subarray(0, 8),
        pngChunk('IHDR', [...le(width, 4).reverse(), ...le(height, 4).reverse(), depth, type, 0, 0, 0]),
        file.subarray(33),
      )
    }
    for (const read of [decodeImage, imageHeader]) {
      expect(() => read(header(30_000, 20_000), 'a.png')).toThrow(
        'a.png: 30000 x 20000 pixels are more than 100 million',
      )
      expect(() => read(header(2 ** 32 - 1, 1), 'a.png')).toThrow('a.png: 4294967295 x 1 pixels')
      expect(() => read(header(0, 5), 'a.png')).toThrow('a.png: a damaged image (its header says 0 x 5 pixels)')
      expect(() => read(header(1, 1, 4), 'a.png')).toThrow(
        'a.png: a damaged PNG (its header says colour type 2, 4 bits',
      )
    }
    expect(() => decodeImage(header(1, 2), 'a.png')).toThrow(
      'a.png: a damaged PNG (its pixels are cut short, too many or changed).',
    )
  })

  test('a damaged one is named', () => {
    const bytes = png(3, [1, 2, 3, 4, 5, 6])
    bytes[45] ^= 255
    expect(() => decodeImage(bytes, 'a.png')).toThrow(/^a\.png: a damaged PNG/)
    expect(() => decodeImage(bytes.subarray(0, 20), 'a.png')).toThrow(/^a\.png: a damaged PNG/)
    expect(() => decodeImage(ascii('hello, world'), 'a.png')).toThrow(
      'a.png: neither a PNG nor a JPEG file, whatever its name says.',
    )
  })
})

describe('JPEG', () => {
  test.each(Object.keys(jpegs))("%s: PIL's pixels to the byte", (kind) => {
    const { file, pixels, size = [13, 9] } = jpegs[kind]
    const { width, height, data } = decodeImage(file, kind)
    expect([width, height]).toEqual(size)
    expect(data).toEqual(pixels)
  })

  test("without JFIF's marker Adobe's says whether components are luma and chroma, or red, green and blue", () => {
    const { file } = jpegs['chroma of half the width']
    const adobe = (transform: number) => [0xff, 0xee, 0, 14, ...ascii('Adobe'), 0, 100, 0, 0, 0, 0, transform]
    const plain = decodeImage(file, 'x').data
    const [start, rest] = [file.subarray(0, 2), file.subarray(20)]
    expect(decodeImage(concat(start, adobe(0), file.subarray(2)), 'x').data, 'beside JFIF').toEqual(plain)
    expect(decodeImage(concat(start, adobe(1), rest), 'x').data).toEqual(plain)
    expect(decodeImage(concat(start, rest), 'x').data).toEqual(plain)
    const raw = decodeImage(concat(start, adobe(0), rest), 'x').data
    // Unconverted, they are Y, Cb and Cr; the first of a row has the chroma of its own sample alone.
    // R = Y + 1.402 (Cr - 128).
    expect(Math.abs(Math.min(255, Math.max(0, raw[0] + 1.402 * (raw[2] - 128))) - plain[0])).toBeLessThanOrEqual(1)
    expect(raw).not.toEqual(plain)
  })

  test("CMYK becomes RGB as PIL converts it, with or without Adobe's marker", () => {
    const { file, transformAt, markerAt, pixels, transformed } = cmykJpeg
    expect(decodeImage(file, 'x')).toEqual({ width: 13, height: 9, channels: 3, data: pixels })
    const without = concat(file.subarray(0, markerAt), file.subarray(markerAt + 16))
    expect(decodeImage(without, 'x').data).toEqual(pixels)
    const luma = file.slice()
    luma[transformAt] = 2
    expect(decodeImage(luma, 'x').data).toEqual(transformed)
  })

  test('what is not read says what it is and what to do', () => {
    const { file } = jpegs.grey
    const patched = (marker: number, offset: number, value: number): Uint8Array => {
      const bytes = file.slice()
      const frame = bytes.findIndex((byte, i) => byte === 0xff && bytes[i + 1] === 0xc0)
      bytes[frame + 1] = marker
      bytes[frame + offset] = value
      return bytes
    }
    expect(() => decodeImage(patched(0xc9, 4, 8), 'a.jpg')).toThrow(
      /^a\.jpg: a lossless, hierarchical or arithmetically coded JPEG/,
    )
    expect(() => decodeImage(patched(0xc1, 4, 12), 'a.jpg')).toThrow('a.jpg: a JPEG of 12 bits, expected 8.')
    expect(() => decodeImage(patched(0xc0, 9, 2), 'a.jpg')).toThrow('a.jpg: a JPEG of 2 components')
  })

  test.each(Object.keys(jpegs))('%s: cut short anywhere, it is a damaged file', (kind) => {
    const { file } = jpegs[kind]
    // The end marker is the last two bytes.
    for (let length = 3; length <= file.length - 2; length += 13) {
      expect(() => decodeImage(file.subarray(0, length), 'a.jpg'), `${length}`).toThrow(/^a\.jpg: a damaged JPEG/)
    }
  })
})

describe('NumPy arrays', () => {
  const bytesOf = (
    ...values: (Int16Array | Uint16Array | Int32Array | BigInt64Array | Float32Array | Float64Array)[]
  ) => new Uint8Array(values[0].buffer)

  test('numbers of every type, in both byte orders and all versions', () => {
    const read = (file: Uint8Array) => [...parseNpy(file, 'x').data]
    expect(read(npy('|u1', [3], [1, 2, 255]))).toEqual([1, 2, 255])
    expect(read(npy('|i1', [1], [255]))).toEqual([-1])
    expect(read(npy('|b1', [2], [0, 1]))).toEqual([0, 1])
    expect(read(npy('<u2', [2], bytesOf(Uint16Array.of(1, 65535))))).toEqual([1, 65535])
    expect(read(npy('>u2', [1], [1, 2]))).toEqual([258])
    expect(read(npy('<i4', [2], bytesOf(Int32Array.of(-5, 7)), { version: 2 }))).toEqual([-5, 7])
    expect(read(npy('<i8', [2], bytesOf(BigInt64Array.of(-5n, 2n ** 53n - 1n)), { version: 3 }))).toEqual([
      -5,
      2 ** 53 - 1,
    ])
    expect(read(npy('<f4', [1], bytesOf(Float32Array.of(0.5))))).toEqual([0.5])
    expect(read(npy('<f8', [], bytesOf(Float64Array.of(Math.PI))))).toEqual([Math.PI])
    expect(parseNpy(npy('|u1', [2, 3], [1, 2, 3, 4, 5, 6]), 'x').shape).toEqual([2, 3])
  })

  test('text', () => {
    const wide = (text: string) => [...text].flatMap((letter) => [letter.codePointAt(0) as number & 255, 0, 0, 0])
    expect(parseNpy(npy('<U3', [2], [...wide('RBC'), ...wide('ab'), 0, 0, 0, 0]), 'x').data).toEqual(['RBC', 'ab'])
    expect(parseNpy(npy('|S4', [1], [...ascii('cell')]), 'x').data).toEqual(['cell'])
  })

  test('what is refused, and why', () => {
    const wrong = (file: Uint8Array) => expect(() => parseNpy(file, 'x.npz: array "a"'))
    wrong(npy('|O', [1], [1])).toThrow('arrays of type |O are not read')
    wrong(npy("[('a', '<i4')]", [1], [1])).toThrow('found a structured one')
    for (const shape of [
      [2.5, 2],
      [-1, 4],
      [0.5, 2],
      [-2, -2],
      [2 ** 31, 2 ** 31],
    ])
      wrong(npy('|u1', shape, [1, 2, 3, 4, 5])).toThrow(
        `a damaged array: expected a shape of whole numbers, found (${shape.join(', ')}).`,
      )
    wrong(npy('|S0', [2 ** 31], [])).toThrow('arrays of type |S0 are not read')
    wrong(npy('<i4', [4], [1, 2])).toThrow('a damaged array: expected 16 bytes of elements, found 2')
    wrong(npy('<i8', [1], bytesOf(BigInt64Array.of(2n ** 60n)))).toThrow('integers of 2^53')
    wrong(npy('|u1', [1], [1], { version: 4 })).toThrow('version 1 to 3')
    wrong(ascii('no array at all')).toThrow('x.npz: array "a": not a NumPy array')
    // One dimension has one order.
    expect([...parseNpy(npy('|u1', [2], [1, 2], { fortran: true }), 'x').data]).toEqual([1, 2])
  })
})

describe('.npz', () => {
  const images = npy(
    '|u1',
    [2, 1, 2, 3],
    Array.from({ length: 12 }, (_, i) => i),
  )

  test('images, labels, classes and columns; other arrays are noted', async () => {
    const file = npz({
      images,
      labels: npy('|u1', [2], [1, 0]),
      classes: npy('|S3', [2], [...ascii('redblu')]),
      smear: npy('<u2', [2], [7, 0, 8, 0]),
      extra: npy('|u1', [3], [1, 2, 3]),
      odd: npy('|O', [2], [1]),
    })
    const path = put('cells.npz', file)
    const set = await openImages(path)
    expect([set.name, set.length, set.channels, set.classes, [...(set.labels ?? [])]]).toEqual([
      path,
      2,
      3,
      ['red', 'blu'],
      [1, 0],
    ])
    expect(set.columns).toEqual(new Map([['smear', Float64Array.of(7, 8)]]))
    expect(set.notes).toEqual([
      expect.stringMatching(/^array "odd": arrays of type \|O are not read.* Ignored\.$/),
      'array "extra" (|u1, [3]) is not used.',
    ])
    expect(await set.read(1)).toEqual({ width: 2, height: 1, channels: 3, data: Uint8Array.of(6, 7, 8, 9, 10, 11) })
    expect(set.sizeOf(0)).toEqual({ width: 2, height: 1 })
    expect(set.fingerprint).toBe(createHash('sha256').update(file).digest('hex'))
  })

  test("guided-diffusion's names, stored without compression, and grey with or without a channel", async () => {
    const set = await openImages(
      put(
        'arr.npz',
        npz(
          {
            arr_0: npy('|u1', [2, 1, 1, 1], [5, 6]),
            arr_1: npy('<i8', [2], [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
          },
          0,
        ),
      ),
    )
    expect([set.length, set.channels, [...(set.labels ?? [])], set.classes]).toEqual([
      2,
      1,
      [3, 0],
      ['0', '1', '2', '3'],
    ])
  })

  test('one image is one, not as many as it has rows', async () => {
    const pixels = Array.from({ length: 4 * 5 * 3 }, (_, i) => i)
    const colour = await openImages(put('single.npz', npz({ images: npy('|u1', [4, 5, 3], pixels) })))
    expect([colour.length, colour.channels, colour.sizeOf(0), [...(await colour.read(0)).data]]).toEqual([
      1,
      3,
      { width: 5, height: 4 },
      pixels,
    ])
    const grey = await openImages(
      put('single-grey.npz', npz({ images: npy('|u1', [4, 15, 1], pixels), labels: npy('|u1', [1], [0]) })),
    )
    expect([grey.length, grey.channels, grey.sizeOf(0)]).toEqual([1, 1, { width: 15, height: 4 }])
    expect((await openImages(put('several-grey.npz', npz({ images: npy('|u1', [4, 3, 5], pixels) })))).length).toBe(4)
    await expect(
      openImages(
        put('single-labels.npz', npz({ images: npy('|u1', [4, 5, 3], pixels), labels: npy('|u1', [4], [0, 1, 2, 3]) })),
      ),
    ).rejects.toThrow('expected one label for each of its 1 images, found 4 labels')
  })

  test.each([
    ['no images', { other: npy('|u1', [1], [1]) }, `MedMNIST's "train_images", Keras's "x_train"), found other`],
    [
      'floats',
      { images: npy('<f4', [1, 1, 1], [0, 0, 0, 0]) },
      'expected images of bytes (uint8, 0 to 255), found <f4',
    ],
    ['two channels', { images: npy('|u1', [1, 1, 1, 2], [1, 2]) }, 'found [1, 1, 1, 2]'],
    ['an empty array', { images: npy('|u1', [0, 4, 4], []) }, 'holds no image'],
    ['fewer labels', { images, labels: npy('|u1', [1], [0]) }, 'expected one label for each of its 2 images, found 1'],
    [
      'a label without a name',
      { images, labels: npy('|u1', [2], [0, 2]), classes: npy('|S1', [2], [65, 66]) },
      'names 2 classes, and has a label 2',
    ],
    [
      'a label without end',
      { images, labels: npy('<u4', [2], [0, 0, 0, 0, 0, 0, 1, 0]) },
      'found a label 65536, expected classes numbered from 0 to at most 65535',
    ],
    ['labels that are no classes', { images, labels: npy('|i1', [2], [0, 255]) }, 'found -1 for image 1'],
  ])('%s: refused, naming the file', async (name, arrays, message) => {
    const path = put(`${name}.npz`, npz(arrays as unknown as Record<string, Uint8Array>))
    await expect(openImages(path)).rejects.toMatchObject({
      code: 'format',
      message: expect.stringContaining(`${path}: `) as string,
    })
    await expect(openImages(path)).rejects.toThrow(message)
  })

  test('damaged bytes are found, compressed or not', async () => {
    for (const level of [0, 6] as const) {
      const noise = npy(
        '|u1',
        [1, 16, 16],
        Array.from({ length: 256 }, (_, i) => (i * i * 31) % 251),
      )
      const bytes = npz({ images: noise }, level)
      bytes[200] ^= 1
      await expect(openImages(put(`damaged-${level}.npz`, bytes))).rejects.toThrow(
        /record "images\.npy": its (compressed )?bytes are damaged/,
      )
      await expect(openImages(put(`cut-${level}.npz`, bytes.subarray(0, 150)))).rejects.toThrow('cut short')
    }
  })
})

test('samples are written one by one as an .npz that is read as the same images', async () => {
  async function* images(): AsyncGenerator<Image> {
    for (const k of [0, 1, 2]) yield { width: 3, height: 2, channels: 1, data: new Uint8Array(6).fill(100 * k) }
  }
  const written = async (count: number, labels: number[]): Promise<Uint8Array> => {
    const chunks: Uint8Array[] = []
    for await (const chunk of encodeSamplesNpz({ count, width: 3, height: 2, images: images(), labels }))
      chunks.push(chunk)
    return concat(...chunks)
  }
  const bytes = await written(3, [7, 0, 300])
  const set = await openNpz(bytesSource(bytes, 'samples.npz'))
  expect([set.length, set.channels, set.sizeOf(0), [...set.labels!]]).toEqual([
    3,
    3,
    { width: 3, height: 2 },
    [7, 0, 300],
  ])
  expect([...(await set.read(2)).data]).toEqual(new Array(18).fill(200))
  // Another reader of archives, by the directory as NumPy reads.
  expect(unzipSync(bytes)['arr_0.npy'].subarray(-18)).toEqual(new Uint8Array(18).fill(200))
  await expect(written(4, [1, 2, 3, 4])).rejects.toThrow('zip: expected 200 bytes of arr_0.npy, found 182')
})

describe('what others hand out', () => {
  const pixels = Uint8Array.from({ length: 2 * 3 * 2 * 3 }, (_, i) => i)
  const plain = npy('|u1', [2, 3, 2, 3], pixels)
  /** The same numbers with the first index running fastest. */
  const turned = Uint8Array.from({ length: 36 }, (_, to) => {
    const [a, b, c, d] = [to % 2, Math.floor(to / 2) % 3, Math.floor(to / 6) % 2, Math.floor(to / 12)]
    return ((a * 3 + b) * 2 + c) * 3 + d
  })
  const opened = async (arrays: Record<string, Uint8Array>) => openNpz(bytesSource(npz(arrays), 'x.npz'))
  const second = pixels.subarray(18)

  test.each<[string, Record<string, Uint8Array>, number[] | undefined]>([
    ['Fortran order', { images: npy('|u1', [2, 3, 2, 3], turned, { fortran: true }) }, undefined],
    ['labels [N, 1]', { images: plain, labels: npy('|u1', [2, 1], [1, 0]) }, [1, 0]],
    ['MedMNIST', { train_images: plain, train_labels: npy('|u1', [2, 1], [0, 1]), val_images: plain }, [0, 1]],
    ['Keras', { x_train: plain, y_train: npy('|u1', [2], [2, 1]), x_test: plain }, [2, 1]],
  ])('%s', async (_, arrays, labels) => {
    const set = await opened(arrays)
    expect([set.length, set.sizeOf(0), set.labels && [...set.labels]]).toEqual([2, { width: 2, height: 3 }, labels])
    expect((await set.read(1)).data).toEqual(second)
  })

  test('rows of planes, as downsampled ImageNet has them', async () => {
    const set = await opened({ data: npy('|u1', [1, 12], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]) })
    expect(await set.read(0)).toEqual({
      width: 2,
      height: 2,
      channels: 3,
      data: Uint8Array.of(1, 5, 9, 2, 6, 10, 3, 7, 11, 4, 8, 12),
    })
  })

  test.each<[string, Record<string, Uint8Array>, string]>([
    ['channels first', { images: npy('|u1', [1, 3, 4, 4], new Uint8Array(48)) }, 'Save images.transpose(0, 2, 3, 1).'],
    ['alpha', { images: npy('|u1', [1, 2, 2, 4], new Uint8Array(16)) }, 'Save images[..., :3].'],
    ['floats', { images: npy('<f4', [1, 1, 1], new Uint8Array(4)) }, "Save images.astype('uint8')"],
    ['one label a column', { images: plain, labels: npy('|u1', [2, 2], [1, 0, 0, 1]) }, 'save labels.argmax(1)'],
  ])('%s: the message has the line that converts it', async (_, arrays, line) => {
    await expect(opened(arrays)).rejects.toMatchObject({ code: 'format', message: expect.stringContaining(line) })
  })

  test('a bare .npy', async () => {
    const set = await openImages(put('bare.npy', plain))
    expect([set.length, (await set.read(1)).data]).toEqual([2, second])
  })

  test("CIFAR-10's batches, binary and for Python, in a folder or one of them, and what is none", async () => {
    const row = (label: number): number[] => [
      label,
      ...[0, 1, 2].flatMap((c) => Array.from({ length: 1024 }, (_, i) => (i + 64 * c) % 256)),
    ]
    put('cifar/data_batch_1.bin', Uint8Array.from(row(3)))
    put('cifar/data_batch_2.bin', Uint8Array.from([...row(9), ...row(0)]))
    put('cifar/test_batch.bin', Uint8Array.from(row(1)))
    put('cifar/batches.meta.txt', 'a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n')
    const set = await openImages(at('cifar'))
    expect([set.length, [...set.labels!], set.classes?.at(-1)]).toEqual([3, [3, 9, 0], 'j'])
    expect((await set.read(2)).data.subarray(0, 6)).toEqual(Uint8Array.of(0, 64, 128, 1, 65, 129))
    expect([...(await openImages(at('cifar/test_batch.bin'))).labels!]).toEqual([1])
    // As Python 2's cPickle wrote them, protocol 2.
    const latin = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'))
    const planes = Uint8Array.from(row(0).slice(1))
    const pickled = concat(
      [0x80, 2],
      latin('}(U\x06labels]K\x07aU\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R'),
      latin('(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ'),
      latin('\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00'),
      planes,
      ascii('tbu.'),
    )
    put('python/data_batch_1', pickled)
    const names = Array.from({ length: 10 }, (_, i) => `U\x02n${i}`).join('')
    put('python/batches.meta', concat([0x80, 2], ascii(`}U\x0blabel_names](${names}es.`)))
    const python = await openImages(at('python'))
    expect([python.length, python.labels?.[0], python.classes?.[7]]).toEqual([1, 7, 'n7'])
    expect((await python.read(0)).data).toEqual((await set.read(2)).data)
    const evil = Uint8Array.from(pickled)
    evil.set(ascii('os.system'.padEnd(21)), Buffer.from(pickled).indexOf('numpy.core.multiarray'))
    await expect(openImages(put('evil/data_batch_1', evil))).rejects.toMatchObject({
      code: 'format',
      message: expect.stringContaining('it names the global "os.system'),
    })
    await expect(openImages(put('cut/data_batch_1.bin', new Uint8Array(3000)))).rejects.toMatchObject({
      code: 'format',
      message: expect.stringContaining('rows of 3073 bytes, found 3000'),
    })
    put('lsun/data.mdb', 'x')
    await expect(openImages(at('lsun'))).rejects.toThrow('That is an LMDB, as LSUN is handed out: write its values')
  })

  test('NIfTI volumes: every slice is an image, normalised by itself', async () => {
    put(
      'brains/a.nii',
      volume([2, 3, 4], 4, (i) => i - 7),
    )
    put('brains/b.nii.gz', gzipSync(volume([3, 2, 2], 16, (i) => (i === 2 ? NaN : i / 4), false)))
    put('brains/readme.txt', 'x')
    const set = await openImages(at('brains'))
    expect([set.length, set.channels, set.sizeOf(4)]).toEqual([6, 1, { width: 3, height: 2 }])
    expect([set.columns.get('volume'), set.columns.get('slice')]).toEqual([
      [0, 0, 0, 0, 1, 1],
      [0, 1, 2, 3, 0, 1],
    ])
    expect([set.imageName(1), set.imageName(5)]).toEqual(['a.nii/001', 'b.nii.gz/001'])
    for (const k of [0, 3]) expect((await set.read(k)).data).toEqual(Uint8Array.of(0, 51, 102, 153, 204, 255))
    // 0, 1/4, nothing, 3/4, 1, 5/4 over 5/4.
    expect((await set.read(4)).data).toEqual(Uint8Array.of(0, 51, 0, 153, 204, 255))
    const { parts, how } = selectImages(set, { slices: [1, 2], holdOut: 0.5, by: 'volume' })
    expect(how.slices).toEqual([1, 2])
    expect(Object.values(parts).map(String).sort()).toEqual(['1,2', '5'])
    expect(() => selectImages(set, { slices: [9] })).toThrow('no volume has a slice at any of the positions')
    expect((await openImages(at('brains/a.nii'))).length).toBe(4)
    put('brains/c.nii', volume([2, 3, 4], 4, (i) => i).subarray(0, 380))
    await expect((await openImages(at('brains'))).read(6)).rejects.toThrow('c.nii: a damaged NIfTI volume')
  })
})

describe('IDX', () => {
  const images = idx([2, 1, 3], [1, 2, 3, 4, 5, 6])

  test('images, gzipped or not, with the labels that lie beside them', async () => {
    put('idx/train-images-idx3-ubyte.gz', gzipSync(images))
    put('idx/train-labels-idx1-ubyte.gz', gzipSync(idx([2], [1, 0])))
    const set = await openImages(at('idx/train-images-idx3-ubyte.gz'))
    expect([set.length, set.channels, set.classes, [...(set.labels ?? [])]]).toEqual([2, 1, ['0', '1'], [1, 0]])
    expect(await set.read(1)).toEqual({ width: 3, height: 1, channels: 1, data: Uint8Array.of(4, 5, 6) })
    put('idx/t10k-images.idx3-ubyte', images)
    expect((await openImages(at('idx/t10k-images.idx3-ubyte'))).labels).toBeUndefined()
    put('idx/t10k-labels.idx1-ubyte', idx([2], [0, 1]))
    expect((await openImages(at('idx/t10k-images.idx3-ubyte'))).labels).toEqual(Int32Array.of(0, 1))
  })

  test('what is damaged, of another kind, or does not fit', async () => {
    await expect(openImages(put('a-idx3', idx([2, 1, 3], [1, 2])))).rejects.toThrow(
      'a-idx3: a damaged file: expected 6 bytes for [2, 1, 3], found 2',
    )
    await expect(openImages(put('b-idx1', idx([2], [1, 2])))).rejects.toThrow(
      'these are labels, name the file of images',
    )
    await expect(openImages(put('c.gz', gzipSync(images).subarray(0, 20)))).rejects.toThrow('c.gz: a damaged gzip file')
    await expect(openImages(put('d.gz', gzipSync('hello')))).rejects.toThrow('d.gz: not an IDX file')
    put('e-images', images)
    put('e-labels', idx([3], [1, 2, 0]))
    await expect(openImages(at('e-images'))).rejects.toThrow(
      'e-images: expected one label for each of its 2 images, found 3 labels',
    )
  })
})

test('files of 2 GiB and more are refused before they are read', async () => {
  const large = { name: 'large', size: 2 ** 31, read: async () => Promise.reject(new Error('read')) }
  for (const open of [openNpz, openIdx])
    await expect(open(large)).rejects.toThrow(/^large has 2\.0 GiB, and files of images are held in memory.*folder/)
})

test('of a thousand works sixteen run at a time', async () => {
  let [open, most] = [0, 0]
  const waiting: (() => void)[] = []
  const run = atMost(16)
  const works = Array.from({ length: 1000 }, (_, i) =>
    run(async () => {
      most = Math.max(most, ++open)
      await new Promise<void>((resolve) => waiting.push(resolve))
      open--
      return i % 3 === 0 ? Promise.reject(new Error(String(i))) : i
    }),
  )
  const all = Promise.allSettled(works)
  for (let done = 0; done < 1000; ) {
    await new Promise((resolve) => setTimeout(resolve))
    const some = waiting.splice(0)
    done += some.length
    for (const resume of some) resume()
  }
  expect((await all).map((result) => (result.status === 'fulfilled' ? result.value : -1))).toEqual(
    Array.from({ length: 1000 }, (_, i) => (i % 3 === 0 ? -1 : i)),
  )
  expect(most).toBe(16)
})

describe('a folder', () => {
  const grey = (value: number) => png(1, [value, value, value], 3)

  test('is read in the order of names, with all folders in it, and says what it does not use', async () => {
    put('tree/b_2.png', grey(2))
    put('tree/a_10.PNG', grey(10))
    put('tree/sub/c_3.jpeg', jpegs.grey.file)
    put('tree/.hidden.png', 'not looked at')
    put('tree/d.gif', 'GIF89a')
    symlinkSync(at('tree'), at('tree/round'))
    const set = await openImages(at('tree'))
    expect([0, 1, 2].map((i) => set.imageName(i))).toEqual(['a_10.PNG', 'b_2.png', 'sub/c_3.jpeg'])
    expect([set.length, set.channels, set.labels, set.notes]).toEqual([
      3,
      1,
      undefined,
      [
        '1 file is no PNG or JPEG and not used: d.gif.',
        'its sub-folders are not used as classes, because 2 of 3 images lie in none: a_10.PNG, b_2.png. Move them ' +
          'into one, or say --classes-by none.',
      ],
    ])
    expect([set.sizeOf(0), set.sizeOf(2)]).toEqual([
      { width: 3, height: 1 },
      { width: 13, height: 9 },
    ])
    expect((await set.read(0)).data[0]).toBe(10)
    expect((await set.read(2)).width).toBe(13)
    const names = ['a_10.PNG', 'b_2.png', 'sub/c_3.jpeg']
    const contents = [grey(10), grey(2), jpegs.grey.file]
    const hashed = (of: (file: Uint8Array) => unknown): string =>
      createHash('sha256')
        .update(names.map((name, i) => `${name}\0${of(contents[i])}\n`).join(''))
        .digest('hex')
    expect(set.fingerprint).toBe(hashed((file) => createHash('sha256').update(file).digest('hex')))
    expect(set.formerFingerprint, 'of the first version: names and sizes').toBe(hashed((file) => file.length))
  })

  test('is read again only where its files have changed, and says so when they change under it', async () => {
    for (const k of [1, 2, 3]) put(`known/${k}.png`, grey(k))
    const first = await openImages(at('known'))
    expect(await lookThrough(first)).toEqual([])
    expect(first.files!.every(({ whole }) => whole)).toBe(true)
    put('known/2.png', grey(9))
    const known = new Map(first.files!.map((file) => [file.name, { ...file, sha256: `${file.name} of then` }]))
    const second = await openImages(at('known'), { known })
    expect(second.files!.map(({ whole }) => whole)).toEqual([true, false, true])
    expect(second.files![0].sha256).toBe('1.png of then')
    expect(second.files![1].sha256).toBe(createHash('sha256').update(grey(9)).digest('hex'))
    const third = await openImages(at('known'))
    put('known/3.png', grey(4))
    const damaged = await lookThrough(third)
    expect(damaged.map(({ index, error }) => [index, error.message])).toEqual([
      [2, expect.stringContaining('3.png: another picture than when')],
    ])
    const stopped = AbortSignal.abort(new Error('stopped'))
    await expect(lookThrough(await openImages(at('known')), { signal: stopped })).rejects.toThrow('stopped')
  })

  test('a JPEG whose header is longer than what is read first', async () => {
    const { file } = jpegs.grey
    const remark = concat([0xff, 0xe1, 0x9c, 0x42], new Uint8Array(40_000))
    put('long/a.jpg', concat(file.subarray(0, 2), remark, remark, file.subarray(2)))
    const set = await openImages(at('long'))
    expect([set.channels, set.sizeOf(0), (await set.read(0)).data]).toEqual([
      1,
      { width: 13, height: 9 },
      decodeImage(file, 'x').data,
    ])
  })

  test('classes by sub-folder, by prefix or none', async () => {
    for (const name of ['cat/x_1', 'cat/y_2', 'ape/x_3']) put(`classes/${name}.png`, png(1, [1, 2]))
    const labelsBy = async (classesBy?: 'folder' | 'prefix' | 'none') => {
      const { labels, classes } = await openImages(at('classes'), { ...(classesBy && { classesBy }) })
      return [labels && [...labels], classes]
    }
    // Files: ape/x_3, cat/x_1, cat/y_2.
    expect(await labelsBy()).toEqual([
      [0, 1, 1],
      ['ape', 'cat'],
    ])
    expect(await labelsBy('folder')).toEqual([
      [0, 1, 1],
      ['ape', 'cat'],
    ])
    expect(await labelsBy('prefix')).toEqual([
      [0, 0, 1],
      ['x', 'y'],
    ])
    expect(await labelsBy('none')).toEqual([undefined, undefined])
    put('classes/plain.png', png(1, [1, 2]))
    expect(await labelsBy()).toEqual([undefined, undefined])
    await expect(labelsBy('folder')).rejects.toThrow('plain.png lies in no sub-folder')
    await expect(labelsBy('prefix')).rejects.toThrow('the name of plain.png has no "_"')
  })

  test('classes that are all numbers are sorted as numbers', async () => {
    for (const name of ['1', '2', '10', '03']) put(`numbers/${name}/a.png`, grey(1))
    expect((await openImages(at('numbers'))).classes).toEqual(['1', '2', '03', '10'])
    put('numbers/x/a.png', grey(1))
    expect((await openImages(at('numbers'))).classes).toEqual(['03', '1', '10', '2', 'x'])
  })

  test('what is no file does not close it; pictures that cannot be read are all named, or left out', async () => {
    put('odd/a.png', grey(1))
    put('odd/b.png', grey(2))
    symlinkSync(at('nowhere-at-all'), at('odd/readme.txt'))
    execFileSync('mkfifo', [at('odd/pipe')])
    const set = await openImages(at('odd'))
    expect([set.length, set.notes]).toEqual([2, ['2 files are no PNG or JPEG and not used: pipe, readme.txt.']])
    symlinkSync(at('odd/loop.png'), at('odd/loop.png'))
    execFileSync('mkfifo', [at('odd/pipe.png')])
    put('odd/none.png', 'hello')
    put('odd/cut.png', grey(3).subarray(0, 50))
    writeFileSync(Buffer.concat([Buffer.from(at('odd/caf')), Buffer.from([0xe9]), Buffer.from('.png')]), grey(4))
    const parts = [
      /caf\ufffd\.png: its name is no UTF-8: rename it\./,
      /cut\.png: a damaged PNG/,
      /loop\.png: a link that leads to no file\./,
      /none\.png: neither a PNG nor a JPEG/,
      /pipe\.png: a pipe or device, and no file\./,
    ]
    const error = await openImages(at('odd'), { whole: true }).catch((cause: TweedieError) => cause)
    expect(error).toMatchObject({ code: 'format' })
    const [head, ...lines] = (error as TweedieError).message.split('\n')
    expect(head).toContain('odd: 5 images cannot be read.')
    for (const [i, part] of parts.entries()) expect(lines[i]).toMatch(part)
    const rest = await openImages(at('odd'), { skipBad: true })
    expect([rest.length, rest.fingerprint, rest.leftOut]).toEqual([
      2,
      set.fingerprint,
      ['caf\ufffd.png', 'cut.png', 'loop.png', 'none.png', 'pipe.png'],
    ])
    expect(rest.notes.at(-1)).toContain('5 of 7 images are left out:\n')
  })

  test('one colour image makes it a set of colour', async () => {
    put('mixed/a.png', png(1, [1, 2]))
    put('mixed/b.png', png(3, [1, 2, 3, 4, 5, 6]))
    const set = await openImages(at('mixed'))
    expect([set.channels, (await set.read(0)).channels, (await set.read(1)).channels]).toEqual([3, 1, 3])
  })

  test('what was decoded is kept in memory', async () => {
    put('kept/a.png', png(1, [1, 2]))
    const set = await openImages(at('kept'))
    const first = await set.read(0)
    rmSync(at('kept/a.png'))
    expect(await set.read(0)).toBe(first)
    const again = put('kept/a.png', png(1, [3, 4]))
    const other = await openImages(at('kept'))
    rmSync(again)
    await expect(other.read(0)).rejects.toThrow(/^cannot read .*a\.png/)
  })

  test('the contact sheet and first stages beside samples are none of them', async () => {
    put('drawn/0.png', png(1, [1, 2]))
    put('drawn/contact-sheet.png', png(1, [1, 2]))
    put('drawn/base-0000.png', png(1, [1, 2]))
    expect((await openImages(at('drawn'))).length).toBe(3)
    put('drawn/run.json', '{}')
    expect((await openImages(at('drawn'))).length).toBe(1)
  })

  test('without images, or with a damaged one, it says so', async () => {
    mkdirSync(at('empty'))
    await expect(openImages(at('empty'))).rejects.toMatchObject({
      code: 'option',
      message: `${at('empty')}: holds no PNG or JPEG. Name a folder of images, an .npz or an IDX file.`,
    })
    put('wrapped/cells.npz', npz({ images: npy('|u1', [1, 1, 1], [1]) }))
    await expect(openImages(at('wrapped'))).rejects.toThrow(
      `only cells.npz. Name the file itself: ${at('wrapped/cells.npz')}`,
    )
    put('broken/a.png', png(1, [1, 2]))
    put('broken/b.jpg', jpegs.grey.file.subarray(0, 30))
    await expect(openImages(at('broken'))).rejects.toThrow('b.jpg: a damaged JPEG')
    put('text/a.png', 'hello')
    await expect(openImages(at('text'))).rejects.toThrow('a.png: neither a PNG nor a JPEG')
  })

  test('anything else is refused with what was expected', async () => {
    await expect(openImages(at('nowhere'))).rejects.toMatchObject({
      code: 'option',
      message: expect.stringContaining('cannot read') as string,
    })
    await expect(openImages(put('one.png', png(1, [1, 2])))).rejects.toThrow('one.png: a single image. Name the folder')
    await expect(openImages(put('some.txt', 'hello'))).rejects.toThrow(
      'expected a folder of PNG or JPEG files, an .npz or .npy, an IDX file',
    )
    await expect(openImages(put('x-idx', idx([1, 1, 1], [1])), { classesBy: 'prefix' })).rejects.toThrow(
      'classes by prefix are for a folder',
    )
    await expect(openImages(at('tree'), { signal: AbortSignal.abort() })).rejects.toThrow('aborted')
  })
})

test('SHA-256 is that of Node, whatever the length and however it comes', async () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000]) {
    const bytes = Uint8Array.from({ length }, (_, i) => i * 7)
    const expected = createHash('sha256').update(bytes).digest('hex')
    expect(sha256(bytes)).toBe(expected)
    expect(sha256(bytes.subarray(0, length >> 1), bytes.subarray(length >> 1))).toBe(expected)
    expect(await sha256OfBytes(bytes)).toBe(expected)
    expect(await sha256OfBytes(bytes.subarray(0, length >> 1), bytes.subarray(length >> 1))).toBe(expected)
  }
  expect(sha256('Zellen, ', 'ü')).toBe(createHash('sha256').update('Zellen, ü').digest('hex'))
})

describeShared('the shared data sets', () => {
  test('blood cells and brain slices', async () => {
    const cells = await openImages(shared('data/bccd_cells_32.npz'))
    expect([cells.length, cells.channels, cells.classes, [...cells.columns.keys()], cells.notes]).toEqual([
      4886,
      3,
      ['RBC', 'WBC', 'Platelets'],
      ['source_image'],
      [],
    ])
    const counts = [0, 0, 0]
    for (const label of cells.labels ?? []) counts[label]++
    expect(counts).toEqual([4153, 372, 361])
    const slices = await openImages(shared('data/brain_mri_64.npz'))
    expect([slices.length, slices.channels, slices.sizeOf(0), [...slices.columns.keys()]]).toEqual([
      3264,
      1,
      { width: 64, height: 64 },
      ['is_test'],
    ])
  })

  test('PNGs that PIL reads: a suggested palette, small interlaced pictures, damaged texts and profiles', async () => {
    const read = (name: string) => decodeImage(readFileSync(shared(`cases/${name}`)), name)
    const right = new Uint8Array(readFileSync(shared('cases/png-truecolour-plte/true.raw')))
    for (const name of ['rgb', 'rgb16', 'rgba'])
      expect(read(`png-truecolour-plte/${name}.png`), name).toEqual({ width: 32, height: 32, channels: 3, data: right })
    const plain = read('png-strict/png_noiend.png')
    for (const name of [
      'png-strict/png_emptykw',
      'png-strict/png_longkw',
      'png-strict/png_badiCCP',
      'png-truecolour-plte/short',
    ])
      expect(read(`${name}.png`), name).toEqual(plain)
    expect([plain.width, plain.height, plain.channels]).toEqual([40, 48, 3])
    for (const [name, channels] of [
      ['g4', 1],
      ['pal4', 3],
    ] as const) {
      const { width, height, ...rest } = read(`png-strict/png_adam7_${name}.png`)
      expect([width, height, rest.channels], name).toEqual([39, 48, channels])
    }
  })

  test('ImageNet as it is handed out: CMYK among it, and small pictures, which are enlarged as by PIL', async () => {
    const set = await openImages(shared('cases/imagenet-as-it-is/data'), { whole: true })
    expect([set.length, set.classes, await lookThrough(set)]).toEqual([10, ['n01440764', 'n01443537'], []])
    const small = decodeImage(readFileSync(shared('cases/imagenet-as-it-is/small.png')), 'small.png')
    const right = new Uint8Array(readFileSync(shared('cases/imagenet-as-it-is/enlarged.raw')))
    expect(centerCrop(small, 32)).toEqual({ width: 32, height: 32, channels: 3, data: right })
  })

  test("LPIPS's own pictures", async () => {
    const set = await openImages(shared('weights/lpips'))
    expect([set.length > 2, set.channels, set.sizeOf(0)]).toEqual([true, 3, { width: 64, height: 64 }])
  })
})
