/**
 * `tweedie evaluate` in the spaces of Inception, with weights by a formula: sFID, the Inception Score, statistics of
 * both kinds of features, and guided-diffusion's reference batches. Few pictures, but matrices of 2,048 dimensions.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { encodePng } from '../../src/data/index.ts'
import { encodeNpy } from '../../src/data/npy.ts'
import { encodeSafetensors, writeFileAtomic } from '../../src/io/index.node.ts'
import { bytesSource } from '../../src/io/source.ts'
import { readStatistics, type Evaluation, type MeasureName } from '../../src/metrics/index.ts'
import { inceptionStateDict } from '../../src/nn/inception-plan.ts'
import { temporaryFolder, tweedie } from '../cli.ts'
import { npy, npz } from '../data-fixtures.ts'
import { keyedBytes, keyedWeights } from '../keyed-formula.ts'

const at = temporaryFolder()
const usual = process.env.XDG_CACHE_HOME
const [side, reals, made] = [32, 6, 4]
const pixels = (set: string, i: number): Uint8Array => keyedBytes(`${set}${i}`, side * side * 3)

beforeAll(async () => {
  process.env.XDG_CACHE_HOME = at('cache')
  for (const [set, count] of [
    ['real', reals],
    ['samples', made],
  ] as const) {
    mkdirSync(at(set))
    for (let i = 0; i < count; i++)
      writeFileSync(at(`${set}/${i}.png`), encodePng({ width: side, height: side, channels: 3, data: pixels(set, i) }))
  }
  const tensors = []
  for (const [key, { shape, read }] of keyedWeights(inceptionStateDict(), 6).tensors)
    tensors.push([key, { shape, data: (await read()) as Float32Array }] as const)
  await writeFileAtomic(at('inception.safetensors'), encodeSafetensors(tensors))
})
afterAll(() => {
  if (usual === undefined) delete process.env.XDG_CACHE_HOME
  else process.env.XDG_CACHE_HOME = usual
})

async function evaluate(space: string, real: string, out: string, ...more: string[]): Promise<[Evaluation, string]> {
  const features = `${space}=${at('inception.safetensors')}`
  const argv = ['--samples', at('samples'), '--real', at(real), '--features', features, '--out', at(out)]
  const few = ['--k', '2', '--lof-k', '3', '--resamples', '20', '--backend', 'cpu']
  const { code, err } = await tweedie(['evaluate', ...argv, ...few, ...more])
  expect(code, err.join('\n')).toBe(0)
  return [JSON.parse(readFileSync(at(`${out}/evaluation.json`), 'utf8')) as Evaluation, err.join('\n')]
}
const value = ({ measurements }: Evaluation, name: MeasureName): number | undefined =>
  measurements.find(({ measure }) => measure === name)?.values[0]?.value
const statisticsAt = (path: string) => readStatistics(bytesSource(readFileSync(at(path)), path))

test('FID, sFID and the Inception Score, with statistics that give the same distances', async () => {
  const [found] = await evaluate('inception', 'real', 'of-images', '--save-statistics')
  expect(found.spaces).toMatchObject([{ name: 'inception', dimension: 2048 }])
  expect(value(found, 'frechet')).toBeGreaterThan(0)
  expect(value(found, 'spatialFrechet')).toBeGreaterThan(0)
  expect(value(found, 'inceptionScore')).toBeGreaterThanOrEqual(1)
  expect(value(found, 'inceptionScore')).toBeLessThanOrEqual(made)
  const { features, spatial, space } = await statisticsAt('of-images/statistics-real-inception.npz')
  expect([features.mean.length, spatial?.mean.length, space?.name]).toEqual([2048, 2023, 'inception'])
  const [read] = await evaluate('inception', 'of-images/statistics-real-inception.npz', 'of-statistics')
  for (const name of ['frechet', 'spatialFrechet', 'inceptionScore'] as const)
    expect(value(read, name)! / value(found, name)!).toBeCloseTo(1, 9)
}, 600_000)

test('a reference batch: its mu, sigma, mu_s and sigma_s for FID and sFID, its images for all else', async () => {
  const space = 'inception-legacy-tensorflow'
  const [plain] = await evaluate(space, 'real', 'of-folder', '--save-statistics')
  // As if of others than the images: those of the samples, to which the samples have no distance.
  const { features, spatial } = await statisticsAt(`of-folder/statistics-samples-${space}.npz`)
  const vector = (data: Float64Array) => encodeNpy({ shape: [data.length], data })
  const matrix = (data: Float64Array) => encodeNpy({ shape: [Math.sqrt(data.length), Math.sqrt(data.length)], data })
  const images = Uint8Array.from(Array.from({ length: reals }, (_, i) => [...pixels('real', i)]).flat())
  writeFileSync(
    at('batch.npz'),
    npz(
      {
        arr_0: npy('|u1', [reals, side, side, 3], images),
        mu: vector(features.mean),
        sigma: matrix(features.covariance),
        mu_s: vector(spatial!.mean),
        sigma_s: matrix(spatial!.covariance),
      },
      0,
    ),
  )
  const [batch, notes] = await evaluate(space, 'batch.npz', 'of-batch')
  expect(notes).toContain(`Fréchet distances are to mu, sigma, mu_s and sigma_s in ${at('batch.npz')}`)
  for (const name of ['frechet', 'spatialFrechet'] as const)
    expect(Math.abs(value(batch, name)!)).toBeLessThan(1e-6 * value(plain, name)!)
  const others = ({ measurements }: Evaluation) => measurements.filter(({ measure }) => !/frechet/i.test(measure))
  expect(others(batch)).toEqual(others(plain))
}, 600_000)
