/**
 * Features that were computed once: kept in the user's cache folder under the SHA-256 of all that they follow from, the
 * images, the space, its preprocessing and its weights. Whatever is renamed or moved is found again, and what is
 * another is computed anew. A file that is damaged counts as none.
 */
import { rm, mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { TweedieError } from '../../errors.ts'
import { openCheckpoint, openFile, writeFileAtomic } from '../../io/index.node.ts'
import { encodeSafetensors } from '../../io/index.ts'
import { sha256 } from '../../io/sha256.ts'
import { countOf, type EvaluatedSpace, type Points, type SpaceFeatures } from '../../metrics/index.ts'
import { cacheFile } from '../../platform/cache.node.ts'

/** What features follow from. */
export interface FeaturesKey extends Pick<EvaluatedSpace, 'name' | 'preprocessing' | 'weights'> {
  /** Fingerprint of the set. */
  readonly images: string
}

/** What a space sees of a set: rows in its order, of sFID and of the Inception Score where the space has them. */
export type SetFeatures = Pick<SpaceFeatures, 'features' | 'spatial' | 'logits'>

/** Goes up when features of the same key become others. */
const version = 1

const fileOf = ({ images, name, preprocessing, weights }: FeaturesKey): string =>
  cacheFile(`features-${version}/${sha256(JSON.stringify([images, name, preprocessing, weights]))}.safetensors`)

/** The features of the key, from the cache or else by `compute`; these are kept where the folder can be written. */
export async function cachedFeatures(
  { images, name, preprocessing, weights }: FeaturesKey,
  compute: () => Promise<SetFeatures>,
  signal: AbortSignal,
): Promise<SetFeatures> {
  const file = fileOf({ images, name, preprocessing, weights })
  const known = await read(file, signal)
  if (known) return known
  const made = await compute()
  const tensors = (['features', 'spatial', 'logits'] as const).flatMap((key) => {
    const points = made[key]
    if (!points) return []
    return [[key, { shape: [countOf(points), points.dimension], data: points.data }] as const]
  })
  try {
    await mkdir(dirname(file), { recursive: true })
    await writeFileAtomic(file, encodeSafetensors(tensors, { images, name, preprocessing, weights }), { signal })
  } catch (error) {
    if (signal.aborted) throw error
    console.error(`note: the features are not kept for later: ${(error as Error).message}`)
  }
  return made
}

async function read(file: string, signal: AbortSignal): Promise<SetFeatures | null> {
  try {
    const checkpoint = await openCheckpoint(await openFile(file), { signal })
    try {
      const points = async (key: string): Promise<Points | undefined> => {
        const entry = checkpoint.tensors.get(key)
        const data = await entry?.read(signal)
        return data instanceof Float32Array ? { data, dimension: entry!.shape[1] } : undefined
      }
      const features = await points('features')
      return features ? { features, spatial: await points('spatial'), logits: await points('logits') } : null
    } finally {
      await checkpoint.close()
    }
  } catch (error) {
    if (signal.aborted || !(error instanceof TweedieError)) throw error
    if (error.code === 'format') await rm(file, { force: true }).catch(() => {})
    return null
  }
}
