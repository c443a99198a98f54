import { meanOf, type Measured } from './bootstrap.ts'
import type { Membership } from './balls.ts'

/**
 * Improved precision, of samples in the balls of real images: the part of them inside any. Recall is the same of real
 * images in the balls of samples (Kynkäänniemi et al., NeurIPS 2019). The papers, and Rarity Score's code, have points
 * on the sphere outside (`strict` of `membership`); the authors' own and the ADM evaluator have them inside.
 */
export const precision = ({ counts }: Membership): Measured =>
  meanOf(Float64Array.from(counts, (count) => (count > 0 ? 1 : 0)))
