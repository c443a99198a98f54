/** How far images are apart, for self-guidance and minority scores: a norm, LPIPS, or a feature net of our own. */
import { resolve } from 'node:path'
import { greyRangeOf, greyRanges, type GreyRange } from '../../diffusion/index.ts'
import type { ModelConfig } from '../../nn/index.ts'
import type { Device } from '../../tensor/index.ts'
import { normIn, openNet, openNorm, type LoadedDistance, type OpenDistance } from '../../tweedie/distance.ts'
import { fail, type Arguments } from '../arguments.ts'
import { openWeights, sha256OfFile } from '../files.ts'
import { choice, file, text } from '../option.ts'
import { shipped } from '../shipped.ts'
import { tell } from '../print.ts'

const setting =
  <K extends keyof DistanceSettings>(key: K) =>
  (settings: DistanceSettings): DistanceSettings[K] =>
    settings[key]

export const distanceOptions = {
  distance: text({
    value: 'lpips|features|l2|l1|lP',
    help:
      'distance of self-guidance and minority scores; lP: the norm of any P from 1 on, as in ' +
      'l1.5 or linf (norm_for_mg)',
    otherwise: 'lpips with --lpips, features with --features, else l2',
    recorded: setting('distance'),
  }),
  lpips: file({
    value: 'FILE',
    called: 'the LPIPS weights',
    help: 'LPIPS weights, features.* and lin*: alex, vgg or squeeze is told from them',
    recorded: setting('lpips'),
  }),
  features: file({
    value: 'FILE',
    called: 'the feature net',
    help: 'a feature net of tweedie train features',
    otherwise: 'with --distance features the shipped one, of blood cells',
    recorded: setting('features'),
  }),
  'grey-range': choice(greyRanges, {
    help:
      "values of a grey model's images, for --distance lpips and features: 0..1 is sg-minority's convention, " +
      'right for models trained on [0, 1]',
    otherwise: '-1..1, as everything trained here',
    recorded: setting('greyRange'),
  }),
}

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

/** `model`: whose images are compared. */
export function distanceSettings(
  args: Arguments<typeof distanceOptions>,
  model: Pick<ModelConfig, 'inChannels'>,
): DistanceSettings {
  const [lpips, features] = [args.get('lpips'), args.get('features')]
  const distance = args.get('distance') ?? (lpips !== undefined ? 'lpips' : features !== undefined ? 'features' : 'l2')
  const norm = normIn(distance)
  if (!['lpips', 'features'].includes(distance) && norm === undefined) {
    return fail(
      '--distance: expected lpips, features, l2, l1 or another norm lP with a P of 1 or more (l1.5, ' +
        `linf), found "${distance}".`,
    )
  }
  if (distance === 'lpips' && lpips === undefined)
    return fail(
      '--distance lpips needs its weights: --lpips FILE (features.* and lin* in one file; they are third-party ' +
        'and not part of tweedie), or take --distance l2.',
    )
  for (const [name, file] of Object.entries({ lpips, features })) {
    if (distance !== name && file !== undefined) tell(`note: --${name} has no effect with --distance ${distance}.`)
  }
  if (distance === 'l2' && !args.has('distance'))
    tell(
      "note: without LPIPS weights (--lpips FILE) distances are L2, the reference's option without LPIPS; " +
        '--distance features takes our own feature net.',
    )
  const greyRange = greyRangeOf(model, args.get('grey-range'))
  return {
    distance,
    greyRange: norm === undefined ? greyRange : null,
    lpips: distance === 'lpips' ? resolve(lpips as string) : null,
    features: distance === 'features' ? (features === undefined ? shipped('features') : resolve(features)) : null,
  }
}

/** What {@link loadDistance} will need: nothing for a norm. Refuses images too small for the net. */
export const distanceNeeds = (
  settings: DistanceSettings,
  images: Parameters<OpenDistance['needs']>[0],
  signal: AbortSignal,
): Promise<ReturnType<OpenDistance['needs']>> => withDistance(settings, signal, async (opened) => opened.needs(images))

/** Loads the net, or takes a norm. Nets of our own differ, and so do their scores: their name has their sum. */
export const loadDistance = (
  device: Device,
  settings: DistanceSettings,
  signal: AbortSignal,
): Promise<LoadedDistance> =>
  withDistance(settings, signal, async (opened) => {
    const loaded = await opened.load(device, { signal })
    const sum = settings.features === null ? '' : ` (${(await sha256OfFile(settings.features, signal)).slice(0, 8)})`
    return { ...loaded, name: loaded.name.replace('features', `features${sum}`) }
  })

async function withDistance<T>(
  { distance: word, lpips, features, greyRange }: DistanceSettings,
  signal: AbortSignal,
  use: (opened: OpenDistance) => Promise<T>,
): Promise<T> {
  const path = lpips ?? features
  if (path === null) return use(openNorm(normIn(word)!))
  const file = await openWeights(path, signal)
  try {
    return await use(openNet(lpips === null ? 'features' : 'lpips', file, greyRange))
  } finally {
    await file.close()
  }
}
