/**
 * Distances in tiles against looking at every pair in double precision: the same neighbours, radii, balls and ratios
 * to the bit, on every backend, for points on which single precision alone is wrong; and the bounds that this rests on.
 */
import { expect, test } from 'vitest'
import { countOf, eachBall, kNearest, leastRatio, nearest, radii, type Points } from '../src/metrics/index.ts'
import { squaredDistance } from '../src/metrics/nearest.ts'
import { Tiles } from '../src/metrics/tiles.ts'
import { Device } from '../src/tensor/index.ts'
import { backends, deviceTest, numbers, requestDevice } from './op.ts'

/** [count, dimension] of f(a number from -1 to 1, its row). */
function points(count: number, dimension: number, seed: number, f = (x: number, _row: number): number => x): Points {
  const data = Float32Array.from(numbers(count * dimension, seed), (x, at) => f(x, Math.floor(at / dimension)))
  return { data, dimension }
}

const distance = (a: Points, i: number, b: Points, j: number): number =>
  Math.sqrt(squaredDistance(a.data, i * a.dimension, b.data, j * b.dimension, a.dimension, Infinity))

/** `count` points, of which only the first 20 are drawn, over and over. */
function repeated(count: number, seed: number): Points {
  const { data, dimension } = points(20, 17, seed)
  return { data: Float32Array.from({ length: count * dimension }, (_, at) => data[at % data.length]), dimension }
}

const far = (x: number): number => 3000 + x / 50
const lattice = (x: number): number => Math.round(2 * x)

/** Sets of points that leave products in single precision little: each what is drawn of queries and references. */
const sets: Readonly<Record<string, readonly [queries: Points, references: Points]>> = {
  plain: [points(61, 33, 1), points(150, 33, 2)],
  'far from the origin, near each other': [points(61, 33, 3, far), points(150, 33, 4, far)],
  'on a lattice, where many are equally near': [points(61, 3, 5, lattice), points(150, 3, 6, lattice)],
  'the same points, each three times': [repeated(60, 7), repeated(60, 7)],
  huge: [points(61, 33, 8, (x) => 3e38 * x), points(150, 33, 9, (x) => 3e38 * x)],
  tiny: [points(61, 33, 10, (x) => 1e-42 * x), points(150, 33, 11, (x) => 1e-42 * x)],
  'beside one that is far away': [points(61, 33, 12), points(150, 33, 13, (x, i) => (i === 70 ? 1e30 : x))],
  'all equal': [points(5, 4, 14, () => 0.1), points(9, 4, 15, () => 0.1)],
}

for (const [name, [queries, references]] of Object.entries(sets)) {
  deviceTest(`${name}: the same as every pair in double precision`, async (device) => {
    for (const k of [1, 6]) {
      expect(await kNearest(device, queries, references, k)).toEqual(await nearest(queries, references, k))
      const own = await nearest(references, references, k, { leaveOneOut: true })
      expect(await kNearest(device, references, references, k, { leaveOneOut: true })).toEqual(own)
    }
    const balls = { centres: references, radii: await radii(device, references, 2) }
    // Queries that lie in balls, and the centres, of which every ball's second neighbour is exactly on its sphere.
    for (const inside of [queries, references]) {
      for (const strict of [true, false]) {
        const found: number[] = []
        await eachBall(device, inside, balls, (i, j) => found.push(i * 1000 + j), { strict })
        const expected: number[] = []
        for (let i = 0; i < countOf(inside); i++) {
          for (const [j, radius] of balls.radii.entries()) {
            const d = distance(inside, i, references, j)
            if (strict ? d < radius : d <= radius) expected.push(i * 1000 + j)
          }
        }
        expect(found.sort((a, b) => a - b)).toEqual(expected)
      }
      const ratios = Array.from({ length: countOf(inside) }, (_, i) => {
        const all = Array.from(balls.radii, (radius, j) => distance(inside, i, references, j) / radius)
        // Where a ball of radius 0 has its centre: 0 / 0.
        return Math.min(...all.map((ratio) => (Number.isNaN(ratio) ? 0 : ratio)))
      })
      expect([...(await leastRatio(device, inside, balls))]).toEqual(ratios)
    }
  })
}

deviceTest('over many tiles, and over the edges of them', async (device) => {
  // 504 rows and 8,160 columns make a tile; where points are compared with themselves, 4,080 columns.
  const [few, many] = [points(520, 3, 16), points(8300, 3, 17)]
  expect(await kNearest(device, few, many, 4)).toEqual(await nearest(few, many, 4))
  const own = { ...many, data: many.data.subarray(0, 4700 * 3) }
  const expected = await nearest(own, own, 4, { leaveOneOut: true })
  expect(await kNearest(device, own, own, 4, { leaveOneOut: true })).toEqual(expected)
})

deviceTest('bounds hold every distance, and are narrow', async (device) => {
  const [a, b] = [points(40, 2100, 19, (x) => 5 + x), points(50, 2100, 20, (x) => 5 + x)]
  const tiles = await Tiles.prepare(a, b, {})
  let widest = 0
  await tiles.each(device, {}, ({ products, row, rows, column, columns }) => {
    for (let i = row; i < row + rows; i++) {
      for (let j = column; j < column + columns; j++) {
        const product = products[(i - row) * columns + j - column]
        const half = distance(a, i, b, j) ** 2 * tiles.halfScale
        const low = tiles.rows.low[i] + tiles.columns.low[j] - product
        const high = tiles.rows.high[i] + tiles.columns.high[j] - product
        expect(half).toBeGreaterThan(low)
        expect(half).toBeLessThan(high)
        widest = Math.max(widest, (high - low) / half)
      }
    }
  })
  expect(widest).toBeLessThan(1.1e-3)
})

test('single precision alone is wrong', () => {
  // Half the squared distance by the products of single precision, of points that are not centred.
  const [queries, references] = sets['far from the origin, near each other']
  const product = (a: Points, i: number, b: Points, j: number): number => {
    let sum = 0
    for (let d = 0; d < 33; d++) sum = Math.fround(sum + Math.fround(a.data[i * 33 + d] * b.data[j * 33 + d]))
    return sum
  }
  const nearestBy = (of: (j: number) => number): number => {
    const all = Array.from({ length: 150 }, (_, j) => of(j))
    return all.indexOf(Math.min(...all))
  }
  const wrong = Array.from({ length: 61 }, (_, i) => {
    const own = product(queries, i, queries, i)
    const rough = (j: number): number =>
      Math.fround(own + product(references, j, references, j)) - 2 * product(queries, i, references, j)
    return nearestBy(rough) !== nearestBy((j) => distance(queries, i, references, j))
  })
  expect(wrong.filter(Boolean).length).toBeGreaterThan(30)
})

test('on any number of threads', async () => {
  const [a, b] = sets['far from the origin, near each other']
  using device = await Device.request({ backend: 'cpu', threads: 1 })
  expect(await kNearest(device, a, b, 5)).toEqual(await nearest(a, b, 5))
})

deviceTest('stops at once, reports what is done, and leaves nothing', async (device) => {
  const many = points(5000, 16, 20)
  const done: number[] = []
  const controller = new AbortController()
  const { liveBuffers } = device.stats
  const onProgress = (part: number): void => {
    if (done.push(part) === 3) controller.abort(new Error('enough'))
  }
  const search = kNearest(device, many, many, 1, { leaveOneOut: true, signal: controller.signal, onProgress })
  await expect(search).rejects.toThrow('enough')
  expect(done.length).toBe(3)
  expect(device.stats.liveBuffers).toBe(liveBuffers)
  done.length = 0
  await kNearest(device, many, many, 1, { leaveOneOut: true, onProgress: (part) => void done.push(part) })
  expect(done).toEqual([...done].sort((x, y) => x - y))
  expect(done.at(-1)).toBe(1)
})

test('a device that is disposed meanwhile rejects', async () => {
  const many = points(5000, 16, 21)
  for (const backend of backends) {
    const device = await requestDevice(backend)
    const search = kNearest(device, many, many, 1, { leaveOneOut: true, onProgress: () => device.dispose() })
    await expect(search).rejects.toThrow('disposed')
  }
})
