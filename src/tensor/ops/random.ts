/**
 * Random numbers made where they are used, by counter (`philox.ts` says how and computes the same on the host). Seed,
 * draw and purpose are scalars of the kernel: a new draw compiles and creates nothing.
 */
import { TweedieError } from '../../errors.ts'
import type { Spec } from '../backend.ts'
import { now, type Live } from '../live.ts'
import { applyOne, defineOp, noGradient } from '../op.ts'
import type { RandomStream } from '../philox.ts'
import { checkArray, checkShape, shapeError, type Shape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'

/** The stream that random numbers are of, and how many of them a sample has. */
export interface RandomParams extends Omit<RandomStream, 'draw'> {
  /** The stream's, or the function that gives it: a program that `Device.record` made asks it at every replay. */
  readonly draw: Live<number>
  /** Shape of one sample. */
  readonly shape: Shape
}

const isWord = (n: number): boolean => Number.isInteger(n) && n >= 0 && n < 2 ** 32

function check(op: string, { seed, draw: live, purpose, shape }: RandomParams, samples: Spec): Shape {
  const draw = now(live)
  if (samples.shape.length !== 1) throw shapeError(op, 'sample indices [N]', samples.shape)
  checkArray(op, 'the two words of a seed (splitSeed makes them)', seed)
  if (seed.length !== 2 || ![...seed, draw, purpose].every(isWord)) {
    throw new TweedieError(
      'option',
      `${op}: a seed's words, draw and purpose are whole numbers from 0 to 2^32 - 1, found seed ` +
        `${seed.join(', ')}, draw ${draw}, purpose ${purpose}.`,
    )
  }
  return [samples.shape[0], ...checkShape(op, shape)]
}

/** The op behind {@link randomBits}. */
export const randomBitsOp = defineOp<RandomParams>({
  ...noGradient('randomBits'),
  dtypes: ['u32'],
  shape: (params, [samples], user) => [{ shape: check(user, params, samples), dtype: 'u32' }],
})

/** The op behind {@link randomNormal}. */
export const randomNormalOp = defineOp<RandomParams>({
  ...noGradient('randomNormal'),
  dtypes: ['u32'],
  shape: (params, [samples], user) => [{ shape: check(user, params, samples), dtype: 'f32' }],
})

/**
 * 32 random bits for every element of `[N, ...shape]`. `samples` u32 [N] are the indices of the samples: sample k of a
 * seed gets the same bits in any batch, on any device.
 */
export const randomBits = (samples: Tensor<'u32'>, params: RandomParams): Tensor<'u32'> =>
  applyOne<RandomParams, 'u32'>(randomBitsOp, params, [samples])

/**
 * Standard normal deviates `[N, ...shape]`, each made of one random word, so |x| < 6.34.
 *
 * ```ts
 * const samples = device.tensor([0, 1, 2, 3], [4], 'u32')
 * const noise = randomNormal(samples, { seed: splitSeed(7), draw: 0, purpose: 0, shape: [3, 64, 64] })
 * ```
 */
export const randomNormal = (samples: Tensor<'u32'>, params: RandomParams): Tensor =>
  applyOne(randomNormalOp, params, [samples])
