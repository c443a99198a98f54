/** GPU time: by its own clock where it has one, by the wall's elsewhere. Clocks are played where numbers count. */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Device, matmul } from '../src/tensor/index.ts'
import type { WebGPUBackend } from '../src/tensor/webgpu/backend.ts'
import { GPUTimer, readStamps, type Timed } from '../src/tensor/webgpu/timer.ts'
import { numbers } from './op.ts'

afterEach(() => void vi.restoreAllMocks())

const stamps = (...ns: number[]): BigUint64Array => BigUint64Array.from(ns, BigInt)

describe('what stamps say', () => {
  test('the time between the ends of passes, without what lies between them', () => {
    expect(readStamps(stamps(1_000, 3_500, 10_000, 11_500))?.ms).toBeCloseTo(0.004, 12)
  })
  test('long enough are 20 steps of the clock, more for more passes, or 5 ms', () => {
    const dawn = 65_536
    expect(readStamps(stamps(0, 19 * dawn))?.enough).toBe(false)
    expect(readStamps(stamps(0, 20 * dawn))?.enough).toBe(true)
    expect(readStamps(stamps(0, 10 * dawn, 20 * dawn, 31 * dawn))?.enough).toBe(false)
    expect(readStamps(stamps(0, 10 * dawn, 20 * dawn, 39 * dawn))?.enough).toBe(true)
    expect(readStamps(stamps(0, 1_900_000))?.enough).toBe(false)
    expect(readStamps(stamps(0, 2_000_000))?.enough).toBe(true)
    // A clock without coarse steps.
    expect(readStamps(stamps(7, 20_006))?.enough).toBe(false)
    expect(readStamps(stamps(7, 20_007))?.enough).toBe(true)
    const many = Array.from({ length: 200 }, (_, i) => i * dawn)
    expect(readStamps(stamps(...many))?.enough, '100 passes of one step').toBe(true)
  })
  test('nothing, where the clock stands or runs backwards', () => {
    expect(readStamps(stamps(0, 0, 0, 0))).toBe(null)
    expect(readStamps(stamps(10, 20, 40, 30))).toBe(null)
  })
})

/** A GPU whose kernels take `ms`, an empty one 0.25, and a wait half a millisecond more. */
function played(ms: number): Timed & { idles: number } {
  let clock = 0
  let pending = 0
  vi.spyOn(performance, 'now').mockImplementation(() => clock)
  return {
    gpuDevice: {} as GPUDevice,
    capabilities: { timestamps: false },
    waitFor: (promise) => promise,
    onPass: null,
    idles: 0,
    idle() {
      this.idles++
      pending += 0.25
    },
    flush: () => {
      clock += pending > 0 ? pending + 0.5 : 0
      pending = 0
      return Promise.resolve()
    },
    run: () => void (pending += ms),
  } as Timed & { idles: number; run: () => void }
}

test('by the wall clock, less an empty kernel: repeats until 20 ms', async () => {
  const backend = played(1.5) as ReturnType<typeof played> & { run: () => void }
  const timer = new GPUTimer(backend)
  expect(timer.clock).toBe('wall')
  const runs: number[] = []
  const repeats = await timer.repeatsFor((i) => {
    runs.push(i)
    backend.run()
  })
  // 16 runs take 24.5 ms less 0.75, 8 only 12.
  expect(repeats).toBe(16)
  expect(runs.slice(-16)).toEqual([...Array(16).keys()])
  expect((await timer.sample(backend.run, 16)).ms).toBeCloseTo((24 + 0.5 - 0.75) / 16, 12)
  expect(backend.idles).toBe(6)
})

describe('on a device', () => {
  const backendOf = (device: Device): WebGPUBackend => device.backend as WebGPUBackend

  test('every pass is timed, and none after it; the memory of queries goes', async () => {
    using device = await Device.request({ backend: 'webgpu' })
    using x = device.tensor(numbers(256 * 256, 1), [256, 256])
    using copy = device.tensor(numbers(256 * 256, 2), [256, 256])
    const backend = backendOf(device)
    using timer = new GPUTimer(backend)
    expect(timer.clock).toBe(backend.capabilities.timestamps ? 'gpu' : 'wall')
    // A copy parts the passes.
    const { ms } = await timer.sample(() => {
      matmul(x, x).dispose()
      backend.copy(x.storage, copy.storage, x.storage.bytes)
      matmul(x, x).dispose()
    }, 20)
    expect(ms).toBeGreaterThan(0)
    expect(backend.onPass).toBe(null)
    expect(await timer.repeatsFor(() => matmul(x, x).dispose())).toBeGreaterThan(0)
    expect([...(await copy.read())]).toEqual([...(await x.read())])
  })

  test('a clock that stands still is not asked again', async () => {
    using device = await Device.request({ backend: 'webgpu' })
    const backend = backendOf(device)
    using x = device.tensor(numbers(64 * 64, 1), [64, 64])
    using timer = new GPUTimer(backend)
    const { gpuDevice } = backend
    const create = gpuDevice.createCommandEncoder.bind(gpuDevice)
    vi.spyOn(gpuDevice, 'createCommandEncoder').mockImplementation((descriptor) => {
      const encoder = create(descriptor)
      // What was never resolved is zero.
      encoder.resolveQuerySet = () => undefined
      return encoder
    })
    expect((await timer.sample(() => matmul(x, x).dispose(), 4)).ms).toBeGreaterThanOrEqual(0)
    expect(timer.clock).toBe('wall')
  })

  test('without the feature the wall clock is read', async () => {
    using device = await Device.request({ backend: 'webgpu', capabilities: { timestamps: false } })
    using x = device.tensor(numbers(64 * 64, 1), [64, 64])
    using timer = new GPUTimer(backendOf(device))
    expect(timer.clock).toBe('wall')
    expect((await timer.sample(() => matmul(x, x).dispose(), 4)).ms).toBeGreaterThanOrEqual(0)
  })
})
