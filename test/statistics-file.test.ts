/** Statistics of features in .npz files: those that NumPy wrote, as other programs leave them, and ours. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { encodeNpz, openNpz, type NpyValues } from '../src/data/index.ts'
import { bytesSource } from '../src/io/source.ts'
import { encodeStatistics, isStatistics, readStatistics } from '../src/metrics/index.ts'

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
  ])('that are none are one sentence: %s', async (message, arrays) => {
    await expect(readStatistics(bytesSource(encodeNpz(arrays), 'made.npz'))).rejects.toThrow(message)
  })
})
