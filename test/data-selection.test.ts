/** Selections: long tails, parts held out, their files, and the command that writes them. */
import { readFileSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  applySelection,
  classCounts,
  commonSize,
  encodeSelection,
  evenlySpaced,
  parseSelection,
  selectImages,
  type ImageSet,
} from '../src/data/index.ts'
import { temporaryFolder, tweedie } from './cli.ts'
import { countingSet, npy, npz } from './data-fixtures.ts'

const at = temporaryFolder()

describe('a long tail', () => {
  const balanced = (classes: number, each: number) =>
    countingSet(classes * each, { labels: Array.from({ length: classes * each }, (_, i) => i % classes) })

  test('has max · IF^(-c / (C - 1)) images of class c', () => {
    const set = balanced(10, 500)
    const { parts } = selectImages(set, { longTail: 100, seed: 1 })
    // 500 times 100^(-c/9), rounded down.
    expect(classCounts(set, parts.train)).toEqual([500, 299, 179, 107, 64, 38, 23, 13, 8, 5])
    expect(parts.train).toEqual([...new Set(parts.train)].sort((a, b) => a - b))
    expect(classCounts(set)).toEqual(new Array(10).fill(500))
  })

  test('keeps all of a class that has fewer, and at least one', () => {
    const set = countingSet(14, { labels: [...new Array(10).fill(0), 1, 1, 2, 2] as number[] })
    expect(classCounts(set, selectImages(set, { longTail: 2 }).parts.train)).toEqual([10, 2, 2])
    expect(classCounts(set, selectImages(set, { longTail: 1000 }).parts.train)).toEqual([10, 1, 1])
  })

  test('is the same for the same seed alone', () => {
    const set = balanced(3, 50)
    const [a, b, c] = [1, 1, 2].map((seed) => selectImages(set, { longTail: 10, seed }).parts.train)
    expect(a).toEqual(b)
    expect(a).not.toEqual(c)
  })

  test('needs classes and a factor', () => {
    expect(() => selectImages(countingSet(4), { longTail: 10 })).toThrow(
      'counting: a long tail needs two classes or more, found none.',
    )
    expect(() => selectImages(balanced(2, 2), { longTail: 0.5 })).toThrow(
      'An imbalance factor is a number of 1 or more, found 0.5.',
    )
  })
})

describe('a part that is held out', () => {
  test('never splits a group, and has its fraction of them', () =>
    fc.assert(
      fc.property(
        fc
          .array(fc.integer({ min: 0, max: 9 }), { minLength: 2, maxLength: 60 })
          .filter((smears) => new Set(smears).size > 1),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.integer({ min: 0, max: 100 }),
        (smear, holdOut, seed) => {
          const set = countingSet(smear.length, { columns: { smear } })
          const { train, 'held-out': out } = selectImages(set, { holdOut, by: 'smear', seed }).parts
          expect([...train, ...out].sort((a, b) => a - b)).toEqual(smear.map((_, i) => i))
          const groups = (indices: readonly number[]) => new Set(indices.map((index) => smear[index]))
          const all = new Set(smear).size
          expect(groups(train).size + groups(out).size).toBe(all)
          expect(groups(out).size).toBe(Math.min(all - 1, Math.max(1, Math.round(holdOut * all))))
        },
      ),
    ))

  test('is made of images where no column is named', () => {
    const { parts } = selectImages(countingSet(50), { holdOut: 0.2, seed: 4 })
    expect([parts.train.length, parts['held-out'].length]).toEqual([40, 10])
  })

  test('comes out of the long tail', () => {
    const set = countingSet(40, { labels: Array.from({ length: 40 }, (_, i) => i % 2) })
    const { train, 'held-out': out } = selectImages(set, { longTail: 4, holdOut: 0.2 }).parts
    expect(classCounts(set, [...train, ...out])).toEqual([20, 5])
    expect(out.length).toBe(5)
  })

  test('needs two groups, a column that is there, and a fraction', () => {
    const set = countingSet(3, { columns: { smear: [1, 1, 1] } })
    expect(() => selectImages(set, { holdOut: 0.5, by: 'smear' })).toThrow(
      'expected two groups by smear or more to hold one out, found 1.',
    )
    const unknown = countingSet(3, { columns: { smear: [1, NaN, 2] } })
    expect(() => selectImages(unknown, { holdOut: 0.5, by: 'smear' })).toThrow(
      'column "smear" is NaN for image 1, and groups are of equal numbers.',
    )
    expect(() => selectImages(set, { holdOut: 0.5, by: 'patient' })).toThrow(
      'there is no column "patient" with one number an image; there is smear.',
    )
    expect(() => selectImages(set, { holdOut: 1 })).toThrow('lies between 0 and 1, found 1')
    expect(() => selectImages(set, { by: 'smear' })).toThrow('say which fraction to hold out')
    expect(() => selectImages(countingSet(1), { holdOut: 0.5 })).toThrow('expected two images or more')
  })
})

describe('a selection file', () => {
  const set = countingSet(10)
  const text = JSON.stringify(selectImages(set, { holdOut: 0.3 }))

  test('gives its parts back', () => {
    const [train, out] = [applySelection(set, text), applySelection(set, text, 'held-out')]
    expect([train.length, out.length]).toEqual([7, 3])
    expect([...(train.origin?.indices ?? []), ...(out.origin?.indices ?? [])].sort((a, b) => a - b)).toEqual([
      0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
    ])
    expect(train.fingerprint).not.toBe(out.fingerprint)
  })

  test('is refused for other data, for a part it has not, and where it is none', () => {
    expect(() => applySelection(countingSet(11), text, 'train', 'split.json')).toThrow(
      'split.json was made for other data (counting, counting-10) than counting (counting-11)',
    )
    expect(() => applySelection(set, text, 'test', 'split.json')).toThrow(
      'split.json has no part "test", only train, held-out.',
    )
    for (const other of [
      'no JSON',
      'null',
      '[]',
      '{"kind":"selection"}',
      text.replace('"parts":{"train":[', '"parts":{"train":[-1,'),
      text.replace(/"train":\[[^\]]*\]/, '"train":[]'),
    ]) {
      expect(() => applySelection(set, other, 'train', 'split.json'), other).toThrow(
        'split.json: expected a selection as tweedie select writes it',
      )
    }
  })
})

describe('tweedie select', () => {
  const arrays = {
    images: npy('|u1', [8, 1, 1, 1], [1, 2, 3, 4, 5, 6, 7, 8]),
    labels: npy('|u1', [8], [0, 0, 0, 0, 0, 0, 1, 1]),
    classes: npy('|S3', [2], [...Buffer.from('RBCW\x1bC')]),
    smear: npy('|u1', [8], [0, 0, 1, 1, 2, 2, 3, 3]),
  }
  writeFileSync(at('cells.npz'), npz(arrays))
  writeFileSync(at('odd.npz'), npz({ ...arrays, odd: npy('|u1', [2], [1, 2]) }))

  test('writes what it kept and prints how many of each class', async () => {
    const { code, out, err } = await tweedie([
      'select',
      at('odd.npz'),
      '--hold-out',
      '0.25',
      '--by',
      'smear',
      '--seed',
      '2',
      '--out',
      at('split.json'),
    ])
    expect([code, err]).toEqual([0, [`${at('odd.npz')}: array "odd" (|u1, [2]) is not used.`]])
    const selection = JSON.parse(readFileSync(at('split.json'), 'utf8')) as ReturnType<typeof selectImages>
    expect(selection).toMatchObject({
      program: 'tweedie',
      kind: 'selection',
      data: at('odd.npz'),
      how: { holdOut: 0.25, by: 'smear', seed: 2 },
    })
    expect([selection.parts.train.length, selection.parts['held-out'].length]).toEqual([6, 2])
    const rows = out[0].split('\n').map((line) => line.split(/ +/))
    expect(rows[0]).toEqual(['class', 'data', 'train', 'held-out'])
    expect(rows[1].slice(0, 2)).toEqual(['RBC', '6'])
    // A terminal is moved by nobody's names.
    expect(rows[2][0]).toBe('W\\x1bC')
    expect(rows[3]).toEqual(['all', '8', '6', '2'])
    expect(out[1]).toBe(at('split.json'))
  })

  test('a mistake is one line', async () => {
    for (const [argv, message] of [
      [[], 'needs more'],
      [[at('cells.npz')], 'Nothing to select: give --long-tail IF, --hold-out F, both, or --slices.'],
      [[at('cells.npz'), '--long-tail', '0'], '--long-tail: expected a number of 1 or more'],
      [[at('cells.npz'), '--long-tail', '2', '--classes-by', 'prefix'], 'classes by prefix are for a folder'],
      [[at('cells.npz'), '--hold-out', '0.2', '--by', 'patient'], 'there is no column "patient"'],
      [[at('none.npz'), '--hold-out', '0.2'], 'cannot read'],
    ] as const) {
      const { code, err } = await tweedie(['select', ...argv, '--out', at('never.json')])
      expect([code, err.length, err[0]], String(argv)).toEqual([1, 1, expect.stringContaining(message)])
    }
  })
})

test('a selection is read as it was written', () => {
  const selection = selectImages(countingSet(20), { holdOut: 0.2, seed: 3 })
  expect(parseSelection(encodeSelection(selection))).toEqual(selection)
})

test('images are taken from end to end of a set, or all of them', () => {
  expect([evenlySpaced(4, 9), evenlySpaced(10, 4), evenlySpaced(5, 0)]).toEqual([[0, 1, 2, 3], [0, 2, 5, 7], []])
})

test('a set has a side if all its images are squares of one size', () => {
  const sized = (...sizes: [number, number][]): ImageSet =>
    ({ length: sizes.length, sizeOf: (i: number) => ({ width: sizes[i][0], height: sizes[i][1] }) }) as ImageSet
  expect([
    commonSize(sized([8, 8], [8, 8])),
    commonSize(sized([8, 8], [9, 9])),
    commonSize(sized([8, 9], [8, 9])),
  ]).toEqual([8, null, null])
})
