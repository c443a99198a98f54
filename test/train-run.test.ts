/**
 * A run's folder: whatever stops a run, and wherever, the folder is in the end to the byte that of a run that nothing
 * disturbed, reviews included; its length may change; and a bit of its state that flipped is noticed. The training is a
 * vector that moves towards points, which takes no time.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, vi } from 'vitest'
import { claimRun, resumeRun, trainToEnd, type TrainRun } from '../src/cli/training/train-run.ts'
import { TweedieError } from '../src/errors.ts'
import { bytesSource, openCheckpoint } from '../src/io/index.ts'
import { square, sub, sum, type Device } from '../src/tensor/index.ts'
import {
  restoreState,
  Trainer,
  type Draw,
  type Task,
  type TrainCounters,
  type TrainOptions,
} from '../src/train/index.ts'
import { temporaryFolder } from './cli.ts'
import { countingSet } from './data-fixtures.ts'
import { cpuBackends, deviceTest } from './op.ts'

const at = temporaryFolder()
const onCPU = { on: [cpuBackends[0]] }

interface Disturbance extends Partial<TrainOptions> {
  readonly resume?: boolean
  readonly saveEvery?: number
  /** Called at the beginning of a review of this step. */
  readonly atReview?: (step: number) => void
  /** Called when the images of this step, from 1 on, are loaded. */
  readonly atLoad?: (step: number) => void
}

const batch = 2

async function train(
  device: Device,
  out: string,
  { resume = true, saveEvery = 4, atReview, atLoad, ...options }: Disturbance = {},
  signal = new AbortController().signal,
): Promise<unknown> {
  const said = vi.spyOn(console, 'error').mockImplementation(() => {})
  using w = device.tensor([3, -4])
  const task: Task<number[], Draw & { readonly points: readonly number[] }> = {
    parameters: new Map([['w', w]]),
    groups: ['all'],
    async load(first, count) {
      atLoad?.(first / batch + 1)
      return Array.from({ length: 2 * count }, (_, i) => Math.sin(2 * first + i))
    },
    draw: (points) => ({
      points,
      weights: points.slice(points.length / 2).map(() => 1),
      groups: points.slice(points.length / 2).map(() => 0),
    }),
    losses: ({ points }) => ({
      loss: sum(square(sub(w, device.tensor([...points], [points.length / 2, 2]))), { axes: [1] }),
      terms: {},
    }),
  }
  const settings = { steps: 12, batch, lr: 0.1, logEvery: 3, emaRates: [0.5], ...options }
  using trainer = new Trainer(device, task, settings)
  const run: TrainRun = {
    trainer,
    settings: { out: at(out), resume, dataChanged: false, seed: 0, saveEvery, train: settings },
    run: { data: 'points', ...settings },
    images: countingSet(2),
    classNames: null,
    metadata: {},
    isReview: () => undefined,
    review: async (step) => {
      atReview?.(step)
      const values = [...(await w.read())]
      signal.throwIfAborted()
      return { step, values }
    },
    page: async () => `${trainer.step}: ${JSON.stringify([trainer.rows, trainer.evaluations, trainer.history])}`,
  }
  try {
    await using _ = await claimRun('train', run.settings, [])
    await resumeRun(run, signal)
    await trainToEnd(run, signal)
    return null
  } catch (error) {
    return error
  } finally {
    said.mockRestore()
  }
}

const filesOf = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(at(folder))
      .sort()
      .map((name) => [name, readFileSync(join(at(folder), name), 'latin1')]),
  )

async function countersOf(folder: string): Promise<TrainCounters> {
  const { metadata } = await openCheckpoint(bytesSource(readFileSync(join(at(folder), 'state.safetensors'))))
  return JSON.parse(metadata.counters) as TrainCounters
}

describe('the folder of a run that was stopped is that of one that was not', () => {
  deviceTest(
    'in a review, by Ctrl-C: it is made up for',
    async (device) => {
      expect(await train(device, 'whole')).toBe(null)
      expect((await countersOf('whole')).evaluations).toMatchObject([{ step: 4 }, { step: 8 }, { step: 12 }])
      for (const step of [4, 12]) {
        const controller = new AbortController()
        const stopped = new Error('stopped')
        expect(
          await train(
            device,
            `review ${step}`,
            { atReview: (now) => now === step && controller.abort(stopped) },
            controller.signal,
          ),
        ).toBe(stopped)
        expect(await countersOf(`review ${step}`)).toMatchObject({ step, reviewed: step - 4 })
        expect(await train(device, `review ${step}`)).toBe(null)
        expect(filesOf(`review ${step}`)).toEqual(filesOf('whole'))
      }
    },
    onCPU,
  )

  deviceTest(
    'by an error in a review, and by one of loading images: the steps are saved',
    async (device) => {
      const error = new TweedieError('format', 'a damaged image')
      const fails =
        (when: number) =>
        (step: number): void => {
          if (step === when) throw error
        }
      expect(await train(device, 'failed', { atReview: fails(8) })).toBe(error)
      expect(await countersOf('failed')).toMatchObject({ step: 8, reviewed: 4 })
      expect(await train(device, 'failed', { atLoad: fails(11) })).toBe(error)
      expect(await countersOf('failed')).toMatchObject({ step: 10, reviewed: 8 })
      expect(await train(device, 'failed', { atReview: fails(12) })).toBe(error)
      expect(await train(device, 'failed')).toBe(null)
      expect(filesOf('failed')).toEqual(filesOf('whole'))
    },
    onCPU,
  )

  deviceTest(
    'after its last state, before the files that are made from it',
    async (device) => {
      mkdirSync(at('last'))
      writeFileSync(join(at('last'), 'state.safetensors'), readFileSync(join(at('whole'), 'state.safetensors')))
      writeFileSync(join(at('last'), 'state.safetensors.0123abcd.tmp'), 'half')
      expect(await train(device, 'last')).toBe(null)
      expect(filesOf('last')).toEqual(filesOf('whole'))
    },
    onCPU,
  )

  deviceTest(
    'steps that are not finite are not saved over a checkpoint',
    async (device) => {
      const error = await train(device, 'infinite', { lr: 1e38 })
      expect(error).toMatchObject({
        code: 'non-finite',
        message: expect.stringContaining('There was no checkpoint yet'),
      })
      expect(existsSync(at('infinite'))).toBe(false)
    },
    onCPU,
  )
})

describe('the length of a run', () => {
  deviceTest(
    'may grow, also when it is finished: it is to the byte the longer run',
    async (device) => {
      expect(await train(device, 'short', { steps: 8 })).toBe(null)
      expect(await train(device, 'short', { steps: 12 })).toBe(null)
      expect(filesOf('short')).toEqual(filesOf('whole'))
    },
    onCPU,
  )

  deviceTest(
    'may shrink, but not below what is done',
    async (device) => {
      const stopped = new Error('stopped')
      const stop = (when: number): Disturbance => ({
        atLoad: (step) => {
          if (step === when) throw stopped
        },
      })
      expect(await train(device, 'long', { steps: 30, ...stop(8) })).toBe(stopped)
      expect((await countersOf('long')).step).toBe(7)
      expect(await train(device, 'long', { steps: 6 })).toMatchObject({
        code: 'option',
        message: expect.stringMatching(
          /the run has made 7 steps \(14 images\), more than the 6 \(12\) that it is to have/,
        ),
      })
      expect(await train(device, 'long', { steps: 12 })).toBe(null)
      expect(filesOf('long')).toEqual(filesOf('whole'))
      // As many as are done: nothing is left but the last review.
      expect(await train(device, 'done', { steps: 30, ...stop(8) })).toBe(stopped)
      expect(await train(device, 'done', { steps: 7, ...stop(8) })).toBe(null)
      expect((await countersOf('done')).evaluations).toMatchObject([{ step: 4 }, { step: 7 }])
    },
    onCPU,
  )

  deviceTest(
    'with anneal the learning rate is that of the new length from there on, and the history says so',
    async (device) => {
      const anneal = { anneal: 0.5, logEvery: 1 }
      expect(await train(device, 'annealed', { steps: 8, ...anneal })).toBe(null)
      expect(await train(device, 'annealed', { steps: 12, ...anneal })).toBe(null)
      const { rows, history } = await countersOf('annealed')
      // 4 steps at the full rate, 4 of the fall over 8 steps; then the last 4 of the fall over 6 of 12.
      const expected = [1, 1, 1, 1, 1, 3 / 4, 2 / 4, 1 / 4, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
      rows.forEach(({ lr }, step) => expect(lr, `step ${step}`).toBeCloseTo(0.1 * expected[step], 12))
      expect(history).toEqual([{ step: 8, what: '12 steps instead of 8' }])
      const model = await openCheckpoint(bytesSource(readFileSync(join(at('annealed'), 'model.safetensors'))))
      expect(JSON.parse(model.metadata.training)).toMatchObject({ steps: 12, history })
    },
    onCPU,
  )
})

deviceTest(
  'a bit that flipped anywhere in the state is noticed',
  async (device) => {
    const bytes = readFileSync(join(at('whole'), 'state.safetensors'))
    const header = 8 + Number(bytes.readBigUInt64LE(0))
    using w = device.tensor([0, 0])
    const task: Task = {
      parameters: new Map([['w', w]]),
      groups: ['all'],
      load: async () => null,
      draw: () => ({ weights: [], groups: [] }),
      losses: () => ({ loss: w, terms: {} }),
    }
    const settings = { steps: 12, batch, lr: 0.1, logEvery: 3, emaRates: [0.5] }
    using trainer = new Trainer(device, task, settings)
    const restore = async (file: Uint8Array): Promise<void> =>
      restoreState(trainer, await openCheckpoint(bytesSource(file)), { data: 'points', ...settings })
    await restore(bytes)
    expect(trainer.step).toBe(12)
    // Every byte, one bit of it after the other; of the header's length, all of them.
    for (let byte = 0; byte < bytes.length; byte++) {
      for (const bit of byte < 8 ? [0, 1, 2, 3, 4, 5, 6, 7] : [byte % 8]) {
        const flipped = new Uint8Array(bytes)
        flipped[byte] ^= 1 << bit
        await expect(
          restore(flipped),
          `byte ${byte} of ${bytes.length}, bit ${bit}; the header has ${header}`,
        ).rejects.toBeInstanceOf(TweedieError)
      }
    }
  },
  onCPU,
)
