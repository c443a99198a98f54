import { memoryOf, type UNetConfig } from '../nn/index.ts'
import { maxPairs, mostPairs } from '../nn/remembered.ts'
import type { DeviceNeed } from '../tensor/index.ts'
import type { ImageNeed } from './guidance-files.ts'

/** What several things take that are there at once. */
export const together = (needs: readonly DeviceNeed[]): DeviceNeed => ({
  bytes: needs.reduce((sum, { bytes }) => sum + bytes, 0),
  largestBuffer: Math.max(...needs.map(({ largestBuffer }) => largestBuffer)),
  work: {
    flops: needs.reduce((sum, { work }) => sum + (work?.flops ?? 0), 0),
    kernels: needs.reduce((sum, { work }) => sum + (work?.kernels ?? 0), 0),
  },
})

/**
 * What a step of the sampler holds beside the network: x, noise, estimate, mean, variances, gradients: at most 16
 * images, and the gradient of each guidance.
 */
export const stepNeed = (guidances: number, batch: number, shape: readonly number[]): DeviceNeed => {
  const image = 4 * batch * shape.reduce((a, b) => a * b, 1)
  return { bytes: (16 + guidances) * image, largestBuffer: image }
}

/** Of a network whose weights are there already. */
const again = ({ bytes, weights, largestBuffer, work }: DeviceNeed & { readonly weights: number }): DeviceNeed => ({
  bytes: bytes - weights,
  largestBuffer,
  ...(work && { work }),
})

/** What is drawn, and with what. */
export interface SamplingNeed {
  readonly model: UNetConfig
  readonly images: ImageNeed
  /** Of a walk. Default: not known, as many as are ever remembered. */
  readonly steps?: number
  readonly distances: readonly (DeviceNeed & { readonly weights: number })[]
  /** Those of each guidance. */
  readonly guidances: readonly (readonly DeviceNeed[])[]
  /** Self-guidance; null: none. */
  readonly guide: { readonly draws: number; readonly through: 'first' | 'second' | 'both' } | null
}

/**
 * What it takes to draw a batch, worked out before a byte is loaded: the network, what guides it, the distance,
 * and the sampler's own.
 */
export function samplingNeeds({
  model,
  images,
  steps = maxPairs,
  distances,
  guidances,
  guide,
}: SamplingNeed): DeviceNeed[] {
  const config = { kind: 'unet', ...model } as const
  const each = { batch: images.batch, size: images.size, gradient: guide !== null }
  const needs: DeviceNeed[] = [
    memoryOf(config, { ...each, steps: mostPairs(model.numClasses, steps, images.batch) }),
    ...distances,
    stepNeed(guidances.length, images.batch, [model.inChannels, ...images.size]),
  ]
  for (let draw = 0; draw < (guide?.draws ?? 0); draw++) {
    // The maps of every draw's distance wait for the gradient; through the second estimates their passes do, too.
    if (draw > 0) needs.push(...distances.map(again))
    if (guide!.through !== 'first') needs.push(again(memoryOf(config, each)))
  }
  needs.push(...guidances.flat())
  return needs
}
