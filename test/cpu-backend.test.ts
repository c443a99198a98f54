/**
 * The CPU backend's plumbing: memory, threads, batches. The same bits come out for any number of threads and in any
 * batch, nothing is created from the second step on, and work of any size and number arrives in order.
 */
import { expect, test } from 'vitest'
import { loadViT, viTStateDict } from '../src/nn/index.ts'
import * as t from '../src/tensor/index.ts'
import { keyedWeights } from './keyed-formula.ts'
import { cpuBackends, expectSameBits, numbers, type BackendName } from './op.ts'
import { modelA } from './spec-models.ts'

const { Device, add, mul, silu, square, sum } = t

const request = (threads: number, backend: BackendName = 'cpu'): Promise<t.Device> =>
  Device.request({ backend: 'cpu', threads, simd: backend === 'cpu' ? 'plain' : 'relaxed' })

test('values travel to the workers and back, in order', async () => {
  using device = await request(2)
  using x = device.tensor([1, 2, 3])
  using y = device.tensor([0, 0, 0])
  y.assign(x)
  x.write([4, 5, 6])
  expect([...(await y.read()), ...(await x.read())]).toEqual([1, 2, 3, 4, 5, 6])
  // 4 MB, sent at once.
  using big = device.tensor(Float32Array.from({ length: 1_000_003 }, (_, i) => i % 1000))
  using copy = device.tensor(new Float32Array(1_000_003))
  for (let i = 0; i < 50; i++) copy.assign(big)
  // A read sees what was there when it was asked for.
  const before = copy.read()
  copy.write(new Float32Array(1_000_003).fill(7))
  const after = copy.read()
  big.write(new Float32Array(1_000_003))
  expect((await before).every((v, i) => v === i % 1000)).toBe(true)
  expect((await after).every((v) => v === 7)).toBe(true)
})

test('thousands of ops before anyone waits: many batches, writes among them', async () => {
  using device = await request(2)
  using x = device.tensor([0, 1])
  using one = device.tensor([1, 0])
  for (let i = 0; i < 5000; i++) {
    // Its number goes in with it, and is added up there.
    one.write([1, i])
    device.scope(() => x.assign(add(x, one)))
  }
  expect([...(await x.read())]).toEqual([5000, 1 + (4999 * 5000) / 2])
})

test('ops of hundreds of jobs: each is more than a batch', async () => {
  using device = await request(1)
  const pieces = Array.from({ length: 300 }, (_, i) => device.tensor([i]))
  using y = device.scope(() => {
    let all = t.concat(pieces, 0)
    for (let i = 0; i < 30; i++) all = add(all, t.concat(pieces, 0))
    return all
  })
  expect([...(await y.read())]).toEqual(pieces.map((_, i) => 31 * i))
  for (const piece of pieces) piece.dispose()
})

for (const backend of cpuBackends) {
  test(`a U-Net's output and gradients are the same bits on 1, 2, 3 and 5 threads [${backend}]`, async () => {
    const results: Float32Array[][] = []
    for (const threads of [1, 2, 3, 5]) {
      using device = await request(threads, backend)
      using model = await modelA(device)
      using x = device.tensor(numbers(3 * 3 * 8 * 8, 1), [3, 3, 8, 8])
      const { value, gradients } = t.grad(
        () => sum(square(model.forward(x, [3, 17, 500]))),
        [x, ...model.parameters.values()],
      )
      results.push(await Promise.all([value, ...gradients].map((one) => one.read())))
      for (const one of [value, ...gradients]) one.dispose()
    }
    const [first, ...others] = results
    expect(first.length).toBeGreaterThan(100)
    for (const [k, other] of others.entries())
      for (const [i, values] of other.entries())
        expectSameBits(values, first[i], `${[2, 3, 5][k]} threads, result ${i}`)
  })
}

for (const backend of cpuBackends) {
  test(`what feature networks are built of is the same bits on 1, 2, 3 and 5 threads [${backend}]`, async () => {
    const config = { dim: 48, depth: 2, heads: 3, patch: 4, grid: 4 }
    const results: Float32Array[][] = []
    for (const threads of [1, 2, 3, 5]) {
      using device = await request(threads, backend)
      using x = device.tensor(numbers(3 * 8 * 17 * 17, 1), [3, 8, 17, 17])
      using row = device.tensor(numbers(8 * 8 * 7, 2), [8, 8, 1, 7])
      using column = device.tensor(numbers(8 * 8 * 7, 3), [8, 8, 7, 1])
      using bias = device.tensor(numbers(8, 4))
      const window = { kernel: 3, stride: 1, padding: 1 }
      const made = device.scope(() => ({
        row: t.conv2d(x, row, { bias, padding: [0, 3] }),
        column: t.conv2d(x, column, { bias, padding: [3, 0] }),
        average: t.avgPool2d(x, { ...window, countPadding: true }),
        averageInside: t.avgPool2d(x, { ...window, countPadding: false }),
        maximum: t.maxPool2d(x, { kernel: 3, stride: 2 }),
        mean: t.mean(x, { axes: [2, 3] }),
      }))
      using net = await loadViT(device, keyedWeights(viTStateDict(config), 3), config)
      // Another shape than it was trained on, whose positions are interpolated.
      using pictures = device.tensor(numbers(3 * 3 * 20 * 28, 5), [3, 3, 20, 28])
      using features = net.features(pictures)
      results.push(await Promise.all([...Object.values(made), features].map((one) => one.read())))
      for (const one of Object.values(made)) one.dispose()
    }
    const [first, ...others] = results
    for (const [k, other] of others.entries())
      for (const [i, values] of other.entries())
        expectSameBits(values, first[i], `${[2, 3, 5][k]} threads, result ${i}`)
  })
}

test('a sample is the same in any batch, bit for bit: output and gradient of a U-Net', async () => {
  using device = await request(2)
  using model = await modelA(device)
  const size = 3 * 8 * 8
  const images = numbers(5 * size, 1)
  const timesteps = [3, 17, 500, 17, 999]
  const run = async (picks: readonly number[]): Promise<Float32Array[]> => {
    using x = device.tensor(
      picks.flatMap((k) => [...images.subarray(k * size, (k + 1) * size)]),
      [picks.length, 3, 8, 8],
    )
    const {
      value,
      gradients: [gradient],
    } = t.grad(
      () =>
        square(
          model.forward(
            x,
            picks.map((k) => timesteps[k]),
          ),
        ),
      [x],
    )
    const made = [await value.read(), await gradient.read()]
    value.dispose()
    gradient.dispose()
    return made
  }
  const together = await run([0, 1, 2, 3, 4])
  for (const picks of [[3], [4, 1], [2, 0, 3]]) {
    const found = await run(picks)
    for (const [i, k] of picks.entries()) {
      for (const [j, values] of found.entries()) {
        const each = values.length / picks.length
        expectSameBits(
          values.subarray(i * each, (i + 1) * each),
          together[j].subarray(k * each, (k + 1) * each),
          `sample ${k} of [${picks}]`,
        )
      }
    }
  }
})

test('from the second step on nothing is created, also where a training step frees in another order', async () => {
  using device = await request(2)
  using model = await modelA(device)
  using x = device.tensor(numbers(2 * 3 * 8 * 8, 1), [2, 3, 8, 8])
  const step = async (): Promise<void> => {
    const { value, gradients } = t.grad(() => sum(square(model.forward(x, [3, 17]))), [...model.parameters.values()])
    device.scope(() => [...model.parameters.values()].forEach((p, i) => p.assign(t.sub(p, mul(gradients[i], 1e-4)))))
    value.dispose()
    for (const gradient of gradients) gradient.dispose()
    await device.flush()
  }
  await step()
  const { objectsCreated, peakBytes, liveBuffers } = device.stats
  expect(objectsCreated).toBeGreaterThan(0)
  for (let i = 0; i < 4; i++) {
    await step()
    expect(device.stats).toMatchObject({ objectsCreated, peakBytes, liveBuffers })
  }
})

test('two devices at once, each with threads of its own', async () => {
  using a = await request(2)
  using b = await request(3)
  const sums = await Promise.all(
    [a, b].map(async (device, k) => {
      using x = device.tensor(numbers(1 << 16, k))
      let y = mul(x, 1)
      for (let i = 0; i < 100; i++) {
        const next = device.scope(() => silu(add(y, 1)))
        y.dispose()
        y = next
        if (i % 10 === 0) await device.flush()
      }
      const values = await y.read()
      y.dispose()
      return values
    }),
  )
  for (const [k, values] of sums.entries()) {
    const expected = numbers(1 << 16, k).map((v) => {
      for (let i = 0; i < 100; i++) v = (v + 1) / (1 + Math.exp(-(v + 1)))
      return v
    })
    // The map's slope is about 1 at its far end: roundings add up, 100 of them.
    expect(values.reduce((m, v, i) => Math.max(m, Math.abs(v / expected[i] - 1)), 0)).toBeLessThan(2e-5)
  }
})

test('memory that grows while helpers are at work, with kernels made in what is new', async () => {
  using device = await request(3)
  const kept: t.Tensor[] = []
  // Each round runs an expression that no one ran before; its module and its result lie in new memory.
  for (let i = 1; i <= 12; i++) {
    using x = device.tensor(new Float32Array(100_000 * i).fill(i))
    const addTwice = t.expression(1, 1, ([v], [s]) =>
      Array.from({ length: i }).reduce<t.ExpressionNode>((sum) => t.f.add(sum, s), v),
    )
    kept.push(t.map(addTwice, [x], [2]))
  }
  for (const [k, y] of kept.entries()) {
    expect(
      (await y.read()).every((v) => v === 3 * (k + 1)),
      `round ${k + 1}`,
    ).toBe(true)
    y.dispose()
  }
})

test('memory from 2 GiB on, where addresses are negative as 32-bit integers, and up to the end', async () => {
  const compute = async (device: t.Device): Promise<Float32Array[]> => {
    using model = await modelA(device)
    using x = device.tensor(numbers(2 * 3 * 8 * 8, 1), [2, 3, 8, 8])
    const { value, gradients } = t.grad(() => sum(square(model.forward(x, [3, 17]))), [x, ...model.parameters.values()])
    const read = await Promise.all([value, ...gradients].map((one) => one.read()))
    for (const one of [value, ...gradients]) one.dispose()
    return read
  }
  using low = await request(2)
  const expected = await compute(low)
  using high = await request(2)
  // Reserved and never touched. The model comes to lie on both sides of 2 GiB, then only behind.
  for (const bytes of [2 ** 31 - 2 ** 20, 2 ** 20]) {
    high.backend.allocate(bytes, () => 'room')
    for (const [i, values] of (await compute(high)).entries()) expectSameBits(values, expected[i], `result ${i}`)
  }
  using four = high.tensor([1, 2, 3, 4])
  const { address } = high.backend.allocate(2 ** 24, () => 'too large for a gap') as t.Storage & { address: number }
  const size = 5 * 2 ** 20
  high.backend.allocate(2 ** 32 - 2 * 4 * size - (address + 2 ** 24), () => 'room')
  using first = t.pad(four, [0], [size - 4])
  // It would end at 2^32, which is 0 to a kernel.
  expect(() => t.pad(four, [0], [size - 4])).toThrow(/addresses 4096\.0 MiB in all/)
  using last = t.pad(four, [0], [size - 20])
  expect((last.storage as t.Storage & { address: number }).address + 4 * (size - 16)).toBe(2 ** 32 - 64)
  for (const one of [first, last]) expectSameBits((await one.read()).subarray(-8), new Float32Array(8), 'zeros')
  expect([...(await last.read()).subarray(0, 6)]).toEqual([1, 2, 3, 4, 0, 0])
})

test('a job of more chunks than a ticket counts', async () => {
  using device = await request(2)
  // 4168 panels of weights to transform.
  const channels = 25_003
  const weight = numbers(channels * 6 * 9, 2)
  using x = device.tensor(numbers(6 * 16 * 16, 1), [1, 6, 16, 16])
  using w = device.tensor(weight, [channels, 6, 3, 3])
  using y = t.conv2d(x, w, { padding: 1 })
  const values = await y.read()
  for (const first of [0, 24_000, channels - 7]) {
    using few = device.tensor(weight.subarray(first * 54, (first + 6) * 54), [6, 6, 3, 3])
    using part = t.conv2d(x, few, { padding: 1 })
    expectSameBits(values.subarray(first * 256, (first + 6) * 256), await part.read(), `channels from ${first} on`)
  }
})
