/**
 * A model outlives its device: where that is lost in the middle of a run, the run goes on after its last finished step
 * and gives the bits of an undisturbed one. Here a GPUDevice is destroyed and worker threads are ended;
 * test/long/life-page.test.ts kills the GPU process of a browser.
 */
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import type { Worker } from 'node:worker_threads'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { Device, mul, type Tensor } from '../../src/tensor/index.ts'
import type { WebGPUBackend } from '../../src/tensor/webgpu/backend.ts'
import { Tweedie } from '../../src/tweedie/index.node.ts'
import type { TweedieSampleOptions } from '../../src/tweedie/sample-settings.ts'
import type { TweedieStep } from '../../src/tweedie/sample.ts'
import { temporaryFolder, weights } from '../cli.ts'
import { backends } from '../op.ts'

const out = temporaryFolder()

/** Every worker thread that is started, for those of the CPU backend are what it computes on. */
const workers: Worker[] = []
const listen = (worker: Worker): void => void workers.push(worker)
process.on('worker', listen)
afterAll(() => void process.off('worker', listen))

const unhandled: unknown[] = []
const note = (reason: unknown): void => void unhandled.push(reason)
process.on('unhandledRejection', note)
afterAll(() => void process.off('unhandledRejection', note))

afterEach(() => {
  vi.restoreAllMocks()
  expect(unhandled).toEqual([])
})

/** Takes what `model` computes on away from it. */
async function lose({ device }: Tweedie): Promise<void> {
  if (device.backend.kind === 'webgpu') (device.backend as WebGPUBackend).gpuDevice.destroy()
  else await workers.at(-1)!.terminate()
}

async function last(
  model: Tweedie,
  options: TweedieSampleOptions,
  onStep: (step: TweedieStep) => Promise<void> | void = () => {},
): Promise<TweedieStep> {
  let step: TweedieStep | undefined
  for await (step of model.sample(options)) await onStep(step)
  return step!
}

const code = (name: string, message = /./): unknown =>
  expect.objectContaining({ name: 'TweedieError', code: name, message: expect.stringMatching(message) })

const kinds = (['webgpu', 'cpu'] as const).filter((name) => backends.includes(name))

describe.each(kinds)('%s', (backend) => {
  const load = (options = {}): Promise<Tweedie> => Tweedie.load('bccd32', { backend, batch: 2, ...options })
  let model: Tweedie
  beforeAll(async () => void (model = await load()))
  afterAll(() => model.dispose())

  const methods: [string, TweedieSampleOptions][] = [
    ['minority-guided, boosted', { method: 'minority-guided', target: [5, 9], boost: 2, skip: 1 }],
    ['ddim', { method: 'ddim', eta: 0.5 }],
    ['self-guided', { method: 'self-guided', selfGuidance: { every: 1 } }],
  ]
  // A software adapter compiles its kernels again after every loss: seconds.
  test.each(backend === 'cpu' ? methods : methods.slice(0, 1))(
    '%s: a run that lost its device ends with the bits of one that did not',
    async (_, options) => {
      const settings = { number: 2, steps: 4, seed: 4, batch: 1, preview: true, ...options }
      const seen: TweedieStep[] = []
      const undisturbed = await last(model, settings, (step) => void seen.push(step))
      const before = model.device
      const again: TweedieStep[] = []
      // In the middle of a step, after one, and before the second batch begins.
      let calls = 0
      const guidances = () => [
        (x: Tensor): Tensor => {
          if (++calls === 2) void lose(model)
          return mul(x, 0)
        },
      ]
      const found = await last(model, { ...settings, guidances }, async (step) => {
        again.push(step)
        if (step.done === 2 || step.done === step.total / 2) await lose(model)
      })
      expect(model.device).not.toBe(before)
      expect(found.values).toEqual(undisturbed.values)
      expect(found.recovered).toBe(3)
      expect(undisturbed).not.toHaveProperty('recovered')
      // Every step is told of once, with the same estimates.
      expect(again.map(({ recovered: _, ...step }) => step)).toEqual(seen)
    },
  )

  test('scores', async () => {
    const { values } = await last(model, { number: 5, steps: 2 })
    const expected = await model.score(values!, { draws: 2 })
    const told: number[] = []
    const found = await model.score(values!, {
      draws: 2,
      onProgress: (done) => {
        told.push(done)
        if (done === 2) void lose(model)
      },
    })
    expect(found).toEqual(expected)
    expect(told).toEqual([2, 4, 5])
    await lose(model)
    expect(await model.score(values!, { draws: 2 }), 'lost between two calls').toEqual(expected)
  })

  test('two loops at once share the new device', async () => {
    const settings = [0, 1].map((seed) => ({ number: 1, steps: 4, seed }))
    const expected = [await last(model, settings[0]), await last(model, settings[1])]
    const request = vi.spyOn(Device, 'request')
    const found = await Promise.all(
      settings.map((options, k) =>
        last(model, options, async ({ done }) => {
          if (k === 0 && done === 2) await lose(model)
        }),
      ),
    )
    expect(found.map(({ values }) => values)).toEqual(expected.map(({ values }) => values))
    expect(request).toHaveBeenCalledTimes(1)
  })

  test('a step that is lost each time ends the run, and the next run has a device', async () => {
    let tried = 0
    const guidances = () => [
      (x: Tensor): Tensor => {
        tried++
        void lose(model)
        return mul(x, 0)
      },
    ]
    await expect(last(model, { number: 1, steps: 2, guidances })).rejects.toEqual(
      code('device-lost', /4 times in a row in the same step/),
    )
    expect(tried).toBe(4)
    expect((await last(model, { number: 1, steps: 2 })).images).toHaveLength(1)
  })

  test('what cannot be loaded again says why', async () => {
    const file = out(`${backend}.safetensors`)
    copyFileSync(weights, file)
    using changed = await Tweedie.load(file, { backend, distance: 'l2' })
    const bytes = readFileSync(file)
    // A bit of every weight, as another training has others.
    for (let i = bytes.length - 2 ** 20; i < bytes.length; i += 4) bytes[i] ^= 1
    writeFileSync(file, bytes)
    const losing = last(changed, { number: 1, steps: 3 }, async ({ done }) => {
      if (done === 1) await lose(changed)
    })
    await expect(losing).rejects.toEqual(code('device-lost', /files of the model have changed/))
    copyFileSync(weights, file)
    expect((await last(changed, { number: 1, steps: 2 })).images, 'the file is back').toHaveLength(1)
  })

  test("a caller's device is the caller's to replace", async () => {
    using device = await Device.request({ backend })
    using borrowed = await load({ device })
    const losing = last(borrowed, { number: 1, steps: 3 }, async ({ done }) => {
      if (done === 1) await lose(borrowed)
    })
    await expect(losing).rejects.toEqual(code('device-lost', /request a new device/i))
  })

  test('an abort and a disposal do not wait for the device to come back', async () => {
    const other = await load()
    vi.spyOn(Device, 'request').mockImplementation(() => new Promise(() => {}))
    const controller = new AbortController()
    const losing = (signal?: AbortSignal): Promise<TweedieStep> =>
      last(other, { number: 1, steps: 3, ...(signal && { signal }) }, async ({ done }) => {
        if (done === 1) await lose(other)
      })
    const aborted = losing(controller.signal)
    setTimeout(() => controller.abort('enough'), 300)
    await expect(aborted).rejects.toBe('enough')
    other.dispose()
    await expect(losing()).rejects.toEqual(code('disposed'))
  })
})
