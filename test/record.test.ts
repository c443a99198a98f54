/** Programs: what was recorded is replayed to the bit, creates nothing, and what may not be recorded is refused. */
import { describe, expect, test, vi } from 'vitest'
import {
  add,
  conv2d,
  expression,
  f,
  full,
  grad,
  groupNorm,
  map,
  matmul,
  mul,
  randomNormal,
  reshape,
  silu,
  square,
  sum,
  type Device,
  type Tensor,
} from '../src/tensor/index.ts'
import { AdamW } from '../src/train/index.ts'
import { backends, deviceTest, expectSameBits, numbers, requestDevice, size, testDevice } from './op.ts'

const affine = expression(1, 2, ([x], [a, b]) => f.add(f.mul(a, x), b))
const shape = [2, 4, 6, 6]

/** What a step works with, the caller's. */
interface World {
  readonly state: Tensor
  readonly kernel: Tensor
  readonly scale: Tensor
  readonly shift: Tensor
  readonly samples: Tensor<'u32'>
}

const worldOf = (device: Device): World & Disposable => {
  const world = {
    state: device.tensor(numbers(size(shape), 1), shape),
    kernel: device.tensor(numbers(4 * 4 * 9, 2), [4, 4, 3, 3]),
    scale: device.tensor([1, 2, 3, 4]),
    shift: device.tensor([0.1, 0, -1, 2]),
    samples: device.tensor([3, 8], [2], 'u32'),
  }
  return { ...world, [Symbol.dispose]: () => Object.values(world).forEach((tensor) => tensor.dispose()) }
}

/**
 * A step with everything that a step of sampling has: a network's ops and their gradient, noise by the step's number,
 * values from the host that change and that do not, a state that is overwritten.
 */
function walk({ state, kernel, scale, shift, samples }: World, step: () => number): { value: Tensor; next: Tensor } {
  const { device } = state
  const noise = randomNormal(samples, { seed: [5, 6], draw: step, purpose: 100, shape: shape.slice(1) })
  const told = device.tensor(() => [Math.sin(step()), Math.cos(step())], [2, 1, 1, 1])
  const { value, gradients } = grad(() => {
    const h = silu(groupNorm(conv2d(state, kernel, { padding: 1 }), { groups: 2, weight: scale, bias: shift }))
    const moved = map(affine, [h], () => [1 / (1 + step()), step()])
    return sum(square(add(moved, told)), { axes: [1, 2, 3] })
  }, [state])
  const weights = device.tensor([0.5, 0.25, 2, 1], [1, 4, 1, 1])
  const next = add(mul(mul(gradients[0], weights), 0.01), add(mul(state, 0.9), mul(noise, 0.1)))
  state.assign(next)
  return { value, next }
}

const steps = [7, 6, 5, 3, 11]

/** The values of every step, and of the state in the end. */
async function eagerly(device: Device): Promise<Float32Array[]> {
  using world = worldOf(device)
  const found: Float32Array[] = []
  for (const step of steps) {
    const { value, next } = device.scope(() => walk(world, () => step))
    found.push(await value.read(), await next.read())
    value.dispose()
    next.dispose()
  }
  return [...found, await world.state.read()]
}

describe('a recorded step', () => {
  deviceTest('is the step itself to the bit, whatever the step', async (device) => {
    const expected = await eagerly(device)
    using world = worldOf(device)
    using program = device.record((step) => walk(world, step), steps[0])
    const found: Float32Array[] = []
    for (const [i, step] of steps.entries()) {
      const { value, next } = i === 0 ? program.result : program.replay(step)
      found.push(await value.read(), await next.read())
    }
    found.push(await world.state.read())
    for (const [i, values] of found.entries()) expectSameBits(values, expected[i], `result ${i}`)
  })

  deviceTest(
    'is enqueued without waiting for the one before, and reads what was enqueued before it',
    async (device) => {
      const expected = await eagerly(device)
      using world = worldOf(device)
      using program = device.record((step) => walk(world, step), steps[0])
      for (const step of steps.slice(1)) program.replay(step)
      expectSameBits(await world.state.read(), expected.at(-1) as Float32Array, 'the state')
    },
  )

  deviceTest('may be one of several, which share the memory that outlives none of their replays', async (device) => {
    const expected = await eagerly(device)
    using world = worldOf(device)
    using first = device.record((step) => walk(world, step), steps[0])
    using second = device.record((step) => walk(world, step), steps[1])
    expectSameBits(await second.result.next.read(), expected[3], 'the second step')
    first.replay(steps[2])
    second.replay(steps[3])
    first.replay(steps[4])
    expectSameBits(await world.state.read(), expected.at(-1) as Float32Array, 'the state')
  })

  deviceTest('may give no tensor, and tensors of the caller', async (device) => {
    using x = device.tensor([1, 2])
    using program = device.record((step) => {
      x.assign(map(affine, [x], () => [2, step()]))
      return { x, word: 'x' }
    })
    program.replay(1)
    expect([...(await program.replay(3).x.read())]).toEqual([13, 21])
    program.dispose()
    expect([...(await x.read())]).toEqual([13, 21])
  })

  deviceTest(
    'sees what its inputs hold at each replay, and keeps their memory when they are gone',
    async (device) => {
      const x = device.tensor([1, 2])
      using program = device.record(() => mul(x, 10))
      x.write([3, 4])
      expect([...(await program.replay(0).read())]).toEqual([30, 40])
      x.dispose()
      using other = device.tensor([5, 6])
      expect([...(await program.replay(0).read())]).toEqual(
        device.backend.kind === 'webgpu' ? [30, 40] : expect.anything(),
      )
      expect([...(await other.read())]).toEqual([5, 6])
    },
    { on: backends.filter((name) => name === 'webgpu') },
  )

  deviceTest('keeps what its function keeps', async (device) => {
    let kept: Tensor | undefined
    const x = device.tensor([1, 2])
    const program = device.record((step) => {
      kept ??= device.keep(full(device, [2], 4))
      return add(
        mul(x, kept),
        map(affine, [x], () => [0, step()]),
      )
    })
    expect([...(await program.replay(1).read())]).toEqual([5, 9])
    expect([...(await kept!.read())]).toEqual([4, 4])
    kept!.dispose()
    x.dispose()
    program.dispose()
    program.dispose()
    expect(() => program.replay(0)).toThrow(/disposed/)
  })

  deviceTest(
    'is no step of a gradient that was recorded before it',
    async (device) => {
      using x = device.tensor([2])
      using program = device.record(() => x.assign(mul(x, 2)))
      const fine = device.scope(() => grad(() => (program.replay(0), square(x)), [x]).gradients[0])
      expect([...(await fine.read())]).toEqual([16])
      fine.dispose()
      const overwritten = (): unknown =>
        grad(() => {
          const y = square(x)
          program.replay(0)
          return y
        }, [x])
      expect(overwritten).toThrow(/overwritten/)
    },
    { on: backends.filter((name) => name === 'webgpu') },
  )
})

describe.runIf(backends.includes('webgpu'))('on a GPU', () => {
  test('a replay creates nothing, writes once and submits once, and its program gives everything back', async () => {
    using device = await requestDevice('webgpu')
    {
      using world = worldOf(device)
      const before = device.stats.liveBuffers
      const program = device.record((step) => walk(world, step), 0)
      await device.flush()
      const start = { ...device.stats }
      for (let step = 1; step <= 5; step++) program.replay(step)
      await device.flush()
      const { objectsCreated, submits, liveBytes, dispatches } = device.stats
      expect(objectsCreated - start.objectsCreated).toBe(0)
      expect(submits - start.submits).toBe(5)
      expect(liveBytes).toBe(start.liveBytes)
      expect((dispatches - start.dispatches) % 5).toBe(0)
      program.dispose()
      expect(device.stats.liveBuffers).toBe(before)
    }
    expect(device.stats.liveBuffers).toBe(0)
  })

  test('memory is that of the peak, and a second program adds its results alone', async () => {
    using device = await requestDevice('webgpu')
    using x = device.tensor(numbers(64 * 64, 1), [64, 64])
    const chain = (): Tensor => {
      let y = x
      for (let i = 0; i < 20; i++) {
        const z = matmul(y, x)
        if (y !== x) y.dispose()
        y = z
      }
      return y
    }
    const each = 64 * 64 * 4
    const before = device.stats.liveBytes
    using first = device.record(chain)
    // One is read while the other is written.
    expect(device.stats.liveBytes - before).toBe(2 * each)
    using second = device.record(chain)
    expect(device.stats.liveBytes - before).toBe(3 * each)
    expectSameBits(await first.replay(1).read(), await second.replay(1).read(), 'the product')
  })

  test('a program that the device refuses leaves nothing behind', async () => {
    const device = await testDevice('webgpu')
    using x = device.tensor([1, 2])
    const { liveBuffers } = device.stats
    const refusing = vi.spyOn(device.gpuDevice, 'createBuffer').mockImplementation(({ label }) => {
      throw new RangeError(`no room for the ${label}`)
    })
    // Its memory is there.
    device.scope(() => mul(x, 2)).dispose()
    expect(() => device.record(() => mul(x, 2))).toThrow('no room for the program')
    refusing.mockRestore()
    expect(device.stats.liveBuffers).toBe(liveBuffers)
    expect([...(await x.read())]).toEqual([1, 2])
  })

  test('what reads parameters from where they were before an AdamW is refused', async () => {
    const device = await testDevice('webgpu')
    using w = device.tensor([1, 2])
    using before = device.record(() => mul(w, 2))
    using optimizer = new AdamW(device, new Map([['w', w]]))
    expect(() => before.replay(1)).toThrow(/moved since it was recorded/)
    using after = device.record(() => mul(w, 2))
    using gradient = full(device, [2], 1)
    optimizer.step([gradient], 1)
    expect([...(await after.replay(1).read())]).toEqual([expect.closeTo(0, 5), expect.closeTo(2, 5)])
  })

  test('what cannot be replayed is refused where it is done, and leaves nothing behind', async () => {
    const device = await testDevice('webgpu')
    using x = device.tensor([1, 2])
    const refused = (body: (step: () => number) => unknown, message: RegExp, code = 'unsupported'): void =>
      expect(() => device.record(body)).toThrow(
        expect.objectContaining({ code, message: expect.stringMatching(message) }),
      )
    let reading: Promise<unknown> | undefined
    device.record(() => void (reading = mul(x, 2).read())).dispose()
    await expect(reading).rejects.toThrow(/read: a program is being recorded/)
    device.record(() => void (reading = device.flush())).dispose()
    await expect(reading).rejects.toThrow(/flush: a program is being recorded/)
    refused(() => device.record(() => {}), /record: a program is being recorded/)
    refused((step) => mul(x, step()), /the step was asked for while the ops are noted/, 'option')
    refused(async () => mul(x, 2), /must not be async/, 'option')
    expect(() => grad(() => device.record(() => square(x)).result, [x])).toThrow(/within grad/)
    using grows = device.record((step) => device.tensor(() => new Array(2 + step()).fill(1), [2]))
    expect(() => grows.replay(1)).toThrow(/12 bytes were given in place of 8/)
    expect([...(await grows.replay(0).read())]).toEqual([1, 1])
  })

  test('a device that is disposed takes its programs along', async () => {
    const device = await requestDevice('webgpu')
    const x = device.tensor([1, 2])
    const program = device.record(() => reshape(mul(x, 2), [2, 1]))
    device.dispose()
    expect(() => program.replay(1)).toThrow(/disposed/)
    program.dispose()
  })
})
