/**
 * The feature net: its distance and features against the same net in float64 on the host, the gradient against central
 * differences of that, its training's views and loss against their formulas, and that it learns.
 */
import { describe, expect, test } from 'vitest'
import {
  type FeatureNet,
  featureNetConfigOf,
  featureNetMemoryOf,
  featureNetStateDict,
  loadFeatureNet,
  parameterCount,
  type FeatureNetConfig,
  type WeightSource,
} from '../src/nn/index.ts'
import { grad, sum, type Device, type Tensor } from '../src/tensor/index.ts'
import { FeatureTask, Trainer, viewsOf, type FeatureTaskOptions } from '../src/train/index.ts'
import { turned } from '../src/metrics/index.ts'
import {
  deviceTest,
  expectClose,
  expectSameBits,
  host,
  numbers,
  onCPU,
  requestDevice,
  size as sizeOf,
  type Host,
} from './op.ts'

const config: FeatureNetConfig = { inChannels: 3, channels: [5, 4, 6] }
const side = 16

type Weights = Map<string, { shape: readonly number[]; data: Float32Array }>

const weightsOf = (of: FeatureNetConfig): Weights =>
  new Map(
    [...featureNetStateDict(of)].map(([key, shape], j) => [
      key,
      {
        shape,
        data: Float32Array.from(
          numbers(sizeOf(shape), j + 10),
          (v) => v * (key.endsWith('bias') ? 0.2 : Math.sqrt(6 / (9 * shape[1]))),
        ),
      },
    ]),
  )

const inMemory = (weights: Weights, name = 'net.safetensors'): WeightSource => ({
  name,
  tensors: new Map(
    [...weights].map(([key, { shape, data }]) => [
      key,
      { shape, byteLength: data.byteLength, read: async () => data.slice() },
    ]),
  ),
})

const loaded = (device: Device, of = config): Promise<FeatureNet> => loadFeatureNet(device, inMemory(weightsOf(of)))

async function take(tensor: Tensor): Promise<Float32Array> {
  const values = await tensor.read()
  tensor.dispose()
  return values
}

// --- The same net on the host. ---

function hostConv({ shape: [n, cin, h, w], data }: Host, weight: Float32Array, bias: Float32Array): Host {
  const cout = bias.length
  const out = host([n, cout, h, w])
  for (let b = 0; b < n; b++)
    for (let o = 0; o < cout; o++)
      for (let y = 0; y < h; y++)
        for (let x = 0; x < w; x++) {
          let total = bias[o]
          for (let c = 0; c < cin; c++)
            for (let dy = -1; dy <= 1; dy++)
              for (let dx = -1; dx <= 1; dx++) {
                if (y + dy < 0 || y + dy >= h || x + dx < 0 || x + dx >= w) continue
                total +=
                  weight[((o * cin + c) * 3 + dy + 1) * 3 + dx + 1] * data[((b * cin + c) * h + y + dy) * w + x + dx]
              }
          out.data[((b * cout + o) * h + y) * w + x] = total
        }
  return out
}

const hostRelu = ({ shape, data }: Host): Host =>
  host(
    shape,
    data.map((v) => Math.max(v, 0)),
  )

function hostPool({ shape: [n, c, h, w], data }: Host): Host {
  const out = host([n, c, h >> 1, w >> 1])
  out.data.forEach((_, i) => {
    const x = i % (w >> 1)
    const y = Math.floor(i / (w >> 1)) % (h >> 1)
    const at = Math.floor(i / ((h >> 1) * (w >> 1))) * h * w + 2 * y * w + 2 * x
    out.data[i] = (data[at] + data[at + 1] + data[at + w] + data[at + w + 1]) / 4
  })
  return out
}

/** The ReLU of every stage. */
function hostStages(x: Host, weights: Weights, channels: readonly number[]): Host[] {
  let h = x
  return channels.map((_, k) => {
    const conv = (i: number, input: Host): Host =>
      hostConv(input, weights.get(`stages.${k}.${i}.weight`)!.data, weights.get(`stages.${k}.${i}.bias`)!.data)
    return (h = hostRelu(conv(1, hostRelu(conv(0, k === 0 ? h : hostPool(h))))))
  })
}

function hostDistance(a: Host, b: Host): number[] {
  const weights = weightsOf(config)
  const [p, q] = [a, b].map((x) => hostStages(x, weights, config.channels))
  return Array.from({ length: a.shape[0] }, (_, n) =>
    p.reduce((total, { shape: [, c, h, w] }, k) => {
      let squares = 0
      for (let place = 0; place < h * w; place++) {
        const vector = ({ data }: Host): number[] => {
          const raw = Array.from({ length: c }, (_, i) => data[(n * c + i) * h * w + place])
          const length = Math.hypot(...raw)
          return raw.map((v) => v / (length + 1e-10))
        }
        const [u, v] = [vector(p[k]), vector(q[k])]
        squares += u.reduce((s, value, i) => s + (value - v[i]) ** 2, 0)
      }
      return total + squares / (h * w) / config.channels.length
    }, 0),
  )
}

const pictures = (count: number, seed: number, channels = 3): Host =>
  host([count, channels, side, side], numbers(count * channels * side * side, seed))
const upload = (device: Device, { shape, data }: Host): Tensor => device.tensor(data, shape)

describe('the net', () => {
  deviceTest('distance and its gradient by a picture', async (device) => {
    using net = await loaded(device)
    const [a, b] = [pictures(2, 1), pictures(2, 2)]
    const [x, y] = [a, b].map((image) => upload(device, image))
    const { value, gradients } = grad(() => net.distance(x, y), [x])
    expectClose(await take(value), hostDistance(a, b), 5e-6, 'distance')
    const found = await take(gradients[0])
    const probes = Array.from({ length: 12 }, (_, i) => 61 * i + 7)
    const numeric = probes.map((i) => {
      const moved = (by: number): number => {
        const data = a.data.slice()
        data[i] += by
        return hostDistance({ ...a, data }, b).reduce((s, v) => s + v)
      }
      return (moved(1e-6) - moved(-1e-6)) / 2e-6
    })
    // Float32 against central differences in float64; no ReLU turns within 1e-6 at these probes.
    expectClose(
      probes.map((i) => found[i]),
      numeric,
      1e-4,
      'gradient',
      Math.max(...found),
    )
    x.dispose()
    y.dispose()
  })

  deviceTest('of equal pictures it is 0, and bit for bit the same the other way round', async (device) => {
    using net = await loaded(device)
    const [x, y] = [pictures(3, 3), pictures(3, 4)].map((image) => upload(device, image))
    expect([...(await take(net.distance(x, x)))]).toEqual([0, 0, 0])
    expectSameBits(await take(net.distance(x, y)), await take(net.distance(y, x)), 'the other way round')
    x.dispose()
    y.dispose()
  })

  deviceTest(
    'where nothing is felt the gradient is 0, not NaN',
    async (device) => {
      const silent: Weights = new Map(
        [...weightsOf(config)].map(([key, { shape, data }]) => [
          key,
          { shape, data: data.map(() => (key.endsWith('bias') ? -1 : 0)) },
        ]),
      )
      using net = await loadFeatureNet(device, inMemory(silent))
      const x = upload(device, pictures(1, 5))
      const flat = upload(device, host([1, 3, side, side]))
      for (const both of [() => net.distance(x, flat), () => sum(net.features(x))]) {
        const { value, gradients } = grad(both, [x])
        expect([...(await take(value))].every((v) => v === 0)).toBe(true)
        expect(new Set(await take(gradients[0]))).toEqual(new Set([0]))
      }
      x.dispose()
      flat.dispose()
    },
    onCPU,
  )

  deviceTest(
    'a constant picture has a finite gradient',
    async (device) => {
      using net = await loaded(device)
      const [flat, other] = [host([1, 3, side, side], new Float64Array(3 * side * side).fill(0.5)), pictures(1, 6)].map(
        (image) => upload(device, image),
      )
      const { value, gradients } = grad(() => net.distance(flat, other), [flat])
      value.dispose()
      const found = await take(gradients[0])
      expect(found.every(Number.isFinite)).toBe(true)
      expect(found.some((v) => v !== 0)).toBe(true)
      flat.dispose()
      other.dispose()
    },
    onCPU,
  )

  deviceTest('features: means of every stage, scaled to equal lengths', async (device) => {
    using net = await loaded(device)
    expect(net.dimension).toBe(15)
    const image = pictures(2, 7)
    const x = upload(device, image)
    const expected = [0, 1].flatMap((n) =>
      hostStages(image, weightsOf(config), config.channels).flatMap(({ shape: [, c, h, w], data }) => {
        const means = Array.from(
          { length: c },
          (_, i) => data.subarray((n * c + i) * h * w, (n * c + i + 1) * h * w).reduce((a, b) => a + b) / (h * w),
        )
        return means.map((v) => v / Math.hypot(...means) / Math.sqrt(3))
      }),
    )
    expectClose(await take(net.features(x)), expected, 2e-6, 'features')
    x.dispose()
  })

  deviceTest(
    'a grey picture counts for all three channels',
    async (device) => {
      using net = await loaded(device)
      const grey = pictures(2, 8, 1)
      const colour = host(
        [2, 3, side, side],
        Float64Array.from(
          { length: 2 * 3 * side * side },
          (_, i) => grey.data[Math.floor(i / (3 * side * side)) * side * side + (i % (side * side))],
        ),
      )
      const [x, y, z] = [grey, colour, pictures(2, 9)].map((image) => upload(device, image))
      expectSameBits(await take(net.features(x)), await take(net.features(y)), 'features')
      expectSameBits(
        await take(device.scope(() => net.distance(x, device.tensor(grey.data, grey.shape)))),
        new Float32Array(2),
        'distance',
      )
      expect(() => net.distance(x, z)).toThrow('one shape')
      for (const tensor of [x, y, z]) tensor.dispose()
    },
    onCPU,
  )

  deviceTest(
    'refuses pictures that are too small or of other channels',
    async (device) => {
      using grey = await loaded(device, { inChannels: 1, channels: [2, 2] })
      using x = device.tensor(new Float32Array(3 * 256), [1, 3, 16, 16])
      using small = device.tensor(new Float32Array(15 * 15), [1, 1, 15, 15])
      expect(() => grey.features(x)).toThrow('pictures [N, 1, H, W]')
      expect(() => grey.features(small)).toThrow('16 x 16 pixels or more')
    },
    onCPU,
  )

  deviceTest(
    'is told from its tensors; heads of a training are left out; another network is refused',
    async (device) => {
      const weights = weightsOf(config)
      expect(featureNetConfigOf(inMemory(weights))).toEqual(config)
      const heads: Weights = new Map([
        ...weights,
        ['heads.project.0.weight', { shape: [2], data: new Float32Array(2) }],
      ])
      using net = await loadFeatureNet(device, inMemory(heads))
      expect([...net.parameters.keys()]).toEqual([...weights.keys()])
      const other: Weights = new Map([['time_embed.0.weight', { shape: [2], data: new Float32Array(2) }]])
      await expect(loadFeatureNet(device, inMemory(other))).rejects.toThrow('net.safetensors: expected a feature net')
      weights.delete('stages.1.1.bias')
      await expect(loadFeatureNet(device, inMemory(weights))).rejects.toThrow('stages.1.1.bias')
    },
    onCPU,
  )

  test('the default net is smaller than 1 MB', () => {
    expect(4 * parameterCount(featureNetStateDict({ inChannels: 3, channels: [24, 48, 64, 96] }))).toBeLessThan(1e6)
  })

  for (const gradient of [false, true]) {
    test(`${gradient ? 'forward and backward' : 'forward'}, it takes no more memory than said`, async () => {
      const of: FeatureNetConfig = { inChannels: 3, channels: [8, 16] }
      const device = await requestDevice('cpu')
      try {
        const batch = 4
        using net = await loaded(device, of)
        const [x, y] = [1, 2].map((seed) => device.tensor(numbers(batch * 3 * 1024, seed), [batch, 3, 32, 32]))
        device.scope(() => void (gradient ? grad(() => net.distance(x, y), [x]) : net.distance(x, y)))
        await device.flush()
        const { bytes } = featureNetMemoryOf(of, { batch, gradient, size: [32, 32] })
        expect(device.stats.peakBytes - 2 * x.size * 4).toBeLessThanOrEqual(bytes)
        // It is a bound, not a guess ten times too high.
        expect(device.stats.peakBytes).toBeGreaterThan(bytes / 5)
      } finally {
        device.dispose()
      }
    })
  }
})

describe('views', () => {
  const images = Float32Array.from(numbers(3 * 3 * 64, 1))
  const plain = { augment: 'symmetries', area: 1, jitter: 0, blur: 0 } as const

  test('with nothing changed but their turn they are one of the eight symmetries, and all occur', () => {
    const many = Float32Array.from({ length: 60 * 3 * 64 }, (_, i) => images[i % (3 * 64)])
    const views = viewsOf(many, 3, 8, 0, 0, 7, plain)
    const known = Array.from({ length: 8 }, (_, s) => turned({ data: images.subarray(0, 3 * 64), size: 8 }, s).join())
    const found = Array.from({ length: 60 }, (_, n) =>
      known.indexOf(views.subarray(n * 3 * 64, (n + 1) * 3 * 64).join()),
    )
    expect(new Set(found)).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7]))
    expect(viewsOf(many, 3, 8, 0, 0, 7, { ...plain, augment: 'none' })).toEqual(many)
  })

  test('depend on seed, view and number of the image, and on nothing else of the batch', () => {
    const all = viewsOf(images, 3, 8, 5, 0, 3)
    expect(viewsOf(images.subarray(3 * 64), 3, 8, 6, 0, 3)).toEqual(all.subarray(3 * 64))
    for (const other of [
      viewsOf(images, 3, 8, 5, 1, 3),
      viewsOf(images, 3, 8, 5, 0, 4),
      viewsOf(images, 3, 8, 6, 0, 3),
    ])
      expect(other).not.toEqual(all)
  })

  test('stay in [-1, 1] and change colours by no more than asked', () => {
    const flat = new Float32Array(3 * 64).fill(0.5)
    const view = viewsOf(flat, 3, 8, 0, 0, 1, { augment: 'none', area: 0.5, jitter: 0.1, blur: 1 })
    // 0.1 of brightness, 0.1 of the channel, 0.1 of contrast on 0.5.
    for (const value of view) expect(Math.abs(value - 0.5)).toBeLessThanOrEqual(0.25 + 1e-6)
    const bright = viewsOf(new Float32Array(3 * 64).fill(1), 3, 8, 0, 0, 1, {
      augment: 'none',
      area: 0.5,
      jitter: 0.5,
      blur: 0,
    })
    expect(Math.max(...bright)).toBeLessThanOrEqual(1)
  })
})

describe('training', () => {
  /** Two classes of pictures: horizontal and vertical stripes of random phase and colour. */
  const load: FeatureTaskOptions['load'] = async (first, count) => {
    const images = new Float32Array(count * 3 * side * side)
    const labels = Int32Array.from({ length: count }, (_, i) => (first + i) % 2)
    for (let n = 0; n < count; n++) {
      const [phase, red, green, blue] = numbers(4, first + n)
      for (let i = 0; i < side * side; i++) {
        const stripe = Math.sin((labels[n] ? Math.floor(i / side) : i % side) + 3 * phase)
        for (const [c, colour] of [red, green, blue].entries())
          images[(n * 3 + c) * side * side + i] = 0.5 * stripe + 0.5 * colour
      }
    }
    return { images, labels }
  }
  const options: FeatureTaskOptions = { config, size: side, load, classCounts: [60, 20], seed: 1, augment: 'none' }

  deviceTest('the loss is contrast plus weighted cross entropy', async (device) => {
    using task = new FeatureTask(device, { ...options, noise: 0, classWeight: 0.5, temperature: 0.3 })
    const draw = await task.load(4, 3)
    const { loss, terms } = device.scope(() => task.losses(draw))
    const found = { loss: await take(loss), contrast: await take(terms.contrast), class: await take(terms.class) }

    const read = async (name: string): Promise<Float32Array> => task.parameters.get(name)!.read()
    const [w0, b0, w1, wc, bc] = await Promise.all(
      [
        'heads.project.0.weight',
        'heads.project.0.bias',
        'heads.project.1.weight',
        'heads.classes.weight',
        'heads.classes.bias',
      ].map(read),
    )
    const rows: number[][] = []
    for (const view of draw.views) {
      using x = device.tensor(view, [3, 3, side, side])
      const values = await take(task.net.features(x))
      for (let n = 0; n < 3; n++) rows.push([...values.subarray(n * 15, n * 15 + 15)].map((v) => v * Math.sqrt(15)))
    }
    const times = (x: readonly number[], w: Float32Array, b: ArrayLike<number> = []): number[] =>
      Array.from({ length: w.length / x.length }, (_, o) =>
        x.reduce((s, v, i) => s + v * w[o * x.length + i], b[o] ?? 0),
      )
    const z = rows
      .map((x) =>
        times(
          times(x, w0, b0).map((v) => Math.max(v, 0)),
          w1,
        ),
      )
      .map((v) => v.map((e) => e / Math.hypot(...v)))
    const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((s, v, i) => s + v * b[i], 0)
    const contrasts = z.map(
      (a, i) =>
        Math.log(z.reduce((s, b, j) => (j === i ? s : s + Math.exp(dot(a, b) / 0.3)), 0)) -
        dot(a, z[(i + 3) % 6]) / 0.3,
    )
    const entropies = rows.map((x, i) => {
      const logits = times(x, wc, bc)
      const label = draw.labels[i % 3]
      return (
        (label === 0 ? 80 / 120 : 80 / 40) * (Math.log(logits.reduce((s, v) => s + Math.exp(v), 0)) - logits[label])
      )
    })
    const perPicture = (values: readonly number[]): number[] => [0, 1, 2].map((i) => (values[i] + values[i + 3]) / 2)
    expectClose(found.contrast, perPicture(contrasts), 1e-5, 'contrast')
    expectClose(found.class, perPicture(entropies), 1e-5, 'cross entropy')
    expectClose(
      found.loss,
      perPicture(contrasts).map((v, i) => v + 0.5 * perPicture(entropies)[i]),
      1e-5,
      'loss',
    )
  })

  deviceTest(
    'both terms fall, and without classes there is the contrast alone',
    async (device) => {
      using task = new FeatureTask(device, { ...options, classCounts: [40, 40] })
      using trainer = new Trainer(device, task, { batch: 16, steps: 60, lr: 5e-3, logEvery: 15 })
      while (!trainer.done) await trainer.next()
      const [first, last] = [trainer.rows[0], trainer.rows.at(-1)!]
      expect(last.values.contrast.all).toBeLessThan(0.8 * first.values.contrast.all)
      expect(last.values.class.all).toBeLessThan(0.5 * first.values.class.all)
      using alone = new FeatureTask(device, { ...options, classCounts: [] })
      const draw = await alone.load(0, 2)
      const { loss, terms } = device.scope(() => alone.losses(draw))
      loss.dispose()
      expect(Object.keys(terms)).toEqual([])
      expect([...alone.parameters.keys()].filter((key) => key.startsWith('heads.classes'))).toEqual([])
    },
    onCPU,
  )
})
