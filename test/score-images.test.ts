/**
 * Scores of a data set are those of `construct_ms_dataset.py`, computed here once more on the host, and depend on
 * nothing but the image, its number, its class and the seed.
 */
import { expect, test } from 'vitest'
import {
  l1,
  l2,
  scoreImages,
  scoreProcess,
  type ConditionalDenoiser,
  type ImageSource,
} from '../src/diffusion/index.ts'
import { purposes } from '../src/tensor/purposes.ts'
import { openCheckpoint, openFile } from '../src/io/index.node.ts'
import { describeModel, loadLpips, loadModel, UNet } from '../src/nn/index.ts'
import { hostRandomNormal, splitSeed } from '../src/tensor/philox.ts'
import type { Device } from '../src/tensor/index.ts'
import { networkParameters } from './formula.ts'
import { weights } from './cli.ts'
import { deviceTest, expectClose, numbers } from './op.ts'
import { describeShared, shared } from './shared.ts'
import { modelA, unetConfig } from './spec-models.ts'

const process = { schedule: 'cosine', diffusionSteps: 1000 } as const

/** `count` images of uniform noise. */
function noisySource(count: number, shape: readonly number[]): ImageSource {
  const area = shape.reduce((a, b) => a * b, 1)
  return {
    length: count,
    shape,
    read: async (indices) => Float32Array.from(indices.flatMap((k) => [...numbers(area, 100 + k)])),
  }
}

/** abar of the cosine schedule at step t of T: the product of 1 - beta, each beta at most 0.999. */
function cosineAlphaBar(t: number, T: number): number {
  const f = (u: number): number => Math.cos(((u + 0.008) / 1.008) * (Math.PI / 2)) ** 2
  let product = 1
  for (let i = 0; i <= t; i++) product *= 1 - Math.min(1 - f((i + 1) / T) / f(i / T), 0.999)
  return product
}

interface Reference {
  readonly timestep: number
  readonly alphaBar: number
  readonly draws: number
  readonly seed: number
  readonly y?: readonly number[]
}

/** The definition, in float64 but for the network: the reconstructions of every draw, and their distances. */
async function defined(
  device: Device,
  denoiser: ConditionalDenoiser,
  source: ImageSource,
  indices: readonly number[],
  { timestep, alphaBar, draws, seed, y }: Reference,
  norm: (difference: number[]) => number,
) {
  const images = await source.read(indices)
  const area = images.length / indices.length
  const scores = new Float64Array(indices.length)
  let first: Float64Array | null = null
  for (let draw = 0; draw < draws; draw++) {
    const noise = hostRandomNormal({ seed: splitSeed(seed), draw, purpose: purposes.score }, indices, area)
    const noisy = images.map((v, i) => Math.sqrt(alphaBar) * v + Math.sqrt(1 - alphaBar) * noise[i])
    using x = device.tensor(noisy, [indices.length, ...source.shape])
    using out = device.scope(() =>
      denoiser(
        x,
        indices.map(() => timestep),
        y,
      ),
    )
    const epsilon = await out.read()
    const restored = Float64Array.from(noisy, (v, i) => {
      const n = Math.floor(i / area)
      const estimate = (v - Math.sqrt(1 - alphaBar) * epsilon[2 * n * area + (i % area)]) / Math.sqrt(alphaBar)
      return Math.min(1, Math.max(-1, estimate))
    })
    first ??= restored
    for (let n = 0; n < indices.length; n++) {
      scores[n] += norm(Array.from({ length: area }, (_, i) => images[n * area + i] - restored[n * area + i])) / draws
    }
  }
  return { scores, reconstructions: first as unknown as Float64Array }
}

const euclidean = (difference: number[]): number => Math.hypot(...difference)
const manhattan = (difference: number[]): number => difference.reduce((sum, v) => sum + Math.abs(v), 0)

deviceTest('scores and reconstructions are those of the definition, at step 908 of 1000', async (device) => {
  const model = await modelA(device)
  const denoiser: ConditionalDenoiser = (x, timesteps) => model.forward(x, timesteps)
  const source = noisySource(9, [3, 8, 8])
  const alphaBar = cosineAlphaBar(908, 1000)
  expect(alphaBar).toBeCloseTo(0.0199781776, 9)
  const expected = await defined(
    device,
    denoiser,
    source,
    [7, 2, 5],
    { timestep: 908, alphaBar, draws: 3, seed: 4 },
    euclidean,
  )
  const options = { ...scoreProcess(process), draws: 3, seed: 4, indices: [7, 2, 5] }
  const found = await scoreImages(device, denoiser, source, {
    ...options,
    distance: l2,
    reconstructions: true,
    batch: 2,
  })
  // x_0 divides by sqrt(abar) = 0.14: seven times the rounding of the network's output, a few 1e-6.
  expectClose(found.scores, expected.scores, 1e-5, 'L2')
  expectClose(found.reconstructions as Float32Array, expected.reconstructions, 1e-4, 'reconstructions')
  const absolute = await defined(
    device,
    denoiser,
    source,
    [7, 2, 5],
    { timestep: 908, alphaBar, draws: 3, seed: 4 },
    manhattan,
  )
  expectClose(
    (await scoreImages(device, denoiser, source, { ...options, distance: l1 })).scores,
    absolute.scores,
    1e-5,
    'L1',
  )
  model.dispose()
})

deviceTest('a class-conditional network is told the class of each image', async (device) => {
  const config = { ...unetConfig, numClasses: 4 }
  const model = new UNet(config, await networkParameters(device, { kind: 'unet', ...config }))
  const denoiser: ConditionalDenoiser = (x, timesteps, y) => model.forward(x, timesteps, y ? { y } : {})
  const source = noisySource(6, [3, 8, 8])
  const classes = [3, 0, 2, 1, 1, 3]
  const options = { ...scoreProcess(process), distance: l2, seed: 0, indices: [4, 0, 2] }
  const { scores } = await scoreImages(device, denoiser, source, { ...options, classes, batch: 2 })
  const reference = { timestep: 908, alphaBar: cosineAlphaBar(908, 1000), draws: 1, seed: 0 }
  expectClose(
    scores,
    (await defined(device, denoiser, source, [4, 0, 2], { ...reference, y: [1, 3, 2] }, euclidean)).scores,
    1e-5,
    'own classes',
  )
  // Image 2 keeps its class among others; the other two change, and so do their scores.
  const other = (await scoreImages(device, denoiser, source, { ...options, classes: [0, 0, 2, 1, 2, 3] })).scores
  expect([other[0] === scores[0], other[1] === scores[1], other[2] === scores[2]]).toEqual([false, false, true])
  model.dispose()
})

deviceTest(
  'a score has the same bits in any batch, alone or among others, and after an interruption',
  async (device) => {
    const file = await openCheckpoint(await openFile(weights))
    const model = (await loadModel(device, file, describeModel(file))) as UNet
    await file.close()
    const denoiser: ConditionalDenoiser = (x, timesteps) => model.forward(x, timesteps)
    const source = noisySource(7, [3, 32, 32])
    const options = { ...scoreProcess(process), distance: l2, seed: 1 }
    const { scores } = await scoreImages(device, denoiser, source, { ...options, batch: 7 })
    expect(new Set(scores).size).toBe(7)
    for (const batch of [1, 2, 3])
      expect(
        [...(await scoreImages(device, denoiser, source, { ...options, batch })).scores],
        `batches of ${batch}`,
      ).toEqual([...scores])
    expect([...(await scoreImages(device, denoiser, source, { ...options, indices: [6, 1] })).scores]).toEqual([
      scores[6],
      scores[1],
    ])

    // Stopped after its first batch, it goes on from there.
    const controller = new AbortController()
    let kept: number[] = []
    await expect(
      scoreImages(device, denoiser, source, {
        ...options,
        batch: 3,
        signal: controller.signal,
        onProgress: (known, total) => {
          expect(total).toBe(7)
          kept = [...known]
          controller.abort(new Error('enough'))
        },
      }),
    ).rejects.toThrow('enough')
    expect(kept).toEqual([...scores.subarray(0, 3)])
    const reads: number[][] = []
    const read: ImageSource['read'] = (indices) => (reads.push([...indices]), source.read(indices))
    expect([
      ...(await scoreImages(device, denoiser, { ...source, read }, { ...options, batch: 2, known: kept })).scores,
    ]).toEqual([...scores])
    expect(reads).toEqual([
      [3, 4],
      [5, 6],
    ])
    model.dispose()
  },
)

describeShared('LPIPS', () => {
  deviceTest('its scores have the same bits in any batch', async (device) => {
    const model = await modelA(device)
    const file = await openCheckpoint(await openFile(shared('weights/lpips/lpips_alex_v0.1.safetensors')))
    const lpips = await loadLpips(device, file)
    await file.close()
    const denoiser: ConditionalDenoiser = (x, timesteps) => model.forward(x, timesteps)
    const source = noisySource(4, [3, 32, 32])
    const options = { ...scoreProcess(process), distance: lpips.distance.bind(lpips), seed: 1 }
    const { scores } = await scoreImages(device, denoiser, source, { ...options, batch: 4 })
    for (const batch of [1, 3])
      expect([...(await scoreImages(device, denoiser, source, { ...options, batch })).scores]).toEqual([...scores])
    for (const owned of [model, lpips]) owned.dispose()
  })
})

deviceTest('what cannot be scored is said', async (device) => {
  const model = await modelA(device)
  const denoiser: ConditionalDenoiser = (x, timesteps) => model.forward(x, timesteps)
  const source = noisySource(3, [3, 8, 8])
  const options = { ...scoreProcess(process), distance: l2, seed: 0 }
  await expect(scoreImages(device, denoiser, source, { ...options, indices: [0, 3] })).rejects.toThrow(
    /There are images 0 to 2, found 3/,
  )
  await expect(scoreImages(device, denoiser, source, { ...options, batch: 0 })).rejects.toThrow(/1 image or more/)
  await expect(scoreImages(device, denoiser, source, { ...options, draws: 0 })).rejects.toThrow(/1 draw or more/)
  const holes: ImageSource = {
    ...source,
    read: async (indices, signal) => (await source.read(indices, signal)).fill(NaN, 192, 193),
  }
  for (const distance of [l1, l2])
    await expect(scoreImages(device, denoiser, holes, { ...options, distance })).rejects.toThrow(
      /The score of image 1 is NaN/,
    )
  model.dispose()
})

test('the step: 90 of 100 for cosine and 60 for linear, by index, or by the nearest fraction', () => {
  const step = (
    schedule: 'cosine' | 'linear',
    T: number,
    ...given: Parameters<typeof scoreProcess> extends [unknown, ...infer R] ? R : never
  ): [number, number] => {
    const { diffusion, t } = scoreProcess({ schedule, diffusionSteps: T }, ...given)
    return [t, diffusion.process.timestepMap[t]]
  }
  // By space_timesteps: index 60 is step 605 of a linear 1000, index 90 step 908 of a cosine 1000 and 3635 of 4000.
  expect([step('cosine', 1000), step('linear', 1000), step('cosine', 4000)]).toEqual([
    [90, 908],
    [60, 605],
    [90, 3635],
  ])
  expect([step('cosine', 1000, { index: 60 }), step('linear', 1000, { fraction: 0.9 })]).toEqual([
    [60, 605],
    [90, 908],
  ])
  // 0.29 * 100 is 28.999... in double precision.
  expect([0, 0.29, 0.994, 1].map((fraction) => step('linear', 1000, { fraction })[0])).toEqual([0, 29, 99, 99])
  expect([step('cosine', 20), step('linear', 20)]).toEqual([
    [18, 18],
    [12, 12],
  ])
  expect(() => step('cosine', 1000, { index: 100 })).toThrow(/steps 0 to 99, found 100/)
  expect(() => step('cosine', 1000, { fraction: 1.1 })).toThrow(/fraction of T from 0 to 1, found 1.1/)
})
