/** Kernels are chosen by measurement, remembered for the adapter, and whichever is chosen computes the same. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { conv2d, Device, type Tensor } from '../src/tensor/index.ts'
import { expectClose, numbers } from './op.ts'

let cache = ''
const usual = process.env.XDG_CACHE_HOME

beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), 'tweedie-cache-'))
  process.env.XDG_CACHE_HOME = cache
})

afterAll(async () => {
  if (usual === undefined) delete process.env.XDG_CACHE_HOME
  else process.env.XDG_CACHE_HOME = usual
  await rm(cache, { recursive: true })
})

const choicesOf = (device: Device): Map<string, string> => device.kernels

async function convolved(device: Device): Promise<{ run: () => Tensor; free: () => void }> {
  const x = device.tensor(numbers(2 * 8 * 9 * 9, 1), [2, 8, 9, 9])
  const weight = device.tensor(numbers(16 * 8 * 9, 2), [16, 8, 3, 3])
  return { run: () => conv2d(x, weight, { padding: 1 }), free: () => [x, weight].forEach((t) => t.dispose()) }
}

test('measures every candidate once, remembers the choice, leaves nothing behind', async () => {
  using device = await Device.request({ backend: 'webgpu' })
  const { run, free } = await convolved(device)
  using before = run()
  const alive = device.stats.liveBuffers
  const progress: [number, number][] = []
  await device.tune(() => void run(), { onProgress: (done, total) => progress.push([done, total]) })
  expect(progress).toEqual([
    [0, 1],
    [1, 1],
  ])
  expect(device.stats.liveBuffers).toBe(alive)
  expect([...choicesOf(device).keys()]).toEqual([expect.stringContaining('conv2d 8>16 3x3')])
  using after = run()
  // Another kernel may add the 72 products in another order.
  expectClose(await after.read(), await before.read(), 72 * 6e-8, 'after tuning')
  const again = counting()
  await device.tune(() => void run(), { onProgress: again.count })
  expect(again.calls).toBe(1)
  free()

  using later = await Device.request({ backend: 'webgpu' })
  expect(choicesOf(later)).toEqual(choicesOf(device))
  const folder = join(cache, 'tweedie')
  expect(await readdir(folder)).toEqual(['kernels-1.json'])
  expect(JSON.parse(await readFile(join(folder, 'kernels-1.json'), 'utf8'))).toBeTypeOf('object')
})

test('what is set is used: another kernel, the same numbers', async () => {
  using device = await Device.request({ backend: 'webgpu' })
  const { run, free } = await convolved(device)
  device.kernels.clear()
  using usual = run()
  device.kernels.set('conv2d 8>16 3x3/1 9x9x2', 'tile 32x32')
  const before = device.stats.objectsCreated
  using tiled = run()
  expect(device.stats.objectsCreated, 'a pipeline was made').toBeGreaterThan(before)
  expectClose(await tiled.read(), await usual.read(), 72 * 6e-8, 'tile 32x32')
  free()
})

test('an abort leaves the shape unmeasured and the memory free', async () => {
  await rm(join(cache, 'tweedie'), { recursive: true })
  using device = await Device.request({ backend: 'webgpu' })
  const { run, free } = await convolved(device)
  const alive = device.stats.liveBuffers
  const reason = new Error('enough')
  const controller = new AbortController()
  await expect(
    device.tune(() => void run(), { signal: controller.signal, onProgress: () => controller.abort(reason) }),
  ).rejects.toBe(reason)
  expect(choicesOf(device).size).toBe(0)
  expect(device.stats.liveBuffers).toBe(alive)
  free()
})

function counting(): { calls: number; count: () => void } {
  const counter = { calls: 0, count: () => void counter.calls++ }
  return counter
}
