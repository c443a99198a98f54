/**
 * What a device promises, on every backend: scopes, disposal, the order of what is enqueued, steps that create nothing.
 */
import { describe, expect, test } from 'vitest'
import * as t from '../src/tensor/index.ts'
import type { BackendStats } from '../src/tensor/index.ts'
import { backends, numbers, requestDevice, testDevice } from './op.ts'

const { add, full, mul, silu, square, sum } = t

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

describe.each(backends)('%s', (backend) => {
  /** Runs `f` with a device of its own, and fails if it leaves a buffer behind. */
  async function fresh(f: (device: t.Device) => Promise<void>): Promise<void> {
    using device = await requestDevice(backend)
    await f(device)
    expect(device.stats.liveBuffers, 'buffers alive afterwards').toBe(0)
  }

  describe('scope', () => {
    test('frees what was made in it, keeps its result, passes it outwards', () =>
      fresh(async (device) => {
        const x = device.tensor([1, 2])
        let inner: t.Tensor | undefined
        const y = device.scope(() => {
          const kept = device.scope(() => add(mul(x, 2), 1))
          inner = kept
          expect(device.stats.liveBuffers).toBe(2)
          return square(kept)
        })
        expect(inner?.disposed).toBe(true)
        expect(device.stats.liveBuffers).toBe(2)
        expect([...(await y.read())]).toEqual([9, 25])
        x.dispose()
        y.dispose()
      }))
    test('trees of results: arrays, maps, plain objects, and what is no tensor', () =>
      fresh(async (device) => {
        const tree = device.scope(() => {
          const made = Array.from({ length: 6 }, (_, i) => full(device, [1], i))
          return { a: made[0], list: [made[1], { deep: made[2] }], map: new Map([['k', made[3]]]), n: 5, nothing: null }
        })
        expect(device.stats.liveBuffers).toBe(4)
        for (const x of [
          tree.a,
          tree.list[0] as t.Tensor,
          (tree.list[1] as { deep: t.Tensor }).deep,
          tree.map.get('k') as t.Tensor,
        ])
          x.dispose()
      }))
    test('an error frees everything', () =>
      fresh(async (device) => {
        expect(() =>
          device.scope(() => {
            full(device, [3], 1)
            device.scope(() => full(device, [4], 1))
            throw new Error('mine')
          }),
        ).toThrowError('mine')
        expect(device.stats.liveBuffers).toBe(0)
      }))
    test('an async function is refused, and nothing stays behind', () =>
      fresh(async (device) => {
        const f = async (): Promise<t.Tensor> => {
          const y = full(device, [3], 1)
          await null
          return square(y)
        }
        expect(thrown(() => device.scope(f))).toEqual(code('option', /must not be async/))
        await new Promise((resolve) => setTimeout(resolve, 5))
      }))
    test('keep takes a tensor out; a disposed one is no trouble', () =>
      fresh(async (device) => {
        let kept: t.Tensor | undefined
        device.scope(() => {
          kept = device.keep(full(device, [1], 7))
          full(device, [1], 8).dispose()
        })
        expect([...(await (kept as t.Tensor).read())]).toEqual([7])
        kept?.dispose()
      }))
  })

  describe('disposal', () => {
    test('using, twice, and use afterwards', () =>
      fresh(async (device) => {
        let outside: t.Tensor
        {
          using x = device.tensor([1, 2])
          outside = x
        }
        expect(device.stats.liveBuffers).toBe(0)
        outside.dispose()
        expect(thrown(() => square(outside))).toEqual(code('disposed', /square: a tensor of shape \[2\]/))
        expect(thrown(() => outside.write([1, 2]))).toEqual(code('disposed'))
        await expect(outside.read()).rejects.toEqual(code('disposed', /read: a tensor of shape \[2\]/))
      }))
    test('of a device: once, twice, and use afterwards', async () => {
      const device = await requestDevice(backend)
      const x = device.tensor([1, 2])
      const reading = square(x).read()
      const flushing = device.flush()
      device.dispose()
      device.dispose()
      await expect(reading).rejects.toEqual(code('disposed'))
      await expect(flushing).rejects.toEqual(code('disposed'))
      expect(thrown(() => square(x))).toEqual(code('disposed', /square: the device was disposed/))
      expect(thrown(() => device.tensor([1]))).toEqual(code('disposed'))
      expect(thrown(() => x.write([1, 2]))).toEqual(code('disposed'))
      await expect(x.read()).rejects.toEqual(code('disposed'))
      await expect(device.flush()).rejects.toEqual(code('disposed'))
      x.dispose()
      expect(device.stats).toMatchObject({ liveBuffers: 0, liveBytes: 0 })
    })
    test('tensors of two devices do not mix', () =>
      fresh(async (device) => {
        using x = device.tensor([1])
        using y = (await testDevice(backend)).tensor([1])
        expect(thrown(() => add(x, y))).toEqual(code('option', /different devices/))
        expect(thrown(() => x.assign(y))).toEqual(code('option', /different devices/))
      }))
  })

  describe('order', () => {
    for (const state of ['while kernels are being compiled', 'when they are']) {
      test(`of writes among ops, over several submissions, ${state}`, () =>
        fresh(async (device) => {
          if (state === 'when they are')
            device.scope(() => {
              add(full(device, [1], 0), full(device, [1], 0))
            })
          await device.flush()
          const submits = device.stats.submits
          using x = device.tensor([0])
          using total = device.tensor([0])
          const seen: t.Tensor[] = []
          for (let i = 1; i <= 300; i++) {
            x.write([i])
            seen.push(add(x, total))
            total.assign(seen[i - 1])
          }
          const values = await Promise.all(seen.map(async (y) => (await y.read())[0]))
          expect(values).toEqual(seen.map((_, i) => ((i + 1) * (i + 2)) / 2))
          expect(device.stats.submits - submits).toBeGreaterThan(2)
          for (const y of seen) y.dispose()
        }))
    }
    test('a read sees what was there when it was asked for', () =>
      fresh(async (device) => {
        const x = device.tensor([1])
        const first = x.read()
        x.write([2])
        const y = square(x)
        const second = x.read()
        const third = y.read()
        x.write([3])
        x.dispose()
        y.dispose()
        // These take the memory of x and y.
        const z = [full(device, [1], 8), full(device, [1], 9)]
        await device.flush()
        expect([...(await first), ...(await second), ...(await third)]).toEqual([1, 2, 4])
        for (const tensor of z) tensor.dispose()
      }))
    test('an array may be changed as soon as it is written', () =>
      fresh(async (device) => {
        const values = new Float32Array([1, 2])
        using x = device.tensor(values)
        const y = silu(x)
        values.fill(9)
        x.write(values)
        values.fill(7)
        expect([...(await x.read())]).toEqual([9, 9])
        y.dispose()
      }))
    test('a write takes any view of memory', () =>
      fresh(async (device) => {
        using x = device.tensor([1, 2])
        const bytes = new DataView(new ArrayBuffer(16), 8)
        bytes.setFloat32(0, 5, true)
        bytes.setFloat32(4, 6, true)
        const y = silu(x)
        device.backend.write(x.storage, bytes)
        bytes.setFloat32(0, 7, true)
        expect([...(await x.read())]).toEqual([5, 6])
        y.dispose()
      }))
    test('two flushes and two reads at once', () =>
      fresh(async (device) => {
        using x = device.tensor([3])
        using y = square(x)
        const [a, , b] = await Promise.all([y.read(), device.flush(), x.read(), device.flush()])
        expect([a[0], b[0]]).toEqual([9, 3])
      }))
  })

  describe('a steady step', () => {
    test('creates nothing, reads nothing, and costs the same every time', () =>
      fresh(async (device) => {
        using x = device.tensor(numbers(2 * 4 * 8 * 8, 1), [2, 4, 8, 8])
        using w = device.tensor(numbers(4 * 4 * 9, 2), [4, 4, 3, 3])
        const before = { ...device.stats }
        const step = async (): Promise<BackendStats> => {
          const start = { ...device.stats }
          device.scope(() => {
            const {
              gradients: [g],
            } = t.grad(() => sum(square(silu(t.conv2d(x, w, { padding: 1 })))), [x])
            x.assign(t.sub(x, mul(g, 1e-3)))
          })
          await device.flush()
          return Object.fromEntries(
            Object.entries(device.stats).map(([k, v]) => [k, v - start[k as keyof BackendStats]]),
          ) as unknown as BackendStats
        }
        expect((await step()).objectsCreated).toBeGreaterThan(0)
        const steps = [await step(), await step(), await step()]
        for (const one of steps) {
          expect(one).toMatchObject({ objectsCreated: 0, reads: 0, liveBuffers: 0, liveBytes: 0, peakBytes: 0 })
          expect(one).toEqual(steps[0])
        }
        expect(device.stats.reads).toBe(before.reads)
      }))
  })

  test('a tensor larger than can be held names op and shape, and leaves nothing', () =>
    fresh(async (device) => {
      using x = device.tensor([1], [1, 1])
      const side = 2 ** 20
      expect(thrown(() => t.broadcastTo(x, [side, side]))).toEqual(
        code(
          'limit-exceeded',
          /broadcastTo\(\[1, 1\]\) for a tensor \[1048576, 1048576\] needs .*(4398046511104 bytes|4194304\.0 MiB).*use a smaller batch/,
        ),
      )
      expect(thrown(() => device.scope(() => full(device, [side, side], 0)))).toEqual(code('limit-exceeded'))
      expect(device.stats.liveBuffers).toBe(1)
    }))
})
