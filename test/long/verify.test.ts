/** The WGSL kernels by the self-test, which compiles all of them and every variant; and what is remembered of it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { verifyDevice } from '../../src/tensor/index.ts'
import { ops } from '../../src/tensor/ops/index.ts'
import type { WebGPUBackend } from '../../src/tensor/webgpu/backend.ts'
import { remember } from '../../src/tensor/remembered.ts'
import { testDevice } from '../op.ts'

const usual = process.env.XDG_CACHE_HOME

beforeAll(async () => void (process.env.XDG_CACHE_HOME = await mkdtemp(join(tmpdir(), 'tweedie-cache-'))))

afterAll(async () => {
  await rm(process.env.XDG_CACHE_HOME as string, { recursive: true })
  if (usual === undefined) delete process.env.XDG_CACHE_HOME
  else process.env.XDG_CACHE_HOME = usual
})

// The device is shared: a second spy would count what the first did.
afterEach(() => void vi.restoreAllMocks())

// As it is, the adapter is verified by the last test, and op by op by `npm test`.
test('hardware can be trusted: every op of the table has run, and every variant; nothing is left', async () => {
  const device = await testDevice('webgpu, as hardware')
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
  expect(kernels).toBeGreaterThanOrEqual(told.length + 3)
  expect(told.at(-1)).toEqual([told.length - 1, told.length - 1])
  expect(device.kernels.size).toBe(0)
  expect(device.stats.liveBuffers).toBe(before)
})

test('what was found on a GPU is remembered, by this version', async () => {
  const device = await testDevice('webgpu')
  const first = await verifyDevice(device)
  const run = vi.spyOn(device.backend, 'run')
  expect(await verifyDevice(device)).toEqual(first)
  expect(run).not.toHaveBeenCalled()
  const { identity } = device.backend as WebGPUBackend
  await remember(identity, { verdict: { ...first, version: '0.0.1' } })
  await verifyDevice(device)
  expect(run).toHaveBeenCalled()
})
