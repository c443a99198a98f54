/** The schedule samplers (guided-diffusion resample.py), with the reference's numbers. */
import { describe, expect, test } from 'vitest'
import { createNamedScheduleSampler, LossSecondMomentResampler, UniformSampler } from '../src/diffusion/index.ts'

/** Equally spaced numbers in [0, 1): what is drawn with them has the sampler's shares exactly, up to one in each. */
function spaced(count: number): () => number {
  let i = 0
  return () => (i++ + 0.5) / count
}

const sharesOf = (t: readonly number[], steps: number): number[] => {
  const counts = new Array<number>(steps).fill(0)
  for (const k of t) counts[k] += 1 / t.length
  return counts
}

/** The history of the reference's run. */
function learned(): LossSecondMomentResampler {
  const sampler = new LossSecondMomentResampler(3, { historyPerTerm: 2 })
  sampler.update([0, 1, 2, 0], [1, 2, 0.5, 3])
  sampler.update([1, 0], [2, 5])
  sampler.update([2], [0.5])
  return sampler
}

const expected = [0.62224438, 0.3020045, 0.07575112]

test('uniform: every step equally often, weights 1', () => {
  const { t, weights } = new UniformSampler(8).sample(800, spaced(800))
  expect(sharesOf(t, 8).every((share) => Math.abs(share - 1 / 8) < 1e-12)).toBe(true)
  expect(new Set(weights)).toEqual(new Set([1]))
  expect(new UniformSampler(1000).sample(1, () => 1 - 2 ** -32).t).toEqual([999])
})

describe('loss-second-moment', () => {
  test('K: probabilities; steps are drawn so; the weights make the expected loss the uniform one', () => {
    const sampler = learned()
    sampler.probabilities().forEach((p, t) => expect(p).toBeCloseTo(expected[t], 8))
    const count = 100_000
    const { t, weights } = sampler.sample(count, spaced(count))
    sharesOf(t, 3).forEach((share, k) => expect(Math.abs(share - expected[k])).toBeLessThan(2 / count))
    weights.forEach((weight, i) => {
      if (Math.abs(weight * 3 * expected[t[i]] - 1) > 1e-6) throw new Error(`step ${t[i]} has weight ${weight}`)
    })
    const losses = [7, 1, 4]
    const weighed = t.reduce((total, k, i) => total + weights[i] * losses[k], 0) / count
    expect(weighed).toBeCloseTo(4, 3)
  })

  test('uniform until the last step has its history', () => {
    const sampler = new LossSecondMomentResampler(2)
    const uniform = Float64Array.of(0.5, 0.5)
    for (let i = 0; i < 10; i++) {
      expect(sampler.probabilities()).toEqual(uniform)
      sampler.update([0, 0, 1], [100, 3, 1])
    }
    // Of step 0 the ten latest are left: five times 100 and 3.
    const root = Math.sqrt((100 ** 2 + 3 ** 2) / 2)
    expect(sampler.probabilities()[0]).toBeCloseTo(0.999 * (root / (root + 1)) + 0.0005, 12)
  })

  test('numbers next to 0 and 1 give the first and the last step', () => {
    expect(learned().sample(1, () => 0).t).toEqual([0])
    expect(learned().sample(1, () => 1 - 2 ** -53).t).toEqual([2])
    // A thousand sums round; the last may end below 1.
    const many = new LossSecondMomentResampler(1000, { historyPerTerm: 1 })
    many.update(
      Array.from({ length: 1000 }, (_, k) => k),
      Array.from({ length: 1000 }, (_, k) => 1 + Math.sin(k)),
    )
    expect(many.sample(1, () => 1 - 2 ** -53).t).toEqual([999])
  })

  test('losses of 0 everywhere are no division by 0', () => {
    const sampler = new LossSecondMomentResampler(2, { historyPerTerm: 1 })
    sampler.update([0, 1], [0, 0])
    expect(sampler.sample(4, spaced(4))).toEqual({ t: [0, 0, 1, 1], weights: [1, 1, 1, 1] })
  })

  test('its state goes through JSON, and another sampler refuses it', () => {
    const saved = JSON.parse(JSON.stringify(learned().save())) as unknown
    const again = new LossSecondMomentResampler(3, { historyPerTerm: 2 })
    again.restore(saved)
    expect(again.probabilities()).toEqual(learned().probabilities())
    again.update([1], [9])
    const straight = learned()
    straight.update([1], [9])
    expect(again.sample(50, spaced(50))).toEqual(straight.sample(50, spaced(50)))
    const message = /to hold up to 10 losses for each of 4 steps/
    expect(() => new LossSecondMomentResampler(4).restore(saved)).toThrow(message)
    expect(() => new LossSecondMomentResampler(4).restore(null)).toThrow(message)
    expect(() => new LossSecondMomentResampler(3, { historyPerTerm: 1 }).restore(saved)).toThrow(/up to 1 losses/)
  })
})

test('by name', () => {
  expect(createNamedScheduleSampler('uniform', 10)).toBeInstanceOf(UniformSampler)
  expect(createNamedScheduleSampler('loss-second-moment', 10)).toBeInstanceOf(LossSecondMomentResampler)
  expect(() => createNamedScheduleSampler('cosine', 10)).toThrow(/uniform or loss-second-moment, found cosine/)
})
