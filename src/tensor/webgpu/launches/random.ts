/** One Philox block, four elements, a lane; a sample begins a block of its own, so it is the same in any batch. */
import { randomLanes, randomShader, randomUniform } from '../../../shaders/random.ts'
import type { RandomParams } from '../../ops/random.ts'
import { sizeOf } from '../../shape.ts'
import { linearGrid, type Launch } from '../launch.ts'

const launch =
  (normal: boolean): Launch<RandomParams> =>
  (encoder, { seed: [seedLow, seedHigh], draw, purpose, shape }, [samples], [y]) => {
    const elements = sizeOf(shape)
    const perSample = Math.ceil(elements / 4)
    const blocks = samples.shape[0] * perSample
    encoder.dispatch({
      key: `random ${normal ? 'normal' : 'bits'}`,
      code: () => randomShader({ normal }),
      uniforms: randomUniform.words({
        blocks,
        perSample,
        elements,
        draw: encoder.now(draw),
        purpose,
        seedLow,
        seedHigh,
      }),
      read: [samples],
      write: [y],
      grid: linearGrid(Math.ceil(blocks / randomLanes), encoder.capabilities.maxGrid),
    })
  }

export const randomBits = launch(false)
export const randomNormal = launch(true)
