/** The CPU backend without a worker: on the calling thread, with the bits of threads. */
import { afterEach, expect, test, vi } from 'vitest'
import * as platform from '../../src/platform/index.node.ts'
import { hasWorkers } from '../../src/platform/workers.ts'
import { Device, matmul, softmax, type Tensor } from '../../src/tensor/index.ts'
import { expectSameBits, numbers } from '../op.ts'

vi.mock(import('../../src/platform/index.node.ts'), async (original) => {
  const real = await original()
  return { ...real, hasWorkers: vi.fn(() => true), startWorker: vi.fn(real.startWorker) }
})

afterEach(() => {
  vi.clearAllMocks()
  vi.unstubAllGlobals()
})

const name = /^CPU, no threads, (relaxed )?SIMD$/

/** Some 200 batches of kernels, which grow the memory too. */
function work(device: Device): Tensor {
  return device.scope(() => {
    let x: Tensor = device.tensor(numbers(2 ** 18, 1), [512, 512])
    const w = device.tensor(numbers(2 ** 18, 2), [512, 512])
    for (let i = 0; i < 100; i++) x = softmax(matmul(x, w))
    return x
  })
}

test('computes the bits of two threads, and starts none', async () => {
  using here = await Device.request({ backend: 'cpu', threads: 0 })
  expect(here.adapter.name).toMatch(name)
  using found = work(here)
  expectSameBits((await found.read()) as Float32Array, await threaded(), 'without a worker')
  expect(platform.startWorker).toHaveBeenCalledTimes(2)
})

async function threaded(): Promise<Float32Array> {
  using device = await Device.request({ backend: 'cpu', threads: 2 })
  using y = work(device)
  return (await y.read()) as Float32Array
}

test('a device that is disposed in the middle tells who waits, and computes no more', async () => {
  const device = await Device.request({ backend: 'cpu', threads: 0 })
  const waiting = work(device).read()
  device.dispose()
  await expect(waiting).rejects.toMatchObject({ name: 'TweedieError', code: 'disposed' })
})

test('is what there is in a scope that has no workers, whatever is asked for', async () => {
  vi.mocked(platform.hasWorkers).mockReturnValue(false)
  for (const request of [{}, { threads: 4 }]) {
    using device = await Device.request({ backend: 'cpu', ...request })
    expect(device.adapter.name).toMatch(name)
  }
  expect(platform.startWorker).not.toHaveBeenCalled()
})

test('is the default in a worker of Firefox, where others are started if they are asked for', async () => {
  vi.mocked(platform.hasWorkers).mockImplementation((asked) => asked)
  using device = await Device.request({ backend: 'cpu' })
  expect(device.adapter.name).toMatch(name)
  using asked = await Device.request({ backend: 'cpu', threads: 2 })
  expect(asked.adapter.name).toMatch(/^CPU, 2 threads/)

  const engine = (userAgent: string): void => void vi.stubGlobal('navigator', { userAgent })
  vi.stubGlobal('Worker', class {})
  engine('Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0')
  expect(hasWorkers(false), 'in a page of Firefox').toBe(true)
  vi.stubGlobal('WorkerGlobalScope', class {})
  expect([hasWorkers(false), hasWorkers(true)], 'in a worker of Firefox').toEqual([false, true])
  engine('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/145.0.0.0 Safari/537.36')
  expect(hasWorkers(false), 'in a worker of Chromium').toBe(true)
})
