/**
 * What `recipe images` picks: within bounds, never longer than the hours, never less of anything for more hours, with
 * a reason in numbers.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  emaRate,
  imageSettings,
  imagesNeeded,
  levelsFor,
  secondsText,
  sizesFor,
  speedKey,
  type ImageFacts,
  type ImageSettings,
  type ImageWishes,
  type Speed,
} from '../src/cli/recipes/image-settings.ts'
import { TweedieError } from '../src/errors.ts'

/** A machine on which the small network at 32 x 32 sees `images` a second. */
const machine =
  (images: number) =>
  (size: number, width: string): Speed => {
    const cost = { small: 1, medium: 3, large: 12 }[width] as number
    const diffusion = (images * (32 / size) ** 2) / cost
    return { diffusion, classifier: 1.8 * images * (32 / size) ** 2 }
  }

/** As the command does: measures what is asked for. */
function pick(
  { reading = 0, ...images }: Omit<ImageFacts, 'reading'> & { reading?: number },
  wishes: Omit<ImageWishes, 'number'> & { number?: number },
  speed: ReturnType<typeof machine>,
): { settings: ImageSettings; measured: string[] } {
  const facts = { ...images, reading }
  const speeds = new Map<string, Speed>()
  for (;;) {
    const found = imageSettings(facts, { number: 16, ...wishes }, speeds)
    if (!('measure' in found)) return { settings: found, measured: [...speeds.keys()] }
    expect(speeds.has(speedKey(found.measure))).toBe(false)
    speeds.set(speedKey(found.measure), speed(found.measure.size, found.measure.width))
  }
}

const orNull = (...given: Parameters<typeof pick>): ImageSettings | null => {
  try {
    return pick(...given).settings
  } catch (error) {
    if (error instanceof TweedieError && error.code === 'option') return null
    throw error
  }
}

/** Two cores, as measured. */
const twoCores = machine(45)
const total = ({ seconds }: ImageSettings): number => Object.values(seconds).reduce((a, b) => a + b)

describe('any folder, any machine', () => {
  const anything = {
    count: fc.oneof(fc.integer({ min: 14, max: 200 }), fc.integer({ min: 14, max: 1_000_000 })),
    side: fc.integer({ min: 8, max: 1024 }),
    hours: fc.double({ min: 0.005, max: 10_000, noNaN: true }),
    speed: fc.double({ min: 0.1, max: 1e5, noNaN: true }),
    number: fc.integer({ min: 1, max: 64 }),
    reading: fc.double({ min: 0, max: 1000, noNaN: true }),
    size: fc.option(
      fc.integer({ min: 2, max: 64 }).map((n) => 4 * n),
      { nil: undefined },
    ),
  }

  test('takes no longer than the hours, and everything is within bounds', () => {
    let picked = 0
    fc.assert(
      fc.property(fc.record(anything), ({ count, side, reading, hours, speed, number, size }) => {
        const found = orNull(
          { count, side, reading },
          { hours, number, ...(size !== undefined && { size }) },
          machine(speed),
        )
        if (found === null) return
        picked++
        expect(total(found)).toBeLessThanOrEqual(3600 * hours)
        expect(found.size % 4 === 0 && found.size >= 8 && found.size <= side).toBe(true)
        expect(found.trained + found.heldOut).toBe(count)
        expect([found.heldOut >= 4 && found.heldOut <= 500, Math.round(found.holdOut * count)]).toEqual([
          true,
          found.heldOut,
        ])
        expect(found.levels >= 2 && found.levels <= 100 && Math.floor(found.trained / found.levels) >= 5).toBe(true)
        expect([8, 16, 32, 64, 128]).toContain(found.batch)
        expect(found.microbatch >= 1 && found.microbatch <= found.batch).toBe(true)
        expect(found.steps).toBe(Math.ceil(found.images / found.batch))
        // Learning by heart.
        expect(found.images).toBeLessThanOrEqual(1_000 * found.trained)
        if (size === undefined)
          expect(found.images).toBeGreaterThanOrEqual(Math.floor(imagesNeeded(found.size) * 0.999))
        expect(found.ema >= 0 && found.ema <= 0.9999).toBe(true)
        expect(
          [found.logEvery, found.saveEvery, found.images, found.classifierImages].every(
            (n) => Number.isSafeInteger(n) && n >= 1,
          ),
        ).toBe(true)
        expect(found.saveEvery).toBeLessThanOrEqual(found.steps)
        // A curve has points enough to be one, and not so many that nobody reads the file.
        expect(found.steps / found.logEvery).toBeGreaterThanOrEqual(Math.min(found.steps, 100))
      }),
      { numRuns: 1000 },
    )
    expect(picked).toBeGreaterThan(300)
  })

  test('more hours never mean smaller pictures, narrower networks or, of the same, less of anything', () => {
    const widths = ['small', 'medium', 'large']
    fc.assert(
      fc.property(
        fc.record({ ...anything, more: fc.double({ min: 1, max: 100, noNaN: true }) }),
        ({ count, side, hours, speed, number, more }) => {
          const [less, longer] = [hours, hours * more].map((h) =>
            orNull({ count, side }, { hours: h, number }, machine(speed)),
          )
          if (!less) return
          expect(longer!.size).toBeGreaterThanOrEqual(less.size)
          if (longer!.size !== less.size) return
          expect(widths.indexOf(longer!.width)).toBeGreaterThanOrEqual(widths.indexOf(less.width))
          if (longer!.width !== less.width) return
          if (longer!.batch === less.batch) expect(longer!.ema).toBeGreaterThanOrEqual(less.ema)
          for (const key of ['images', 'batch', 'levels', 'classifierImages', 'respacing', 'draws', 'dropout'] as const)
            expect(longer![key], key).toBeGreaterThanOrEqual(less[key])
        },
      ),
      { numRuns: 1000 },
    )
  })

  test('nothing is measured that cannot be chosen', () => {
    expect(pick({ count: 40, side: 500 }, { hours: 0.08 }, twoCores).measured).toEqual(['32 small'])
    expect(pick({ count: 40, side: 500 }, { hours: 0.08, size: 64 }, twoCores).measured).toEqual(['64 small'])
    expect(pick({ count: 500, side: 32 }, { hours: 0.05 }, machine(15)).measured).toEqual(['32 small', '16 small'])
    expect(pick({ count: 100_000, side: 300 }, { hours: 1_000 }, machine(10_000)).measured).toEqual([
      '32 small',
      '64 small',
      '128 small',
      '256 small',
      '256 medium',
    ])
  })
})

describe('what is picked', () => {
  test('five minutes for 40 images on two cores', () => {
    const { settings } = pick({ count: 40, side: 32 }, { hours: 0.08 }, twoCores)
    expect(settings).toMatchObject({
      size: 32,
      width: 'small',
      trained: 36,
      heldOut: 4,
      batch: 8,
      levels: 3,
      lr: '6e-4',
      dropout: 0.1,
      respacing: 50,
      capped: false,
    })
    expect(settings.images).toBeGreaterThan(6_000)
    // 0.5 ** (1 / 46) of 925 steps.
    expect(settings.ema).toBeCloseTo(0.985, 3)
  })

  test('a day for the blood cells: the network of the shipped weights, or a wider one', () => {
    expect(pick({ count: 4_886, side: 32 }, { hours: 2.5 }, twoCores).settings).toMatchObject({
      size: 32,
      width: 'small',
      batch: 32,
      levels: 33,
    })
    expect(pick({ count: 4_886, side: 32 }, { hours: 24 }, twoCores).settings).toMatchObject({
      size: 32,
      width: 'medium',
      batch: 64,
    })
    expect(pick({ count: 50_000, side: 32 }, { hours: 100 }, machine(2_000)).settings).toMatchObject({
      size: 32,
      width: 'large',
      batch: 128,
      levels: 100,
      respacing: 250,
    })
  })

  test('40 images and a week: a thousand looks at each, and no more', () => {
    expect(pick({ count: 40, side: 32 }, { hours: 168 }, twoCores).settings).toMatchObject({
      capped: true,
      images: 36_000,
      width: 'small',
    })
    // 128 x 128 pixels would want 7,000 looks.
    expect(pick({ count: 40, side: 1000 }, { hours: 168 }, machine(5_000)).settings).toMatchObject({
      capped: true,
      images: 36_000,
      size: 64,
    })
  })

  test('an average forgets half in a twentieth of the run', () => {
    for (const steps of [100, 925, 8_000, 60_000])
      expect(Math.log(0.5) / Math.log(emaRate(steps)) / steps).toBeCloseTo(0.05, 2)
    expect([emaRate(1), emaRate(1_000_000)]).toEqual([0, 0.9999])
  })

  test("levels: few of few images, the papers' hundred of CIFAR-10", () => {
    expect([10, 36, 180, 2_940, 50_000, 1_000_000].map((trained) => levelsFor(trained, 1e9))).toEqual([
      2, 3, 6, 27, 100, 100,
    ])
    expect(levelsFor(50_000, 10_000)).toBe(20)
  })

  test("sizes: powers of two, and the images' own below 32", () => {
    expect([8, 28, 30, 32, 50, 300].map((side) => sizesFor({ side }))).toEqual([
      [8],
      [16, 28],
      [16, 28],
      [16, 32],
      [16, 32],
      [16, 32, 64, 128, 256],
    ])
  })

  test('durations for people', () => {
    expect([0.2, 40, 250, 3_000, 9_000, 360_000].map(secondsText)).toEqual([
      '1 s',
      '40 s',
      '4.2 min',
      '50 min',
      '2.5 h',
      '100 h',
    ])
  })
})

describe('mistakes', () => {
  test.each<[Omit<ImageFacts, 'reading'>, ImageWishes, RegExp]>([
    [{ count: 1, side: 32 }, { hours: 1, number: 16 }, /found one image: 14 are the fewest.*Add more/],
    [{ count: 13, side: 32 }, { hours: 1, number: 16 }, /found 13 images: 14 are the fewest/],
    [{ count: 40, side: 7 }, { hours: 1, number: 16 }, /smallest image has a side of 7 pixels/],
    [
      { count: 40, side: 32 },
      { hours: 1, number: 16, size: 30 },
      /--size: expected a multiple of 4 from 8 to 32.*found 30/,
    ],
    [
      { count: 40, side: 32 },
      { hours: 1, number: 16, size: 64 },
      /--size: expected a multiple of 4 from 8 to 32.*found 64/,
    ],
    [
      { count: 40, side: 32 },
      { hours: 0.004, number: 16 },
      /--hours 0\.004 is too short: 40 images at 16 x 16 take 0\.0\d+ hours at least.*180 a second/,
    ],
    [{ count: 40, side: 32 }, { hours: 0, number: 16 }, /--hours 0 is too short/],
    [{ count: 40, side: 32 }, { hours: 0.08, number: 1000 }, /too short.*smaller --number/],
    [{ count: 500_000, side: 32 }, { hours: 0.2, number: 16 }, /too short.*or fewer images/],
  ])('%j %j', (facts, wishes, message) => {
    expect(() => pick(facts, wishes, twoCores)).toThrow(message)
  })

  test('the hours that are named are enough', () => {
    for (const [count, number] of [
      [40, 16],
      [40, 1000],
      [500_000, 16],
    ] as const) {
      const message = (() => {
        try {
          pick({ count, side: 32 }, { hours: 0.003, number }, twoCores)
          return ''
        } catch (error) {
          return (error as Error).message
        }
      })()
      const [, size, hours] = /at (\d+) x \d+ take ([\d.]+) hours/.exec(message)!
      expect(
        total(pick({ count, side: 32 }, { hours: Number(hours), number, size: Number(size) }, twoCores).settings),
      ).toBeLessThanOrEqual(3600 * Number(hours))
      expect(orNull({ count, side: 32 }, { hours: Number(hours), number }, twoCores)).not.toBe(null)
    }
  })
})
