/** Distances between images: every norm with its gradient, at and near 0 too, and what a perceptual one is given. */
import { describe, expect, test } from 'vitest'
import { greyRangeOf, l1, l2, perceptual, pNorm } from '../src/diffusion/index.ts'
import { grad, sum, type Tensor } from '../src/tensor/index.ts'
import { checkOp, deviceTest, expectClose, expectSameBits, host, numbers, type Host } from './op.ts'

const shape = [2, 3, 4, 4]
const pixels = 48

/** ||a - b||_p of each sample in float64. */
const reference =
  (p: number) =>
  (a: Host, b: Host): Host => {
    const norm = (values: Float64Array): number => {
      const largest = Math.max(...values.map(Math.abs))
      return p === Infinity || largest === 0
        ? largest
        : largest * values.reduce((total, v) => total + (Math.abs(v) / largest) ** p, 0) ** (1 / p)
    }
    const differences = a.data.map((v, i) => v - b.data[i])
    return host(
      [2],
      [0, 1].map((n) => norm(differences.subarray(n * pixels, (n + 1) * pixels))),
    )
  }

describe('norms', () => {
  // Powers in float32 lose what the exponent multiplies: 2^-24 p.
  test.each([1, 1.5, 2, 3, 7.5, 60, Infinity])('p = %d: value and gradient', (p) =>
    checkOp(`p ${p}`, {
      inputs: [shape, shape],
      op: pNorm(p),
      reference: reference(p),
      tolerance: 1e-5,
      gradientTolerance: 1e-3,
      midGraph: p === 1.5 || p === Infinity,
    }),
  )

  test('1 and 2 are the norms that go by name, and no p below 1 is taken', () => {
    expect([pNorm(1), pNorm(2)]).toEqual([l1, l2])
    for (const p of [0.5, 0, -1, NaN]) expect(() => pNorm(p)).toThrow(`a p of 1 or more, up to Infinity, found ${p}`)
  })

  for (const p of [1, 1.5, 2, 3, 60, Infinity]) {
    deviceTest(
      `p = ${p}: equal images are 0 apart, with a gradient of 0; a broken one is no distance apart`,
      async (device) => {
        const values = numbers(2 * pixels, 1)
        // The first sample differs in one pixel, by what a power of 60 would lose; the second nowhere.
        const near = values.map((v, i) => (i === 5 ? v + 1e-3 : v))
        const [a, b] = [near, values].map((data) => device.tensor(data, shape))
        const {
          value,
          gradients: [byA],
        } = device.scope(() => grad(() => sum(pNorm(p)(a, b)), [a]))
        const distance = Math.fround(near[5]) - Math.fround(values[5])
        expectClose(await value.read(), [distance], 1e-4, 'value')
        const gradient = await byA.read()
        expectClose(
          gradient,
          gradient.map((_, i) => (i === 5 ? 1 : 0)),
          1e-4,
          'gradient',
        )
        const broken = device.tensor(
          values.map((v, i) => (i === 7 ? NaN : v)),
          shape,
        )
        const apart = device.scope(() => pNorm(p)(broken, b))
        expect(Array.from(await apart.read(), Number.isNaN)).toEqual([true, false])
        for (const owned of [a, b, value, byA, broken, apart]) owned.dispose()
      },
    )
  }
})

deviceTest(
  'a perceptual distance sees grey images as they are, or moved from [0, 1] to [-1, 1]; colour always as it is',
  async (device) => {
    const seen: Tensor[] = []
    const spy = perceptual(
      (a, b) => {
        seen.push(a.alias(), b.alias())
        return l1(a, b)
      },
      { greyRange: '0..1' },
    )
    const [grey, colour] = [1, 3].map((channels) =>
      device.tensor(numbers(32 * channels, channels), [2, channels, 4, 4]),
    )
    expect(perceptual(l2)).toBe(l2)
    for (const [image, factor, offset] of [
      [grey, 2, -1],
      [colour, 1, 0],
    ] as const) {
      using distance = spy(image, image)
      expect(await distance.read()).toEqual(new Float32Array(2))
      const expected = (await image.read()).map((v) => v * factor + offset)
      for (const given of seen.splice(0)) {
        expectSameBits(await given.read(), expected, 'what it sees')
        given.dispose()
      }
    }
    for (const owned of [grey, colour]) owned.dispose()
  },
)

test('only grey models have a range to choose', () => {
  expect([
    greyRangeOf({ inChannels: 1 }),
    greyRangeOf({ inChannels: 1 }, '0..1'),
    greyRangeOf({ inChannels: 3 }, '0..1'),
  ]).toEqual(['-1..1', '0..1', null])
  expect(() => greyRangeOf({ inChannels: 3 }, '0-1' as never)).toThrow("greyRange is '-1..1' or '0..1', found '0-1'.")
})
