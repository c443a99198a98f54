/** Minority labels by quantiles (Um et al., ICLR 2024, section 3.2), and the files of scores and labels. */
import { describe, expect, test } from 'vitest'
import {
  checkFingerprint,
  encodeMinorityLabels,
  encodeMinorityScores,
  equalWidthLabels,
  minorityLabels,
  parseMinorityLabels,
  parseMinorityScores,
  quantileLabels,
  scoreProcess,
  scoreSettings,
  type LabelOptions,
  type MinorityScores,
  type ScoreSettings,
} from '../src/diffusion/index.ts'
import { numbers } from './op.ts'

const sizes = (labels: ArrayLike<number>, levels: number): number[] => {
  const counts = new Array<number>(levels).fill(0)
  for (let i = 0; i < labels.length; i++) counts[labels[i]]++
  return counts
}

describe('quantiles', () => {
  test('linear between order statistics', () => {
    const { labels, thresholds } = quantileLabels([0.1, 0.4, 0.2, 0.9, 0.7, 0.3, 0.8, 0.5], 4)
    const expected = [0.275, 0.45, 0.725, 0.9]
    thresholds.forEach((threshold, j) => expect(threshold).toBeCloseTo(expected[j], 14))
    expect([...labels]).toEqual([0, 1, 0, 3, 2, 1, 3, 2])
  })

  test('levels of equal size, the largest score in the last, for every number of images and levels', () => {
    for (let levels = 2; levels <= 12; levels++) {
      for (let count = levels; count < 80; count++) {
        const scores = Float32Array.from(numbers(count, count * 31 + levels))
        expect(new Set(scores).size).toBe(count)
        const { labels, thresholds } = quantileLabels(scores, levels)
        const found = sizes(labels, levels)
        expect(
          Math.max(...found) - Math.min(...found),
          `${count} images, ${levels} levels: ${found}`,
        ).toBeLessThanOrEqual(1)
        expect(labels[scores.indexOf(Math.max(...scores))]).toBe(levels - 1)
        expect(thresholds.at(-1)).toBe(Math.max(...scores))
        // The definition: label j where q_{j-1} < score <= q_j.
        labels.forEach((label, i) => {
          expect(scores[i]).toBeLessThanOrEqual(thresholds[label])
          if (label > 0) expect(scores[i]).toBeGreaterThan(thresholds[label - 1])
        })
      }
    }
  })

  test('a threshold that falls on a score is that score', () => {
    // 0.1 * 3 is not 0.3: the place of the quantile is counted in whole numbers.
    const scores = Array.from({ length: 11 }, (_, i) => i / 7)
    expect(quantileLabels(scores, 10).thresholds).toEqual(scores.slice(1))
  })

  test('within classes, each is cut for itself, and equals the cut of that class alone', () => {
    const scores = numbers(50, 3)
    // Class 1 has no image; class 2 scores far higher than class 0.
    const classes = Array.from(scores, (_, i) => (i % 5 === 0 ? 2 : 0))
    const shifted = scores.map((score, i) => score + classes[i] * 100)
    const { labels, thresholds } = quantileLabels(shifted, 4, classes)
    expect(thresholds.map((row) => row.length)).toEqual([4, 0, 4])
    for (const c of [0, 2]) {
      const members = classes.flatMap((found, i) => (found === c ? [i] : []))
      const alone = quantileLabels(
        members.map((i) => shifted[i]),
        4,
      )
      expect(members.map((i) => labels[i])).toEqual([...alone.labels])
      expect(thresholds[c]).toEqual(alone.thresholds)
    }
    // Over the whole set, the higher class would be all of the rarest level but two.
    expect(quantileLabels(shifted, 4).labels.filter((label, i) => classes[i] === 2 && label < 3)).toHaveLength(0)
  })

  test('of a number of levels for each class', () => {
    // numpy.quantile(v, (arange(L) + 1) / L) and searchsorted of [5, 1, 4, 2, 3, 6] with L = 3 and [.1, .9, .5, .2]
    // with 2.
    const { labels, thresholds } = quantileLabels(
      [5, 0.1, 1, 4, 0.9, 2, 3, 0.5, 6, 0.2],
      [3, 2],
      [0, 1, 0, 0, 1, 0, 0, 1, 0, 1],
    )
    expect([...labels]).toEqual([2, 0, 0, 1, 1, 0, 1, 1, 2, 0])
    const expected = [
      [8 / 3, 13 / 3, 6],
      [0.35, 0.9],
    ]
    expect(thresholds.map(({ length }) => length)).toEqual([3, 2])
    thresholds.flat().forEach((threshold, j) => expect(threshold).toBeCloseTo(expected.flat()[j], 14))
  })

  const cases: [string, () => unknown, RegExp][] = [
    [
      'levels of one class too many',
      () => quantileLabels([1, 2, 3, 4], [2, 2, 2], [0, 0, 1, 1]),
      /There are 2 classes, found numbers of levels for 3/,
    ],
    ['a class with one level', () => quantileLabels([1, 2, 3, 4], [2, 1], [0, 0, 1, 1]), /2 levels or more, found 1/],
    ['one level', () => quantileLabels([1, 2, 3], 1), /2 levels or more, found 1/],
    ['half a level', () => quantileLabels([1, 2, 3], 2.5), /2 levels or more, found 2.5/],
    [
      'fewer images than levels',
      () => quantileLabels([1, 2, 3], 4),
      /3 images cannot be cut into 4 levels: take fewer levels/,
    ],
    ['no images', () => quantileLabels([], 2), /0 images cannot be cut/],
    [
      'a class with fewer images than levels',
      () => quantileLabels([1, 2, 3, 4, 5], 3, [0, 0, 0, 1, 1]),
      /class 1: 2 images cannot be cut into 3 levels: take at most as many levels/,
    ],
    ['a score that is no number', () => quantileLabels([1, NaN, 3], 2), /Score 1 is NaN/],
    [
      'equal scores',
      () => quantileLabels([1, 1, 1, 1, 1, 2], 3),
      /level 1 of 3 is empty, because so many images have the same score as its threshold 1/,
    ],
    ['as many classes as scores', () => quantileLabels([1, 2, 3], 2, [0, 0]), /3 scores need as many classes, found 2/],
    ['a class that is none', () => quantileLabels([1, 2, 3], 2, [0, 0, -1]), /index from 0, found -1 for image 2/],
  ]
  test.each(cases)('%s', (_, run, message) => expect(run).toThrow(message))
})

describe('equal widths', () => {
  test('thresholds at equal distances, levels without images', () => {
    // numpy.linspace(min, max, 6)[1:] and searchsorted, side left.
    const { labels, thresholds } = equalWidthLabels([3, 0.5, 0.6, 0.7, 0.55, 10.5], 5)
    expect(thresholds).toEqual([2.5, 4.5, 6.5, 8.5, 10.5])
    expect([...labels]).toEqual([1, 0, 0, 0, 0, 4])
    expect(equalWidthLabels([1, 3, 2], 2)).toEqual({ labels: Int32Array.of(0, 1, 0), thresholds: [2, 3] })
  })

  test('the largest score is in the last level, whatever its digits', () => {
    for (let seed = 0; seed < 200; seed++) {
      const scores = Float32Array.from(numbers(20, seed))
      const { labels, thresholds } = equalWidthLabels(scores, 7)
      expect(labels[scores.indexOf(Math.max(...scores))]).toBe(6)
      expect(
        labels.every(
          (label, i) => scores[i] <= thresholds[label] && (label === 0 || scores[i] > thresholds[label - 1]),
        ),
      ).toBe(true)
    }
  })

  test('within classes, each its own width and number', () => {
    const { labels, thresholds } = equalWidthLabels(
      [5, 0.1, 1, 4, 0.9, 2, 3, 0.5, 6, 0.2],
      [5, 2],
      [0, 1, 0, 0, 1, 0, 0, 1, 0, 1],
    )
    expect([thresholds[0], thresholds[1][1]]).toEqual([[2, 3, 4, 5, 6], 0.9])
    expect([...labels]).toEqual([3, 0, 0, 2, 1, 0, 1, 0, 4, 0])
  })

  test('no width', () => {
    expect(() => equalWidthLabels([2, 2, 2], 2)).toThrow(/all images: all scores are 2: there is no width to cut/)
    expect(() => equalWidthLabels([], 2)).toThrow(/no image/)
    expect(() => equalWidthLabels([1, 2, 2, 2], 2, [0, 0, 1, 1], ['cat', 'dog'])).toThrow(
      /class 1 \(dog\): all scores are 2/,
    )
  })
})

describe('files', () => {
  const settings: ScoreSettings = {
    model: 'b'.repeat(64),
    schedule: 'cosine',
    diffusionSteps: 1000,
    respacing: '100',
    t: 90,
    timestep: 908,
    distance: 'L2',
    draws: 1,
    seed: 0,
    conditional: false,
  }
  const scores: MinorityScores = {
    program: 'tweedie',
    kind: 'minority-scores',
    data: 'cells.npz',
    fingerprint: 'a'.repeat(64),
    ...settings,
    indices: [0, 2],
    scores: [0.5, 0.25],
  }
  const labels = {
    program: 'tweedie',
    kind: 'minority-labels',
    data: 'cells.npz',
    fingerprint: 'a',
    levels: 2,
    within: 'all',
    indices: [0, 1],
    labels: [0, 1],
    thresholds: [1, 2],
    scores: settings,
  }

  test('are read as they were written', () => {
    expect(parseMinorityScores(encodeMinorityScores(scores), 's.json')).toEqual(scores)
    expect(parseMinorityLabels(JSON.stringify(labels), 'l.json')).toEqual(labels)
    const within = { ...labels, within: 'class', thresholds: [[1, 2], [], [3, 4]] }
    expect(parseMinorityLabels(JSON.stringify(within), 'l.json')).toEqual(within)
    expect(() => encodeMinorityScores({ ...scores, scores: [1, NaN] }, 's.json')).toThrow(
      's.json is not written: scores[1] is NaN',
    )
  })

  test('the settings of scores are those of their process', () => {
    const rest = { model: settings.model, distance: 'L2', draws: 1, seed: 0, conditional: false }
    const process = { schedule: 'cosine', diffusionSteps: 1000 } as const
    expect(scoreSettings(process, scoreProcess(process), rest)).toEqual(settings)
    // Written where they differ from what older files did not say.
    const other = { schedule: 'linear', diffusionSteps: 50, meanType: 'v' } as const
    expect(scoreSettings(other, scoreProcess(other, { index: 3 }), { ...rest, clipDenoised: false })).toEqual({
      ...settings,
      schedule: 'linear',
      diffusionSteps: 50,
      respacing: '50',
      t: 3,
      timestep: 3,
      predict: 'v',
      clipDenoised: false,
    })
  })

  describe('labels of scores', () => {
    const classes = [0, 1, 0, 0, 1, 0, 0, 1, 0, 1]
    const ten = { ...scores, indices: classes.map((_, k) => 2 * k), scores: [5, 0.1, 1, 4, 0.9, 2, 3, 0.5, 6, 0.2] }
    const told = { ...ten, classes, classNames: ['cat', 'dog'] }
    const readBack = (file: MinorityScores, options: LabelOptions) => {
      const made = minorityLabels(file, options)
      expect(parseMinorityLabels(encodeMinorityLabels(made), 'l.json')).toEqual(made)
      return made
    }

    test('are cut together or within classes, and read as they were written', () => {
      const { data, fingerprint } = scores
      const head = {
        program: 'tweedie',
        kind: 'minority-labels',
        data,
        fingerprint,
        indices: ten.indices,
        scores: settings,
      }
      const all = quantileLabels(ten.scores, 5)
      expect(readBack(ten, { levels: 5 })).toEqual({
        ...head,
        levels: 5,
        within: 'all',
        by: 'quantiles',
        thresholds: all.thresholds,
        labels: [...all.labels],
      })
      const each = equalWidthLabels(ten.scores, [5, 2], classes)
      expect(readBack(told, { levels: [5, 2], within: 'class', by: 'equal-width' })).toEqual({
        ...head,
        levels: 5,
        within: 'class',
        by: 'equal-width',
        thresholds: each.thresholds,
        labels: [...each.labels],
      })
    })

    test('within classes that the data names, one of them without images', () => {
      expect(
        readBack(ten, {
          levels: [3, 9, 2],
          within: 'class',
          classes: classes.map((c) => 2 * c),
          classNames: ['a', 'b', 'c'],
        }),
      ).toMatchObject({ levels: 3, thresholds: [expect.any(Array), [], expect.any(Array)] })
    })

    const refused: [string, () => unknown, RegExp][] = [
      [
        'classes that nobody knows',
        () => minorityLabels(ten, { levels: 2, within: 'class' }),
        /needs the class of each image/,
      ],
      ['levels of classes for all', () => minorityLabels(told, { levels: [2, 3] }), /needs within: 'class'/],
      [
        'another cut',
        () => minorityLabels(ten, { levels: 2, by: 'thirds' as never }),
        /by is 'quantiles' or 'equal-width', found 'thirds'/,
      ],
    ]
    test.each(refused)('%s', (_, run, message) => expect(run).toThrow(message))
  })

  test('of other images are refused', () => {
    const set = { name: 'other.npz', fingerprint: 'c'.repeat(64) }
    expect(() => checkFingerprint(scores, 's.json', set)).toThrow(
      /s\.json was made from other images \(cells\.npz, fingerprint aaaaaaaaaaaaaaaa…\) than other\.npz holds \(cccccccccccccccc…\)/,
    )
    checkFingerprint(scores, 's.json', { name: 'moved.npz', fingerprint: scores.fingerprint })
  })

  const cases: [string, () => unknown, RegExp][] = [
    [
      'no JSON',
      () => parseMinorityScores('name,score', 's.csv'),
      /s\.csv: expected minority scores of tweedie, found something else\. They are made by: tweedie score/,
    ],
    [
      'labels for scores',
      () => parseMinorityScores(JSON.stringify(labels), 'l.json'),
      /found a file of the kind "minority-labels"/,
    ],
    [
      'scores for labels',
      () => parseMinorityLabels(JSON.stringify(scores), 's.json'),
      /expected minority labels of tweedie, found a file of the kind "minority-scores"/,
    ],
    [
      'fewer scores than images',
      () => parseMinorityScores(JSON.stringify({ ...scores, scores: [1] }), 's.json'),
      /expected 2 numbers in "scores", found 1/,
    ],
    [
      'text for a class',
      () => parseMinorityScores(JSON.stringify({ ...scores, classes: [1, 'x'] }), 's.json'),
      /s\.json: expected minority scores of tweedie: classes\[1\]: expected a whole number of 0 or more, found "x"/,
    ],
    [
      'an index that is none',
      () => parseMinorityScores(JSON.stringify({ ...scores, indices: [0, -1] }), 's.json'),
      /indices\[1\]: expected a whole number of 0 or more, found -1/,
    ],
    [
      'a label above the levels',
      () => parseMinorityLabels(JSON.stringify({ ...labels, labels: [0, 2] }), 'l.json'),
      /expected labels from 0 to levels - 1/,
    ],
    // NaN as JSON.stringify writes it, and what is larger than any double.
    [
      'null for a score',
      () => parseMinorityScores(JSON.stringify({ ...scores, scores: [0.5, null] }), 's.json'),
      /scores\[1\]: expected a number, found null/,
    ],
    [
      'an infinite score',
      () => parseMinorityScores(JSON.stringify(scores).replace('0.25', '1e999'), 's.json'),
      /scores\[1\]: expected a number/,
    ],
    [
      'another schedule',
      () => parseMinorityScores(JSON.stringify({ ...scores, schedule: 'square' }), 's.json'),
      /schedule: expected "cosine" or "linear", found "square"/,
    ],
    [
      'steps that are none',
      () => parseMinorityScores(JSON.stringify({ ...scores, diffusionSteps: 1000.5 }), 's.json'),
      /diffusionSteps: expected a whole number of 0 or more, found 1000\.5/,
    ],
    [
      'levels without thresholds',
      () => parseMinorityLabels(JSON.stringify({ ...labels, levels: 2 ** 31 }), 'l.json'),
      /as many thresholds as levels/,
    ],
    [
      'a threshold that is none',
      () => parseMinorityLabels(JSON.stringify({ ...labels, thresholds: [1, null] }), 'l.json'),
      /thresholds\[1\]: expected a number, found null/,
    ],
    [
      'rows of thresholds for the whole set',
      () => parseMinorityLabels(JSON.stringify({ ...labels, thresholds: [[1, 2]] }), 'l.json'),
      /as many thresholds as levels/,
    ],
    ['null', () => parseMinorityLabels('null', 'l.json'), /found something else/],
  ]
  test.each(cases)('%s', (_, run, message) => expect(run).toThrow(message))
})
