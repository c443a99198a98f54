/** How far images are apart, for self-guidance and minority scores: a norm, LPIPS, or a feature net of our own. */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { l1, l2, perceptual, type Distance } from '../diffusion/index.ts'
import { featureNetConfigOf, featureNetMemoryOf, loadFeatureNet, loadLpips, lpipsMemoryOf } from '../nn/index.ts'
import { lpipsNetOf } from '../nn/lpips-plan.ts'
import type { Device, DeviceNeed } from '../tensor/index.ts'
import { fail, type Arguments } from './arguments.ts'
import { openWeights, sha256OfFile } from './files.ts'

export const distanceOptions = {
  distance: { value: 'lpips|features|l2|l1', help: 'distance of self-guidance and minority scores', default: 'lpips with --lpips, features with --features, else l2' },
  lpips: { value: 'FILE', help: 'LPIPS weights, features.* and lin*: alex, vgg or squeeze is told from them' },
  features: { value: 'FILE', help: 'a feature net of tweedie train features', default: 'with --distance features the shipped one, of blood cells' },
} as const

const distances = ['lpips', 'features', 'l2', 'l1'] as const

export interface DistanceSettings {
  readonly distance: (typeof distances)[number]
  /** LPIPS weights, for `lpips`. */
  readonly lpips: string | null
  /** The feature net, for `features`. */
  readonly features: string | null
}

/** The feature net that comes with the package; beside src/ and beside dist/ alike. */
export const shippedFeatures = (): string => fileURLToPath(new URL('../../weights/bccd32-features.safetensors', import.meta.url))

export function distanceSettings(args: Arguments<keyof typeof distanceOptions>): DistanceSettings {
  const [lpips, features] = [args.text('lpips'), args.text('features')]
  const distance = args.choice('distance', distances) ?? (lpips !== undefined ? 'lpips' : features !== undefined ? 'features' : 'l2')
  if (distance === 'lpips' && lpips === undefined) return fail('--distance lpips needs its weights: --lpips FILE (features.* and lin* in one file; they are third-party and not part of tweedie), or take --distance l2.')
  for (const [name, file] of Object.entries({ lpips, features })) {
    if (distance !== name && file !== undefined) console.error(`note: --${name} has no effect with --distance ${distance}.`)
  }
  if (distance === 'l2' && !args.has('distance')) console.error('note: without LPIPS weights (--lpips FILE) distances are L2, the reference\'s option without LPIPS; --distance features takes our own feature net.')
  return {
    distance,
    lpips: distance === 'lpips' ? resolve(lpips as string) : null,
    features: distance === 'features' ? features === undefined ? shippedFeatures() : resolve(features) : null,
  }
}

export interface LoadedDistance {
  /** For self-guidance, in whose convention grey images are in [0, 1]. */
  readonly distance: Distance
  /** For minority scores, whose images are in [-1, 1] whatever their channels. */
  readonly score: Distance
  /** For people: "LPIPS (alex)". */
  readonly name: string
  dispose(): void
}

/** What {@link loadDistance} will need: nothing for a norm. Refuses images too small for the net. */
export async function distanceNeeds({ lpips, features }: DistanceSettings, images: Parameters<typeof lpipsMemoryOf>[1], signal: AbortSignal): Promise<DeviceNeed[]> {
  const path = lpips ?? features
  if (path === null) return []
  const file = await openWeights(path, signal)
  try {
    return [lpips !== null ? lpipsMemoryOf(lpipsNetOf(file.tensors.keys(), path), images) : featureNetMemoryOf(featureNetConfigOf(file), images)]
  } finally {
    await file.close()
  }
}

/** Loads the net, or takes a norm. */
export async function loadDistance(device: Device, { distance, lpips, features }: DistanceSettings, signal: AbortSignal): Promise<LoadedDistance> {
  const path = lpips ?? features
  if (path === null) {
    const norm = distance === 'l1' ? l1 : l2
    return { distance: norm, score: norm, name: distance === 'l1' ? 'L1' : 'L2', dispose: () => {} }
  }
  const file = await openWeights(path, signal)
  try {
    if (lpips === null) {
      const net = await loadFeatureNet(device, file, { signal })
      const score: Distance = (a, b) => net.distance(a, b)
      // Nets of our own differ, and so do their scores.
      const sum = await sha256OfFile(path, signal)
      return { distance: score, score, name: `features (${sum.slice(0, 8)})`, dispose: () => net.dispose() }
    }
    const net = await loadLpips(device, file, { signal })
    const score: Distance = (a, b) => net.distance(a, b)
    return { distance: perceptual(score), score, name: `LPIPS (${net.net})`, dispose: () => net.dispose() }
  } finally {
    await file.close()
  }
}
