/**
 * What decides a measure: rules that papers and programs differ in, each turned and seen; what equal sets, copies and
 * outliers give; and what a measure cannot answer.
 */
import { describe, expect, test } from 'vitest'
import type { ImageSet } from '../src/data/index.ts'
import {
  accuracy,
  avgKnn,
  ballsAround,
  bootstrapInterval,
  brightness,
  copying,
  coverage,
  density,
  featureStatistics,
  frechetDistance,
  inceptionScore,
  kernelDistance,
  localOutlierFactor,
  membership,
  precision,
  rarity,
  realism,
  scored,
  symmetricEigen,
  type FeatureStatistics,
  type Points,
} from '../src/metrics/index.ts'
import { addProduct, factor, mirror } from '../src/metrics/double.ts'
import { hostRandomNormal, splitSeed } from '../src/tensor/index.ts'
import { deviceTest, expectClose, numbers, onCPU, testDevice } from './op.ts'

const points = (values: ArrayLike<number>, dimension: number): Points => ({
  data: Float32Array.from(values),
  dimension,
})

const normal = (count: number, dimension: number, draw: number, scale = 1): Points => ({
  data: hostRandomNormal({ seed: splitSeed(2), draw, purpose: 200 }, [0], count * dimension).map((v) => v * scale),
  dimension,
})

const real = normal(80, 5, 0)
const made = normal(60, 5, 1, 1.3)
const none = (): undefined => undefined

describe('rules', () => {
  deviceTest(
    'strict: a sample on the sphere is outside by Rarity Score, inside by the ADM evaluator',
    async (device) => {
      // On a line 0, 1, 3, 7, the nearest are 1, 1, 2 and 4 away: balls to 1, 2, 5 and 11.
      const line = await ballsAround(device, points([0, 1, 3, 7], 1), { k: 1 })
      expect([...line.radii]).toEqual([1, 1, 2, 4])
      const at = points([-1, 11, 5.5, 30], 1)
      const strict = await membership(device, at, line)
      expect([...strict.counts]).toEqual([0, 0, 1, 0])
      expect([...rarity(strict)]).toEqual([0, 0, 4, 0])
      expect([...scored(rarity(strict))]).toEqual([4])
      const closed = await membership(device, at, line, { strict: false })
      expect([precision(strict).value, precision(closed).value]).toEqual([0.25, 0.75])
      expect([density(strict, 1).value, density(closed, 1).value]).toEqual([0.25, 0.75])
      expect([coverage(strict).value, coverage(closed).value]).toEqual([0.25, 0.5])
    },
  )

  deviceTest(
    'k: the k-th other point, and not the point itself as the first',
    async (device) => {
      const three = await ballsAround(device, real, { k: 3 })
      const four = await ballsAround(device, real, { k: 4 })
      expect(three.radii.every((radius, i) => radius < four.radii[i])).toBe(true)
      const share = async (balls: typeof three): Promise<number> =>
        precision(await membership(device, made, balls)).value
      expect(await share(three)).toBeLessThan(await share(four))
      const [own, all] = [await avgKnn(real, real, { leaveOneOut: true }), await avgKnn(real, real)]
      // With itself among five: the other four's sum by five.
      expect(all.every((value, i) => value < 0.81 * own[i])).toBe(true)
    },
    onCPU,
  )

  deviceTest(
    "LOF: reachability is no less than the neighbour's own distance, and copies do not divide by zero",
    async (device) => {
      // A point inside a grid, whose neighbours are as far as theirs, is usual; one far off is not.
      const grid = points(Array.from({ length: 25 }, (_, i) => [i % 5, Math.floor(i / 5)]).flat(), 2)
      const [inner, outer] = await localOutlierFactor(device, points([2.2, 2.1, 9, 9], 2), grid, { k: 4 })
      expect(inner).toBeLessThan(1.1)
      expect(outer).toBeGreaterThan(5)
      const copies = points([0, 0, 0, 0, 1], 1)
      expect(
        Array.from(await localOutlierFactor(device, copies, copies, { k: 3, leaveOneOut: true })).every(
          Number.isFinite,
        ),
      ).toBe(true)
    },
    onCPU,
  )

  deviceTest(
    'realism leaves the larger half of the balls out',
    async (device) => {
      // The outlier's ball, to the nearest of the others, would hold the sample.
      const balls = await ballsAround(device, points([0, 1, 2, 3, 100], 1), { k: 1 })
      const [found] = await realism(device, points([50], 1), balls)
      expect(found).toBeCloseTo(1 / 47, 6)
      expect((await membership(device, points([50], 1), balls)).counts[0]).toBe(1)
      expect([...(await realism(device, points([2], 1), balls))]).toEqual([Infinity])
    },
    onCPU,
  )

  test('a covariance is by N - 1', async () => {
    const { mean, covariance, count } = await featureStatistics(points([1, 2, 3, 6, 5, 1], 2))
    expect([...mean]).toEqual([3, 3])
    expect([...covariance]).toEqual([4, -1, -1, 7])
    expect(count).toBe(3)
    const byN = { mean, covariance: covariance.map((value) => (value * 2) / 3) }
    const other = await featureStatistics(points([0, 0, 1, 0, 0, 1, 4, 4], 2))
    const found = (await frechetDistance({ mean, covariance }, other)).value
    expect(Math.abs((await frechetDistance(byN, other)).value / found - 1)).toBeGreaterThan(0.01)
  })

  test('Fréchet distance of Gaussians on a line: means and deviations', async () => {
    const on = (mean: number, deviation: number): FeatureStatistics => ({
      mean: Float64Array.of(mean),
      covariance: Float64Array.of(deviation ** 2),
    })
    const { value, means } = await frechetDistance(on(3, 2), on(-1, 5))
    expect([value, means]).toEqual([25, 16])
  })

  deviceTest(
    'KID is unbiased: below 0 as often as above, where the two sets are of one kind',
    async (device) => {
      const found: number[] = []
      for (let draw = 10; draw < 34; draw += 2)
        found.push((await kernelDistance(device, normal(40, 3, draw), normal(40, 3, draw + 1))).value)
      expect(found.filter((value) => value < 0).length).toBeGreaterThanOrEqual(2)
      expect(found.filter((value) => value > 0).length).toBeGreaterThanOrEqual(2)
    },
    onCPU,
  )

  deviceTest(
    'KID of subsets: their mean, nearly that of all, and another by another seed',
    async (device) => {
      const whole = await kernelDistance(device, made, real)
      const parts = await kernelDistance(device, made, real, { size: 30, subsets: 40 })
      expect(parts.subsets).toHaveLength(40)
      expect(parts.value).toBeCloseTo(parts.subsets.reduce((a, b) => a + b) / 40, 12)
      expect(Math.abs(parts.value / whole.value - 1)).toBeLessThan(0.3)
      expect((await kernelDistance(device, made, real, { size: 30, subsets: 40 })).subsets).toEqual(parts.subsets)
      expect((await kernelDistance(device, made, real, { size: 30, subsets: 40, seed: 1 })).value).not.toBe(parts.value)
    },
    onCPU,
  )

  deviceTest(
    'KID of sets that fit into one subset: exact, of all of both and by no seed; of huge features with a warning',
    async (device) => {
      const [whole, other] = [
        await kernelDistance(device, made, real),
        await kernelDistance(device, made, real, { seed: 1 }),
      ]
      expect(other).toEqual(whole)
      expect([whole.subsets.length, whole.influences.map(({ length }) => length)]).toEqual([1, [60, 80]])
      const mean = (p: Points, q: Points): number => {
        let [sum, pairs] = [0, 0]
        for (let i = 0; i < p.data.length; i += 5) {
          for (let j = 0; j < q.data.length; j += 5) {
            if (p === q && i === j) continue
            let product = 0
            for (let d = 0; d < 5; d++) product += p.data[i + d] * q.data[j + d]
            sum += (product / 5 + 1) ** 3
            pairs++
          }
        }
        return sum / pairs
      }
      expect(whole.value).toBeCloseTo(mean(made, made) + mean(real, real) - 2 * mean(made, real), 5)
      expect(whole.warnings).toEqual([])
      const huge = await kernelDistance(device, normal(60, 5, 1, 100), normal(80, 5, 0, 100))
      expect(huge.warnings).toEqual([expect.stringMatching(/^The features of the real images have a mean square of/)])
    },
    onCPU,
  )

  test('Inception Score: 1 for one opinion, the number of classes for sure and varied ones', async () => {
    const rows = (f: (i: number) => number[]): Points => points(Array.from({ length: 8 }, (_, i) => f(i)).flat(), 4)
    expect((await inceptionScore(rows((i) => [1, 2, 3, i === 0 ? 4.0001 : 4]))).value).toBeCloseTo(1, 6)
    const sure = rows((i) => [0, 1, 2, 3].map((c) => (c === i % 4 ? 500 : -500)))
    expect((await inceptionScore(sure)).value).toBeCloseTo(4, 12)
    expect((await inceptionScore(sure, { splitSize: 2 })).value).toBeCloseTo(2, 12)
  })
})

test('an Inception Score lets other events run, reports, and stops at once', async () => {
  const logits = normal(20_000, 100, 60)
  const controller = new AbortController()
  const done: number[] = []
  const onProgress = (part: number): void => {
    if (done.push(part) === 2) controller.abort(new Error('enough'))
  }
  await expect(inceptionScore(logits, { signal: controller.signal, onProgress })).rejects.toThrow('enough')
  expect(done.length).toBe(2)
  expect(done[0]).toBeLessThan(done[1])
  await expect(inceptionScore(logits, { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before')
})

describe('equal sets', () => {
  deviceTest('distance 0, precision, recall and coverage 1', async (device) => {
    const inside = await membership(device, real, await ballsAround(device, real))
    expect([precision(inside).value, coverage(inside).value]).toEqual([1, 1])
    // Each ball holds its centre and k - 1 others.
    expect(density(inside, 5).value).toBeCloseTo(1, 12)
    const statistics = await featureStatistics(real)
    expect((await frechetDistance(statistics, statistics)).value).toBeLessThan(1e-7)
    const few = await featureStatistics(points(real.data.subarray(0, 20), 5))
    expect((await frechetDistance(few, few)).value).toBeLessThan(1e-7)
    // Unbiased: of one set with itself it lies below 0 by the kernels of each image with itself.
    expect((await kernelDistance(device, real, real)).value).toBeLessThan(0)
  })
})

describe('C_T', () => {
  const training = normal(300, 4, 50)
  const heldOut = normal(150, 4, 51)
  const score = async (samples: Points): Promise<ReturnType<typeof copying>> =>
    copying(await testDevice('cpu'), samples, heldOut, training)

  test('of samples like the held-out images is usual, of copies far below, of others far above', async () => {
    expect(Math.abs((await score(normal(200, 4, 52))).value)).toBeLessThan(2)
    const copies = { data: training.data.slice(0, 800).map((value, i) => value + 0.01 * (i % 3)), dimension: 4 }
    expect((await score(copies)).value).toBeLessThan(-5)
    expect((await score(normal(200, 4, 53, 2))).value).toBeGreaterThan(3)
  })

  test('in one cell is the score of Mann and Whitney, by hand', async () => {
    // Distances of 20 samples: 0.5, 1.5, … 19.5; of the held-out images 3, 7 and 40. The training image is at 0.
    const line = (values: number[]): Points => points(values, 1)
    const made = line(Array.from({ length: 20 }, (_, i) => i + 0.5))
    const found = await copying(await testDevice('cpu'), made, line([3, 7, -40]), line([0, 100]), { cells: 1 })
    // Above 3 lie 17 samples, above 7 13, above 40 none: U = 30, as usual, and half for the continuity.
    expect(found.value).toBeCloseTo(0.5 / Math.sqrt((20 * 3 * 24) / 12), 12)
    expect(found.cells).toEqual([{ samples: 20, heldOut: 3, score: found.value }])
  })

  test('is the mean of its cells, by held-out images, with an interval of some 2 to either side', async () => {
    const found = await score(normal(200, 4, 52))
    const total = found.cells.reduce((sum, { heldOut }) => sum + heldOut, 0)
    expect(found.cells.length).toBeGreaterThan(2)
    expect(found.value).toBeCloseTo(
      found.cells.reduce((sum, { heldOut, score }) => sum + (heldOut / total) * score, 0),
      12,
    )
    // Each cell's score has the variance 1: their mean's is the sum of the squared weights.
    const deviation = Math.sqrt(found.cells.reduce((sum, { heldOut }) => sum + (heldOut / total) ** 2, 0))
    const { low, high } = await bootstrapInterval(found)
    expect((high! - low!) / (2 * 1.96 * deviation)).toBeGreaterThan(0.8)
    expect((high! - low!) / (2 * 1.96 * deviation)).toBeLessThan(1.25)
  })
})

test('accuracy: the largest logit, the first of equal ones', () => {
  const { value, influences } = accuracy(points([1, 2, 0, 3, 3, 0, 0, 0, 5, 1, 0, 0], 3), [1, 1, 2, 0])
  expect([value, ...influences[0]]).toEqual([0.75, 1, 0, 1, 1])
  expect(() => accuracy(points([1, 2], 2), [2])).toThrow('labels from 0 to 1, found 2')
  expect(() => accuracy(points([1, 2], 2), [0, 1])).toThrow('1 labels, one a sample, found 2')
})

test('brightness: the mean byte by 255, of images of any size', async () => {
  const data = [Uint8Array.of(0, 255, 255, 0), Uint8Array.of(51, 102, 0)]
  const read = async (i: number) => ({ width: 1, height: data[i].length, channels: 1, data: data[i] })
  expect([...(await brightness({ length: 2, read } as unknown as ImageSet))]).toEqual([0.5, 0.2])
})

describe('what a measure cannot answer is one sentence', () => {
  const same = points(new Float32Array(40).fill(0.5), 4)
  const one = points([1, 2, 3, 4, 5], 5)
  const broken = points([...made.data.subarray(0, 99), NaN], 5)
  const statistics = featureStatistics(real)
  const refused: Record<string, [() => unknown, string]> = {
    'one image, statistics': [() => featureStatistics(one), 'featureStatistics: expected 2 images or more, found 1.'],
    'one image, KID': [
      async () => kernelDistance(await testDevice('cpu'), one, real),
      'kernelDistance: expected 2 samples or more, found 1.',
    ],
    'fewer images than k': [
      async () => ballsAround(await testDevice('cpu'), points(numbers(25, 1), 5)),
      'ballsAround: expected 6 images or more, found 5.',
    ],
    'fewer references than k': [
      async () => localOutlierFactor(await testDevice('cpu'), real, points(numbers(50, 1), 5)),
      'localOutlierFactor: expected 21 references or more, found 10.',
    ],
    'constant images': [
      async () => ballsAround(await testDevice('cpu'), same, { k: 2 }),
      'ballsAround: all 10 images have the same features: are the images copies of one, or constant?',
    ],
    'constant images, statistics': [
      () => featureStatistics(same),
      'featureStatistics: all 10 images have the same features: are the images copies of one, or constant?',
    ],
    'NaN features': [
      async () => kernelDistance(await testDevice('cpu'), broken, real),
      'kernelDistance: expected finite samples, found NaN in row 19.',
    ],
    'another space': [
      async () => kernelDistance(await testDevice('cpu'), normal(9, 4, 3), real),
      'kernelDistance: expected features of one space, found 4 numbers for each sample and 5 for each real image.',
    ],
    'statistics of another space': [
      async () => frechetDistance(await statistics, await featureStatistics(normal(9, 4, 3))),
      'frechetDistance: expected statistics of one feature space, found means of 5 and of 4 numbers.',
    ],
    'broken statistics': [
      async () =>
        frechetDistance(await statistics, { ...(await statistics), covariance: new Float64Array(25).fill(NaN) }),
      'frechetDistance: expected finite statistics of the real images, found NaN.',
    ],
    'zero statistics': [
      async () => frechetDistance(await statistics, { ...(await statistics), covariance: new Float64Array(25) }),
      'frechetDistance: all real images have the same features: are the images copies of one, or constant?',
    ],
    'too few for cells': [
      async () => copying(await testDevice('cpu'), made, normal(5, 5, 4), real, { cells: 80 }),
      'copying: expected a cell with 20 samples and a held-out image, found none among 80: ' + 'compare more images.',
    ],
    splits: [
      () => inceptionScore(made, { splitSize: 1 }),
      'inceptionScore: expected splits of 2 images or more, found 1.',
    ],
  }
  test.each(Object.entries(refused))('%s', async (_, [call, message]) => {
    const error = await Promise.resolve()
      .then(call)
      .then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
    expect(error).toMatchObject({ name: 'TweedieError', message })
  })
})

describe('linear algebra in double precision', () => {
  const symmetric = async (n: number, rank = n): Promise<Float64Array> => {
    const x = Float64Array.from(numbers(n * rank, n))
    const a = new Float64Array(n * n)
    await addProduct(a, x, x, [n, n, rank], none, true)
    mirror(a, n)
    return a
  }

  test.each([1, 2, 3, 6, 37, 130])('eigenvalues and eigenvectors of %i rows', async (n) => {
    const a = (await symmetric(n)).map((value, i) => (i % (n + 1) === 0 ? value - 1 : value))
    const { values, vectors } = await symmetricEigen(a, n, { vectors: true })
    const scale = Math.max(...values.map(Math.abs)) * n * 2 ** -50
    for (let i = 0; i < n; i++) {
      const v = vectors.subarray(i * n, i * n + n)
      for (let r = 0; r < n; r++) {
        const product = v.reduce((sum, value, k) => sum + value * a[r * n + k], 0)
        expect(Math.abs(product - values[i] * v[r])).toBeLessThan(scale)
      }
      const w = vectors.subarray(((i * 7) % n) * n, ((i * 7) % n) * n + n)
      expect(v.reduce((sum, value, k) => sum + value * w[k], 0)).toBeCloseTo((i * 7) % n === i ? 1 : 0, 12)
    }
    expectClose((await symmetricEigen(a, n)).values, values, 1e-14 * n, 'values alone')
  })

  test('of so many rows that rotations are applied in parts', async () => {
    const n = 330
    const a = await symmetric(n)
    const { values, vectors } = await symmetricEigen(a, n, { vectors: true })
    for (const i of [0, 1, 100, 328, 329]) {
      const v = vectors.subarray(i * n, i * n + n)
      const wrong = v.map((value, r) => v.reduce((sum, x, k) => sum + x * a[r * n + k], 0) - values[i] * value)
      expect(Math.max(...wrong.map(Math.abs)) / values[n - 1]).toBeLessThan(n * 2 ** -52)
    }
  })

  test('products over more than is multiplied at a time, of rows that are no multiple of four', async () => {
    const [n, m, k] = [9, 6, 1030]
    const [a, b] = [Float64Array.from(numbers(n * k, 1)), Float64Array.from(numbers(m * k, 2))]
    const found = new Float64Array(n * m).fill(1)
    await addProduct(found, a, b, [n, m, k], none)
    const expected = found.map((_, at) => {
      const [i, j] = [Math.floor(at / m), at % m]
      return a.subarray(i * k, i * k + k).reduce((sum, value, t) => sum + value * b[j * k + t], 1)
    })
    expectClose(found, expected, 1e-14, 'a bᵀ')
  })

  test('of matrices with nothing to do, or equal values', async () => {
    const diagonal = [3, 0, -2, 3]
    const a = Float64Array.from({ length: 16 }, (_, i) => (i % 5 === 0 ? diagonal[i / 5] : 0))
    expect([...(await symmetricEigen(a, 4)).values]).toEqual([-2, 0, 3, 3])
    expect([...(await symmetricEigen(new Float64Array(9), 3, { vectors: true })).values]).toEqual([0, 0, 0])
    // The path of four nodes and tiny or large scales: 2 - 2 cos(π j / 5).
    const path = Float64Array.from({ length: 16 }, (_, i) => (i % 5 === 0 ? 2 : i % 5 === 1 || i % 5 === 4 ? -1 : 0))
    path[4 * 0 + 3] = 0
    for (const scale of [1e-200, 1, 1e200]) {
      const { values } = await symmetricEigen(
        path.map((value) => value * scale),
        4,
      )
      values.forEach((value, j) => expect(value / scale).toBeCloseTo(2 - 2 * Math.cos((Math.PI * (j + 1)) / 5), 12))
    }
    await expect(symmetricEigen(Float64Array.of(1, NaN, 0, 1), 2)).rejects.toThrow('found NaN in row 0')
  })

  test('a factor with pivots tells the rank', async () => {
    for (const [n, rank] of [
      [5, 5],
      [40, 40],
      [40, 13],
    ]) {
      const a = await symmetric(n, rank)
      const found = await factor(a, n, none)
      expect(found.rank).toBe(rank)
      const columns = new Float64Array(n * rank)
      for (let r = 0; r < rank; r++) for (let k = 0; k < n; k++) columns[k * rank + r] = found.g[r * n + k]
      const product = new Float64Array(n * n)
      await addProduct(product, columns, columns, [n, n, rank], none)
      expectClose(product, a, 1e-13, `gᵀg of rank ${rank}`)
    }
  })
})
