/**
 * DINO's training: loss, gradients and centre of a small vision transformer against PyTorch 1.13 in double precision
 * (the transformer, the head with a weight norm whose g is 1 and the loss as facebookresearch/dino has them; weights
 * and views by the formula of keyed-formula.ts), the teacher against its formula, a run that goes on against one that
 * was never interrupted, and that our own net does not collapse.
 */
import { describe, expect, test } from 'vitest'
import { FeatureNet, ViT, viTStateDict } from '../src/nn/index.ts'
import { grad, sum, type Device, type Tensor } from '../src/tensor/index.ts'
import {
  dinoFeatureNet,
  DinoTask,
  Trainer,
  viewsOf,
  type DinoNetwork,
  type DinoTaskOptions,
} from '../src/train/index.ts'
import { keyedValues, keyedWeights } from './keyed-formula.ts'
import { deviceTest, expectClose, expectSameBits, numbers, onCPU, size } from './op.ts'

const expected = {
  loss: [4.3601354, 6.6562451],
  entropy: [0.069314289, 0.056283529],
  centre: [
    -0.020542401, -0.03546529, 0.070891092, 0.094638904, 0.095962709, 0.075041428, -0.048452028, 0.0041623448,
    0.07954019, 0.0070154378, 0.05181889, 0.052663781, -0.071964734, -0.10200305, -0.036899673, 0.15719893,
  ],
  gradientNorm: 59.233409,
  /** Length of the gradient, then its first four numbers. */
  gradients: {
    cls_token: [2.6920028, 0.093729656, -0.91647134, 0.14909146, -0.38357714],
    pos_embed: [3.9873922, 0.093729656, -0.91647134, 0.14909146, -0.38357714],
    'patch_embed.proj.weight': [24.687645, -0.6430114, 0.83850885, -0.76170771, 0.78002571],
    'blocks.0.attn.qkv.weight': [8.907271, 0.02976962, -0.24191829, 0.10465319, -0.042810287],
    'blocks.1.mlp.fc1.bias': [3.0012549, -0.037111428, -0.012307638, 0.17082476, 0.21881895],
    'norm.weight': [5.2369902, -0.93520063, 2.2281882, -0.44265639, 0.56750812],
    'heads.mlp.0.weight': [17.760618, -1.5693362, 2.6515605, -0.49648212, -1.39688],
    'heads.mlp.4.bias': [21.064612, -10.26755, 4.1528938, 7.5620683, -6.2039143],
    'heads.last_layer.weight_v': [8.1863227, -0.056998923, -0.22608083, -0.028206553, 0.21449449],
  },
}

/** 8 pixels a patch, 4 patches a side. */
const small = { dim: 12, depth: 2, heads: 3, patch: 8, grid: 4 }
const special = { cls_token: { offset: 0, scale: 0.5 }, pos_embed: { offset: 0, scale: 0.5 } }
const none: DinoTaskOptions['load'] = () => Promise.reject(new Error('no images are asked for'))

/**
 * The parameters' values in the golden: of the student by their names, of the teacher by `teacher.` and their names.
 */
async function writeKeyed(parameters: ReadonlyMap<string, Tensor>, prefix: string): Promise<void> {
  const shapes = new Map([...parameters].map(([key, { shape }]) => [prefix + key, shape]))
  for (const [key, entry] of keyedWeights(shapes, 3, special).tensors)
    parameters.get(key.slice(prefix.length))!.write((await entry.read()) as Float32Array)
}

const take = async (tensor: Tensor): Promise<Float32Array> => {
  const values = await tensor.read()
  tensor.dispose()
  return values
}

deviceTest('loss, gradients and centre on a vision transformer are those of PyTorch', async (device) => {
  const network: DinoNetwork = {
    parameters: new Map(
      [...viTStateDict(small)].map(([key, shape]) => [key, device.tensor(new Float32Array(size(shape)), shape)]),
    ),
    inChannels: 3,
    dimension: small.dim,
    features: (parameters, x) => new ViT(small, new Map(parameters)).features(x),
  }
  using task = new DinoTask(device, {
    ...{ network, size: 32, localSize: 16, localViews: 2, outputs: 16, hidden: 10, bottleneck: 6 },
    ...{ load: none, images: 100, frozen: 0, momentum: 0.9, seed: 1 },
  })
  await writeKeyed(task.parameters, '')
  await writeKeyed(task.teacher, 'teacher.')
  task.kept.get('centre')!.write(keyedValues('centre', 16, 0.1))
  const draw = {
    ...{ first: 50, weights: [1, 1], groups: [0, 0] },
    views: [32, 32, 16, 16].map((side, k) => keyedValues(`view${k}`, 2 * 3 * side * side)),
  }
  using cotangent = device.tensor([0.5, 0.5], [2])
  let seen: Tensor | undefined
  let entropy: Tensor | undefined
  const { value, gradients } = grad(
    () => {
      const made = task.losses(draw)
      entropy = device.keep(made.terms.entropy)
      seen = device.keep(made.seen)
      return made.loss
    },
    [...task.parameters.values()],
    cotangent,
  )
  expectClose(await take(value), expected.loss, 2e-5, 'loss')
  expectClose(await take(entropy!), expected.entropy, 2e-5, 'entropy')
  let squares = 0
  for (const [i, key] of [...task.parameters.keys()].entries()) {
    const found = await take(gradients[i])
    const length = Math.hypot(...found)
    squares += length ** 2
    const [norm, ...first] = (expected.gradients as Record<string, readonly number[]>)[key] ?? []
    if (norm === undefined) continue
    expectClose([length], [norm], 2e-5, `length of the gradient of ${key}`)
    expectClose(found.subarray(0, 4), first, 2e-5, key, norm)
  }
  expectClose([Math.sqrt(squares)], [expected.gradientNorm], 2e-5, 'length of the gradient')

  const key = 'blocks.0.attn.qkv.weight'
  const before = await task.teacher.get(key)!.read()
  task.updated([{ draw, seen: seen! }])
  expectClose(await task.kept.get('centre')!.read(), expected.centre, 2e-5, 'centre')
  // Half way the momentum is half way from 0.9 to 1.
  const student = await task.parameters.get(key)!.read()
  expectClose(
    await task.teacher.get(key)!.read(),
    before.map((v, i) => 0.95 * v + 0.05 * student[i]),
    1e-6,
    'teacher',
  )
  seen!.dispose()
})

const side = 32
const config = { inChannels: 3, channels: [6, 8, 10] } as const

/** Two kinds of pictures: horizontal and vertical stripes of random phase and colour. */
const load: DinoTaskOptions['load'] = async (first, count) => {
  const images = new Float32Array(count * 3 * side * side)
  for (let n = 0; n < count; n++) {
    const [phase, red, green, blue] = numbers(4, first + n)
    for (let i = 0; i < side * side; i++) {
      const stripe = Math.sin((((first + n) % 2 ? Math.floor(i / side) : i % side) + 3 * phase) / 2)
      for (const [c, colour] of [red, green, blue].entries())
        images[(n * 3 + c) * side * side + i] = 0.5 * stripe + 0.5 * colour
    }
  }
  return { images }
}

const taskOf = (device: Device, options: Partial<DinoTaskOptions> = {}): DinoTask =>
  new DinoTask(device, {
    network: options.network ?? dinoFeatureNet(device, config, 3),
    ...{ size: side, load, localViews: 2, augment: 'none', seed: 3 },
    ...{ outputs: 32, hidden: 16, bottleneck: 8, images: 48, frozen: 0.3 },
    ...options,
  })

describe('a run on our own net', () => {
  deviceTest(
    'goes on to the same bits: student, teacher, centre and moments, in micro-batches',
    async (device) => {
      const options = { batch: 8, microbatch: 5, steps: 6, lr: 1e-3, clip: 3, logEvery: 2 }
      const [task, other] = [taskOf(device), taskOf(device, { network: dinoFeatureNet(device, config, 9) })]
      const trainer = new Trainer(device, task, options)
      const last = await task.parameters.get('heads.last_layer.weight_v')!.read()
      for (let k = 0; k < 2; k++) await trainer.next()
      // For the first 0.3 * 48 images, which are two steps.
      expectSameBits(await task.parameters.get('heads.last_layer.weight_v')!.read(), last, 'the frozen last layer')
      await trainer.next()
      expect(await task.parameters.get('heads.last_layer.weight_v')!.read()).not.toEqual(last)
      const { tensors, counters } = trainer.state()
      expect(tensors.has('kept.centre') && tensors.has('kept.teacher.stages.0.0.weight')).toBe(true)
      const saved = new Map<string, Float32Array>()
      for (const [name, tensor] of tensors) saved.set(name, (await tensor.read()).slice())
      const resumed = new Trainer(device, other, options)
      await resumed.restore(structuredClone(counters), async (name) => saved.get(name)!)
      for (const one of [trainer, resumed]) while (!one.done) await one.next()
      const [left, right] = [trainer.state().tensors, resumed.state().tensors]
      for (const [name, tensor] of left) expectSameBits(await right.get(name)!.read(), await tensor.read(), name)
      expect(resumed.rows).toEqual(trainer.rows)
      expect(Object.keys(trainer.rows[0].values)).toEqual(['loss', 'entropy'])
      for (const one of [trainer, resumed, task, other]) one.dispose()
    },
    onCPU,
  )

  deviceTest(
    'micro-batches are the whole batch, of a network that looks at each picture by itself',
    async (device) => {
      const found: Float32Array[] = []
      for (const microbatch of [8, 3]) {
        const network: DinoNetwork = {
          ...dinoFeatureNet(device, config, 3),
          features: (parameters, x) => new FeatureNet(config, parameters).features(x),
        }
        using task = taskOf(device, { network, frozen: 0 })
        using trainer = new Trainer(device, task, { batch: 8, microbatch, steps: 6, lr: 1e-3 })
        const { loss } = await trainer.next()
        found.push(Float32Array.of(loss, ...(await task.kept.get('centre')!.read())))
      }
      expectClose(found[1], found[0], 1e-5, 'loss and centre')
    },
    onCPU,
  )

  deviceTest(
    'the loss is what differences say of it',
    async (device) => {
      using task = taskOf(device)
      const draw = await task.load(40, 2)
      const weight = task.parameters.get('stages.1.0.weight')!
      const loss = (): Tensor => sum(task.losses(draw).loss)
      const made = device.scope(() => {
        const { value, gradients } = grad(loss, [weight])
        device.keep(value)
        return { value, gradient: device.keep(gradients[0]) }
      })
      const gradient = await take(made.gradient)
      made.value.dispose()
      const values = (await weight.read()).slice()
      const largest = gradient.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
      for (const at of [0, 100, 250]) {
        const moved = async (step: number): Promise<number> => {
          weight.write(values.map((v, i) => v + (i === at ? step : 0)))
          return (await take(device.scope(loss)))[0]
        }
        const slope = ((await moved(1e-2)) - (await moved(-1e-2))) / 2e-2
        expect(Math.abs(slope - gradient[at])).toBeLessThan(2e-2 * largest)
      }
    },
    onCPU,
  )
})

test('a local view is a small square of a smaller side', () => {
  const ramp = Float32Array.from({ length: 32 * 32 }, (_, i) => (i % 32) / 32)
  const how = { augment: 'none', jitter: 0, blur: 0 } as const
  const view = viewsOf(ramp, 1, 32, 0, 2, 5, { ...how, area: 0.1, areaMost: 0.4 }, 16)
  expect(view.length).toBe(256)
  const slope = (view[10] - view[5]) / 5
  const shown = Math.sqrt((slope * 16) ** 2)
  expect(shown).toBeGreaterThan(Math.sqrt(0.1) - 0.01)
  expect(shown).toBeLessThan(Math.sqrt(0.4) + 0.01)
  expect([...view.subarray(16, 32)]).toEqual([...view.subarray(0, 16)])
})
