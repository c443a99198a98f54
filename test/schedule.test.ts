import { describe, expect, it } from 'vitest'
import { respace, spaceTimesteps } from '../src/diffusion/process/respace.ts'
import { betaSchedule, diffusionTables } from '../src/diffusion/process/schedule.ts'
import { TweedieError } from '../src/errors.ts'
import { timestepEmbedding } from '../src/nn/timestep-embedding.ts'

/** The reference's figures have 10 digits, where not said otherwise. */
function near(found: number, expected: number, relative = 1e-9) {
  expect(Math.abs(found - expected), `${found} instead of ${expected}`).toBeLessThanOrEqual(
    relative * Math.abs(expected),
  )
}

function code(f: () => unknown): string {
  try {
    f()
  } catch (error) {
    if (error instanceof TweedieError) return error.code
    throw error
  }
  return 'no error'
}

const sum = (values: Iterable<number>) => [...values].reduce((a, b) => a + b, 0)

describe('noise schedules (DDPM, Improved DDPM Eq. 17)', () => {
  it.each([
    [
      'linear',
      1000,
      [1e-4, 1.199199199e-4, 0.02],
      [0.9999, 0.07779665837, 0.02556749227, 0.00150752106, 2.702445196e-4, 4.035829765e-5],
    ],
    [
      'cosine',
      1000,
      [4.128422482e-5, 4.614175274e-5, 0.999],
      [0.9999587158, 0.4922851724, 0.3393330028, 0.09313777967, 0.02361610879, 2.428766907e-9],
    ],
    [
      'cosine',
      4000,
      [9.865818814e-6, 1.016941488e-5, 0.999],
      [0.9999901342, 0.4934539797, 0.3404403349, 0.09381828433, 0.02397238667, 1.517980469e-10],
    ],
  ] as const)('%s %i', (schedule, T, betas, alphaBars) => {
    const beta = betaSchedule(schedule, T)
    const { alphaBar } = diffusionTables(beta)
    ;[0, 1, T - 1].forEach((t, i) => near(beta[t], betas[i]))
    ;[0, T / 2, 0.6 * T, 0.8 * T, 0.9 * T, T - 1].forEach((t, i) => near(alphaBar[t], alphaBars[i]))
  })

  it.each([1000, 4000])('cosine %i is capped at its last step only', (T) => {
    expect(betaSchedule('cosine', T).filter((beta) => beta === 0.999)).toHaveLength(1)
    expect(Math.max(...betaSchedule('cosine', T).subarray(0, T - 1))).toBeLessThan(0.999)
  })

  it('linear scales with T', () => {
    near(betaSchedule('linear', 4000)[0], 0.25e-4)
    near(betaSchedule('linear', 4000)[3999], 0.005)
  })

  it('refuses what is no schedule', () => {
    for (const T of [0, -1, 2.5, NaN]) expect(code(() => betaSchedule('cosine', T))).toBe('option')
    expect(code(() => betaSchedule('linear', 19))).toBe('option')
    expect(betaSchedule('linear', 20)[19]).toBe(1)
    expect(code(() => betaSchedule('quadratic' as 'linear', 100))).toBe('option')
  })
})

describe('tables (DDPM Eq. 6 and 7)', () => {
  it.each([
    ['linear', 500, 0.01005133578, 0.003058057076, 0.9941043508],
    ['cosine', 900, 0.01973223924, 0.003138349539, 0.9895975806],
  ] as const)('posterior of %s 1000 at %i', (schedule, t, variance, coef1, coef2) => {
    const tables = diffusionTables(betaSchedule(schedule, 1000))
    near(tables.posteriorVariance[t], variance)
    near(tables.posteriorMeanCoef1[t], coef1)
    near(tables.posteriorMeanCoef2[t], coef2)
    near(tables.posteriorLogVarianceClipped[t], Math.log(variance))
  })

  it('ends', () => {
    const tables = diffusionTables(betaSchedule('linear', 1000))
    expect(tables.posteriorVariance[0]).toBe(0)
    expect(tables.posteriorMeanCoef1[0]).toBeCloseTo(1, 12)
    expect(tables.posteriorMeanCoef2[0]).toBe(0)
    expect(tables.posteriorLogVarianceClipped[0]).toBe(Math.log(tables.posteriorVariance[1]))
    expect(tables.fixedLargeVariance[0]).toBe(tables.posteriorVariance[1])
    expect(tables.fixedLargeVariance[7]).toBe(tables.betas[7])
    expect(tables.fixedLargeLogVariance[0]).toBe(tables.posteriorLogVarianceClipped[0])
    expect(tables.alphaBarPrev[0]).toBe(1)
    expect(tables.alphaBarNext[999]).toBe(0)
    expect(tables.alphaBarPrev[8]).toBe(tables.alphaBar[7])
    expect(tables.alphaBarNext[6]).toBe(tables.alphaBar[7])
  })

  it('agrees with itself at every step', () => {
    const tables = diffusionTables(betaSchedule('cosine', 1000))
    for (let t = 0; t < 1000; t++) {
      near(tables.sqrtAlphaBar[t] ** 2 + tables.sqrtOneMinusAlphaBar[t] ** 2, 1, 1e-14)
      near(tables.sqrtRecipAlphaBar[t] * tables.sqrtAlphaBar[t], 1, 1e-14)
      near(tables.sqrtRecipm1AlphaBar[t] * tables.sqrtAlphaBar[t], tables.sqrtOneMinusAlphaBar[t], 1e-10)
      near(Math.exp(tables.logOneMinusAlphaBar[t]), 1 - tables.alphaBar[t], 1e-12)
      near(Math.exp(tables.logBetas[t]), tables.betas[t], 1e-14)
      // A noise-free x_t has the posterior mean sqrt(abar_prev) x0.
      near(
        tables.posteriorMeanCoef1[t] + tables.posteriorMeanCoef2[t] * tables.sqrtAlphaBar[t],
        Math.sqrt(tables.alphaBarPrev[t]),
        1e-10,
      )
    }
  })

  it('refuses betas that are none', () => {
    expect(code(() => diffusionTables([0.1]))).toBe('option')
    for (const beta of [0, -0.1, 1.1, NaN]) expect(code(() => diffusionTables([0.1, beta]))).toBe('option')
  })
})

describe('respacing (guided-diffusion respace.py)', () => {
  it('"250" of 1000', () => {
    const kept = spaceTimesteps(1000, '250')
    expect(kept.slice(0, 3)).toEqual([0, 4, 8])
    expect(kept.slice(-2)).toEqual([995, 999])
    expect(sum(kept)).toBe(124875)
    const gaps = kept.slice(1).map((t, k) => t - kept[k])
    expect(gaps.filter((gap) => gap === 4)).toHaveLength(246)
    expect(gaps.filter((gap) => gap === 5)).toHaveLength(3)
    expect(kept[200]).toBe(802)
  })

  it('"100" of 1000', () => {
    const kept = spaceTimesteps(1000, '100')
    expect(sum(kept)).toBe(49950)
    expect([kept[60], kept[90]]).toEqual([605, 908])
  })

  it('other counts', () => {
    const kept = spaceTimesteps(4000, '250')
    expect([kept.length, ...kept.slice(0, 3), kept.at(-1)]).toEqual([250, 0, 16, 32, 3999])
    expect(kept.slice()).toEqual(spaceTimesteps(4000, [250]))
    expect(spaceTimesteps(1000, '27').join()).toContain('269,307,346')
    const sections = spaceTimesteps(300, '10,15,20')
    expect([sections.length, ...sections.slice(0, 3), sections.at(-1)]).toEqual([45, 0, 11, 22, 299])
    expect(spaceTimesteps(8, '')).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect(spaceTimesteps(10, '1,1,1')).toEqual([0, 4, 7]) // sections of 4, 3 and 3
  })

  it('rounds halves to even', () => {
    expect(spaceTimesteps(6, '3')).toEqual([0, 2, 5]) // 2.5 -> 2
    expect(spaceTimesteps(4, '3')).toEqual([0, 2, 3]) // 1.5 -> 2
  })

  it('ddim strides', () => {
    expect(spaceTimesteps(1000, 'ddim25')).toEqual(Array.from({ length: 25 }, (_, k) => 40 * k))
    expect(spaceTimesteps(1000, 'ddim250').at(-1)).toBe(996)
    expect(spaceTimesteps(1000, 'ddim250')[1]).toBe(4)
  })

  it('refuses what cannot be', () => {
    for (const spec of [
      'ddim600',
      'ddim',
      'ddim0',
      'ddim-3',
      '1001',
      '0',
      '-5',
      '2.5',
      'all',
      '10,',
      '600,400',
      '501,1',
    ]) {
      expect(
        code(() => spaceTimesteps(1000, spec)),
        spec,
      ).toBe('option')
    }
    expect(code(() => spaceTimesteps(1000, [1.5]))).toBe('option')
    expect(() => spaceTimesteps(1000, '501,1')).toThrow('section 1 has 500 steps, of which 501 cannot be kept')
  })

  it('keeps alphaBar of the kept steps, and does not cap the betas again', () => {
    for (const schedule of ['linear', 'cosine'] as const) {
      const base = diffusionTables(betaSchedule(schedule, 1000))
      const { tables, timestepMap, steps } = respace({ schedule, diffusionSteps: 1000, respacing: '250' })
      expect([steps, tables.steps, timestepMap.length]).toEqual([250, 250, 250])
      // 250 factors of 1 - beta', each rounded at 2^-53 of 1: relative to 1 - beta' = 6e-5 at the end of cosine.
      timestepMap.forEach((t, k) => near(tables.alphaBar[k], base.alphaBar[t], 1e-11))
      near(tables.betas[249], schedule === 'cosine' ? 0.9999374992 : 0.07751934499)
    }
  })

  it('strengths of the papers', () => {
    const tables = (schedule: 'linear' | 'cosine', respacing: string, diffusionSteps = 1000) =>
      respace({ schedule, diffusionSteps, respacing }).tables
    near(tables('linear', '100').alphaBar[60], 0.02405621609)
    near(tables('cosine', '100').alphaBar[90], 0.0199781776)
    near(tables('cosine', '250').alphaBar[200], 0.09133398, 1e-7)
    near(tables('linear', '250').alphaBar[200], 0.00145947, 1e-5)
    near(tables('linear', '250').alphaBar[121], 0.0903, 1e-3)
    // LEARNED_RANGE stays finite at t = 0.
    near(tables('cosine', '250').posteriorLogVarianceClipped[0], -10.27163, 1e-6)
    near(tables('cosine', '250').logBetas[0], -10.09503, 1e-6)
  })

  it('cosine, 1000 steps walked in 10', () => {
    const { tables, timestepMap, modelTimestep } = respace({
      schedule: 'cosine',
      diffusionSteps: 1000,
      respacing: '10',
    })
    expect(timestepMap).toEqual([0, 111, 222, 333, 444, 555, 666, 777, 888, 999])
    expect(modelTimestep(7)).toBe(777)
    const betas = [
      4.1284225e-5, 0.0343732, 0.092721723, 0.15305105, 0.21933921, 0.29715822, 0.39573557, 0.53252238, 0.74236817,
      0.99999992,
    ]
    betas.forEach((beta, k) => near(tables.betas[k], beta, 3e-8))
  })

  it('rescales the timestep the network sees, not the index', () => {
    const options = { schedule: 'cosine', diffusionSteps: 4000, respacing: '250', rescaleTimesteps: true } as const
    const process = respace(options)
    expect(process.timestepMap[1]).toBe(16)
    expect(process.modelTimestep(1)).toBe(4)
    expect(process.modelTimestep(249)).toBe(999.75)
    expect(respace({ ...options, diffusionSteps: 1000 }).modelTimestep(249)).toBe(999)
    expect(respace({ ...options, rescaleTimesteps: false }).modelTimestep(249)).toBe(3999)
    expect(code(() => process.modelTimestep(250))).toBe('option')
    expect(code(() => process.modelTimestep(-1))).toBe('option')
  })
})

describe('timestep embedding (guided-diffusion nn.py)', () => {
  it('puts cosines first and divides by half', () => {
    const expected = [0.21943997, -0.17824593, 0.98472655, 0.99984688, -0.97562599, 0.98398596, 0.17410813, 0.017499104]
    const found = timestepEmbedding([17.5], 8)
    // 8 digits are given; a last bit of the float32 argument 17.5 is 2e-6.
    expected.forEach((value, k) => expect(Math.abs(found[k] - value)).toBeLessThan(1e-6))
  })

  it('ends in a zero where the dimension is odd, row by row', () => {
    const found = timestepEmbedding([3, 0], 5)
    ;[-0.99, 0.9996, 0.1411, 0.03, 0].forEach((value, k) => expect(Math.abs(found[k] - value)).toBeLessThan(5e-5))
    expect([...found.subarray(5)]).toEqual([1, 1, 0, 0, 0])
  })

  it('refuses NaN and a dimension without a frequency', () => {
    expect(code(() => timestepEmbedding([NaN], 8))).toBe('non-finite')
    expect(code(() => timestepEmbedding([1], 1))).toBe('option')
  })
})
