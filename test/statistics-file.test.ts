/** Statistics of features in .npz files: those that NumPy wrote, as other programs leave them, and ours. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { encodeNpz, openNpz, type NpyValues } from '../src/data/index.ts'
import { bytesSource } from '../src/io/source.ts'
import { symmetricEigen } from '../src/metrics/eigen.ts'
import { encodeStatistics, isStatistics, readStatistics, statisticsBesideImages } from '../src/metrics/index.ts'
import { npy, npz } from './data-fixtures.ts'
import { numbers } from './op.ts'

const bytesOf = (name: string) => readFileSync(fileURLToPath(new URL(`fixtures/numpy/${name}`, import.meta.url)))
const numpy = (name: string) => bytesSource(bytesOf(name), name)

// Of fixtures/numpy/README.md, as NumPy prints them.
const features = {
  mean: Float64Array.of(1.625, 1.0002499999999999, 2.0625),
  covariance: Float64Array.of(
    1.5625,
    -1.8328749999999998,
    3.989583333333333,
    -1.8328749999999998,
    6.666000250000001,
    -2.915020833333333,
    3.989583333333333,
    -2.915020833333333,
    12.348958333333332,
  ),
}
const spatial = {
  mean: Float64Array.of(3.8125, 6.00000025),
  covariance: Float64Array.of(14.640625, -22.166664937500002, -22.166664937500002, 47.999996000000245),
}
const space = { name: 'features', preprocessing: 'middle square × 2', weights: 'sha256 abc' }

describe('statistics', () => {
  test("of pytorch-fid and clean-fid are read, and guided-diffusion's without its images", async () => {
    expect(await readStatistics(numpy('statistics.npz'))).toEqual({
      name: 'statistics.npz',
      features,
      spatial: null,
      space: null,
    })
    expect(await readStatistics(numpy('reference-batch.npz'))).toEqual({
      name: 'reference-batch.npz',
      features,
      spatial,
      space: null,
    })
    expect((await readStatistics(numpy('float32.npz'))).features.covariance).toEqual(
      Float64Array.from(Float32Array.from(features.covariance)),
    )
  })

  test('are told from sets of images', async () => {
    expect(await isStatistics(numpy('statistics.npz'))).toBe(true)
    expect(await isStatistics(numpy('reference-batch.npz'))).toBe(false)
    expect((await openNpz(numpy('reference-batch.npz'))).length).toBe(4)
    expect(await statisticsBesideImages(numpy('statistics.npz'))).toBeNull()
    expect(await statisticsBesideImages(numpy('reference-batch.npz'))).toMatchObject({ features, spatial })
    // A mean and a deviation of each image.
    const column = npy('<f8', [2], new Uint8Array(Float64Array.of(1, 2).buffer))
    const images = npz({ arr_0: npy('|u1', [2, 1, 1, 3], [1, 2, 3, 4, 5, 6]), mu: column, sigma: column })
    expect(await statisticsBesideImages(bytesSource(images, 'columns.npz'))).toBeNull()
  })

  test('of ours come back as they were, with their space', async () => {
    for (const file of [
      { features, spatial, space },
      { features, spatial: null, space: null },
    ]) {
      const bytes = encodeStatistics(file)
      expect(await readStatistics(bytesSource(bytes, 'ours.npz'))).toEqual({ name: 'ours.npz', ...file })
      expect(encodeStatistics(file)).toEqual(bytes)
    }
  })

  test('of ours hold the arrays that NumPy would: the same elements, at multiples of 64 bytes', async () => {
    const [ours, theirs] = [encodeStatistics({ features, spatial: null, space: null }), bytesOf('statistics.npz')]
    // The header, with NumPy's line feed as its last byte, and the elements.
    const array = (bytes: Uint8Array): Uint8Array => bytes.subarray(bytes.indexOf(0x93), bytes.indexOf(0x93) + 128 + 24)
    expect(array(ours)).toEqual(Uint8Array.from(array(theirs)))
  })

  test('may be of few images or of nothing that varies, and rounded to single precision', async () => {
    // 5 images in 12 dimensions: eigenvalues that are 0, and with numbers rounded to single precision some below.
    const d = 12
    const rows = numbers(5 * d, 3)
    const covariance = Float64Array.from({ length: d * d }, (_, at) => {
      const [i, j] = [Math.floor(at / d), at % d]
      return [0, 1, 2, 3, 4].reduce((sum, row) => sum + rows[row * d + i] * rows[row * d + j], 0)
    })
    const rounded = Float64Array.from(Float32Array.from(covariance))
    expect((await symmetricEigen(rounded, d)).values[0]).toBeLessThan(-1e-9)
    for (const sigma of [covariance, rounded, new Float64Array(d * d)]) {
      const moments = { mean: new Float64Array(d), covariance: sigma }
      const bytes = encodeStatistics({ features: moments, spatial: null, space: null })
      expect((await readStatistics(bytesSource(bytes, 'few.npz'))).features).toEqual(moments)
    }
  })

  const vector: NpyValues = { shape: [2], data: Float64Array.of(1, 2) }
  const matrix: NpyValues = { shape: [2, 2], data: Float64Array.of(1, 0, 0, 1) }
  test.each<[string, Readonly<Record<string, NpyValues>>]>([
    ['made.npz: expected statistics, the arrays mu [D] and sigma [D, D], found mu, x.', { mu: vector, x: vector }],
    ['made.npz: expected mu of shape [D] and sigma of shape [D, D], found [2] and [2].', { mu: vector, sigma: vector }],
    [
      'made.npz: expected mu of shape [D] and sigma of shape [D, D], found [2, 2] and [2, 2].',
      { mu: matrix, sigma: matrix },
    ],
    [
      'made.npz: expected finite numbers, found NaN in sigma.',
      { mu: vector, sigma: { shape: [2, 2], data: Float64Array.of(1, 0, NaN, 1) } },
    ],
    [
      'made.npz: expected mu of floating-point numbers, found <U1.',
      { mu: { shape: [2], data: ['a', 'b'] }, sigma: matrix },
    ],
    [
      'made.npz: expected mu_s of shape [D] and sigma_s of shape [D, D], found [2] and [2].',
      { mu: vector, sigma: matrix, mu_s: vector, sigma_s: vector },
    ],
    [
      'made.npz: sigma is not positive semidefinite, as a covariance is: its variance 1 is -1.00.',
      { mu: vector, sigma: { shape: [2, 2], data: Float64Array.of(1, 0, 0, -1) } },
    ],
    // Eigenvalues 3 and -1, of variances that are above 0, and of variances that are 0.
    [
      'made.npz: sigma is not positive semidefinite, as a covariance is: it has an eigenvalue below -2.38e-7.',
      { mu: vector, sigma: { shape: [2, 2], data: Float64Array.of(1, 2, 2, 1) } },
    ],
    [
      'made.npz: sigma_s is not positive semidefinite, as a covariance is: it has an eigenvalue below -1.19e-7.',
      { mu: vector, sigma: matrix, mu_s: vector, sigma_s: { shape: [2, 2], data: Float64Array.of(0, 1, 1, 0) } },
    ],
    [
      'made.npz: sigma is not symmetric, as a covariance is: [1, 0] is 0.5 and [0, 1] is -0.5.',
      { mu: vector, sigma: { shape: [2, 2], data: Float64Array.of(1, -0.5, 0.5, 1) } },
    ],
  ])('that are none are one sentence: %s', async (message, arrays) => {
    await expect(readStatistics(bytesSource(encodeNpz(arrays), 'made.npz'))).rejects.toThrow(message)
  })
})
