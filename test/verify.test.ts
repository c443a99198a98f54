/**
 * A device is held against the CPU backend; a kernel that is right only the first time, as on some drivers, is told.
 * test/long/verify.test.ts has the GPU's.
 */
import { afterEach, expect, test, vi } from 'vitest'
import { Device, verifyDevice, type Fault, type View } from '../src/tensor/index.ts'
import { ops } from '../src/tensor/ops/index.ts'
import { capabilitiesOf } from '../src/tensor/webgpu/capabilities.ts'
import { cpuBackends, testDevice } from './op.ts'

afterEach(() => void vi.restoreAllMocks())

const fake = (names: string[]): GPUDevice =>
  ({
    features: new Set(names),
    limits: { maxComputeWorkgroupsPerDimension: 65535, maxComputeWorkgroupStorageSize: 16384 },
  }) as unknown as GPUDevice

test.each(cpuBackends)(
  '%s can be trusted: every op of the table has run, and every variant; nothing is left',
  async (name) => {
    const device = await testDevice(name)
    const before = device.stats.liveBuffers
    const run = vi.spyOn(device.backend, 'run')
    const told: [number, number][] = []
    const { kernels, faults } = await verifyDevice(device, {
      again: true,
      onProgress: (...progress) => told.push(progress),
    })
    expect(faults).toEqual([])
    const ran = new Set(run.mock.calls.map(([op]) => op))
    expect(Object.keys(ops).filter((op) => !ran.has(op))).toEqual([])
    expect(kernels).toBeGreaterThanOrEqual(told.length - 1)
    expect(told.at(-1)).toEqual([told.length - 1, told.length - 1])
    expect(device.kernels.size).toBe(0)
    expect(device.stats.liveBuffers).toBe(before)
  },
)

/** Softmax on the CPU runs twice for each of three inputs; `stale` says which run a run's result is that of. */
async function playing(stale: (nth: number) => number): Promise<Fault[]> {
  using device = await Device.request({ backend: 'cpu', threads: 0 })
  const { backend } = device
  const run = backend.run.bind(backend)
  const outputs: View[] = []
  vi.spyOn(backend, 'run').mockImplementation((op, params, inputs, out, user) => {
    run(op, params, inputs, out, user)
    if (op !== 'softmax') return
    outputs.push(out[0])
    const { storage } = outputs[stale(outputs.length - 1)]
    if (storage !== out[0].storage) backend.copy(storage, out[0].storage, storage.bytes)
  })
  return [...(await verifyDevice(device)).faults]
}

test('a kernel that is right the first time only is named, with the run', async () => {
  const fault = { kernel: 'softmax', error: expect.any(Number) }
  expect(await playing((nth) => nth)).toEqual([])
  expect(await playing((nth) => (nth === 2 ? 0 : nth))).toEqual([{ ...fault, run: 2 }])
  // Right values, and then others from the same inputs.
  expect(await playing((nth) => (nth === 4 ? 2 : nth))).toEqual([{ ...fault, run: 3 }])
})

test('one that gives no numbers is caught, and an abort ends it', async () => {
  using device = await Device.request({ backend: 'cpu', threads: 0 })
  const run = device.backend.run.bind(device.backend)
  vi.spyOn(device.backend, 'run').mockImplementation((op, params, inputs, outputs, user) => {
    run(op, params, inputs, outputs, user)
    if (op === 'maxPool') device.backend.write(outputs[0].storage, new Float32Array(1).fill(Number.NaN))
  })
  const { faults } = await verifyDevice(device)
  expect(faults.map(({ kernel, error }) => [kernel, error])).toContainEqual(['maxPool2d', Infinity])
  const reason = new Error('enough')
  await expect(verifyDevice(device, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
})

test('of drivers whose subgroups are not what they say, none are used', () => {
  const gpuDevice = fake(['subgroups', 'subgroup-size-control'])
  const usual = { vendor: 'acme', subgroupMinSize: 16, subgroupMaxSize: 16 }
  const used = (info: object): number => capabilitiesOf(gpuDevice, { ...usual, ...info }, false).subgroupSize
  expect(used({})).toBe(16)
  expect(used({ vendor: 'intel' })).toBe(0)
  expect(used({ vendor: 'intel', subgroupMinSize: 8, subgroupMaxSize: 32 })).toBe(0)
})
