/**
 * Nearest neighbours against looking at every pair, AvgkNN against PyOD's numbers (spec K of
 * docs/glossary.md), symmetries.
 */
import { describe, expect, test } from 'vitest'
import {
  avgKnn,
  memorizationFigures,
  nearest,
  nearestPictures,
  quantiles,
  turned,
  type Points,
} from '../src/metrics/index.ts'
import { expectClose, numbers } from './op.ts'

const points = (values: ArrayLike<number>, dimension: number): Points => ({
  data: Float32Array.from(values),
  dimension,
})

describe('nearest neighbours', () => {
  const queries = points(numbers(13 * 37, 1), 37)
  const references = points(numbers(50 * 37, 2), 37)

  /** By sorting all pairs. */
  function allPairs(a: Points, b: Points, skipSelf = false): { j: number; distance: number }[][] {
    const row = ({ data, dimension }: Points, i: number): Float32Array =>
      data.subarray(i * dimension, (i + 1) * dimension)
    return Array.from({ length: a.data.length / a.dimension }, (_, i) =>
      Array.from({ length: b.data.length / b.dimension }, (_, j) => ({
        j,
        distance: Math.sqrt(row(a, i).reduce((sum, value, d) => sum + (value - row(b, j)[d]) ** 2, 0)),
      }))
        .filter(({ j }) => !skipSelf || j !== i)
        .sort((x, y) => x.distance - y.distance),
    )
  }

  for (const [name, a, leaveOneOut] of [
    ['of other points', queries, false],
    ['of the points themselves', references, true],
  ] as const) {
    test(`${name}: the same as by sorting all pairs`, async () => {
      const { indices, distances } = await nearest(a, references, 4, { leaveOneOut })
      const expected = allPairs(a, references, leaveOneOut).map((row) => row.slice(0, 4))
      expect(Array.from(indices)).toEqual(expected.flat().map(({ j }) => j))
      // Sums in double precision, in another order.
      expectClose(
        distances,
        expected.flat().map(({ distance }) => distance),
        1e-14,
        name,
      )
    })
  }

  test('of equally near ones the lower row, in blocks too', async () => {
    const dimension = 40_000 // a block holds one row
    const data = new Float32Array(3 * dimension)
    data[2 * dimension] = 1
    const { indices, distances } = await nearest(points(new Float32Array(dimension), dimension), { data, dimension }, 3)
    expect([...indices]).toEqual([0, 1, 2])
    expect([...distances]).toEqual([0, 0, 1])
  })

  test('reports progress, and stops when told', async () => {
    const many = points(new Float32Array(400 * 3000), 3000)
    let last = 0
    await nearest(many, many, 1, {
      leaveOneOut: true,
      onProgress: (done) => {
        expect(done).toBeGreaterThanOrEqual(last)
        last = done
      },
    })
    expect(last).toBe(1)
    const controller = new AbortController()
    await expect(
      nearest(many, many, 1, { signal: controller.signal, onProgress: () => controller.abort(new Error('enough')) }),
    ).rejects.toThrow('enough')
  })

  test('refuses what it cannot answer', async () => {
    await expect(nearest(queries, points([1, 2], 2), 1)).rejects.toThrow('one dimension, found 37 and 2')
    await expect(nearest(queries, references, 51)).rejects.toThrow('k from 1 to the 50 reference points')
    await expect(nearest(references, references, 50, { leaveOneOut: true })).rejects.toThrow('k from 1 to the 49')
    await expect(nearest(points([1, 2, 3], 2), references, 1)).rejects.toThrow('3 numbers for a dimension of 2')
    await expect(nearest(points([1, NaN], 2), points([1, 2], 2), 1)).rejects.toThrow('found NaN in row 0')
  })
})

test('AvgkNN: the numbers of spec K', async () => {
  const formula = (n: number, d: number, a: number, b: number): number[] =>
    Array.from({ length: n * d }, (_, i) => Math.sin(a * i * i + b) + 0.5 * Math.cos(0.37 * i))
  const real = points(formula(40, 4, 0.013, 0.2), 4)
  const made = points(
    formula(12, 4, 0.017, 0.9).map((value) => 0.8 * value + 0.1),
    4,
  )
  expectClose(
    await avgKnn(made, real),
    [
      1.064136, 0.5384219, 0.694539, 0.8802324, 0.8111017, 1.0415646, 0.7902848, 0.9097563, 1.0233583, 0.6211993,
      0.9596581, 0.9323474,
    ],
    2e-7,
    'of new points',
  )
  expectClose(
    (await avgKnn(real, real, { leaveOneOut: true })).slice(0, 3),
    [0.6972353, 0.7512685, 0.7331346],
    2e-7,
    'of the reference itself',
  )
})

describe('pictures over the eight symmetries', () => {
  const size = 12 // halves twice: 12, 6, 3
  const picture = (count: number, seed: number) => ({
    data: Float32Array.from(numbers(count * 3 * size * size, seed)),
    channels: 3,
    size,
  })
  const area = 3 * size * size

  test('a turned copy is found, and the symmetry that turns it', async () => {
    const training = picture(20, 1)
    const data = new Float32Array(8 * area)
    for (let s = 0; s < 8; s++)
      data.set(turned({ data: training.data.subarray((2 * s + 1) * area, (2 * s + 2) * area), size }, s), s * area)
    const found = await nearestPictures({ ...training, data }, training)
    expect([...found.indices]).toEqual([1, 3, 5, 7, 9, 11, 13, 15])
    expect([...found.symmetries]).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    // The change of coordinates rounds in float32.
    expect(Math.max(...found.rms)).toBeLessThan(1e-6)
  })

  test('the eight are different, and turn as said', () => {
    const small = { data: Float32Array.of(1, 2, 3, 4), size: 2 }
    const all = Array.from({ length: 8 }, (_, s) => turned(small, s).join())
    expect(new Set(all).size).toBe(8)
    expect([all[0], all[1], all[2], all[4]]).toEqual(['1,2,3,4', '2,1,4,3', '3,4,1,2', '1,3,2,4'])
  })

  test('the same as by looking at every pair', async () => {
    const [samples, training] = [picture(9, 3), picture(25, 4)]
    const found = await nearestPictures(samples, training)
    for (let i = 0; i < 9; i++) {
      const one = samples.data.subarray(i * area, (i + 1) * area)
      let best = { rms: Infinity, j: -1, s: -1 }
      for (let j = 0; j < 25; j++) {
        for (let s = 0; s < 8; s++) {
          const other = turned({ data: training.data.subarray(j * area, (j + 1) * area), size }, s)
          const rms = Math.sqrt(one.reduce((sum, value, d) => sum + (value - other[d]) ** 2, 0) / area)
          if (rms < best.rms) best = { rms, j, s }
        }
      }
      expect([found.indices[i], found.symmetries[i]]).toEqual([best.j, best.s])
      expect(Math.abs(found.rms[i] - best.rms)).toBeLessThan(1e-6 * best.rms)
    }
  })

  test('of thousands of queries each is answered as by itself', async () => {
    const [many, training] = [
      { channels: 1, size: 4, data: Float32Array.from(numbers(4100 * 16, 5)) },
      { channels: 1, size: 4, data: Float32Array.from(numbers(3 * 16, 6)) },
    ]
    const all = await nearestPictures(many, training)
    const last = await nearestPictures({ ...many, data: many.data.subarray(4090 * 16) }, training)
    expect([all.indices, all.symmetries, all.rms].map((found) => [...found.slice(4090)])).toEqual(
      [last.indices, last.symmetries, last.rms].map((found) => [...found]),
    )
    expect(new Set(all.symmetries).size).toBe(8)
  })

  test('refuses pictures of another size, and none', async () => {
    await expect(
      nearestPictures(picture(1, 1), { data: new Float32Array(3 * 64), channels: 3, size: 8 }),
    ).rejects.toThrow('3 x 12 x 12 and 3 x 8 x 8')
    await expect(nearestPictures(picture(1, 1), { data: new Float32Array(0), channels: 3, size })).rejects.toThrow(
      'no references',
    )
  })
})

test("quantiles are NumPy's", () => {
  expect(quantiles([0.1, 0.4, 0.2, 0.9, 0.7, 0.3, 0.8, 0.5], [0, 0.25, 0.5, 0.75, 1])).toEqual(
    [0.1, 0.275, 0.45, 0.725, 0.9].map((q) => expect.closeTo(q, 12)),
  )
  expect(quantiles([3], [0.01])).toEqual([3])
  expect(() => quantiles([], [0.5])).toThrow('no values')
})

test('samples that lie nearer than 99 % of the held-out images are counted', () => {
  // 0 to 100: the quantile of 1 % is 1.
  const heldOut = Float64Array.from({ length: 101 }, (_, i) => i)
  const {
    samples,
    heldOut: quantilesOfThose,
    nearer,
  } = memorizationFigures(Float64Array.of(0.5, 0.9, 1, 60, 80), heldOut)
  expect(nearer).toBe(2 / 5)
  expect(samples.at(0)).toBe(0.5)
  expect(samples.at(-1)).toBe(80)
  expect(quantilesOfThose).toEqual([0, 1, 5, 25, 50, 75, 95, 100])
})
