/**
 * What can go wrong with the CPU backend, each made to happen: worker threads that die, a kernel that traps,
 * memory that is refused, an engine without shared memory or SIMD. Every one is a typed error for whoever waits
 * and for every later call.
 */
import type { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { GaussianDiffusion, GeneratedNoise, sampleLoop } from '../src/diffusion/index.ts'
import * as t from '../src/tensor/index.ts'
import { expectSameBits, numbers } from './op.ts'
import { kernelsModule } from '../src/tensor/cpu/module.ts'
import { toPlainSimd } from '../src/tensor/cpu/plain-simd.ts'
import {
  growCommand,
  job,
  type LeaderMessage,
  type StartMessage,
  type WorkerReply,
} from '../src/tensor/cpu/protocol.ts'
import { work as runWorker } from '../src/tensor/cpu/worker.ts'
import { modelA } from './spec-models.ts'

const { Device, mul, permute, square } = t

const code = (name: string, message = /./): unknown =>
  expect.objectContaining({ name: 'TweedieError', code: name, message: expect.stringMatching(message) })

function thrown(f: () => unknown): unknown {
  try {
    return f()
  } catch (error) {
    return error
  }
}

const kernels = await kernelsModule()

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
})

/** A device and its threads, the leader first. */
async function withWorkers(threads: number): Promise<{ device: t.Device; workers: Worker[] }> {
  const workers: Worker[] = []
  const listen = (worker: Worker): void => void workers.push(worker)
  process.on('worker', listen)
  const device = await Device.request({ backend: 'cpu', threads })
  process.off('worker', listen)
  expect(workers).toHaveLength(threads)
  return { device, workers }
}

/** Work of some tenths of a second: 200 passes over `x`. */
function work(device: t.Device, x: t.Tensor): t.Tensor {
  return device.scope(() => {
    let y: t.Tensor = x
    for (let i = 0; i < 200; i++) y = mul(y, 1.0001)
    return y
  })
}

/** All that waits on a dead device, and all that comes after, gets `error`. */
async function expectDead(
  device: t.Device,
  x: t.Tensor,
  waits: readonly Promise<unknown>[],
  error: unknown,
): Promise<void> {
  for (const wait of waits) await expect(wait).rejects.toEqual(error)
  for (let i = 0; i < 2; i++) {
    expect(thrown(() => square(x))).toEqual(error)
    expect(thrown(() => device.tensor([1]))).toEqual(error)
    expect(thrown(() => x.write(new Float32Array(x.size)))).toEqual(error)
    await expect(device.flush()).rejects.toEqual(error)
    await expect(x.read()).rejects.toEqual(error)
  }
  device.dispose()
  await expect(device.flush()).rejects.toEqual(code('disposed'))
  expect(device.stats.liveBuffers).toBe(0)
}

describe('a thread that dies', () => {
  for (const [who, thread] of [
    ['the leader', 0],
    ['a helper', 1],
  ] as const) {
    test(`${who}, in the middle of work`, async () => {
      const { device, workers } = await withWorkers(2)
      const x = device.tensor(numbers(1 << 20, 1))
      await device.flush()
      const y = work(device, x)
      const waits = [y.read(), device.flush()]
      void workers[thread].terminate()
      await expectDead(device, x, waits, code('device-lost', /worker thread .* ended.*request a new device/i))
    })
    test(`${who}, while nothing is done`, async () => {
      const { device, workers } = await withWorkers(2)
      const x = device.tensor([1, 2])
      await device.flush()
      await workers[thread].terminate()
      await expectDead(device, x, [], code('device-lost'))
    })
  }
  test('another device does not notice', async () => {
    const { device, workers } = await withWorkers(2)
    using other = await Device.request({ backend: 'cpu', threads: 2 })
    using x = other.tensor([1, 2, 3])
    work(device, device.tensor(numbers(1 << 20, 1)))
    const lost = device.flush()
    void workers[0].terminate()
    await expect(lost).rejects.toEqual(code('device-lost'))
    using y = square(x)
    expect([...(await y.read())]).toEqual([1, 4, 9])
    device.dispose()
  })
})

describe('a kernel that traps', () => {
  for (const [size, where] of [
    [16, 'alone'],
    [1 << 20, 'on any thread'],
  ] as const) {
    test(`is named with its shapes: ${where}`, async () => {
      const device = await Device.request({ backend: 'cpu', threads: 3 })
      const x = device.tensor(new Float32Array(size), [size / 4, 4])
      const y = square(x)
      await device.flush()
      // Where no memory is.
      const storage = x.storage as { address: number } & t.Storage
      storage.address = 0xfff00000
      const bad = permute(x, [1, 0])
      storage.address = 0
      const after = square(y)
      const waits = [after.read(), bad.read(), device.flush()]
      await expectDead(
        device,
        y,
        waits,
        code(
          'device-error',
          new RegExp(`permute\\(\\[${size / 4}, 4\\] → \\[4, ${size / 4}\\]\\) failed on the CPU backend`),
        ),
      )
    })
  }
  test('after more ops than the backend keeps names of', async () => {
    const device = await Device.request({ backend: 'cpu', threads: 1 })
    const x = device.tensor([1, 2])
    const y = device.tensor([0, 0])
    for (let i = 0; i < 25_000; i++) y.assign(x)
    const storage = x.storage as { address: number } & t.Storage
    storage.address = 0xfff00000
    device.scope(() => void t.pad(x, [1], [0]))
    await expect(device.flush()).rejects.toEqual(code('device-error', /pad\(\[2\] → \[3\]\) failed/))
    device.dispose()
  })
})

describe('memory', () => {
  test('more than 4 GiB is limit-exceeded, names the op, and the device goes on', async () => {
    using device = await Device.request({ backend: 'cpu', threads: 1 })
    using x = device.tensor(numbers(1024, 1), [1024, 1])
    const before = { ...device.stats }
    using wide = device.tensor(numbers(1_250_000, 2), [1, 1_250_000])
    expect(thrown(() => mul(x, wide))).toEqual(
      code(
        'limit-exceeded',
        /mul\(\[1024, 1\], \[1, 1250000\]\) for a tensor \[1024, 1250000\] needs 4882\.8 MiB more, but .* 4096\.0 MiB in all\. 2 tensors of 4\.8 MiB in all are alive\. What is made in device\.scope.*, or a GPU/,
      ),
    )
    await expect(Device.request({ backend: 'cpu', need: { bytes: 5 * 2 ** 30, largestBuffer: 1 } })).rejects.toEqual(
      code('limit-exceeded', /5120.0 MiB.*4096.0 MiB/),
    )
    using y = mul(x, 2)
    expect((await y.read())[0]).toBe(2 * (await x.read())[0])
    expect(device.stats.liveBuffers).toBe(before.liveBuffers + 2)
  })
  test('growth that the system refuses is out-of-memory, and the device goes on', async () => {
    using device = await Device.request({ backend: 'cpu', threads: 2 })
    using x = device.tensor(numbers(1000, 1), [1000])
    const refused = vi.spyOn(WebAssembly.Memory.prototype, 'grow').mockImplementation(() => {
      throw new RangeError('no')
    })
    const { liveBuffers, liveBytes } = device.stats
    expect(thrown(() => device.tensor(new Float32Array(2 ** 23)))).toEqual(
      code(
        'out-of-memory',
        /tensor.*the system did not give [\d.]+ MiB in all\. 1 tensor of 0\.0 MiB in all is alive\. What is made in device\.scope/,
      ),
    )
    expect(refused).toHaveBeenCalled()
    expect(device.stats).toMatchObject({ liveBuffers, liveBytes })
    // What fits into the memory that is there goes on without asking.
    refused.mockClear()
    using y = square(x)
    expect((await y.read())[3]).toBe(Math.fround((await x.read())[3] ** 2))
    expect(refused).not.toHaveBeenCalled()
    vi.restoreAllMocks()
    using big = device.tensor(new Float32Array(2 ** 23).fill(3))
    expect((await big.read()).every((v) => v === 3)).toBe(true)
  })
  test('4 GiB may not even be reserved: the backend takes less and says so', async () => {
    const { Memory } = WebAssembly
    vi.stubGlobal(
      'WebAssembly',
      Object.assign(Object.create(WebAssembly), {
        // biome-ignore lint/complexity/useArrowFunction: called with new
        Memory: function (descriptor: WebAssembly.MemoryDescriptor) {
          if ((descriptor.maximum as number) > 16384) throw new RangeError('no')
          return new Memory(descriptor)
        },
      }),
    )
    using device = await Device.request({ backend: 'cpu', threads: 2 })
    vi.unstubAllGlobals()
    expect(device.adapter.maxBufferBytes).toBe(2 ** 30)
    expect(thrown(() => device.tensor({ length: 2 ** 28 }))).toEqual(
      code('limit-exceeded', /addresses 1024\.0 MiB in all/),
    )
    using x = device.tensor([3])
    using y = square(x)
    expect([...(await y.read())]).toEqual([9])
  })
  test('packed copies of weights give way to tensors, and are made again', async () => {
    using device = await Device.request({ backend: 'cpu', threads: 2 })
    const values = numbers(2 ** 20, 1)
    using w = device.tensor(values, [1024, 1024])
    using x = device.tensor(numbers(8 * 1024, 2), [8, 1024])
    const product = (): t.Tensor => t.matmul(x, w, { transposeB: true })
    using before = product()
    // All the rest of memory: only the copy of w, 4 MB, can make room.
    const { address } = device.backend.allocate(2 ** 24, () => 'no gap is so large') as t.Storage & { address: number }
    const rest = device.backend.allocate(2 ** 32 - 64 - (address + 2 ** 24), () => 'all that is left')
    const padded = t.pad(x, [0, 0], [900, 0])
    expect((await padded.read()).subarray(0, 8 * 1024)).toEqual(await x.read())
    padded.dispose()
    device.backend.free(rest)
    using after = product()
    expectSameBits(await after.read(), await before.read(), 'the product')
  })
})

describe('an engine that lacks something', () => {
  test('without SharedArrayBuffer: one thread, memory of its own, the same bits', async () => {
    const values = numbers(3 * 300 * 300, 1)
    const compute = async (device: t.Device): Promise<Float32Array> => {
      using x = device.tensor(values, [3, 300, 300])
      // 69 MB of it: memory grows while it is used.
      using y = device.scope(() => {
        const parts = Array.from({ length: 64 }, (_, i) => mul(x, 1 + i / 7))
        return parts.reduce((a, b) => t.add(a, t.silu(b)))
      })
      return y.read()
    }
    using shared = await Device.request({ backend: 'cpu', threads: 2, simd: 'plain' })
    vi.stubGlobal('SharedArrayBuffer', undefined)
    using alone = await Device.request({ backend: 'cpu', threads: 4, simd: 'plain' })
    vi.unstubAllGlobals()
    expect([shared.adapter.name, alone.adapter.name]).toEqual(['CPU, 2 threads, SIMD', 'CPU, 1 thread, SIMD'])
    expectSameBits(await compute(alone), await compute(shared), 'one thread against two')
  })
  test('without SIMD', async () => {
    vi.spyOn(WebAssembly, 'validate').mockReturnValue(false)
    await expect(Device.request({ backend: 'cpu' })).rejects.toEqual(code('cpu-unavailable', /SIMD.*Node 20/))
    await expect(Device.request({ backend: 'cpu', simd: 'relaxed' })).rejects.toEqual(
      code('cpu-unavailable', /relaxed SIMD.*Node 22/),
    )
  })
  test('options that are none', async () => {
    for (const threads of [-1, 65, 1.5, NaN])
      await expect(Device.request({ backend: 'cpu', threads })).rejects.toEqual(code('option', /threads/))
  })
})

describe('the end of a device', () => {
  test('rejects what is still being read, and every later call', async () => {
    const device = await Device.request({ backend: 'cpu', threads: 2 })
    const x = device.tensor(numbers(1 << 18, 1))
    const waits = [work(device, x).read(), device.flush()]
    device.dispose()
    for (const wait of waits) await expect(wait).rejects.toEqual(code('disposed'))
    await expect(device.flush()).rejects.toEqual(code('disposed'))
    await expect(x.read()).rejects.toEqual(code('disposed'))
    expect(thrown(() => square(x))).toEqual(code('disposed'))
    device.dispose()
    x.dispose()
    expect(device.stats).toMatchObject({ liveBuffers: 0, liveBytes: 0 })
  })
  test('an abort during a run rejects at once, while the device still computes, and frees everything', async () => {
    using device = await Device.request({ backend: 'cpu', threads: 2 })
    const model = await modelA(device)
    using noise = new GeneratedNoise(device, { seed: 0, samples: [0], shape: [3, 8, 8] })
    using x = device.tensor(numbers(1 << 20, 1))
    const { liveBuffers } = device.stats
    const diffusion = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '10' })
    const controller = new AbortController()
    const reason = new Error('enough')
    const first = sampleLoop(
      diffusion,
      (xt, timesteps) => {
        work(device, x).dispose()
        return model.forward(xt, timesteps)
      },
      { noise, signal: controller.signal },
    ).next()
    let computed = false
    const flushed = device.flush().then(() => (computed = true))
    controller.abort(reason)
    await expect(first).rejects.toBe(reason)
    expect(computed).toBe(false)
    expect(device.stats.liveBuffers).toBe(liveBuffers)
    await flushed
    model.dispose()
  })
  test('an abort of the request', async () => {
    const reason = new Error('enough')
    await expect(Device.request({ backend: 'cpu', signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const controller = new AbortController()
    const request = Device.request({ backend: 'cpu', signal: controller.signal })
    controller.abort(reason)
    await expect(request).rejects.toBe(reason)
  })
})

describe('a worker with memory of its own', () => {
  /** The worker's program in this thread, started with this memory: what it is sent, and what it answers. */
  function start(memory: { pages: number; maximum: number }): {
    send: (message: LeaderMessage) => void
    replies: WorkerReply[]
  } {
    const module = toPlainSimd(kernels.slice())
    const name = Buffer.from('\u0006memory\u0002')
    module[Buffer.from(module.buffer).indexOf(name) + name.length] = 1 // not shared
    const replies: WorkerReply[] = []
    let send: (message: StartMessage | LeaderMessage) => void = () => {}
    runWorker({ post: (reply) => void replies.push(reply), receive: (listener) => (send = listener) }, 'test')
    send({ kind: 'start', module, memory, control: null, thread: 0 })
    return { send, replies }
  }

  test('says that it was memory that it did not get, at the start and when it grows', () => {
    expect(start({ pages: 20, maximum: 10 }).replies).toEqual([
      { kind: 'refused', message: expect.stringMatching(/memory|maximum/i), memory: true },
    ])

    const { send, replies } = start({ pages: 256, maximum: 300 })
    const grow = (pages: number): LeaderMessage => {
      const words = new Int32Array(job.params + 1)
      words.set([growCommand, 1])
      words[job.length] = words.length
      words[job.params] = pages
      return { kind: 'batch', words, data: [] }
    }
    send(grow(290))
    send(grow(301))
    expect(replies).toEqual([
      { kind: 'ready', program: 'test' },
      { kind: 'failure', job: 1, message: expect.stringMatching(/memory|grow/i), memory: true },
    ])
  })
})
