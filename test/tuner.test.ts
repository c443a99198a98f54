/** Kernels are chosen by measurement, remembered for the adapter, and whichever is chosen computes the same. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { attention, conv2d, Device, type Tensor } from '../src/tensor/index.ts'
import { hashText, type Remembered } from '../src/tensor/remembered.ts'
import { race } from '../src/tensor/webgpu/tuner.ts'
import { expectClose, numbers } from './op.ts'

let cache = ''
const usual = process.env.XDG_CACHE_HOME

beforeAll(async () => {
  cache = await mkdtemp(join(tmpdir(), 'tweedie-cache-'))
  process.env.XDG_CACHE_HOME = cache
  // Mesa's compiled kernels would lie there, too, and none from before.
  process.env.MESA_SHADER_CACHE_DIR ??= usual ?? join(homedir(), '.cache')
})

afterAll(async () => {
  if (usual === undefined) delete process.env.XDG_CACHE_HOME
  else process.env.XDG_CACHE_HOME = usual
  await rm(cache, { recursive: true })
})

const key = 'conv2d 8>16 3x3/1 9x9x2'
const { version: dawn } = createRequire(import.meta.url)('webgpu/package.json') as { version: string }
const file = (): string => join(cache, 'tweedie', 'kernels-2.json')
const cached = async (): Promise<{ [identity: string]: Remembered }> =>
  JSON.parse(await readFile(file(), 'utf8')) as { [identity: string]: Remembered }

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
  expect([...choicesOf(device).keys()]).toEqual([key])
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
  expect(await readdir(folder)).toEqual(['kernels-2.json'])
  const [[identity, { winners }]] = Object.entries(await cached())
  expect(identity).toContain(`| webgpu ${dawn} |`)
  expect(winners).toEqual(device.winners)
  expect(later.winners).toEqual(device.winners)
  expect(winners[key]).toEqual({ variant: device.kernels.get(key), text: expect.stringMatching(/^[0-9a-f]{16}$/) })
})

test('what is set is used: another kernel, the same numbers', async () => {
  using device = await Device.request({ backend: 'webgpu' })
  const { run, free } = await convolved(device)
  device.kernels.clear()
  using usual = run()
  device.kernels.set(key, 'tile 32x32')
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

test('without a clock of the GPU recorded runs are timed; an op of one input has no weights', async () => {
  const capabilities = { software: false, subgroupSize: 0, timestamps: false }
  using device = await Device.request({ backend: 'webgpu', capabilities })
  using qkv = device.tensor(numbers(24 * 100, 1), [1, 24, 100])
  const alive = device.stats.liveBuffers
  const record = vi.spyOn(device.backend, 'record')
  await device.tune(() => attention(qkv, { heads: 1, newOrder: true }).dispose())
  expect([...choicesOf(device).keys()]).toEqual(['attention 1x8x100x1'])
  // Whole, and in two parts.
  expect(record).toHaveBeenCalledTimes(2)
  expect(device.stats.liveBuffers).toBe(alive)
})

test('where the text of a kernel has changed the usual one is taken, and all are measured anew', async () => {
  const folder = join(cache, 'tweedie')
  await rm(folder, { recursive: true, force: true })
  const change = async (text?: string): Promise<void> => {
    const [[identity, { winners }]] = Object.entries(await cached())
    const other = { [key]: { variant: 'tile 32x32', text: text ?? winners[key].text } }
    await writeFile(file(), JSON.stringify({ [identity]: { winners: other } }))
  }
  {
    using device = await Device.request({ backend: 'webgpu' })
    const { run, free } = await convolved(device)
    await device.tune(() => void run())
    free()
  }
  for (const [text, expected] of [
    [undefined, 'tile 32x32'],
    ['0123456789abcdef', undefined],
  ] as const) {
    await change(text)
    using device = await Device.request({ backend: 'webgpu' })
    const { run, free } = await convolved(device)
    device.scope(() => void run())
    expect(device.kernels.get(key)).toBe(expected)
    const again = counting()
    await device.tune(() => void run(), { onProgress: again.count })
    expect(again.calls, 'told of the beginning, and of a shape').toBe(expected ? 1 : 2)
    free()
  }
})

test('others, and claimed capabilities are measured by themselves; nonsense in the file is passed over', async () => {
  await writeFile(
    file(),
    JSON.stringify({ 'another | adapter': { winners: { [key]: { variant: 'register', text: '' } } } }),
  )
  using device = await Device.request({ backend: 'webgpu' })
  expect(device.kernels.size).toBe(0)
  const { run, free } = await convolved(device)
  await device.tune(() => void run())
  free()
  expect(Object.keys(await cached())).toEqual(['another | adapter', expect.any(String)])
  using claimed = await Device.request({ backend: 'webgpu', capabilities: { software: false } })
  expect(claimed.kernels.size).toBe(0)
  for (const nonsense of [
    '[]',
    '{',
    'null',
    JSON.stringify({ [Object.keys(await cached())[1]]: { winners: { a: 1, b: {} } } }),
  ]) {
    await writeFile(file(), nonsense)
    using other = await Device.request({ backend: 'webgpu' })
    expect(other.kernels.size).toBe(0)
  }
})

describe('a race', () => {
  /** Times by candidate, in the order in which they are taken; the last goes on. */
  const scripted = (times: { readonly [candidate: string]: readonly number[] }) => {
    const runs: string[] = []
    const sample = (name: string): Promise<number> => {
      const nth = runs.filter((run) => run === name).length
      runs.push(name)
      return Promise.resolve(times[name][Math.min(nth, times[name].length - 1)])
    }
    return { runs, sample }
  }
  const count = (runs: string[], name: string): number => runs.filter((run) => run === name).length

  test('all run three times in turn, the best third and the usual nine times more', async () => {
    const { runs, sample } = scripted({ a: [10], b: [8], c: [9], d: [7], e: [12], usual: [11] })
    expect(await race(['a', 'b', 'c', 'd', 'e', 'usual'], 'usual', sample)).toBe('d')
    expect(runs.slice(0, 12)).toEqual(['a', 'b', 'c', 'd', 'e', 'usual', 'a', 'b', 'c', 'd', 'e', 'usual'])
    expect(['a', 'b', 'c', 'd', 'e', 'usual'].map((name) => count(runs, name))).toEqual([3, 12, 3, 12, 3, 12])
  })
  test('who takes more than twice as long as the fastest runs once', async () => {
    const { runs, sample } = scripted({ a: [21], b: [20], c: [10], d: [11], usual: [30] })
    expect(await race(['a', 'b', 'c', 'd', 'usual'], 'usual', sample)).toBe('c')
    expect(['a', 'b', 'c', 'd', 'usual'].map((name) => count(runs, name))).toEqual([1, 3, 12, 12, 2])
  })
  test('the usual one stays unless it is beaten by 3 %', async () => {
    expect(await race(['usual', 'b'], 'usual', scripted({ usual: [10], b: [9.71] }).sample)).toBe('usual')
    expect(await race(['usual', 'b'], 'usual', scripted({ usual: [10], b: [9.69] }).sample)).toBe('b')
  })
  test('one slow sample decides nothing; who was fast once and no more loses', async () => {
    const { sample } = scripted({ usual: [10], b: [8, 100, 8, 8, 100, 8, 100, 8, 8, 100, 8, 8], c: [5, 5, 5, 12] })
    expect(
      await race(['usual', 'b', 'c', 'd', 'e', 'f'], 'usual', (name) => sample('def'.includes(name) ? 'usual' : name)),
    ).toBe('b')
  })
  test('a usual one that leads alone is not run again', async () => {
    const { runs, sample } = scripted({ usual: [1], b: [2], c: [2] })
    expect(await race(['usual', 'b', 'c'], 'usual', sample)).toBe('usual')
    expect(runs.length).toBe(9)
  })
})

test('a hash tells texts apart, and where one ends and the next begins', () => {
  const hashes = [[], [''], ['a'], ['b'], ['a', 'b'], ['ab'], ['a', ''], ['', 'a']].map(hashText)
  expect(new Set(hashes).size).toBe(hashes.length)
  expect(hashText(['a kernel'])).toBe(hashText(['a kernel']))
})

function counting(): { calls: number; count: () => void } {
  const counter = { calls: 0, count: () => void counter.calls++ }
  return counter
}
