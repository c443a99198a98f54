/** The evaluation of one space: equal sets, what is far away, a reference of the rarest, what cannot be compared. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  densityCurves,
  evaluateSpace,
  featureStatistics,
  rarestOf,
  realRarity,
  type EvaluateOptions,
  type MeasureName,
  type Points,
  type SpaceEvaluation,
  type SpaceFeatures,
} from '../src/metrics/index.ts'
import { Device } from '../src/tensor/index.ts'
import { numbers } from './op.ts'

let device: Device
beforeAll(async () => {
  device = await Device.request({ backend: 'cpu' })
})
afterAll(() => device.dispose())

const dimension = 3
const points = (count: number, seed: number, shift = 0): Points => ({
  data: Float32Array.from(numbers(count * dimension, seed), (value) => value + shift),
  dimension,
})
const set = (name: string, features: Points): SpaceFeatures => ({ name, features, imageName: (i) => `${i}.png` })
const space = { name: 'toy', dimension, preprocessing: 'none', weights: 'seed 0' }
const options: EvaluateOptions = { k: 3, lofK: 5, resamples: 50, confidence: 0.9, seed: 1 }

async function evaluate(real: Points, methods: readonly Points[], more: Partial<EvaluateOptions> = {}, held?: Points) {
  const all = { ...options, ...more }
  const reals = set('real', real)
  const rarity = await realRarity(device, reals, space, all)
  const named = methods.map((features, m) => set('abc'[m], features))
  const heldOut = held && set('held-out', held)
  return evaluateSpace(device, { space, real: { ...reals, rarity }, methods: named, heldOut }, all)
}
const value = ({ measurements }: SpaceEvaluation, measure: MeasureName, method = 0) =>
  measurements.find((row) => row.measure === measure)?.values[method]

describe('a space', () => {
  const real = points(60, 1)

  test('of equal sets has distance 0, precision, recall and coverage 1', async () => {
    const found = await evaluate(real, [real])
    expect(value(found, 'frechet')?.value).toBeLessThan(1e-6)
    expect(['precision', 'recall', 'coverage'].map((name) => value(found, name as MeasureName)?.value)).toEqual([
      1, 1, 1,
    ])
    expect([value(found, 'realism'), found.warnings]).toEqual([
      undefined,
      [
        'a in toy: 60 of 60 samples are exact copies of real images (distance 0), so that there is no median of ' +
          'realism.',
      ],
    ])
    // Each sample's nearest real image is itself.
    expect(found.shown[0].nearest[0].nearest[0]).toEqual({ index: 0, name: '0.png', distance: 0 })
    expect(found.samples[0].nearest.distances[0]).toBe(0)
  })

  test('says of the first copy on how many samples are copies, and which held-out images are not', async () => {
    const samples = { data: points(40, 2).data, dimension }
    samples.data.set(real.data.subarray(0, 2 * dimension))
    const heldOut = { data: points(30, 3).data, dimension }
    heldOut.data.set(real.data.subarray(0, 9 * dimension))
    const found = await evaluate(real, [samples, points(40, 4)], {}, heldOut)
    const row = found.measurements.find(({ measure }) => measure === 'copies')
    const count = (number: number) => ({ value: number, low: null, high: null })
    expect([row?.values, row?.real]).toEqual([[count(2), count(0)], count(0)])
    expect(found.warnings).toContain('a in toy: 2 of 40 samples are exact copies of real images (distance 0).')
    expect(found.warnings.filter((warning) => warning.startsWith('b in toy: 0'))).toEqual([])
    expect(found.warnings.filter((warning) => warning.startsWith('held-out'))).toEqual([
      'held-out in toy: 9 of 30 images are among the real ones too (distance 0), which hides copies from C_T: hold ' +
        'out others.',
    ])
    // All copied, and nothing held out that is: no resample is another.
    const { value: score, low, high } = value(await evaluate(real, [real], {}, points(30, 3)), 'copying')!
    expect([score < -3, low, high]).toEqual([true, null, null])
  })

  test('of a method that has one image only has the numbers that there are', async () => {
    const flat = { data: new Float32Array(30 * dimension).fill(7), dimension }
    const [found, alone] = [
      await evaluate(real, [flat, points(40, 2)], {}, points(30, 3)),
      await evaluate(real, [flat]),
    ]
    const names = ['precision', 'recall', 'density', 'coverage', 'outside', 'copies'] as const
    expect(names.map((name) => value(found, name)?.value)).toEqual([0, 0, 0, 0, 1, 0])
    expect(value(found, 'avgknn')?.value).toBeGreaterThan(value(found, 'avgknn', 1)!.value)
    expect((['frechet', 'kid', 'copying'] as const).map((name) => value(found, name) ?? null)).toEqual([
      null,
      null,
      null,
    ])
    expect(value(found, 'kid', 1)?.value).toBeLessThan(1)
    expect(found.warnings.filter((warning) => warning.startsWith('a in'))).toEqual([
      'a in toy: all 30 samples have the same features, as copies of one or constant images have: there is no ' +
        'Fréchet distance, KID or C_T, and recall is 0.',
    ])
    expect(alone.measurements.some(({ measure }) => measure === 'frechet')).toBe(false)
  })

  test('has the part of the real images that lie outside all balls of the others', async () => {
    const { data } = points(20, 7)
    data.fill(100, 19 * dimension)
    const found = await evaluate({ data, dimension }, [points(40, 2)])
    const row = found.measurements.find(({ measure }) => measure === 'outside')!
    const at = (i: number) => data.subarray(i * dimension, (i + 1) * dimension)
    const gap = (i: number, j: number) => Math.hypot(...at(i).map((value, d) => value - at(j)[d]))
    const rows = Array.from({ length: 20 }, (_, i) => i)
    const radius = (j: number) =>
      rows
        .filter((i) => i !== j)
        .map((i) => gap(i, j))
        .sort((a, b) => a - b)[options.k - 1]
    const alone = rows.filter((i) => rows.every((j) => i === j || gap(i, j) >= radius(j)))
    expect(alone).toContain(19)
    expect(row.real?.value).toBeCloseTo(alone.length / 20, 12)
  })

  test('puts methods side by side, with intervals around their values', async () => {
    const [near, far] = [points(40, 2), points(50, 3, 5)]
    const found = await evaluate(real, [near, far])
    const at = (measure: MeasureName) => [0, 1].map((m) => value(found, measure, m)!.value)
    for (const measure of ['frechet', 'kid', 'avgknn', 'lof', 'outside'] as const) {
      expect(at(measure)[0], measure).toBeLessThan(at(measure)[1])
    }
    for (const measure of ['precision', 'recall', 'density', 'coverage', 'realism'] as const) {
      expect(at(measure)[0], measure).toBeGreaterThan(at(measure)[1])
    }
    expect([at('precision')[1], at('outside')[1], value(found, 'rarity', 1)]).toEqual([0, 1, null])
    for (const { measure, values } of found.measurements) {
      for (const estimate of values) {
        if (!estimate || measure === 'frechetExtrapolated' || measure === 'copies') continue
        expect(estimate.low, measure).toBeLessThanOrEqual(estimate.value)
        expect(estimate.high, measure).toBeGreaterThanOrEqual(estimate.value)
      }
    }
    expect(found.measurements.find(({ measure }) => measure === 'avgknn')?.real?.value).toBeGreaterThan(0)
    expect(
      found.distributions.map(({ of, real, methods }) => [of, real?.length, methods.map((m) => m?.length)]),
    ).toEqual([
      ['avgknn', 200, [200, 200]],
      ['lof', 200, [200, 200]],
      ['rarity', 200, [200, undefined]],
    ])
    const groups = found.precisionByRarity!.methods[0]
    expect(groups.length).toBe(10)
    expect(groups.map(({ avgknn }) => avgknn)).toEqual(groups.map(({ avgknn }) => avgknn).sort((a, b) => a - b))
    expect(groups.reduce((sum, { precision }) => sum + precision / 10, 0)).toBeCloseTo(at('precision')[0], 12)
    const [{ mostDense, leastDense }] = found.shown
    expect(mostDense[0].avgknn).toBe(Math.min(...found.samples[0].avgknn))
    expect(leastDense[0].avgknn).toBe(Math.max(...found.samples[0].avgknn))
    expect(leastDense[0].nearest.map(({ distance }) => distance)).toEqual(
      Array.from(found.samples[0].nearest.distances.subarray(3 * leastDense[0].index, 3 * leastDense[0].index + 3)),
    )
  })

  test('measures to the rarest real images, and rarity to all', async () => {
    const samples = points(40, 2)
    const rarity = await realRarity(device, set('real', real), space, options)
    const reference = rarestOf(rarity.avgknn, 20)
    expect(Math.min(...reference.map((row) => rarity.avgknn[row]))).toBeGreaterThanOrEqual(
      Math.max(...rarity.avgknn.filter((_, row) => !reference.includes(row))),
    )
    const [all, some] = [await evaluate(real, [samples]), await evaluate(real, [samples], { reference })]
    for (const same of ['avgknn', 'lof', 'rarity', 'outside'] as const)
      expect(value(some, same)).toEqual(value(all, same))
    for (const other of ['frechet', 'kid', 'precision', 'recall', 'density'] as const)
      expect(value(some, other)).not.toEqual(value(all, other))
    const rows = {
      data: Float32Array.from(reference.flatMap((row) => [...real.data.subarray(3 * row, 3 * row + 3)])),
      dimension,
    }
    const alone = await evaluate(rows, [samples])
    for (const equal of ['frechet', 'kid', 'precision', 'recall', 'density', 'coverage', 'realism'] as const) {
      expect(value(some, equal), equal).toEqual(value(alone, equal))
    }
  })

  test('has Fréchet distances to statistics alone, those to the images', async () => {
    const samples = points(40, 2)
    const found = await evaluateSpace(
      device,
      {
        space,
        real: { statistics: await featureStatistics(real), spatialStatistics: null },
        methods: [set('a', samples)],
      },
      options,
    )
    expect(found.measurements.map(({ measure }) => measure)).toEqual(['frechet', 'frechetExtrapolated'])
    const images = await evaluate(real, [samples])
    expect(value(found, 'frechet')?.value).toBeCloseTo(value(images, 'frechet')!.value, 10)
    const [ofStatistics, ofImages] = [found, images].map((each) => value(each, 'frechetExtrapolated')!)
    expect(ofStatistics.value).toBe(ofImages.value)
    // Statistics are taken as they are; images were drawn, too.
    expect(ofStatistics.high).toBeLessThan(ofImages.high!)
  })

  test('compares spatial features too, and says where their covariance has no full rank', async () => {
    // The third one is the first.
    const maps = (count: number, seed: number): Points => {
      const { data } = points(count, seed)
      return { data: data.map((value, i) => (i % 3 === 2 ? data[i - 2] : value)), dimension }
    }
    const reals = { ...set('real', real), spatial: maps(60, 4) }
    const rarity = await realRarity(device, reals, space, options)
    const methods = [5, 6].map((seed, m) => ({ ...set('ab'[m], points(40, seed)), spatial: maps(40, seed) }))
    const steps: string[] = []
    const onProgress = (what: string, done: number): void => void (done === 1 && steps.push(what))
    const sets = { space, real: { ...reals, rarity }, methods }
    const found = await evaluateSpace(device, sets, { ...options, onProgress })
    expect(found.warnings).toEqual(
      // Of the real images once.
      ['a in toy', 'toy', 'b in toy'].map(
        (of) =>
          `${of}: spatial features: The covariance of the ${of === 'toy' ? 'real images' : 'samples'} has rank 2 ` +
          'of 3 features: some features are constant or depend on others.',
      ),
    )
    const spatial = [0, 1].map((m) => value(found, 'spatialFrechet', m)!)
    expect(spatial[0].value).not.toBe(spatial[1].value)
    for (const { low, high, value: distance } of spatial) {
      expect(low).toBeLessThan(distance)
      expect(high).toBeGreaterThan(distance)
    }
    const statistics = ['statistics', 'spatial statistics'].map((what) => `the real images in toy: ${what}`)
    expect([...new Set(steps)].filter((what) => what.startsWith('the real'))).toEqual(statistics)
  })

  test('with many equal real images has the median LOF, and says so', async () => {
    const copies = {
      data: Float32Array.from([
        ...real.data,
        ...Array(6)
          .fill(real.data.slice(0, 3))
          .flatMap((x) => [...x]),
      ]),
      dimension,
    }
    const sentence = /^toy: 7 real images are copies of one another, more than the 5 neighbours of LOF/
    const found = await evaluate(copies, [points(40, 2)])
    expect(found.warnings.filter((warning) => warning.includes('LOF'))).toEqual([expect.stringMatching(sentence)])
    const row = found.measurements.find(({ measure }) => measure === 'lof')
    expect(Math.max(...found.samples[0].lof)).toBeGreaterThan(1e6)
    for (const estimate of [row?.values[0], row?.real]) {
      expect(estimate?.value).toBeGreaterThan(0.9)
      expect(estimate?.high).toBeLessThan(2)
    }
    const { grid } = found.distributions.find(({ of }) => of === 'lof')!
    expect(grid.at(-1)).toBeLessThan(100)
    // As many copies as neighbours are no trouble: the mean stays.
    const some = await evaluate({ data: copies.data.subarray(0, 3 * 64), dimension }, [points(40, 2)])
    expect(some.warnings).toEqual([])
    const { lof } = some.samples[0]
    expect(value(some, 'lof')?.value).toBe(lof.reduce((a, b) => a + b) / lof.length)
  })

  test('without intervals has the same distances', async () => {
    const samples = points(60, 2)
    const [found, alone] = [await evaluate(real, [samples]), await evaluate(real, [samples], { resamples: 0 })]
    for (const measure of ['frechet', 'frechetExtrapolated'] as const) {
      const { value: expected, low } = value(found, measure)!
      expect(low).not.toBeNull()
      expect(value(alone, measure)).toEqual({ value: expect.closeTo(expected, 10), low: null, high: null })
    }
  })

  test.each<[string, Points, Points]>([
    ['a: expected at least 4 images for their 3 neighbours, found 1.', real, points(1, 2)],
    ['real: expected at least 6 images for their 5 neighbours, found 5.', points(5, 1), points(9, 2)],
    [
      'a: image 1.png has NaN among its features in the space toy',
      real,
      { data: points(9, 2).data.with(4, NaN), dimension },
    ],
    [
      'real: image 0.png has Infinity among its features',
      { data: real.data.with(0, Infinity), dimension },
      points(9, 2),
    ],
    [
      'real: all 9 images have the same features in the space toy: are they copies of one, or constant?',
      { data: new Float32Array(27).fill(2), dimension },
      real,
    ],
  ])('refuses: %s', async (message, reals, samples) => {
    await expect(evaluate(reals, [samples])).rejects.toThrow(message)
  })
})

test('densities integrate to 1 and stand where the numbers are', () => {
  const values = Float64Array.from(numbers(500, 4))
  const { grid, curves } = densityCurves([values, values.map((x) => x / 10 + 2), [1, 1, 1], []])
  const step = grid[1] - grid[0]
  for (const curve of curves.slice(0, 2)) expect(curve!.reduce((sum, y) => sum + y * step, 0)).toBeCloseTo(1, 2)
  const second = curves[1] ?? []
  const mode = grid[second.indexOf(Math.max(...second))]
  expect(Math.abs(mode - 2)).toBeLessThan(0.2)
  expect(curves.slice(2)).toEqual([null, null])
  // Half of a Gaussian: no part of it below 0, and all of it above.
  const half = densityCurves([values.map(Math.abs)])
  expect(half.grid[0]).toBe(0)
  const {
    grid: x,
    curves: [y],
  } = half
  expect(y!.reduce((sum, each) => sum + each * (x[1] - x[0]), 0)).toBeCloseTo(1, 1)
  expect(y![0]).toBeGreaterThan(0.5)
  expect(grid[0]).toBeLessThan(-1)
  expect(densityCurves([[1]])).toEqual({ grid: [], curves: [null] })
})
