import { asksForAwait } from '../errors.ts'
import { nodeFiles } from './files.node.ts'
import type { Where } from './files.ts'
import { load, type TweedieOptions } from './load.ts'
import { Tweedie as TweedieOfPages } from './tweedie.ts'

/**
 * A diffusion model that draws and scores, on a device, with its distance and perhaps a minority classifier. In Node it
 * is loaded from paths too, and knows where the shipped set is.
 *
 * ```ts
 * const model = await Tweedie.load('bccd32')
 * for await (const { images, done, total } of model.sample({ number: 4, steps: 20, method: 'minority-guided' })) {
 *   console.log(`${done} of ${total}`)
 *   if (done === total) images.forEach((image, k) => writeFileSync(`cell-${k}.png`, encodePng(image)))
 * }
 * model.dispose()
 * ```
 */
export class Tweedie extends TweedieOfPages {
  static override load(model: 'bccd32' | Where, options: TweedieOptions = {}): Promise<Tweedie> {
    return asksForAwait(
      load(nodeFiles, model, options).then((loaded) => new Tweedie(loaded)),
      'Tweedie',
      TweedieOfPages,
    )
  }
}
