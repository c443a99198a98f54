/** Figures for people: counts of one, quantiles of few, rates that hold what they promise. */
import { expect, test } from 'vitest'
import { isReview, reviewLine } from '../src/cli/pages/classifier-page.ts'
import { counted } from '../src/cli/counted.ts'
import { scorePage } from '../src/cli/pages/score-page.ts'
import { largestRate } from '../src/cli/options/training.ts'

test('counts', () => {
  expect([0, 1, 2, 1_234_567].map((n) => counted(n, 'image'))).toEqual([
    '0 images',
    '1 image',
    '2 images',
    '1,234,567 images',
  ])
})

test('a page of few images: its median is one, equal scores have a histogram, and one image is no images', async () => {
  const page = (scores: number[]): Promise<string> => {
    const picture = { width: 1, height: 1, channels: 1, data: Uint8Array.of(0) } as const
    return scorePage({
      name: 'd',
      model: 'm',
      scores,
      groups: [],
      images: new Map(scores.map((_, i) => [i, { name: String(i), image: picture, reconstruction: picture }])),
      brightness: { count: 1, rare: 1, common: 1 },
      version: '0',
      settings: {
        model: 'm',
        schedule: 'cosine',
        diffusionSteps: 1000,
        respacing: '100',
        t: 90,
        timestep: 908,
        distance: 'L2',
        draws: 1,
        seed: 0,
        conditional: false,
      },
    })
  }
  const row = (html: string): string[] =>
    [.../<tr><th>all<\/th>(.*?)<\/tr>/.exec(html)![1].matchAll(/<td>([^<]*)/g)].map(([, cell]) => cell)
  // images, mean, lowest, median, highest
  expect(row(await page([1, 2]))).toEqual(['2', '1.500', '1.000', '1.500', '2.000'])
  expect(row(await page([4, 1, 2]))).toEqual(['3', '2.333', '1.000', '2.000', '4.000'])
  const one = await page([0.25])
  expect(row(one)).toEqual(['1', ...new Array<string>(4).fill('0.2500')])
  expect(one).toContain('of the 1 rarest image <b>')
  expect(await page([2, 2])).not.toMatch(/NaN|Infinity/)
})

test('what a damaged state says of its evaluations does not reach a page', () => {
  const evaluation = { images: 8, loss: 0.5, acc1: 0.5, lossByQuartile: [0.5], acc1ByQuartile: [0.5] }
  const review = { step: 1, images: 8, average: 'model', train: evaluation }
  expect(isReview(review, 'evaluations[0]')).toBeUndefined()
  expect(isReview({ ...review, images: '<img src=x>' }, 'evaluations[0]')).toBe(
    'evaluations[0].images: expected a whole number of 0 or more, found "<img src=x>"',
  )
  expect(isReview({ ...review, train: { ...evaluation, loss: null } }, 'evaluations[0]')).toBe(
    'evaluations[0].train.loss: expected a number, found null',
  )
})

test('a small loss is not 0', () => {
  const evaluation = { images: 8, loss: 0.00003, acc1: 1, lossByQuartile: [0.00003], acc1ByQuartile: [1] }
  expect(reviewLine({ step: 2, images: 16, average: 'model', train: evaluation })).toBe(
    'Step 2: training images: loss 0.00003000, acc@1 100.0 % (100.0 % by quartile)',
  )
})

test('the rate that is advised leaves a hundredth or less, and is not far below', () => {
  for (const steps of [1, 2, 10, 99, 100, 1000, 12_345, 1_000_000]) {
    const rate = largestRate(steps)
    expect(rate ** steps, `${steps}`).toBeLessThanOrEqual(0.01 * (1 + 1e-9))
    expect(1 - rate, `${steps}`).toBeLessThan(1.11 * (1 - 0.01 ** (1 / steps)))
  }
  expect([largestRate(1), largestRate(100), largestRate(1000)]).toEqual([0.01, 0.954, 0.9954])
})
