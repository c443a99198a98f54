/** Four Philox blocks, 16 elements, at a time; a sample begins a group of its own, so it is the same in any batch. */
import { central, firstCentral, tail } from '../../../shaders/random-coefficients.ts'
import type { RandomParams } from '../../ops/random.ts'
import { sizeOf } from '../../shape.ts'
import { cut, float, type Launch } from '../launch.ts'

// 12 bits of the slope: its product with a 12-bit root is exact.
const slopeHigh = Math.round(tail.slope * 2 ** 11) / 2 ** 11

const coefficients = [
  ...central.numerator, ...central.denominator,
  tail.slope, slopeHigh, tail.slope - slopeHigh, tail.offset, ...tail.numerator, ...tail.denominator,
].map(float)

const launch = (normal: boolean): Launch<RandomParams> => (encoder, { seed, draw, purpose, shape }, [samples], [y]) => {
  const elements = sizeOf(shape)
  const perSample = Math.ceil(elements / 16)
  const groups = samples.shape[0] * perSample
  // A group takes 50 ns, with deviates 150.
  const { chunks, each } = cut(groups, normal ? 400 : 1000)
  encoder.run({
    kernel: 'random',
    chunks,
    params: [y, samples, groups, perSample, each, elements, draw, purpose, ...seed, normal ? 1 : 0, firstCentral, ...coefficients],
    scratch: 64,
  })
}

export const randomBits = launch(false)
export const randomNormal = launch(true)
