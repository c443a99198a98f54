/** {@link Tweedie} in Node, which knows paths and where the shipped set is. */
import { asksForAwait } from '../errors.ts'
import { nodeFiles } from './files.node.ts'
import type { Where } from './files.ts'
import { load, type TweedieOptions } from './load.ts'
import { Tweedie as TweedieOfPages } from './tweedie.ts'

export class Tweedie extends TweedieOfPages {
  static override load(model: 'bccd32' | Where, options: TweedieOptions = {}): Promise<Tweedie> {
    return asksForAwait(load(nodeFiles, model, options).then((loaded) => new Tweedie(loaded)), 'Tweedie', TweedieOfPages)
  }
}
