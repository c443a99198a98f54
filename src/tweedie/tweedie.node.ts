/** {@link Tweedie} in Node, which knows paths and where the shipped set is. */
import { nodeFiles } from './files.node.ts'
import type { Where } from './files.ts'
import { load, type TweedieOptions } from './load.ts'
import { Tweedie as TweedieOfPages } from './tweedie.ts'

export class Tweedie extends TweedieOfPages {
  static override async load(model: 'bccd32' | Where, options: TweedieOptions = {}): Promise<Tweedie> {
    return new Tweedie(await load(nodeFiles, model, options))
  }
}
