import { adamWShader, adamWUniform, type AdamWKeys } from '../../../shaders/adamw.ts'
import type { View } from '../../backend.ts'
import type { AdamWParams } from '../../ops/adamw.ts'
import { sizeOf } from '../../shape.ts'
import { linearGrid, type Launch } from '../launch.ts'

/** Averages that are updated with the weights: gradient, factor, weights and moments take five of eight buffers. */
const withUpdate = 3
const alone = 7

/** One kernel; one more for every seven averages that find no room in it. */
export const adamW: Launch<AdamWParams> = (encoder, params, [g, w, m, v, ...others]) => {
  const { betas, keep, eps } = params
  const [decay, rate, correction] = [params.decay, params.rate, params.correction].map(encoder.now<number>)
  const [beta1, beta2] = betas
  const averages = others.slice(0, keep.length)
  const factor = others.slice(keep.length)
  const size = sizeOf(w.shape)
  const vec4 = size % 4 === 0
  const lanes = vec4 ? size / 4 : size
  const run = (update: boolean, first: number, end: number): void => {
    const keys: AdamWKeys = {
      update,
      scaled: update && factor.length > 0,
      averages: Math.min(end, averages.length) - first,
      vec4,
    }
    const targets: View[] = averages.slice(first, end)
    encoder.dispatch({
      key: `adamw${update ? ' update' : ''}${keys.scaled ? ' scaled' : ''} ${keys.averages}${vec4 ? 'v' : ''}`,
      code: () => adamWShader(keys),
      // 1 - beta on the host: of 0.9999 in float32 it would be off by 1e-4 of itself.
      uniforms: adamWUniform.words({
        lanes,
        decay,
        rate,
        correction,
        eps,
        beta1,
        rest1: 1 - beta1,
        beta2,
        rest2: 1 - beta2,
        keep: keep.slice(first, end),
        take: keep.slice(first, end).map((k) => 1 - k),
      }),
      read: update ? [g, ...factor] : [w],
      write: update ? [w, m, v, ...targets] : targets,
      grid: linearGrid(Math.ceil(lanes / 64), encoder.capabilities.maxGrid),
    })
  }
  run(true, 0, withUpdate)
  for (let first = withUpdate; first < averages.length; first += alone) run(false, first, first + alone)
}
