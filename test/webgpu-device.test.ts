/** The WebGPU backend's own: borrowed devices, waiting, and what goes wrong on a GPU. */
import { afterEach, describe, expect, test, vi } from 'vitest'
import * as t from '../src/tensor/index.ts'
import type { BackendStats } from '../src/tensor/index.ts'
import { WebGPUBackend } from '../src/tensor/webgpu/backend.ts'
import { capabilitiesOf } from '../src/tensor/webgpu/capabilities.ts'
import { launches } from '../src/tensor/webgpu/launches/index.ts'
import { requestGPU, waitFor } from '../src/platform/index.node.ts'
import { waitFor as waitInPage } from '../src/platform/gpu.ts'
import { BufferPool } from '../src/tensor/webgpu/buffers.ts'
import { numbers, requestDevice, testDevice } from './op.ts'

const { add, Device, full, mul, silu, square, sum } = t

afterEach(() => void vi.restoreAllMocks())

/** A GPUDevice of the caller's own. */
async function ownGpu(): Promise<GPUDevice> {
  const adapter = await (await requestGPU()).requestAdapter()
  if (!adapter) throw new Error('no adapter')
  return adapter.requestDevice()
}

const testAdapter = { vendor: '', architecture: '', name: 'a test', software: true }

/** Runs `f` with a device of its own, and fails if it leaves a buffer behind. */
async function fresh(f: (device: t.Device) => Promise<void>): Promise<void> {
  using device = await requestDevice('webgpu')
  await f(device)
  expect(device.stats.liveBuffers, 'buffers alive afterwards').toBe(0)
}

const code = (error: string, message?: RegExp): object =>
  expect.objectContaining({
    name: 'TweedieError',
    code: error,
    ...(message ? { message: expect.stringMatching(message) } : {}),
  })

function thrown(f: () => unknown): unknown {
  try {
    f()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

describe('waiting in a page', () => {
  const finished = (): { promise: Promise<string>; nudge: () => void; nudges: () => number } => {
    let nudges = 0
    let finish = (_: string): void => {}
    const promise = new Promise<string>((resolve) => (finish = resolve))
    return { promise, nudge: () => ++nudges === 3 && finish('done'), nudges: () => nudges }
  }
  afterEach(() => void vi.unstubAllGlobals())
  test('Firefox is nudged until the GPU has finished, and no longer', async () => {
    vi.stubGlobal('navigator', { userAgent: 'Mozilla/5.0 (Windows NT 10.0; rv:153.0) Gecko/20100101 Firefox/153.0' })
    const { promise, nudge, nudges } = finished()
    expect(await waitInPage(promise, nudge)).toBe('done')
    await expect(waitInPage(Promise.reject(new Error('lost')), nudge)).rejects.toThrow('lost')
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(nudges()).toBe(3)
  })
  test('others are not', async () => {
    vi.stubGlobal('navigator', { userAgent: 'Mozilla/5.0 (X11; Linux x86_64) Chrome/150.0.0.0 Safari/537.36' })
    const { promise, nudge, nudges } = finished()
    const later = new Promise((resolve) => setTimeout(resolve, 30, 'later'))
    expect(await Promise.race([waitInPage(promise, nudge), later])).toBe('later')
    expect(nudges()).toBe(0)
  })
  test('to read and to flush is to wait with a nudge that submits nothing', async () => {
    const gpuDevice = await ownGpu()
    let nudged = 0
    const submit = vi.spyOn(gpuDevice.queue, 'submit')
    const backend = new WebGPUBackend(
      gpuDevice,
      { ...testAdapter, maxBufferBytes: 2 ** 20, maxBindingBytes: 2 ** 20 },
      capabilitiesOf(gpuDevice, {}, true),
      true,
      (promise, nudge) => {
        if (nudge) {
          nudged++
          nudge()
          expect(submit).toHaveBeenLastCalledWith([])
        }
        return waitFor(promise)
      },
    )
    const storage = backend.allocate(16, () => 'a test')
    backend.write(storage, new Float32Array([1, 2, 3, 4]))
    expect([...new Float32Array(await backend.read(storage, 16))]).toEqual([1, 2, 3, 4])
    await backend.flush()
    expect(nudged).toBe(2)
    backend.dispose()
  })
})

test('a borrowed GPUDevice is used, and not destroyed', async () => {
  const gpuDevice = await ownGpu()
  const device = await Device.request({ gpuDevice })
  {
    using x = device.tensor([1, 2])
    using y = square(x)
    expect([...(await y.read())]).toEqual([1, 4])
  }
  device.dispose()
  const lost = await Promise.race([gpuDevice.lost, new Promise((resolve) => setTimeout(resolve, 20, 'alive'))])
  expect(lost).toBe('alive')
  using again = await Device.request({ gpuDevice })
  using x = again.tensor([3])
  expect([...(await x.read())]).toEqual([3])
  gpuDevice.destroy()
})

describe('waiting', () => {
  test('the JavaScript thread sleeps once in every turn of its loop', () =>
    fresh(async (device) => {
      using x = device.tensor(numbers(512 * 512, 1), [512, 512])
      // The kernel is there before the waiting is watched.
      t.matmul(x, x).dispose()
      await device.flush()
      const sleeping = vi.spyOn(Atomics, 'wait')
      let turns = 0
      let counting = true
      const count = (): void => void (counting && (turns++, setImmediate(count)))
      const start = performance.now()
      device.scope(() => {
        for (let i = 0; i < 8; i++) t.matmul(x, x)
      })
      setImmediate(count)
      await device.flush()
      const elapsed = performance.now() - start
      counting = false
      expect(turns).toBeGreaterThan(2)
      // The first and the last turn may pass without.
      const naps = sleeping.mock.calls.map(([, , , timeout]) => timeout as number)
      expect(naps.length).toBeGreaterThanOrEqual(turns - 2)
      // Whole naps: nobody is woken early, and so they fit into the time that passed.
      expect(sleeping.mock.results.map(({ value }) => value as string)).toEqual(naps.map(() => 'timed-out'))
      expect(naps.reduce((sum, nap) => sum + nap, 0)).toBeLessThanOrEqual(elapsed * 1.1)
      expect(Math.min(...naps)).toBeGreaterThan(0)
    }))
})

describe('a lost device', () => {
  const lost = code('device-lost', /lost.*Request a new device/)
  test('is told to whoever waits, and to every later call', async () => {
    const gpuDevice = await ownGpu()
    const device = await Device.request({ gpuDevice })
    const x = device.tensor(numbers(1000, 1))
    const y = silu(x)
    const waits = [y.read(), device.flush(), x.read()].map((wait) => expect(wait).rejects.toEqual(lost))
    gpuDevice.destroy()
    await Promise.all(waits)
    for (let i = 0; i < 2; i++) {
      expect(thrown(() => square(x))).toEqual(lost)
      expect(thrown(() => device.tensor([1]))).toEqual(lost)
      await expect(device.flush()).rejects.toEqual(lost)
      await expect(x.read()).rejects.toEqual(lost)
    }
    expect(device.stats.liveBuffers).toBe(2)
    x.dispose()
    y.dispose()
    expect(device.stats.liveBuffers).toBe(0)
    device.dispose()
    await expect(device.flush()).rejects.toEqual(code('disposed'))
  })
  test('between two waits, with commands that were not submitted', async () => {
    const gpuDevice = await ownGpu()
    using device = await Device.request({ gpuDevice })
    const x = device.tensor([1, 2])
    await device.flush()
    const y = mul(silu(x), 3)
    gpuDevice.destroy()
    await expect(device.flush()).rejects.toEqual(lost)
    expect(thrown(() => device.scope(() => t.grad(() => square(x), [x])))).toEqual(lost)
    y.dispose()
    x.dispose()
  })
})

describe('a kernel that does not compile', () => {
  test('is named with its op, the shapes and the line, once; the device goes on', () =>
    fresh(async (device) => {
      using x = device.tensor([1, 2, 3], [1, 3])
      const spy = vi.spyOn(launches, 'softmax').mockImplementation((encoder, _, [input], [output]) =>
        encoder.dispatch({
          key: 'broken',
          code: () => '// a comment\nlet it be;\n',
          uniforms: [],
          read: [input],
          write: [output],
          grid: [1, 1, 1],
        }),
      )
      const broken = code(
        'shader-compile',
        /^softmax\(\[1, 3\] → \[1, 3\]\): kernel broken does not compile on this device. Line 2: [\s\S]*let it be;/,
      )
      const y = t.softmax(x)
      const z = square(y)
      // Both waited for the same; both hear of it.
      await Promise.all([expect(z.read()).rejects.toEqual(broken), expect(device.flush()).rejects.toEqual(broken)])
      expect(thrown(() => t.softmax(x))).toEqual(broken)
      y.dispose()
      z.dispose()
      spy.mockRestore()
      using right = t.softmax(x)
      expect((await right.read()).reduce((a, b) => a + b)).toBeCloseTo(1, 6)
      await device.flush()
    }))
  test('nobody waiting, the next op says so', () =>
    fresh(async (device) => {
      using x = device.tensor([1, 2, 3], [1, 3])
      vi.spyOn(launches, 'softmax').mockImplementation((encoder, _, [input], [output]) =>
        encoder.dispatch({
          key: 'broken',
          code: () => 'nonsense',
          uniforms: [],
          read: [input],
          write: [output],
          grid: [1, 1, 1],
        }),
      )
      t.softmax(x).dispose()
      await expect
        .poll(
          () => {
            try {
              square(x).dispose()
              return null
            } catch (error) {
              return error
            }
          },
          { timeout: 10_000 },
        )
        .toEqual(code('shader-compile'))
      await device.flush()
    }))
})

test('what one kernel cannot do', () =>
  fresh(async (device) => {
    using x = device.tensor([1])
    const many = t.expression(9, 0, (inputs) => inputs.reduce((a, b) => t.f.add(a, t.f.mul(b, b))))
    const bindings = (device.backend as WebGPUBackend).gpuDevice.limits.maxStorageBuffersPerShaderStage
    if (bindings < 10)
      expect(thrown(() => t.map(many, Array<t.Tensor>(9).fill(x)))).toEqual(
        code('limit-exceeded', /needs 10 buffers at once/),
      )
    const tall = device.tensor(new Float32Array(70000), [70000, 1, 1])
    expect(thrown(() => t.matmul(tall, tall))).toEqual(
      code('limit-exceeded', /^matmul\(\[70000, 1, 1\], .*needs 1 x 1 x 70000 workgroups, the device allows \d+/),
    )
    tall.dispose()
    expect(device.stats.liveBuffers).toBe(1)
  }))

describe('out of memory', () => {
  /** A device that believes a buffer may be larger than it may: its next one of `huge` bytes fails late, like any. */
  async function hopeful(): Promise<t.Device> {
    const gpuDevice = await ownGpu()
    const { adapter } = await testDevice('webgpu')
    return new Device(
      new WebGPUBackend(
        gpuDevice,
        { ...adapter, maxBufferBytes: 2 ** 40, maxBindingBytes: 2 ** 40 },
        capabilitiesOf(gpuDevice, {}, true),
        true,
        waitFor,
      ),
      adapter,
    )
  }
  const huge = 2 ** 33
  const refused = code(
    'out-of-memory',
    /full\(\) for a tensor \[8589934592\]: the device could not allocate 32768\.0 MiB more\. \d tensors? of 0\.0 MiB in all (is|are) alive\. What is made in device\.scope.* use a smaller batch/,
  )

  test('names op and shape; what was written stays, and the device goes on', async () => {
    using device = await hopeful()
    using x = device.tensor([1, 2])
    await device.flush()
    const y = square(x)
    const big = full(device, [huge], 1)
    x.write([3, 4])
    const z = add(y, 1)
    await Promise.all([expect(z.read()).rejects.toEqual(refused), expect(device.flush()).rejects.toEqual(refused)])
    for (const tensor of [y, big, z]) tensor.dispose()
    // The failure was told; nothing that followed from it is told again.
    await device.flush()
    using again = square(x)
    expect([...(await again.read())]).toEqual([9, 16])
    // The broken buffer is never handed out again.
    const second = full(device, [huge], 2)
    await expect(device.flush()).rejects.toEqual(refused)
    second.dispose()
    expect(device.stats.liveBuffers, 'x and again').toBe(2)
  })
  test('nobody waiting, the next call says so, once', async () => {
    using device = await hopeful()
    full(device, [huge], 1).dispose()
    await expect
      .poll(
        () => {
          try {
            full(device, [1], 1).dispose()
            return null
          } catch (error) {
            return error
          }
        },
        { timeout: 10_000 },
      )
      .toEqual(refused)
    const x = full(device, [1], 5)
    expect([...(await x.read())]).toEqual([5])
    x.dispose()
  })
})

describe('memory that is free', () => {
  const stats = (): BackendStats => ({
    dispatches: 0,
    submits: 0,
    reads: 0,
    objectsCreated: 0,
    liveBuffers: 0,
    liveBytes: 0,
    peakBytes: 0,
    flops: 0,
    bytes: 0,
  })
  const buffer = (): GPUBuffer => ({ destroy: () => {} }) as GPUBuffer

  test('is reused oldest first, by size', () => {
    const pool = new BufferPool(stats(), 1024)
    const [a, b] = [pool.add(256, buffer()), pool.add(256, buffer())]
    expect(pool.take(256)).toBe(null)
    pool.give(b)
    pool.give(a)
    pool.give(a)
    expect(pool.take(512)).toBe(null)
    expect([pool.take(256), pool.take(256), pool.take(256)]).toEqual([a, b, null])
  })
  test('is bounded: the longest free goes first, and what is missed raises the bound', () => {
    const counters = stats()
    const pool = new BufferPool(counters, 1024)
    const made = [256, 512, 768].map((size) => pool.add(size, buffer()))
    for (const storage of made) pool.give(storage)
    // 1536 bytes free; at most max(1024, 1536 / 2).
    expect(pool.excess()).toEqual(made.slice(0, 2))
    expect(pool.excess()).toEqual([])
    pool.give(pool.add(512, buffer()))
    pool.give(pool.add(256, buffer()))
    expect(pool.excess(), '1024 + 768 may be free by now').toEqual([])
    expect(pool.trim()).toHaveLength(3)
    expect(counters).toMatchObject({ liveBuffers: 0, liveBytes: 0, peakBytes: 1536 })
  })
  test('goes when other sizes are asked for, after the commands that use it', () =>
    fresh(async (device) => {
      const destroyed: number[] = []
      const { gpuDevice } = device.backend as WebGPUBackend
      const create = gpuDevice.createBuffer.bind(gpuDevice)
      vi.spyOn(gpuDevice, 'createBuffer').mockImplementation((descriptor) => {
        const made = create(descriptor)
        const destroy = made.destroy.bind(made)
        made.destroy = () => {
          destroyed.push(descriptor.size)
          return destroy()
        }
        return made
      })
      using small = full(device, [1], 1)
      const sizes = [1, 2, 3, 4].map((i) => 25_000_000 + 64 * i)
      const sums = sizes.map((n) => device.scope(() => sum(t.broadcastTo(small, [n]))))
      expect(destroyed, 'nothing was submitted yet').toEqual([])
      await device.flush()
      // 400 MB were asked for one after another, of which 256 MiB may stay.
      expect(destroyed).toEqual([4 * sizes[0]])
      // f32 counts to 2^24 exactly in each of the 64 lanes that share a sum.
      for (const [i, y] of sums.entries()) expect((await y.read())[0]).toBe(sizes[i])
      for (const y of sums) y.dispose()
    }))
})
