import { meanOf, type Measured } from './bootstrap.ts'
import type { Membership } from './balls.ts'

/**
 * Density, of samples in the balls of real images: the mean number of balls that hold a sample, by `k` of the balls.
 * Not bounded by 1 (Naeem et al., ICML 2020).
 */
export const density = ({ counts }: Membership, k: number): Measured =>
  meanOf(Float64Array.from(counts, (count) => count / k))

/** Coverage, of samples in the balls of real images: the part of the balls that hold any (Naeem et al., ICML 2020). */
export const coverage = ({ held }: Membership): Measured =>
  meanOf(Float64Array.from(held, (count) => (count > 0 ? 1 : 0)))
