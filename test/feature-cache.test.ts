/** Features are kept by what they follow from: found again, and computed anew where anything of it is another. */
import { mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { cachedFeatures, type FeaturesKey, type SetFeatures } from '../src/cli/evaluating/feature-cache.ts'
import type { Points } from '../src/metrics/index.ts'
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
  expect(await cachedFeatures(key, 3, compute, signal)).toEqual(points)
  expect(await cachedFeatures({ ...key }, 3, compute, signal)).toEqual(points)
  expect([computed, files().length]).toEqual([1, 1])
})

test.each<Partial<FeaturesKey>>([
  { images: 'abd' },
  { name: 'pixels' },
  { preprocessing: 'to 64 x 64' },
  { weights: 'sha256 deg' },
])('are computed anew with %j', async (other) => {
  const before = computed
  await cachedFeatures({ ...key, ...other }, 3, compute, signal)
  expect(computed).toBe(before + 1)
})

test('are computed anew where the file is damaged', async () => {
  for (const file of files()) truncateSync(file, statSync(file).size - 4)
  const before = computed
  await cachedFeatures(key, 3, compute, signal)
  await cachedFeatures(key, 3, compute, signal)
  expect(computed).toBe(before + 1)
})

test('of a large set are kept in parts while they are computed: one that is stopped goes on', async () => {
  const count = 1300
  const asked: [number, number][] = []
  const part = async (first: number, end: number): Promise<SetFeatures> => {
    if (first === 1024 && asked.length === 2) throw new Error('stopped')
    asked.push([first, end])
    const of = (dimension: number): Points => ({
      data: Float32Array.from({ length: (end - first) * dimension }, (_, i) => first * dimension + i),
      dimension,
    })
    return { features: of(2), spatial: of(3), logits: undefined }
  }
  const before = files()
  const large = { ...key, images: 'large' }
  await expect(cachedFeatures(large, count, part, signal)).rejects.toThrow('stopped')
  expect([asked.length, files().length - before.length]).toEqual([2, 2])
  // A part that is damaged counts as none.
  const [damaged] = files().filter((file) => file.endsWith('-512.safetensors'))
  truncateSync(damaged, statSync(damaged).size - 4)
  asked.length = 0
  const made = await cachedFeatures(large, count, part, signal)
  expect(asked).toEqual([
    [512, 1024],
    [1024, 1300],
  ])
  expect([made.features.data, made.spatial?.data, made.logits]).toEqual([
    Float32Array.from({ length: 2600 }, (_, i) => i),
    Float32Array.from({ length: 3900 }, (_, i) => i),
    undefined,
  ])
  // All in one file, and no parts.
  expect(files().filter((file) => !before.includes(file))).toEqual([
    expect.stringMatching(/[0-9a-f]{64}\.safetensors$/),
  ])
  expect(await cachedFeatures(large, count, part, signal)).toEqual(made)
  expect(asked.length).toBe(2)
})

test('are what was computed where nothing can be kept', async () => {
  mkdirSync(at('other/tweedie'), { recursive: true })
  writeFileSync(at('other/tweedie/features-1'), 'a file in the way')
  process.env.XDG_CACHE_HOME = at('other')
  const said = vi.spyOn(console, 'error').mockImplementation(() => {})
  expect(await cachedFeatures(key, 3, compute, signal)).toEqual(points)
  expect(said).toHaveBeenCalledWith(expect.stringContaining('not kept'))
  said.mockRestore()
})
