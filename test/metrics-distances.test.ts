/** Neighbours, balls and ratios of distances, on every backend, against looking at every pair. */
import { describe, expect, test } from 'vitest'
import { countOf, eachBall, kNearest, leastRatio, nearest, radii, type Points } from '../src/metrics/index.ts'
import { deviceTest, numbers, testDevice } from './op.ts'

const points = (values: ArrayLike<number>, dimension: number): Points => ({
  data: Float32Array.from(values),
  dimension,
})
const samples = points(numbers(70 * 19, 1), 19)
const real = points(numbers(130 * 19, 2), 19)

const distance = (a: Points, i: number, b: Points, j: number): number => {
  let squared = 0
  for (let d = 0; d < a.dimension; d++) squared += (a.data[i * a.dimension + d] - b.data[j * b.dimension + d]) ** 2
  return Math.sqrt(squared)
}

deviceTest('the same neighbours as nearest, bit for bit', async (device) => {
  expect(await kNearest(device, samples, real, 7)).toEqual(await nearest(samples, real, 7))
  const own = await nearest(real, real, 3, { leaveOneOut: true })
  expect(await kNearest(device, real, real, 3, { leaveOneOut: true })).toEqual(own)
  expect([...(await radii(device, real, 3))]).toEqual(Array.from({ length: 130 }, (_, i) => own.distances[3 * i + 2]))
})

deviceTest('every ball that holds a point, once', async (device) => {
  const balls = { centres: real, radii: await radii(device, real, 3) }
  const found: string[] = []
  await eachBall(device, samples, balls, (i, j) => found.push(`${i} ${j}`))
  const expected = Array.from({ length: countOf(samples) }, (_, i) => i).flatMap((i) =>
    Array.from(balls.radii, (_, j) => j)
      .filter((j) => distance(samples, i, real, j) < balls.radii[j])
      .map((j) => `${i} ${j}`),
  )
  expect(expected.length).toBeGreaterThan(20)
  expect(found.sort()).toEqual(expected.sort())
})

deviceTest('a point on the sphere is outside, and inside where balls are closed', async (device) => {
  // 3, 4, 5: exact in floating point. The far centre would hide it from distances that are not exact.
  const balls = { centres: points([1000, 2000, -500, 3], 2), radii: Float64Array.of(5, 1) }
  const at = points([1003, 2004, 1003, 2003.9998], 2)
  const inside = async (strict?: boolean): Promise<number[]> => {
    const found: number[] = []
    await eachBall(device, at, balls, (i) => found.push(i), { strict })
    return found.sort()
  }
  expect(await inside()).toEqual([1])
  expect(await inside(false)).toEqual([0, 1])
})

deviceTest('the least ratio of distance to radius', async (device) => {
  const balls = { centres: real, radii: Float64Array.from(numbers(130, 3), (value) => 0.5 + value ** 2) }
  const found = await leastRatio(device, samples, balls)
  found.forEach((ratio, i) => {
    const all = Array.from(balls.radii, (radius, j) => distance(samples, i, real, j) / radius)
    expect(ratio / Math.min(...all)).toBeCloseTo(1, 12)
  })
})

describe('of distances', () => {
  test('refuses what it cannot answer', async () => {
    const device = await testDevice()
    const balls = { centres: real, radii: Float64Array.of(1) }
    await expect(eachBall(device, samples, balls, () => {})).rejects.toThrow(
      'a radius for each of the 130 centres, found 1',
    )
    await expect(leastRatio(device, points([1, 2], 2), balls)).rejects.toThrow('one dimension, found 2 and 19')
    await expect(leastRatio(device, points([1, NaN], 2), balls)).rejects.toThrow('finite points, found NaN in row 0')
  })

  test('stops when told', async () => {
    const device = await testDevice()
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(kNearest(device, samples, real, 1, { signal })).rejects.toThrow('enough')
    await expect(
      eachBall(device, samples, { centres: real, radii: new Float64Array(130) }, () => {}, { signal }),
    ).rejects.toThrow('enough')
  })
})
