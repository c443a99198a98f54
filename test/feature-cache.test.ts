/** Features are kept by what they follow from: found again, and computed anew where anything of it is another. */
import { mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { cachedFeatures, type FeaturesKey, type SetFeatures } from '../src/cli/evaluating/feature-cache.ts'
import { temporaryFolder } from './cli.ts'

const at = temporaryFolder()
const usual = process.env.XDG_CACHE_HOME
beforeAll(() => {
  process.env.XDG_CACHE_HOME = at('cache')
})
afterAll(() => {
  if (usual === undefined) delete process.env.XDG_CACHE_HOME
  else process.env.XDG_CACHE_HOME = usual
})

const { signal } = new AbortController()
const key: FeaturesKey = {
  images: 'abc',
  name: 'features',
  preprocessing: 'to 32 x 32',
  weights: 'sha256 def',
}
const points: SetFeatures = {
  features: { data: Float32Array.of(1, -2.5, 1e-30, 3, 4, 5), dimension: 2 },
  spatial: { data: Float32Array.of(1, 2, 3), dimension: 1 },
  logits: undefined,
}
let computed = 0
const compute = async (): Promise<SetFeatures> => {
  computed++
  return points
}
const files = (): string[] =>
  readdirSync(at('cache/tweedie/features-1')).map((name) => join(at('cache/tweedie/features-1'), name))

test('are computed once', async () => {
  expect(await cachedFeatures(key, compute, signal)).toEqual(points)
  expect(await cachedFeatures({ ...key }, compute, signal)).toEqual(points)
  expect([computed, files().length]).toEqual([1, 1])
})

test.each<Partial<FeaturesKey>>([
  { images: 'abd' },
  { name: 'pixels' },
  { preprocessing: 'to 64 x 64' },
  { weights: 'sha256 deg' },
])('are computed anew with %j', async (other) => {
  const before = computed
  await cachedFeatures({ ...key, ...other }, compute, signal)
  expect(computed).toBe(before + 1)
})

test('are computed anew where the file is damaged', async () => {
  for (const file of files()) truncateSync(file, statSync(file).size - 4)
  const before = computed
  await cachedFeatures(key, compute, signal)
  await cachedFeatures(key, compute, signal)
  expect(computed).toBe(before + 1)
})

test('are what was computed where nothing can be kept', async () => {
  mkdirSync(at('other/tweedie'), { recursive: true })
  writeFileSync(at('other/tweedie/features-1'), 'a file in the way')
  process.env.XDG_CACHE_HOME = at('other')
  const said = vi.spyOn(console, 'error').mockImplementation(() => {})
  expect(await cachedFeatures(key, compute, signal)).toEqual(points)
  expect(said).toHaveBeenCalledWith(expect.stringContaining('not kept'))
  said.mockRestore()
})
