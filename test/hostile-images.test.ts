/** Images, sets of them and the files about them, as strangers send them: read, or refused in one sentence. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { deflateSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeInTurns } from '../src/data/decode.ts'
import {
  decodeImage,
  openIdx,
  openImages,
  openNpy,
  openNpz,
  parseAttributes,
  parseSelection,
  selectImages,
} from '../src/data/index.node.ts'
import { cifarSet } from '../src/data/cifar.ts'
import { gunzip } from '../src/data/gunzip.ts'
import { isGzip } from '../src/data/idx.ts'
import { encodeSelection } from '../src/data/selection.ts'
import { headerBytes, sliceOf, volumeHeader } from '../src/data/volume.ts'
import {
  encodeMinorityLabels,
  encodeMinorityScores,
  minorityLabels,
  parseMinorityLabels,
  parseMinorityScores,
  type MinorityScores,
} from '../src/diffusion/index.ts'
import { parseJson } from '../src/io/json.ts'
import { bytesSource } from '../src/io/source.ts'
import { isRecord } from '../src/tweedie/run-record.ts'
import { temporaryFolder } from './cli.ts'
import { cmykJpeg, countingSet, idx, jpegs, npy, npz, pattern, pngChunk, pngFile, volume } from './data-fixtures.ts'
import { bounded, damaged, hostile, hostileBytes, numRuns, scoresHead, survives } from './hostile.ts'
import { ascii, concat, le } from './io-fixtures.ts'
import { describeShared } from './shared.ts'

const be = (value: number): number[] => [...le(value, 4)].reverse()
const at = temporaryFolder()
const put = (name: string, bytes: Uint8Array | string): string => {
  mkdirSync(dirname(at(name)), { recursive: true })
  writeFileSync(at(name), bytes)
  return at(name)
}

describeShared('the cases', () => {
  test.each([
    ['png-bomb', 'a.png: 30000 x 20000 pixels are more than 100 million'],
    ['png-hang', 'a.png'],
    ['jpeg-bomb', 'a.jpg'],
  ])('%s', async (folder, message) => {
    const error = await survives(async () => {
      const set = await openImages(hostile(folder))
      await set.read(0)
    })
    expect([error?.code, error?.message]).toEqual(['format', expect.stringContaining(message)])
  })

  test('png-palette: an index past the palette is black, or it is damaged', async () => {
    const set = await openImages(hostile('png-palette'))
    const error = await survives(() => set.read(0))
    if (error) expect(error.message).toContain('a.png')
  })

  test('an IDX file of a megabyte that holds gigabytes', async () => {
    const error = await survives(() => openImages(hostile('bomb-images-idx3.gz')))
    expect([error?.code, error?.message]).toEqual(['format', expect.stringContaining('bomb-images-idx3.gz')])
  })

  test.each(['null.json.unfinished', 'scores.json.unfinished'])('%s: null and text are no scores', async (name) => {
    const text = new TextDecoder().decode(hostileBytes(name)).replace('unfinished-minority-scores', 'minority-scores')
    const error = await survives(() => parseMinorityScores(text, name))
    expect([error?.code, error?.message]).toEqual([
      'format',
      expect.stringMatching(/json\.unfinished: .*(scores\[\d+\]: expected a number|in "scores")/),
    ])
  })

  test('levels.labels.json: more levels than thresholds', async () => {
    const text = new TextDecoder().decode(hostileBytes('levels.labels.json'))
    const error = await survives(() => parseMinorityLabels(text, 'levels.labels.json'))
    expect([error?.code, error?.message]).toEqual(['format', expect.stringContaining('levels.labels.json')])
  })
})

test('a picture of 4,294,967,295 x 1 pixels, and one whose file cannot hold what its header says', async () => {
  const wide = pngFile({ width: 1, height: 1, depth: 8, type: 0, pixels: [0] })
  const view = new DataView(wide.buffer, wide.byteOffset)
  view.setUint32(16, 2 ** 32 - 1)
  expect((await survives(() => decodeImage(wide, 'a.png')))?.message).toContain('a.png: 4294967295 x 1 pixels')
  view.setUint32(16, 10_000)
  view.setUint32(20, 9_999)
  const error = await survives(() => decodeImage(wide, 'a.png'))
  expect([error?.code, error?.message]).toEqual(['format', expect.stringContaining('a.png: a damaged PNG')])
})

test('a pipe as data is not waited for, as a set or in one', async () => {
  execFileSync('mkfifo', [at('pipe.npz')])
  expect((await survives(() => openImages(at('pipe.npz'))))?.message).toMatch(/pipe\.npz: expected a file/)
})

test('what is decoded stops while it is at it, and names its file', async () => {
  // 48 MB of zeros, of which a fraction of a second is enough to be stopped in.
  const [width, height] = [4000, 4000]
  const large = concat(
    [137, ...ascii('PNG'), 13, 10, 26, 10],
    pngChunk('IHDR', [...be(width), ...be(height), 8, 2, 0, 0, 0]),
    pngChunk('IDAT', deflateSync(Buffer.alloc((1 + 3 * width) * height))),
    pngChunk('IEND', []),
  )
  const stop = new AbortController()
  const decoding = decodeInTurns(large, 'large.png', stop.signal)
  await new Promise((resolve) => setTimeout(resolve, 1))
  stop.abort(new Error('stopped'))
  await expect(decoding).rejects.toThrow('stopped')
})

/** Whatever is done to the file, `read` reads it or refuses it in one sentence that names it. */
const property = async (
  file: Uint8Array,
  name: string,
  read: (bytes: Uint8Array) => unknown,
  inputs = numRuns,
): Promise<void> => {
  await bounded(async () => void (await read(file)))
  await fc.assert(
    fc.asyncProperty(damaged(file), async (bytes) => {
      const error = await survives(() => read(bytes))
      if (error) expect(error.message).toContain(name)
    }),
    { numRuns: inputs },
  )
}

describe('files with faults: images', () => {
  const files: Record<string, Uint8Array> = {
    'a baseline JPEG': jpegs['chroma of half the width and height'].file,
    'a progressive JPEG': jpegs.progressive.file,
    'restart markers': jpegs['chroma of half the height, with restart markers'].file,
    CMYK: cmykJpeg.file,
    'a PNG': pngFile({ width: 9, height: 7, depth: 8, type: 2, pixels: pattern(9, 7).data }),
    'an interlaced PNG': pngFile({
      width: 9,
      height: 7,
      depth: 4,
      type: 0,
      interlaced: true,
      pixels: Array.from({ length: 63 }, (_, i) => i % 16),
    }),
  }
  test.each(Object.keys(files))('%s', (kind) => property(files[kind], 'a.img', (bytes) => decodeImage(bytes, 'a.img')))
})

describe('files with faults: sets', () => {
  const sets: Record<string, Uint8Array> = {
    'a.npz': npz(
      { images: npy('|u1', [2, 2, 2, 3], new Uint8Array(24)), labels: npy('<i8', [2, 1], new Uint8Array(16)) },
      0,
    ),
    'a.npy': npy('|u1', [2, 3, 2], new Uint8Array(12), { fortran: true }),
    'images-idx3': idx([2, 3, 3], new Uint8Array(18)),
    'images-idx3.gz': gzipSync(idx([2, 3, 3], new Uint8Array(18))),
    'a.nii': volume([3, 2, 2], 4, (i) => i),
    'a.nii.gz': gzipSync(volume([3, 2, 2], 16, (i) => i)),
    'data_batch_1.bin': new Uint8Array(3073),
  }
  // Straight from memory: the file system is slow.
  const read = async (name: string, bytes: Uint8Array): Promise<unknown> => {
    if (name.includes('.nii')) {
      const header = volumeHeader(isGzip(bytes) ? await gunzip(bytes, name, headerBytes) : bytes, name)
      return sliceOf(header, isGzip(bytes) ? await gunzip(bytes, name, 2 ** 20) : bytes, header.slices - 1, name)
    }
    const set = name.endsWith('.npz')
      ? await openNpz(bytesSource(bytes, name))
      : name.endsWith('.npy')
        ? await openNpy(bytesSource(bytes, name))
        : name.startsWith('images')
          ? await openIdx(bytesSource(bytes, name))
          : cifarSet(name, name, [bytes], null, '')
    return set.read(set.length - 1)
  }
  test.each(Object.keys(sets))('%s', (name) => property(sets[name], name, (bytes) => read(name, bytes)))

  // What opens files by their names.
  test.each(Object.keys(sets).filter((name) => /nii|bin$/.test(name)))('%s, a file', (name) =>
    property(
      sets[name],
      name,
      async (bytes) => {
        const set = await openImages(put(`faults/${name}`, bytes))
        await set.read(set.length - 1)
      },
      50,
    ),
  )
})

describe('files with faults: what is read back', () => {
  const scores: MinorityScores = {
    ...scoresHead,
    kind: 'minority-scores',
    scores: [0.1, 0.4, 0.2, 0.9],
    classes: [0, 1, 0, 1],
    classNames: ['a', 'b'],
  }
  const record = {
    program: 'tweedie',
    version: '0.1.0',
    status: 'done',
    started: '2026-11-27',
    options: { model: 'm.pt', number: 1, quiet: false },
    sha256: { model: 'ab' },
    kernels: {},
    adapter: { backend: 'cpu', name: 'x', vendor: 'y', architecture: 'wasm-simd', software: true },
    samples: [{ file: 'sample-0000.png', sha256: 'cd', score: 0.5, label: 3 }],
    seconds: { load: 1, batches: [{ samples: 1, seconds: 1, firstStep: 1, scoring: 1 }] },
  }
  const texts: Record<string, [string, (text: string) => unknown]> = {
    scores: [encodeMinorityScores(scores), (text) => parseMinorityScores(text, 'a.json')],
    labels: [
      encodeMinorityLabels(minorityLabels(scores, { levels: 2 })),
      (text) => parseMinorityLabels(text, 'a.json'),
    ],
    'a selection': [
      encodeSelection(selectImages(countingSet(10), { holdOut: 0.3 })),
      (text) => parseSelection(text, 'a.json'),
    ],
    'run.json': [JSON.stringify(record), (text) => parseJson(text, 'a.json', 'a run.json of tweedie', isRecord)],
    'a table of attributes': ['3\nA B\na.png 1 -1\nb.png -1 1\nc.png 1 1\n', (text) => parseAttributes(text, 'a.json')],
  }
  test.each(Object.keys(texts))('%s', async (kind) => {
    const [text, read] = texts[kind]
    await property(new TextEncoder().encode(text), 'a.json', (bytes) => read(new TextDecoder().decode(bytes)))
  })

  test.each(Object.keys(texts).slice(0, 4))('%s: any value of JSON in the place of any', async (kind) => {
    const [text, read] = texts[kind]
    const value = JSON.parse(text) as Record<string, unknown>
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...Object.keys(value)), fc.jsonValue(), async (key, other) => {
        const error = await survives(() => read(JSON.stringify({ ...value, [key]: other })))
        if (error) expect(error.message).toContain('a.json')
      }),
      { numRuns },
    )
  })
})
