/**
 * Which backend a request gets: a hardware GPU that can do the work, else the CPU, and a software adapter only by name.
 * What WebGPU there is, is played: the platform's adapter is the machine's own under another name.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { add, conv2d, Device, listAdapters, type Capabilities, type DeviceRequest } from '../src/tensor/index.ts'
import type { WebGPUBackend } from '../src/tensor/webgpu/backend.ts'
import * as reach from '../src/tensor/reach.ts'
import { reachOf } from '../src/tensor/reach.ts'
import type { Reach } from '../src/tensor/remembered.ts'
import { numbers } from './op.ts'
import * as platform from '../src/platform/index.node.ts'

vi.mock(import('../src/platform/index.node.ts'), async (original) => {
  const real = await original()
  return {
    ...real,
    mayHaveGPU: vi.fn(() => true),
    requestGPU: vi.fn(real.requestGPU),
    listAdapters: vi.fn(real.listAdapters),
  }
})

const code = (error: string, message: RegExp): object =>
  expect.objectContaining({ name: 'TweedieError', code: error, message: expect.stringMatching(message) })
const hardware = {
  vendor: 'acme',
  architecture: 'anvil-2',
  device: '',
  description: 'Acme Anvil',
  isFallbackAdapter: false,
}

afterEach(() => void vi.mocked(platform.requestGPU).mockReset())

/** The machine's adapter with other properties. */
async function playing(properties: object): Promise<GPUAdapter> {
  const { requestGPU } = await vi.importActual<typeof platform>('../src/platform/index.node.ts')
  const adapter = await (await requestGPU()).requestAdapter()
  if (!adapter) throw new Error('no adapter')
  const own = (value: unknown): unknown => (typeof value === 'function' ? value.bind(adapter) : value)
  return new Proxy(adapter, {
    get: (_, key) => (key in properties ? properties[key as never] : own(adapter[key as never])),
  })
}

/** Lets the platform's WebGPU find this adapter. */
const offering = (found: GPUAdapter | null): void =>
  void vi.mocked(platform.requestGPU).mockResolvedValue({ requestAdapter: () => Promise.resolve(found) } as GPU)

/** What computed 1 + 2. */
async function kindOf(request: DeviceRequest = {}): Promise<string> {
  using device = await Device.request(request)
  using x = device.tensor([1])
  using y = add(x, 2)
  expect([...(await y.read())]).toEqual([3])
  return `${device.backend.kind}: ${device.adapter.name}`
}

describe('auto', () => {
  test('takes a hardware GPU', async () => {
    offering(await playing({ info: hardware }))
    expect(await kindOf()).toBe('webgpu: Acme Anvil')
  })
  test('takes the CPU rather than a software adapter, or none', async () => {
    offering(await playing({ info: { ...hardware, description: 'llvmpipe (LLVM 19)' } }))
    expect(await kindOf({ threads: 1 })).toMatch(/^cpu: CPU, 1 thread, (relaxed )?SIMD$/)
    offering(await playing({ info: { ...hardware, isFallbackAdapter: true } }))
    expect(await kindOf()).toMatch(/^cpu/)
    offering(null)
    expect(await kindOf({ backend: 'auto' })).toMatch(/^cpu/)
  })
  test('takes the CPU where the package webgpu is missing; where a GPU cannot be does not even load it', async () => {
    vi.mocked(platform.requestGPU).mockRejectedValue(new Error('not installed'))
    expect(await kindOf()).toMatch(/^cpu/)
    expect(platform.requestGPU).toHaveBeenCalledTimes(1)
    vi.mocked(platform.mayHaveGPU).mockReturnValueOnce(false)
    expect(await kindOf()).toMatch(/^cpu/)
    expect(platform.requestGPU).toHaveBeenCalledTimes(1)
  })
  test('takes the CPU where the GPU gives no device, or cannot hold the largest tensor', async () => {
    offering(await playing({ info: hardware, requestDevice: () => Promise.reject(new Error('busy')) }))
    expect(await kindOf()).toMatch(/^cpu/)
    offering(
      await playing({ info: hardware, limits: { maxBufferSize: 2 ** 20, maxStorageBufferBindingSize: 2 ** 20 } }),
    )
    expect(await kindOf({ need: { bytes: 2 ** 22, largestBuffer: 2 ** 21 } })).toMatch(/^cpu/)
  })
  describe('takes the one that is predicted to be faster for the work', () => {
    const small = { flops: 1e9, kernels: 500 }
    const need = { bytes: 2 ** 20, largestBuffer: 2 ** 16, work: small }
    const cpu = { flops: 50e6, kernelMs: 0.005 }
    /** What a device of `need` computes on, where the two backends reach this, and which of them were measured. */
    const chosen = async (gpu: Reach | Error, work = small, threads = 4): Promise<[string, string[]]> => {
      offering(await playing({ info: hardware }))
      const measured: string[] = []
      vi.spyOn(reach, 'reachOf').mockImplementation(({ kind }) => {
        measured.push(kind)
        const reached = kind === 'cpu' ? cpu : gpu
        return reached instanceof Error ? Promise.reject(reached) : Promise.resolve(reached)
      })
      const kind = await kindOf({ need: { ...need, work }, threads })
      return [kind.split(':')[0], measured]
    }
    afterEach(() => void vi.restoreAllMocks())

    test('a GPU that is slow a kernel loses a small network, and wins a large one', async () => {
      // 1 + 500 · 0.3 = 151 ms, and 20 + 500 · 0.005 = 22.5 on the CPU; then 200, and 1002.
      const gpu = { flops: 1e9, kernelMs: 0.3 }
      expect(await chosen(gpu)).toEqual(['cpu', ['webgpu', 'cpu']])
      expect(await chosen(gpu, { flops: 5e10, kernels: 500 })).toEqual(['webgpu', ['webgpu', 'cpu']])
    })
    test('the CPU is not measured where its cores at their best are slower', async () => {
      // 1000 + 2.5 ms; 4 cores of 64 GFLOP/s take 3906.
      expect(await chosen({ flops: 1e9, kernelMs: 0.005 }, { flops: 1e12, kernels: 500 })).toEqual([
        'webgpu',
        ['webgpu'],
      ])
    })
    test('a GPU that cannot be measured loses, too; who says nothing of the work gets it', async () => {
      expect(await chosen(new Error('lost'))).toEqual(['cpu', ['webgpu']])
      vi.spyOn(reach, 'reachOf').mockRejectedValue(new Error('asked'))
      offering(await playing({ info: hardware }))
      expect(await kindOf({ need: { bytes: 1, largestBuffer: 1 } })).toMatch(/^webgpu/)
    })
    test('both are measured once, and remembered', async () => {
      const usual = process.env.XDG_CACHE_HOME
      const cache = await mkdtemp(join(tmpdir(), 'tweedie-cache-'))
      process.env.XDG_CACHE_HOME = cache
      try {
        const run = { cpu: 0, webgpu: 0 }
        using gpu = await Device.request({ backend: 'webgpu' })
        using host = await Device.request({ backend: 'cpu', threads: 1 })
        for (const { backend } of [gpu, host]) {
          vi.spyOn(backend, 'run').mockImplementation(() => void run[backend.kind]++)
          const first = await reachOf(backend, backend.kind)
          expect(Math.min(first.flops, first.kernelMs)).toBeGreaterThan(0)
          const runs = run[backend.kind]
          expect(runs).toBeGreaterThan(0)
          expect(await reachOf(backend, backend.kind)).toEqual(first)
          expect(run[backend.kind]).toBe(runs)
          expect(backend.stats.liveBuffers).toBe(0)
        }
      } finally {
        if (usual === undefined) delete process.env.XDG_CACHE_HOME
        else process.env.XDG_CACHE_HOME = usual
        await rm(cache, { recursive: true })
      }
    })
  })
  test('tells of the GPU what neither can hold', async () => {
    offering(await playing({ info: hardware }))
    await expect(Device.request({ need: { bytes: 2 ** 50, largestBuffer: 2 ** 50 } })).rejects.toEqual(
      code('limit-exceeded', /one buffer of Acme Anvil holds/),
    )
  })
})

describe('by name', () => {
  test('cpu asks for no GPU, webgpu takes what there is', async () => {
    expect(await kindOf({ backend: 'cpu' })).toMatch(/^cpu/)
    expect(platform.requestGPU).not.toHaveBeenCalled()
    offering(await playing({ info: { ...hardware, isFallbackAdapter: true } }))
    expect(await kindOf({ backend: 'webgpu' })).toBe('webgpu: Acme Anvil')
    offering(null)
    await expect(Device.request({ backend: 'webgpu' })).rejects.toEqual(
      code('webgpu-unavailable', /no adapter: take the CPU backend/),
    )
  })
  test('nonsense is refused', async () => {
    await expect(Device.request({ simd: 'relaxd' as 'relaxed' })).rejects.toEqual(
      code('option', /^simd is 'auto', 'plain' or 'relaxed', found 'relaxd': did you mean 'relaxed'\?$/),
    )
    await expect(Device.request({ backend: 'gpu' as 'webgpu' })).rejects.toEqual(
      code('option', /^backend: expected webgpu, cpu, auto, found gpu/),
    )
    for (const threads of [-1, 1.5, 65, NaN])
      await expect(Device.request({ backend: 'cpu', threads })).rejects.toEqual(
        code('option', /^threads: expected a whole number from 0 to 64/),
      )
    await expect(Device.request({ backend: 'cpu', gpuDevice: {} as GPUDevice })).rejects.toEqual(
      code('option', /give one of them/),
    )
  })
  test('what cannot be held is refused', async () => {
    const need = { bytes: 2 ** 50, largestBuffer: 1024 }
    await expect(Device.request({ backend: 'cpu', need })).rejects.toEqual(
      code(
        'limit-exceeded',
        /1073741824.0 MiB, but the CPU backend addresses 4096.0 MiB: use a smaller batch, or a GPU/,
      ),
    )
    offering(await playing({ info: { ...hardware, isFallbackAdapter: true } }))
    await expect(Device.request({ backend: 'webgpu', need })).rejects.toEqual(
      code('out-of-memory', /MiB of memory are free/),
    )
    offering(await playing({ info: hardware }))
    // Nobody knows the free memory of a hardware GPU.
    ;(await Device.request({ backend: 'webgpu', need })).dispose()
    await expect(
      Device.request({ backend: 'webgpu', need: { bytes: 2 ** 50, largestBuffer: 2 ** 50 } }),
    ).rejects.toEqual(code('limit-exceeded', /one buffer of Acme Anvil holds/))
  })
})

describe('what hosts tell of their WebGPU', () => {
  test('nothing: it computes, without a name', async () => {
    offering(await playing({ info: undefined }))
    expect(await kindOf()).toBe('webgpu: unknown GPU')
  })
  test('by requestAdapterInfo, as in 2023, and a fallback on the adapter itself', async () => {
    const older = {
      info: undefined,
      requestAdapterInfo: () =>
        Promise.resolve({ vendor: 'acme', architecture: 'anvil-1', device: '', description: '' }),
    }
    offering(await playing(older))
    expect(await kindOf()).toBe('webgpu: anvil-1')
    offering(await playing({ ...older, isFallbackAdapter: true }))
    expect(await kindOf()).toMatch(/^cpu/)
    offering(await playing({ info: { ...hardware, isFallbackAdapter: undefined }, isFallbackAdapter: true }))
    expect(await kindOf()).toMatch(/^cpu/)
    offering(await playing({ info: undefined, requestAdapterInfo: () => Promise.reject(new Error('not allowed')) }))
    expect(await kindOf()).toBe('webgpu: unknown GPU')
  })
  test.each([
    [32, 32],
    [64, 64],
    [64, 128],
    [128, 128],
    [4, 128],
    [undefined, undefined],
  ])('subgroups of %s to %s: no kernel counts on their width', async (subgroupMinSize, subgroupMaxSize) => {
    offering(await playing({ info: { ...hardware, subgroupMinSize, subgroupMaxSize } }))
    using device = await Device.request()
    const backend = device.backend as WebGPUBackend
    const offered: string[] = []
    backend.onChoice = ({ candidates }) => void offered.push(...candidates)
    using cpu = await Device.request({ backend: 'cpu', threads: 1 })
    const values = await Promise.all(
      [device, cpu].map(async (one) => {
        using x = one.tensor(numbers(16 * 64, 1), [1, 16, 8, 8])
        using w = one.tensor(numbers(16 * 16 * 9, 2), [16, 16, 3, 3])
        using y = conv2d(x, w, { padding: 1 })
        return [...(await y.read())]
      }),
    )
    expect(offered).toContain('register')
    expect(offered.filter((name) => name.startsWith('subgroup'))).toEqual([])
    // Sums of 144 products of numbers below 1, in two orders.
    const [found, expected] = values as [number[], number[]]
    expect(Math.max(...found.map((value, i) => Math.abs(value - expected[i])))).toBeLessThan(144 * 2 ** -23)
  })
  test('no list of adapters fails for it', async () => {
    const nameless = await playing({ info: undefined })
    vi.mocked(platform.listAdapters).mockResolvedValueOnce([nameless, nameless, await playing({ info: hardware })])
    expect((await listAdapters()).map(({ name, software }) => [name, software])).toEqual([
      ['unknown GPU', false],
      ['Acme Anvil', false],
    ])
  })
  test("a caller's device without adapterInfo, and none of WebGPU's globals", async () => {
    const device = await (await playing({})).requestDevice()
    Object.defineProperty(device, 'adapterInfo', { value: undefined })
    const names = Object.getOwnPropertyNames(globalThis).filter((name) => name.startsWith('GPU'))
    for (const name of names) vi.stubGlobal(name, undefined)
    try {
      expect(names).toContain('GPUBufferUsage')
      expect(await kindOf({ gpuDevice: device })).toBe('webgpu: unknown GPU')
    } finally {
      vi.unstubAllGlobals()
      device.destroy()
    }
  })
})

describe("Dawn's options, from the environment", () => {
  const registry = globalThis as { [key: symbol]: Map<string, GPU> | undefined }
  const key = Symbol.for('tweedie.dawn')
  afterEach(() => void vi.unstubAllEnvs())

  test.each([
    [
      'allow_unsafe_apis',
      /^DAWN_OPTIONS: expected words such as enable-dawn-features=…, .*; found 'allow_unsafe_apis'\.$/,
    ],
    ['backend=vulkan enable-dawn-feature=x', /found 'enable-dawn-feature=x': did you mean enable-dawn-features\?$/],
    ['adapter=', /found 'adapter='\.$/],
  ])('%s is refused, and no CPU taken for it', async (options, message) => {
    vi.stubEnv('DAWN_OPTIONS', options)
    for (const backend of ['webgpu', 'auto'] as const)
      await expect(Device.request({ backend })).rejects.toEqual(code('option', message))
  })

  test('reach Dawn, which tells of a backend that does not exist', async () => {
    const usual = registry[key]
    vi.stubEnv('DAWN_OPTIONS', ' backend=valkun ')
    try {
      registry[key] = new Map()
      await expect(Device.request({ backend: 'webgpu' })).rejects.toEqual(
        code('option', /^DAWN_OPTIONS='backend=valkun': unrecognised backend 'valkun'/),
      )
    } finally {
      registry[key] = usual
    }
  })
})

describe('what kernels may use', () => {
  const usedOf = (device: Device): Capabilities => (device.backend as WebGPUBackend).capabilities
  const extra = ['subgroups', 'subgroup-size-control', 'shader-f16', 'timestamp-query']

  test('is asked for where the adapter has it', async () => {
    const adapter = await playing({})
    const asked: GPUDeviceDescriptor[] = []
    const requestDevice = (descriptor: GPUDeviceDescriptor): Promise<GPUDevice> => {
      asked.push(descriptor)
      // An adapter gives one device.
      return playing({}).then((fresh) => fresh.requestDevice(descriptor))
    }
    offering(await playing({ requestDevice }))
    using device = await Device.request({ backend: 'webgpu' })
    expect(asked[0].requiredFeatures).toEqual(extra.filter((name) => adapter.features.has(name)))
    const { features, limits } = (device.backend as WebGPUBackend).gpuDevice
    expect(usedOf(device)).toMatchObject({
      software: true,
      workgroupBytes: adapter.limits.maxComputeWorkgroupStorageSize,
      halfFloats: features.has('shader-f16'),
      timestamps: features.has('timestamp-query'),
      subgroupSizeControl: features.has('subgroup-size-control'),
    })
    expect(limits.maxComputeWorkgroupStorageSize).toBe(adapter.limits.maxComputeWorkgroupStorageSize)

    offering(await playing({ requestDevice, features: new Set(['texture-compression-bc']) }))
    using bare = await Device.request({ backend: 'webgpu' })
    expect(asked[1].requiredFeatures).toEqual([])
    expect(usedOf(bare)).toMatchObject({
      subgroupSize: 0,
      halfFloats: false,
      timestamps: false,
      subgroupSizeControl: false,
    })
  })

  test("may be claimed to be less, of a caller's device too, and never to be more", async () => {
    offering(await playing({}))
    const less = { software: false, subgroupSize: 0, maxGrid: 100, workgroupBytes: 16384, timestamps: false }
    using device = await Device.request({ backend: 'webgpu', capabilities: { ...less, halfFloats: undefined } })
    expect(usedOf(device)).toMatchObject(less)
    const gpuDevice = await (await playing({})).requestDevice()
    using borrowed = await Device.request({ gpuDevice, capabilities: { software: false } })
    expect(usedOf(borrowed)).toMatchObject({ software: false, workgroupBytes: 16384, halfFloats: false })
    for (const [name, value] of [
      ['subgroupSize', 1024],
      ['maxGrid', 2 ** 20],
      ['maxGrid', 0],
      ['maxGrid', 1.5],
      ['workgroupBytes', 2 ** 20],
      ['halfFloats', true],
      ['timestamps', 1],
      ['software', 'no'],
    ] as const)
      await expect(Device.request({ gpuDevice, capabilities: { [name]: value } })).rejects.toEqual(
        code('option', new RegExp(`capabilities: ${name} is .* on this device and cannot be ${value}`)),
      )
    await expect(Device.request({ gpuDevice, capabilities: { sofware: false } as object })).rejects.toEqual(
      code('option', /did you mean "software"\?/),
    )
    await expect(Device.request({ backend: 'cpu', capabilities: {} })).rejects.toEqual(
      code('option', /'cpu' has no capabilities/),
    )
    gpuDevice.destroy()
  })
})

test.each(['auto', 'cpu', 'webgpu'] as const)('an abort, before and during: %s', async (backend) => {
  offering(await playing({ info: hardware }))
  const reason = new Error('enough')
  await expect(Device.request({ backend, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  const controller = new AbortController()
  const request = Device.request({ backend, signal: controller.signal })
  controller.abort(reason)
  await expect(request).rejects.toBe(reason)
})
