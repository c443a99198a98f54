/** How far images are apart, for self-guidance and minority scores: a norm, LPIPS, or a feature net of our own. */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { perceptual, pNorm, type Distance, type GreyRange } from '../diffusion/index.ts'
import { featureNetConfigOf, featureNetMemoryOf, loadFeatureNet, loadLpips, lpipsMemoryOf, type ModelConfig } from '../nn/index.ts'
import { lpipsNetOf } from '../nn/lpips-plan.ts'
import type { Device, DeviceNeed } from '../tensor/index.ts'
import { fail, type Arguments } from './arguments.ts'
import { openWeights, sha256OfFile } from './files.ts'

export const distanceOptions = {
  distance: { value: 'lpips|features|l2|l1|lP', help: 'distance of self-guidance and minority scores; lP: the norm of any P from 1 on, as in l1.5 or linf (norm_for_mg)', default: 'lpips with --lpips, features with --features, else l2' },
  lpips: { value: 'FILE', help: 'LPIPS weights, features.* and lin*: alex, vgg or squeeze is told from them' },
  features: { value: 'FILE', help: 'a feature net of tweedie train features', default: 'with --distance features the shipped one, of blood cells' },
  'grey-range': { value: '-1..1|0..1', help: "values of a grey model's images, for --distance lpips and features: 0..1 is sg-minority's convention, right for models trained on [0, 1]", default: '-1..1, as everything trained here' },
} as const

export interface DistanceSettings {
  /** `lpips`, `features`, or a norm: `l2`, `l1.5`, `linf`. */
  readonly distance: string
  /** LPIPS weights, for `lpips`. */
  readonly lpips: string | null
  /** The feature net, for `features`. */
  readonly features: string | null
  /** Null where there is no choice: for colour, and for norms. */
  readonly greyRange: GreyRange | null
}

/** The p of a norm `lP`, undefined for another word. */
function normIn(distance: string): number | undefined {
  const [, p] = /^l(\d+(?:\.\d+)?|inf)$/.exec(distance) ?? []
  return p === undefined ? undefined : p === 'inf' ? Infinity : Number(p)
}

/** The feature net that comes with the package; beside src/ and beside dist/ alike. */
export const shippedFeatures = (): string => fileURLToPath(new URL('../../weights/bccd32-features.safetensors', import.meta.url))

/** `model`: whose images are compared. */
export function distanceSettings(args: Arguments<keyof typeof distanceOptions>, { inChannels }: Pick<ModelConfig, 'inChannels'>): DistanceSettings {
  const [lpips, features] = [args.text('lpips'), args.text('features')]
  const distance = args.text('distance') ?? (lpips !== undefined ? 'lpips' : features !== undefined ? 'features' : 'l2')
  const norm = normIn(distance)
  if (!['lpips', 'features'].includes(distance) && !(norm !== undefined && norm >= 1)) {
    return fail(`--distance: expected lpips, features, l2, l1 or another norm lP with a P of 1 or more (l1.5, linf), found "${distance}".`)
  }
  if (distance === 'lpips' && lpips === undefined) return fail('--distance lpips needs its weights: --lpips FILE (features.* and lin* in one file; they are third-party and not part of tweedie), or take --distance l2.')
  for (const [name, file] of Object.entries({ lpips, features })) {
    if (distance !== name && file !== undefined) console.error(`note: --${name} has no effect with --distance ${distance}.`)
  }
  if (distance === 'l2' && !args.has('distance')) console.error('note: without LPIPS weights (--lpips FILE) distances are L2, the reference\'s option without LPIPS; --distance features takes our own feature net.')
  const greyRange = args.choice('grey-range', ['-1..1', '0..1']) ?? '-1..1'
  return {
    distance,
    greyRange: inChannels === 1 && norm === undefined ? greyRange : null,
    lpips: distance === 'lpips' ? resolve(lpips as string) : null,
    features: distance === 'features' ? features === undefined ? shippedFeatures() : resolve(features) : null,
  }
}

export interface LoadedDistance {
  /** The same for self-guidance and for minority scores. */
  readonly distance: Distance
  /** For people: "LPIPS (alex)". */
  readonly name: string
  dispose(): void
}

/** What {@link loadDistance} will need: nothing for a norm. Refuses images too small for the net. */
export async function distanceNeeds({ lpips, features }: DistanceSettings, images: Parameters<typeof lpipsMemoryOf>[1], signal: AbortSignal): Promise<(DeviceNeed & { readonly weights: number })[]> {
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
export async function loadDistance(device: Device, { distance: word, lpips, features, greyRange }: DistanceSettings, signal: AbortSignal): Promise<LoadedDistance> {
  const path = lpips ?? features
  if (path === null) {
    return { distance: pNorm(normIn(word)!), name: `L${word.slice(1)}`, dispose: () => {} }
  }
  const range = greyRange === '0..1' ? ', grey 0..1' : ''
  const seen = (distance: Distance): Distance => perceptual(distance, greyRange ? { greyRange } : {})
  const file = await openWeights(path, signal)
  try {
    if (lpips === null) {
      const net = await loadFeatureNet(device, file, { signal })
      // Nets of our own differ, and so do their scores.
      const sum = await sha256OfFile(path, signal)
      return { distance: seen((a, b) => net.distance(a, b)), name: `features (${sum.slice(0, 8)})${range}`, dispose: () => net.dispose() }
    }
    const net = await loadLpips(device, file, { signal })
    return { distance: seen((a, b) => net.distance(a, b)), name: `LPIPS (${net.net})${range}`, dispose: () => net.dispose() }
  } finally {
    await file.close()
  }
}
