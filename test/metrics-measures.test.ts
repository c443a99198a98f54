/** The measures of rarity and realism: the goldens' numbers, on every backend. */
import { expect, test } from 'vitest'
import {
  avgKnn,
  ballsAround,
  coverage,
  density,
  discrepancy,
  featureStatistics,
  frechetDistance,
  inceptionScore,
  localOutlierFactor,
  membership,
  precision,
  rarity,
  realism,
  type FeatureStatistics,
  type Points,
} from '../src/metrics/index.ts'
import { arrayNamed, readGolden, type Golden } from './golden.ts'
import { keyedValues } from './keyed-formula.ts'
import { deviceTest } from './op.ts'
import { describeShared } from './shared.ts'

/** Features of the goldens: their metadata states the rule. */
function blend(key: string, n: number, d: number, scale: number, shift: number, mix: number): Points {
  const a = keyedValues(key, n * d, Math.sqrt(3))
  const turn = Float64Array.from(
    keyedValues(`${key}.A`, d * d),
    (u, i) => (mix * u) / Math.sqrt(d) + (i % (d + 1) === 0 ? 1 : 0),
  )
  const data = Float32Array.from({ length: n * d }, (_, at) => {
    const [i, j] = [Math.floor(at / d), at % d]
    let sum = 0
    for (let k = 0; k < d; k++) sum += a[i * d + k] * turn[k * d + j]
    return sum * scale + shift
  })
  return { data, dimension: d }
}

const rows = ({ data, dimension }: Points, begin: number, end: number): Points => ({
  data: data.slice(begin * dimension, end * dimension),
  dimension,
})

const [x, y] = [blend('X', 300, 64, 1, 0, 1), blend('Y', 200, 64, 0.8, 0.1, 0.5)]
const [real, made] = [blend('R', 120, 8, 1, 0, 1), blend('G', 90, 8, 1.1, 0.15, 0.7)]

/** Every element within 2e-5 of the largest. */
function expectGolden(found: ArrayLike<number>, golden: Golden, name: string): void {
  const { data } = arrayNamed(golden, name)
  expect(found.length, name).toBe(data.length)
  const largest = Array.from(data).reduce((a, b) => Math.max(a, Math.abs(b)), 0)
  for (let i = 0; i < data.length; i++) {
    expect(Math.abs(found[i] - data[i]) / largest, `${name}: element ${i}`).toBeLessThanOrEqual(2e-5)
  }
}

describeShared("the goldens' numbers", () => {
  let read: Promise<Golden> | undefined
  /** Where ../shared is missing nothing asks for it. */
  const golden = (): Promise<Golden> => (read ??= readGolden('goldens/baselines/metrics.safetensors'))

  for (const k of [3, 5]) {
    deviceTest(`balls of ${k}: precision, recall, density, coverage, rarity, realism`, async (device) => {
      const balls = await ballsAround(device, real, { k })
      const inReal = await membership(device, made, balls)
      const inMade = await membership(device, real, await ballsAround(device, made, { k }))
      const values = await golden()
      expectGolden(balls.radii, values, `radii_R.k${k}`)
      expectGolden([precision(inReal).value, precision(inMade).value], values, `precision_recall.k${k}`)
      expectGolden([density(inReal, k).value, coverage(inReal).value], values, `density_coverage.k${k}`)
      expectGolden(rarity(inReal), values, `rarity.k${k}`)
      expectGolden(await realism(device, made, balls), values, `realism.k${k}`)
    })
  }

  deviceTest('AvgkNN and LOF', async (device) => {
    const values = await golden()
    expectGolden(await avgKnn(made, real, { device }), values, 'avgknn5.G')
    expectGolden(await avgKnn(real, real, { device, leaveOneOut: true }), values, 'avgknn5.R')
    for (const k of [5, 20]) {
      expectGolden(await localOutlierFactor(device, made, real, { k }), values, `lof${k}.G`)
      expectGolden(await localOutlierFactor(device, real, real, { k, leaveOneOut: true }), values, `lof${k}.R`)
    }
  })

  test('Fréchet distance, also of covariances without full rank', async () => {
    const values = await golden()
    const [a, b] = [await featureStatistics(x), await featureStatistics(y)]
    expectGolden(a.mean, values, 'mean_X')
    expectGolden(a.covariance.subarray(0, 64), values, 'cov_X.row0')
    expectGolden([(await frechetDistance(a, b)).value], values, 'frechet')
    expect((await frechetDistance(b, a)).value).toBeCloseTo((await frechetDistance(a, b)).value, 9)
    const small = [await featureStatistics(rows(x, 0, 40)), await featureStatistics(rows(y, 0, 30))] as const
    const found = await frechetDistance(...small)
    expectGolden([found.value], values, 'frechet_small')
    expect(found.ranks).toEqual([39, 29])
    expect(found.warnings).toEqual([
      'The covariance of the samples has rank 39 of 64 features: 40 of them cannot fill 64 dimensions: the Fréchet ' +
        'distance is too large by an unknown amount; compare more than 64, or KID, which takes the images of ' +
        'both sets.',
      expect.stringMatching(/real images has rank 29 of 64 features: 30 of them/),
    ])
    // Features that vary nowhere are no dimensions, and what is said of a set does not depend on the other.
    const wider = ({ mean, covariance, count }: FeatureStatistics, d: number): FeatureStatistics => {
      const n = mean.length
      const wide = new Float64Array(d * d)
      for (let i = 0; i < n; i++) wide.set(covariance.subarray(i * n, (i + 1) * n), i * d)
      return { mean: Float64Array.from({ length: d }, (_, i) => mean[i] ?? 1), covariance: wide, count }
    }
    const wide = await frechetDistance(wider(small[0], 67), wider(small[1], 67))
    expect([wide.value, wide.ranks]).toEqual([expect.closeTo(found.value, 10), [39, 29]])
    expect(wide.warnings.map((warning) => warning.split(': ')[0])).toEqual([
      'The covariance of the samples has rank 39 of the 64 features that vary (of 67)',
      'The covariance of the real images has rank 29 of the 64 features that vary (of 67)',
    ])
    const { covariance } = b
    const constant = covariance.map((value, at) => (at % 64 === 0 || at < 64 ? 0 : value))
    expect((await frechetDistance(a, { mean: b.mean, covariance: constant })).warnings).toEqual([
      'The covariance of the real images has rank 63 of the 63 features that vary (of 64): the others are constant, ' +
        'but not in the other set.',
    ])
    const samples = {
      mean: a.mean,
      covariance: a.covariance.map((value, at) => (at % 64 === 0 || at < 64 ? 0 : value)),
    }
    expect((await frechetDistance({ ...samples, count: a.count! }, b)).warnings).toEqual([
      'The covariance of the samples has rank 63 of 64 features: some features are constant or depend on others.',
    ])
    // Statistics of a file do not say of how many images they are.
    const [{ mean: mu, covariance: sigma }] = small
    expect((await frechetDistance({ mean: mu, covariance: sigma }, b)).warnings).toEqual([
      'The covariance of the samples has rank 39 of 64 features: they were too few, or some features are constant or ' +
        'depend on others.',
    ])
  })

  deviceTest('KID', async (device) => {
    const values = await golden()
    const chosen = (key: string, n: number): number[] => {
      const order = keyedValues(key, n)
      return Array.from(order.keys())
        .sort((i, j) => order[i] - order[j])
        .slice(0, 50)
    }
    const pick = (points: Points, of: readonly number[]): Points => ({
      data: Float32Array.from(of.flatMap((i) => Array.from(rows(points, i, i + 1).data))),
      dimension: points.dimension,
    })
    let sum = 0
    for (let s = 0; s < 5; s++) {
      const [ofX, ofY] = [chosen(`kid.x${s}`, 300), chosen(`kid.y${s}`, 200)]
      if (s === 0) {
        expect(ofX).toEqual(Array.from(arrayNamed(values, 'kid.indices_x0').data, Number))
        expect(ofY).toEqual(Array.from(arrayNamed(values, 'kid.indices_y0').data, Number))
      }
      sum += (await discrepancy(device, pick(x, ofX), pick(y, ofY))).value / 5
    }
    expectGolden([sum], values, 'kid')
  })

  test('Inception Score', async () => {
    const logits = { data: keyedValues('logits', 600, 3), dimension: 10 }
    const { value, splits } = await inceptionScore(logits, { splitSize: 25 })
    expectGolden([value, ...splits], await golden(), 'inception_score')
  })
})
