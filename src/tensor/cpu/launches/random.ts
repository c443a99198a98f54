/** Four Philox blocks, 16 elements, at a time; a sample begins a group of its own, so it is the same in any batch. */
import { central, firstCentral, tail } from '../../../shaders/random-coefficients.ts'
import { now } from '../../live.ts'
import type { RandomParams } from '../../ops/random.ts'
import { sizeOf } from '../../shape.ts'
import { cut, type Launch } from '../launch.ts'

// 12 bits of the slope: its product with a 12-bit root is exact.
const slopeHigh = Math.round(tail.slope * 2 ** 11) / 2 ** 11

const [c0, c1, c2, c3] = central.numerator
const [d0, d1, d2, d3] = central.denominator
const [t0, t1] = tail.numerator
const [u0, u1, u2] = tail.denominator
const { slope, offset } = tail
const coefficients = {
  firstCentral,
  c0,
  c1,
  c2,
  c3,
  d0,
  d1,
  d2,
  d3,
  slope,
  slopeHigh,
  slopeLow: slope - slopeHigh,
  offset,
  t0,
  t1,
  u0,
  u1,
  u2,
}

const launch =
  (normal: boolean): Launch<RandomParams> =>
  (encoder, { seed: [seedLow, seedHigh], draw, purpose, shape }, [samples], [y]) => {
    const elements = sizeOf(shape)
    const perSample = Math.ceil(elements / 16)
    const groups = samples.shape[0] * perSample
    // A group takes 50 ns, with deviates 150.
    const { chunks, each } = cut(groups, normal ? 400 : 1000)
    encoder.run({
      kernel: 'random',
      chunks,
      params: {
        target: y,
        samples,
        groups,
        perSample,
        each,
        elements,
        draw: now(draw),
        purpose,
        seedLow,
        seedHigh,
        normal: normal ? 1 : 0,
        ...coefficients,
      },
      scratch: 64,
    })
  }

export const randomBits = launch(false)
export const randomNormal = launch(true)
