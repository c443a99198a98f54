/** How much goes into one submission: the rule by a clock that the test turns, and the queue by its counters. */
import { describe, expect, test } from 'vitest'
import { submissionMs } from '../src/platform/index.node.ts'
import { submissionMs as pageMs } from '../src/platform/gpu.ts'
import { full, square } from '../src/tensor/index.ts'
import { Budget, maxCommands, workOf } from '../src/tensor/webgpu/budget.ts'
import { requestDevice } from './op.ts'

/** A budget of 10 ms, and its clock. */
function clocked(software = false): { budget: Budget; pass: (ms: number) => void } {
  let time = 1000
  return { budget: new Budget(software, 10, () => time), pass: (ms) => void (time += ms) }
}

describe('the limit of work in a submission', () => {
  test('before anything is measured is that of a small GPU, and of a software adapter', () => {
    expect(clocked().budget.limit).toBe(1e10)
    expect(clocked(true).budget.limit).toBe(1e9)
    expect(new Budget(true, 100).limit).toBe(5e9)
  })
  test('is for 100 ms at most until a rate is measured, and on a software adapter', () => {
    for (const software of [false, true]) {
      let time = 0
      const budget = new Budget(software, 250, () => time)
      expect(budget.limit).toBe(software ? 5e9 : 1e11)
      budget.submit(1e11)
      const waited = budget.wait()
      time += 100
      waited()
      expect(budget.limit).toBe(software ? 1e11 : 2.5e11)
    }
  })
  test('is the rate of the first wait, and follows the later ones', () => {
    const { budget, pass } = clocked()
    const limits = Array.from({ length: 8 }, () => {
      // 16 TFLOP/s.
      budget.submit(80e9)
      const waited = budget.wait()
      pass(5)
      waited()
      return budget.limit / 1e10
    })
    expect(limits).toEqual(limits.map(() => expect.closeTo(16, 10)))
    budget.submit(20e9)
    const waited = budget.wait()
    pass(5)
    waited()
    expect(budget.limit / 1e10, 'one odd wait: half of the way, in octaves').toBeCloseTo(8, 10)
  })
  test('counts from the first submission after a pause, and work that came after a wait began to the next', () => {
    const { budget, pass } = clocked()
    pass(1e6)
    budget.submit(20e9)
    pass(10)
    const first = budget.wait()
    budget.submit(1e9)
    budget.submit(9e9)
    const second = budget.wait()
    pass(10)
    first()
    expect(budget.limit, '20e9 in 20 ms').toBeCloseTo(1e10, 0)
    pass(10)
    second()
    expect(budget.limit, '10e9 in 10 ms').toBeCloseTo(1e10, 0)
    pass(1e6)
    second()
    first()
    budget.submit(40e9)
    const third = budget.wait()
    pass(10)
    third()
    expect(budget.limit, '40e9 in 10 ms, half of the way').toBeCloseTo(2e10, 0)
  })
  test('learns nothing from a wait that is short, that had little to do, or that was for a compiler', () => {
    const { budget, pass } = clocked()
    for (const [work, ms, stalled] of [
      [80e9, 1, false],
      [0.5e9, 10, false],
      [0, 10, false],
      [80e9, 1000, true],
    ] as const) {
      budget.submit(work)
      if (stalled) budget.stall()
      const waited = budget.wait()
      pass(ms)
      waited()
      expect(budget.limit).toBe(1e10)
    }
    budget.submit(10e9)
    const waited = budget.wait()
    pass(40)
    waited()
    expect(budget.limit, 'the next one counts').toBe(0.25e10)
  })
  test('is never less than a large kernel', () => {
    const { budget, pass } = clocked(true)
    budget.submit(1e9)
    const waited = budget.wait()
    pass(1e5)
    waited()
    expect(budget.limit).toBe(1e9)
  })
})

test('a submission is full by work or by commands, the first after a pause earlier', () => {
  const { budget, pass } = clocked()
  expect([budget.full(63, 0), budget.full(64, 0)]).toEqual([false, true])
  budget.submit(1)
  expect([budget.full(maxCommands - 1, 0), budget.full(maxCommands, 0)]).toEqual([false, true])
  expect([budget.full(1, 1e10 - 1), budget.full(1, 1e10)]).toEqual([false, true])
  const waited = budget.wait()
  pass(1)
  waited()
  expect(budget.full(64, 0)).toBe(true)
})

test('a dispatch costs its arithmetic, and ten operations for a byte of its buffers', () => {
  const buffer = (bytes: number): { storage: { bytes: number; version: number } } => ({
    storage: { bytes, version: 0 },
  })
  const dispatch = { key: '', code: () => '', uniforms: [], grid: [1, 1, 1] } as const
  expect(workOf({ ...dispatch, read: [buffer(100), buffer(20)], write: [buffer(3)] })).toBe(1230)
  expect(workOf({ ...dispatch, read: [], write: [], flops: 7 })).toBe(7)
})

test('a page is drawn between submissions; nobody waits for one of Dawn', () => {
  expect([pageMs(), submissionMs()]).toEqual([12, 250])
})

describe('the queue', () => {
  test('submits 64 commands, then 256 at a time', async () => {
    using device = await requestDevice('webgpu')
    using x = full(device, [1], 1)
    square(x).dispose()
    await device.flush()
    const before = device.stats.submits
    const submitted = (): number => device.stats.submits - before
    for (let i = 0; i < 63; i++) square(x).dispose()
    expect(submitted()).toBe(0)
    square(x).dispose()
    expect(submitted()).toBe(1)
    for (let i = 0; i < 255; i++) square(x).dispose()
    expect(submitted()).toBe(1)
    square(x).dispose()
    expect(submitted()).toBe(2)
    await device.flush()
    expect(submitted()).toBe(2)
    for (let i = 0; i < 64; i++) square(x).dispose()
    expect(submitted()).toBe(3)
  })
  test('submits what is much work before there are so many', async () => {
    using device = await requestDevice('webgpu')
    // 64 MiB: writing them is less work than is measured, so that the rate is still the assumed one.
    using x = full(device, [2 ** 24], 1)
    await device.flush()
    {
      using small = full(device, [4], 1)
      square(small).dispose()
      await device.flush()
    }
    const before = device.stats.submits
    // 1.3e9 each, by their bytes.
    const enough = device.adapter.software ? 4 : 75
    for (let i = 1; i < enough; i++) square(x).dispose()
    expect(device.stats.submits - before).toBe(0)
    square(x).dispose()
    expect(device.stats.submits - before).toBe(1)
    await device.flush()
  })
})
