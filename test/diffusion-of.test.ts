/**
 * A model's description makes its process: the schedule is typed nowhere, and a respacing is a number or
 * the reference's text.
 */
import { describe, expect, test } from 'vitest'
import {
  diffusionOf,
  GaussianDiffusion,
  processOf,
  scoreProcess,
  spaceTimesteps,
  type Respacing,
} from '../src/diffusion/index.ts'
import { isSameNoise, noiseInWords, preset, presetNames, type NoiseProcess } from '../src/nn/index.ts'
import { base, classifier, cosine } from './small-models.ts'

test.each(presetNames())('%s', (name) => {
  const { config, diffusion } = preset(name)
  const { process, meanType, varianceType } = diffusionOf({ config, diffusion }, { respacing: 50 })
  const { diffusionSteps } = diffusion
  expect(process.timestepMap).toEqual(spaceTimesteps(diffusionSteps, '50'))
  // Rescaled ones end at 999.75 of 1000, others at T - 1; all published networks predict epsilon and
  // have a variance head.
  expect(process.modelTimestep(49)).toBe(diffusion.rescaleTimesteps ? 999.75 : diffusionSteps - 1)
  expect([meanType, varianceType]).toEqual(['epsilon', 'learnedRange'])
  // abar of the last step: 2.4e-9 of cosine 1000, 4.0e-5 of linear 1000.
  expect(process.tables.alphaBar[49] < 1e-6).toBe(diffusion.schedule === 'cosine')
})

test('everything that the model was trained with', () => {
  const trained = { ...cosine, diffusionSteps: 400, rescaleTimesteps: true, meanType: 'v', sigmaSmall: true } as const
  const headless = { ...base, outChannels: 3 }
  const { process, ...types } = diffusionOf({ config: headless, diffusion: trained })
  expect({ ...types, steps: process.steps, last: process.modelTimestep(399) }).toEqual({
    meanType: 'v',
    varianceType: 'fixedSmall',
    steps: 400,
    last: 997.5,
  })
})

test.each([undefined, 'bccd32', {}])('%j is no description', (description) => {
  expect(() => diffusionOf(description as never)).toThrow(
    /^diffusionOf: expected a model's description, found .*describeModel\(checkpoint\) makes one\.$/,
  )
})

test("a classifier's classes are no variance head: its process has what learnSigma says", () => {
  const sixClasses = { ...classifier, outChannels: 6 }
  expect(diffusionOf({ config: sixClasses, diffusion: cosine }).varianceType).toBe('fixedLarge')
  expect(diffusionOf({ config: sixClasses, diffusion: { ...cosine, learnSigma: true } }).varianceType).toBe(
    'learnedRange',
  )
})

test('of a model that does not say how it was trained no process is guessed', () => {
  expect(() => diffusionOf({ config: base })).toThrow('does not say what process')
  expect(() => diffusionOf({ config: base, diffusion: cosine }, { respaceing: 50 } as object)).toThrow(
    'diffusionOf: unknown option "respaceing" (did you mean "respacing"?)',
  )
  expect(() => diffusionOf({ config: base, diffusion: cosine }, 50 as never)).toThrow(
    'diffusionOf: expected an object of options such as { respacing: … }, found 50.',
  )
})

test('noise is the same where schedule, steps and scale of the timesteps are', () => {
  expect(isSameNoise(cosine, { ...cosine, learnSigma: true } as NoiseProcess)).toBe(true)
  const others: Partial<NoiseProcess>[] = [{ schedule: 'linear' }, { diffusionSteps: 4000 }, { rescaleTimesteps: true }]
  for (const other of others) expect(isSameNoise(cosine, { ...cosine, ...other }), JSON.stringify(other)).toBe(false)
  expect([noiseInWords(cosine), noiseInWords({ ...cosine, rescaleTimesteps: true })]).toEqual([
    'cosine, 1000 steps',
    'cosine, 1000 steps, rescaled',
  ])
})

test('a score is in the process of the description, too', () => {
  const described = scoreProcess({ config: base, diffusion: cosine })
  const typed = scoreProcess(processOf({ config: base, diffusion: cosine }))
  expect([described.t, described.diffusion.process.timestepMap[described.t]]).toEqual([90, 908])
  expect(described.diffusion.process.tables).toEqual(typed.diffusion.process.tables)
})

describe('respacing', () => {
  const T = 1000
  test.each<[Respacing, Respacing]>([
    [50, '50'],
    [[50], '50'],
    [[10, 10], '10,10'],
    [1000, ''],
    [7, '7'],
  ])('%j is %j', (one, other) => {
    expect(spaceTimesteps(T, one)).toEqual(spaceTimesteps(T, other))
    expect(new GaussianDiffusion({ schedule: 'cosine', diffusionSteps: T, respacing: one }).steps).toBe(
      spaceTimesteps(T, other).length,
    )
  })

  test.each<[unknown, string]>([
    [0, 'respacing 0 of 1000 steps: a number of steps is a whole one from 1 to 1000'],
    [-50, 'respacing -50 of 1000 steps: a number of steps is a whole one from 1 to 1000'],
    [1.5, 'respacing 1.5 of 1000 steps: a number of steps is a whole one from 1 to 1000'],
    [NaN, 'respacing NaN of 1000 steps: a number of steps is a whole one from 1 to 1000'],
    [Infinity, 'respacing Infinity of 1000 steps: a number of steps is a whole one from 1 to 1000'],
    [1001, 'respacing 1001 of 1000 steps: a number of steps is a whole one from 1 to 1000'],
    [[], 'respacing "" of 1000 steps: a list has one count at least'],
    [['50'], 'respacing "50" of 1000 steps: counts must be positive integers'],
    [true, 'respacing "true" of 1000 steps: expected 250, "ddim25", "10,15,20" or a list of counts'],
    ['fifty', 'respacing "fifty" of 1000 steps: expected "ddimN" or counts such as "250" or "10,15,20"'],
  ])('%j is refused', (respacing, message) => {
    expect(() => diffusionOf({ config: base, diffusion: cosine }, { respacing: respacing as Respacing })).toThrow(
      message,
    )
  })

  test('one step is no process: the table of variances needs two', () => {
    expect(() => diffusionOf({ config: base, diffusion: cosine }, { respacing: 1 })).toThrow(
      'a diffusion process needs at least 2 steps, found 1',
    )
  })
})
