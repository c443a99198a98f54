import { now } from '../../live.ts'
import type { AdamWParams } from '../../ops/adamw.ts'
import { sizeOf } from '../../shape.ts'
import { cut, type Launch } from '../launch.ts'

/** Fours of elements a chunk: some 30 µs. */
const least = 2 ** 13

export const adamW: Launch<AdamWParams> = (encoder, params, [g, w, m, v, ...others]) => {
  const { betas, keep, eps, decay, rate, correction } = params
  const [beta1, beta2] = betas
  const count = sizeOf(w.shape)
  const { chunks, each: fours } = cut(Math.ceil(count / 4), least)
  const each = 4 * fours
  const factor = others.at(keep.length)
  encoder.run({
    kernel: 'adamW',
    chunks,
    params: {
      w,
      m,
      v,
      g,
      factor: factor ?? 0,
      count,
      each,
      beta1,
      rest1: 1 - beta1,
      beta2,
      rest2: 1 - beta2,
      decay: now(decay),
      rate: now(rate),
      correction: now(correction),
      eps,
    },
  })
  keep.forEach((rate, k) => {
    encoder.run({
      kernel: 'movingAverage',
      chunks,
      params: { average: others[k], x: w, count, each, keep: rate, take: 1 - rate },
    })
  })
}
