/** Feature spaces by the words of --features, and what they make of a set: computed once. */
import type { Kind } from '../option.ts'
import { subset, type ImageSet } from '../../data/index.ts'
import { exists } from '../../io/file.node.ts'
import {
  openSpace,
  spaceNames,
  type EvaluatedSpace,
  type FeatureSpace,
  type SpaceFeatures,
  type SpaceName,
} from '../../metrics/index.ts'
import { cacheFile } from '../../platform/cache.node.ts'
import type { Device } from '../../tensor/index.ts'
import { catalogue } from '../../tweedie/catalogue.ts'
import { weightsIn } from '../../tweedie/fetch.node.ts'
import { fail } from '../arguments.ts'
import { openWeights } from '../files.ts'
import { didYouMean } from '../option.ts'
import { progress, type Progress } from '../progress.ts'
import { shipped } from '../shipped.ts'
import { cachedFeatures, type SetFeatures } from './feature-cache.ts'
import type { NamedSet } from './sets.ts'

/** A word of --features. */
export interface SpaceWord {
  readonly name: SpaceName
  /** Its weights, as they were named or shipped; null where they are fetched ones, or there are none. */
  readonly path: string | null
  /** Of a network that was never trained. */
  readonly seed: number
}

/** `SPACE`, `SPACE=FILE`, or of a network that was never trained `SPACE=SEED`. */
export const spaceWord: Kind<SpaceWord> = {
  read(word) {
    const [, name = '', value] = /^([^=]*)=?(.*)$/s.exec(word) ?? []
    if (!(spaceNames as readonly string[]).includes(name)) {
      fail(
        `--features: expected a space, ${spaceNames.join(', ')}, with =FILE behind it for its weights, ` +
          `found "${word}"${didYouMean(name, spaceNames)}`,
      )
    }
    const space = { name: name as SpaceName, path: null, seed: 0 }
    if (name === 'features') return { ...space, path: value || shipped('features') }
    if (!name.startsWith('random-')) return { ...space, path: value || null }
    if (!/^\d*$/.test(value)) fail(`--features: expected ${name} or ${name}=SEED, a whole number, found "${word}".`)
    return { ...space, seed: Number(value) }
  },
  write: ({ name, path, seed }) => (path !== null ? `${name}=${path}` : seed > 0 ? `${name}=${seed}` : name),
}

/** Opens a space; the real images are what pixels are fitted to. */
export async function openNamedSpace(
  device: Device,
  { name, path, seed }: SpaceWord,
  real: ImageSet | null,
  signal: AbortSignal,
): Promise<FeatureSpace> {
  const fit = real && { fit: real }
  const file = path ?? (await fetched(name))
  if (file === null) return openSpace(device, name, { signal, seed, ...fit })
  const weights = await openWeights(file, signal)
  try {
    return await openSpace(device, name, { signal, weights, ...fit })
  } finally {
    await weights.close()
  }
}

/** Where the weights of a space lie that `tweedie fetch` knows; null where it knows none. */
async function fetched(name: SpaceName): Promise<string | null> {
  // inception-legacy-pytorch has those of inception.
  const network = name.replace(/-legacy-.*/, '')
  const entry = catalogue.find((one) => one.kind === 'space' && one.name === network)
  if (!entry) return null
  const file = weightsIn(cacheFile('weights'), entry)
  if (await exists(file)) return file
  return fail(
    `--features ${name} needs its weights: tweedie fetch ${entry.name} gets them, or name them, ${name}=FILE.`,
  )
}

/** How a table names it. */
export const aboutOf = ({ name, dimension, preprocessing, weights }: FeatureSpace): EvaluatedSpace => ({
  name,
  dimension,
  preprocessing,
  weights,
})

/** All that a space sees of a set. */
export async function featuresIn(
  space: FeatureSpace,
  { name, set, fingerprint }: NamedSet,
  signal: AbortSignal,
): Promise<SpaceFeatures> {
  let bar: Progress | undefined
  const compute = async (first: number, end: number): Promise<SetFeatures> => {
    bar ??= progress(`Features of ${name} in ${space.name}`, set.length, 'images', first)
    const run = { signal, onProgress: (done: number) => bar?.update(first + done) }
    const indices = Array.from({ length: end - first }, (_, i) => first + i)
    const images = end - first === set.length ? set : subset(set, indices)
    return space.all ? await space.all(images, run) : { features: await space.features(images, run) }
  }
  try {
    const key = { ...aboutOf(space), images: fingerprint }
    const features = await cachedFeatures(key, set.length, compute, signal)
    return { name, imageName: (index) => set.imageName(index), ...features }
  } finally {
    bar?.stop()
  }
}
