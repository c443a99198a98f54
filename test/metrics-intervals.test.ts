/** Intervals and extrapolation of measures, against what is known of Gaussians and against resampling everything. */
import { describe, expect, test } from 'vitest'
import {
  bootstrap,
  bootstrapInterval,
  copying,
  discrepancy,
  extrapolateFrechet,
  featureStatistics,
  frechetDistance,
  inceptionScore,
  kernelDistance,
  meanOf,
  measureFrechet,
  type Interval,
  type Points,
} from '../src/metrics/index.ts'
import { Device, hostRandomNormal, splitSeed } from '../src/tensor/index.ts'
import { deviceTest, onCPU, testDevice } from './op.ts'

const normal = (count: number, dimension: number, draw: number, scale = 1, shift = 0): Points => ({
  data: hostRandomNormal({ seed: splitSeed(1), draw, purpose: 200 }, [0], count * dimension).map(
    (v) => v * scale + shift,
  ),
  dimension,
})

const chosen = ({ data, dimension }: Points, rows: Uint32Array): Points => {
  const out = new Float32Array(rows.length * dimension)
  rows.forEach((row, i) => out.set(data.subarray(row * dimension, (row + 1) * dimension), i * dimension))
  return { data: out, dimension }
}

const width = ({ low, high }: Interval): number => high! - low!

/** Widths of 400 resamples differ by some 5 % from one seed to the next. */
const expectSimilar = (found: Interval, direct: Interval): void => {
  expect(width(found) / width(direct)).toBeGreaterThan(0.85)
  expect(width(found) / width(direct)).toBeLessThan(1.18)
}

describe('intervals', () => {
  test('of a mean: 1.96 standard errors to either side, less for less confidence', async () => {
    const { data } = normal(4000, 1, 0, 2, 5)
    const measured = meanOf(Float64Array.from(data))
    const { low, high } = await bootstrapInterval(measured)
    const half = width({ low, high }) / 2
    expect(half / ((1.96 * 2) / Math.sqrt(4000))).toBeCloseTo(1, 1)
    expect(low! + half).toBeCloseTo(measured.value, 2)
    expect(width(await bootstrapInterval(measured, { confidence: 0.5 })) / (2 * half)).toBeCloseTo(0.674 / 1.96, 1)
    expect(await bootstrapInterval(measured)).toEqual({ low, high })
    expect(await bootstrapInterval(measured, { seed: 1 })).not.toEqual({ low, high })
  })

  deviceTest(
    'of a Fréchet distance: that of resampling both sets',
    async (device) => {
      const [samples, real] = [normal(600, 4, 1, 1.4, 0.3), normal(800, 4, 2)]
      const measured = await measureFrechet(device, samples, real)
      const statistics = [await featureStatistics(samples), await featureStatistics(real)] as const
      const known = { samples: statistics[0], real: statistics[1] }
      expect(await measureFrechet(device, samples, real, { statistics: known })).toEqual(measured)
      expect(measured.value).toBeCloseTo((await frechetDistance(...statistics)).value, 10)
      const distances: number[] = []
      const draws: Promise<void>[] = []
      const resample = async (rows: readonly Uint32Array[]): Promise<void> => {
        const [a, b] = [
          await featureStatistics(chosen(samples, rows[0])),
          await featureStatistics(chosen(real, rows[1])),
        ]
        distances.push((await frechetDistance(a, b)).value)
      }
      await bootstrap([600, 800], (rows) => (draws.push(resample(rows.map((r) => r.slice()))), 0), { resamples: 400 })
      await Promise.all(draws)
      distances.sort((a, b) => a - b)
      const found = await bootstrapInterval(measured, { resamples: 400 })
      expectSimilar(found, { low: distances[9], high: distances[389] })
      expect(found.low).toBeLessThan(measured.value)
      expect(found.high).toBeGreaterThan(measured.value)
    },
    onCPU,
  )

  deviceTest('of a Fréchet distance, with features that are constant in both sets', async (device) => {
    const [samples, real] = [normal(60, 4, 14, 1.4, 0.3), normal(80, 4, 15)]
    // Two dead features among them, of values that do not sum without rounding.
    const widened = ({ data }: Points): Points => ({
      data: Float32Array.from({ length: (data.length / 4) * 6 }, (_, at) =>
        at % 6 === 1 ? 0.1 : at % 6 === 5 ? 7.7 : data[Math.floor(at / 6) * 4 + (at % 6) - (at % 6 > 1 ? 1 : 0)],
      ),
      dimension: 6,
    })
    const measured = await measureFrechet(device, samples, real)
    const wide = await measureFrechet(device, widened(samples), widened(real))
    expect(wide.warnings).toEqual([])
    expect([wide.dimension, ...wide.ranks]).toEqual([4, 4, 4])
    expect(wide.value).toBeCloseTo(measured.value, 10)
    const [found, expected] = [await bootstrapInterval(wide), await bootstrapInterval(measured)]
    expect(found.low).toBeCloseTo(expected.low!, 4)
    expect(found.high).toBeCloseTo(expected.high!, 4)
  })

  deviceTest(
    'of covariances without full rank: as wide as the distance varies from one draw of images to the next',
    async (device) => {
      for (const [n, m] of [
        [40, 40],
        [30, 200],
        [200, 30],
      ] as const) {
        const draw = (r: number) => [normal(n, 48, 20 + 2 * r, 1.3, 0.2), normal(m, 48, 21 + 2 * r)] as const
        const distances: number[] = []
        for (let r = 0; r < 60; r++) {
          const [a, b] = draw(r)
          distances.push((await frechetDistance(await featureStatistics(a), await featureStatistics(b))).value)
        }
        const mean = distances.reduce((a, b) => a + b) / 60
        const deviation = Math.sqrt(distances.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 59)
        let widths = 0
        for (let r = 0; r < 5; r++) {
          const measured = await measureFrechet(device, ...draw(r))
          expect(measured.warnings).toHaveLength(n === m ? 2 : 1)
          const found = await bootstrapInterval(measured, { resamples: 400 })
          expect(found.low).toBeLessThan(measured.value)
          expect(found.high).toBeGreaterThan(measured.value)
          widths += width(found) / 5
        }
        // Of 60 draws a deviation is known to 9 %, and the derivative alone is 10 to 20 % too wide.
        expect(widths / (3.92 * deviation), `${n} and ${m}`).toBeGreaterThan(0.8)
        expect(widths / (3.92 * deviation), `${n} and ${m}`).toBeLessThan(1.4)
      }
    },
    onCPU,
  )

  deviceTest(
    'of a Fréchet distance, by the derivative: whichever set has the lower rank',
    async (device) => {
      const [few, many] = [normal(5, 8, 3), normal(40, 8, 4, 1.3)]
      const [ofFew, ofMany] = (await measureFrechet(device, few, many)).influences
      const swapped = (await measureFrechet(device, many, few)).influences
      for (const [found, expected] of [
        [swapped[1], ofFew],
        [swapped[0], ofMany],
      ]) {
        found.forEach((value, i) => expect(value).toBeCloseTo(expected[i], 3))
      }
      // Each image so often that one more is a small step, and N - 1 is N.
      const often = ({ data }: Points, times: number, extra?: number): Points => ({
        data: Float32Array.from(
          Array.from({ length: data.length / 8 }, (_, i) =>
            Array.from({ length: times + (i === extra ? 1 : 0) }, () => [...data.subarray(8 * i, 8 * i + 8)]).flat(),
          ).flat(),
        ),
        dimension: 8,
      })
      const distance = async (a: Points, b: Points): Promise<number> =>
        (await frechetDistance(await featureStatistics(a), await featureStatistics(b))).value
      const [a, b] = [often(few, 2000), often(many, 100)]
      const [value, measured] = [await distance(a, b), await measureFrechet(device, a, b)]
      const step = async (set: number, row: number, times: number): Promise<void> => {
        const more = set === 0 ? await distance(often(few, times, row), b) : await distance(a, often(many, times, row))
        const items = measured.influences[set]
        const mean = items.reduce((x, y) => x + y) / items.length
        expect(((more - value) * items.length) / (items[row * times] - mean)).toBeCloseTo(1, 2)
      }
      for (const row of [0, 3]) await step(0, row, 2000)
      for (const row of [0, 7]) await step(1, row, 100)
    },
    onCPU,
  )

  test('of sets that share no direction', async () => {
    const on = (axis: number, draw: number): Points => ({
      data: normal(30, 2, draw).data.map((value, at) => (at % 2 === axis ? value : 0)),
      dimension: 2,
    })
    const measured = await measureFrechet(await testDevice('cpu'), on(0, 1), on(1, 2))
    const { low, high } = await bootstrapInterval(measured)
    expect(low).toBeLessThan(measured.value)
    expect(high).toBeGreaterThan(measured.value)
  })

  deviceTest(
    'of a kernel distance: that of resampling both sets',
    async (device) => {
      const [samples, real] = [normal(120, 3, 5, 1.5, 0.5), normal(120, 3, 6)]
      const measured = await kernelDistance(device, samples, real)
      expect(measured.subsets).toHaveLength(1)
      expect(measured.value).toBeCloseTo((await discrepancy(device, samples, real)).value, 12)
      // An item drawn twice has a kernel with itself, which the unbiased mean leaves out: k(x, x) must not be counted.
      const kernel = (p: Points, i: number, q: Points, j: number): number => {
        let product = 0
        for (let d = 0; d < 3; d++) product += p.data[3 * i + d] * q.data[3 * j + d]
        return (product / 3 + 1) ** 3
      }
      const direct = await bootstrap(
        [120, 120],
        ([a, b]) => {
          let value = 0
          for (const [p, set] of [
            [a, samples],
            [b, real],
          ] as const) {
            let [sum, pairs] = [0, 0]
            for (const i of p) for (const j of p) if (i !== j) [sum, pairs] = [sum + kernel(set, i, set, j), pairs + 1]
            value += sum / pairs
          }
          let cross = 0
          for (const i of a) for (const j of b) cross += kernel(samples, i, real, j)
          return value - (2 * cross) / a.length / b.length
        },
        { resamples: 200 },
      )
      expectSimilar(await bootstrapInterval(measured, { resamples: 200 }), direct)
    },
    onCPU,
  )

  test('of an Inception Score: that of resampling its images', async () => {
    const logits = normal(500, 7, 7, 2)
    const probabilities = Array.from({ length: 500 }, (_, i) => {
      const row = Array.from(logits.data.subarray(i * 7, i * 7 + 7), Math.exp)
      return row.map((value) => value / row.reduce((a, b) => a + b))
    })
    const score = (rows: Uint32Array): number => {
      const mean = Array.from({ length: 7 }, (_, c) => rows.reduce((sum, i) => sum + probabilities[i][c] / 500, 0))
      const divergence = (p: number[]): number =>
        p.reduce((sum, value, c) => sum + value * Math.log(value / mean[c]), 0)
      return Math.exp(rows.reduce((sum, i) => sum + divergence(probabilities[i]) / 500, 0))
    }
    const measured = await inceptionScore(logits)
    expect(measured.value).toBeCloseTo(score(Uint32Array.from({ length: 500 }, (_, i) => i)), 6)
    const direct = await bootstrap([500], ([rows]) => score(rows), { resamples: 400 })
    expectSimilar(await bootstrapInterval(measured, { resamples: 400 }), direct)
  })

  test('refuses what makes none', async () => {
    const measured = meanOf(Float64Array.of(1, 2))
    await expect(bootstrapInterval(measured, { resamples: 1 })).rejects.toThrow('2 resamples or more, found 1')
    await expect(bootstrapInterval(measured, { confidence: 95 })).rejects.toThrow('between 0 and 1, found 95')
    expect(() => meanOf(new Float64Array(0))).toThrow('there are no items')
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(bootstrapInterval(measured, { signal })).rejects.toThrow('enough')
  })
})

test('an extrapolated distance is nearer to the true one', async () => {
  // Of scales 1.2 and 1, the means 0.1 apart in each of 16 dimensions: 16 (0.01 + 0.04).
  const reference = {
    mean: new Float64Array(16),
    covariance: Float64Array.from({ length: 256 }, (_, i) => (i % 17 === 0 ? 1 : 0)),
  }
  const samples = normal(1500, 16, 8, 1.2, 0.1)
  const { value, slope, points, warnings, influences } = await extrapolateFrechet(samples, reference)
  expect(points.map(({ count }) => count)).toEqual([300, 375, 500, 750, 1500])
  const whole = await frechetDistance(await featureStatistics(samples), reference)
  expect(points[4].distance).toBeCloseTo(whole.value, 9)
  expect(slope).toBeGreaterThan(0)
  expect(Math.abs(value - 0.8)).toBeLessThan(Math.abs(whole.value - 0.8))
  expect(warnings).toEqual([])
  expect(await bootstrapInterval({ value, influences })).toEqual({ low: null, high: null })
  await expect(extrapolateFrechet(normal(9, 16, 9), reference)).rejects.toThrow('10 samples or more, found 9')
})

test('the interval of an extrapolated distance holds what other samples extrapolate to', async () => {
  const device = await testDevice('cpu')
  const real = normal(2000, 3, 19)
  const statistics = await featureStatistics(real)
  const samples = normal(500, 3, 20, 1.5, 0.4)
  const { influences } = await measureFrechet(device, samples, real)
  const found = await bootstrapInterval(
    await extrapolateFrechet(samples, statistics, { influences: influences.slice(0, 1) }),
  )
  const others: number[] = []
  for (let draw = 21; draw < 221; draw++) {
    others.push((await extrapolateFrechet(normal(500, 3, draw, 1.5, 0.4), statistics)).value)
  }
  others.sort((a, b) => a - b)
  // 200 others' quantiles are less sure than those of resamples.
  expect(width(found) / (others[194] - others[4])).toBeGreaterThan(0.75)
  expect(width(found) / (others[194] - others[4])).toBeLessThan(1.3)
})

test('the same numbers on any number of threads', async () => {
  const [samples, real] = [normal(300, 20, 10, 1.2), normal(250, 20, 11)]
  const found: unknown[] = []
  for (const threads of [1, 3]) {
    const device = await Device.request({ backend: 'cpu', threads })
    found.push([
      await kernelDistance(device, samples, real, { size: 100, subsets: 3 }),
      await measureFrechet(device, samples, real),
      await copying(device, samples, real, normal(200, 20, 12)),
    ])
    device.dispose()
  }
  expect(found[1]).toEqual(found[0])
})
