/** AdamW's update in place, and what it stands on: tensors that are pieces of one memory, and joining many at once. */
import { describe, expect, test } from 'vitest'
import { add, full, mul, square, updateAdamW, type Device, type Tensor } from '../src/tensor/index.ts'
import { concat } from '../src/tensor/index.ts'
import { layOut } from '../src/tensor/ops/copy.ts'
import type { WebGPUBackend } from '../src/tensor/webgpu/backend.ts'
import { AdamW } from '../src/train/index.ts'
import { partsOf, piecesOf, wholesOf } from '../src/train/pieces.ts'
import { deviceTest, numbers } from './op.ts'

const values = (n: number, seed: number, scale = 1): number[] =>
  Array.from(numbers(n, seed), (x) => Math.fround(scale * x))

describe('an update', () => {
  const numbersOf = { decay: 0.9, rate: 0.05, correction: 1.5, eps: 1e-3, betas: [0.9, 0.99] as [number, number] }
  // Fours and not, longer than a workgroup and than a chunk of the CPU; averages that need a second and a third kernel.
  for (const [n, averages, scaled, scale] of [
    [1, 0, false, 1],
    [7, 3, true, 1],
    [260, 1, false, 1e4],
    [1027, 4, true, 1e4],
    [40_001, 11, true, 1],
    [65_536, 2, false, 1],
  ] as const) {
    deviceTest(
      `of ${n} elements and ${averages} averages${scaled ? ', scaled' : ''}, values of ${scale}`,
      async (device) => {
        const g = values(n, 1, scale)
        const [w, m] = [values(n, 2, scale), values(n, 3, scale)]
        const v = values(n, 4, scale * scale).map(Math.abs)
        const shadows = Array.from({ length: averages }, (_, k) => values(n, 5 + k, scale))
        const keep = shadows.map((_, k) => 0.5 + k / 25)
        const factor = scaled ? 0.25 : 1
        const tensors = [w, m, v, ...shadows].map((array) => device.tensor(array))
        using gradient = device.tensor(g)
        using scaledBy = device.tensor([factor])
        const state = { w: tensors[0], m: tensors[1], v: tensors[2], averages: tensors.slice(3) }
        updateAdamW(gradient, state, { ...numbersOf, keep }, scaled ? scaledBy : undefined)
        const found = await Promise.all(tensors.map((t) => t.read()))
        for (const t of tensors) t.dispose()
        // A sum of two products, or a quotient and a root on the way to one: some ten roundings of 6e-8 of what is
        // added.
        const near = (array: Float32Array, expected: (i: number) => number, size: (i: number) => number): void => {
          for (let i = 0; i < n; i++)
            if (!(Math.abs(array[i] - expected(i)) <= 1e-6 * size(i)))
              throw new Error(`element ${i}: found ${array[i]}, expected ${expected(i)}`)
        }
        const slope = (i: number): number => g[i] * factor
        const mean = (i: number): number => 0.9 * m[i] + 0.1 * slope(i)
        const meanSquare = (i: number): number => 0.99 * v[i] + 0.01 * slope(i) ** 2
        // By the moments that were found: their rounding is not the weight's.
        const step = (i: number): number => (0.05 * found[1][i]) / (Math.sqrt(found[2][i]) * 1.5 + 1e-3)
        near(found[1], mean, (i) => Math.abs(m[i]) + Math.abs(slope(i)))
        near(found[2], meanSquare, (i) => v[i] + slope(i) ** 2)
        near(
          found[0],
          (i) => 0.9 * w[i] - step(i),
          (i) => Math.abs(w[i]) + Math.abs(step(i)),
        )
        keep.forEach((rate, k) =>
          near(
            found[3 + k],
            (i) => rate * shadows[k][i] + (1 - rate) * found[0][i],
            (i) => Math.abs(shadows[k][i]) + Math.abs(found[0][i]),
          ),
        )
      },
    )
  }
  deviceTest('of other shapes is refused', async (device) => {
    using a = full(device, [2], 1)
    using b = full(device, [3], 1)
    const numbers = { ...numbersOf, keep: [] }
    expect(() => updateAdamW(a, { w: a, m: a, v: b, averages: [] }, numbers)).toThrow('[2]')
  })
})

describe('many tensors at once', () => {
  deviceTest('are laid out where they are told, with 0 between', async (device) => {
    const sizes = [1, 4, 3, 64, 100, 5, 8, 260, 2, 12]
    const offsets: number[] = []
    let size = 0
    for (const n of sizes) {
      offsets.push(size)
      size += Math.ceil(n / 64) * 64
    }
    const arrays = sizes.map((n, i) => values(n, i))
    const tensors = arrays.map((array) => device.tensor(array))
    using out = layOut(tensors, offsets, size)
    const expected = new Float32Array(size)
    arrays.forEach((array, i) => expected.set(array, offsets[i]))
    expect(await out.read()).toEqual(expected)
    for (const t of tensors) t.dispose()
  })
  for (const [what, sizes] of [
    ['odd', [3, 1, 70, 5, 9, 2, 11, 1, 7, 64, 13, 1, 1, 5, 300, 8]],
    ['fours', [4, 64, 8, 128, 4, 4, 12, 16]],
  ] as const) {
    deviceTest(`${what} are joined, in few kernels on a GPU`, async (device) => {
      const arrays = sizes.map((n, i) => Uint32Array.from({ length: n }, (_, k) => 0xffff0000 + 1000 * i + k))
      const tensors = arrays.map((array) => device.tensor(array, [array.length], 'u32'))
      const before = device.stats.dispatches
      using joined = concat(tensors, 0)
      const kernels = device.backend.kind === 'webgpu' ? Math.ceil(sizes.length / 7) : sizes.length
      expect(device.stats.dispatches - before).toBe(kernels)
      expect(Array.from(await joined.read())).toEqual(arrays.flatMap((array) => [...array]))
      for (const t of tensors) t.dispose()
    })
  }
})

describe('tensors in pieces of memory', () => {
  test('begin where a buffer may be bound, and pieces are no larger than they may be', () => {
    const sizes = { a: 1, b: 64, c: 65, d: 1000, e: 3 }
    const tensors = new Map(Object.entries(sizes).map(([name, size]) => [name, { size } as Tensor]))
    expect(piecesOf(tensors, 256)).toEqual([
      { names: ['a', 'b', 'c'], offsets: [0, 64, 128], size: 256 },
      { names: ['d'], offsets: [0], size: 1024 },
      { names: ['e'], offsets: [0], size: 64 },
    ])
    expect(piecesOf(new Map())).toEqual([])
  })

  deviceTest('are written, read, computed with and copied by themselves', async (device) => {
    const like = new Map([
      ['a', device.tensor([1, 2, 3])],
      ['b', full(device, [2, 50], 4)],
      ['c', device.tensor([5, 6, 7])],
    ])
    const pieces = piecesOf(like)
    const [whole] = wholesOf(device, pieces)
    const parts = partsOf(pieces, [whole], like)
    const [a, b, c] = [...parts.values()]
    for (const [name, part] of parts) part.assign(like.get(name)!)
    expect([...(await c.read())]).toEqual([5, 6, 7])
    a.write([10, 20, 30])
    // WebGPU copies between two buffers only.
    c.assign(a)
    a.write([1, 1, 1])
    using sum = add(c, a)
    expect([...(await sum.read())]).toEqual([11, 21, 31])
    using all = square(whole)
    const expected = new Float32Array(256)
    expected.set([1, 1, 1])
    expected.fill(16, 64, 164)
    expected.set([100, 400, 900], 192)
    expect(await all.read()).toEqual(expected)
    whole.dispose()
    a.dispose()
    c.dispose()
    expect(
      [...(await b.read())].every((x) => x === 4),
      'the last of them keeps the memory',
    ).toBe(true)
    b.dispose()
    for (const t of like.values()) t.dispose()
  })
})

describe('parameters of an optimizer', () => {
  const network = (device: Device): { w: Tensor; b: Tensor; parameters: Map<string, Tensor> } => {
    const w = device.tensor(values(12, 1), [3, 4])
    const b = device.tensor([1, 2, 3])
    return {
      w,
      b,
      parameters: new Map([
        ['w', w],
        ['b', b],
      ]),
    }
  }
  const gradientsOf = (device: Device): Tensor[] => [full(device, [3, 4], 0.5), full(device, [3], -1)]

  deviceTest('are the same tensors after it, with their handles, and outlive it', async (device) => {
    const { w, b, parameters } = network(device)
    using flat = w.alias([12])
    const before = await w.read()
    {
      using optimizer = new AdamW(device, parameters, { emaRates: [0.5] })
      expect(await w.read()).toEqual(before)
      expect(await optimizer.emas[0].get('w')!.read()).toEqual(before)
      const [gw, gb] = gradientsOf(device)
      optimizer.step([gw, gb], 0.1)
      expect([...(await gb.read())], "gradients stay the caller's").toEqual([-1, -1, -1])
      gw.dispose()
      gb.dispose()
    }
    // The first step is lr times the sign.
    const after = await flat.read()
    after.forEach((x, i) => expect(x).toBeCloseTo(before[i] - 0.1, 5))
    using twice = mul(b, 2)
    ;(await twice.read()).forEach((x, i) => expect(x).toBeCloseTo(2 * (i + 1.1), 5))
    w.dispose()
    b.dispose()
  })

  deviceTest('are refused where one has two names', async (device) => {
    const { w, b } = network(device)
    using twin = w.alias()
    const tied = new Map([
      ['in', w],
      ['out', twin],
    ])
    expect(() => new AdamW(device, tied)).toThrow('AdamW: "out" is the memory of "in" too: give a tensor once.')
    w.dispose()
    b.dispose()
  })

  deviceTest('may have another one, in turns', async (device) => {
    const { w, b, parameters } = network(device)
    const [gw, gb] = gradientsOf(device)
    const first = new AdamW(device, parameters)
    const second = new AdamW(device, parameters)
    for (const optimizer of [second, first, second]) optimizer.step([gw, gb], 0.1)
    ;(await b.read()).forEach((x, i) => expect(x).toBeCloseTo(i + 1.3, 5))
    for (const t of [first, second, w, b, gw, gb]) t.dispose()
  })

  deviceTest('are updated by one kernel, with all averages', async (device) => {
    const { w, b, parameters } = network(device)
    using optimizer = new AdamW(device, parameters, { emaRates: [0.9, 0.99] })
    const [gw, gb] = gradientsOf(device)
    const taken = optimizer.take([gw, gb])
    const before = device.stats.dispatches
    optimizer.update(taken, 0.1)
    // On the CPU one more for an average.
    expect(device.stats.dispatches - before).toBe(device.backend.kind === 'webgpu' ? 1 : 3)
    for (const t of [...taken, w, b]) t.dispose()
  })

  deviceTest(
    'have a buffer of their own when it is asked for, and are trained on',
    async (device) => {
      const { w, b, parameters } = network(device)
      using optimizer = new AdamW(device, parameters)
      const before = await b.read()
      const buffer = await b.gpuBuffer()
      const { gpuDevice } = device.backend as WebGPUBackend
      gpuDevice.queue.writeBuffer(buffer, 0, new Float32Array([7, 8, 9]))
      expect([...before, ...(await b.read())]).toEqual([1, 2, 3, 7, 8, 9])
      const [gw, gb] = gradientsOf(device)
      optimizer.step([gw, gb], 0.1)
      ;(await b.read()).forEach((x, i) => expect(x).toBeCloseTo(7.1 + i, 5))
      for (const t of [gw, gb, w, b]) t.dispose()
    },
    { on: ['webgpu'] },
  )
})
