/** What a model may take of a phone's memory, asked before its weights are read. */
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { memoryBudget } from '../src/platform/machine.ts'
import { Device } from '../src/tensor/index.ts'
import { Tweedie } from '../src/tweedie/index.node.ts'
import type { TweedieOptions } from '../src/tweedie/load.ts'
import { weights } from './cli.ts'

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

const MiB = 2 ** 20
const cpu = { backend: 'cpu', threads: 1, distance: 'l2' } as const

async function batchFor(options: TweedieOptions, model: 'bccd32' | Uint8Array = readFileSync(weights)) {
  using loaded = await Tweedie.load(model, { ...cpu, ...options })
  return loaded.batch
}

test('less memory, a smaller batch; with less than one picture takes nothing is read', async () => {
  expect(await batchFor({})).toBe(8)
  const batches = new Map<number, number>()
  for (let budget = 256; budget >= 32; budget -= 16) {
    const batch = await batchFor({ memoryBudget: budget * MiB }).catch(() => 0)
    if (!batches.has(batch)) batches.set(batch, budget)
  }
  expect([...batches.keys()]).toEqual([8, 4, 2, 1, 0])

  const onProgress = vi.fn()
  const request = vi.spyOn(Device, 'request')
  await expect(batchFor({ memoryBudget: 20 * MiB, onProgress })).rejects.toMatchObject({
    code: 'out-of-memory',
    message: expect.stringMatching(/takes \d+ MiB for a picture.*and 20 MiB are what it may take.*memoryBudget/),
  })
  expect(onProgress).not.toHaveBeenCalled()
  expect(request, 'nor is a device asked for').not.toHaveBeenCalled()
})

test('a batch that is asked for is not made smaller, on a device of the caller either', async () => {
  const budget = 160 * MiB
  expect(await batchFor({ memoryBudget: budget, batch: 1 })).toBe(1)
  const refused = { code: 'out-of-memory', message: expect.stringMatching(/for 64 pictures at a time/) }
  await expect(batchFor({ memoryBudget: budget, batch: 64 })).rejects.toMatchObject(refused)
  using device = await Device.request({ backend: 'cpu', threads: 1 })
  await expect(batchFor({ memoryBudget: budget, batch: 64, device })).rejects.toMatchObject(refused)
  expect(device.stats.liveBuffers).toBe(0)
})

test('what was computed keeps within it', async () => {
  const memories: WebAssembly.Memory[] = []
  class Memory extends WebAssembly.Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor)
      memories.push(this)
    }
  }
  vi.stubGlobal('WebAssembly', Object.create(WebAssembly, { Memory: { value: Memory } }))
  // The smallest budget that it is loaded under is more than what it takes in the end.
  for (let budget = 64; ; budget += 8) {
    const loaded = await Tweedie.load('bccd32', {
      backend: 'cpu',
      threads: 1,
      batch: 2,
      memoryBudget: budget * MiB,
    }).catch(() => null)
    if (!loaded) continue
    using tight = loaded
    for await (const _ of tight.sample({ number: 2, steps: 2, method: 'self-guided', selfGuidance: { every: 1 } }));
    expect(memories.at(-1)!.buffer.byteLength).toBeLessThan(budget * MiB)
    break
  }
})

describe('by default', () => {
  test.each([
    ['a desk', { userAgent: 'Mozilla/5.0 (X11; Linux x86_64) Chrome/150', deviceMemory: 4 }, Infinity],
    ['a Mac', { userAgent: 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari', maxTouchPoints: 0 }, Infinity],
    ['an iPhone', { userAgent: 'Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X)', maxTouchPoints: 5 }, 1024],
    ['an iPad', { userAgent: 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari', maxTouchPoints: 5 }, 1024],
    ['a phone with 8 GB', { userAgent: 'Mozilla/5.0 (Linux; Android 16) Chrome/150', deviceMemory: 8 }, 1024],
    ['a phone with 2 GB', { userAgent: 'Mozilla/5.0 (Linux; Android 10) Chrome/150', deviceMemory: 2 }, 512],
    ['Firefox on Android', { userAgent: 'Mozilla/5.0 (Android 15; Mobile; rv:147.0)' }, 1024],
    ['a host without a navigator', undefined, Infinity],
  ])('%s', (_, navigator, expected) => {
    vi.stubGlobal('navigator', navigator)
    expect(memoryBudget()).toBe(expected * MiB)
  })
})
