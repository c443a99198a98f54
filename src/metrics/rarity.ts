import type { Membership } from './balls.ts'

/**
 * Rarity Score, of samples in the balls of real images: the radius of the smallest that holds each (Han et al.,
 * ICLR 2023), [N]; higher is rarer. 0 for a sample in no ball: it has no score, and means are taken without it
 * (see {@link scored}).
 */
export const rarity = ({ smallest }: Membership): Float64Array => smallest

/** The scores of those that have one. */
export const scored = (scores: Float64Array): Float64Array => scores.filter((score) => score > 0)
