/**
 * LPIPS and the loader of weights. Values and gradients are held against the reference's, in float32 on PyTorch. That
 * float32 itself bounds the comparison: a distance is a mean of squared differences of unit vectors, and PyTorch's own
 * float32 is up to 6e-6 of its float64 for the distances here and up to 2e-5 of the largest for gradient elements (run
 * with torch 1.13). Hence 2e-5 and 1e-4.
 */
import { readFileSync } from 'node:fs'
import { decode } from 'fast-png'
import { describe, expect, test } from 'vitest'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import { lpipsPlan, lpipsStateDict, lpipsTapSizes, type LpipsNet } from '../src/nn/lpips-plan.ts'
import { loadLpips, lpipsTaps, type Lpips } from '../src/nn/lpips.ts'
import { loadParameters, type WeightSource } from '../src/nn/load.ts'
import { grad, mul, stopGradient, sum, type Device, type Tensor } from '../src/tensor/index.ts'
import {
  backends,
  deviceTest,
  expectClose,
  granularity,
  numbers,
  onCPU,
  requestDevice,
  size,
  testDevice,
} from './op.ts'
import { describeShared, shared } from './shared.ts'

const valueTolerance = 2e-5
const gradientTolerance = 1e-4

type Weights = Map<string, { shape: readonly number[]; data: Float32Array }>

/** Weights as a loader reads them, without a file. */
const inMemory = (weights: Weights, name = 'formula'): WeightSource => ({
  name,
  tensors: new Map(
    [...weights].map(([key, { shape, data }]) => [
      key,
      { shape, byteLength: data.byteLength, read: async () => data.slice() },
    ]),
  ),
})

const formulas = new Map<LpipsNet, Weights>()

/**
 * A backbone by formula (spec K of docs/glossary.md); lin layers are positive numbers. A map of the caller's
 * own, with shared arrays.
 */
function formulaWeights(net: LpipsNet): Weights {
  const known =
    formulas.get(net) ??
    new Map(
      [...lpipsStateDict(net)].map(([key, shape], j) => {
        const count = size(shape)
        const amplitude = Math.sqrt((6 * shape[0]) / count)
        const data = new Float32Array(count)
        if (key.startsWith('lin')) for (let i = 0; i < count; i++) data[i] = 0.1 + 0.1 * Math.sin(0.7 * i + j) ** 2
        else if (key.endsWith('bias')) for (let i = 0; i < count; i++) data[i] = 0.05 * Math.sin(0.9 * i + j)
        else
          for (let i = 0; i < count; i++)
            data[i] = amplitude * Math.sin(0.37 * i + 1.3 * j + 0.5) * Math.cos(0.011 * i * (1 + (j % 3)))
        return [key, { shape, data }]
      }),
    )
  formulas.set(net, known)
  return new Map(known)
}

async function publishedLins(net: LpipsNet): Promise<Weights> {
  const file = await openCheckpoint(await openFile(shared(`weights/lpips/v0.1/${net}.pth`)))
  const lins: Weights = new Map()
  for (const [key, entry] of file.tensors)
    lins.set(key, { shape: entry.shape, data: (await entry.read()) as Float32Array })
  await file.close()
  return lins
}

/** Loads and runs `use`. */
async function withNet(device: Device, weights: Weights | string, use: (net: Lpips) => Promise<void>): Promise<void> {
  const file = typeof weights === 'string' ? await openCheckpoint(await openFile(shared(weights))) : null
  const net = await loadLpips(device, file ?? inMemory(weights as Weights))
  await file?.close()
  await use(net)
  net.dispose()
}

/** Reads and disposes. */
async function take(tensor: Tensor): Promise<Float32Array> {
  const values = await tensor.read()
  tensor.dispose()
  return values
}

const image = (device: Device, shape: readonly number[], value: (i: number) => number): Tensor =>
  device.tensor(
    Float32Array.from({ length: size(shape) }, (_, i) => value(i)),
    shape,
  )

/** Its inputs. */
const inputs = (device: Device, n = 2, side = 64): [Tensor, Tensor] => [
  image(device, [n, 3, side, side], (i) => Math.sin(0.021 * i)),
  image(device, [n, 3, side, side], (i) => Math.cos(0.023 * i + 0.4)),
]

const absolute = (values: ArrayLike<number>): Float64Array => Float64Array.from(values, Math.abs)
const total = (values: ArrayLike<number>): number => Float64Array.from(values).reduce((a, b) => a + b, 0)

describeShared('spec K: lin layers as published, backbone by formula', () => {
  const golden = {
    alex: [0.4997714, 0.5345196],
    vgg: [0.2055383, 0.1863433],
    squeeze: [0.1440592, 0.1327392],
  } as const
  const mixed = async (net: LpipsNet): Promise<Weights> =>
    new Map([...formulaWeights(net), ...(await publishedLins(net))])

  for (const name of ['alex', 'vgg', 'squeeze'] as const) {
    deviceTest(`${name}: distances`, async (device) => {
      await withNet(device, await mixed(name), async (net) => {
        expect(net.net).toBe(name)
        const [a, b] = inputs(device)
        expectClose(await take(net.distance(a, b)), golden[name], valueTolerance, name)
        a.dispose()
        b.dispose()
      })
    })
  }

  deviceTest('alex: taps, gradient, normalize, spatial', async (device) => {
    await withNet(device, await mixed('alex'), async (net) => {
      const [a, b] = inputs(device)
      const taps = device.scope(() => lpipsTaps(net.parameters, 'alex', a, b))
      const first = await Promise.all(taps.map(async (tap) => (await take(tap))[0]))
      expectClose(first, [0.0385092, 0.132748, 0.138957, 0.118204, 0.0713532], valueTolerance, 'taps of sample 0')

      const { value, gradients } = grad(() => net.distance(a, b), [a])
      expectClose(await take(value), golden.alex, valueTolerance, 'the value while a gradient is recorded')
      const g = await take(gradients[0])
      expectClose([total(absolute(g))], [130.1421], valueTolerance, 'abs sum of the gradient')
      expect(Math.max(...absolute(g))).toBeCloseTo(0.04546655, 6)
      expect(Math.abs(g[0] + 4.552936e-4)).toBeLessThan(gradientTolerance * 0.04546655)

      const unit = image(device, a.shape, (i) => (Math.sin(0.021 * i) + 1) / 2)
      const unitB = image(device, a.shape, (i) => (Math.cos(0.023 * i + 0.4) + 1) / 2)
      // Halving and doubling move each pixel by 6e-8, a third of what a rounding of the image itself is.
      expectClose(await take(net.distance(unit, unitB, { normalize: true })), golden.alex, valueTolerance, 'normalize')

      // Computed with torch 1.13 in float64 from the same formulas (F.interpolate, bilinear, align_corners=False).
      const spatial = grad(() => net.distance(a, b, { spatial: true }), [a])
      expect(spatial.value.shape).toEqual([2, 1, 64, 64])
      const map = await take(spatial.value)
      const picks = [map[0], map[2], map[3], map[31 * 64 + 17], total(map) / map.length]
      expectClose(
        picks,
        [0.42005301, 0.41945584, 0.41782717, 0.53842748, 4236.371557689804 / 8192],
        valueTolerance,
        'spatial',
      )
      const sg = await take(spatial.gradients[0])
      expectClose(
        [total(absolute(sg))],
        [533030.6868785617],
        valueTolerance,
        'abs sum of the gradient of the spatial map',
      )
      expectClose(
        [...sg.subarray(0, 4)],
        [-1.8641828, -3.8383363, -6.634549, -6.98488687],
        gradientTolerance,
        'its first elements',
        186.23,
      )
      for (const t of [a, b, unit, unitB]) t.dispose()
    })
  })

  test('the lin layers as published add up to the sums of torch', async () => {
    const sums = {
      alex: [2.349532, 16.143027, 39.268439, 27.197178, 20.317177],
      vgg: [6.925992, 8.858334, 17.515006, 51.521323, 47.034854],
      squeeze: [5.690101, 1.185279, 16.326565, 71.012624, 37.370723, 24.262872, 17.590553],
    }
    for (const [net, expected] of Object.entries(sums)) {
      const lins = await publishedLins(net as LpipsNet)
      const found = expected.map((_, k) => total(lins.get(`lin${k}.model.1.weight`)!.data))
      expect(lins.size).toBe(expected.length)
      // Six decimals are given.
      found.forEach((value, k) => expect(Math.abs(value - expected[k]), `${net} ${k}`).toBeLessThan(1.5e-6))
    }
  })
})

describeShared('complete nets', () => {
  interface Reference {
    readonly net: 'alex' | 'squeeze'
    readonly size: number
    readonly value: number
    readonly per_layer: readonly number[]
    readonly grad_wrt_a: { readonly l2: number; readonly first8: readonly number[]; readonly sum: number }
  }
  const load = (): {
    lpips: Reference[]
    lpips_png_pair: Record<'alex' | 'squeeze', { ref_p0: number; ref_p1: number }>
  } => JSON.parse(readFileSync(shared('goldens/weights-reference-values.json'), 'utf8'))
  const formula =
    (side: number, phase: number) =>
    (i: number): number => {
      const [x, y, c] = [i % side, Math.floor(i / side) % side, Math.floor(i / side / side)]
      return Math.sin(0.37 * x + 0.23 * y * (c + 1) + phase) * Math.cos(0.11 * y - 0.19 * x * (c + 1) + 0.5 * phase)
    }

  for (const name of ['alex', 'squeeze'] as const) {
    deviceTest(`${name}: values, layers, gradients, and the example images`, async (device) => {
      const { lpips, lpips_png_pair } = load()
      await withNet(device, `weights/lpips/lpips_${name}_v0.1.safetensors`, async (net) => {
        const references = lpips.filter((r) => r.net === name)
        expect(references.map((r) => r.size)).toEqual([32, 64])
        for (const { size: side, value, per_layer, grad_wrt_a } of references) {
          const a = image(device, [1, 3, side, side], formula(side, 0))
          const b = image(device, [1, 3, side, side], formula(side, 0.9))
          const what = `${name} ${side}`
          const found = grad(() => net.distance(a, b), [a])
          expectClose(await take(found.value), [value], valueTolerance, what)
          const layers = device.scope(() => lpipsTaps(net.parameters, name, a, b))
          expectClose(
            (await Promise.all(layers.map(take))).map(([v]) => v),
            per_layer,
            valueTolerance,
            `${what}, layers`,
          )
          const g = await take(found.gradients[0])
          const l2 = Math.sqrt(total(g.map((v) => v * v)))
          expectClose([l2], [grad_wrt_a.l2], gradientTolerance, `${what}, norm of the gradient`)
          const largest = Math.max(...absolute(g))
          expectClose(
            [...g.subarray(0, 8)],
            grad_wrt_a.first8,
            gradientTolerance,
            `${what}, first of the gradient`,
            largest,
          )
          // Terms of both signs: the sum is as good as the sum of the sizes.
          expectClose([total(g)], [grad_wrt_a.sum], valueTolerance, `${what}, sum of the gradient`, total(absolute(g)))
          a.dispose()
          b.dispose()
        }
        const [ref, p0, p1] = ['ref', 'p0', 'p1'].map((file) => {
          const { data, width, height, channels } = decode(readFileSync(shared(`weights/lpips/ex_${file}.png`)))
          expect([width, height, channels]).toEqual([64, 64, 3])
          return image(device, [1, 3, 64, 64], (i) => data[(i % 4096) * 3 + Math.floor(i / 4096)] / 127.5 - 1)
        })
        const { ref_p0, ref_p1 } = lpips_png_pair[name]
        expectClose(await take(net.distance(ref, p0)), [ref_p0], valueTolerance, 'ref to p0')
        expectClose(await take(net.distance(ref, p1)), [ref_p1], valueTolerance, 'ref to p1')
        for (const t of [ref, p0, p1]) t.dispose()
      })
    })
  }
})

describe('properties, with formula weights', () => {
  for (const name of ['alex', 'squeeze'] as const) {
    deviceTest(`${name}: zero on equal images, symmetric bit for bit, in value and gradient`, async (device) => {
      await withNet(device, formulaWeights(name), async (net) => {
        const [a, b] = inputs(device, 2, 37)
        const same = image(device, a.shape, (i) => Math.sin(0.021 * i))
        const zero = grad(() => net.distance(a, same), [a])
        expect([...(await take(zero.value))]).toEqual([0, 0])
        expect(total(absolute(await take(zero.gradients[0])))).toBe(0)
        expect([...(await take(net.distance(a, a)))]).toEqual([0, 0])
        const ab = grad(() => net.distance(a, b), [a])
        const ba = grad(() => net.distance(b, a), [a])
        const distances = await take(ab.value)
        expect([...(await take(ba.value))]).toEqual([...distances])
        expect(Math.min(...distances)).toBeGreaterThan(0.01)
        expect(await take(ba.gradients[0])).toEqual(await take(ab.gradients[0]))
        for (const t of [a, b, same]) t.dispose()
      })
    })
  }

  // Computed with torch 1.13 in float64 from the same formulas.
  deviceTest('gradients by both images; by the lin weights, by homogeneity', async (device) => {
    await withNet(device, formulaWeights('alex'), async (net) => {
      const [a, b] = [1, 2].map((seed) => device.tensor(numbers(3 * 45 * 33, seed), [1, 3, 45, 33]))
      const lins = [...net.parameters].filter(([key]) => key.startsWith('lin')).map(([, t]) => t)
      const { value, gradients } = grad(() => net.distance(a, b), [a, b, ...lins])
      const d = await take(value)
      expectClose(d, [0.6237398248354877], valueTolerance, 'distance')
      const [ga, gb, ...gl] = await Promise.all(gradients.map(take))
      const golden = [
        {
          norm: 0.6488872116010921,
          largest: 0.04381314578801709,
          elements: [-0.007074108547406009, -0.00380054049636671, 0.00010105653429059239, 0.003650862316964926],
        },
        {
          norm: 0.3027550109999986,
          largest: 0.023207495394058978,
          elements: [-0.01378030081863864, -0.013748237125344672, -0.011831956134959146, -0.010779672915734223],
        },
      ]
      for (const [k, g] of [ga, gb].entries()) {
        const { norm, largest, elements } = golden[k]
        expectClose(
          [Math.sqrt(total(g.map((v) => v * v)))],
          [norm],
          gradientTolerance,
          `image ${k}: norm of the gradient`,
        )
        expectClose(g.subarray(1000, 1004), elements, gradientTolerance, `image ${k}: elements`, largest)
      }
      // The distance is linear in the lin weights: weights times gradients give it back (Euler).
      let euler = 0
      for (const [k, lin] of lins.entries()) euler += total((await lin.read()).map((w, i) => w * gl[k][i]))
      expectClose([euler], d, valueTolerance, 'lin weights times their gradients')
      a.dispose()
      b.dispose()
    })
  })

  deviceTest('taps of zeros give neither NaN nor a gradient', async (device) => {
    const weights = formulaWeights('alex')
    // Bright images light the first layer up, dark ones leave all of it at 0; then only biases go on.
    for (const [key, value] of [
      ['features.0.weight', 0.01],
      ['features.0.bias', -0.5],
      ['features.8.bias', -1e4],
    ] as const) {
      const { shape, data } = weights.get(key)!
      weights.set(key, { shape, data: data.map(() => value) })
    }
    await withNet(device, weights, async (net) => {
      const dark = image(device, [1, 3, 32, 32], () => -1)
      const bright = image(device, [1, 3, 32, 32], () => 1)
      const half = image(device, [1, 3, 32, 32], (i) => (i % 32 < 16 ? -1 : 1))
      const [first, , , fourth] = await Promise.all(
        device.scope(() => lpipsTaps(net.parameters, 'alex', dark, bright)).map(take),
      )
      expect(first[0]).toBeGreaterThan(0)
      expect(fourth[0]).toBe(0)
      const byDark = grad(() => net.distance(dark, bright), [dark, bright])
      expect(Number.isFinite((await take(byDark.value))[0])).toBe(true)
      expect(total(absolute(await take(byDark.gradients[0])))).toBe(0)
      const byBright = await take(byDark.gradients[1])
      expect(byBright.every(Number.isFinite)).toBe(true)
      const byHalf = grad(() => net.distance(half, bright), [half])
      const g = await take(byHalf.gradients[0])
      byHalf.value.dispose()
      expect(g.every(Number.isFinite)).toBe(true)
      expect(total(absolute(g))).toBeGreaterThan(0)
      // Only windows of 11 that reach the bright half are alive, and column 0 is in none of them.
      expect(g.filter((_, i) => i % 32 === 0).every((v) => v === 0)).toBe(true)
      for (const t of [dark, bright, half]) t.dispose()
    })
  })

  deviceTest('constant images, one channel for three, and small images', async (device) => {
    await withNet(device, formulaWeights('squeeze'), async (net) => {
      const grey = image(device, [1, 1, 19, 23], () => 0.25)
      const grey3 = image(device, [1, 3, 19, 23], () => 0.25)
      const other = image(device, [1, 1, 19, 23], () => -0.5)
      const other3 = image(device, [1, 3, 19, 23], () => -0.5)
      const one = grad(() => net.distance(grey, other), [grey])
      const three = grad(() => net.distance(grey3, other3), [grey3])
      const d = await take(one.value)
      expect(d[0]).toBeGreaterThan(0)
      expect(await take(three.value)).toEqual(d)
      const [g1, g3] = [await take(one.gradients[0]), await take(three.gradients[0])]
      expect(g1.every(Number.isFinite)).toBe(true)
      const planes = 19 * 23
      expectClose(
        g1,
        g1.map((_, i) => g3[i] + g3[i + planes] + g3[i + 2 * planes]),
        1e-6,
        'one channel collects three gradients',
      )
      const small = image(device, [1, 3, 16, 40], () => 0)
      expect(() => net.distance(small, small)).toThrow(/16x40 is too small for LPIPS squeeze.*17x17/)
      expect(() => net.distance(grey, grey3)).toThrow(/lpips: expected two batches of images/)
      for (const t of [grey, grey3, other, other3, small]) t.dispose()
    })
  })

  for (const [name, side] of [
    ['alex', 31],
    ['vgg', 16],
    ['squeeze', 17],
  ] as const) {
    deviceTest(`${name}: the smallest image is one of ${side}`, async (device) => {
      await withNet(device, formulaWeights(name), async (net) => {
        const [a, b] = inputs(device, 1, side)
        const { value, gradients } = grad(() => net.distance(a, b), [a])
        expect((await take(value))[0]).toBeGreaterThan(0)
        const g = await take(gradients[0])
        expect(g.every(Number.isFinite)).toBe(true)
        expect(total(absolute(g))).toBeGreaterThan(0)
        const small = image(device, [1, 3, side, side - 1], () => 0)
        expect(() => net.distance(small, small)).toThrow(expect.objectContaining({ code: 'shape' }))
        for (const t of [a, b, small]) t.dispose()
      })
    })
  }

  test.each(backends)('maps are freed tap by tap [%s]', async (backend) => {
    using device = await requestDevice(backend)
    using net = await loadLpips(device, inMemory(formulaWeights('alex')))
    const [a, b] = inputs(device, 1, 128)
    const before = device.stats.liveBytes
    net.distance(a, b).dispose()
    // The largest moment, the first tap's: both maps and one product of them, 64 channels of 31x31; the rest is
    // two sums over channels.
    const map = 64 * 31 * 31 * 4
    expect(device.stats.peakBytes - before).toBeGreaterThanOrEqual(3 * map)
    expect(device.stats.peakBytes - before).toBeLessThan(3.1 * map)
    expect(device.stats.liveBytes).toBe(before)
    await device.flush()
  })

  deviceTest('a distance to a fixed image keeps that image no more than its taps', async (device) => {
    await withNet(device, formulaWeights('alex'), async (net) => {
      const [a, b] = inputs(device, 1)
      const bytes = (count: number): number => Math.ceil((count * 4) / granularity(device)) * granularity(device)
      const sizes = lpipsTapSizes('alex', 64, 64)
      const tap = (k: number): number => bytes(lpipsPlan('alex').taps[k] * sizes[k][0] * sizes[k][1])
      const energies = sizes.reduce((n, [h, w]) => n + 2 * bytes(h * w), 0)
      const taps = [0, 1, 2, 3, 4].reduce((n, k) => n + tap(k), 0)
      // What the pools hand on, and which tap of each window won: 64 and 192 channels, 7x7 and 3x3.
      const pools = 2 * (bytes(64 * 49) + bytes(192 * 9))
      const run = (other: () => Tensor): number => {
        const { value, gradients, savedBytes } = device.scope(() => grad(() => sum(net.distance(a, other())), [a]))
        value.dispose()
        gradients[0].dispose()
        return savedBytes
      }
      expect(run(() => b)).toBe(2 * taps + energies + pools)
      // Also where the second image is made from the first, as self-guidance makes it.
      const made = run(() => stopGradient(mul(a, 0.5)))
      expect(made).toBe(2 * taps + energies + pools)
      a.dispose()
      b.dispose()
    })
  })

  deviceTest('the second call makes no new object', async (device) => {
    await withNet(device, formulaWeights('alex'), async (net) => {
      const [a, b] = inputs(device, 1, 32)
      const step = (): void => {
        const { value, gradients } = grad(() => net.distance(a, b), [a])
        value.dispose()
        gradients[0].dispose()
      }
      step()
      await device.flush()
      const { objectsCreated, reads } = device.stats
      step()
      await device.flush()
      expect({ ...device.stats }).toMatchObject({ objectsCreated, reads })
      a.dispose()
      b.dispose()
    })
  })
})

describe('loading', () => {
  const alex = formulaWeights('alex')
  const but = (key: string, data: Float32Array, shape = alex.get(key)!.shape): Weights =>
    new Map([...alex, [key, { shape, data }]])

  /** What loading `weights` rejects with; nothing may be left on the device. */
  async function failure(weights: Weights, load = loadLpips): Promise<unknown> {
    const device = await testDevice('cpu')
    const before = device.stats.liveBuffers
    const error = await load(device, inMemory(weights, 'bad.safetensors')).then(
      () => 'it loaded',
      (e: unknown) => e,
    )
    expect(device.stats.liveBuffers).toBe(before)
    return error
  }

  test.each([Number.NaN, Infinity, -Infinity])('%s in a weight is named by tensor', async (value) => {
    const data = alex.get('features.6.weight')!.data.slice()
    data[12345] = value
    const error = await failure(but('features.6.weight', data))
    expect(error).toMatchObject({ code: 'non-finite' })
    expect(String(error)).toContain(
      `bad.safetensors: features.6.weight: expected finite weights, found ${value} at element 12345`,
    )
  })

  test('missing, unexpected and misshapen tensors are one error', async () => {
    const weights = but('features.0.bias', new Float32Array(63), [63])
    weights.set('features.10.biass', weights.get('features.10.bias')!)
    weights.delete('features.10.bias')
    const error = await failure(weights)
    expect(error).toMatchObject({ code: 'weights' })
    expect(String(error)).toMatch(
      /1 missing: features\.10\.bias \[256\].*1 unexpected: features\.10\.biass.*features\.0\.bias \[63\] instead of \[64\]/,
    )
    expect(await failure(new Map([...alex].filter(([key]) => key.startsWith('lin'))))).toMatchObject({
      code: 'weights',
    })
  })

  deviceTest(
    'integers are no weights',
    async (device) => {
      const entry = (data: Float32Array | Int32Array) => ({ shape: [2], byteLength: 8, read: async () => data })
      const file = {
        name: 'integers',
        tensors: new Map([
          ['scale', entry(Float32Array.of(1, 2))],
          ['steps', entry(Int32Array.of(1, 2))],
        ]),
      }
      await expect(
        loadParameters(
          device,
          file,
          new Map([
            ['scale', [2]],
            ['steps', [2]],
          ]),
        ),
      ).rejects.toMatchObject({ code: 'weights', message: expect.stringContaining('integers: steps') })
    },
    onCPU,
  )

  deviceTest(
    'progress in bytes of the file, in the order asked for; an abort at every tensor leaves nothing',
    async (device) => {
      const file = inMemory(alex)
      const expected = lpipsStateDict('alex')
      const seen: number[] = []
      const parameters = await loadParameters(device, file, expected, {
        onProgress: (done, all) => seen.push(done / all),
      })
      expect([...parameters.keys()]).toEqual([...expected.keys()])
      expect(seen).toHaveLength(expected.size + 1)
      expect([seen[0], seen.at(-1)]).toEqual([0, 1])
      expect(seen).toEqual([...seen].sort((a, b) => a - b))
      expect(await parameters.get('features.3.bias')!.read()).toEqual(alex.get('features.3.bias')!.data)
      for (const tensor of parameters.values()) tensor.dispose()
      for (const stop of [0, 1, 7, expected.size]) {
        const controller = new AbortController()
        let calls = 0
        const onProgress = (): void => {
          if (calls++ === stop) controller.abort(new Error('enough'))
        }
        await expect(loadParameters(device, file, expected, { signal: controller.signal, onProgress })).rejects.toThrow(
          'enough',
        )
        expect(calls).toBe(stop + 1)
      }
    },
    onCPU,
  )
})
