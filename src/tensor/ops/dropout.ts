/** Dropout: a mask of random bits and one elementwise kernel, whose gradient is masked alike. */
import { TweedieError } from '../../errors.ts'
import { expression, f } from '../expression.ts'
import type { RandomStream } from '../philox.ts'
import type { Tensor } from '../tensor.ts'
import { checkTensor } from '../op.ts'
import { map } from './map.ts'
import { randomBits } from './random.ts'

/** Where {@link dropout} takes its random bits: a stream, and the numbers of the samples in it. */
export interface DropoutStream extends RandomStream {
  /** Indices of the samples along `x`'s first axis, u32 [N]. */
  readonly samples: Tensor<'u32'>
}

const masked = expression(2, 2, ([x, bits], [threshold, scale]) => f.select(f.ge(bits, threshold), f.mul(x, scale), 0))

/**
 * Zeroes each element of `x` [N, ...] with probability `p` and divides the others by 1 − p; `p = 0` gives `x` itself.
 * Two layers of one network need two draws, or they drop alike.
 */
export function dropout(x: Tensor, p: number, { seed, draw, purpose, samples }: DropoutStream): Tensor {
  checkTensor('dropout', x)
  if (!(p >= 0 && p < 1))
    throw new TweedieError('option', `dropout: expected a probability from 0 to below 1, found ${p}.`)
  if (p === 0) return x
  const bits = randomBits(samples, { seed, draw, purpose, shape: x.shape.slice(1) })
  const y = map(masked, [x, bits], [p * 2 ** 32, 1 / (1 - p)], { name: 'dropout' })
  bits.dispose()
  return y
}
