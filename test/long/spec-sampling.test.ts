/**
 * Whole trajectories: Boost-and-Skip (L.18 of docs/glossary.md), noise by sample and seed, aborts, and what a step may
 * cost: nothing is read back inside the loop, and from the second step of its kind on no object is created.
 */
import { expect, test } from 'vitest'
import {
  classifierGuidance,
  ddimInvert,
  GaussianDiffusion,
  GeneratedNoise,
  GivenNoise,
  l2,
  sample,
  sampleLoop,
  selfGuidance,
  type Denoiser,
  type SampleOptions,
} from '../../src/diffusion/index.ts'
import type { Classifier, UNet } from '../../src/nn/index.ts'
import { mul, type Device, type Tensor } from '../../src/tensor/index.ts'
import { psnr } from '../golden.ts'
import { backends, deviceTest, expectClose, onCPU, requestDevice } from '../op.ts'
import { encoder, inputX, modelA } from '../spec-models.ts'

const shape = [3, 8, 8]
const tenSteps = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '10' })

interface World {
  readonly device: Device
  readonly model: UNet
  readonly classifier: Classifier
  readonly denoiser: Denoiser
  /** Options of each kind of sampling. */
  readonly kinds: Readonly<Record<string, Omit<SampleOptions, 'noise'>>>
}

async function makeWorld(device: Device): Promise<World> {
  const model = await modelA(device)
  const classifier = await encoder(device)
  const guidances = [classifierGuidance((x, t) => classifier.forward(x, t), { target: 4, scale: 2 })]
  const self = selfGuidance({ weight: 0.4, every: 1, distance: l2 })
  return {
    device,
    model,
    classifier,
    denoiser: (x, timesteps) => model.forward(x, timesteps),
    kinds: {
      ancestral: {},
      ddim: { method: 'ddim', eta: 0.5 },
      'self-guided': { selfGuidance: self },
      'self-guided ddim': { method: 'ddim', selfGuidance: self },
      'classifier-guided': { guidances },
      'boost-and-skip': { boost: 4, skip: 3 },
      everything: { guidances, selfGuidance: { ...self, draws: 2 }, boost: 2, skip: 1 },
    },
  }
}

function samplingTest(name: string, body: (world: World) => Promise<void>): void {
  deviceTest(
    name,
    async (device) => {
      const world = await makeWorld(device)
      await body(world)
      world.model.dispose()
      world.classifier.dispose()
    },
    onCPU,
  )
}

/** The samples of ten steps. */
async function draw(
  world: World,
  samples: readonly number[],
  options: Omit<SampleOptions, 'noise'>,
  seed = 7,
): Promise<Float32Array> {
  using noise = new GeneratedNoise(world.device, { seed, samples, shape })
  using x = await sample(tenSteps, world.model, { noise, ...options })
  return await x.read()
}

samplingTest('L.18: boost 1 and skip 0 are plain sampling, bit for bit', async (world) => {
  for (const method of ['ancestral', 'ddim'] as const) {
    expect(await draw(world, [0, 1], { method, boost: 1, skip: 0 })).toEqual(await draw(world, [0, 1], { method }))
    expect(await draw(world, [0, 1], { method, boost: 1.5, skip: 1 })).not.toEqual(
      await draw(world, [0, 1], { method }),
    )
  }
})

deviceTest(
  'L.18: skipping 3 of 250 begins at index 246, from the boosted draw',
  async (device) => {
    const diffusion = new GaussianDiffusion({
      schedule: 'cosine',
      diffusionSteps: 1000,
      respacing: '250',
      varianceType: 'fixedSmall',
    })
    const indices: number[] = []
    const told: number[] = []
    let first: Float32Array | null = null
    let seen: Tensor | null = null
    const denoiser: Denoiser = (x, [t]) => {
      told.push(t)
      seen ??= x.alias()
      return mul(x, 0.1)
    }
    using xT = device.tensor([0.5, -1, 2, 0.25], [1, 1, 2, 2])
    using none = device.tensor(new Float32Array(4 * 247), [247, 1, 1, 2, 2])
    for await (const step of sampleLoop(diffusion, denoiser, { noise: new GivenNoise(xT, none), boost: 4, skip: 3 })) {
      indices.push(step.t)
      expect([step.done, step.total]).toEqual([indices.length, 247])
      if (step.done > 1) continue
      first = await step.x.read()
    }
    expect(indices).toEqual(Array.from({ length: 247 }, (_, i) => 246 - i))
    expect(told.slice(0, 2)).toEqual([diffusion.process.timestepMap[246], diffusion.process.timestepMap[245]])
    // The first step, by hand, from 4 x_T.
    const { tables } = diffusion.process
    const expected = [2, -4, 8, 1].map((x) => {
      const xStart = Math.max(
        -1,
        Math.min(1, tables.sqrtRecipAlphaBar[246] * x - tables.sqrtRecipm1AlphaBar[246] * 0.1 * x),
      )
      return tables.posteriorMeanCoef1[246] * xStart + tables.posteriorMeanCoef2[246] * x
    })
    expectClose(first as unknown as Float32Array, expected, 1e-6, 'first step')
    ;(seen as Tensor | null)?.dispose()
    // The draw itself is the caller's, and unchanged.
    expect(Array.from(await xT.read())).toEqual([0.5, -1, 2, 0.25])
  },
  onCPU,
)

samplingTest('sample k of a seed has the same noise in any batch, bit for bit, and the same picture', async (world) => {
  const alone = new GeneratedNoise(world.device, { seed: 11, samples: [5], shape })
  const batch = new GeneratedNoise(world.device, { seed: 11, samples: [2, 5, 9], shape })
  const draws: readonly ((noise: GeneratedNoise) => Tensor)[] = [
    (n) => n.initial(),
    (n) => n.step(9),
    (n) => n.step(0),
    (n) => n.renoise(9, 0),
    (n) => n.renoise(9, 1),
  ]
  const seen: Float32Array[] = []
  for (const draw of draws) {
    using one = draw(alone)
    using many = draw(batch)
    const values = await one.read()
    expect((await many.read()).subarray(192, 384)).toEqual(values)
    seen.push(values)
  }
  // No two draws are the same.
  seen.forEach((a, i) => seen.slice(0, i).forEach((b) => expect(a).not.toEqual(b)))
  alone.dispose()
  batch.dispose()
  for (const [name, options] of Object.entries(world.kinds)) {
    const one = await draw(world, [5], options)
    const many = await draw(world, [2, 5, 9], options)
    expect(psnr(many.subarray(192, 384), one), `${name}: dB`).toBeGreaterThanOrEqual(90)
    expect(psnr(many.subarray(0, 192), one), `${name}: another sample is another picture`).toBeLessThan(40)
  }
  expect(psnr(await draw(world, [5], {}, 8), await draw(world, [5], {}))).toBeLessThan(40)
})

samplingTest('the same seed twice is the same picture, bit for bit', async (world) => {
  for (const options of Object.values(world.kinds))
    expect(await draw(world, [0, 1], options)).toEqual(await draw(world, [0, 1], options))
})

for (const [name, backend] of [
  'ancestral',
  'ddim',
  'self-guided',
  'self-guided ddim',
  'classifier-guided',
  'boost-and-skip',
  'everything',
].flatMap((name) => backends.map((backend) => [name, backend] as const))) {
  test(`${name}: the loop reads nothing back, and from the second step on creates no object [${backend}]`, async () => {
    // A device that has computed nothing yet: neither buffers nor kernels of another test are there.
    using device = await requestDevice(backend)
    const { denoiser, kinds } = await makeWorld(device)
    using noise = new GeneratedNoise(device, { seed: 0, samples: [0, 1], shape })
    const { reads } = device.stats
    let created = 0
    let live = 0
    for await (const step of sampleLoop(tenSteps, denoiser, { noise, ...kinds[name] })) {
      if (step.done === 1) [created, live] = [device.stats.objectsCreated, device.stats.liveBuffers]
      expect(device.stats.objectsCreated - created, `objects created by step ${step.done}`).toBe(0)
      expect(device.stats.liveBuffers, `buffers alive after step ${step.done}`).toBe(live)
    }
    expect(device.stats.reads - reads, 'reads').toBe(0)
    expect(created).toBeGreaterThan(backend === 'webgpu' ? 100 : 3)
  })
}

test.each(backends)(
  'where only some steps are guided, the second of each kind creates nothing [%s]',
  async (backend) => {
    using device = await requestDevice(backend)
    const { denoiser } = await makeWorld(device)
    const twenty = new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: 1000, respacing: '20' })
    using noise = new GeneratedNoise(device, { seed: 0, samples: [0, 1, 2], shape })
    let created = 0
    const seen = new Map<boolean, number>()
    // Index 15 is the first guided one: four plain steps come before it.
    for await (const step of sampleLoop(twenty, denoiser, { noise, selfGuidance: selfGuidance({ every: 5 }) })) {
      const guided = step.t % 5 === 0
      const before = seen.get(guided) ?? 0
      if (before > 0) expect(device.stats.objectsCreated - created, `index ${step.t}`).toBe(0)
      seen.set(guided, before + 1)
      created = device.stats.objectsCreated
    }
    expect(seen).toEqual(
      new Map([
        [false, 16],
        [true, 4],
      ]),
    )
  },
)

samplingTest(
  'an abort between steps rejects with its reason and frees everything',
  async ({ device, denoiser, kinds }) => {
    for (const [name, options] of Object.entries(kinds)) {
      for (const at of [0, 1, 3]) {
        using noise = new GeneratedNoise(device, { seed: 0, samples: [0], shape })
        const before = device.stats.liveBuffers
        const controller = new AbortController()
        const reason = new Error(`${name} ${at}`)
        let done = 0
        const run = async (): Promise<void> => {
          if (at === 0) controller.abort(reason)
          for await (const step of sampleLoop(tenSteps, denoiser, { noise, ...options, signal: controller.signal })) {
            done = step.done
            if (done === at) controller.abort(reason)
          }
        }
        await expect(run()).rejects.toBe(reason)
        expect(done).toBe(at)
        expect(device.stats.liveBuffers).toBe(before)
      }
    }
  },
)

samplingTest('an abort while a step is computed takes effect before it is shown', async ({ device, denoiser }) => {
  using noise = new GeneratedNoise(device, { seed: 0, samples: [0], shape })
  const before = device.stats.liveBuffers
  const controller = new AbortController()
  let calls = 0
  const shown: number[] = []
  const abortive: Denoiser = (x, timesteps) => {
    if (++calls === 3) controller.abort()
    return denoiser(x, timesteps)
  }
  const run = async (): Promise<void> => {
    for await (const step of sampleLoop(tenSteps, abortive, { noise, signal: controller.signal })) shown.push(step.done)
  }
  await expect(run()).rejects.toThrow(/abort/i)
  expect(shown).toEqual([1, 2])
  expect(device.stats.liveBuffers).toBe(before)
})

test('an abort while WebGPU compiles rejects with its reason and frees everything', async () => {
  using device = await requestDevice('webgpu')
  const model = await modelA(device)
  using noise = new GeneratedNoise(device, { seed: 0, samples: [0], shape })
  await device.flush()
  const before = { ...device.stats }
  const controller = new AbortController()
  const reason = new Error('enough')
  const first = sampleLoop(tenSteps, (x, timesteps) => model.forward(x, timesteps), {
    noise,
    signal: controller.signal,
  }).next()
  controller.abort(reason)
  expect(device.stats.dispatches, 'the step is enqueued').toBeGreaterThan(before.dispatches)
  expect(device.stats.submits, 'and waits for its kernels').toBe(before.submits)
  await expect(first).rejects.toBe(reason)
  expect(device.stats.liveBuffers).toBe(before.liveBuffers)
  model.dispose()
})

samplingTest('leaving the loop, or a denoiser that throws, frees everything', async ({ device, denoiser }) => {
  const before = device.stats.liveBuffers
  const noise = new GeneratedNoise(device, { seed: 0, samples: [0], shape })
  for await (const step of sampleLoop(tenSteps, denoiser, { noise })) if (step.done === 2) break
  let calls = 0
  const broken: Denoiser = (x, timesteps) => {
    if (++calls === 4) throw new Error('broken')
    return denoiser(x, timesteps)
  }
  for (const selfGuided of [null, selfGuidance({ every: 1 })]) {
    calls = 0
    const run = async (): Promise<void> => {
      for await (const step of sampleLoop(tenSteps, broken, {
        noise,
        ...(selfGuided ? { selfGuidance: selfGuided } : {}),
      }))
        void step
    }
    await expect(run()).rejects.toThrow('broken')
  }
  noise.dispose()
  expect(device.stats.liveBuffers).toBe(before)
})

samplingTest('DDIM backwards aborts between steps, too', async ({ device, denoiser }) => {
  using x0 = inputX(device)
  const before = device.stats.liveBuffers
  const controller = new AbortController()
  const run = async (): Promise<void> => {
    for await (const step of ddimInvert(tenSteps, denoiser, x0, { signal: controller.signal })) {
      if (step.done === 2) controller.abort(new Error('enough'))
    }
  }
  await expect(run()).rejects.toThrow('enough')
  expect(device.stats.liveBuffers).toBe(before)
})
